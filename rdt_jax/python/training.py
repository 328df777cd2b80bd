"""Trains a run, or the runs of a sweep, from Python.

    run = rdt.train(config, workdir="runs")
    runs = rdt.run_sweep("modular:cpu", {"recurrence.num_loops": [1, 2, 4]}, seeds=3)

Both go on with what is not finished, and train nothing twice. Ctrl-C, or the stop of a
notebook, writes checkpoints; the same call goes on from there.
"""

import contextlib
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import ml_collections
from rich.console import Console

from rdt_jax import config as configs
from rdt_jax import devices, machine, tasks
from rdt_jax.analysis import runs as run_folders
from rdt_jax.profile import estimate
from rdt_jax.python.models import load_config
from rdt_jax.python.runs import Run, Runs
from rdt_jax.store import leases
from rdt_jax.sweep import driver, engines, ledger, progress, spec, worker
from rdt_jax.sweep import plan as plans
from rdt_jax.training import run as running
from rdt_jax.training import validation

_LOOK_SECONDS = 1.0  # Time between two looks at the run folders, without a terminal.


def train(
    config: str | ml_collections.ConfigDict, workdir: str | pathlib.Path = "runs"
) -> Run:
    """Trains one run in this process, or goes on with it; a finished one is read.

    Args:
      config: as of `load_config` or `make_config`, or `FILE.py:PRESET`.
      workdir: folder of the runs; it is made if there is none.

    Returns:
      The run; its state is `failed` if its loss was not finite, else `done`.

    Raises:
      ValueError: if the config, the workdir or the run's records are wrong, or a CPU
        has too little memory.
      KeyboardInterrupt: if it was interrupted; it is checkpointed by then.
      BlockingIOError: if another process trains the run.
    """
    config = load_config(config) if isinstance(config, str) else config
    folder, name = _folder(workdir), configs.run_id(config)
    validation.check(config)
    if not devices.has_accelerator():
        table = tasks.make_table(config)
        estimate.check_memory(config, table, machine.memory())
        estimate.check_predicted_memory(config, table, machine.memory())
    leases.check_links(folder)
    with _attended(folder, [spec.Trial(name, {"run": name}, config)], 2) as (stop, log):
        running.train([config], folder, should_stop=stop, log=log)
    return Run(run_folders.read_run(folder / name, config.num_steps))


def run_sweep(
    config: str | ml_collections.ConfigDict,
    over: Mapping[str, Sequence[Any]],
    *,
    seeds: int | Sequence[int] = 1,
    workdir: str | pathlib.Path = "runs",
    name: str | None = None,
    workers: int | None = None,
) -> Runs:
    """Trains every combination of values with every seed, as `rdt sweep` does.

    Args:
      config: as of `train`.
      over: values by dotted key.
      seeds: number of seeds, from 0 on, or the seeds.
      workdir: folder of the runs; it is made if there is none.
      name: name of the sweep, which is extended if there is one; None for that of its
        config and axes.
      workers: processes at a time, 0 to train in this one; None for one on each core,
        and with an accelerator for 0, since this process may hold it.

    Returns:
      All runs of the sweep, those that failed too.

    Raises:
      ValueError: if a key, a value, the name, the workdir or `workers` is wrong.
      KeyboardInterrupt: if it was interrupted; all is checkpointed by then.
      RuntimeError: if the workers could not begin; their logs say why.
    """
    if workers is not None and (not isinstance(workers, int) or workers < 0):
        raise ValueError(f"workers must be an int >= 0 or None, got {workers!r}.")
    folder, lanes = _folder(workdir), devices.default_lanes()
    plan = spec.plan_of_config(config, over, seeds, name=name, check=validation.check)
    plan = plans.with_stored(folder / "sweeps" / plan.name, plan)
    if workers is None:
        workers = 0 if devices.has_accelerator() else devices.default_workers()
    if workers or not devices.has_accelerator():
        memory = devices.worker_memory(workers or 1)
    else:
        memory = jax.local_devices()[0].memory_stats()["bytes_limit"]
    sweep = ledger.write_plan(folder, plan, ledger.Options(lanes, memory)).resolve()
    if ledger.trainable_packs(sweep):
        with _attended(folder, plan.trials, 3) as (stop, log):
            if not workers:
                worker.work(sweep, stop_requested=stop, log=log)
            else:
                with engines.local(engines.Order(sweep, workers)) as engine:
                    polled = lambda: None
                    driver.run(
                        engine, sweep, stop_requested=stop, on_poll=polled, log=log
                    )
    return Runs.of(run_folders.read_runs(folder, spec.configs_of(plan.trials)))


def _folder(workdir: str | pathlib.Path) -> pathlib.Path:
    if "://" in str(workdir):
        raise ValueError(
            f"{workdir} is in a bucket, in which `rdt sweep` alone trains."
        )
    folder = pathlib.Path(workdir).absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise ValueError(f"{workdir} cannot be a folder, since {existing} is a file.")
    return pathlib.Path(workdir)


@contextlib.contextmanager
def _attended(
    workdir: pathlib.Path, trials: Sequence[spec.Trial], most: int
) -> Iterator[tuple[Callable[[], int], Callable[[str], None]]]:
    """Shows how far trials are, and hears Ctrl-C, which it raises at the end.

    A thread other than the main one gets no signals. The Ctrl-C with the number `most`
    is not waited for. It yields what shows the trials (a table in a terminal, lines
    elsewhere) and says how many Ctrl-C there were, and what prints a line.
    """
    # A notebook is no terminal, and shows what is on stderr as if it were an error.
    force = False if "ipykernel" in sys.modules else None
    console = Console(stderr=force is None, force_terminal=force, force_jupyter=False)
    monitor = progress.Monitor(workdir, trials, console)
    heard: list[int] = []
    looked = 0.0

    def hear(number: int, frame: Any) -> None:
        heard.append(number)
        if len(heard) >= most:
            raise KeyboardInterrupt

    def stop() -> int:
        nonlocal looked
        if time.monotonic() > looked + _LOOK_SECONDS:
            monitor.log()
            looked = time.monotonic()
        return len(heard)

    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            stack.callback(
                signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, hear)
            )
        stack.enter_context(monitor.live())
        yield stop, lambda text: console.print(text, markup=False, soft_wrap=True)
        looked = 0.0
        stop()
    if heard:
        raise KeyboardInterrupt("all is checkpointed; the same call goes on")
