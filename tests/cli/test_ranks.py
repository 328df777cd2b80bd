"""Jobs of several processes on this machine, started as on a pod."""

import argparse
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from rdt_jax import devices
from rdt_jax.cli import ranks
from rdt_jax.store import files, records
from tests import pages
from tests.conftest import ROOT

CONFIG = str(ROOT / "configs" / "knowledge_composition.py") + ":smoke"
TINY = {
    "model.width": 8, "model.core_blocks": 1, "recurrence.num_loops": 1,
    "recurrence.eval_loops": "1,", "batch_size": 16, "optimizer.warmup_steps": 2,
    "eval_every_steps": 10, "checkpoint_every_steps": 10, "num_steps": 20,
    "task.kwargs.num_entities": 11, "task.kwargs.num_relations": 5,
    "task.kwargs.out_degree": 3, "task.kwargs.phi": 1.5, "stop_after_phases": False,
}  # fmt: skip


def keys(**changed):
    return [f"--config.{key}={value}" for key, value in (TINY | changed).items()]


@pytest.fixture
def job(started):
    """Returns a function that starts a verb as several processes."""

    def start(verb, processes, arguments_of):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        parents = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "rdt_jax", verb, *arguments_of(number)),
                    f"--coordinator=127.0.0.1:{port}", f"--process-id={number}",
                    f"--num-processes={processes}",
                ],
                cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                env=os.environ | pages.QUICK,
            )
            for number in range(processes)
        ]  # fmt: skip
        started.extend(parents)
        return parents

    return start


def ends(parents):
    """Returns the exit codes, and what was said on standard error."""
    said = [parent.communicate(timeout=550)[1] for parent in parents]
    return [parent.returncode for parent in parents], said


def status_of(workdir):
    (path,) = workdir.glob("*/status.json")
    return files.read_json(path)


def wait_until(true, seconds=400):
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_two_processes_train_one_run_and_the_first_alone_writes_it(job, tmp_path):
    workdirs = [tmp_path / "zero", tmp_path / "one"]
    arguments = lambda number: [
        f"--config={CONFIG}", f"--workdir={workdirs[number]}", *keys(),
    ]  # fmt: skip
    codes, said = ends(job("train", 2, arguments))
    assert codes == [0, 0], said
    status = status_of(workdirs[0])
    assert (status["state"], status["step"]) == ("done", 20)
    (folder,) = (path.parent for path in workdirs[0].glob("*/config.json"))
    (segment,) = files.read_json(folder / "environment.json")["segments"]
    assert segment["processes"] == len(segment["devices"]) == 2
    assert segment["mesh"] == {"trial": 1, "data": 2, "model": 1}
    assert list(segment["config_file"]["sha256"]) == ["knowledge_composition.py"]
    rows = records.read_rows(folder / "metrics.jsonl")
    assert [row["step"] for row in rows] == [0, 10, 20]
    assert rows[-1]["train/loss@1"] < rows[0]["train/loss@1"]
    assert (folder / "transitions" / "final-after-20" / "manifest.json").exists()
    checkpoints = workdirs[0] / "packs" / status["pack"] / "checkpoints"
    assert (checkpoints / "20" / "manifest.json").exists()
    assert not workdirs[1].exists() or not list(workdirs[1].iterdir())


@pytest.mark.exhaustive
def test_a_killed_rank_is_named_and_the_restart_goes_on(job, tmp_path):
    """Four processes, then two, then one device of one; the mesh has all three axes."""
    long = {"num_steps": 200_000, "model.num_heads": 4}
    arguments = lambda mesh, **changed: lambda number: [
        f"--config={CONFIG}", f"--workdir={tmp_path}", f"--mesh={mesh}",
        *keys(**{**long, **changed}),
    ]  # fmt: skip
    parents = job("train", 4, arguments("data=4,model=2"))
    wait_until(lambda: list(tmp_path.glob("packs/*/checkpoints/*/manifest.json")))
    listed = subprocess.check_output(
        ["ps", "-o", "pid=", "--ppid", str(parents[2].pid)], text=True
    )
    begin = time.monotonic()
    os.kill(int(listed.split()[0]), signal.SIGKILL)
    codes, said = ends(parents)
    assert time.monotonic() - begin < 60
    assert codes == [1, 1, 1, 1]
    for words in said:
        assert "rank 2 of 4" in words and "was killed by SIGKILL" in words
    before = status_of(tmp_path)["step"]
    # The same run on two processes, which is asked to stop through the second.
    parents = job("train", 2, arguments("data=2,model=2"))
    wait_until(lambda: status_of(tmp_path)["step"] > before + 100)
    parents[1].send_signal(signal.SIGTERM)
    codes, said = ends(parents)
    assert codes == [0, 0], said
    status = status_of(tmp_path)
    assert status["state"] == "preempted" and status["step"] > before
    (folder,) = (path.parent for path in tmp_path.glob("*/config.json"))
    segments = files.read_json(folder / "environment.json")["segments"]
    assert [len(segment["devices"]) for segment in segments] == [8, 4]
    steps = [row["step"] for row in records.read_rows(folder / "metrics.jsonl")]
    assert steps == sorted(set(steps))


