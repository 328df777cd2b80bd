"""Compares when runs arrive that trained alone and the same runs in packs.

    python -m experiments.packing.compare SOLO_WORKDIR PACKED_WORKDIR \
        [--event=id_generalized] [--seed=0] [--figure=FILE.png]

The runs of a pair have one run id, hence one seed, one data order and one budget. The
paired test is the one that decides, since it uses what the two trajectories of a seed
still have in common; the unpaired one says what is left without that. Each comes with
the smallest shift that it would have seen: a test that sees nothing says no more than
that a shift is likely to be smaller.

Exit codes: 0 well, 2 the user's mistake.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from rdt_jax import registry, wording
from rdt_jax.analysis import grokking, statistics
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import comparison, save
from rdt_jax.figures.words import event_name, task_name
from rdt_jax.store import files
from rdt_jax.sweep import plan as plans
from rdt_jax.training import phases

WELL, MISTAKE = 0, 2
POWER, LEVEL = 0.8, 0.05
TESTS = {
    "paired": ("signed ranks", statistics.signed_rank),
    "unpaired": ("rank sum", statistics.rank_sum),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """What two workdirs, solo and packed, say of one event."""

    event: str
    runs: dict[str, list[Run]]  # by ascending seed; runs of one place are a pair
    times: dict[str, np.ndarray]  # [N], updates; inf where the budget ended before
    tests: dict[str, statistics.Comparison]  # by key of TESTS
    # the smallest shift that each test would have seen
    visible: dict[str, statistics.VisibleShift]
    left_out: int  # runs, of the folders and of plans, without a partner


def compare(
    solo: pathlib.Path, packed: pathlib.Path, *, event: str, seed: int
) -> Report:
    """Compares the runs that a workdir of solo runs and one of packs have in common.

    Args:
      event: a key of `phases.BUILT_IN`.
      seed: seed of the tests and of the simulated experiments.

    Raises:
      ValueError: if a workdir does not exist, they have no run in common, the runs
        differ in more than their seed, are unfinished, know no such event, or did not
        train as the workdir is named.
    """
    registry.lookup("event", phases.BUILT_IN, event)
    workdirs = {"solo": solo, "packed": packed}
    ids = [_run_ids(workdir) for workdir in workdirs.values()]
    common = sorted(
        name
        for name in set.intersection(*ids)
        if all((workdir / name / "config.json").exists() for workdir in (solo, packed))
    )
    if not common:
        raise ValueError(
            f"{solo} and {packed} must hold the same runs, but have none in common "
            f"(they hold {len(ids[0])} and {len(ids[1])}); sweep one study with one "
            "preset and the same overrides in both."
        )
    runs = {}
    for name, workdir in workdirs.items():
        (runs[name],) = run_folders.group(
            [run_folders.read_run(workdir / name) for name in common], ()
        ).values()
    _check_lanes(runs)
    times = {name: _times(members, event) for name, members in runs.items()}
    config = runs["solo"][0].config
    return Report(
        event=event,
        runs=runs,
        times=times,
        tests={
            key: test(*times.values(), seed=seed) for key, (_, test) in TESTS.items()
        },
        visible={
            key: statistics.smallest_visible_shift(
                *times.values(),
                paired=key == "paired",
                resolution=config.eval_every_steps,
                budget=config.num_steps,
                seed=seed,
                power=POWER,
                level=LEVEL,
            )
            for key in TESTS
        },
        left_out=len(set.union(*ids)) - len(common),
    )


def lines(report: Report) -> list[str]:
    """Says in lines of text what was found."""
    config = report.runs["solo"][0].config
    solo, packed = report.times.values()
    said = [
        f"Updates to {event_name(report.event)}: {config.task.name}, "
        f"{wording.count(solo.size, 'pair')}, budget {config.num_steps}, evaluated "
        f"every {config.eval_every_steps}."
    ]
    for name, times in report.times.items():
        median = statistics.median_interval(times)
        low, high = (_steps(bound, config.num_steps) for bound in median[1:])
        said.append(
            f"{name}: {np.isfinite(times).sum()} of {times.size} arrived, median "
            f"{_steps(median.median, config.num_steps)}, 95% interval {low} - {high}, "
            f"lanes {', '.join(map(str, _lanes(report.runs[name])))}"
        )
    tau = stats.kendalltau(solo, packed).statistic
    said.append(
        f"pairs: {(solo == packed).sum()} equal, packed later in "
        f"{(packed > solo).sum()}, Kendall's tau {tau:.2f}"
    )
    for key, (name, _) in TESTS.items():
        found = report.tests[key]
        said.append(
            f"{key}, {name}: p = {found.p_value:.4f}, packed later by "
            f"{found.later:.2f} (0.50: neither), {_seen(report, key)}"
        )
    return said + ([_left_out(report)] if report.left_out else [])


def draw(report: Report) -> Figure:
    """Draws both distributions, and the pairs."""
    runs = report.runs["solo"]
    notes = [
        f"{key.capitalize()} test ({name}): p = {report.tests[key].p_value:.2g}; "
        f"{_seen(report, key)}."
        for key, (name, _) in TESTS.items()
    ]
    figure = comparison.paired_times(
        report.times,
        budget=runs[0].config.num_steps,
        title=_finding(report),
        line=f"{task_name(runs)}; the paired test {_seen(report, 'paired')}",
        notes=notes,
        event=event_name(report.event),
    )
    save.mark(figure, _left_out(report))
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the comparison and returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.packing.compare",
        description="Compares when solo runs and the same runs in packs arrive.",
    )
    parser.add_argument("solo", type=pathlib.Path, metavar="SOLO_WORKDIR")
    parser.add_argument("packed", type=pathlib.Path, metavar="PACKED_WORKDIR")
    parser.add_argument("--event", default="id_generalized")
    parser.add_argument("--seed", type=int, default=0, help="of tests and simulations")
    parser.add_argument("--figure", type=pathlib.Path, metavar="FILE.png")
    options = parser.parse_args(arguments)
    try:
        if options.figure is not None and options.figure.suffix != ".png":
            raise ValueError(f"--figure must end in .png, got {options.figure}.")
        report = compare(
            options.solo, options.packed, event=options.event, seed=options.seed
        )
        print("\n".join(lines(report)))
        if options.figure is not None:
            origin = save.provenance(sum(report.runs.values(), []))
            for path in save.save(draw(report), options.figure.with_suffix(""), origin):
                print(path)
    except (ValueError, OSError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return MISTAKE
    return WELL


def _finding(report: Report) -> str:
    """Says whether packs arrive at other times, as far as the paired test sees it."""
    test, count = report.tests["paired"], report.times["solo"].size
    told = f"(p = {test.p_value:.2g}, {wording.count(count, 'pair')})"
    if test.p_value > LEVEL:
        return f"No difference is seen between runs in packs and runs alone {told}"
    which = "later" if test.later > 0.5 else "sooner"
    return f"Runs in packs arrive {which} than runs alone {told}"


def _left_out(report: Report) -> str:
    if not report.left_out:
        return ""
    return f"left out: {wording.count(report.left_out, 'run')} without a partner"


def _run_ids(workdir: pathlib.Path) -> set[str]:
    if not workdir.is_dir():
        raise ValueError(f"No workdir {str(workdir)!r}; `rdt sweep` makes it.")
    planned = [
        name
        for path in workdir.glob("sweeps/*/plan.json")
        for name in plans.read_run_ids(path.parent)
    ]
    return {*planned, *(path.parent.name for path in workdir.glob("*/config.json"))}


def _lanes(runs: Sequence[Run]) -> list[int]:
    """Returns the distinct numbers of lanes that runs trained with."""
    found = [files.read_json(run.folder / "environment.json") for run in runs]
    return sorted({environment["lanes"] for environment in found if environment})


def _check_lanes(runs: dict[str, list[Run]]) -> None:
    for name, members in runs.items():
        alone, lanes = name == "solo", _lanes(members)
        if any((number == 1) != alone for number in lanes):
            raise ValueError(
                f"Runs in {members[0].folder.parent} must have trained "
                f"{'alone' if alone else 'in packs'}, but their packs have "
                f"{', '.join(map(str, lanes))} lanes; --lanes of `rdt sweep` sets it."
            )


def _times(runs: Sequence[Run], event: str) -> np.ndarray:
    times = []
    for run in runs:
        found = grokking.grok_times(run)
        if event not in found.phases:
            raise ValueError(
                f"Run {run.run_id} has no split for {event}; choose from "
                f"{', '.join(found.phases)}."
            )
        step = found.phases[event].completed
        if step is None and found.outcome == "unfinished":
            raise ValueError(
                f"Run {run.run_id} in {run.folder.parent} is {run.status['state']} and "
                "may still arrive; finish the sweep first."
            )
        times.append(np.inf if step is None else step)
    return np.array(times)


def _steps(steps: float, budget: int) -> str:
    return f"> {budget}" if np.isinf(steps) else f"{steps:g}"


def _seen(report: Report, key: str) -> str:
    """Says what a test would have seen."""
    steps = report.visible[key].steps
    shift = "no shift" if np.isinf(steps) else f"a shift of {steps:g} updates"
    return f"would have seen {shift} with power {POWER:g} at level {LEVEL:g}"


if __name__ == "__main__":
    sys.exit(main())
