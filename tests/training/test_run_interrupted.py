"""A run that was stopped or damaged ends bit-identical to an undisturbed one."""

import contextlib
import json
import platform
import shutil
import subprocess

import jax
import orbax.checkpoint
import pytest

from rdt_jax import config as configs
from rdt_jax.store import checkpoint, files, leases, records, run_folder
from tests import fake_runs
from tests.training import bits
from tests.training.test_run import NAN


def stop_at_call(number, action=lambda: True):
    """Returns a `stop_requested` whose call `number`, from 1, returns `action()`."""
    calls = []

    def stop_requested():
        calls.append(None)
        return len(calls) == number and action()

    return stop_requested


def folder_of(workdir, toy):
    return workdir / configs.run_id(toy())


def checkpoints(workdir, toy):
    return workdir / "packs" / bits.pack_name([toy()]) / "checkpoints"


def test_stopped_again_and_again(train, toy, tmp_path, undisturbed):
    folder, told = folder_of(tmp_path, toy), []
    for number in (1, 2, 5, 2, 7):  # The first dispatch of a session is one update.
        (status,) = train([toy()], tmp_path, should_stop=stop_at_call(number))
        told.append((status["state"], status["step"]))
        assert status == run_folder.read_status(folder)
        # What a kill leaves after the checkpoint: whole rows, and a torn one.
        for name in ("metrics.jsonl", "events.jsonl", "timing.jsonl"):
            stale = fake_runs.row(name, status["step"] + 4, stale=1)
            records.append(folder / name, stale)
            with (folder / name).open("a") as file:
                file.write('{"step": 1')
    assert told == [("preempted", at) for at in (0, 1, 12, 13, 32)]
    (status,) = train([toy()], tmp_path, log=pytest.fail)
    assert (status["state"], status["reason"]) == ("done", "budget")
    bits.assert_same_runs(tmp_path, undisturbed)
    timing = records.read_rows(folder / "timing.jsonl")
    assert [row["step"] for row in timing] == list(range(0, 57, 4))


def test_a_stop_at_a_checkpoint_does_not_write_it_again(
    train, toy, tmp_path, monkeypatch
):
    """A kill between the files of a second upload would leave a damaged commit."""
    steps, save = [], checkpoint.save_rotating

    def save_rotating(folder, step, state, extra):
        steps.append(step)
        save(folder, step, state, extra)

    monkeypatch.setattr(checkpoint, "save_rotating", save_rotating)
    (status,) = train([toy()], tmp_path, should_stop=lambda: bool(steps))
    assert (status["state"], [status["step"]]) == ("preempted", steps)


def test_a_process_may_end_where_nothing_is_lost(train, toy, tmp_path, undisturbed):
    """At each such place it does, after it has said so; then the run goes on."""
    folder, pack = folder_of(tmp_path, toy), bits.pack_name([toy()])
    seen = []

    def ends_at(number):
        entered = []

        @contextlib.contextmanager
        def may_end(leave):
            entered.append(None)
            status = run_folder.read_status(folder)
            steps = checkpoint.steps_in(checkpoints(tmp_path, toy)) or [0]
            assert status["step"] in (0, steps[-1])
            if len(entered) == number:
                leave()
                seen.append(run_folder.read_status(folder)["state"])
                raise KeyboardInterrupt  # The process is gone.
            yield

        return may_end

    for number in (2, 3, 4):  # Setting up, the first evaluation, compiling.
        with pytest.raises(KeyboardInterrupt):
            train([toy()], tmp_path, may_end=ends_at(number))
    train([toy()], tmp_path, should_stop=stop_at_call(6))
    assert run_folder.read_status(folder)["step"] == 16
    for number in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            train([toy()], tmp_path, may_end=ends_at(number))
    assert seen == ["preempted"] * 5
    train([toy()], tmp_path, may_end=ends_at(99))
    outcomes = [past.outcome for past in leases.history(tmp_path, pack)]
    assert outcomes == ["stopped"] * 6 + ["done"]  # None of them was lost.
    bits.assert_same_runs(tmp_path, undisturbed)


def test_a_run_killed_before_its_last_status_is_done(train, toy, tmp_path):
    train([toy()], tmp_path)
    path = folder_of(tmp_path, toy) / "status.json"
    done = files.read_json(path)
    files.write_json(path, done | {"state": "running", "reason": None})
    (status,) = train([toy()], tmp_path, log=pytest.fail)
    assert status == files.read_json(path) == done | {"updates_per_second": None}


