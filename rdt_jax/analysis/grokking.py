"""When runs memorized and generalized, and what that says about a cell of a sweep.

Times are optimizer updates. A run that did not reach a phase is *censored*: all that
is known is that the time lies beyond what was evaluated. Every statistic counts the
censored runs, so a cell in which at least half of the runs never arrived has no median
time but a bound, and a mean over those that arrived is never taken.
"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rdt_jax import registry, wording
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.runs import Run
from rdt_jax.training import phases

# Reported beside OOD, never in a headline: one part was practiced, the other not.
MIXED = ("mixed[pattern=id-ood]", "mixed[pattern=ood-id]")


class PhaseTimes(NamedTuple):
    """First occurrences, in updates; None where it did not happen."""

    onset: int | None
    completed: int | None
    lost: int | None


@dataclasses.dataclass(frozen=True)
class GrokTimes:
    """When one run passed its phases."""

    # Event -> its times, for the events whose rows were evaluated.
    phases: Mapping[str, PhaseTimes]
    # An event that has not completed did not complete up to this step: the last
    # evaluated one; the whole budget for a run whose loss was not finite, since it
    # never will.
    censored_at: int
    outcome: run_folders.Outcome


class Bound(NamedTuple):
    """A number of updates, exactly (`beyond` False) or a lower bound of it (True).

    What counts time in something else, such as operations, says so.
    """

    steps: float
    beyond: bool

    def __str__(self) -> str:
        return ("> " if self.beyond else "") + format_steps(self.steps)


class CellTimes(NamedTuple):
    """Updates to the completion of one event, over the seeds of a cell."""

    median: Bound  # of an even number: the mean of the middle two, if both are known
    low: Bound  # the first seed
    high: Bound  # the last seed
    reached: int  # runs in which the event completed
    runs: int

    @property
    def spread(self) -> str:
        """First to last, `40-60` or `80 - >230`; empty where the first is not known."""
        if self.low.beyond:
            return ""
        to = " - >" if self.high.beyond else "-"
        return f"{self.low}{to}{format_steps(self.high.steps)}"


class CellAccuracy(NamedTuple):
    """A smoothed accuracy in [0, 1], over the seeds of a cell that were evaluated."""

    median: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Cell:
    """What the runs of one cell say together."""

    values: Mapping[str, Any]  # config key -> value that the cell stands for
    run_ids: tuple[str, ...]  # of its runs, by ascending seed
    # Event -> updates to its completion, for the events that the runs have.
    times: Mapping[str, CellTimes]
    # Group of rows (those of the events, depth, MIXED) -> accuracy over the last
    # SMOOTHING evaluations of each run (median); a failed run counts with what it last
    # reached.
    final: Mapping[str, CellAccuracy]
    failed: int  # number of runs whose loss was not finite
    unfinished: int  # number of runs that may still train


def grok_times(run: Run) -> GrokTimes:
    """Returns the times of a run from its events, first occurrences only."""
    first = first_steps(run)
    return GrokTimes(
        phases={
            event: PhaseTimes(
                *(first.get((event, kind)) for kind in PhaseTimes._fields)
            )
            for event in watched_events([run])
        },
        censored_at=(
            run.config.num_steps if run.outcome == "failed" else run.last_step or 0
        ),
        outcome=run.outcome,
    )


def first_steps(run: Run) -> dict[tuple[str, str], int]:
    """Returns the step of each event and kind, `("hop_learned_3", "onset")`, at first.

    An onset is dated before the evaluation at which it was declared.
    """
    found: dict[tuple[str, str], int] = {}
    for row in run.events:
        stage = "" if row["hops"] is None else f"_{row['hops']}"
        step = row["onset"] if row["kind"] == "onset" else row["step"]
        found.setdefault((row["event"] + stage, row["kind"]), step)
    return found


def completion(times: GrokTimes, event: str) -> Bound:
    """Returns the updates to the completion of an event, or their lower bound."""
    found = times.phases[event].completed if event in times.phases else None
    if found is None:
        return Bound(times.censored_at, True)
    return Bound(found, False)


def arrived(runs: Sequence[Run], event: str) -> list[Run]:
    """Returns the runs in which an event has completed."""
    return [run for run in runs if not completion(grok_times(run), event).beyond]


def awaited(runs: Sequence[Run], event: str) -> list[Run]:
    """Returns the unfinished runs in which an event may still complete."""
    return [
        run
        for run in runs
        if run.outcome == "unfinished" and completion(grok_times(run), event).beyond
    ]


def ends_of(runs: Sequence[Run], which: str = "") -> list[str]:
    """Says what a claim is missing while it awaits runs; nothing if it awaits none.

    `which` is what the runs have in common, such as `with R = 1`.
    """
    number = wording.count(len(runs), "run")
    return [f"the end of {number} {which}".rstrip()] if runs else []


def median(times: Sequence[Bound]) -> Bound:
    """Returns the median of times; of an even number the mean of the middle two.

    It is a bound if what is not known may change it.

    Raises:
      ValueError: if there is no time.
    """
    if not times:
        raise ValueError("A median is one of at least one time, got none.")
    return _middle(_ranked(times))


def is_sooner(one: Bound, other: Bound) -> bool:
    """Says whether one time is certainly less: a bound is known from below only."""
    if one.beyond:
        return False
    return one.steps <= other.steps if other.beyond else one.steps < other.steps


def watched_events(runs: Sequence[Run]) -> tuple[str, ...]:
    """Returns the events that a run declares of rows it evaluated, in phase order.

    Before the first evaluation these are all that are declared.
    """
    evaluated = [run for run in runs if run.metrics]
    found = {
        phase.name
        for run in evaluated or runs
        for phase in phases.declared(run.config)
        if not evaluated or run_folders.has_group(run, phase.watched)
    }
    every = [p.name for run in runs for p in phases.declared(run.config)]
    return tuple(e for e in dict.fromkeys([*phases.BUILT_IN, *every]) if e in found)


def watched(runs: Sequence[Run], event: str) -> str:
    """Returns the accuracy that an event is about: a group, perhaps with its loops.

    Raises:
      ValueError: if there is no such event, or if it is about another in some runs.
    """
    found = {phase.watched for phase in _declarations(runs, event)}
    if not found:
        return registry.lookup("event", phases.BUILT_IN, event)
    if len(found) > 1:
        raise ValueError(
            f"The runs differ in what {event} is about: {', '.join(sorted(found))}; "
            "give each of these phases its own name."
        )
    return found.pop()


def thresholds(runs: Sequence[Run], event: str) -> list[float]:
    """Returns the thresholds of an event, ascending; none if no run declares it."""
    return sorted({phase.threshold for phase in _declarations(runs, event)})


def drawn_splits(runs: Sequence[Run]) -> tuple[str, ...]:
    """Returns what the events are about, and depth wherever it was evaluated."""
    splits = [watched(runs, event) for event in watched_events(runs)]
    if any(run_folders.has_group(run, "depth") for run in runs):
        splits.append("depth")
    return tuple(dict.fromkeys(splits))


def cells(runs: Sequence[Run], keys: Sequence[str]) -> list[Cell]:
    """Summarizes runs of one sweep by cell, in ascending order of the values of `keys`.

    Raises:
      ValueError: if runs of a cell differ in more than their seed.
    """
    events = watched_events(runs)
    return [
        _summarize(dict(zip(keys, values, strict=True)), members, events)
        for values, members in run_folders.group(runs, keys).items()
    ]


def median_run(runs: Sequence[Run], event: str) -> Run | None:
    """Picks the run of the median rank, to be drawn for the others.

    Runs are ranked by the step at which `event` completed, those without it after all
    others and by their final accuracy; of an even number the later of the middle two.
    The result is None if no run has been evaluated on the event's rows.
    """
    split = watched(runs, event)
    evaluated = [run for run in runs if run_folders.has_group(run, split)]

    def rank(run: Run) -> tuple[float, float]:
        time = completion(grok_times(run), event)
        final = float(smooth(run_folders.accuracy(run, split).values)[-1])
        return (math.inf if time.beyond else time.steps, -final)

    ranked = sorted(evaluated, key=rank)
    return ranked[len(ranked) // 2] if ranked else None


def smooth(values: np.ndarray) -> np.ndarray:
    """Returns the accuracy that phases are judged by, [E], one per evaluation.

    It is at each evaluation the median of the last `phases.SMOOTHING` values, or of
    those there are.
    """
    window = phases.SMOOTHING
    first = [np.median(values[:end]) for end in range(1, min(window, len(values) + 1))]
    if len(values) < window:
        return np.array(first)
    windows = np.lib.stride_tricks.sliding_window_view(values, window)
    return np.array([*first, *np.median(windows, axis=1)])


def format_steps(steps: float) -> str:
    """Writes a number of updates in three digits: 950, 3.2k, 1.23M."""
    if steps < 999.5:
        return f"{steps:.3g}"
    if steps < 999_500:
        return f"{steps / 1e3:.3g}k"
    return f"{steps / 1e6:.3g}M"


def _summarize(
    values: Mapping[str, Any], runs: Sequence[Run], events: Sequence[str]
) -> Cell:
    times = [grok_times(run) for run in runs]
    final: dict[str, CellAccuracy] = {}
    known = set().union(*(t.phases for t in times))
    events = [event for event in events if event in known]
    splits = dict.fromkeys([*(watched(runs, event) for event in events), "depth"])
    for group in (*splits, *MIXED):
        ends = [
            float(smooth(run_folders.accuracy(run, group).values)[-1])
            for run in runs
            if run_folders.has_group(run, group)
        ]
        if ends:
            final[group] = CellAccuracy(statistics.median(ends), min(ends), max(ends))
    return Cell(
        values=values,
        run_ids=tuple(run.run_id for run in runs),
        times={event: _cell_times(times, event) for event in events},
        final=final,
        failed=sum(t.outcome == "failed" for t in times),
        unfinished=sum(t.outcome == "unfinished" for t in times),
    )


def _declarations(runs: Sequence[Run], event: str) -> list[phases.Phase]:
    every = [phase for run in runs for phase in phases.declared(run.config)]
    return [phase for phase in every if phase.name == event]


def _cell_times(times: Sequence[GrokTimes], event: str) -> CellTimes:
    bounds = [completion(t, event) for t in times]
    ranked = _ranked(bounds)
    return CellTimes(
        median=_middle(ranked),
        low=ranked[0],
        high=ranked[-1],
        reached=sum(not bound.beyond for bound in bounds),
        runs=len(times),
    )


def _ranked(times: Sequence[Bound]) -> list[Bound]:
    """Order statistics: each lies between the least and the greatest that it can be."""
    earliest = sorted(time.steps for time in times)
    latest = sorted(math.inf if time.beyond else time.steps for time in times)
    # Between equal ones there is nothing unknown.
    return [Bound(e, e != late) for e, late in zip(earliest, latest, strict=True)]


def _middle(ranked: Sequence[Bound]) -> Bound:
    upper, lower = ranked[len(ranked) // 2], ranked[(len(ranked) - 1) // 2]
    if upper.beyond or lower.beyond:
        return upper
    return Bound((upper.steps + lower.steps) / 2, False)
