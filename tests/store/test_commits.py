"""Workdirs that come from a bucket, and those whose checkpoints were left behind."""

import hashlib
import json
import pathlib
import shutil

import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax.store import checkpoint, commits, packs, records, run_folder
from tests import fake_runs
from tests.training import bits
from tests.training.test_run_interrupted import checkpoints, folder_of, stop_at_call

RECORDS = ("metrics.jsonl", "events.jsonl", "timing.jsonl", "environment.json")


def to_bucket(pack, workdir, runs, attempt=16):
    """Gives the checkpoints of a pack the layout of a bucket; its records go on."""
    folder = pack / "checkpoints"
    for step in checkpoint.steps_in(folder):
        commit = folder / "new" / str(step)
        shutil.copytree(folder / str(step), commit / "checkpoint")
        for run in runs:
            for name in RECORDS:
                target = commit / "runs" / run / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(workdir / run / name, target)
        hashes = {
            str(path.relative_to(commit)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in commit.rglob("*") if path.is_file()
        }  # fmt: skip
        (commit / "commit.json").write_text(json.dumps(hashes))
        shutil.rmtree(folder / str(step))
    (folder / "new").rename(folder / str(attempt))
    (pack / "runs.json").unlink(missing_ok=True)
    for run in runs:
        for name in RECORDS[:3]:
            records.append(workdir / run / name, fake_runs.row(name, 48))


def test_a_run_from_a_bucket_goes_on(train, toy, tmp_path, undisturbed):
    """Its attempt has the number of a step that the run has a checkpoint of."""
    train([toy()], tmp_path, should_stop=stop_at_call(12))
    folder = checkpoints(tmp_path, toy)
    run = configs.run_id(toy())
    to_bucket(folder.parent, tmp_path, [run], attempt=32)
    status = run_folder.read_status(tmp_path / run)
    assert packs.began_in(tmp_path, status) == [run]
    train([toy()], tmp_path, log=pytest.fail)
    bits.assert_same_runs(tmp_path, undisturbed)
    assert [path.name for path in checkpoint.folders(folder)] != ["32"]
    assert not list(folder.glob("*.commits"))


@pytest.fixture
def copied(tmp_path):
    """A pack with commits of two steps, by files of no run."""
    pack, run = tmp_path / "packs" / "p", tmp_path / "one"
    run.mkdir()
    for name in RECORDS:
        (run / name).write_text('{"step": 0}\n')
    for step in (4, 8):
        checkpoint.save(pack / "checkpoints" / str(step), {"x": np.arange(step)}, step)
    to_bucket(pack, tmp_path, ["one"])
    return pack


def adopt(pack, log=pytest.fail):
    workdir = pack.parents[1]
    commits.adopt(pack, workdir, ["one"], log)
    rows = records.read_rows(workdir / "one" / "metrics.jsonl")
    return checkpoint.steps_in(pack / "checkpoints"), [row["step"] for row in rows]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", range(8))
def test_a_kill_while_it_is_adopted_costs_nothing(copied, monkeypatch, moment):
    calls = []

    def around(function):
        def wrapped(*arguments, **named):
            calls.append(None)
            if len(calls) > moment:
                raise Killed
            return function(*arguments, **named)

        return wrapped

    with monkeypatch.context() as patch:
        for owner, name in (
            (pathlib.Path, "rename"), (pathlib.Path, "replace"), (shutil, "rmtree"),
        ):  # fmt: skip
            patch.setattr(owner, name, around(getattr(owner, name)))
        with pytest.raises(Killed):
            adopt(copied)
            raise Killed
    assert adopt(copied) == ([8], [0])
    assert [path.name for path in (copied / "checkpoints").iterdir()] == ["8"]
    assert checkpoint.damage(copied / "checkpoints" / "8") is None


def test_a_damaged_commit_gives_way_to_the_one_before(copied):
    told, folder = [], copied / "checkpoints"
    (folder / "8.damaged").mkdir()
    (folder / "16" / "8" / "checkpoint" / "extra.json").write_text("3")
    assert adopt(copied, told.append) == ([4], [0])
    assert len(told) == 1 and "extra.json is not what commit.json says" in told[0]
    aside = folder / "8.2.damaged"
    assert (aside / "checkpoint" / "extra.json").read_text() == "3"
    assert f"set aside as {aside}." in told[0]


# The first checkpoint of its own is at step 16; a stop makes one before that, too.
@pytest.mark.parametrize("calls, step", [(12, 40), (4, 8)])
@pytest.mark.parametrize("has_status", [True, False])
def test_a_run_whose_checkpoints_are_gone_is_refused(
    train, toy, tmp_path, calls, step, has_status
):
    train([toy()], tmp_path, should_stop=stop_at_call(calls))
    run, pack = folder_of(tmp_path, toy), checkpoints(tmp_path, toy).parent
    pack.rename(tmp_path / "away")
    status = (run / "status.json").read_bytes()
    message = f"{run.name} is at step {step}, and .*/checkpoints has no checkpoint"
    if not has_status:
        (run / "status.json").unlink()
        if step < 16:
            message = f"status.json is missing, and .* records up to step {step}"
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=message):
        train([toy()], tmp_path)
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    (tmp_path / "away").rename(pack)
    (run / "status.json").write_bytes(status)
    train([toy()], tmp_path, should_stop=stop_at_call(1), log=pytest.fail)
    assert run_folder.read_status(run)["step"] == step


def test_checkpoints_that_are_a_link_are_refused(train, toy, tmp_path):
    train([toy()], tmp_path, should_stop=stop_at_call(4))
    folder = checkpoints(tmp_path, toy)
    folder.rename(tmp_path / "away")
    folder.symlink_to(tmp_path / "away")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match="checkpoints is a link"):
        train([toy()], tmp_path)
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
