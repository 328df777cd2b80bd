"""What accuracy and phases cost: operations of training and wall seconds.

Operations are those that the updates need at the least (models/cost.py), forward and
backward: at each update those of a batch of rows as long as the longest of the
curriculum's stage, at the mean of the loop counts that are drawn.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rdt_jax import tasks
from rdt_jax.analysis import grokking
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.grokking import Bound
from rdt_jax.analysis.runs import Run
from rdt_jax.models import cost, presets
from rdt_jax.store import files, records
from rdt_jax.training import curriculum


class Curve(NamedTuple):
    """Accuracy over the operations that were spent on it."""

    flops: np.ndarray  # float64 [E], from the first update on
    accuracy: np.ndarray  # float64 [E], smoothed as phases are


class Budget(NamedTuple):
    """Who does best with so many operations."""

    flops: float
    best: Any  # the cell with the highest median accuracy; of equals the first
    # Cell -> median over its runs of what each has reached within the budget.
    accuracy: dict[Any, float]
    runs: int  # fewest runs behind any of the medians


def training_flops(run: Run) -> np.ndarray:
    """Counts the operations up to each evaluation, float64 [E].

    It makes the run's table, which the process then keeps.
    """
    table = tasks.make_table(run.config)
    model = presets.model_config(run.config, table)
    stages = curriculum.stages_of(run.config, table)
    costs = []
    for length in stages.lengths:
        flops = cost.training_flops(
            model,
            run.config.recurrence,
            length=length,
            num_answers=table.targets.shape[1],
        )
        costs.append(run.config.batch_size * (flops.forward + flops.backward))
    steps = np.array([row["step"] for row in run.metrics], np.float64)
    if not steps.size:
        return steps
    # The stage in a row is the one that its updates trained; the next begins after it.
    index = [
        stages.values.index(row["curriculum/stage"]) if stages.values else 0
        for row in run.metrics
    ]
    return np.cumsum(np.diff(steps, prepend=0.0) * np.array(costs, np.float64)[index])


def training_seconds(run: Run) -> np.ndarray | None:
    """Returns the wall seconds of updates up to each evaluation, float64 [E].

    Compiling, evaluating and saving do not count. The result is None if the run shared
    its program with others, whose seconds are not its own, or if its records of time
    are missing.
    """
    environment = run.folder / "environment.json"
    timing = run.folder / "timing.jsonl"
    if not environment.exists() or not timing.exists():
        return None
    if files.read_json(environment).get("lanes") != 1:
        return None
    spent = {
        row["step"]: row.get("train_seconds", 0.0) for row in records.read_rows(timing)
    }
    steps = [row["step"] for row in run.metrics]
    if not set(steps) <= spent.keys():
        return None
    return np.cumsum([spent[step] for step in steps])


def spent_at(run: Run, event: str, spent: np.ndarray) -> Bound:
    """Returns what had been spent when an event completed, or a lower bound of it.

    `spent` is float64 [E], up to each evaluation of the run: seconds, operations.
    """
    completed = grokking.completion(grokking.grok_times(run), event)
    if completed.beyond:
        return Bound(float(spent[-1]) if spent.size else 0.0, True)
    steps = [row["step"] for row in run.metrics]
    return Bound(float(spent[steps.index(math.floor(completed.steps))]), False)


def curve(run: Run, group: str) -> Curve:
    """Returns the accuracy on a group of rows, as in `runs.accuracy`, over operations.

    Raises:
      ValueError: if the run has no such group.
    """
    series = run_folders.accuracy(run, group)
    return Curve(training_flops(run), grokking.smooth(series.values))


def best_by_budget(
    cells: Mapping[Any, Sequence[Curve]], budgets: Sequence[float]
) -> list[Budget]:
    """Returns which cell does best within each budget, where any cell counts.

    A run counts with the highest accuracy that it has shown within the budget. A cell
    counts only where all of its runs have been evaluated within it, and have either
    spent it or reached accuracy 1: a run that ended before says nothing of more.

    Args:
      cells: name, such as a loop depth -> curves of its runs.
    """
    best_cells = []
    for budget in budgets:
        accuracy: dict[Any, float] = {}
        sizes = []
        for name, curves in cells.items():
            within = [c.accuracy[c.flops <= budget] for c in curves]
            spent = [
                c.flops.size > 0 and (c.flops[-1] >= budget or c.accuracy.max() >= 1)
                for c in curves
            ]
            if curves and all(spent) and all(part.size for part in within):
                accuracy[name] = float(np.median([part.max() for part in within]))
                sizes.append(len(curves))
        if accuracy:
            best = max(accuracy, key=lambda name: accuracy[name])
            best_cells.append(Budget(budget, best, accuracy, min(sizes)))
    return best_cells
