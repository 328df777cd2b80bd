"""Whatever happens to workers, drivers and their files, a sweep ends as if nothing had.

Every case disturbs real processes and compares the run folders with those of a sweep
that one worker went through undisturbed: bit for bit, with no attempt more than the
disturbance explains.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from rdt_jax import config as configs
from rdt_jax.store import files, leases
from rdt_jax.sweep import ledger, spec
from tests.training import bits

ROOT = pathlib.Path(__file__).parents[2]
LIMIT = 600.0  # seconds, on a machine that does other things as well
EVERY = [
    pytest.param(engine, marks=pytest.mark.exhaustive) for engine in ("local", "ray")
]

# Clocks of workers that are minutes apart, by their process id.
_SKEW = """
import os, time
_time, _skew = time.time, (os.getpid() % 5 - 2) * 240.0
time.time = lambda: _time() + _skew
time.time_ns = lambda: int(time.time() * 1e9)
"""


@pytest.fixture(scope="module")
def plan(tiny_config):
    base = configs.override(
        tiny_config,
        {
            "num_steps": 32,
            "eval_every_steps": 4,
            "checkpoint_every_steps": 4,
            "model.remat": "none",
            "stop_after_phases": False,
        },
    )
    trials = [spec.Trial.of(base, overrides) for overrides in spec.seeds(2)]
    return spec.Plan("study-toy", None, trials)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    settings = {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("cache")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # Halves compile time.
        "NPROC": "1",
        "PYTHONPATH": str(ROOT),
    }
    return os.environ | settings


@pytest.fixture
def sweep(plan, tmp_path):
    """A sweep that nobody works on yet."""
    return ledger.write_plan(tmp_path, plan, ledger.Options(lanes=1))


@pytest.fixture(scope="module")
def undisturbed(plan, environment, tmp_path_factory):
    """The workdir of the sweep after one worker has gone through it."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    folder = ledger.write_plan(workdir, plan, ledger.Options(lanes=1))
    with worker(folder, environment) as process:
        assert process.wait(LIMIT) == 0
    return workdir


@contextlib.contextmanager
def process(command, environment):
    with subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=environment,
        cwd=ROOT,
        start_new_session=True,
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def worker(folder, environment, lease=60.0):
    command = ("-m", "rdt_jax", "worker", folder, f"--lease={lease}")
    return process(command, environment)


def driver(engine, folder, environment, workers=1, lease=60.0):
    command = ("-m", "tests.sweep.drive", engine, folder, workers, lease)
    return process(command, environment)


def wait(condition):
    deadline = time.monotonic() + LIMIT
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


def at_work(folder, rows=3, but=()):
    """Returns the process that trains, once a run of its has some rows; None before."""
    for path in (folder.parents[1] / "state").glob("*.json"):
        if path.with_suffix(".end.json").exists() or ".end." in path.name:
            continue
        claim = leases.parse(path.read_bytes())
        for run in claim.get("runs", []):
            metrics = folder.parents[1] / run / "metrics.jsonl"
            if (
                metrics.read_bytes().count(b"\n") >= rows
                and claim["process"] not in but
            ):
                return claim["process"]
    return None


def parent_of(number):
    return int(pathlib.Path(f"/proc/{number}/stat").read_text().split()[3])


def assert_whole(folder, undisturbed, lost=0):
    """Fails unless all is done, as undisturbed, and `lost` attempts were in vain."""
    workdir = folder.parents[1]
    bits.assert_same_runs(workdir, undisturbed)
    outcomes = [
        each.outcome
        for pack in ledger.packs_of(folder)
        for each in leases.history(workdir, pack.name)
    ]
    assert outcomes.count("done") == 2, outcomes
    assert len(outcomes) - outcomes.count("over") == 2 + lost, outcomes
    assert not list(workdir.glob("packs/*/*attempt-*"))


@pytest.mark.parametrize(
    "engine", ["local", pytest.param("ray", marks=pytest.mark.exhaustive)]
)
def test_a_killed_worker(engine, sweep, undisturbed, environment):
    with driver(engine, sweep, environment) as driving:
        os.kill(wait(lambda: at_work(sweep)), signal.SIGKILL)
        assert driving.wait(LIMIT) == 0
    assert_whole(sweep, undisturbed, lost=1)


@pytest.mark.exhaustive
def test_a_killed_process_of_ray(sweep, undisturbed, environment):
    """Ray runs its task again; the worker that it had started stops by itself."""
    with driver("ray", sweep, environment) as driving:
        os.kill(parent_of(wait(lambda: at_work(sweep))), signal.SIGKILL)
        assert driving.wait(LIMIT) == 0
    assert_whole(sweep, undisturbed, lost=1)


