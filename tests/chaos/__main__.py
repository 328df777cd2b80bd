"""`make chaos`: kills and damage at random, until nothing more can be learned.

    python -m tests.chaos [--kills 200] [--flips 100] [--sweeps N] [--seed N]
    python -m tests.chaos --case NAME --replay saving:17+0.030000,any:9

Prints a table of the kinds of moments, the kills, and how many of them left a finished
run bit-identical to one that was left alone. Ends with exit code 1 if any did not, or
if any damage to a checkpoint went unnoticed. `--sweeps` are of two workers in a bucket
whose store is away now and then (bucket.py).
"""

import argparse
import collections
import concurrent.futures
import itertools
import pathlib
import random
import sys
import tempfile
import time

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from rdt_jax import machine
from tests.chaos import bucket, cases, damage, harness


def main() -> int:
    options = _options()
    console = Console()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="chaos-"))
    console.print(f"Seed {options.seed}; what goes wrong stays in {folder}.")
    names = [options.case] if options.case else list(cases.CASES)
    alone = {name: _leave_alone(name, folder / name, console) for name in names}
    if options.replay:
        kills = harness.parse(options.replay)
        outcome = harness.kill(alone[options.case], kills, folder / "replay")
        console.print(f"killed: {outcome.killed}", markup=False)
        console.print(outcome.difference or "identical", markup=False)
        return 1 if outcome.difference else 0
    progress = Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with progress:
        wrong = _kills(options, alone, folder, progress)
        wrong += _flips(options, alone, folder, progress)
    wrong += bucket.main(options.sweeps, options.seed, folder, console)
    if not wrong:
        console.print("Nothing went wrong.")
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--flips", type=int, default=100, help="damages, of all kinds")
    parser.add_argument("--sweeps", type=int, default=0, help="in a bucket")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    parser.add_argument("--case", choices=list(cases.CASES), help="default: all")
    parser.add_argument("--replay", metavar="KILLS", help="as a failure prints them")
    parser.add_argument(
        "--processes", type=int, default=machine.cores(), help="at a time"
    )
    options = parser.parse_args()
    if options.replay and not options.case:
        parser.error("--replay needs the --case that it is about")
    return options


def _leave_alone(name: str, folder: pathlib.Path, console: Console) -> harness.Alone:
    """Trains a case twice: the second time is warm, and must agree with the first."""
    first, second = (
        harness.leave_alone(name, folder, run) for run in ("cold", "alone")
    )
    harness.compare(second.workdir, first.workdir)
    moments = ", ".join(f"{count} {kind}" for kind, count in second.counts.items())
    console.print(f"{name}: {second.lasted:.1f} s left alone; moments: {moments}.")
    return second


def _kills(options, alone, folder: pathlib.Path, progress: Progress) -> int:
    kinds = [(name, kind) for name, a in alone.items() for kind in harness.kinds(a)]
    random.Random(options.seed).shuffle(kinds)  # Few kills are of every sort, too.
    turns = itertools.islice(itertools.cycle(kinds), options.kills)

    def one(index: int, name: str, kind: str) -> tuple[str, str | None]:
        chance = random.Random(f"{options.seed}-{index}")
        where = folder / f"kill-{index}"
        return kind, harness.kill_once(alone[name], chance, kind, where).difference

    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    bar = progress.add_task("kills", total=options.kills)
    with concurrent.futures.ThreadPoolExecutor(options.processes) as pool:
        doing = [pool.submit(one, i, *turn) for i, turn in enumerate(turns)]
        for done in concurrent.futures.as_completed(doing):
            kind, difference = done.result()
            counts[kind, "kills"] += 1
            counts[kind, "identical"] += difference is None
            if difference is not None:
                progress.console.print(difference, markup=False, highlight=False)
            progress.advance(bar)
    return _show(counts, ("kills", "identical"), progress.console)


def _flips(options, alone, folder: pathlib.Path, progress: Progress) -> int:
    chance = random.Random(f"{options.seed}-flips")
    checkpoints = [path for a in alone.values() for path in harness.checkpoints(a)]
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for index in progress.track(range(options.flips), description="damages"):
        kind = damage.KINDS[index % len(damage.KINDS)]
        with tempfile.TemporaryDirectory(dir=folder) as work:
            source = checkpoints[index % len(checkpoints)]
            missed = damage.unnoticed(source, chance, kind, pathlib.Path(work))
        counts[kind, "damages"] += 1
        counts[kind, "as it should be"] += missed is None
        if missed is not None:
            progress.console.print(missed, markup=False, highlight=False)
    return _show(counts, ("damages", "as it should be"), progress.console)


def _show(counts, columns: tuple[str, str], console: Console) -> int:
    """Prints a table of counts by kind; returns how many are in the first alone."""
    table = Table("kind", box=None)
    for column in columns:
        table.add_column(column, justify="right")
    kinds = sorted({kind for kind, _ in counts})
    sums = [sum(counts[kind, column] for kind in kinds) for column in columns]
    for kind in kinds:
        table.add_row(kind, *(str(counts[kind, column]) for column in columns))
    table.add_row("all", *map(str, sums), style="bold")
    console.print(table)
    return sums[0] - sums[1]


if __name__ == "__main__":
    sys.exit(main())
