"""Compares when runs arrive that trained alone and the same runs in packs.

    python -m experiments.packing.compare SOLO_WORKDIR PACKED_WORKDIR \
        [--event=id_generalized] [--seed=0] [--figure=FILE.png]

The runs of a pair have one run id, hence one seed, one data order and one budget. Two
tests are made, since nobody knows beforehand how long the two trajectories of a seed
stay together: the paired one uses what is left in common, the unpaired one does not
need it. Each comes with the smallest shift that it would have seen. A test that sees
nothing says no more than that a shift is likely to be smaller than that.

Exit codes: 0 well, 2 the user's mistake.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from rdt_jax import registry
from rdt_jax.analysis import grokking, statistics
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import comparison, save
from rdt_jax.figures.grokking import EVENT_NAMES
from rdt_jax.training import phases, records

WELL, MISTAKE = 0, 2
POWER, LEVEL = 0.8, 0.05
GROUPS = ("solo", "packed")


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """What two workdirs say of one event.

    Attributes:
      event: a key of `phases.EVENTS`.
      task: name of the task.
      runs: group -> its runs, by ascending seed; runs of one place are a pair.
      lanes: group -> lanes of the packs that its runs trained in; empty if unknown.
      times: group -> [N], updates to the event; inf where the budget ended before.
      medians: group -> median with its interval.
      tests: name -> what the test found.
      visible: name of a test -> the smallest shift that it would have seen.
      distances: between the times of a pair, and of what is no pair.
      left_out: group -> number of runs without a partner.
      budget: of every run, in updates.
      resolution: updates between evaluations.
    """

    event: str
    task: str
    runs: dict[str, list[Run]]
    lanes: dict[str, list[int]]
    times: dict[str, np.ndarray]
    medians: dict[str, statistics.Interval]
    tests: dict[str, statistics.Comparison]
    visible: dict[str, statistics.VisibleShift]
    distances: statistics.Distances
    left_out: dict[str, int]
    budget: int
    resolution: int


def compare(
    solo: pathlib.Path, packed: pathlib.Path, *, event: str, seed: int
) -> Report:
    """Compares the runs that two workdirs have in common.

    Args:
      solo: workdir of the runs that trained alone.
      packed: workdir of those that trained in packs.
      event: a key of `phases.EVENTS`.
      seed: of resamples and draws.

    Raises:
      ValueError: if a workdir does not exist, they have no run in common, the runs
        differ in more than their seed, are unfinished, know no such event, or did not
        train as the group says.
    """
    registry.lookup("event", phases.EVENTS, event)
    ids = {g: _run_ids(w) for g, w in zip(GROUPS, (solo, packed), strict=True)}
    common = sorted(set.intersection(*ids.values()))
    if not common:
        raise ValueError(
            f"The workdirs must have runs in common, but none of the {len(ids['solo'])} "
            f"run ids in {solo} is among the {len(ids['packed'])} in {packed}; sweep "
            "one study with one preset and the same overrides in both."
        )
    runs = {
        group: _of_one_cell(run_folders.read_runs(workdir, common))
        for group, workdir in zip(GROUPS, (solo, packed), strict=True)
    }
    lanes = {group: _lanes(members) for group, members in runs.items()}
    if max(lanes["solo"], default=1) > 1:
        raise ValueError(f"Runs in {solo} trained in packs of {lanes['solo']} lanes.")
    if max(lanes["packed"], default=2) == 1:
        raise ValueError(f"All runs in {packed} trained alone; sweep with --lanes.")
    times = {group: _times(members, event) for group, members in runs.items()}
    one = runs["solo"][0]
    budget, resolution = one.config.num_steps, one.config.eval_every_steps
    first, second = times.values()
    return Report(
        event=event,
        task=one.config.task.name.replace("_", " "),
        runs=runs,
        lanes=lanes,
        times=times,
        medians={
            group: statistics.median_interval(values, seed=seed)
            for group, values in times.items()
        },
        tests={
            "paired": statistics.signed_rank(first, second, seed=seed),
            "unpaired": statistics.rank_sum(first, second, seed=seed),
        },
        visible={
            name: statistics.smallest_visible_shift(
                first,
                second,
                paired=name == "paired",
                resolution=resolution,
                budget=budget,
                seed=seed,
                power=POWER,
                level=LEVEL,
            )
            for name in ("paired", "unpaired")
        },
        distances=statistics.distances(first, second),
        left_out={group: len(ids[group]) - len(common) for group in GROUPS},
        budget=budget,
        resolution=resolution,
    )


def groups_table(report: Report) -> Table:
    """Builds the table of the two groups."""
    event = EVENT_NAMES[report.event]
    pairs = len(report.times["solo"])
    table = _table(f"Updates to {event}: {report.task}, {pairs} pairs")
    table.add_column("trained")
    for name in ("lanes", "arrived", "censored", "median", "95% interval"):
        table.add_column(name, justify="right")
    for group, times in report.times.items():
        interval = report.medians[group]
        censored = int(np.isinf(times).sum())
        table.add_row(
            group,
            ", ".join(map(str, report.lanes[group])) or "?",
            str(times.size - censored),
            str(censored),
            _steps(interval.median, report),
            f"{_steps(interval.low, report)} - {_steps(interval.high, report)}",
        )
    return table


def tests_table(report: Report) -> Table:
    """Builds the table of the two tests."""
    table = _table("Is one group later than the other?")
    table.add_column("test")
    table.add_column("packed later*", justify="right")
    table.add_column("p", justify="right")
    table.add_column(f"smallest shift seen\nwith power {POWER:g}", justify="right")
    names = {"paired": "paired: signed ranks", "unpaired": "unpaired: rank sum"}
    for key, name in names.items():
        test, visible = report.tests[key], report.visible[key]
        table.add_row(name, f"{test.later:.2f}", f"{test.p_value:.4f}", _shift(visible))
    return table


def notes(report: Report) -> list[str]:
    """Says in sentences what the tables leave out."""
    d = report.distances
    pairs = report.times["solo"].size
    lines = [
        "*Share of ranks (paired) or of comparisons (unpaired) in which the packed run "
        "is the later one; 0.50: neither. p by permutation, two-sided, "
        f"{report.tests['paired'].draws} draws; shifts by {statistics.SIMULATIONS} "
        f"simulated experiments tested at {LEVEL:g}, in steps of one evaluation "
        f"({report.resolution} updates).",
        f"The times of a pair differ by {_apart(d.paired)} (median |difference|; "
        f"{d.equal} of {pairs} are equal), those of different seeds by "
        f"{_apart(d.unpaired)}.",
    ]
    left_out = [f"{n} in {group}" for group, n in report.left_out.items() if n]
    if left_out:
        lines.append(f"Runs without a partner, left out: {', '.join(left_out)}.")
    return lines


def draw(report: Report) -> Figure:
    """Draws both distributions, and the pairs."""
    test, visible = report.tests["unpaired"], report.visible["unpaired"]
    pair_test, pair_visible = report.tests["paired"], report.visible["paired"]
    return comparison.paired_times(
        report.times,
        {g: statistics.distribution(times) for g, times in report.times.items()},
        budget=report.budget,
        title=f"Runs trained alone and in packs: {report.task}",
        notes=(
            f"{report.times['solo'].size} seeds. Rank sum p = {test.p_value:.2g}, "
            f"would have seen {_shift(visible)}; signed ranks p = "
            f"{pair_test.p_value:.2g}, would have seen {_shift(pair_visible)}.",
        ),
        event=EVENT_NAMES[report.event],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the comparison and returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.packing.compare",
        description="Compares when solo runs and the same runs in packs arrive.",
    )
    parser.add_argument("solo", type=pathlib.Path, metavar="SOLO_WORKDIR")
    parser.add_argument("packed", type=pathlib.Path, metavar="PACKED_WORKDIR")
    parser.add_argument("--event", default="id_generalized")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling")
    parser.add_argument("--figure", type=pathlib.Path, metavar="FILE.png")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        if options.figure is not None and options.figure.suffix != ".png":
            raise ValueError(f"--figure must end in .png, got {options.figure}.")
        report = compare(
            options.solo, options.packed, event=options.event, seed=options.seed
        )
        console.print(groups_table(report))
        console.print(tests_table(report))
        for line in notes(report):
            console.print(line, markup=False, highlight=False)
        if options.figure is not None:
            members = [run for group in report.runs.values() for run in group]
            origin = save.provenance(members)
            for path in save.save(draw(report), options.figure.with_suffix(""), origin):
                print(path)
    except (ValueError, OSError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return MISTAKE
    return WELL


def _run_ids(workdir: pathlib.Path) -> set[str]:
    if not workdir.is_dir():
        raise ValueError(
            f"No workdir {str(workdir)!r}; `rdt sweep --workdir` makes it."
        )
    return {path.parent.name for path in workdir.glob("*/config.json")}


def _of_one_cell(runs: list[Run]) -> list[Run]:
    (members,) = run_folders.group(runs, ()).values()
    return members


def _lanes(runs: Sequence[Run]) -> list[int]:
    paths = [run.folder / "environment.json" for run in runs]
    found = [records.read_json(path) for path in paths if path.exists()]
    return sorted({entry["lanes"] for entry in found if "lanes" in entry})


def _times(runs: Sequence[Run], event: str) -> np.ndarray:
    found = [grokking.grok_times(run) for run in runs]
    unknown = [times.run_id for times in found if event not in times.phases]
    if unknown:
        split = phases.EVENTS[event]
        raise ValueError(
            f"Event {event} is about the split {split!r}, which run {unknown[0]} lacks; "
            f"choose from {', '.join(grokking.watched_events(runs))}."
        )
    completed = [times.phases[event].completed for times in found]
    waiting = [
        run
        for run, times, step in zip(runs, found, completed, strict=True)
        if step is None and times.outcome == "unfinished"
    ]
    if waiting:
        raise ValueError(
            f"{len(waiting)} runs in {waiting[0].folder.parent} may still arrive "
            f"({waiting[0].run_id} is {waiting[0].status['state']}); finish the sweep "
            "first."
        )
    return np.array([np.inf if step is None else step for step in completed])


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
    )


def _steps(steps: float, report: Report) -> str:
    if np.isinf(steps):
        return f"> {grokking.format_steps(report.budget)}"
    return f"{steps:g}"


def _shift(visible: statistics.VisibleShift) -> str:
    if np.isinf(visible.steps):
        return "none"
    share = "" if np.isnan(visible.relative) else f" ({visible.relative:.1%})"
    return f"{visible.steps:g} updates{share}"


def _apart(updates: float) -> str:
    if np.isnan(updates):
        return "an unknown number"
    return "more than is known" if np.isinf(updates) else f"{updates:g} updates"


if __name__ == "__main__":
    sys.exit(main())
