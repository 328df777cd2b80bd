"""Medians, intervals and comparisons that respect censoring.

A time is a number of optimizer updates; inf marks a *censored* run, which had not
arrived when its budget ended. All runs of a comparison have one budget, so a censored
time lies beyond every known one: it has a rank, the last, though no value. Everything
here is made of ranks and order statistics, in which censored times count like others.

Randomness is numpy's, of a seed: same times, same seed, same numbers.

Shapes: N, M times of a group, K scores of a comparison, S simulations, D draws.
"""

import math
from typing import NamedTuple

import numpy as np

DRAWS = 9_999  # of the null distribution; no p-value is below 1 / (1 + DRAWS)
SIMULATIONS = 1_000  # of experiments, per shift that is tried

_AT_ONCE = 100  # simulated experiments, which bounds the memory


class Interval(NamedTuple):
    """A median and the interval that covers it; inf where it is censored."""

    median: float
    low: float
    high: float


class Comparison(NamedTuple):
    """What a test says of two groups of times.

    Attributes:
      later: how far the second group lies after the first, in [0, 1]; 0.5 is not at
        all. The docstring of the test says what it is a share of.
      p_value: two-sided; at least 1 / (1 + draws).
      draws: relabelings that were compared with what was observed.
    """

    later: float
    p_value: float
    draws: int


class VisibleShift(NamedTuple):
    """The smallest shift that a test would have seen.

    Attributes:
      steps: updates; inf if no shift reaches the power.
      relative: `steps` over the median of all times; nan if that is censored.
      rate: share of the simulated experiments in which the test saw it.
    """

    steps: float
    relative: float
    rate: float


class Distances(NamedTuple):
    """How far two groups of paired times are apart, in updates.

    Attributes:
      paired: median |difference| over the pairs. Two censored times are 0 apart, a
        censored and a known one inf.
      unpaired: the same over all times that are no pair, which is what `paired` would
        be if pairs had nothing in common; nan for a single pair.
      equal: pairs whose times are equal.
    """

    paired: float
    unpaired: float
    equal: int


class Distribution(NamedTuple):
    """An empirical distribution: what share of runs has arrived by which update."""

    steps: np.ndarray  # float64 [U], distinct known times, ascending
    shares: np.ndarray  # float64 [U], in (0, 1], at and after each of them


def median_interval(
    times: np.ndarray,
    *,
    seed: int,
    confidence: float = 0.95,
    draws: int = DRAWS,
) -> Interval:
    """Returns the median of times and its bootstrap interval, by percentiles.

    The median of an even number is the mean of the middle two, or inf if the later one
    is censored. The bounds are medians that occurred in a resample: there is nothing
    between a known time and a censored one to interpolate.

    Reference: Efron and Tibshirani (1993), An Introduction to the Bootstrap.

    Args:
      times: [N], updates; inf where censored.
      seed: of the resamples.
      confidence: share of intervals that are to cover the median, in (0, 1).
      draws: number of resamples.

    Raises:
      ValueError: if there is no time, or one is neither a number nor inf.
    """
    times = _checked(times)
    generator = np.random.default_rng(seed)
    drawn = generator.integers(times.size, size=(draws, times.size))
    medians = np.median(times[drawn], axis=1)
    tail = (1 - confidence) / 2
    return Interval(
        median=float(np.median(times)),
        low=float(np.quantile(medians, tail, method="lower")),
        high=float(np.quantile(medians, 1 - tail, method="higher")),
    )


def distribution(times: np.ndarray) -> Distribution:
    """Returns the empirical distribution of times; censored ones are never reached.

    Args:
      times: [N], updates; inf where censored.

    Raises:
      ValueError: if there is no time, or one is neither a number nor inf.
    """
    times = _checked(times)
    steps, counts = np.unique(times[np.isfinite(times)], return_counts=True)
    return Distribution(steps, np.cumsum(counts) / times.size)


def distances(first: np.ndarray, second: np.ndarray) -> Distances:
    """Measures whether paired times are closer than times that are no pair.

    Args:
      first: [N], updates; inf where censored.
      second: [N], of the same runs in the same order.

    Raises:
      ValueError: if the groups differ in size, or as `median_interval`.
    """
    first, second = _checked_pairs(first, second)
    apart = np.abs(_differences(first[:, None], second[None, :]))  # [N, N]
    strangers = apart[~np.eye(first.size, dtype=bool)]
    own = np.diagonal(apart)
    return Distances(
        paired=float(np.median(own)),
        unpaired=float(np.median(strangers)) if strangers.size else math.nan,
        equal=int(np.sum(own == 0)),
    )