@pytest.mark.parametrize("engine", EVERY)
def test_a_killed_driver(engine, sweep, undisturbed, environment):
    """Another takes over while the workers of the first still stop."""
    with driver(engine, sweep, environment) as driving:
        wait(lambda: at_work(sweep))
        driving.kill()
    with driver(engine, sweep, environment) as driving:
        assert driving.wait(LIMIT) == 0
    assert_whole(sweep, undisturbed, lost=1)


@pytest.mark.parametrize("engine", EVERY)
def test_two_drivers_and_a_worker_at_once(engine, sweep, undisturbed, environment):
    with (
        driver(engine, sweep, environment, workers=2) as one,
        driver(engine, sweep, environment, workers=2) as two,
        worker(sweep, environment) as three,
    ):
        assert [each.wait(LIMIT) for each in (one, two, three)] == [0, 0, 0]
    assert_whole(sweep, undisturbed)


@pytest.mark.parametrize("engine", EVERY)
def test_a_worker_that_stands_still_beyond_its_lease(
    engine, sweep, undisturbed, environment
):
    with driver(engine, sweep, environment, workers=2, lease=15.0) as driving:
        stopped = wait(lambda: at_work(sweep))
        os.kill(stopped, signal.SIGSTOP)
        wait(lambda: len(list(sweep.parents[1].glob("state/*.end.json"))) == 2)
        before = {p: p.read_bytes() for p in sweep.parents[1].glob("*/*.json*")}
        os.kill(stopped, signal.SIGCONT)
        assert driving.wait(LIMIT) == 0
    assert before == {p: p.read_bytes() for p in sweep.parents[1].glob("*/*.json*")}
    assert_whole(sweep, undisturbed, lost=1)


@pytest.mark.parametrize("engine", EVERY)
def test_half_written_state(engine, sweep, undisturbed, environment):
    """An empty claim, the half of an end, and what kills leave under other names."""
    first, second = ledger.open_packs(sweep)
    state = sweep.parents[1] / "state"
    state.mkdir(exist_ok=True)
    (state / f"{first.name}.1.json").touch()
    (state / f"{second.name}.1.json").write_text('{"machine": "gone", "le')
    (state / f"{second.name}.1.end.json").write_text('{"outco')
    (state / f".{second.name}.2.json.nowhere.1.tmp").write_text("{")
    view = sweep.parents[1] / "packs" / first.name / "attempt-1"
    view.mkdir(parents=True)
    (view / "packs").symlink_to("nowhere")
    (view.parent / "checkpoints" / "8.tmp" / "state").mkdir(parents=True)
    with driver(engine, sweep, environment) as driving:
        assert driving.wait(LIMIT) == 0
    assert_whole(sweep, undisturbed, lost=2)


@pytest.mark.parametrize("engine", EVERY)
def test_clocks_that_are_minutes_apart(
    engine, sweep, undisturbed, environment, tmp_path_factory
):
    """And claims whose files are from another hour."""
    shim = tmp_path_factory.mktemp("shim")
    (shim / "sitecustomize.py").write_text(_SKEW)
    skewed = environment | {"PYTHONPATH": f"{shim}:{ROOT}"}
    with driver(engine, sweep, skewed, workers=2, lease=20.0) as driving:
        one = wait(lambda: at_work(sweep))
        for path in (sweep.parents[1] / "state").glob("*.json"):
            os.utime(path, (time.time() - 3600,) * 2)
        os.kill(one, signal.SIGKILL)
        assert driving.wait(LIMIT) == 0
    assert_whole(sweep, undisturbed, lost=1)


@pytest.mark.parametrize("engine", EVERY)
def test_an_engine_that_is_gone(engine, sweep, undisturbed, environment):
    """All its processes are killed at once, as when a machine goes down."""
    with driver(engine, sweep, environment, workers=2) as driving:
        wait(lambda: at_work(sweep))
        for number in descendants(driving.pid):  # It first: else it starts others.
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        driving.wait(LIMIT)
    lost = sum(
        each.outcome == leases.LOST
        for pack in ledger.packs_of(sweep)
        for each in leases.history(sweep.parents[1], pack.name)
    )
    assert lost >= 1

    def settled():
        ledger.settle(sweep, leases.Observer())
        statuses = map(files.read_json, sweep.parents[1].glob("*/status.json"))
        return "running" not in {status["state"] for status in statuses}

    wait(settled)  # A process with many threads takes a moment to die.
    with driver(engine, sweep, environment, workers=2) as driving:
        assert driving.wait(LIMIT) == 0
    assert_whole(sweep, undisturbed, lost=lost)


def descendants(number):
    """Returns a process and all that it has started, itself first."""
    children = {}
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            children.setdefault(parent_of(path.name), []).append(int(path.name))
    found = [number]
    for each in found:
        found += children.get(each, [])
    return found
