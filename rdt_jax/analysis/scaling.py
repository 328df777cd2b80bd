"""What more loops at inference gain, and what they destroy.

Reference: Kohli et al. (2026), arXiv:2604.07822, Figures 5, 7 and 8 and Appendix J.
Where a loop count is chosen, every other row chooses and the rest are scored, so that
no gain is owed to the choice.

Shapes: N rows, H numbers of hops, M loop counts.
"""

from typing import NamedTuple

import numpy as np

from rdt_jax.analysis.depth import Depth
from rdt_jax.training import phases

ANSWERED = 0.6  # accuracy from which Kohli et al. count a number of hops as answered


class Scaled(NamedTuple):
    """Accuracy after as many loops as serve best, against that after a fixed number."""

    # int64 [H], the count that serves the choosing rows best, the least of equals.
    loops: np.ndarray
    num_rows: np.ndarray  # int64 [H], rows that are scored
    accuracy: np.ndarray  # float64 [H], of these after so many loops
    gain: np.ndarray  # float64 [H], over their accuracy after the fixed number
    error: np.ndarray  # float64 [H], standard error of the gain over rows


class Overthinking(NamedTuple):
    """What further loops destroy of what loops had reached."""

    peak_loop: np.ndarray  # int64 [H], where the mean over the choosing rows is highest
    peak: np.ndarray  # float64 [H], mean over the scored rows there
    drop: np.ndarray  # float64 [H], of the scored rows, from there to the last loop
    error: np.ndarray  # float64 [H], standard error of the drop over rows
    # float64 [H], the drop as a share of the peak; nan where the peak is not positive.
    lost: np.ndarray


def scaled(depth: Depth, loops: int) -> Scaled:
    """Compares the loop count that serves best with `loops`, hop by hop.

    Raises:
      ValueError: if `loops` was not measured.
    """
    if not 1 <= loops <= depth.loops.size:
        raise ValueError(f"1 to {depth.loops.size} loops were measured, got {loops}.")
    return Scaled(*_choose(depth, depth.correct.astype(float), loops - 1))


def overthinking(depth: Depth) -> Overthinking:
    """Measures the decline of the mean logit margin from its peak to the last loop."""
    peak_loop, _, peak, drop, error = _choose(depth, depth.margin, -1)
    lost = np.full(peak.size, np.nan)
    lost[peak > 0] = drop[peak > 0] / peak[peak > 0]
    return Overthinking(peak_loop, peak, drop, error, lost)


def reach(depth: Depth, accuracy: np.ndarray, threshold: float = ANSWERED) -> int:
    """Returns the most hops with an accuracy [H] of at least the threshold.

    It is 1 if there are none: one hop is what all train rows are made of.
    """
    answered = depth.levels[accuracy >= threshold]
    return int(answered.max()) if answered.size else 1


def generalization_ratio(depth: Depth, learned: int) -> float:
    """Returns the most hops answered with the best loops, over the hops learned.

    The depth is that of when `learned` hops were learned and no deeper row was trained.

    Reference: Kohli et al., Appendix J.
    """
    return reach(depth, scaled(depth, 1).accuracy) / learned


def above_chance(result: Scaled, chance: float) -> np.ndarray:
    """Says where accuracy exceeds chance as an onset does, bool [H]."""
    return result.accuracy > phases.above_chance(chance, result.num_rows)


def is_there(
    difference: float, error: float, *, least: float, errors: float
) -> bool | None:
    """Says whether a difference is at least so much, and beyond so many errors.

    It is False where so many errors cannot hide as much, and None between.
    """
    if difference >= least and difference > errors * error:
        return True
    return False if difference + errors * error < least else None


def _choose(depth: Depth, values: np.ndarray, fixed: int) -> list[np.ndarray]:
    """Chooses a loop count, hop by hop, on every other row of [N, M].

    Returns arrays [H]: the count; of the other rows, or of a single one, their number,
    the mean there, how much that is above the one at index `fixed`, and the standard
    error of the difference.
    """
    chosen = []
    for level in depth.levels:
        rows = values[depth.hops == level]
        scored = rows[1::2] if len(rows) > 1 else rows
        best = int(rows[::2].mean(axis=0).argmax())
        difference = scored[:, best] - scored[:, fixed]
        error = np.nan
        if difference.size > 1:
            error = difference.std(ddof=1) / np.sqrt(difference.size)
        mean = scored[:, best].mean()
        chosen.append((1 + best, len(scored), mean, difference.mean(), float(error)))
    return [np.array(column) for column in zip(*chosen, strict=True)]