def rank_sum(
    first: np.ndarray, second: np.ndarray, *, seed: int, draws: int = DRAWS
) -> Comparison:
    """Tests whether one of two unpaired groups of times is shifted, by permutation.

    The statistic is the rank sum of the second group among all times, ties at their
    mid-rank. If the groups do not differ, every assignment of the times to them is
    equally likely, whatever the ties and however many times are censored; `draws` of
    them are drawn.

    Reference: Mann and Whitney (1947), Annals of Mathematical Statistics 18; with one
    budget for all it is the test of Gehan (1965), Biometrika 52. The p-value is (1 + b)
    / (1 + draws), b draws being at least as extreme: Phipson and Smyth (2010),
    Statistical Applications in Genetics and Molecular Biology 9.

    Args:
      first: [N], updates; inf where censored.
      second: [M].
      seed: of the draws.
      draws: number of them.

    Returns:
      `later` is the share of all N M comparisons of a second with a first time in which
      the second is later, equal ones counting half.

    Raises:
      ValueError: as `median_interval`.
    """
    first, second = _checked(first), _checked(second)
    scores = _rank_sum_scores(first[None, :], second[None, :])
    labels = _labels(first.size, second.size)
    null = _permuted_labels(labels, seed, draws)
    excess = float(scores[0] @ labels)  # comparisons won less those lost
    return Comparison(
        later=0.5 + excess / (2 * first.size * second.size),
        p_value=float(_p_values(scores, labels, null)[0]),
        draws=draws,
    )


def signed_rank(
    first: np.ndarray, second: np.ndarray, *, seed: int, draws: int = DRAWS
) -> Comparison:
    """Tests whether the second of paired times is shifted, by flipping signs.

    The statistic is the sum of the signed ranks of the differences. Ranks and not the
    differences themselves, because a pair with one censored time has a difference with
    a sign and no value: it gets the last rank. A pair with two censored times is a tie.
    Ties are ranked with the rest and add nothing to the sum. If the groups do not
    differ, a pair is as likely as its mirror image, so all signs are equally likely.

    Reference: Wilcoxon (1945), Biometrics Bulletin 1; ties as in Pratt (1959), Journal
    of the American Statistical Association 54; p-value as in `rank_sum`.

    Args:
      first: [N], updates; inf where censored.
      second: [N], of the same runs in the same order.
      seed: of the draws.
      draws: number of them.

    Returns:
      `later` is the share of the sum of ranks that belongs to pairs whose second time
      is the later one; 0.5 if all pairs are ties.

    Raises:
      ValueError: if the groups differ in size, or as `median_interval`.
    """
    first, second = _checked_pairs(first, second)
    scores = _signed_rank_scores(first[None, :], second[None, :])
    ones = np.ones(first.size)
    total = float(np.abs(scores).sum())
    excess = float(scores[0] @ ones)
    return Comparison(
        later=0.5 + excess / (2 * total) if total else 0.5,
        p_value=float(_p_values(scores, ones, _signs(first.size, seed, draws))[0]),
        draws=draws,
    )


def smallest_visible_shift(
    first: np.ndarray,
    second: np.ndarray,
    *,
    paired: bool,
    resolution: int,
    budget: float,
    seed: int,
    power: float = 0.8,
    level: float = 0.05,
    simulations: int = SIMULATIONS,
    draws: int = DRAWS,
) -> VisibleShift:
    """Returns the smallest shift that a test of this size would have seen.

    Experiments without a shift are drawn from the observed times; then every time of
    the second group is made later by the same number of updates, and the share of
    experiments with p <= `level` is counted. Unpaired experiments draw both groups from
    all times together; paired ones draw pairs, each in either order, so that what pairs
    have in common is kept. The same experiments are used for every shift.

    Shifts are whole multiples of `resolution`: times are known to the evaluation only,
    and a finer shift would break ties that a real one cannot break. If the groups do
    differ, their times spread more together than each of them alone, and the unpaired
    answer errs on the large side.

    Args:
      first: [N], updates; inf where censored.
      second: [M]; if paired, [N], of the same runs in the same order.
      paired: whether the test is `signed_rank`, else `rank_sum`.
      resolution: updates between evaluations, at least 1.
      budget: updates after which a time is censored, also one that was shifted.
      seed: of the experiments and of the test's draws.
      power: share of experiments in which the shift is to be seen, in (0, 1).
      level: of the test, in (0, 1).
      simulations: number of experiments.
      draws: as of the test.

    Raises:
      ValueError: if `resolution` or `power` is out of range, or as the test.
    """
    if resolution < 1 or not 0 < power < 1:
        raise ValueError(
            "resolution must be at least 1 and power in (0, 1), got "
            f"{resolution} and {power}."
        )
    if paired:
        first, second = _checked_pairs(first, second)
        scores_of, observed = _signed_rank_scores, np.ones(first.size)
        null = _signs(first.size, seed, draws)
    else:
        first, second = _checked(first), _checked(second)
        scores_of, observed = _rank_sum_scores, _labels(first.size, second.size)
        null = _permuted_labels(observed, seed, draws)
    resample = _resampled_pairs if paired else _resampled_groups
    base, shifted = resample(first, second, seed, simulations)  # [S, N], [S, M]
    pooled = np.concatenate([first, second])

    def rate_of(multiple: int) -> float:
        later = shifted + multiple * resolution
        later[later > budget] = np.inf
        seen = [
            _p_values(scores_of(base[some], later[some]), observed, null) <= level
            for some in _slices(simulations)
        ]
        return float(np.concatenate(seen).mean())

    known = pooled[np.isfinite(pooled)]
    # From here on every known shifted time is after every known other one.
    high = 1 + (math.ceil(np.ptp(known) / resolution) if known.size else 0)
    low, rate = 0, rate_of(high)
    if rate < power:
        return VisibleShift(math.inf, _relative(math.inf, pooled), rate)
    while high - low > 1:
        middle = (low + high) // 2
        found = rate_of(middle)
        if found < power:
            low = middle
        else:
            high, rate = middle, found
    steps = float(high * resolution)
    return VisibleShift(steps, _relative(steps, pooled), rate)


