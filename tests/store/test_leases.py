"""Leases against real second processes, and silent holders on other machines."""

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from rdt_jax import config as configs
from rdt_jax.store import files, leases, packs, records, run_folder
from rdt_jax.store.lease_files import Disk
from rdt_jax.store.leases import Heartbeat, Leases, Observer
from rdt_jax.training.run import train

_HOLD = """
import pathlib, sys, time
from rdt_jax.store.lease_files import Disk
from rdt_jax.store.leases import Leases
workdir, pack, lease, *runs = sys.argv[1:]
with Leases(Disk(pathlib.Path(workdir)), float(lease)).acquire(pack, runs):
    print("held", flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def held_elsewhere(root, workdir, pack, runs, lease=60):
    command = [sys.executable, "-c", _HOLD, workdir, pack, str(lease), *runs]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


def test_one_process_holds_a_pack_and_its_runs_until_it_ends(root, tmp_path):
    with held_elsewhere(root, tmp_path, "a", ["one"]) as process:
        with pytest.raises(BlockingIOError, match="process is training pack a; wait"):
            Leases(Disk(tmp_path)).acquire("a", ["one"]).__enter__()
        with pytest.raises(BlockingIOError, match="process is training run one; wait"):
            Leases(Disk(tmp_path)).acquire("b", ["two", "one"]).__enter__()
        with Leases(Disk(tmp_path)).acquire("c", ["two"]):  # Shares nothing.
            pass
        process.kill()  # With SIGKILL it cannot give anything back itself.
        process.wait()
        begin = time.monotonic()
        with Leases(Disk(tmp_path)).acquire("a", ["one"]) as held:
            held.end("stopped", "asked", ["one"])
        assert time.monotonic() - begin < 5, "the lease was waited for"
    first, second = leases.history(tmp_path, "a")
    assert (first.outcome, second.outcome) == ("preempted", "stopped")
    assert (second.message, second.unfinished) == ("asked", ["one"])
    assert leases.history(tmp_path, "b") == []


@dataclasses.dataclass(frozen=True)
class BeforeCreating:
    """A disk on which somebody does something before a file is created."""

    disk: Disk
    act: Callable[[], object]

    def __getattr__(self, name):
        return getattr(self.disk, name)

    def create(self, name, content):
        self.act()
        return self.disk.create(name, content)


def acquire_after(act, workdir):
    """Acquires a lease; `act` happens between its first look and its own file."""
    shared = BeforeCreating(Disk(workdir), act)
    return Leases(shared).acquire("a", ["one"]).__enter__()


def test_who_claims_between_two_looks_of_another_keeps_its_pack(tmp_path):
    with contextlib.ExitStack() as rivals:
        rival = Leases(Disk(tmp_path)).acquire("a", ["one"])
        with pytest.raises(BlockingIOError, match="process is training pack a"):
            acquire_after(lambda: rivals.enter_context(rival), tmp_path)
        assert len(leases.history(tmp_path, "a")) == 1


class Pauses:
    """An event that nobody waits for; it is set after some waits, which it notes."""

    def __init__(self, waits):
        self.most, self.waits = waits, []

    def wait(self, seconds):
        self.waits.append(seconds)
        return len(self.waits) == self.most

    def set(self):
        pass


def test_a_heart_beats_four_times_per_lease_and_sooner_after_a_failure():
    """Of any kind. Stores allow about one write of an object in a second."""
    beats, pauses = [], Pauses(5)

    def rewrite(content):
        beats.append(content)
        if len(beats) in (2, 3):
            raise RuntimeError("the bucket is not well")

    with Heartbeat(rewrite, {"lease": 60.0}, lambda: False, pauses) as heartbeat:
        pass
    assert pauses.waits == [15, 15, 3.75, 3.75, 15] and not heartbeat.failures


def test_a_heart_stops_once_its_lease_is_taken_over():
    beats, pauses = [], Pauses(9)
    with Heartbeat(beats.append, {"lease": 1.0}, lambda: len(beats) >= 3, pauses):
        pass
    assert len(beats) == 3


def test_who_lost_a_lease_hears_why_its_heart_failed(tmp_path):
    class Failing(Disk):
        @contextlib.contextmanager
        def create(self, name, content):
            def rewrite(content):
                raise TimeoutError("429: too many writes")

            with super().create(name, content):
                yield rewrite

    with Leases(Failing(tmp_path), 0.1).acquire("a", ["one"]) as lease:
        time.sleep(0.2)
        (tmp_path / "state" / "a.2.json").touch()
        with pytest.raises(leases.TakenOver, match=r"0.1 s \(429: too many writes\)"):
            lease.check()


def claim_of_another_machine(workdir, pack, runs, lease=60.0, beat=0):
    state = workdir / "state"
    state.mkdir(exist_ok=True)
    content = {"machine": "far", "lease": lease, "step": -1, "runs": runs, "beat": beat}
    (state / f"{pack}.1.json").write_text(json.dumps(content))
    return state / f"{pack}.1.json"


def look(observer, workdir):
    found = leases.holders(workdir, observer)
    return [(holder.pack, "alive" if holder.is_alive else "silent") for holder in found]


def test_a_lease_is_measured_by_the_clock_of_who_waits(tmp_path, monkeypatch):
    """Whatever the other machine's clock says, and the times of its files."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    claim = claim_of_another_machine(tmp_path, "a", ["one"], lease=60)
    observer = Observer()
    for skew in (-3600, 0, 3600):
        os.utime(claim, (time.time() + skew,) * 2)
        assert look(observer, tmp_path) == [("a", "silent")]
    now += 59
    assert look(observer, tmp_path) == [("a", "silent")]
    claim_of_another_machine(tmp_path, "a", ["one"], lease=60, beat=1)
    assert look(observer, tmp_path) == [("a", "alive")]
    now += 59
    os.utime(claim, (time.time() + 600,) * 2)  # Touching it is no sign of life.
    assert look(observer, tmp_path) == [("a", "alive")]
    now += 2
    assert look(observer, tmp_path) == []
    assert look(Observer(), tmp_path) == [("a", "silent")], "others wait as well"