@pytest.mark.exhaustive
@pytest.mark.parametrize("processes", [2, 4])
def test_lanes_of_a_sweep_train_on_several_processes(job, tmp_path, processes):
    """The first process alone knows the sweep; three lanes fill the axis."""
    study = tmp_path / "lanes"
    study.mkdir()
    values = {k: v for k, v in TINY.items() if k != "recurrence.eval_loops"}
    (study / "study.py").write_text(
        f"CONFIG = {CONFIG.rpartition(':')[0]!r}\n"
        "from rich.table import Table\ntable = lambda runs: Table()\n"
        "figures, claims = lambda runs: {}, lambda runs: []\ndef sweep(preset):\n"
        f"    common = {values | {'recurrence.eval_loops': (1,)}!r}\n"
        "    return [common | {'seed': seed} for seed in range(3)]\n"
    )
    mesh = f"--mesh=trial={processes}"
    plan = ["sweep", str(study), "--preset=smoke", f"--workdir={tmp_path}", "--plan"]
    rdt = [sys.executable, "-m", "rdt_jax"]
    folder = pages.run([*rdt, *plan, mesh, "--lanes=3"], ROOT).split()[-1]
    elsewhere = str(tmp_path / "another" / "sweeps" / "machine")
    where = lambda mesh: lambda number: [elsewhere if number else folder, mesh]
    codes, said = ends(job("worker", processes, where("--mesh=trial=8")))
    assert codes == [2] * processes, said
    assert all("--mesh must have trial below 6, twice the tr" in text for text in said)
    codes, said = ends(job("worker", processes, where(mesh)))
    assert codes == [0] * processes, said
    statuses = [json.loads(p.read_text()) for p in tmp_path.glob("*/status.json")]
    assert [status["state"] for status in statuses] == ["done"] * 3
    assert len({status["pack"] for status in statuses}) == 1
    for path in tmp_path.glob("*/environment.json"):
        environment = files.read_json(path)
        (segment,) = environment["segments"]
        assert segment["mesh"]["trial"] == segment["processes"] == processes
        assert environment["shapes"] == [[0, 3]]


def options(**values):
    empty = dict.fromkeys(("coordinator", "num_processes", "process_id"))
    return argparse.Namespace(**(empty | values))


def test_a_process_alone_is_no_job(monkeypatch):
    monkeypatch.setattr(devices, "has_tpu", lambda: False)
    assert ranks.job_of(options()) is None
    assert ranks.job_of(options(coordinator="auto")) == ranks.Job()
    monkeypatch.setattr(devices, "has_tpu", lambda: True)
    assert ranks.job_of(options()) == ranks.Job()
    assert ranks.job_of(options(num_processes=1)) is None


def test_on_the_cpu_of_a_tpu_vm_a_process_is_alone(monkeypatch):
    monkeypatch.setenv("TPU_VISIBLE_CHIPS", "0")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert ranks.job_of(options()) is None
    monkeypatch.delenv("JAX_PLATFORMS")
    assert ranks.job_of(options()) == ranks.Job()


def test_variables_tell_a_process_its_job(monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "one:99")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "3")
    monkeypatch.setenv("JAX_PROCESS_ID", "2")
    assert ranks.job_of(options()) == ranks.Job("one:99", 3, 2)
    assert ranks.job_of(options(process_id=0)) == ranks.Job("one:99", 3, 0)
    monkeypatch.setenv("JAX_PROCESS_ID", "two")
    with pytest.raises(ValueError, match="JAX_PROCESS_ID must be an int, got 'two'"):
        ranks.job_of(options())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"coordinator": "one:99"}, "--num-processes, --process-id is missing"),
        ({"process_id": 1}, "--coordinator, --num-processes is missing"),
        (
            {"coordinator": "one:99", "num_processes": 2, "process_id": 2},
            r"--process-id must be in \[0, --num-processes = 2\), got 2",
        ),
        (
            {"coordinator": "one:99", "num_processes": 0, "process_id": 0},
            "--num-processes must be at least 1, got 0",
        ),
        (
            {"coordinator": "one", "num_processes": 2, "process_id": 1},
            "--coordinator must be HOST:PORT, got 'one'",
        ),
    ],
)
def test_a_mistake_in_a_job_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        ranks.job_of(options(**given))
