"""Packs of a workdir in a bucket, trained in copies that come and go."""

import contextlib
import hashlib
import json
from dataclasses import replace
from typing import NamedTuple

import pytest

from rdt_jax.store import bucket_sync, checkpoint, files, leases, records
from rdt_jax.store.bucket import PATIENCE_SECONDS, Bucket
from rdt_jax.store.bucket_sync import InBucket
from tests import fake_runs
from tests.fake_bucket import Outage

RUNS = ["0" * 12, "1" * 12]
PACK = "a" * 12
CHECKPOINTS = f"packs/{PACK}/checkpoints"
PENDING = {"state": "pending", "reason": None, "step": 0, "pack": None, "lane": None}


def train(copy, *steps):
    """Writes what a pack has on its machine's disk at some steps."""
    for step in steps:
        for run in RUNS:
            folder = copy.workdir / run
            for name in ("transitions", "tensorboard"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            for name in ("metrics.jsonl", "events.jsonl", "timing.jsonl"):
                (folder / name).write_text("")
                for at in range(0, step + 1, 4):
                    row = fake_runs.row(name, at, of=RUNS.index(run))
                    records.append(folder / name, row)
            files.write_json(folder / "environment.json", {"run": run})
            (folder / "config.json").write_text("{}")
            status = PENDING | {"state": "running", "step": step, "pack": PACK}
            files.write_json(folder / "status.json", status)
        folder = copy.workdir / CHECKPOINTS / str(step)
        (folder / "state").mkdir(parents=True)
        (folder / "state" / "arrays").write_bytes(bytes(range(step)))
        (folder / "extra.json").write_text(json.dumps({"at": step}))
        hashes = {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in ("extra.json", "state/arrays")
        }
        (folder / "manifest.json").write_text(json.dumps(hashes, indent=1))


class Held(NamedTuple):
    """A lease of which it is given whether another process has taken over."""

    number: int = 1
    is_newest: bool = True
    pack: str = PACK
    runs: list = RUNS

    def check(self):
        if not self.is_newest:
            raise leases.TakenOver("planted")


def commit(copy, number, step, is_newest=True):
    InBucket(copy).commit(Held(number, is_newest), step)


def restore(copy, log):
    InBucket(copy).restore(Held(), log)


def train_and_commit(copy, number, *steps):
    for step in steps:
        train(copy, step)
        commit(copy, number, step)


def steps_here(copy):
    return checkpoint.steps_in(copy.workdir / CHECKPOINTS)


def go_on(copy):
    """Returns the step at which a machine goes on; -1 at the start."""
    restore(copy, log=lambda _: None)
    step = max(steps_here(copy), default=-1)
    for run in RUNS:
        for name in ("metrics.jsonl", "events.jsonl"):
            rows = records.read_rows(copy.workdir / run / name)
            assert [row["step"] for row in rows] == list(range(0, step + 1, 4))
    if step >= 0:
        assert checkpoint.damage(copy.workdir / CHECKPOINTS / str(step)) is None
    return step


def messages(copy):
    """Restores the pack of a copy; returns what is said of its checkpoints."""
    said = []
    restore(copy, log=said.append)
    return said


def upload(copy):
    """Copies the workdir of a disk into the bucket, as `gsutil cp -r` does."""
    for path in copy.workdir.rglob("*"):
        if path.is_file():
            copy.put(str(path.relative_to(copy.workdir)), path.read_bytes())


def test_another_machine_goes_on_from_the_newest_commit(machine):
    one, two = machine("one"), machine("two")
    assert go_on(two) == -1
    train_and_commit(one, 1, 4, 8, 12)
    assert go_on(two) == 12
    assert bucket_sync.commits_in(one, PACK) == [(1, 8), (1, 12)]  # The newest KEEP.
    assert InBucket(one).newest_step(PACK) == 12
    train_and_commit(two, 2, 16)
    assert go_on(machine("three")) == 16


def test_a_superseded_holder_changes_nothing(machine):
    """Neither when it is told so, nor when it was held up after it had asked."""
    one, two = machine("one"), machine("two")
    train_and_commit(one, 1, 4)
    go_on(two)
    train_and_commit(two, 2, 8)
    train(one, 40)
    with pytest.raises(leases.TakenOver):
        commit(one, 1, 40, is_newest=False)
    assert go_on(machine("three")) == 8
    commit(one, 1, 40)  # All its uploads come late.
    assert go_on(machine("four")) == 8
    train_and_commit(two, 2, 12)
    assert go_on(machine("five")) == 12


class Cut(Exception):
    """The connection is gone."""


def test_an_upload_that_is_cut_anywhere_leaves_the_commit_before_it(
    machine, monkeypatch
):
    """After each of its writes in turn; a reader sees whole files only."""
    one = machine("one")
    train_and_commit(one, 1, 4)
    put, names, most = Bucket.put, [], 10**6

    def put_until_cut(copy, name, content):
        if len(names) == most:
            raise Cut
        names.append(name)
        put(copy, name, content)

    monkeypatch.setattr(Bucket, "put", put_until_cut)
    train_and_commit(one, 1, 8)
    assert names[-1].endswith("/8/commit.json")
    for step, most in enumerate(range(len(names)), start=3):
        names.clear()
        with contextlib.suppress(Cut):
            train_and_commit(one, 1, 4 * step)
        with monkeypatch.context() as patch:
            patch.setattr(Bucket, "put", put)
            assert go_on(machine("two")) == 8, f"cut after {most} writes"


def test_a_commit_refers_to_records_that_are_there_whole(machine, monkeypatch):
    one = machine("one")
    put = Bucket.put

    def put_and_look(copy, name, content):
        if name.endswith("commit.json"):
            folder = name.rpartition("/")[0]
            for part, expected in json.loads(content).items():
                there = copy.get(f"{folder}/{part}")
                assert hashlib.sha256(there).hexdigest() == expected
            for run in RUNS:
                public = copy.get(f"{run}/metrics.jsonl")
                assert public == (copy.workdir / run / "metrics.jsonl").read_bytes()
        put(copy, name, content)

    monkeypatch.setattr(Bucket, "put", put_and_look)
    train_and_commit(one, 1, 8)


def test_a_damaged_commit_is_passed_over(machine):
    one = machine("one")
    train_and_commit(one, 1, 4, 8)
    one.put(f"{CHECKPOINTS}/1/8/checkpoint/extra.json", b"{}")
    (said,) = messages(one)
    assert "extra.json is not what commit.json says" in said
    assert go_on(machine("two")) == 4


def test_a_damaged_older_commit_stops_no_newer_one(machine):
    one = machine("one")
    train_and_commit(one, 1, 4)
    one.put(f"{CHECKPOINTS}/1/4/commit.json", b'{"run')
    train_and_commit(one, 1, 8, 12, 16)
    # Nobody knows what is of the damaged one, so it stays.
    assert bucket_sync.commits_in(one, PACK) == [(1, 4), (1, 12), (1, 16)]
    assert go_on(machine("two")) == 16


def test_a_workdir_that_was_copied_from_a_disk_goes_on(machine):
    disk, two = machine("disk"), machine("two")
    train(disk, 4, 8)
    for run in RUNS:  # A kill has left rows of later than the checkpoint.
        for name in ("metrics.jsonl", "events.jsonl"):
            records.append(disk.workdir / run / name, {"step": 12})
    upload(disk)
    assert messages(two) == [] and steps_here(two) == [8]
    assert checkpoint.damage(two.workdir / CHECKPOINTS / "8") is None
    rows = records.read_rows(two.workdir / RUNS[0] / "metrics.jsonl")
    assert [row["step"] for row in rows] == [0, 4, 8, 12]  # Who trains cuts them.
    train_and_commit(two, 1, 16)
    assert go_on(machine("three")) == 16
    assert bucket_sync.commits_in(two, PACK) == [(0, 8), (1, 16)]


def test_a_damaged_checkpoint_from_a_disk_gives_way_to_the_one_before(machine):
    disk, two = machine("disk"), machine("two")
    train(disk, 4, 8)
    (disk.workdir / CHECKPOINTS / "8" / "extra.json").write_text("{}")
    upload(disk)
    (said,) = messages(two)
    assert "8 cannot be used: a file is not what" in said
    assert steps_here(two) == [4]


def test_a_lease_without_a_commit_is_no_checkpoint_of_a_disk(machine):
    one = machine("one")
    train(one, 4)
    with pytest.raises(leases.TakenOver):
        commit(one, 1, 4, is_newest=False)
    one.put(f"{CHECKPOINTS}/1/4/checkpoint/extra.json", b"{}")
    assert messages(machine("two")) == []


def test_leases_are_created_in_the_bucket(machine):
    one, two = machine("one"), machine("two")
    here, there = (leases.Leases(InBucket(copy)) for copy in (one, two))
    shared = InBucket(two)
    train(one, 4)
    with here.acquire(PACK, RUNS) as lease:
        lease.commit(4)
        with pytest.raises(FileExistsError):
            shared.create(f"{PACK}.1.json", b"").__enter__()
        shared.refresh()
        (holder,) = leases.holders(two.workdir, leases.Observer())
        assert holder == leases.Holder(PACK, RUNS, is_alive=False)
        lease.end("stopped", "", RUNS)
    with there.acquire(PACK, RUNS) as later:
        later.restore(pytest.fail)
        assert steps_here(two) == [4] and later.number == 2
        assert [p.step for p in leases.history(two.workdir, PACK)] == [-1, 4]
        with pytest.raises(leases.TakenOver):
            lease.check()
        later.check()


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("calls", range(0, 60, 7))
def test_an_outage_at_any_moment_is_waited_for(machine, clock, calls, lost):
    one, said = machine("one"), []
    store = Outage(one.fs, calls, 9, lost=lost)
    away = replace(one, fs=store, log=said.append)
    train_and_commit(away, 1, 4, 8, 12)
    said += messages(replace(away, workdir=machine("two").workdir))
    assert store.failed == 9 and 30 < clock[0] < 60
    assert len(said) == 2 and "does not answer" in said[0] and "again" in said[1]
    assert go_on(machine("three")) == 12
    assert bucket_sync.commits_in(one, PACK) == [(1, 8), (1, 12)]


def test_a_store_that_stays_away_takes_nothing_with_it(machine, clock):
    one, two = machine("one"), machine("two")
    train_and_commit(one, 1, 4)
    train(two, 8)
    before = {p: p.read_bytes() for p in two.workdir.rglob("*.jsonl")}
    for calls in range(4):
        away = replace(two, fs=Outage(two.fs, calls, 10**6))
        with pytest.raises(ConnectionError, match="does not answer: an outage"):
            messages(away)
        assert {p: p.read_bytes() for p in two.workdir.rglob("*.jsonl")} == before
    assert 4 * 0.9 * PATIENCE_SECONDS < clock[0] <= 4 * PATIENCE_SECONDS


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
    train_and_commit(one, 1, 4, 8)
    name, folder = name.format(tmp=tmp_path), f"{CHECKPOINTS}/1/8"
    hashes = json.loads(one.get(f"{folder}/commit.json"))
    hashes[name] = hashlib.sha256(b"x").hexdigest()
    one.put(f"{folder}/commit.json", json.dumps(hashes).encode())
    one.put(f"{folder}/{name}", b"x")
    (said,) = messages(machine("two"))
    assert f"commit.json names {name!r}" in said
    assert not list(tmp_path.rglob("victim"))
    assert not (tmp_path / "two" / "three").exists()
    assert go_on(machine("three")) == 4


def test_a_name_in_a_listing_leads_nowhere_else(machine):
    one = machine("one")
    train_and_commit(one, 1, 4)
    one.put(f"{RUNS[0]}/transitions/../manifest.json", b"x")

    class Listing(Outage):
        def ls(self, path, detail):
            if path.endswith(f"{RUNS[0]}/transitions"):
                return [{"name": f"{path}/..", "type": "file"}]
            return self.fs.ls(path, detail=detail)

    with pytest.raises(
        ValueError, match=r"0/transitions/\.\./manifest.json' leads out"
    ):
        messages(replace(machine("two"), fs=Listing(one.fs, 10**6, 0)))


def test_half_a_pin_is_not_brought_here(machine):
    one, two = machine("one"), machine("two")
    train_and_commit(one, 1, 4)
    for pin in ("final-after-4", "final-after-4.tmp"):
        one.put(f"{RUNS[0]}/transitions/{pin}/extra.json", b"{}")
    one.put(f"{RUNS[0]}/transitions/final-after-4/manifest.json", b"{}")
    go_on(two)
    pins = [path.name for path in (two.workdir / RUNS[0] / "transitions").iterdir()]
    assert pins == ["final-after-4"]


def test_foreign_files_beside_leases_and_commits_are_left_alone(machine):
    one = machine("one")
    train_and_commit(one, 1, 4)
    mine = f"{CHECKPOINTS}/1/4/notes"
    for name in (
        "state/notes.copy.json", f"{CHECKPOINTS}/notes/x/commit.json", mine
    ):  # fmt: skip
        one.put(name, b"mine")
    train_and_commit(one, 1, 8, 12)
    InBucket(one).refresh()
    assert leases.holders(one.workdir, leases.Observer()) == []
    assert go_on(machine("two")) == 12
    assert one.get(mine) == b"mine"
