"""How a time depends on a number: a power law, and whether it rises or falls at all.

Times are numbers of optimizer updates, inf where a run is censored, as in
statistics.py. Both answers are made of comparisons of pairs of runs whose order is
known: a censored run is known to be later than any time within its budget, and nothing
is known of two censored ones.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import stats

from rdt_jax.analysis import statistics

BOOTSTRAPS = 1_000  # of the interval of an exponent


class PowerLaw(NamedTuple):
    """time = scale * value ** -exponent, in updates."""

    # 1 if the time is inversely proportional to the value; -inf or inf if the known
    # order of the runs bounds it on one side only, NaN if on neither.
    exponent: float
    low: float  # lower end of its interval over seeds
    high: float  # upper end
    # Updates at value 1, so that as many runs lie above the line as below; NaN if more
    # than half of them are censored or the exponent is not finite.
    scale: float
    runs: int  # number of times
    censored: int  # number of those that are inf


def fit_power(
    values: np.ndarray,
    times: np.ndarray,
    blocks: np.ndarray,
    budget: float | np.ndarray,
    *,
    seed: int = 0,
    confidence: float = 0.95,
) -> PowerLaw:
    """Fits the exponent by which times fall as a value grows.

    It is the slope at which log time, less the slope times log value, no longer goes
    with the value: Kendall's score over all pairs of different values is zero there. No
    distribution is assumed, and no censored run is dropped or given a time.

    The interval holds the middle `confidence` of the exponents of BOOTSTRAPS samples
    of blocks, drawn with replacement, each in the place of one at the same values: runs
    of one seed at several values share their initial weights, so they are in a sample
    together or not at all.

    Reference: Akritas, Murphy and LaValley (1995), Journal of the American Statistical
    Association 90.

    Args:
      values: [N], above 0.
      times: [N], updates above 0; inf where censored.
      blocks: [N], a number that runs share if they are not drawn apart, their seed.
      budget: updates after which a time is censored: one for all, or [N].

    Raises:
      ValueError: if a value or a time is out of range, a time is in no block, or all
        values are equal.
    """
    values, times = np.asarray(values, float), np.asarray(times, float)
    blocks = np.asarray(blocks)
    if values.shape != times.shape or not (values > 0).all() or not (times > 0).all():
        raise ValueError(
            "A power law needs as many values as times, all of them above 0, got "
            f"{values.tolist()} and {times.tolist()}."
        )
    if blocks.shape != times.shape:
        raise ValueError(
            f"Every time must be in a block, got {times.size} times and blocks "
            f"{blocks.tolist()}."
        )
    seen = np.isfinite(times)
    beyond = seen & (times > budget)
    if beyond.any():
        raise ValueError(
            f"No time may lie beyond the budget of {budget} updates, got "
            f"{times[beyond].max()}."
        )
    if np.unique(values).size < 2:
        raise ValueError(
            f"A power law needs two different values at least, got {values.tolist()}."
        )
    x, y = np.log(values), np.log(np.where(seen, times, budget))
    exponent = _slope(x, y, seen)
    generator = np.random.default_rng(seed)
    drawn = [
        _slope(x[rows], y[rows], seen[rows])
        for rows in samples(values, blocks, generator)
    ]
    low, high = np.nan, np.nan
    if not np.isnan(drawn).any():  # Whole samples may be censored.
        ends = ((1 - confidence) / 2, (1 + confidence) / 2)
        low, high = np.quantile(drawn, ends, method="inverted_cdf")
    return PowerLaw(
        exponent=exponent,
        low=float(low),
        high=float(high),
        scale=_scale(x, y, seen, exponent),
        runs=times.size,
        censored=int((~seen).sum()),
    )


def trend(
    values: np.ndarray, times: np.ndarray, *, seed: int = 0
) -> statistics.Comparison:
    """Tests whether times [N] rise or fall as a value [N] grows.

    The statistic is Kendall's score over all pairs of runs of different values, a
    censored time being the last; if the times do not depend on the value, every
    assignment of the times to the runs is equally likely. `later` is the share of those
    pairs in which the run of the larger value is later, equal times counting half.

    Reference: Jonckheere (1954), Biometrika 41.

    Raises:
      ValueError: if there are not as many values as times, or all values are equal.
    """
    values, times = np.asarray(values, float), np.asarray(times, float)
    if values.shape != times.shape or np.unique(values).size < 2:
        raise ValueError(
            "A trend needs as many values as times, of which two differ, got "
            f"{values.tolist()} and {times.tolist()}."
        )
    ranks = stats.rankdata(times)  # Two censored times are a tie.
    first, second = np.nonzero(values[:, None] < values[None])
    score = lambda ranks, axis: np.sign(ranks[..., second] - ranks[..., first]).sum(
        axis=axis
    )
    test = stats.permutation_test(
        (ranks,),
        score,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=statistics.DRAWS,
        batch=500,
        rng=np.random.default_rng(seed),
    )
    return statistics.Comparison(
        later=float(0.5 + test.statistic / (2 * first.size)),
        p_value=float(test.pvalue),
    )


def samples(
    values: np.ndarray, blocks: np.ndarray, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yields the rows of BOOTSTRAPS samples: blocks that stand at the same values."""
    alike: dict[tuple[float, ...], list[np.ndarray]] = {}
    for block in np.unique(blocks):
        rows = np.flatnonzero(blocks == block)
        alike.setdefault(tuple(np.sort(values[rows])), []).append(rows)
    for _ in range(BOOTSTRAPS):
        drawn = [
            members[index]
            for members in alike.values()
            for index in generator.integers(len(members), size=len(members))
        ]
        yield np.concatenate(drawn)


def _slope(x: np.ndarray, y: np.ndarray, seen: np.ndarray) -> float:
    """The b at which Kendall's score of y + b x against x is zero.

    The score grows with b, by steps where two runs change their order: `y` of a run is
    known, or known to be larger (`seen` False).
    """
    more, less = np.nonzero(x[:, None] > x[None])
    at = (y[less] - y[more]) / (x[more] - x[less])  # Here both are level.
    # Below it the run of the larger x is the smaller one, if that is known.
    step_down, step_up = seen[more].astype(int), seen[less].astype(int)
    order = np.argsort(at, kind="stable")
    at, rises = at[order], (step_down + step_up)[order]
    score = np.concatenate([[0], rises.cumsum()]) - step_down.sum()
    edges = np.concatenate([[-np.inf], at, [np.inf]])  # score[i] up to edges[i + 1]
    zero = np.flatnonzero(score == 0)
    if zero.size:
        low, high = edges[zero[0]], edges[zero[-1] + 1]
        return float("nan") if np.isinf([low, high]).all() else float((low + high) / 2)
    return float(edges[np.flatnonzero(score > 0)[0]])


def _scale(x: np.ndarray, y: np.ndarray, seen: np.ndarray, exponent: float) -> float:
    """Updates at value 1 of the line that Kaplan and Meier's median lies on."""
    if not np.isfinite(exponent):
        return float("nan")
    left = y + exponent * x
    order = np.lexsort((~seen, left))  # A censored run is later than an equal time.
    surviving = 1.0
    for place, index in enumerate(order):
        surviving *= 1 - seen[index] / (order.size - place)
        if surviving <= 0.5:
            return float(np.exp(left[index]))
    return float("nan")