def test_the_status_follows_the_run(train, toy, tmp_path):
    folder, seen = folder_of(tmp_path, toy), []

    def stop_requested():
        status = run_folder.read_status(folder)
        seen.append((status["state"], status["step"]))
        return len(seen) == 4

    train([toy()], tmp_path, should_stop=stop_requested)
    states, steps = zip(*seen, strict=True)
    assert set(states) == {"running"} and list(steps) == sorted(steps)
    # Progress may be written late, and never before it is made.
    assert all(s <= at for s, at in zip(steps, (0, 1, 4, 8), strict=True))
    status = run_folder.read_status(folder)
    assert (status["state"], status["step"]) == ("preempted", 8)


def test_a_status_that_was_being_written_does_not_outlive_its_run(
    train, toy, tmp_path, undisturbed
):
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    with subprocess.Popen("true") as dead:
        dead.wait()
    name = f".status.json.{platform.node()}.{dead.pid}.tmp"
    (folder_of(tmp_path, toy) / name).write_text('{"sta')
    train([toy()], tmp_path)
    bits.assert_same_runs(tmp_path, undisturbed)


@pytest.mark.parametrize("damaged", [1, 2])
def test_damaged_checkpoints_are_set_aside(train, toy, tmp_path, undisturbed, damaged):
    train([toy()], tmp_path, should_stop=stop_at_call(12))
    folder = checkpoints(tmp_path, toy)
    newest = sorted(folder.iterdir(), key=lambda path: -int(path.name))
    assert [path.name for path in newest] == ["40", "32"]
    for path in newest[:damaged]:
        victim = max(
            (p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
        )
        broken = bytearray(victim.read_bytes())
        broken[len(broken) // 2] ^= 4
        victim.write_bytes(broken)
    reports = []
    train([toy()], tmp_path, log=reports.append)
    assert len(reports) == damaged
    for path, report in zip(newest, reports, strict=False):
        assert f"{path} is damaged" in report
        assert path.with_name(path.name + ".damaged").is_dir()
    bits.assert_same_runs(tmp_path, undisturbed)


@pytest.mark.parametrize("name", ["metrics.jsonl", "events.jsonl", "timing.jsonl"])
def test_a_full_disk_ends_the_run_and_spoils_nothing(
    train, toy, tmp_path, undisturbed, monkeypatch, name
):
    append = records.append

    def append_half(path, row):
        if path.name == name and row["step"] > 8:
            with path.open("a") as file:
                file.write('{"step": 1')
            raise OSError(28, "No space left on device")
        append(path, row)

    with monkeypatch.context() as patch:
        patch.setattr(records, "append", append_half)
        with pytest.raises(OSError, match="No space left"):
            train([toy()], tmp_path)
    status = run_folder.read_status(folder_of(tmp_path, toy))
    assert (status["state"], status["reason"]) == ("failed", "error")
    train([toy()], tmp_path)
    bits.assert_same_runs(tmp_path, undisturbed)


def test_snapshots_survive_a_kill(train, toy, tmp_path, monkeypatch):
    config = toy({"snapshot_steps": (8, 20, 24), "num_steps": 32})
    train([config], tmp_path / "undisturbed")
    save = checkpoint.save

    def killed(path, state, extra):
        save(path, state, extra)
        if path.name == "snapshot-at-20":  # The newest checkpoint is of step 16.
            raise KeyboardInterrupt  # Nothing is tidied, as after a kill.

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            train([config], tmp_path / "killed")
    train([config], tmp_path / "killed")
    bits.assert_same_runs(tmp_path / "killed", tmp_path / "undisturbed")


@pytest.mark.parametrize("kind", ["rotating", "pinned"])
def test_a_disk_too_full_for_a_checkpoint_spoils_nothing(
    train, toy, tmp_path, undisturbed, monkeypatch, kind
):
    write = orbax.checkpoint.Checkpointer.save

    def full_disk(saver, path, args):
        if ("checkpoints" in path.parts) == (kind == "rotating"):
            raise OSError(28, "No space left on device")
        write(saver, path, args)

    with monkeypatch.context() as patch:
        patch.setattr(orbax.checkpoint.Checkpointer, "save", full_disk)
        with pytest.raises(OSError, match="No space left"):
            train([toy()], tmp_path)
    train([toy()], tmp_path)
    bits.assert_same_runs(tmp_path, undisturbed)


def test_a_pack_that_is_being_trained_refuses_another_trainer(train, toy, tmp_path):
    refused = []

    def train_it_again():
        before = run_folder.read_status(folder_of(tmp_path, toy))
        with pytest.raises(BlockingIOError, match="Another process is training pack"):
            train([toy()], tmp_path)
        refused.append(before == run_folder.read_status(folder_of(tmp_path, toy)))
        return True

    (status,) = train([toy()], tmp_path, should_stop=stop_at_call(3, train_it_again))
    assert refused == [True]
    assert status["state"] == "preempted"
    train([toy()], tmp_path, should_stop=stop_at_call(1))  # Free again.


def test_going_on_elsewhere_is_reported(train, toy, tmp_path):
    sources = [{"commit": None, "sha256": {"c.py": digit * 64}} for digit in "12"]
    begin, go_on = ({"config_file": file} for file in sources)
    train([toy()], tmp_path, should_stop=stop_at_call(2), **begin)
    path = folder_of(tmp_path, toy) / "environment.json"
    content = files.read_json(path)
    (here,) = content["segments"]
    elsewhere = here | {"threads": 999, "devices": ["TPU v9"]}
    files.write_json(path, content | {"segments": [elsewhere]})
    reports = []
    stop = stop_at_call(1)
    train([toy()], tmp_path, should_stop=stop, log=reports.append, **go_on)
    assert len(reports) == 1
    assert f"config_file sha256 c.py is {'2' * 12}, was {'1' * 12}; " in reports[0]
    assert "goes on from step 1 in another environment than before" in reports[0]
    assert "; threads is " in reports[0] and ", was 999." in reports[0]
    expected = [elsewhere, here | {"step": 1} | go_on]
    assert files.read_json(path) == content | {"segments": expected}


def test_no_setting_of_random_numbers_changes_a_run(train, toy, tmp_path, undisturbed):
    with jax.default_prng_impl("rbg"), jax.threefry_partitionable(False):
        train([toy()], tmp_path)
    bits.assert_same_runs(tmp_path, undisturbed)


def test_damaged_records_stop_a_resumed_run(train, toy, tmp_path):
    train([toy()], tmp_path, should_stop=stop_at_call(5))
    path = folder_of(tmp_path, toy) / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(json.dumps({"step": 0})[:-3] + "\n" + "".join(lines[1:]))
    with pytest.raises(ValueError, match=r"metrics\.jsonl line 1 is damaged"):
        train([toy()], tmp_path)


def cut(path):
    """Damages the last line of a file; returns how many rows are left."""
    path.write_bytes(path.read_bytes()[:-5])
    return len(records.read_rows(path))


@pytest.mark.parametrize("name", ["metrics.jsonl", "events.jsonl"])
def test_a_damaged_last_row_is_made_again(train, toy, tmp_path, undisturbed, name):
    (status,) = train([toy()], tmp_path, should_stop=stop_at_call(12))
    assert (status["state"], status["step"]) == ("preempted", 40)
    left = cut(folder_of(tmp_path, toy) / name)
    reports = []
    train([toy()], tmp_path, log=reports.append)
    newest = checkpoints(tmp_path, toy) / str(status["step"])
    assert f"Checkpoint {newest} cannot be used: " in reports[0]
    assert f"{name} had {left + 1} rows up to it, and has {left}" in reports[0]
    bits.assert_same_runs(tmp_path, undisturbed)
    assert not train([toy()], tmp_path, log=pytest.fail)[0]["step"] < 56
    left = cut(folder_of(tmp_path, toy) / name)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=rf"{name} line {left + 1} is damaged, and"):
        train([toy()], tmp_path, log=pytest.fail)
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


def test_a_run_without_a_fitting_checkpoint_begins_again(
    train, toy, tmp_path, undisturbed
):
    train([toy()], tmp_path, should_stop=stop_at_call(12))
    path = folder_of(tmp_path, toy) / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-20000])
    assert records.read_rows(path)[-1]["step"] < 32
    reports = []
    train([toy()], tmp_path, log=reports.append)
    assert len(reports) == 2
    bits.assert_same_runs(tmp_path, undisturbed)


