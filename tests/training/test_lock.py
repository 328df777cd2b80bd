"""Locks against real second processes; within one, two open files conflict as well."""

import contextlib
import os
import subprocess
import sys
import time

import pytest

from rdt_jax import config as configs
from rdt_jax.training import lock, loop, records

_HOLD = """
import pathlib, sys, time
from rdt_jax.training import lock
pack, *runs = map(pathlib.Path, sys.argv[1:])
with lock.hold(pack, runs):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def runs(tmp_path):
    """Two run folders, as far as locks go."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
    return folders


@contextlib.contextmanager
def held_elsewhere(root, pack, runs):
    command = [sys.executable, "-c", _HOLD, pack, *runs]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


def test_another_process_holds_the_pack_the_run_or_neither(root, tmp_path, runs):
    packs = [tmp_path / "packs" / name for name in "abc"]
    with held_elsewhere(root, packs[0], runs[:1]) as process:
        with pytest.raises(BlockingIOError, match="process is training pack a; wait"):
            lock.hold(packs[0], []).__enter__()
        with pytest.raises(BlockingIOError, match="process is training run one; wait"):
            lock.hold(packs[1], runs).__enter__()
        assert lock.is_held(packs[0])
        assert lock.is_held(packs[1], runs)
        assert not lock.is_held(packs[1], runs[1:])
        with lock.hold(packs[2], runs[1:]):  # What was refused holds nothing.
            pass
        process.kill()  # With SIGKILL it cannot give anything back itself.
        process.wait()
        with lock.hold(packs[0], runs):
            assert lock.is_held(packs[1], runs)
    assert not lock.is_held(packs[0], runs)
    assert [(folder / "config.json").read_text() for folder in runs] == ["{}", "{}"]
    assert sorted(path.name for path in runs[0].iterdir()) == ["config.json"]


def test_who_only_looks_disturbs_nobody(tmp_path, runs, monkeypatch):
    """A lock that is gone within moments is waited for."""
    monkeypatch.setattr(lock, "_PATIENCE_SECONDS", 60)
    look = lock.hold(tmp_path / "packs" / "a", runs)
    look.__enter__()
    monkeypatch.setattr(time, "sleep", lambda _: look.__exit__(None, None, None))
    with lock.hold(tmp_path / "packs" / "b", runs):
        pass


def test_a_run_that_trains_in_a_pack_cannot_be_trained_alone(toy, root, tmp_path):
    pack = [toy({"seed": seed}) for seed in (1, 2)]
    folders = [tmp_path / configs.run_id(config) for config in pack]
    for folder, config in zip(folders, pack, strict=True):
        records.create(folder, config)
    before = {path: os.stat(path).st_mtime_ns for path in tmp_path.glob("*/*")}
    held = tmp_path / "packs" / loop.pack_id(pack)
    message = f"training run {folders[0].name}; wait for it, or stop it"
    with held_elsewhere(root, held, folders):
        with pytest.raises(BlockingIOError, match=message):
            loop.train(pack[:1], tmp_path)
    assert {path: os.stat(path).st_mtime_ns for path in before} == before
