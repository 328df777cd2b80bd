"""Attempts against real second processes, and silent claims of other machines."""

import contextlib
import errno
import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
import types

import pytest

from rdt_jax import config as configs
from rdt_jax.store import attempt, membership, records, shelf
from rdt_jax.training import loop

_HOLD = """
import pathlib, sys, time
from rdt_jax.store import attempt
workdir, pack, lease, *runs = sys.argv[1:]
with attempt.hold(pathlib.Path(workdir), pack, runs, lease=float(lease)):
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
            attempt.hold(tmp_path, "a", ["one"]).__enter__()
        with pytest.raises(BlockingIOError, match="process is training run one; wait"):
            attempt.hold(tmp_path, "b", ["two", "one"]).__enter__()
        with attempt.hold(tmp_path, "c", ["two"]):  # Shares nothing.
            pass
        process.kill()  # With SIGKILL it cannot give anything back itself.
        process.wait()
        begin = time.monotonic()
        with attempt.hold(tmp_path, "a", ["one"]) as held:
            held.end("stopped", "asked", ["one"])
        assert time.monotonic() - begin < 5, "the lease was waited for"
    first, second = attempt.past(tmp_path, "a")
    assert (first.outcome, second.outcome) == ("preempted", "stopped")
    assert (second.message, second.unfinished) == ("asked", ["one"])
    assert attempt.past(tmp_path, "b") == []


def test_who_claims_between_two_looks_of_another_keeps_its_pack(tmp_path, monkeypatch):
    under_way, rivals = attempt.under_way, contextlib.ExitStack()

    def look_then_rival(workdir, watch):
        found = under_way(workdir, watch)
        monkeypatch.setattr(attempt, "under_way", under_way)
        rivals.enter_context(attempt.hold(tmp_path, "a", ["one"]))
        return found

    monkeypatch.setattr(attempt, "under_way", look_then_rival)
    with rivals:
        with pytest.raises(BlockingIOError, match="process is training pack a"):
            attempt.hold(tmp_path, "a", ["one"]).__enter__()
        assert len(attempt.past(tmp_path, "a")) == 1


def test_a_heartbeat_outlives_an_error_of_any_kind():
    beats = []

    def rewrite(content):
        beats.append(content)
        if len(beats) == 1:
            raise RuntimeError("the bucket is not well")

    with attempt._beating(rewrite, {"lease": 0.1}, lambda: False):
        late = time.monotonic() + 20
        while len(beats) < 3 and time.monotonic() < late:
            time.sleep(0.01)
    assert len(beats) >= 3


def test_a_heart_beats_four_times_per_lease_and_sooner_after_a_failure(monkeypatch):
    """Stores allow about one write of an object in a second."""
    waits = []

    class Pauses:
        def wait(self, seconds):
            waits.append(seconds)
            return len(waits) == 5

        def set(self):
            pass

    beats = []

    def rewrite(content):
        beats.append(content)
        if len(beats) in (2, 3):
            raise TimeoutError

    patched = types.SimpleNamespace(Event=Pauses, Thread=threading.Thread)
    monkeypatch.setattr(attempt, "threading", patched)
    with attempt._beating(rewrite, {"lease": 60.0}, lambda: False) as failures:
        pass
    assert waits == [15, 15, 3.75, 3.75, 15] and not failures


def test_who_lost_a_lease_hears_why_its_heart_failed(tmp_path, monkeypatch):
    for name in ("one", "state"):
        (tmp_path / name).mkdir()
    shelves = shelf.own(tmp_path / "state")

    @contextlib.contextmanager
    def create(name, content):
        def rewrite(content):
            raise TimeoutError("429: too many writes")

        with shelves.create(name, content):
            yield rewrite

    monkeypatch.setattr(shelf, "own", lambda folder: shelves._replace(create=create))
    with attempt.hold(tmp_path, "a", ["one"], lease=0.1) as held:
        time.sleep(0.2)
        (tmp_path / "state" / "a.2.json").touch()
        with pytest.raises(attempt.TakenOver, match=r"0.1 s \(429: too many writes\)"):
            held.check()


def test_a_heart_stops_once_its_attempt_is_taken_over():
    beats = []
    with attempt._beating(beats.append, {"lease": 0.1}, lambda: len(beats) >= 3):
        time.sleep(0.5)
    assert len(beats) == 3


def claim_of_another_machine(workdir, pack, runs, lease=60.0, beat=0):
    state = workdir / "state"
    state.mkdir(exist_ok=True)
    content = {"machine": "far", "lease": lease, "step": -1, "runs": runs, "beat": beat}
    (state / f"{pack}.1.json").write_text(json.dumps(content))
    return state / f"{pack}.1.json"


def look(watch, workdir):
    return [(claim.pack, claim.look) for claim in attempt.under_way(workdir, watch)]


def test_a_lease_is_measured_by_the_clock_of_who_waits(tmp_path, monkeypatch):
    """Whatever the other machine's clock says, and the times of its files."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    claim = claim_of_another_machine(tmp_path, "a", ["one"], lease=60)
    watch = attempt.Watch()
    for skew in (-3600, 0, 3600):
        os.utime(claim, (time.time() + skew,) * 2)
        assert look(watch, tmp_path) == [("a", "silent")]
    now += 59
    assert look(watch, tmp_path) == [("a", "silent")]
    claim_of_another_machine(tmp_path, "a", ["one"], lease=60, beat=1)
    assert look(watch, tmp_path) == [("a", "alive")]
    now += 59
    os.utime(claim, (time.time() + 600,) * 2)  # Touching it is no sign of life.
    assert look(watch, tmp_path) == [("a", "alive")]
    now += 2
    assert look(watch, tmp_path) == []
    assert look(attempt.Watch(), tmp_path) == [("a", "silent")], "others wait as well"


