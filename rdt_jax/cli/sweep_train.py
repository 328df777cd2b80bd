"""`rdt sweep` while it trains: the plan is written, workers are started and shown."""

import argparse
import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rdt_jax import wording
from rdt_jax.cli import exits, figures, stopping, sweep_show
from rdt_jax.cli import options as shared
from rdt_jax.cli.exchange import Exchange

if TYPE_CHECKING:
    from rich.console import Console

    from rdt_jax.sweep import engines, forecast, ledger, spec
    from rdt_jax.sweep.bucket_sweep import BucketSweep

_GRACE_SECONDS = 5.0  # To end the workers, when it is asked to stop twice.


def train(
    options: argparse.Namespace,
    plan: "spec.Plan",
    num_workers: int,
    settings: "ledger.Options",
    copy: "BucketSweep | None",
) -> int:
    """Writes the plan and, unless --plan says otherwise, trains it; the exit code.

    Args:
      options: arguments of the command, with the workdir and its `url` in a bucket.
      plan: the plan, as the study makes it.
      num_workers: number of processes at a time.
      settings: options of the packs.
      copy: the sweep in a bucket that the workdir is a copy of; None on a disk.
    """
    import jax
    from rich.console import Console

    from rdt_jax.sweep import engines, ledger

    # This process plans and watches; the workers alone may hold an accelerator.
    jax.config.update("jax_platforms", "cpu")
    console = Console(stderr=True)
    _write_plan(options, plan, num_workers, settings, copy, console)
    folder = options.workdir / "sweeps" / plan.name
    target = f"{options.url}/sweeps/{plan.name}" if copy else None
    lost = shared.report_lost(options.workdir, plan.run_ids, options.url)
    if options.plan:
        print(target or folder)
        return exits.FAILED if lost else exits.WELL
    if options.engine == "local":  # Else on the machine of each worker.
        shared.use_compile_cache()
    order = engines.Order(
        folder.resolve(),
        options.workers,
        options.lease,
        options.address,
        target,
        options.mesh,
    )
    broken = False
    if ledger.trainable_packs(folder):
        broken = not _run_engine(options, order, plan, copy, console)
    metrics = [options.workdir / name / "metrics.jsonl" for name in plan.run_ids]
    if copy:
        console.print(f"The runs are in {options.url}; `rdt figures` needs a copy.")
    elif any(path.exists() and path.stat().st_size for path in metrics):
        figures.show(options, plan)
    return sweep_show.conclude(options, plan, console, broken)


def _write_plan(
    options: argparse.Namespace,
    plan: "spec.Plan",
    num_workers: int,
    settings: "ledger.Options",
    copy: "BucketSweep | None",
    console: "Console",
) -> None:
    """Says what the sweep will need and writes its plan, also into the bucket."""
    from rdt_jax.store import bucket_sync
    from rdt_jax.sweep import forecast, ledger
    from rdt_jax.sweep import plan as plans

    refresh = lambda: bucket_sync.pull_begun(copy.bucket, []) if copy else None
    with exits.mistakes():
        needed = forecast.forecast(
            options.workdir, plan, settings, options.retry_failed
        )
        if needed.packs:
            _announce(options, needed, num_workers, settings.memory_bytes, console)
            sweep_show.tell_slow(needed)
        dropped = plans.dropped(options.workdir / "sweeps" / plan.name, plan)
        ledger.write_plan(
            options.workdir, plan, settings, options.retry_failed, refresh
        )
    if dropped:
        console.print(
            f"The study or its config was changed: the plan of {plan.name} lost "
            f"{wording.count(len(dropped), 'trial')}; what they ran stays."
        )
    if copy:
        with exits.mistakes(PermissionError):
            copy.push_plan()


def _run_engine(
    options: argparse.Namespace,
    order: "engines.Order",
    plan: "spec.Plan",
    copy: "BucketSweep | None",
    console: "Console",
) -> bool:
    """Starts workers and waits for them; says whether they could work."""
    from rich.live import Live

    from rdt_jax.sweep import driver, ledger, progress

    monitor = progress.Monitor(options.workdir, plan.trials, console)
    say = lambda message: console.print(message, markup=False, soft_wrap=True)
    exchange = Exchange(copy, say)
    logs = f"{order.folder / 'state'}/worker-*.log"
    if order.target:
        logs = f"{order.target}/logs/{options.workdir.name}/worker-*.log"
    tell_why = lambda what: print(f"rdt: {what} {logs} say why.", file=sys.stderr)
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(_connect(options.engine, order, say))
        stop = stack.enter_context(stopping.on_signal(grace=_GRACE_SECONDS))
        if console.is_terminal:
            stack.enter_context(Live(monitor, console=console, refresh_per_second=2))
        try:
            driver.run(
                engine,
                order.folder,
                stop_requested=stop,
                on_poll=lambda: sweep_show.show(exchange, monitor, console),
                log=say,
            )
        except RuntimeError as error:
            exchange.refresh(now=True)
            tell_why(error)
            return False
        exchange.refresh(now=True)
        asked = max(stop(), ledger.is_stopped(order.folder))
    # A worker leaves what it cannot even begin, and says why in its log.
    if not asked and ledger.num_unfinished(options.workdir, plan.trials):
        tell_why("the workers ended before the sweep;")
        return False
    return asked <= 1


@contextlib.contextmanager
def _connect(
    name: str, order: "engines.Order", say: Callable[[str], None]
) -> "Iterator[engines.Engine]":
    """Yields the engine of a name; while it connects, this process may end."""
    from rdt_jax.sweep import engines

    leave = lambda: say("No worker has begun; the same command goes on.")
    with contextlib.ExitStack() as stack:
        # Ray would hear SIGTERM only once it is connected.
        with exits.mistakes(), stopping.on_signal() as connecting:
            with connecting.may_end(leave):
                engine = stack.enter_context(engines.ENGINES[name](order))
        yield engine


def _announce(
    options: argparse.Namespace,
    needed: "forecast.Forecast",
    num_workers: int,
    memory: int,
    console: "Console",
) -> None:
    """Says what is left of a sweep and what it will need; ValueError if too much."""
    from rdt_jax.figures.forecast import size

    needs = needed.needs
    console.print(
        f"{wording.count(needed.trials, 'trial')}; "
        f"{wording.count(needed.packs, 'pack')} to train with "
        f"{wording.count(needs.programs, 'compiled program')}; at most "
        f"{size(needs.memory)} of the {size(memory)} memory of each of "
        f"{wording.count(num_workers, 'worker')}, {size(needs.pins)} of disk for "
        f"parameters kept and {size(needs.checkpoints)} for checkpoints",
        soft_wrap=True,
    )
    above = (options.workdir, *options.workdir.resolve().parents)
    free = shutil.disk_usage(next(path for path in above if path.exists())).free
    if needs.pins + needs.checkpoints > free:
        raise ValueError(
            f"{options.workdir} has {size(free)} free and this sweep may need "
            f"{size(needs.pins + needs.checkpoints)}; keep fewer parameters with "
            "--transition-budget, or train in another --workdir."
        )
    if needs.memory > memory:
        console.print("One lane may not fit in memory; model.remat = full needs least.")
