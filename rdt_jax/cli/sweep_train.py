"""`rdt sweep` while it trains: the plan is written, workers are started and shown."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rdt_jax import wording
from rdt_jax.cli import exits, figures, report, stopping, sweep_show
from rdt_jax.cli import options as shared
from rdt_jax.cli.sweep_show import Request

if TYPE_CHECKING:
    from rich.console import Console

    from rdt_jax.sweep import engines, forecast, ledger

_GRACE_SECONDS = 5.0  # To end the workers, when it is asked to stop twice.


def train(request: Request, num_workers: int, settings: "ledger.Options") -> int:
    """Writes the plan and, unless --plan says otherwise, trains it; the exit code.

    Args:
      request: request of the sweep, with the plan as the study makes it.
      num_workers: number of processes at a time.
      settings: options of the packs.
    """
    import jax
    from rich.console import Console

    from rdt_jax.store import bucket_copy
    from rdt_jax.sweep import engines, ledger

    # This process plans and watches; the workers alone may hold an accelerator.
    jax.config.update("jax_platforms", "cpu")
    console, options = Console(stderr=True), request.options
    _write_plan(request, num_workers, settings, console)
    target = f"{request.url}/sweeps/{request.plan.name}" if request.bucket else None
    lost = request.report_lost()
    if options.plan:
        print(target or request.folder)
        return exits.FAILED if lost else exits.WELL
    if options.engine == "local":  # Else on the machine of each worker.
        shared.use_compile_cache()
    order = engines.Order(
        request.folder.resolve(),
        options.workers,
        options.lease,
        options.address,
        target,
        options.mesh,
    )
    broken = False
    if ledger.trainable_packs(request.folder):
        broken = not _run_engine(request, order, console)
    workdir = request.workdir
    if request.url:  # The copy so far has no metrics of what others trained.
        analyses = getattr(request.plan.study, "ANALYSES", {})
        with exits.mistakes():
            workdir = bucket_copy.refresh(request.url, exits.tell, bool(analyses))
        console.print(f"The runs are in {request.url}, a copy in {workdir}.")
    if any(figures.is_evaluated(workdir, n) for n in request.plan.run_ids):
        figures.show(workdir, request.plan)
        report.of_sweep(workdir, request.plan)
    return sweep_show.conclude(request, console, broken)


def _write_plan(
    request: Request, num_workers: int, settings: "ledger.Options", console: "Console"
) -> None:
    """Says what the sweep will need and writes its plan, also into the bucket."""
    from rdt_jax.store import bucket_sync
    from rdt_jax.sweep import ledger
    from rdt_jax.sweep import plan as plans

    plan, workdir, copy = request.plan, request.workdir, request.bucket
    refresh = lambda: bucket_sync.pull_begun(copy.bucket, []) if copy else None
    with exits.mistakes():
        needed = request.forecast(settings)
        if needed.packs:
            _announce(request, needed, num_workers, settings.memory_bytes, console)
            sweep_show.tell_slow(needed)
        dropped = plans.dropped(request.folder, plan)
        retry_failed = request.options.retry_failed
        ledger.write_plan(workdir, plan, settings, retry_failed, refresh, exits.tell)
    if dropped:
        console.print(
            f"The study or its config was changed: the plan of {plan.name} lost "
            f"{wording.count(len(dropped), 'trial')}; what they ran stays."
        )
    if copy:
        with exits.mistakes(PermissionError):
            copy.push_plan()


def _run_engine(request: Request, order: "engines.Order", console: "Console") -> bool:
    """Starts workers and waits for them; says whether they could work."""
    from rich.live import Live

    from rdt_jax.sweep import driver, ledger
    from rdt_jax.sweep.bucket_sweep import Exchange

    monitor = request.monitor(console)
    say = lambda message: console.print(message, markup=False, soft_wrap=True)
    exchange = Exchange(request.bucket, say)
    logs = f"{order.folder / 'state'}/worker-*.log"
    if order.target:
        logs = f"{order.target}/logs/{request.workdir.name}/worker-*.log"
    tell_why = lambda what: exits.tell(f"{what} {logs} say why.")
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(_connect(request.options.engine, order, say))
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
        stops = max(stop(), ledger.is_stopped(order.folder))
    # A worker leaves what it cannot even begin, and says why in its log.
    if not stops and request.num_unfinished():
        tell_why("the workers ended before the sweep;")
        return False
    return stops <= 1


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
    request: Request,
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
    above = (request.workdir, *request.workdir.resolve().parents)
    free = shutil.disk_usage(next(path for path in above if path.exists())).free
    if needs.pins + needs.checkpoints > free:
        raise ValueError(
            f"{request.workdir} has {size(free)} free and this sweep may need "
            f"{size(needs.pins + needs.checkpoints)}; keep fewer parameters with "
            "--transition-budget, or train in another --workdir."
        )
    if needs.memory > memory:
        console.print("One lane may not fit in memory; model.remat = full needs least.")