def _relative(steps: float, times: np.ndarray) -> float:
    median = float(np.median(times))
    return steps / median if 0 < median < math.inf else math.nan


def _checked(times: np.ndarray) -> np.ndarray:
    times = np.asarray(times, np.float64)
    if times.ndim != 1 or not times.size or np.isnan(times).any() or (times < 0).any():
        raise ValueError(
            "Times must be a list of one or more numbers of updates, inf where "
            f"censored, got {times}."
        )
    return times


def _checked_pairs(
    first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    first, second = _checked(first), _checked(second)
    if first.size != second.size:
        raise ValueError(
            f"Paired groups must be of one size, got {first.size} and {second.size}."
        )
    return first, second


def _differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    both = np.isinf(first) & np.isinf(second)
    return np.where(both, 0.0, second) - np.where(both, 0.0, first)


def _less_and_not_more(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts, for each of [S, K] values, how many of its row are <, and how many <=."""
    one, other = values[:, :, None], values[:, None, :]  # [S, K, 1], [S, 1, K]
    return (other < one).sum(axis=2), (other <= one).sum(axis=2)


def _rank_sum_scores(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Twice the mid-ranks less their mean: whole numbers [S, N + M] that sum to 0."""
    pooled = np.concatenate([first, second], axis=1)
    less, not_more = _less_and_not_more(pooled)
    return (less + not_more - pooled.shape[1]).astype(np.float64)


def _signed_rank_scores(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Twice the mid-ranks of |difference|, signed: whole numbers [S, N]."""
    apart = _differences(first, second)
    less, not_more = _less_and_not_more(np.abs(apart))
    return np.sign(apart) * (less + not_more + 1)


def _labels(num_first: int, num_second: int) -> np.ndarray:
    return np.repeat([0.0, 1.0], [num_first, num_second])


def _permuted_labels(labels: np.ndarray, seed: int, draws: int) -> np.ndarray:
    generator = np.random.default_rng([seed, 0])
    return generator.permuted(np.tile(labels, (draws, 1)), axis=1)  # [D, K]


def _signs(num_pairs: int, seed: int, draws: int) -> np.ndarray:
    generator = np.random.default_rng([seed, 0])
    return generator.choice([-1.0, 1.0], size=(draws, num_pairs))  # [D, K=N]


def _p_values(scores: np.ndarray, observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    """P-values [S] of scores [S, K] under weights [K], by the weights [D, K] drawn.

    Both statistics are 0 on average under their null. The sums are of whole numbers,
    hence exact, so that equal ones compare as equal.
    """
    extreme = np.abs(scores @ null.T) >= np.abs(scores @ observed)[:, None]  # [S, D]
    return (1 + extreme.sum(axis=1)) / (1 + len(null))


def _resampled_groups(
    first: np.ndarray, second: np.ndarray, seed: int, simulations: int
) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng([seed, 1])
    pooled = np.concatenate([first, second])
    drawn = generator.choice(pooled, size=(simulations, pooled.size))
    return drawn[:, : first.size], drawn[:, first.size :]


def _resampled_pairs(
    first: np.ndarray, second: np.ndarray, seed: int, simulations: int
) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng([seed, 1])
    shape = (simulations, first.size)
    drawn = generator.integers(first.size, size=shape)
    mirrored = generator.integers(2, size=shape).astype(bool)
    one, other = first[drawn], second[drawn]
    return np.where(mirrored, other, one), np.where(mirrored, one, other)


def _slices(total: int) -> list[slice]:
    return [slice(begin, begin + _AT_ONCE) for begin in range(0, total, _AT_ONCE)]
