"""Two workers of a sweep in a bucket: killed, without their store, and compared."""

import contextlib
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import NamedTuple

import s3fs

from rdt_jax import config as configs
from rdt_jax.store import bucket_sync, packs, run_folder
from rdt_jax.store.bucket import Bucket
from rdt_jax.sweep import ledger, spec
from rdt_jax.sweep.bucket_sweep import BucketSweep
from tests.chaos import cases, store
from tests.training import bits

LIMIT = 900  # seconds for a sweep
LEASE = 10  # seconds
_NAME = "study-chaos"
_SPAN = 30.0  # Seconds of a sweep in which it is disturbed.


class Alone(NamedTuple):
    """A sweep that one worker went through on a disk."""

    workdir: pathlib.Path  # of its runs
    planned: pathlib.Path  # one in which nobody has worked
    environment: dict[str, str]  # of the processes that work on the same sweep


def leave_alone(folder: pathlib.Path) -> Alone:
    """Trains the sweep without disturbing it."""
    case = cases.CASES["solo"]
    config = configs.load(f"{cases.ROOT}/configs/{case.config}")
    config = configs.override(config, dict(case.overrides))
    trials = [spec.Trial.of(config, overrides) for overrides in spec.seeds(2)]
    plan = spec.Plan(_NAME, None, trials)
    planned, workdir = folder / "planned", folder / "alone"
    ledger.write_plan(planned, plan, ledger.Options())
    shutil.copytree(planned, workdir)
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # Halves compile time.
        "NPROC": "1",
    }
    worker = _start(str(workdir / "sweeps" / _NAME), environment, folder / "alone.log")
    assert worker.wait(LIMIT) == 0, (folder / "alone.log").read_text()
    return Alone(workdir, planned, environment)


@contextlib.contextmanager
def serve(setenv: Callable[[str, str], object]) -> Iterator[store.Store]:
    """Runs a store with an empty bucket, which `setenv` lets this process find."""
    with store.serve() as served:
        for name, value in served.environment.items():
            setenv(name, value)
        s3fs.S3FileSystem().mkdir(served.url)
        yield served


def disturb(
    alone: Alone,
    served: store.Store,
    chance: random.Random,
    folder: pathlib.Path,
) -> tuple[str, str | None]:
    """Lets two workers go through the sweep while they are killed and left alone.

    Every other one began on a disk and was copied from there. Returns what was done to
    them, and the difference from the sweep left alone; None if there is none.
    """
    url = f"{served.url}/{folder.name}"
    shutil.copytree(alone.planned, folder / "planning")
    done: list[str] = []
    if chance.random() < 0.5:
        done.append(_begin_on_disk(alone, chance, folder, url))
    else:
        BucketSweep(Bucket.connect(url, folder / "planning"), _NAME).push_plan()
    whole = lambda: round(chance.uniform(0, _SPAN), 2)
    kills = [
        ("kill", whole(), chance.randrange(2)) for _ in range(chance.randint(1, 3))
    ]
    outages = [
        (chance.choice(store.OUTAGES), whole(), round(chance.uniform(1, 30), 2))
        for _ in range(chance.randint(1, 2))
    ]
    events = sorted(kills + outages, key=lambda event: event[1])
    log = folder / "workers.log"
    environment = alone.environment | served.environment
    start = lambda: _start(f"{url}/sweeps/{_NAME}", environment, log)
    workers = [start(), start()]
    try:
        begin, until, stack = time.monotonic(), 0.0, contextlib.ExitStack()
        with stack:
            while any(worker.poll() is None for worker in workers):
                at = time.monotonic() - begin
                assert at < LIMIT, "it does not end"
                if at >= until:
                    stack.close()
                while events and at >= events[0][1]:
                    kind, _, value = events.pop(0)
                    if kind == "kill" and workers[value].poll() is None:
                        workers[value].kill()
                        workers[value].wait()
                        workers[value] = start()
                        done.append(f"kill at {at:.1f}")
                    elif kind != "kill" and at >= until:
                        stack.enter_context(served.outage(kind))
                        until = at + value
                        done.append(f"{kind} at {at:.1f} for {value}")
                time.sleep(0.05)
        codes = [worker.returncode for worker in workers]
        assert codes == [0, 0], f"exit codes {codes}"
        _compare(alone, url, folder / "found")
    except AssertionError as error:
        return ", ".join(done), f"{folder}, {', '.join(done)}: {error}"
    finally:
        for worker in workers:
            worker.kill()
    return ", ".join(done), None


def main(count: int, seed: int, folder: pathlib.Path, console) -> int:
    """Disturbs as many sweeps; returns how many were not as the one left alone."""
    if not count:
        return 0
    alone, wrong = leave_alone(folder / "bucket"), 0
    with serve(os.environ.__setitem__) as served:
        for index in range(count):
            chance = random.Random(f"{seed}-{index}")
            begin, where = time.monotonic(), folder / f"sweep-{index}"
            done, difference = disturb(alone, served, chance, where)
            console.print(f"{index}: {time.monotonic() - begin:.0f} s, {done}")
            if difference:
                wrong += 1
                console.print(difference, markup=False)
            else:
                shutil.rmtree(where)
    console.print(f"{count - wrong} of {count} sweeps in a bucket are identical.")
    return wrong


def _begin_on_disk(
    alone: Alone, chance: random.Random, folder: pathlib.Path, url: str
) -> str:
    """Kills a worker of a sweep on a disk and copies its workdir; says so."""
    workdir, seconds = folder / "planning", round(chance.uniform(8, 30), 2)
    log = folder / "disk.log"
    worker = _start(str(workdir / "sweeps" / _NAME), alone.environment, log)
    with contextlib.suppress(subprocess.TimeoutExpired):
        worker.wait(seconds)
    worker.kill()
    worker.wait()
    for path in workdir.rglob("*"):
        if path.is_file():
            s3fs.S3FileSystem().put_file(path, f"{url}/{path.relative_to(workdir)}")
    return f"copied from a disk at {seconds}"


def _compare(alone: Alone, url: str, workdir: pathlib.Path) -> None:
    """Fails unless the bucket holds what the workdir of the sweep left alone does."""
    copy = Bucket.connect(url, workdir)
    BucketSweep(copy, _NAME).pull()
    for path in sorted(alone.workdir.glob("*/config.json")):
        run = path.parent.name
        pack = packs.pack_of([run])
        held = types.SimpleNamespace(pack=pack, runs=[run])
        bucket_sync.InBucket(copy).restore(held, _fail)
        assert run_folder.read_status(workdir / run)["state"] == "done"
        bits.assert_same_run(workdir / run, path.parent)
        name = f"packs/{pack}/checkpoints"
        newest = max((p.name for p in (alone.workdir / name).iterdir()), key=int)
        bits.assert_same_checkpoint(
            workdir / name / newest, alone.workdir / name / newest
        )


def _fail(message: str) -> None:
    raise AssertionError(message)


def _start(folder: str, environment, log: pathlib.Path) -> subprocess.Popen:
    # Told of a parent, as by `rdt sweep`, it waits for the store from its start on.
    options = [f"--lease={LEASE}", f"--parent={os.getpid()}"]
    command = ["-m", "rdt_jax", "worker", folder, *options]
    with log.open("a") as file:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=cases.ROOT,
            env=environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
