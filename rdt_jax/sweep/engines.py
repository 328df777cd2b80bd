"""Starts workers and watches over them; what they do is in the ledger."""

import importlib.util
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from rdt_jax.sweep import ledger

_POLL_SECONDS = 0.5


def default_workers() -> int:
    """Returns one worker per core, or a single one where an accelerator is installed.

    At width 64 two workers with a core each make 1.8 to 1.9 times the updates of one
    worker with both cores: such small products leave the second core idle.
    """
    return 1 if has_accelerator() else len(os.sched_getaffinity(0))


def default_lanes() -> int | None:
    """Returns trials per program, at most; None for as many as fit in memory.

    A CPU gains nothing by more than one; an accelerator is filled.
    """
    return None if has_accelerator() else 1


def worker_threads(num_workers: int) -> dict[str, str]:
    """Returns the environment that gives a worker its share of the cores."""
    threads = max(1, len(os.sched_getaffinity(0)) // num_workers)
    return {"NPROC": str(threads)}


def has_accelerator() -> bool:
    """Says whether JAX has a plugin for one, without starting any."""
    plugins = ("libtpu", "jax_cuda12_plugin", "jax_cuda13_plugin")
    return any(importlib.util.find_spec(name) for name in plugins)


def worker_memory(num_workers: int) -> int:
    """Returns the bytes that each worker's device has.

    On a CPU the workers share the machine's memory. An accelerator is asked by a
    process of its own, since the one that starts workers must not hold it.

    Raises:
      ValueError: if the accelerator does not tell.
    """
    if not has_accelerator():
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return total // num_workers
    ask = "import jax; print(jax.local_devices()[0].memory_stats()['bytes_limit'])"
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
    if told.returncode:
        raise ValueError(
            "The device does not tell how much memory it has; give it with --memory, "
            f"such as --memory=16GB. It said: {told.stderr.strip()[-300:]}"
        )
    return int(told.stdout)


def run_local(
    folder: pathlib.Path,
    *,
    num_workers: int,
    stop_requested: Callable[[], bool],
    watch: Callable[[], None],
    report: Callable[[str], None],
) -> None:
    """Trains a sweep with subprocess workers until nothing is left to do.

    A worker that dies takes down only its own pack, which becomes `failed`; another is
    started in its place.

    Args:
      folder: of the sweep, with its plan written.
      num_workers: processes at a time; they share the cores.
      stop_requested: when it says True, the workers checkpoint and end.
      watch: called about twice a second.
      report: takes what the user should know.
    """
    workdir = folder.parents[1]
    run_ids = [name for name, _ in ledger.read_plan(folder)]
    workers: dict[subprocess.Popen, int] = {}
    count = min(num_workers, len(ledger.open_packs(folder)))
    for index in range(count):
        workers[_start(folder, index, num_workers)] = index
    stopping = False
    while workers:
        watch()
        time.sleep(_POLL_SECONDS)
        if stop_requested() and not stopping:
            stopping = True
            for worker in workers:
                worker.send_signal(signal.SIGTERM)
        for worker in [w for w in workers if w.poll() is not None]:
            index = workers.pop(worker)
            if worker.returncode == 0:
                continue
            why = f"its worker ended with exit code {worker.returncode}"
            for name in ledger.abandon(workdir, run_ids, why):
                report(f"Run {name} failed: {why}.")
            if not stopping and ledger.open_packs(folder):
                workers[_start(folder, index, num_workers)] = index
    watch()


def _start(folder: pathlib.Path, index: int, num_workers: int) -> subprocess.Popen:
    log = (folder / "state" / f"worker-{index}.log").open("a")
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "rdt_jax", "worker", str(folder)),
            f"--parent={os.getpid()}",
        ],
        env=worker_threads(num_workers) | os.environ,  # The user's wins.
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,  # An interrupt reaches the workers through us alone.
    )
