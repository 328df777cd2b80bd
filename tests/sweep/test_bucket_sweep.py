"""Sweeps of a workdir in a bucket, planned and trained on machines that come and go."""

import json

import pytest

from rdt_jax import config as configs
from rdt_jax.store import bucket_sync, files, leases, packs, records, run_folder
from rdt_jax.store.bucket import Bucket
from rdt_jax.sweep import ledger, spec, worker
from rdt_jax.sweep.bucket_sweep import BucketSweep, StopRequest
from tests.fake_bucket import Outage
from tests.training import bits

RUNS = ["0" * 12, "1" * 12]
PENDING = {"state": "pending", "reason": None, "step": 0, "pack": None, "lane": None}


def study(config, num_steps, seeds=1, name="study-toy", every=4):
    """Returns the plan of a few seeds of a config, with an evaluation at each 4."""
    short = {"num_steps": num_steps, "eval_every_steps": 4, "stop_after_phases": False}
    base = configs.override(config, short | {"checkpoint_every_steps": every})
    return spec.Plan(name, None, [spec.Trial.of(base, t) for t in spec.seeds(seeds)])


def plan_in(url, plan, folder, lanes=1):
    """Plans a sweep in a bucket on a machine with an empty disk; returns its packs."""
    copy = Bucket.connect(url, folder)
    bucket_sync.pull_runs(copy, plan.run_ids)
    budgets = {trial.run_id: trial.budget for trial in plan.trials}
    bucket_sync.pull_begun(copy, plan.run_ids, budgets)
    planned = ledger.write_plan(folder, plan, ledger.Options(lanes=lanes))
    BucketSweep(copy, plan.name).push_plan()
    return [sorted(entry.runs) for entry in ledger.read_packs(planned)]


def work_in(url, plan, folder, calls=999, log=pytest.fail):
    """Works on a sweep in a bucket on such a machine; stops after some calls."""
    copy = Bucket.connect(url, folder)
    sweep = BucketSweep(copy, plan.name)
    sweep.pull()
    pack_leases = leases.Leases(bucket_sync.InBucket(copy))
    work(sweep.folder, calls, log, pack_leases, sweep.pull)
    return copy


def work(folder, calls=999, log=pytest.fail, pack_leases=None, refresh=lambda: None):
    asked = iter(range(9999))
    worker.work(
        folder,
        stop_requested=lambda: next(asked) >= calls,
        log=log,
        pack_leases=pack_leases,
        refresh=refresh,
    )


def left_alone(plan, workdir, lanes=1):
    """Trains a sweep on a disk."""
    work(ledger.write_plan(workdir, plan, ledger.Options(lanes=lanes)))
    return workdir


def newest_step(url, folder, runs):
    shared = bucket_sync.InBucket(Bucket.connect(url, folder))
    return shared.newest_step(packs.pack_of(runs))