def test_a_kill_while_a_run_that_was_over_begins_again_costs_nothing(
    train, toy, tmp_path, monkeypatch
):
    """Its pack's checkpoints are damaged, and its status says what its records were."""
    broken, other = pack = [toy(NAN), toy({"seed": 1})]
    train(pack, tmp_path / "whole")
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path / "whole", killed)
    run_folder.reopen(killed / configs.run_id(other))
    for path in killed.glob("packs/*/checkpoints/*/extra.json"):
        path.write_text("{")
    cut = []

    def truncate(folder, step, truncate=records.truncate):
        truncate(folder, step)
        cut.append(folder.name)
        if len(cut) == len(pack):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(records, "truncate", truncate)
        with pytest.raises(KeyboardInterrupt):
            train(pack, killed, log=lambda message: None)
    assert configs.run_id(broken) in cut
    assert not records.read_rows(killed / configs.run_id(broken) / "metrics.jsonl")
    train(pack, killed, log=lambda message: None)
    bits.assert_same_runs(killed, tmp_path / "whole")


def test_a_pack_goes_on_in_any_order(train, toy, tmp_path):
    pack = [toy({"seed": seed}) for seed in (3, 1)]
    train(pack, tmp_path / "a")
    train(pack, tmp_path / "b", should_stop=stop_at_call(3))
    train(pack[::-1], tmp_path / "b")
    bits.assert_same_runs(tmp_path / "b", tmp_path / "a")
