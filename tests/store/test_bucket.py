"""A store that is refused, away, or answers late; temporary copies."""

import subprocess
import sys
from dataclasses import replace

import fsspec
import pytest

from rdt_jax.store.bucket import Bucket, temporary_copy
from tests.fake_bucket import Outage


@pytest.mark.parametrize("kind", [PermissionError, FileNotFoundError])
def test_what_lasts_is_not_waited_for(machine, clock, kind):
    one = machine("one")
    with pytest.raises(kind):
        replace(one, fs=Outage(one.fs, 0, 10**6, kind)).put("name", b"")
    assert clock[0] == 0


def test_a_file_is_ours_though_the_answer_to_its_creation_was_lost(machine, clock):
    one = machine("one")
    replace(one, fs=Outage(one.fs, 0, 1, lost=True)).create("state/a.json", b"ours")
    assert one.get("state/a.json") == b"ours"
    with pytest.raises(FileExistsError):
        one.create("state/a.json", b"theirs")


def test_temporary_copies_of_killed_processes_are_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    of_others = tmp_path / "rdt-copy-of-mine"  # No process of ours made it.
    of_others.mkdir()
    code = (
        "from rdt_jax.store.bucket import temporary_copy\nimport os\n"
        "with temporary_copy() as copy: print(copy, flush=True); os._exit(9)"
    )
    command = [sys.executable, "-c", code]
    (left,) = subprocess.run(command, capture_output=True, text=True).stdout.split()
    with temporary_copy() as ours:
        assert sorted(tmp_path.iterdir()) == sorted([ours, of_others])
        with temporary_copy() as other:
            assert ours.exists()
            (other / "runs").mkdir()
    assert not other.exists()
    assert left not in map(str, tmp_path.iterdir())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file://x/runs", "two workers could take one pack"),
        ("http://x/runs", "two workers could take one pack|cannot be opened"),
        ("bucket://x", "The workdir bucket://x cannot be opened"),
    ],
)
def test_a_file_system_that_cannot_do_it_is_refused(tmp_path, url, said):
    with pytest.raises(ValueError, match=said):
        Bucket.connect(url, tmp_path / "copy")


def test_whatever_a_file_system_raises_is_a_mistake_to_put_right(tmp_path, monkeypatch):
    class NoCredentials(Exception):
        pass

    def refuse(url):
        raise NoCredentials("who are you?")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(ValueError, match=r"who are you\? \(NoCredentials\)"):
        Bucket.connect("gs://x/runs", tmp_path / "copy")