@pytest.mark.exhaustive
def test_a_sweep_that_moves_between_disk_and_bucket_ends_like_one_left_alone(
    bucket_url, tiny_config, tmp_path
):
    """From the disk into the bucket, and back; two runs of one pack."""
    plan = study(tiny_config, 32, seeds=2)
    options = ledger.Options(lanes=2)
    steps = lambda workdir: {
        run_folder.read_status(workdir / name)["step"] for name in plan.run_ids
    }
    alone = left_alone(plan, tmp_path / "alone", lanes=2)
    work(ledger.write_plan(tmp_path / "first", plan, options), 6)
    (first,) = steps(tmp_path / "first")
    assert 4 < first < 24
    disk = Bucket.connect(bucket_url, tmp_path / "first")
    for path in disk.workdir.rglob("*"):
        if path.is_file():
            disk.put(str(path.relative_to(disk.workdir)), path.read_bytes())

    plan_in(bucket_url, plan, tmp_path / "planning", lanes=2)
    copy = work_in(bucket_url, plan, tmp_path / "copy", 5)
    (second,) = steps(copy.workdir)
    assert first < second < 32

    back = tmp_path / "back"
    for path in copy.fs.find(copy.root):
        target = back / path.removeprefix(f"{copy.root}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(copy.fs.cat_file(path))
    for name in plan.run_ids:  # A bucket has no empty folders.
        for empty in ("analysis", "figures"):
            (back / name / empty).mkdir()
    work(ledger.write_plan(back, plan, options))
    assert steps(back) == {32}
    bits.assert_same_runs(back, alone)


@pytest.mark.exhaustive
@pytest.mark.parametrize("lanes", [1, 2])
def test_more_updates_go_on_in_a_bucket(bucket_url, tiny_config, tmp_path, lanes):
    """Planned and trained on machines that have seen nothing of what was before."""
    for name, steps in (("small", 16), ("large", 32)):
        plan = study(tiny_config, steps, seeds=2, name=name, every=8)
        plan_in(bucket_url, plan, tmp_path / f"planning-{name}", lanes)
        copy = work_in(bucket_url, plan, tmp_path / f"copy-{name}")
    whole = left_alone(plan, tmp_path / "whole", lanes)
    for name in plan.run_ids:
        for file in ("metrics.jsonl", "config.json"):
            text = (whole / name / file).read_text()
            assert (copy.workdir / name / file).read_text() == text


@pytest.mark.exhaustive
def test_a_sweep_in_a_bucket_ends_like_one_on_a_disk(bucket_url, tiny_config, tmp_path):
    """Its worker is stopped twice; each time a machine with an empty disk goes on."""
    plan = study(tiny_config, 24, every=tiny_config.checkpoint_every_steps)
    alone = left_alone(plan, tmp_path / "alone")
    plan_in(bucket_url, plan, tmp_path / "planning")
    for number, calls in enumerate((5, 3, 99)):
        copy = work_in(bucket_url, plan, tmp_path / f"machine-{number}", calls)
    (name,) = plan.run_ids
    for record in ("metrics.jsonl", "events.jsonl"):
        there = copy.get(f"{name}/{record}")
        assert there == (alone / name / record).read_bytes()
    bits.assert_same_run(copy.workdir / name, alone / name)
    another = Bucket.connect(bucket_url, tmp_path / "another")
    BucketSweep(another, plan.name).pull()
    records.check_readable(another.workdir / name)
    pack = packs.pack_of([name])
    assert bucket_sync.commits_in(copy, pack)[-1][1] == 24
    outcomes = [past.outcome for past in leases.history(copy.workdir, pack)]
    assert outcomes == ["stopped", "stopped", "done"]


def test_a_run_goes_on_in_the_pack_that_it_began_in(bucket_url, tiny_config, tmp_path):
    """Though another sweep has it alone, planned elsewhere, before or after."""
    every = tiny_config.checkpoint_every_steps
    both = study(tiny_config, 24, seeds=2, name="study-both", every=every)
    single = study(tiny_config, 24, name="study-single", every=every)
    later = single._replace(name="study-later")
    names, look = sorted(both.run_ids), tmp_path / "look"
    assert plan_in(bucket_url, both, tmp_path / "planning", 2) == [names]
    assert plan_in(bucket_url, single, tmp_path / "early", 2) == [single.run_ids]
    work_in(bucket_url, both, tmp_path / "one", 5)
    assert 0 < newest_step(bucket_url, look, names) < 24
    said = []
    work_in(bucket_url, single, tmp_path / "two", 30, said.append)
    assert any("began in pack" in message for message in said)
    assert newest_step(bucket_url, look, single.run_ids) == -1
    assert plan_in(bucket_url, later, tmp_path / "later", 2) == [names]
    work_in(bucket_url, later, tmp_path / "three")
    assert newest_step(bucket_url, look, names) == 24


def planned(copy, runs):
    """Writes a plan of some runs into a copy."""
    sweep = BucketSweep(copy, "plan")
    (sweep.folder / "state").mkdir(parents=True)
    trials = [{"run_id": run, "overrides": {}} for run in runs]
    files.write_json(sweep.folder / "plan.json", {"runs": trials})
    files.write_json(sweep.folder / "state" / "packs.json", [])
    return sweep


@pytest.mark.parametrize("there", ['{"sta', "done", "failed"])
def test_a_plan_changes_no_run_that_was_finished_meanwhile_or_is_damaged(
    machine, there
):
    copy, run = machine("planning"), RUNS[0]
    text = there if there.startswith("{") else json.dumps(PENDING | {"state": there})
    copy.put(f"{run}/config.json", b"{}")
    copy.put(f"{run}/status.json", text.encode())
    (copy.workdir / run).mkdir()
    (copy.workdir / run / "config.json").write_text("{}")
    mine = text if there.startswith("{") else json.dumps(PENDING)
    (copy.workdir / run / "status.json").write_text(mine)
    bucket_sync.pull_begun(copy, [run])
    planned(copy, [run]).push_plan()
    told = copy.get(f"{run}/status.json").decode()
    assert told == (mine if there == "failed" else text)


def test_a_stop_that_was_asked_for_elsewhere_reaches_the_copy(machine, tiny_config):
    one, elsewhere = machine("one"), BucketSweep(machine("two"), "plan")
    name = configs.run_id(tiny_config)
    run_folder.create(one.workdir / name, tiny_config)
    sweep = planned(one, [name])
    sweep.push_plan()
    elsewhere.request_stop()
    assert StopRequest(sweep).is_made()
    away = BucketSweep(Bucket(Outage(one.fs, 0, 1), one.root, one.workdir), "plan")
    assert not StopRequest(away).is_made()
    sweep.pull()
    assert ledger.is_stopped(sweep.folder)
    sweep.push_plan()
    sweep.pull()
    assert not ledger.is_stopped(sweep.folder)


def test_what_workers_said_is_kept(machine):
    copy = machine("one")
    sweep = planned(copy, RUNS[:1])
    away = BucketSweep(
        Bucket(Outage(copy.fs, 0, 1, PermissionError), copy.root, copy.workdir), "plan"
    )
    log, sent = sweep.folder / "state" / "worker-0.log", {}
    for text in ("rdt: one\n", "rdt: one\nrdt: two\n"):
        log.write_text(text)
        sweep.push_logs(sent)
        away.push_logs(sent)  # Nothing is new.
        there = copy.get("sweeps/plan/logs/one/worker-0.log")
        assert there.decode() == text
