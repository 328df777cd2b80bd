"""Which runs stand beside each other, when they passed phases, and what most did."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rdt_jax import wording
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import fourier, grokking, stored
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.runs import Run

DECAY = run_folders.WEIGHT_DECAY
FRACTION = "task.kwargs.train_fraction"
MEMORIZED, GENERALIZED = "memorized", "id_generalized"
LATE = 2  # times the updates to memorize, after which generalization is a late one


class Inside(NamedTuple):
    """A run that was followed inside, its measures, and when it passed its phases."""

    run: Run
    progress: fourier.Progress
    memorized: int | None
    generalized: int | None


class Pool(NamedTuple):
    """Times of runs at several values of a number, as `laws.fit_power` takes them."""

    values: np.ndarray  # [N]
    times: np.ndarray  # [N], updates; inf where censored
    blocks: np.ndarray  # [N], a number for each pair of a split and a seed
    limits: np.ndarray  # [N], updates up to which each time could have been seen


def base(runs: Sequence[Run], loops: int = 1) -> list[Run]:
    """Returns the runs of the base cell: those with decay that keep snapshots."""
    return [
        run
        for run in runs
        if run.config.snapshot_steps
        and run.num_loops == loops
        and run_folders.value_of(run, DECAY) > 0
    ]


def controls(runs: Sequence[Run]) -> list[Run]:
    """Returns the runs without decay, which keep the snapshots of the base cell."""
    return by_decay(runs).get(0.0, [])


def by_decay(runs: Sequence[Run]) -> dict[float, list[Run]]:
    """Returns the runs that differ from the base cell in weight decay only."""
    return _by(runs, DECAY, FRACTION)


def by_fraction(runs: Sequence[Run]) -> dict[float, list[Run]]:
    """Returns the runs that differ from the base cell in the share of data only."""
    return _by(runs, FRACTION, DECAY)


def times(runs: Sequence[Run], event: str) -> np.ndarray:
    """Returns updates to an event, [N]; inf for runs that did not arrive."""
    found = [completed(run, event) for run in runs]
    return np.array([np.inf if step is None else step for step in found], float)


def completed(run: Run, event: str) -> int | None:
    """Returns the updates to an event; None if it did not complete."""
    phases = grokking.grok_times(run).phases
    return phases[event].completed if event in phases else None


def pool(cells: Mapping[float, Sequence[Run]], event: str) -> Pool:
    """Returns the updates to an event of the runs of some cells."""
    values = [value for value, members in cells.items() for _ in members]
    runs = [run for members in cells.values() for run in members]
    pairs = np.array([run.pair for run in runs], int)
    return Pool(
        values=np.array(values, float),
        times=times(runs, event),
        blocks=np.unique(pairs, axis=0, return_inverse=True)[1],
        limits=np.array([grokking.grok_times(run).censored_at for run in runs], float),
    )


def pool_delays(cells: Mapping[float, Sequence[Run]]) -> Pool:
    """Returns the updates from memorization to generalization, the *delay*.

    One evaluation is the least that can be told: a delay below it, also one of a run
    that generalized before it memorized, counts as one. Of a run that did neither it is
    known only that its delay is not below that.
    """
    runs = [run for members in cells.values() for run in members]
    every = np.array([run.config.eval_every_steps for run in runs], float)
    whole, memorized = pool(cells, GENERALIZED), times(runs, MEMORIZED)
    known = np.where(np.isfinite(memorized), memorized, whole.limits)
    delays = np.where(
        np.isfinite(whole.times), np.maximum(whole.times - known, every), np.inf
    )
    return whole._replace(times=delays, limits=np.maximum(whole.limits - known, every))


def delayed(cells: Mapping[float, Sequence[Run]]) -> dict[float, Sequence[Run]]:
    """Returns the cells in which most runs are late, or will be if they arrive."""
    found = {}
    for value, members in cells.items():
        limits = np.array([run.config.num_steps for run in members], float)
        arrived = np.minimum(times(members, GENERALIZED), limits)
        if majority(is_late(times(members, MEMORIZED), arrived)):
            found[value] = members
    return found


def is_late(memorized: np.ndarray, generalized: np.ndarray) -> np.ndarray:
    """Says which runs generalized after more than LATE times the updates to memorize.

    Both are updates, [N], inf where censored. A run that has not generalized is not
    late.
    """
    return np.isfinite(generalized) & (generalized > LATE * memorized)


def majority(right: np.ndarray, undecided: int = 0) -> bool | None:
    """Says whether most runs are right, as `claims.majority` of bool [N]."""
    return judging.majority(int(right.sum()), int((~right).sum()), int(undecided))


def share(right: np.ndarray, noun: str = "run") -> str:
    """Says how many runs are right: `3 of 5 runs`."""
    return f"{right.sum():g} of {wording.count(right.size, noun)}"


def ends(training: int) -> list[str]:
    """Says that a verdict waits for runs that still train, if there are any."""
    return [f"the end of {wording.count(training, 'run')}"] if training else []


def followed(
    runs: Sequence[Run],
    load: Callable[[Run, str, str], fourier.Progress | None] = stored.load,
) -> list[Inside]:
    """Returns the runs whose progress measures are stored."""
    found = []
    for run in runs:
        progress = load(run, "progress", stored.RUN)
        if progress is not None and progress.step.size > 1:
            at = (completed(run, event) for event in (MEMORIZED, GENERALIZED))
            found.append(Inside(run, progress, *at))
    return found


def _by(runs: Sequence[Run], key: str, fixed: str) -> dict[float, list[Run]]:
    reference = base(runs)
    if not reference:
        return {}
    value = run_folders.shared_value(reference, fixed)
    members = [
        run
        for run in runs
        if run.num_loops == 1 and run_folders.value_of(run, fixed) == value
    ]
    cells = run_folders.group(members, (key,))
    return {values[0]: cell for values, cell in cells.items()}
