"""How many runs have not arrived yet, over time, when some are never seen to arrive."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from rdt_jax.analysis.grokking import Bound


class Survival(NamedTuple):
    """The share of runs that have not arrived, a function of steps."""

    # [K], ascending: 0, then the times at which a run arrived or was censored.
    steps: np.ndarray
    share: np.ndarray  # [K], from each step on, in [0, 1]; the first is 1
    low: np.ndarray  # [K], lower end of its interval; NaN where the share is 0 or 1
    high: np.ndarray  # [K], upper end
    # int [K], runs that had neither arrived nor been censored before the step.
    waiting: np.ndarray
    censored: np.ndarray  # [C], ascending, the steps at which runs were censored


def survival(times: Sequence[Bound], *, confidence: float = 0.95) -> Survival:
    """Estimates the share of runs that have not arrived, censored runs included.

    A run that is censored at a step counts as waiting up to and including it, and
    nothing is said of it later; the share falls only where a run arrives. The interval
    is Greenwood's on the scale of log(-log share), pointwise.

    Reference: Kaplan and Meier (1958), Journal of the American Statistical Association
    53; the interval as in Kalbfleisch and Prentice (2002), The Statistical Analysis of
    Failure Time Data.

    Raises:
      ValueError: if there is no run, or `confidence` is out of range.
    """
    if not times or not 0 < confidence < 1:
        raise ValueError(
            "A survival curve needs at least one run and a confidence in (0, 1), got "
            f"{len(times)} and {confidence}."
        )
    durations = np.array([time.steps for time in times])
    beyond = np.array([time.beyond for time in times])
    steps = np.unique(np.append(durations, 0.0))
    curve = stats.ecdf(stats.CensoredData.right_censored(durations, beyond)).sf
    with warnings.catch_warnings():  # Of an interval where the share is 0 or 1.
        warnings.simplefilter("ignore", RuntimeWarning)
        interval = curve.confidence_interval(confidence, method="log-log")
    share = curve.evaluate(steps)
    inside = (share > 0) & (share < 1)
    return Survival(
        steps=steps,
        share=share,
        low=np.where(inside, interval.low.evaluate(steps), np.nan),
        high=np.where(inside, interval.high.evaluate(steps), np.nan),
        waiting=(durations >= steps[:, None]).sum(axis=1),
        censored=np.sort(durations[beyond]),
    )