@pytest.mark.parametrize("content", ["", '{"lease": 0.', "[1]"])
def test_a_claim_that_is_half_written_counts_until_its_lease_is_over(
    tmp_path, monkeypatch, content
):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    claim_of_another_machine(tmp_path, "a", ["one"]).write_text(content)
    observer = Observer()
    assert look(observer, tmp_path) == [("a", "silent")]
    now += leases.LEASE_SECONDS
    assert look(observer, tmp_path) == []
    with Leases(Disk(tmp_path), observer=observer).acquire("a", ["one"]):
        assert [past.number for past in leases.history(tmp_path, "a")] == [1, 2]


def test_a_silent_claim_is_waited_for_and_a_live_one_refuses(tmp_path, monkeypatch):
    now, beats = 1000.0, 0

    def sleep(seconds):
        nonlocal now
        now += seconds
        if beats:
            claim_of_another_machine(tmp_path, "a", ["one"], beat=beats)

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "sleep", sleep)
    claim_of_another_machine(tmp_path, "a", ["one"])
    beats = 7
    with pytest.raises(BlockingIOError, match="is training pack a"):
        Leases(Disk(tmp_path)).acquire("a", ["one"]).__enter__()
    assert now < 1010
    beats = 0
    with Leases(Disk(tmp_path)).acquire("a", ["one"]):
        assert now > 1060


def test_who_lost_its_lease_can_write_nothing_more(root, tmp_path, monkeypatch):
    """A stopped process is taken over, and is fenced off wherever it was held up."""
    run = tmp_path / "one"
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"step": 0}\n')
    with Leases(Disk(tmp_path), 60).acquire("a", ["one"]) as old:
        opened = (old.view / "one" / "metrics.jsonl").open("a")
        records.append(old.view / "one" / "metrics.jsonl", {"step": 1})
        observer = Observer()
        leases.holders(tmp_path, observer)
        later = time.monotonic() + 61
        with monkeypatch.context() as patch:
            patch.setattr(time, "monotonic", lambda: later)
            (seen,) = leases.holders(tmp_path, Observer())
            assert seen.is_alive  # Its lock is held: only the lease can tell.
            with Leases(Disk(tmp_path), observer=observer).acquire("a", ["one"]) as new:
                for is_lost in (old.check, lambda: old.commit(4)):
                    with pytest.raises(leases.TakenOver, match="taken over pack a"):
                        is_lost()
                for path in ("metrics.jsonl", "status.json"):
                    with pytest.raises(FileNotFoundError):
                        records.append(old.view / "one" / path, {"step": 2})
                with pytest.raises(FileNotFoundError):
                    files.write_json(old.view / "one" / "status.json", {})
                (new.view / "one" / "transitions").mkdir()
                for name in ("events.jsonl", "timing.jsonl"):
                    (run / name).touch()
                records.truncate(new.view / "one", 1)
                with opened:
                    opened.write('{"step": 3}\n')
                rows = records.read_rows(run / "metrics.jsonl")
                assert rows == [{"step": 0}, {"step": 1}]
                new.check()


