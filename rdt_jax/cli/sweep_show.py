"""`rdt sweep` without training: --status, --stop, --dry-run, and its last words."""

import argparse
import dataclasses
import math
import pathlib
import sys
import time

from rich.console import Console

from rdt_jax import devices, tasks, wording
from rdt_jax.cli import exits, stopping
from rdt_jax.cli import options as shared
from rdt_jax.figures import failures
from rdt_jax.figures import forecast as tables
from rdt_jax.profile import chips, estimate
from rdt_jax.store import leases
from rdt_jax.sweep import forecast, ledger, packing, progress, spec
from rdt_jax.sweep import plan as plans
from rdt_jax.sweep.bucket_sweep import BucketSweep, Exchange

WATCH_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class Request:
    """A sweep and what is asked of it."""

    options: argparse.Namespace
    plan: spec.Plan  # as the study makes it, or with the trials of plan.json
    workdir: pathlib.Path  # of the runs, or the copy of one in a bucket
    bucket: BucketSweep | None = None  # None on a disk
    url: str | None = None  # of the workdir in the bucket

    @property
    def folder(self) -> pathlib.Path:
        """The folder of the sweep."""
        return self.workdir / "sweeps" / self.plan.name

    def num_unfinished(self) -> int:
        """Counts the trials that are not over and can be read."""
        return ledger.num_unfinished(self.workdir, self.plan.trials)

    def report_lost(self) -> bool:
        """Says which planned runs are lost and why; returns whether any is."""
        return shared.tell_lost(self.workdir, self.plan.run_ids, self.url)


def status(request: Request) -> int:
    """Shows how far a sweep is, with --watch until it is over; the exit code."""
    console = Console()
    is_planned = plans.exists(request.folder)
    if request.options.watch:
        with exits.mistakes():
            plans.read(request.folder)  # Nothing would change of one that is not there.
        if request.num_unfinished():
            _watch(request, console)
    trials = request.plan.trials
    table = progress.render(
        request.workdir, trials, None, console.width, is_planned, in_full=True
    )
    console.print(table)
    return conclude(request, console) if is_planned else exits.WELL


def _watch(request: Request, console: Console) -> None:
    """Shows a sweep until it is over, or this process is asked to stop."""
    monitor = progress.Monitor(request.workdir, request.plan.trials, console)
    with stopping.on_signal() as stop, monitor.live(transient=True):
        exchange = Exchange(request.bucket, console.print)
        while request.num_unfinished() and not stop():
            exchange.refresh()
            monitor.log()
            time.sleep(WATCH_SECONDS)


def conclude(request: Request, console: Console, broken: bool = False) -> int:
    """Says what of a plan is unfinished, lost, or failed and why; the exit code."""
    lost = request.report_lost()
    if unfinished := request.num_unfinished():
        trials = wording.count(unfinished, "trial")
        verb = "is" if unfinished == 1 else "are"
        console.print(f"{trials} {verb} unfinished; `rdt sweep` goes on.")
    if failed := ledger.failures(request.workdir, request.plan.trials):
        shared.print_table(failures.table(failed), console)
    return exits.FAILED if failed or lost or broken else exits.WELL


def stop(request: Request) -> int:
    """Asks all workers of a sweep to checkpoint and end."""
    name = request.plan.name
    with exits.mistakes():
        plans.read(request.folder)
    if not request.num_unfinished():
        raise exits.Mistake(f"--stop: every run of {name} is over.")
    ledger.request_stop(request.folder)
    if request.bucket:
        request.bucket.request_stop()
    holders = leases.holders(request.workdir, leases.Observer())
    if {run for holder in holders for run in holder.runs} & set(request.plan.run_ids):
        what = f"The workers of {name} checkpoint and end"
    else:
        what = f"Nobody trains {name} now; who starts later ends at once"
    print(f"{what}; `rdt sweep` goes on.")
    return exits.WELL


def dry_run(request: Request, num_workers: int, settings: ledger.Options) -> int:
    """Says what a sweep will need and how long it will take; the exit code."""
    console, options = Console(stderr=True), request.options
    with exits.mistakes():
        rate, where = _rate(options.rate)
        with console.status("predicting what the packs will need"):
            needed = forecast.forecast(
                request.workdir, request.plan, settings, options.retry_failed
            )
    tell_slow(needed)
    code = exits.WELL
    fits = needed.needs.memory <= settings.memory_bytes
    if rate is None and options.mesh is not None:
        print("With --mesh no rate is measured.", file=sys.stderr)
    elif rate is None and needed.largest is not None and fits:
        busy = min(num_workers, needed.packs)  # As many as a sweep would start.
        try:
            rate = _measure(needed.largest, settings.exact, busy, console)
        except RuntimeError as error:
            exits.tell(f"the rate could not be measured: {error}")
            code = exits.FAILED
    here = [name for name in ("workers", "memory") if not getattr(options, name)]
    by_default = here if options.rate is not None else ()
    memory = settings.memory_bytes
    shared.print_table(
        tables.table(needed, num_workers, memory, rate, where, by_default)
    )
    return code


def _measure(
    pack: packing.Pack, exact: bool, num_workers: int, console: Console
) -> float:
    """Measures operations per second, as `forecast.measure`, and says what is done."""
    exits.tell("measuring the rate of this machine; --rate=FLOP/S skips it.")
    with exits.mistakes(), console.status("") as shown:

        def log(text: str) -> None:
            console.print(f"  {text}", highlight=False)
            shown.update(text)

        return forecast.measure(pack, exact, num_workers, log)


def tell_slow(needed: forecast.Forecast) -> None:
    """Says what of the largest pack looks as if it never ended, on a CPU."""
    if needed.largest and not devices.has_accelerator():
        config = needed.largest[0]
        for text in estimate.slow(config, tasks.make_table(config)):
            exits.tell(text)


def _rate(text: str | None) -> tuple[float | None, str]:
    """Reads --rate: operations per second, and whose they are; ValueError."""
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
