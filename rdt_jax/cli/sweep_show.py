"""`rdt sweep` without training: --status, --dry-run, and what it says at its end."""

import argparse
import contextlib
import math
import sys
import time
from typing import TYPE_CHECKING

from rdt_jax import wording
from rdt_jax.cli import exits, stopping
from rdt_jax.cli import options as shared
from rdt_jax.cli.exchange import Exchange

if TYPE_CHECKING:
    from rich.console import Console

    from rdt_jax.sweep import forecast, ledger, progress, spec
    from rdt_jax.sweep.bucket_sweep import BucketSweep

WATCH_SECONDS = 1.0


def status(
    options: argparse.Namespace, plan: "spec.Plan", copy: "BucketSweep | None"
) -> int:
    """Shows how far a sweep is, with --watch until it is over; the exit code."""
    from rich.console import Console

    from rdt_jax.sweep import ledger, progress
    from rdt_jax.sweep import plan as plans

    console = Console()
    is_planned = plans.exists(options.workdir / "sweeps" / plan.name)
    if options.watch and ledger.num_unfinished(options.workdir, plan.trials):
        _watch(options, plan, copy, console)
    table = progress.render(
        options.workdir, plan.trials, None, console.width, is_planned, in_full=True
    )
    console.print(table)
    return conclude(options, plan, console) if is_planned else exits.WELL


def _watch(
    options: argparse.Namespace,
    plan: "spec.Plan",
    copy: "BucketSweep | None",
    console: "Console",
) -> None:
    """Shows a sweep until it is over, or this process is asked to stop."""
    from rich.live import Live

    from rdt_jax.sweep import ledger, progress

    monitor = progress.Monitor(options.workdir, plan.trials, console)
    live: contextlib.AbstractContextManager = contextlib.nullcontext()
    if console.is_terminal:
        live = Live(monitor, console=console, refresh_per_second=2, transient=True)
    with stopping.on_signal() as stop, live:
        exchange = Exchange(copy, console.print)
        while ledger.num_unfinished(options.workdir, plan.trials) and not stop():
            show(exchange, monitor, console)
            time.sleep(WATCH_SECONDS)


def show(exchange: Exchange, monitor: "progress.Monitor", console: "Console") -> None:
    """Brings what is shown up to date; a terminal draws it by itself."""
    exchange.refresh()
    if not console.is_terminal:
        monitor.log()


def conclude(
    options: argparse.Namespace,
    plan: "spec.Plan",
    console: "Console",
    broken: bool = False,
) -> int:
    """Says what of a plan is unfinished, lost, or failed and why; the exit code."""
    from rdt_jax.figures import failures
    from rdt_jax.sweep import ledger

    lost = shared.report_lost(options.workdir, plan.run_ids, options.url)
    if unfinished := ledger.num_unfinished(options.workdir, plan.trials):
        trials = wording.count(unfinished, "trial")
        verb = "is" if unfinished == 1 else "are"
        console.print(f"{trials} {verb} unfinished; `rdt sweep` goes on.")
    if failed := ledger.failures(options.workdir, plan.trials):
        shared.print_table(failures.table(failed), console)
    return exits.FAILED if failed or lost or broken else exits.WELL


def dry_run(
    options: argparse.Namespace,
    plan: "spec.Plan",
    num_workers: int,
    settings: "ledger.Options",
) -> int:
    """Says what a sweep will need and how long it will take; the exit code."""
    from rich.console import Console

    from rdt_jax.figures import forecast as tables
    from rdt_jax.sweep import forecast

    console = Console(stderr=True)
    with exits.mistakes():
        rate, where = _rate(options.rate)
        with console.status("predicting what the packs will need"):
            needed = forecast.forecast(
                options.workdir, plan, settings, options.retry_failed
            )
    tell_slow(needed)
    code = exits.WELL
    fits = needed.needs.memory <= settings.memory_bytes
    if rate is None and options.mesh is not None:
        print("With --mesh no rate is measured.", file=sys.stderr)
    elif rate is None and needed.largest is not None and fits:
        try:
            rate = _measure(needed, settings.exact, num_workers, console)
        except RuntimeError as error:
            print(f"rdt: the rate could not be measured: {error}", file=sys.stderr)
            code = exits.FAILED
    here = [name for name in ("workers", "memory") if not getattr(options, name)]
    table = tables.table(
        needed,
        num_workers,
        settings.memory_bytes,
        rate,
        where,
        here if options.rate is not None else (),
    )
    shared.print_table(table)
    return code


def _measure(
    needed: "forecast.Forecast", exact: bool, num_workers: int, console: "Console"
) -> float:
    """Measures the operations per second of all workers on the largest pack.

    Raises:
      RuntimeError: if that could not be measured.
    """
    from rdt_jax.sweep import forecast

    assert needed.largest is not None
    shared.tell("measuring the rate of this machine; --rate=FLOP/S skips it.")
    busy = min(num_workers, needed.packs)  # As many as a sweep would start.
    with exits.mistakes(), console.status("") as shown:

        def log(text: str) -> None:
            console.print(f"  {text}", highlight=False)
            shown.update(text)

        return forecast.measure(needed.largest, exact, busy, log)


def tell_slow(needed: "forecast.Forecast") -> None:
    """Says what of the largest pack looks as if it never ended, on a CPU."""
    from rdt_jax import devices, tasks
    from rdt_jax.profile import estimate

    if needed.largest and not devices.has_accelerator():
        config = needed.largest[0]
        for text in estimate.slow(config, tasks.make_table(config)):
            shared.tell(text)


def _rate(text: str | None) -> tuple[float | None, str]:
    """Reads --rate: operations per second, and whose they are; ValueError."""
    from rdt_jax.figures import forecast as tables
    from rdt_jax.profile import chips

    if text is None:
        return None, tables.HERE
    if text in chips.CHIPS:
        return chips.CHIPS[text].flops, f"at the peak of one {text}"
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise ValueError(
            "--rate must be a number of FLOP/s above 0, such as 2e13, or one of "
            f"{', '.join(chips.CHIPS)}, got {text!r}."
        )
    return rate, "at the given rate"