@pytest.mark.parametrize("content", ["", '{"lease": 0.', "[1]"])
def test_a_claim_that_is_half_written_counts_until_its_lease_is_over(
    tmp_path, monkeypatch, content
):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    claim_of_another_machine(tmp_path, "a", ["one"]).write_text(content)
    watch = attempt.Watch()
    assert look(watch, tmp_path) == [("a", "silent")]
    now += attempt.LEASE_SECONDS
    assert look(watch, tmp_path) == []
    with attempt.hold(tmp_path, "a", ["one"], watch=watch):
        assert [each.number for each in attempt.past(tmp_path, "a")] == [1, 2]


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
        attempt.hold(tmp_path, "a", ["one"]).__enter__()
    assert now < 1010
    beats = 0
    with attempt.hold(tmp_path, "a", ["one"]):
        assert now > 1060


def test_who_lost_its_lease_can_write_nothing_more(root, tmp_path, monkeypatch):
    """A stopped process is taken over, and is fenced off wherever it was held up."""
    run = tmp_path / "one"
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"step": 0}\n')
    with attempt.hold(tmp_path, "a", ["one"], lease=60) as old:
        opened = (old.view / "one" / "metrics.jsonl").open("a")
        records.append(old.view / "one" / "metrics.jsonl", {"step": 1})
        watch = attempt.Watch()
        attempt.under_way(tmp_path, watch)
        later = time.monotonic() + 61
        with monkeypatch.context() as patch:
            patch.setattr(time, "monotonic", lambda: later)
            patch.setattr(attempt, "_beating", lambda *_: contextlib.nullcontext())
            (seen,) = attempt.under_way(tmp_path, attempt.Watch())
            assert seen.look == "alive"  # Its lock is held: only the lease can tell.
            with attempt.hold(tmp_path, "a", ["one"], watch=watch) as new:
                with pytest.raises(attempt.TakenOver, match="taken over pack a"):
                    old.check()
                for path in ("metrics.jsonl", "status.json"):
                    with pytest.raises(FileNotFoundError):
                        records.append(old.view / "one" / path, {"step": 2})
                with pytest.raises(FileNotFoundError):
                    records.write_json(old.view / "one" / "status.json", {})
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
        watch = attempt.Watch()
        os.kill(process.pid, signal.SIGSTOP)
        deadline = time.monotonic() + 30
        while attempt.under_way(tmp_path, watch):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with attempt.hold(tmp_path, "a", ["one"], watch=watch) as held:
            os.kill(process.pid, signal.SIGCONT)
            time.sleep(0.5)  # It beats again, into a claim that is not the newest.
            held.check()