def test_a_stopped_process_loses_its_pack_after_its_lease(root, tmp_path):
    with held_elsewhere(root, tmp_path, "a", ["one"], lease=1) as process:
        observer = Observer()
        os.kill(process.pid, signal.SIGSTOP)
        deadline = time.monotonic() + 30
        while leases.holders(tmp_path, observer):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with Leases(Disk(tmp_path), observer=observer).acquire("a", ["one"]) as held:
            os.kill(process.pid, signal.SIGCONT)
            time.sleep(0.5)  # It beats again, into a claim that is not the newest.
            held.check()


def unsupported(code):
    def refuse(*arguments, **named):
        raise OSError(code, os.strerror(code))

    return refuse


def test_without_locks_claims_are_created_once_and_leases_tell(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", unsupported(errno.ENOLCK))
    with Leases(Disk(tmp_path), 1).acquire("a", ["one"]):
        with pytest.raises(FileExistsError):
            Disk(tmp_path).create("a.1.json", b"").__enter__()
        with pytest.raises(BlockingIOError, match="is training pack a"):
            # It saw the heart beat.
            Leases(Disk(tmp_path), 1).acquire("a", ["one"]).__enter__()
        with pytest.raises(BlockingIOError, match="is training run one"):
            Leases(Disk(tmp_path), 1).acquire("b", ["one"]).__enter__()
    begin = time.monotonic()
    with Leases(Disk(tmp_path), 1).acquire("a", ["one"]):  # The heart has stopped.
        assert 1 <= time.monotonic() - begin < 20
    assert [past.number for past in leases.history(tmp_path, "a")] == [1, 2]
    assert not list((tmp_path / "state").glob(".*"))


def test_a_claim_that_was_locked_once_is_told_by_its_lease(tmp_path, monkeypatch):
    with Leases(Disk(tmp_path)).acquire("a", ["one"]):
        monkeypatch.setattr(fcntl, "flock", unsupported(errno.ENOLCK))
        assert look(Observer(), tmp_path) == [("a", "alive")]


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP])
def test_a_file_system_without_symbolic_links_is_refused(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "symlink", unsupported(code))
    message = f"{tmp_path} must be on a file system with symbolic links"
    with pytest.raises(ValueError, match=message):
        Leases(Disk(tmp_path)).acquire("a", ["one"]).__enter__()
    assert [path.name for path in tmp_path.rglob("*")] == ["state"]
    monkeypatch.setattr(os, "symlink", unsupported(errno.EACCES))
    with pytest.raises(PermissionError, match=f"denied: '{tmp_path / 'state'}'$"):
        Leases(Disk(tmp_path)).acquire("a", ["one"]).__enter__()


def test_files_of_others_beside_claims_and_views_are_left(tmp_path):
    pack = tmp_path / "packs" / "a"
    names = ["attempt-old", "attempt-0x", "was-attempt-mine", "notes"]
    for name in names:
        (pack / name).mkdir(parents=True)
    strays = [".DS_Store", "notes.copy.json", "a.old.json", "x.tmp", "json", "a.json"]
    strays += [f".x.{platform.node()}.y.tmp"]
    (tmp_path / "state").mkdir()
    for name in strays:
        (tmp_path / "state" / name).write_text("of somebody else")
    for _ in range(2):
        with Leases(Disk(tmp_path)).acquire("a", ["one"]):
            pass
    assert {path.name for path in pack.iterdir()} == {*names}
    claims = {"a.1.json", "a.2.json"}
    assert {path.name for path in (tmp_path / "state").iterdir()} == {*strays, *claims}


def test_a_run_that_trains_in_a_pack_cannot_be_trained_alone(toy, root, tmp_path):
    pack = [toy({"seed": seed}) for seed in (1, 2)]
    names = [configs.run_id(config) for config in pack]
    for name, config in zip(names, pack, strict=True):
        run_folder.create(tmp_path / name, config)
    before = {path: os.stat(path).st_mtime_ns for path in tmp_path.glob("*/*")}
    message = f"training run {names[0]}; wait for it, or stop it"
    with held_elsewhere(root, tmp_path, packs.pack_of(names), names):
        with pytest.raises(BlockingIOError, match=message):
            train(pack[:1], tmp_path)
    assert {path: os.stat(path).st_mtime_ns for path in before} == before


def test_two_packs_that_share_a_run_and_begin_at_once_exclude_each_other(tmp_path):
    """The other claim comes after the first look and before our own claim."""
    plant = lambda: claim_of_another_machine(tmp_path, "b", ["two", "one"])
    with pytest.raises(BlockingIOError, match="is training run one"):
        acquire_after(plant, tmp_path)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["b.1.json"]
