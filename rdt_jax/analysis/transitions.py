"""How late a phase transition comes, how sharp it is, and what it had cost by then."""

import math
from typing import NamedTuple

import numpy as np

from rdt_jax.analysis import grokking
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.grokking import Bound, GrokTimes
from rdt_jax.analysis.runs import Run
from rdt_jax.store import files, records


class Rise(NamedTuple):
    """Where the smoothed accuracy on a split rose."""

    # Step of the last evaluation before `end` below LOW of the way from base to top.
    begin: int
    end: int  # step of the first evaluation at or above HIGH of it
    base: float  # smoothed accuracy at the first evaluation
    top: float  # the highest smoothed accuracy

    @property
    def width(self) -> int:
        """Updates that the rise took, to the resolution of the evaluations."""
        return self.end - self.begin

    @property
    def sharpness(self) -> float:
        """End over width: 1 if the rise began with training, large if it is sudden."""
        return self.end / self.width


LOW, HIGH = 0.1, 0.9  # of the way from base to top
LEAST = 0.1  # accuracy from base to top that counts as a rise


def delay(times: GrokTimes, first: str, then: str) -> Bound | None:
    """Returns the updates from one event's completion to another's, perhaps negative.

    Returns:
      A bound if the latter did not complete; None if the former did not, since then no
      bound is known either.
    """
    begin, end = (grokking.completion(times, event) for event in (first, then))
    if begin.beyond:
        return None
    return Bound(end.steps - begin.steps, end.beyond)


def rise(run: Run, event: str) -> Rise | None:
    """Returns where the accuracy of an event rose from its base to its top.

    The width is measured between shares of the rise that the run made, and not between
    fixed accuracies, so that a plateau below 1 counts like one at 1. It is at least one
    distance between evaluations.

    Returns:
      None if it was not evaluated or rose by less than LEAST.
    """
    split = grokking.watched([run], event)
    if not run_folders.has_group(run, split):
        return None
    steps, values = run_folders.accuracy(run, split)
    values = grokking.smooth(values)
    base, top = float(values[0]), float(values.max())
    if top - base < LEAST:
        return None
    share = (values - base) / (top - base)  # 0 at the first evaluation.
    end = int(np.argmax(share >= HIGH))
    begin = int(np.flatnonzero(share[:end] < LOW)[-1])
    return Rise(int(steps[begin]), int(steps[end]), base, top)


def training_seconds(run: Run) -> np.ndarray | None:
    """Returns the wall seconds of updates up to each evaluation, float64 [E].

    Compiling, evaluating and saving do not count. They are those of one machine while
    it did what else it had to do.

    Returns:
      None if the run shared its program with others, whose seconds are not its own, or
      if its records of time are missing.
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

    Args:
      run: run, as read; before its first evaluation the bound is 0.
      event: name of a phase.
      spent: [E], up to each evaluation: seconds, operations.
    """
    completed = grokking.completion(grokking.grok_times(run), event)
    if completed.beyond:
        return Bound(float(spent[-1]) if spent.size else 0.0, True)
    steps = [row["step"] for row in run.metrics]
    return Bound(float(spent[steps.index(math.floor(completed.steps))]), False)