def test_only_one_of_many_takes_over(tmp_path):
    """A claim is created, not written: who comes second finds it there."""
    with attempt.hold(tmp_path, "a", ["one"]):
        path = tmp_path / "state" / "a.1.json"
        with pytest.raises(FileExistsError):
            shelf._create_locked(path, b"")
        assert json.loads(path.read_text())["runs"] == ["one"]
    assert sorted(p.name for p in (tmp_path / "state").iterdir()) == ["a.1.json"]


def unsupported(code):
    def refuse(*arguments, **named):
        raise OSError(code, os.strerror(code))

    return refuse


def test_without_locks_claims_are_created_once_and_leases_tell(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", unsupported(errno.ENOLCK))
    with attempt.hold(tmp_path, "a", ["one"], lease=1):
        with pytest.raises(FileExistsError):
            shelf.own(tmp_path / "state").create("a.1.json", b"").__enter__()
        with pytest.raises(BlockingIOError, match="is training pack a"):
            attempt.hold(tmp_path, "a", ["one"]).__enter__()  # It saw the heart beat.
        with pytest.raises(BlockingIOError, match="is training run one"):
            attempt.hold(tmp_path, "b", ["one"]).__enter__()
    begin = time.monotonic()
    with attempt.hold(tmp_path, "a", ["one"]):  # The heart has stopped.
        assert 1 <= time.monotonic() - begin < 20
    assert [past.number for past in attempt.past(tmp_path, "a")] == [1, 2]
    assert not list((tmp_path / "state").glob(".*"))


def test_a_claim_that_was_locked_once_is_told_by_its_lease(tmp_path, monkeypatch):
    with attempt.hold(tmp_path, "a", ["one"]):
        monkeypatch.setattr(fcntl, "flock", unsupported(errno.ENOLCK))
        assert look(attempt.Watch(), tmp_path) == [("a", "alive")]


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP])
def test_a_file_system_without_symbolic_links_is_refused(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "symlink", unsupported(code))
    message = f"{tmp_path} must be on a file system with symbolic links"
    with pytest.raises(ValueError, match=message):
        attempt.hold(tmp_path, "a", ["one"]).__enter__()
    assert [path.name for path in tmp_path.rglob("*")] == ["state"]
    monkeypatch.setattr(os, "symlink", unsupported(errno.EACCES))
    with pytest.raises(PermissionError, match=f"denied: '{tmp_path / 'state'}'$"):
        attempt.hold(tmp_path, "a", ["one"]).__enter__()


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
        with attempt.hold(tmp_path, "a", ["one"]):
            pass
    assert {path.name for path in pack.iterdir()} == {*names}
    claims = {"a.1.json", "a.2.json"}
    assert {path.name for path in (tmp_path / "state").iterdir()} == {*strays, *claims}


def test_a_run_that_trains_in_a_pack_cannot_be_trained_alone(toy, root, tmp_path):
    pack = [toy({"seed": seed}) for seed in (1, 2)]
    names = [configs.run_id(config) for config in pack]
    for name, config in zip(names, pack, strict=True):
        records.create(tmp_path / name, config)
    before = {path: os.stat(path).st_mtime_ns for path in tmp_path.glob("*/*")}
    message = f"training run {names[0]}; wait for it, or stop it"
    with held_elsewhere(root, tmp_path, membership.pack_id(pack), names):
        with pytest.raises(BlockingIOError, match=message):
            loop.train(pack[:1], tmp_path)
    assert {path: os.stat(path).st_mtime_ns for path in before} == before


def test_two_packs_that_share_a_run_and_begin_at_once_exclude_each_other(
    tmp_path, monkeypatch
):
    """The other claim comes after the first look and before our own claim."""
    under_way = attempt.under_way

    def look_and_plant(workdir, watch):
        found = under_way(workdir, watch)
        claim_of_another_machine(workdir, "b", ["two", "one"])
        return found

    monkeypatch.setattr(attempt, "under_way", look_and_plant)
    with pytest.raises(BlockingIOError, match="is training run one"):
        attempt.hold(tmp_path, "a", ["one"]).__enter__()
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["b.1.json"]
