"""A workdir in fsspec's memory file system, worked on from folders that come and go."""

import contextlib
import hashlib
import json
import subprocess
import sys
import time

import fsspec
import pytest

from rdt_jax import config as configs
from rdt_jax.store import attempt, checkpoint, membership, records
from rdt_jax.sweep import ledger, remote, spec
from tests import fake_runs
from tests.training import bits

RUNS = ["0" * 12, "1" * 12]
PACK = "a" * 12

PENDING = {"state": "pending", "reason": None, "step": 0, "pack": None, "lane": None}


@pytest.fixture
def bucket(tmp_path):
    """The name of an empty bucket."""
    name = f"memory://{tmp_path.name}"
    yield name
    with contextlib.suppress(FileNotFoundError):  # Not all write to it.
        fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


@pytest.fixture
def machine(bucket, tmp_path):
    """Returns a function that gives a machine with an empty disk its copy."""
    return lambda name: remote.connect(bucket, tmp_path / name)


def train(copy, step):
    """Writes what a pack has on its machine's disk at a step."""
    for run in RUNS:
        folder = copy.workdir / run
        for name in ("transitions", "tensorboard"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name in ("metrics.jsonl", "events.jsonl", "timing.jsonl"):
            (folder / name).write_text("")
            for at in range(0, step + 1, 4):
                row = fake_runs.row(name, at, of=RUNS.index(run))
                records.append(folder / name, row)
        records.write_json(folder / "environment.json", {"run": run})
        (folder / "config.json").write_text("{}")
        status = PENDING | {"state": "running", "step": step, "pack": PACK}
        records.write_json(folder / "status.json", status)
    folder = copy.workdir / "packs" / PACK / "checkpoints" / str(step)
    (folder / "state").mkdir(parents=True)
    (folder / "state" / "arrays").write_bytes(bytes(range(step)))
    (folder / "extra.json").write_text(json.dumps({"at": step}))
    hashes = checkpoint._manifest(checkpoint._hashes(folder))
    (folder / "manifest.json").write_text(hashes)


def go_on(copy):
    """Returns the step at which a machine goes on; -1 at the start."""
    remote.restore(copy, PACK, RUNS, log=lambda _: None)
    steps = checkpoint.steps_in(copy.workdir / "packs" / PACK / "checkpoints")
    step = steps[-1] if steps else -1
    for run in RUNS:
        for name in ("metrics.jsonl", "events.jsonl"):
            rows = records.read_rows(copy.workdir / run / name)
            assert [row["step"] for row in rows] == list(range(0, step + 1, 4))
    if steps:
        newest = copy.workdir / "packs" / PACK / "checkpoints" / str(step)
        assert checkpoint.damage(newest) is None
    return step


def newest():
    """What asks whether an attempt is the newest, of one that is."""


def superseded():
    raise attempt.TakenOver("planted")


def commit(copy, number, step, check=newest):
    remote.commit(copy, number, PACK, RUNS, step, check)


def test_another_machine_goes_on_from_the_newest_commit(machine):
    one, two = machine("one"), machine("two")
    assert go_on(two) == -1
    for step in (4, 8, 12):
        train(one, step)
        commit(one, 1, step)
    assert go_on(two) == 12
    assert remote._commits(one, PACK) == [(1, 8), (1, 12)]  # The newest KEEP.
    assert remote.mirror(one).newest(PACK) == 12
    train(two, 16)
    commit(two, 2, 16)
    assert go_on(machine("three")) == 16


def test_a_superseded_attempt_changes_nothing(machine):
    """Neither when it is told so, nor when it was held up after it had asked."""
    one, two = machine("one"), machine("two")
    train(one, 4)
    commit(one, 1, 4)
    go_on(two)
    train(two, 8)
    commit(two, 2, 8)
    train(one, 40)
    with pytest.raises(attempt.TakenOver):
        commit(one, 1, 40, superseded)
    assert go_on(machine("three")) == 8
    commit(one, 1, 40)  # All its uploads come late.
    assert go_on(machine("four")) == 8
    train(two, 12)
    commit(two, 2, 12)
    assert go_on(machine("five")) == 12


class Cut(Exception):
    """The connection is gone."""


def test_an_upload_that_is_cut_anywhere_leaves_the_commit_before_it(
    machine, monkeypatch
):
    """After each of its writes in turn; a reader sees whole files only."""
    one = machine("one")
    train(one, 4)
    commit(one, 1, 4)
    put, names = remote._put, []

    def put_and_count(copy, name, content):
        names.append(name)
        put(copy, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(remote, "_put", put_and_count)
        train(one, 8)
        commit(one, 1, 8)
    assert names[-1].endswith("/8/commit.json")
    for step, cut in enumerate(range(len(names)), start=3):
        left = iter(range(cut))

        def put_until_cut(copy, name, content, left=left):
            if next(left, None) is None:
                raise Cut
            put(copy, name, content)

        train(one, 4 * step)
        with monkeypatch.context() as patch:
            patch.setattr(remote, "_put", put_until_cut)
            with contextlib.suppress(Cut):
                commit(one, 1, 4 * step)
        assert go_on(machine("two")) == 8, f"cut before {names[cut]}"


def test_a_commit_refers_to_records_that_are_there_whole(machine, monkeypatch):
    one = machine("one")
    train(one, 8)
    put = remote._put

    def put_and_look(copy, name, content):
        if name.endswith("commit.json"):
            folder = name.rpartition("/")[0]
            for part, expected in json.loads(content).items():
                there = remote._get(copy, f"{folder}/{part}")
                assert hashlib.sha256(there).hexdigest() == expected
            for run in RUNS:
                public = remote._get(copy, f"{run}/metrics.jsonl")
                assert public == (copy.workdir / run / "metrics.jsonl").read_bytes()
        put(copy, name, content)

    monkeypatch.setattr(remote, "_put", put_and_look)
    commit(one, 1, 8)


def test_a_damaged_commit_is_passed_over(machine):
    one = machine("one")
    for step in (4, 8):
        train(one, step)
        commit(one, 1, step)
    (path,) = one.fs.glob(f"{one.root}/packs/{PACK}/checkpoints/1/8/checkpoint/extra*")
    one.fs.pipe_file(path, b"{}")
    said = []
    remote.mirror(one).restore(PACK, RUNS, said.append)
    assert len(said) == 1 and "extra.json is not what commit.json says" in said[0]
    assert go_on(machine("two")) == 4


def test_a_damaged_older_commit_stops_no_newer_one(machine):
    one = machine("one")
    for step in (4, 8, 12, 16):
        train(one, step)
        commit(one, 1, step)
        if step == 4:
            folder = f"{one.root}/packs/{PACK}/checkpoints/1/4"
            one.fs.pipe_file(f"{folder}/commit.json", b'{"run')
    # Nobody knows what is of the damaged one, so it stays.
    assert remote._commits(one, PACK) == [(1, 4), (1, 12), (1, 16)]
    assert go_on(machine("two")) == 16


def test_a_damaged_status_in_the_bucket_is_left_alone(machine):
    one, two = machine("one"), machine("two")
    train(one, 4)
    commit(one, 1, 4)
    path = f"{one.root}/{RUNS[0]}/status.json"
    one.fs.pipe_file(path, b'{"sta')
    config = b"{}"
    one.fs.pipe_file(f"{one.root}/{RUNS[0]}/config.json", config)
    (two.workdir / RUNS[0]).mkdir()
    (two.workdir / RUNS[0] / "config.json").write_bytes(config)
    (two.workdir / RUNS[0] / "status.json").write_bytes(b'{"sta')
    remote.pull_begun(two, RUNS[:1])
    plan = {"name": "any", "runs": [{"run_id": RUNS[0], "overrides": {}}]}
    folder = two.workdir / "sweeps" / "any"
    (folder / "state").mkdir(parents=True)
    records.write_json(folder / "plan.json", plan)
    records.write_json(folder / "state" / "packs.json", [])
    remote.push_plan(two, "any")
    assert one.fs.cat_file(path) == b'{"sta'


def upload(copy):
    """Copies the workdir of a disk into the bucket, as `gsutil cp -r` does."""
    for path in copy.workdir.rglob("*"):
        if path.is_file():
            name = str(path.relative_to(copy.workdir))
            remote._put(copy, name, path.read_bytes())


def test_a_workdir_that_was_copied_from_a_disk_goes_on(machine):
    disk = machine("disk")
    for step in (4, 8):
        train(disk, step)
    for run in RUNS:  # A kill has left rows of later than the checkpoint.
        for name in ("metrics.jsonl", "events.jsonl"):
            records.append(disk.workdir / run / name, {"step": 12})
    upload(disk)
    said = []
    two = machine("two")
    remote.mirror(two).restore(PACK, RUNS, said.append)
    assert said == []
    folder = two.workdir / "packs" / PACK / "checkpoints"
    assert checkpoint.steps_in(folder) == [8]
    assert checkpoint.damage(folder / "8") is None
    rows = records.read_rows(two.workdir / RUNS[0] / "metrics.jsonl")
    assert [row["step"] for row in rows] == [0, 4, 8, 12]  # `loop.train` cuts them.
    train(two, 16)
    commit(two, 1, 16)
    assert go_on(machine("three")) == 16
    assert remote._commits(two, PACK) == [(0, 8), (1, 16)]


def test_a_damaged_checkpoint_from_a_disk_gives_way_to_the_one_before(machine):
    disk, said = machine("disk"), []
    for step in (4, 8):
        train(disk, step)
    extra = disk.workdir / "packs" / PACK / "checkpoints" / "8" / "extra.json"
    extra.write_text("{}")
    upload(disk)
    two = machine("two")
    remote.mirror(two).restore(PACK, RUNS, said.append)
    assert checkpoint.steps_in(two.workdir / "packs" / PACK / "checkpoints") == [4]
    assert len(said) == 1 and "8 cannot be used: a file is not what" in said[0]


def test_an_attempt_without_a_commit_is_no_checkpoint_of_a_disk(machine):
    one, said = machine("one"), []
    train(one, 4)
    with pytest.raises(attempt.TakenOver):
        commit(one, 1, 4, superseded)
    remote._put(one, f"packs/{PACK}/checkpoints/1/4/checkpoint/extra.json", b"{}")
    remote.mirror(machine("two")).restore(PACK, RUNS, said.append)
    assert said == []


@pytest.mark.exhaustive
def test_a_sweep_that_moves_between_disk_and_bucket_ends_like_one_left_alone(
    bucket, tiny_config, tmp_path
):
    """From the disk into the bucket, and back; two runs of one pack."""
    shorter = {"num_steps": 32, "eval_every_steps": 4, "stop_after_phases": False}
    shorter["checkpoint_every_steps"] = 4
    lanes = [configs.override(tiny_config, shorter | {"seed": s}) for s in (0, 1)]
    plan = spec.Plan("study-toy", None, [{"seed": 0}, {"seed": 1}], lanes)
    options = ledger.Options(lanes=2)

    def work(workdir, calls, **bucket):
        asked = iter(range(999))
        ledger.work(
            workdir / "sweeps" / plan.name,
            stop_requested=lambda: next(asked) >= calls,
            log=pytest.fail,
            **bucket,
        )

    steps = lambda workdir: {
        records.read_status(workdir / name)["step"] for name in plan.run_ids
    }
    for workdir, calls in (("alone", 999), ("first", 6)):
        ledger.write_plan(tmp_path / workdir, plan, options)
        work(tmp_path / workdir, calls)
    (first,) = steps(tmp_path / "first")
    assert 4 < first < 24
    upload(remote.connect(bucket, tmp_path / "first"))

    planning = remote.connect(bucket, tmp_path / "planning")
    remote.pull_runs(planning, plan.run_ids)
    remote.pull_begun(planning, plan.run_ids)
    ledger.write_plan(planning.workdir, plan, options)
    remote.push_plan(planning, plan.name)
    copy = remote.connect(bucket, tmp_path / "copy")
    refresh = lambda: remote.pull_sweep(copy, plan.name)
    refresh()
    work(copy.workdir, 5, mirror=remote.mirror(copy), refresh=refresh)
    (second,) = steps(copy.workdir)
    assert first < second < 32

    back = tmp_path / "back"
    for path in planning.fs.find(planning.root):
        target = back / path.removeprefix(f"{planning.root}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(planning.fs.cat_file(path))
    for name in plan.run_ids:  # A bucket has no empty folders.
        for empty in ("analysis", "figures"):
            (back / name / empty).mkdir()
    ledger.write_plan(back, plan, options)
    work(back, 999)
    assert steps(back) == {32}
    bits.assert_same_runs(back, tmp_path / "alone")


@pytest.mark.exhaustive
@pytest.mark.parametrize("lanes", [1, 2])
def test_more_updates_go_on_in_a_bucket(tiny_config, tmp_path, lanes):
    """Planned and trained on machines that have seen nothing of what was before."""
    bucket = f"memory://{tmp_path.name}/runs"
    options = ledger.Options(lanes=lanes)

    def work(name, plan):
        planning = remote.connect(bucket, tmp_path / f"planning-{name}")
        remote.pull_runs(planning, plan.run_ids)
        remote.pull_begun(planning, plan.run_ids, plan.budgets)
        ledger.write_plan(planning.workdir, plan, options)
        remote.push_plan(planning, plan.name)
        copy = remote.connect(bucket, tmp_path / f"copy-{name}")
        refresh = lambda: remote.pull_sweep(copy, plan.name)
        refresh()
        ledger.work(
            copy.workdir / "sweeps" / plan.name,
            stop_requested=lambda: 0, log=pytest.fail,
            mirror=remote.mirror(copy), refresh=refresh,
        )  # fmt: skip
        return copy.workdir

    def plan(name, steps):
        every = {"eval_every_steps": 4, "checkpoint_every_steps": 8}
        every |= {"num_steps": steps, "stop_after_phases": False}
        trials = [configs.override(tiny_config, every | {"seed": s}) for s in (0, 1)]
        return spec.Plan(name, None, [{"seed": 0}, {"seed": 1}], trials)

    work("small", plan("small", 16))
    last = work("large", plan("large", 32))
    whole = plan("whole", 32)
    ledger.write_plan(tmp_path / "whole", whole, options)
    folder = tmp_path / "whole" / "sweeps" / "whole"
    ledger.work(folder, stop_requested=lambda: 0, log=pytest.fail)
    for name in whole.run_ids:
        for file in ("metrics.jsonl", "config.json"):
            text = (tmp_path / "whole" / name / file).read_text()
            assert (last / name / file).read_text() == text


def test_a_plan_changes_no_run_that_was_finished_meanwhile(machine):
    planning = machine("planning")
    folder = planning.workdir / "sweeps" / "plan"
    (folder / "state").mkdir(parents=True)
    records.write_json(
        folder / "plan.json", {"runs": [{"run_id": r, "overrides": {}} for r in RUNS]}
    )
    records.write_json(folder / "state" / "packs.json", [])
    for run, state in zip(RUNS, ("done", "failed"), strict=True):
        (planning.workdir / run).mkdir()
        records.write_json(planning.workdir / run / "status.json", PENDING)
        status = json.dumps(PENDING | {"state": state}).encode()
        remote._put(planning, f"{run}/config.json", b"{}")
        remote._put(planning, f"{run}/status.json", status)
    remote.push_plan(planning, "plan")
    told = [json.loads(remote._get(planning, f"{r}/status.json")) for r in RUNS]
    assert [status["state"] for status in told] == ["done", "pending"]


def test_claims_are_created_in_the_bucket(machine, monkeypatch):
    one, two = machine("one"), machine("two")
    mirrors = [remote.mirror(copy) for copy in (one, two)]
    train(one, 4)
    with attempt.hold(one.workdir, PACK, RUNS, mirror=mirrors[0]) as held:
        commit(one, held.number, 4)
        with pytest.raises(FileExistsError):
            mirrors[1].shelf.create(f"{PACK}.1.json", b"").__enter__()
        mirrors[1].shelf.refresh()
        (claim,) = attempt.under_way(two.workdir, attempt.Watch())
        assert (claim.pack, claim.runs, claim.look) == (PACK, RUNS, "silent")
        held.end("stopped", "", RUNS)
    go_on(two)
    with attempt.hold(two.workdir, PACK, RUNS, mirror=mirrors[1]) as later:
        assert later.number == 2
        assert [p.step for p in attempt.past(two.workdir, PACK)] == [-1, 4]
        with pytest.raises(attempt.TakenOver):
            held.check()
        later.check()


class Outage:
    """A file system that does not answer some of its calls.

    Attributes:
      calls: that it answers; after as many failures as `fails` says it answers again.
      kind: of the error.
      lost: whether it does what it was asked, before it fails.
    """

    def __init__(self, fs, calls, fails, kind=ConnectionError, lost=False):
        self.fs, self.calls, self.fails, self.kind = fs, calls, fails, kind
        self.lost, self.failed = lost, 0

    def __getattr__(self, name):
        call = getattr(self.fs, name)
        return call if name == "invalidate_cache" else lambda *a, **n: self(call, a, n)

    def __call__(self, call, arguments, named):
        self.calls -= 1
        if self.calls >= 0 or self.failed == self.fails:
            return call(*arguments, **named)
        self.failed += 1
        if self.lost:
            call(*arguments, **named)
        raise self.kind("an outage")


@pytest.fixture
def clock(monkeypatch):
    """Seconds that have passed, of which sleeping takes no time."""
    passed = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: passed[0])
    monkeypatch.setattr(
        time, "sleep", lambda seconds: passed.append(passed.pop() + seconds)
    )
    return passed


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("calls", range(0, 60, 7))
def test_an_outage_at_any_moment_is_waited_for(machine, clock, calls, lost):
    one = machine("one")
    said = []
    store = Outage(one.fs, calls, 9, lost=lost)
    away = one._replace(fs=store, log=said.append)
    train(away, 4)
    commit(away, 1, 4)
    train(away, 8)
    commit(away, 1, 8)
    train(away, 12)
    commit(away, 1, 12)
    remote.restore(
        away._replace(workdir=machine("two").workdir), PACK, RUNS, said.append
    )
    assert store.failed == 9 and 30 < clock[0] < 60
    assert len(said) == 2 and "does not answer" in said[0] and "again" in said[1]
    assert go_on(machine("three")) == 12
    assert remote._commits(one, PACK) == [(1, 8), (1, 12)]


def test_a_store_that_stays_away_takes_nothing_with_it(machine, clock):
    one = machine("one")
    train(one, 4)
    commit(one, 1, 4)
    two = machine("two")
    train(two, 8)
    before = {p: p.read_bytes() for p in two.workdir.rglob("*.jsonl")}
    for calls in range(4):
        away = two._replace(fs=Outage(two.fs, calls, 10**6))
        with pytest.raises(ConnectionError, match="does not answer: an outage"):
            remote.restore(away, PACK, RUNS, pytest.fail)
        assert {p: p.read_bytes() for p in two.workdir.rglob("*.jsonl")} == before
    assert 4 * 0.9 * remote.PATIENCE_SECONDS < clock[0] <= 4 * remote.PATIENCE_SECONDS


@pytest.mark.parametrize("kind", [PermissionError, FileNotFoundError])
def test_what_lasts_is_not_waited_for(machine, clock, kind):
    one = machine("one")
    train(one, 4)
    with pytest.raises(kind):
        commit(one._replace(fs=Outage(one.fs, 0, 10**6, kind)), 1, 4)
    assert clock[0] == 0


def test_a_claim_is_ours_though_the_answer_to_it_was_lost(machine, clock):
    one = machine("one")
    lost = one._replace(fs=Outage(one.fs, 0, 1, lost=True))
    with remote.mirror(lost).shelf.create("pack.1.json", b"ours"):
        assert remote._get(one, "state/pack.1.json") == b"ours"
    with pytest.raises(FileExistsError):
        remote.mirror(one).shelf.create("pack.1.json", b"theirs").__enter__()


@pytest.mark.parametrize(
    "name",
    [
        "runs/{tmp}/victim",
        "runs//{tmp}/victim",
        "runs/../../victim",
        "runs/three/metrics.jsonl",
        "checkpoint//{tmp}/victim",
        "checkpoint/a/../../../../../../../victim",
    ],
)
def test_a_commit_that_names_other_files_is_not_used(machine, tmp_path, name):
    one = machine("one")
    for step in (4, 8):
        train(one, step)
        commit(one, 1, step)
    name = name.format(tmp=tmp_path)
    folder = f"packs/{PACK}/checkpoints/1/8"
    hashes = json.loads(remote._get(one, f"{folder}/commit.json"))
    hashes[name] = hashlib.sha256(b"x").hexdigest()
    remote._put(one, f"{folder}/commit.json", json.dumps(hashes).encode())
    remote._put(one, f"{folder}/{name}", b"x")
    said = []
    remote.mirror(machine("two")).restore(PACK, RUNS, said.append)
    assert len(said) == 1 and f"commit.json names {name!r}" in said[0]
    assert not list(tmp_path.rglob("victim"))
    assert not (tmp_path / "two" / "three").exists()
    assert go_on(machine("three")) == 4


def test_a_name_in_a_listing_leads_nowhere_else(machine, tmp_path):
    one = machine("one")
    train(one, 4)
    commit(one, 1, 4)
    real = one.fs.ls
    outside = f"{one.root}/{RUNS[0]}/transitions/.."

    class Listing(Outage):
        def ls(self, path, detail):
            if path.endswith(f"{RUNS[0]}/transitions"):
                return [{"name": outside, "type": "file"}]
            return real(path, detail=detail)

    with pytest.raises(
        ValueError, match=r"0/transitions/\.\./manifest.json' leads out"
    ):
        copy = machine("two")._replace(fs=Listing(one.fs, 10**6, 0))
        remote._put(one, f"{RUNS[0]}/transitions/../manifest.json", b"x")
        remote.restore(copy, PACK, RUNS, pytest.fail)


def test_half_a_pin_is_not_brought_here(machine):
    one, two = machine("one"), machine("two")
    train(one, 4)
    commit(one, 1, 4)
    for pin in ("final-after-4", "final-after-4.tmp"):
        remote._put(one, f"{RUNS[0]}/transitions/{pin}/extra.json", b"{}")
    remote._put(one, f"{RUNS[0]}/transitions/final-after-4/manifest.json", b"{}")
    go_on(two)
    pins = [path.name for path in (two.workdir / RUNS[0] / "transitions").iterdir()]
    assert pins == ["final-after-4"]


def test_foreign_files_beside_claims_and_commits_are_left_alone(machine):
    one = machine("one")
    train(one, 4)
    commit(one, 1, 4)
    for name in (
        "state/notes.copy.json",
        f"packs/{PACK}/checkpoints/notes/x/commit.json",
        f"packs/{PACK}/checkpoints/1/4/notes",
    ):
        remote._put(one, name, b"mine")
    for step in (8, 12):
        train(one, step)
        commit(one, 1, step)
    remote.mirror(one).shelf.refresh()
    assert attempt.under_way(one.workdir, attempt.Watch()) == []
    assert go_on(machine("two")) == 12
    assert remote._get(one, f"packs/{PACK}/checkpoints/1/4/notes") == b"mine"


def test_a_stop_that_was_asked_for_elsewhere_reaches_the_copy(machine):
    one, two = machine("one"), machine("two")
    folder = one.workdir / "sweeps" / "plan"
    (folder / "state").mkdir(parents=True)
    plan = {"runs": [{"run_id": RUNS[0], "overrides": {}}]}
    records.write_json(folder / "plan.json", plan)
    records.write_json(folder / "state" / "packs.json", [])
    train(one, 4)
    (one.workdir / RUNS[0] / "config.json").write_text("{}")
    remote.push_plan(one, "plan")
    remote.request_stop(two, "plan")
    assert remote.stop_requested(one, "plan")()
    assert not remote.stop_requested(one._replace(fs=Outage(one.fs, 0, 1)), "plan")()
    remote.pull_sweep(one, "plan")
    assert ledger.is_stopped(folder)
    remote.push_plan(two._replace(workdir=one.workdir), "plan")
    remote.pull_sweep(one, "plan")
    assert not ledger.is_stopped(folder)


def test_what_workers_said_is_kept(machine):
    one = machine("one")
    log = one.workdir / "sweeps" / "plan" / "state" / "worker-0.log"
    log.parent.mkdir(parents=True)
    push = remote.log_pusher("plan")
    for text in ("rdt: one\n", "rdt: one\nrdt: two\n"):
        log.write_text(text)
        push(one)
        push(one._replace(fs=Outage(one.fs, 0, 1, PermissionError)))  # Once.
        there = remote._get(one, "sweeps/plan/logs/one/worker-0.log")
        assert there.decode() == text


def test_scratch_folders_of_killed_processes_are_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "rdt-copy-of-mine").mkdir()  # No process of ours made it.
    code = (
        "from rdt_jax.sweep import remote\nimport os\n"
        "with remote.scratch() as folder: print(folder, flush=True); os._exit(9)"
    )
    command = [sys.executable, "-c", code]
    (left,) = subprocess.run(command, capture_output=True, text=True).stdout.split()
    with remote.scratch() as ours:
        assert sorted(tmp_path.iterdir()) == sorted(
            [ours, tmp_path / "rdt-copy-of-mine"]
        )
        with remote.scratch() as other:
            assert ours.exists()
            (other / "runs").mkdir()
    assert not other.exists()
    assert left not in map(str, tmp_path.iterdir())


@pytest.mark.parametrize("protocol", ["file", "http"])
def test_a_file_system_that_creates_no_file_exclusively_is_refused(tmp_path, protocol):
    url = f"{protocol}://{tmp_path}/runs"
    with pytest.raises(ValueError, match="two workers could take one pack|be opened"):
        remote.connect(url, tmp_path / "copy")


def test_an_unknown_protocol_is_refused(tmp_path):
    with pytest.raises(ValueError, match="The workdir bucket://x cannot be opened"):
        remote.connect("bucket://x", tmp_path / "copy")


def test_whatever_a_file_system_raises_is_a_mistake_to_put_right(tmp_path, monkeypatch):
    class NoCredentials(Exception):
        pass

    def refuse(url):
        raise NoCredentials("who are you?")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(ValueError, match=r"who are you\? \(NoCredentials\)"):
        remote.connect("gs://x/runs", tmp_path / "copy")


@pytest.mark.exhaustive
def test_a_sweep_in_a_bucket_ends_like_one_on_a_disk(bucket, tiny_config, tmp_path):
    """Its worker is stopped twice; each time a machine with an empty disk goes on."""
    shorter = {"num_steps": 24, "eval_every_steps": 4, "stop_after_phases": False}
    config = configs.override(tiny_config, shorter)
    plan = spec.Plan("study-toy", None, [{}], [config])
    alone = tmp_path / "alone"
    folder = ledger.write_plan(alone, plan, ledger.Options())
    ledger.work(folder, stop_requested=lambda: False, log=pytest.fail)

    planning = remote.connect(bucket, tmp_path / "planning")
    ledger.write_plan(planning.workdir, plan, ledger.Options())
    remote.push_plan(planning, plan.name)
    for number, calls in enumerate((5, 3, 99)):
        copy = remote.connect(bucket, tmp_path / f"machine-{number}")
        remote.pull_sweep(copy, plan.name)
        asked = iter(range(99))
        ledger.work(
            copy.workdir / "sweeps" / plan.name,
            stop_requested=lambda asked=asked, calls=calls: next(asked) >= calls,
            log=pytest.fail,
            mirror=remote.mirror(copy),
            refresh=lambda copy=copy: remote.pull_sweep(copy, plan.name),
        )
    (name,) = plan.run_ids
    for record in ("metrics.jsonl", "events.jsonl"):
        there = remote._get(planning, f"{name}/{record}")
        assert there == (alone / name / record).read_bytes()
    bits.assert_same_run(copy.workdir / name, alone / name)
    another = remote.connect(bucket, tmp_path / "another")
    remote.pull_sweep(another, plan.name)
    records.check_readable(another.workdir / name)
    (_, last) = remote._commits(copy, membership.pack_of([name]))[-1]
    assert last == 24
    outcomes = [
        p.outcome for p in attempt.past(copy.workdir, membership.pack_of([name]))
    ]
    assert outcomes == ["stopped", "stopped", "done"]


def test_a_run_goes_on_in_the_pack_that_it_began_in(bucket, tiny_config, tmp_path):
    """Though another sweep has it alone, planned elsewhere, before or after."""
    shorter = {"num_steps": 24, "eval_every_steps": 4, "stop_after_phases": False}
    pair = [configs.override(tiny_config, shorter | {"seed": seed}) for seed in (0, 1)]
    both = spec.Plan("study-both", None, [{}, {}], pair)
    single = spec.Plan("study-single", None, [{}], pair[:1])
    names = sorted(both.run_ids)

    def plan_it(plan, where):
        planning = remote.connect(bucket, tmp_path / where)
        remote.pull_runs(planning, plan.run_ids)
        remote.pull_begun(planning, plan.run_ids)
        folder = ledger.write_plan(planning.workdir, plan, ledger.Options(lanes=2))
        remote.push_plan(planning, plan.name)
        packs = ledger.read_packs(folder)
        return [sorted(entry["runs"]) for entry in packs]

    def work_on(plan, where, calls, log):
        copy = remote.connect(bucket, tmp_path / where)
        remote.pull_sweep(copy, plan.name)
        asked = iter(range(999))
        ledger.work(
            copy.workdir / "sweeps" / plan.name,
            stop_requested=lambda: next(asked) >= calls,
            log=log,
            mirror=remote.mirror(copy),
            refresh=lambda: remote.pull_sweep(copy, plan.name),
        )

    assert plan_it(both, "planning") == [names]
    assert plan_it(single, "too-early") == [single.run_ids]
    work_on(both, "one", 5, pytest.fail)
    step = remote.mirror(remote.connect(bucket, tmp_path / "look")).newest
    begun = step(membership.pack_of(names))
    assert 0 < begun < 24
    reports = []
    work_on(single, "two", 30, reports.append)
    assert any("began in pack" in report for report in reports)
    assert step(membership.pack_of(single.run_ids)) == -1
    later = single._replace(name="study-later")
    assert plan_it(later, "later") == [names]
    work_on(later, "three", 999, pytest.fail)
    assert step(membership.pack_of(names)) == 24
