"""Two sweeps side by side: their common cells, and a rank test of each quantity.

    found = compare.compare(runs_of_one_sweep, runs_of_another)
    for row in found.rows:
        print(row.cell, row.what, row.first, row.second, row.test)

A run that did not complete a phase within the budget is censored: it has the last rank.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rdt_jax import config as configs
from rdt_jax.analysis import grokking, statistics
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.runs import Run

_AT_THE_END = " at the end"

Cell = tuple[Any, ...]  # a value for each of the keys


class Row(NamedTuple):
    """A quantity in a cell that both sweeps have."""

    cell: Cell  # values of the keys
    # Event, whose completion is counted in updates, inf where it is censored; or
    # `<split> at the end`, a smoothed accuracy.
    what: str
    # The values of the first sweep's runs; None of one that may still change.
    first: Sequence[float | None]
    second: Sequence[float | None]  # those of the second sweep
    # Rank-sum test; None with fewer than two runs in a sweep, or open ones.
    test: statistics.Comparison | None
    p_value: float | None = None  # that of the test, adjusted for all tests (Holm)

    @property
    def is_accuracy(self) -> bool:
        """Whether it is about an accuracy, and not about updates."""
        return self.what.endswith(_AT_THE_END)


class Comparison(NamedTuple):
    """What two sweeps say of their common cells."""

    keys: Sequence[str]  # dotted config keys that span the cells
    budget: int  # updates up to which runs are compared, the smallest of all budgets
    # Values of both sweeps by each further key in which they differ.
    apart: Mapping[str, tuple[Any, Any]]
    rows: Sequence[Row]  # in the order of the first sweep
    # Cells that only the first sweep has, and those of the second.
    alone: tuple[Sequence[Cell], Sequence[Cell]]
    shared: int  # number of runs that are in both


def compare(first: Sequence[Run], second: Sequence[Run]) -> Comparison:
    """Compares two sweeps in the cells that both have.

    Raises:
      ValueError: if they are of different tasks.
    """
    both = [*first, *second]
    run_folders.shared_value(both, "task.name")
    axes = (run_folders.axes_of(first), run_folders.axes_of(second))
    keys = list(dict.fromkeys([*axes[0], *axes[1]]))
    budget = min(run.config.num_steps for run in both)
    cells = (_cells(first, keys), _cells(second, keys))
    measures = {e: functools.partial(_time, e) for e in grokking.watched_events(both)}
    for group in grokking.drawn_splits(both):
        measures[group + _AT_THE_END] = functools.partial(_end, group)
    rows = []
    for cell in (cell for cell in cells[0] if cell in cells[1]):
        for what, measure in measures.items():
            one, other = ([measure(budget, r) for r in side[cell]] for side in cells)
            rows.append(Row(cell, what, one, other, _test(one, other)))
    tested = [row.test.p_value for row in rows if row.test]
    adjusted = iter(statistics.holm(tested))
    further = [key for key in run_folders.axes_of(both) if key not in keys]
    ends = [configs.leaves(side[0].config) for side in (first, second)]
    return Comparison(
        keys=keys,
        budget=budget,
        apart={key: (ends[0].get(key), ends[1].get(key)) for key in further},
        rows=[r._replace(p_value=next(adjusted)) if r.test else r for r in rows],
        alone=(
            [cell for cell in cells[0] if cell not in cells[1]],
            [cell for cell in cells[1] if cell not in cells[0]],
        ),
        shared=len({run.run_id for run in first} & {run.run_id for run in second}),
    )


def _cells(runs: Sequence[Run], keys: Sequence[str]) -> dict[Cell, list[Run]]:
    """Returns the runs by the values of keys, where some have no such key None."""
    found: dict[Cell, list[Run]] = {}
    for run in runs:
        values = configs.leaves(run.config)
        found.setdefault(tuple(values.get(key) for key in keys), []).append(run)
    return found


def _time(event: str, budget: int, run: Run) -> float | None:
    """Returns the updates to an event, inf if beyond the budget, None if unknown."""
    steps, beyond = grokking.completion(grokking.grok_times(run), event)
    if beyond and steps < budget:
        return None
    return math.inf if beyond or steps > budget else float(steps)


def _end(group: str, budget: int, run: Run) -> float | None:
    """Returns the smoothed accuracy at the budget or at the run's end before it."""
    is_over = run.outcome != "unfinished" or (run.last_step or 0) >= budget
    if not is_over or not run_folders.has_group(run, group):
        return None
    steps, values = run_folders.accuracy(run, group)
    return float(grokking.smooth(values[steps <= budget])[-1])


def _test(
    first: Sequence[float | None], second: Sequence[float | None]
) -> statistics.Comparison | None:
    if None in (*first, *second) or min(len(first), len(second)) < 2:
        return None
    return statistics.rank_sum(np.array(first), np.array(second), seed=0)
