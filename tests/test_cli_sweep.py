"""What `rdt sweep` does beside training: plan, forecast, status, stop, refuse."""

import importlib.machinery
import itertools
import pathlib
import socket
import subprocess
import sys
import time
import types

import fsspec
import pytest

from rdt_jax import cli
from rdt_jax.store import environment, files, packs
from rdt_jax.store.lease_files import Disk
from rdt_jax.store.leases import Leases
from rdt_jax.sweep import driver, forecast, ledger
from rdt_jax.sweep import plan as plans
from rdt_jax.sweep.bucket_sweep import BucketSweep
from tests.conftest import ROOT

STUDY = str(ROOT / "experiments" / "depth_by_decay")
NAME = "depth_by_decay-smoke-model.core_blocks=1,model.width=8"
NAMED = [
    "sweep", STUDY, "--preset=smoke",
    "--config.model.width=8", "--config.model.core_blocks=1",
]  # fmt: skip
SWEEP = [*NAMED, "--workers=1", "--memory=8GB"]


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A workdir with the plan of a sweep, and the folder of the sweep."""
    workdir = tmp_path_factory.mktemp("planned")
    assert cli.main([*SWEEP, f"--workdir={workdir}", "--plan"]) == 0
    return workdir, workdir / "sweeps" / NAME


def test_a_plan_is_written_and_no_worker_started(planned):
    _, folder = planned
    stored = plans.read(folder)
    assert len(ledger.open_packs(folder)) == len(stored.trials) >= 2
    assert not list(folder.glob("state/worker-*.log"))
    file = environment.of_files([ROOT / "configs" / "knowledge_composition.py"])
    assert stored.config_file == file


def test_a_dry_run_writes_nothing_and_says_all(planned, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(forecast, "measure", lambda *_: 1e9)
    workdir = tmp_path / "runs"
    assert cli.main([*SWEEP, f"--workdir={workdir}", "--dry-run"]) == 0
    assert not workdir.exists()
    said = capsys.readouterr().out
    for word in ("trials", "packs", "compilations", "FLOPs", "memory", "disk", "time"):
        assert f"\n{word}" in f"\n{said}"


@pytest.mark.parametrize(
    ("rate", "where"),
    [("1e9", "at the given rate, at 1G"), ("v6e", "at the peak of one v6e, at 918T")],
)
def test_a_given_rate_is_not_measured(tmp_path, monkeypatch, capsys, rate, where):
    monkeypatch.setattr(forecast, "measure", None)
    assert (
        cli.main([*SWEEP, f"--workdir={tmp_path}", "--dry-run", f"--rate={rate}"]) == 0
    )
    said = " ".join(capsys.readouterr().out.split())
    assert f"{where} FLOP/s" in said
    assert "of 8 GB of each worker's device" in said and "machine" not in said
    table = cli.main(
        ["sweep", STUDY, "--preset=smoke", f"--workdir={tmp_path}", "--dry-run",
         f"--rate={rate}"]
    )  # fmt: skip
    assert table == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "of each worker's device of this machine" in said
    assert " workers of this machine" in said


def test_what_was_stopped_is_refused_by_workers(planned, command):
    workdir, folder = planned
    where = f"--workdir={workdir}"
    assert "Nobody trains" in command([*NAMED, where, "--stop"]).out
    name, *_ = plans.read_run_ids(folder)
    with Leases(Disk(workdir)).acquire(packs.pack_of([name]), [name]):
        assert "checkpoint and end" in command([*NAMED, where, "--stop"]).out
    assert ledger.is_stopped(folder)
    assert "was stopped; `rdt sweep` goes on" in command(["worker", str(folder)]).err
    assert cli.main([*SWEEP, where, "--plan"]) == 0
    assert not ledger.is_stopped(folder)


def test_the_status_ends_with_what_failed_and_why(planned, command):
    workdir, folder = planned
    name, *_ = plans.read_run_ids(folder)
    path = workdir / name / "status.json"
    before = files.read_json(path)
    failed = {"state": "failed", "reason": "oom", "message": "RESOURCE_EXHAUSTED: big"}
    files.write_json(path, before | failed)
    out = command([*NAMED, f"--workdir={workdir}", "--status"], 1).out
    assert "1 trial failed" in out and "oom" in out and "RESOURCE_EXHAUSTED" in out
    files.write_json(path, before)
    assert cli.main([*NAMED, f"--workdir={workdir}", "--status"]) == 0


def test_a_scratch_folder_with_anything_else_is_refused(tmp_path, capsys):
    """Training there would replace the checkpoints and records of a workdir."""
    (tmp_path / "packs").mkdir()
    sweep = "memory://{}/runs/sweeps/none"
    command = lambda name, scratch: [
        "worker", sweep.format(name), f"--scratch={tmp_path / scratch}",
    ]  # fmt: skip
    assert cli.main(command("here", "")) == 2
    assert "--scratch must be empty, or where a worker" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["packs"]
    for name, refused in (("here", False), ("here", False), ("there", True)):
        assert cli.main(command(name, "new")) == 2
        assert ("--scratch must be empty" in capsys.readouterr().err) == refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--watch"], "--watch goes with --status"),
        (["--mesh=model=3"], "num_heads (4) must be a multiple of the model axis of"),
        (["--rate=1e9"], "--rate goes with --dry-run"),
        (["--rate=0", "--dry-run"], "--rate must be a number of FLOP/s above 0"),
        (["--rate=h100", "--dry-run"], "or one of v4, v5e, v5p, v6e, got 'h100'"),
        (["--address=auto"], "--address goes with --engine=ray"),
        (["--lease=0.5"], "--lease must be at least 1 second, got 0.5"),
        (["--workdir=bucket://x"], "The workdir bucket://x cannot be opened"),
        (["--workdir=file:///x", "--plan"], "two workers could take one pack"),
    ],
)
def test_a_mistake_exits_2(arguments, message, tmp_path, command):
    assert message in command([*SWEEP, f"--workdir={tmp_path}", *arguments], 2).err


def test_options_are_checked_where_all_runs_are_over(tmp_path, capsys):
    where = f"--workdir={tmp_path}"
    assert cli.main([*SWEEP, where, "--plan"]) == 0
    for path in tmp_path.glob("*/status.json"):
        files.write_json(path, files.read_json(path) | {"state": "done"})
    capsys.readouterr()
    for arguments, message in [
        (["--memory=1B"], "A run needs at least "),
        (["--memory=much"], "--memory must be a size such as 500MB or 2GB, got 'much'"),
        (["--mesh="], "--mesh must give trial, data, model sizes"),
        (["--mesh=trial=999"], "--mesh must have trial below "),
        (["--engine=ray", "--address=nowhere"], "--address must be HOST:PORT or auto"),
        (["--engine=ray", "--address=here:x"], "--address must be HOST:PORT or auto"),
        (["--engine=ray", "--address=[::1]:1"], "and nobody answers at [::1]:1: "),
        (["--engine=ray", "--address=[::1]:1", "--dry-run"], "nobody answers at"),
        (["--transition-budget=-1"], "--transition-budget must be a size such as"),
        (["--stop"], f"--stop: every run of {NAME} is over."),
    ]:
        sweep = NAMED if arguments == ["--stop"] else SWEEP
        assert cli.main([*sweep, where, *arguments]) == 2, arguments
        said = capsys.readouterr()
        assert message in said.err and not said.out
    for mesh, message in [
        ("trial=999", "--mesh must have trial below "),
        ("data=77", "the data axis of --mesh (77)"),
    ]:
        assert cli.main(["worker", f"{tmp_path}/sweeps/{NAME}", f"--mesh={mesh}"]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/"], "is WORKDIR/sweeps/NAME, as `rdt sweep --plan` prints it, got '/'"),
        (["memory://runs"], "is WORKDIR/sweeps/NAME"),
        (["runs/sweeps/none"], "has no plan.json"),
        (["runs/sweeps/none", "--scratch=x"], "--scratch goes with a workdir in a"),
        (["runs/sweeps/none", "--process-id=1"], "data=2,model=2; got none"),
        (["runs/sweeps/none", "--lease=inf"], "must be at least 1 second, got inf"),
        (["memory://x/sweeps/y", "--lease=9"], "at least 10 seconds with a workdir in"),
    ],
)
def test_a_mistake_of_a_worker_exits_2(arguments, message, command):
    assert message in command(["worker", *arguments], 2).err


def test_a_rate_that_cannot_be_measured_is_said(tmp_path, monkeypatch, command):
    def measure(pack, exact, workers, log):
        raise RuntimeError("A process ended with exit code -9")

    monkeypatch.setattr(forecast, "measure", measure)
    said = command([*SWEEP, f"--workdir={tmp_path}", "--dry-run"], 1)
    assert "could not be measured: A process ended with exit code -9" in said.err
    assert "not measured" in said.out


def test_workers_that_leave_something_undone_are_told(tmp_path, monkeypatch, command):
    monkeypatch.setattr(driver, "run", lambda *arguments, **named: None)
    said = command([*SWEEP, f"--workdir={tmp_path}"], 1).err
    assert "the workers ended before the sweep" in said and "worker-*.log" in said
    assert "2 trials are unfinished" in said


def test_a_cluster_that_is_not_there_is_looked_for_first(
    tmp_path, monkeypatch, command
):
    auto = [*SWEEP, f"--workdir={tmp_path}", "--engine=ray", "--address=auto"]
    monkeypatch.setenv("RAY_ADDRESS", "[::1]:1")  # Of which Ray makes `auto`.
    assert "nobody answers at [::1]:1: " in command(auto, 2).err
    monkeypatch.delenv("RAY_ADDRESS")
    ray = types.ModuleType("ray")
    ray.__spec__ = importlib.machinery.ModuleSpec("ray", None)

    def init(address, **settings):
        raise ConnectionError(f"no cluster is {address}")

    ray.init = init
    monkeypatch.setitem(sys.modules, "ray", ray)
    assert "joined auto: no cluster is auto" in command(auto, 2).err
    assert not list(tmp_path.iterdir())


@pytest.mark.exhaustive
def test_a_driver_that_waits_for_ray_hears_sigterm(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"--address=127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-m", "rdt_jax", *SWEEP, f"--workdir={tmp_path}",
             "--engine=ray", address],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while "packs to train" not in process.stderr.readline():
            assert process.poll() is None
        time.sleep(5)
        process.terminate()
        _, said = process.communicate(timeout=5)
    assert process.returncode == 0
    assert "No worker has begun; the same command goes on." in said


def test_a_driver_counts_what_is_left_of_its_own_plan(tmp_path, monkeypatch, command):
    def run(engine, folder, **named):  # Meanwhile another command plans something else.
        plan = files.read_json(folder / "plan.json")
        files.write_json(folder / "plan.json", plan | {"runs": plan["runs"][:1]})
        name = plan["runs"][0]["run_id"]
        done = {"state": "done", "reason": "phases_passed"}
        path = folder.parents[1] / name / "status.json"
        files.write_json(path, files.read_json(path) | done)

    monkeypatch.setattr(driver, "run", run)
    said = command([*SWEEP, f"--workdir={tmp_path}"], 1).err
    assert "the workers ended before the sweep" in said
    assert "1 trial is unfinished" in said


def test_only_sweeps_work_in_buckets(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["train", "--config=x.py:cpu", "--workdir=gs://bucket/runs"])
    assert "is in a bucket, where `rdt sweep` and" in capsys.readouterr().err


def test_a_plan_in_a_bucket(tmp_path, command):
    url = f"memory://{tmp_path.name}/runs"
    assert f"{url}/sweeps/{NAME}" in command([*SWEEP, f"--workdir={url}", "--plan"]).out
    fs = fsspec.filesystem("memory")
    there = {path.rpartition("/runs/")[2] for path in fs.find(f"/{tmp_path.name}")}
    assert f"sweeps/{NAME}/plan.json" in there
    assert sum(path.endswith("/config.json") for path in there) >= 2
    assert cli.main([*NAMED, f"--workdir={url}", "--stop"]) == 0
    assert "was stopped" in command(["worker", f"{url}/sweeps/{NAME}"]).err
    assert "has no plan.json" in command(["worker", f"{url}/sweeps/none"], 2).err
    fs.rm(f"/{tmp_path.name}", recursive=True)


def test_an_outage_is_said_once_and_so_is_its_end(tmp_path, monkeypatch, capsys):
    url = f"memory://{tmp_path.name}/runs"
    assert cli.main([*SWEEP, f"--workdir={url}", "--plan"]) == 0
    pull, looks = BucketSweep.pull, itertools.count()

    def pull_or_fail(sweep):
        look = next(looks)
        if 1 <= look <= 3:
            raise ConnectionError("The store does not answer: it is away")
        pull(sweep)
        if look > 3:
            for path in sweep.bucket.workdir.glob("*/status.json"):
                over = {"state": "done", "reason": "imported"}  # Without a row.
                files.write_json(path, files.read_json(path) | over)

    monkeypatch.setattr(BucketSweep, "pull", pull_or_fail)
    monkeypatch.setattr("rdt_jax.sweep.bucket_sweep.REFRESH_SECONDS", 0)
    monkeypatch.setattr("rdt_jax.cli.sweep_show.WATCH_SECONDS", 0)
    capsys.readouterr()
    assert cli.main([*NAMED, f"--workdir={url}", "--status", "--watch"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("it is away. It is asked again; each worker asks for 10 min") == 1
    assert said.count("answers again") == 1
    fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


def test_a_sweep_with_overrides_is_another_sweep(planned, tmp_path, capsys, command):
    workdir, folder = planned
    before = (folder / "plan.json").read_bytes()
    arguments = [*SWEEP, "--config.optimizer.learning_rate=5e-4", "--plan"]
    other = pathlib.Path(command([*arguments, f"--workdir={workdir}"]).out.strip())
    assert other.name == NAME + ",optimizer.learning_rate=0.0005"
    assert (folder / "plan.json").read_bytes() == before
    plan = files.read_json(other / "plan.json")
    assert (plan["study"], plan["preset"]) == ("depth_by_decay", "smoke")
    assert plan["overrides"]["optimizer.learning_rate"] == 5e-4
    assert [run["config"]["model"]["width"] for run in plan["runs"]] == [8, 8]
    # Equal values make the same sweep, in any order; the preset's own are no change.
    again = ["--config.optimizer.learning_rate=.0005", *SWEEP[1:], "--config.seed=0"]
    assert cli.main(["sweep", *again, f"--workdir={tmp_path}"]) == 2
    assert "--config.seed does nothing where the sweep" in capsys.readouterr().err
    again[-1] = "--config.batch_size=64"
    assert cli.main(["sweep", *again, f"--workdir={workdir}", "--plan"]) == 0
    assert pathlib.Path(capsys.readouterr().out.strip()) == other
    assert files.read_json(other / "plan.json") == plan
    assert not list(tmp_path.iterdir())


def test_what_was_never_planned_is_not_watched(tmp_path, capsys):
    assert cli.main([*NAMED, f"--workdir={tmp_path}", "--status", "--watch"]) == 2
    assert "has no plan.json; start it with `rdt sweep`" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
