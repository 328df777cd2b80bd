"""The accuracy of runs that repeat each other: its median, and how far they spread."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.runs import Run, Series
from rdt_jax.training import phases

QUARTILES_FROM = 8  # runs; a band of fewer is of all of them
_SMOOTHED = f"rolling median of {phases.SMOOTHING} evaluations"
NAMES = {True: "25 to 75 %", False: "lowest to highest run"}


class Band(NamedTuple):
    """A smoothed accuracy over the runs of a cell."""

    steps: np.ndarray  # int64 [E], evaluations that all of its runs have
    median: np.ndarray  # float64 [E], over the runs, as are the others
    low: np.ndarray
    high: np.ndarray
    rest: tuple[Series, ...]  # of the runs that go on after these, from there on


def of(runs: Sequence[Run], group: str) -> Band | None:
    """Returns the band of a group of rows; None if no run was evaluated on it.

    It goes as far as all runs do: behind that, what remains is no median of the cell.
    Runs whose loss was not finite shorten it only if all are such.
    """
    evaluated = [run for run in runs if run_folders.has_group(run, group)]
    found = [run for run in evaluated if run.outcome != "failed"] or evaluated
    if not found:
        return None
    curves = [smoothed(run, group) for run in found]
    steps = curves[0].steps
    for curve in curves[1:]:
        steps = np.intersect1d(steps, curve.steps)
    values = np.stack([c.values[np.isin(c.steps, steps)] for c in curves])
    ends = (25, 75) if len(curves) >= QUARTILES_FROM else (0, 100)
    low, high = np.percentile(values, ends, axis=0)
    last = steps[-1] if steps.size else -1
    behind = [c.steps >= last for c in curves]
    rest = [
        Series(c.steps[kept], c.values[kept])
        for c, kept in zip(curves, behind, strict=True)
        if kept.sum() > 1
    ]
    return Band(steps, np.median(values, axis=0), low, high, tuple(rest))


def smoothed(run: Run, group: str) -> Series:
    """Returns the accuracy of a run on a group, smoothed for the eye.

    It is the median of SMOOTHING evaluations, of which the one drawn is in the middle;
    phases are judged by that of the last ones, which comes later.
    """
    steps, values = run_folders.accuracy(run, group)
    half = phases.SMOOTHING // 2
    near = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return Series(steps, np.array([np.median(each) for each in near]))


def said(most_runs: int) -> str:
    """Says what lines and bands of cells of so many runs at most are."""
    if most_runs < 2:
        return f"one run each, thin as evaluated, bold {_SMOOTHED}"
    band = NAMES[most_runs >= QUARTILES_FROM]
    return f"median of {most_runs} runs, band: {band}; {_SMOOTHED}"
