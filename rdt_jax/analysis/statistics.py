"""Medians and comparisons of times that respect censoring.

A time is a number of optimizer updates; inf marks a *censored* run, which had not
arrived when its budget ended. All runs of a comparison have one budget, so a censored
time has a rank, the last, though no value: all here is ranks and order statistics.

The p-values are scipy's permutation tests on ranks: all arrangements are enumerated
where there are at most DRAWS of them, else DRAWS are drawn and (1 + b) / (1 + DRAWS) is
reported, b being at least as extreme (Phipson and Smyth 2010, Statistical Applications
in Genetics and Molecular Biology 9). Same times, same seed, same numbers.

Shapes: N, M times of a group, S simulated experiments.
"""

import bisect
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

DRAWS = 9_999  # arrangements of a reported test
SIMULATIONS = 1_000  # experiments per shift that is tried
SIMULATION_DRAWS = 999  # arrangements of the test of a simulated experiment

_AT_ONCE = 50  # arrangements of all simulated experiments, which bounds the memory


class Interval(NamedTuple):
    """A median and the interval that covers it; inf where it is censored."""

    median: float
    low: float
    high: float


class Comparison(NamedTuple):
    """What a test says of two groups of times."""

    # Share, in [0, 1], by which the second group lies after the first; 0.5 is not at
    # all. The docstring of the test says what it is a share of.
    later: float
    p_value: float  # two-sided


class VisibleShift(NamedTuple):
    """The smallest shift that a test would have seen."""

    steps: float  # updates; inf if no shift reaches the power
    # Share of the simulated experiments in which the test saw it, or the highest share
    # there was.
    rate: float


def median_interval(times: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """Returns the median of times [N] and its exact interval between two of them.

    The median of an even number is the mean of the middle two, or inf if the later one
    is censored. The interval covers the median of the distribution with at least the
    confidence, whatever the distribution; it is nan where there are too few times for
    that (below 6 for .95).

    Reference: Conover (1999), Practical Nonparametric Statistics, as in scipy.

    Raises:
      ValueError: if there is no time, or one is neither a number nor inf.
    """
    times = _checked(times, at_least=1)
    low, high = stats.quantile_test(times, p=0.5).confidence_interval(confidence)
    return Interval(float(np.median(times)), float(low), float(high))


def rank_sum(first: np.ndarray, second: np.ndarray, *, seed: int) -> Comparison:
    """Tests whether one of two unpaired groups of times, [N] and [M], is shifted.

    The statistic is the rank sum of the second group among all times, ties at their
    mid-rank. If the groups do not differ, every assignment of the times to them is
    equally likely, whatever the ties and however many times are censored. `later` is
    the share of all N M comparisons of a second with a first time in which the second
    is later, equal ones counting half.

    Reference: Mann and Whitney (1947), Annals of Mathematical Statistics 18; with one
    budget for all it is the test of Gehan (1965), Biometrika 52.

    Raises:
      ValueError: if there are fewer than two times in a group, or one is neither a
        number nor inf.
    """
    first, second = _checked(first), _checked(second)
    scores = _ranks_of_groups(first, second)
    won = scores[1].sum() - second.size * (second.size + 1) / 2
    return Comparison(
        later=float(won / (first.size * second.size)),
        p_value=float(_p_values(scores, seed, DRAWS)),
    )


def signed_rank(first: np.ndarray, second: np.ndarray, *, seed: int) -> Comparison:
    """Tests whether the second of paired times, [N] each, is shifted.

    The statistic is the sum of the signed ranks of the differences: a pair with one
    censored time has a difference with a sign and the last rank, though no value, and
    one with two is a tie. Ties are ranked with the rest and add nothing to the sum. If
    the groups do not differ, a pair is as likely as its mirror image, so all signs are
    equally likely. `later` is the share of the sum of ranks that belongs to pairs whose
    second time is the later one; 0.5 if all pairs are ties.

    Reference: Wilcoxon (1945), Biometrics Bulletin 1; ties as in Pratt (1959), Journal
    of the American Statistical Association 54.

    Raises:
      ValueError: if the groups differ in size, or as `rank_sum`.
    """
    first, second = _checked_pairs(first, second)
    scores = _signed_ranks(first, second)
    total = np.abs(scores[0]).sum()
    return Comparison(
        later=float(0.5 + scores[0].sum() / (2 * total)) if total else 0.5,
        p_value=float(_p_values(scores, seed, DRAWS)),
    )


def sign_test(right: int, wrong: int) -> float:
    """Returns the two-sided p-value of so many signs of either kind; 1 without any.

    Were both as likely, their split would be as uneven so often. Ties are left out.
    Reference: Conover (1999), Practical Nonparametric Statistics, as in scipy.
    """
    return float(stats.binomtest(right, right + wrong).pvalue) if right + wrong else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values that account for there being several tests, in their order.

    The k-th smallest of m is multiplied by m - k + 1, and none is less than a smaller
    one has become; so the chance that any true null hypothesis is at or below a level
    is at most that level. Reference: Holm (1979), Scandinavian Journal of Statistics 6.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    raised = np.maximum.accumulate(np.asarray(p_values, float)[order] * factors)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted.tolist()


def smallest_visible_shift(
    first: np.ndarray,
    second: np.ndarray,
    *,
    paired: bool,
    resolution: int,
    budget: int,
    seed: int,
    power: float = 0.8,
    level: float = 0.05,
) -> VisibleShift:
    """Returns the smallest shift that a test of this size would have seen.

    Experiments without a shift are drawn from the observed times; then every time of
    the second group is made later by the same number of updates, and the share of
    experiments with p <= `level` is counted. Unpaired experiments draw both groups from
    all times together; paired ones draw pairs, each in either order, so that what pairs
    have in common is kept. The same experiments are used for every shift.

    If the groups do differ, their times spread more together than each of them alone,
    and the unpaired answer errs on the large side.

    Args:
      first: [N], updates; inf where censored.
      second: [M]; if paired, [N], of the same runs in the same order.
      paired: whether the test is `signed_rank`, else `rank_sum`.
      resolution: updates between evaluations, at least 1, of which a shift is a whole
        multiple: a finer one would break ties that a real one cannot break.
      budget: updates after which a time is censored, also one that was shifted.
      power: share of experiments in which the shift is to be seen, in (0, 1).

    Raises:
      ValueError: if `resolution`, `power` or `level` is out of range, or as the test.
    """
    if resolution < 1 or not 0 < power < 1 or not 0 < level < 1:
        raise ValueError(
            "resolution must be at least 1, power and level in (0, 1), got "
            f"{resolution}, {power} and {level}."
        )
    generator = np.random.default_rng([seed, 1])
    if paired:
        scores_of = _signed_ranks
        base, shifted = _resampled_pairs(*_checked_pairs(first, second), generator)
    else:
        scores_of = _ranks_of_groups
        base, shifted = _resampled_groups(_checked(first), _checked(second), generator)

    @functools.cache
    def rate_of(multiple: int) -> float:
        later = shifted + multiple * resolution  # [S, M]
        later[later > budget] = np.inf
        p_values = _p_values(scores_of(base, later), seed, SIMULATION_DRAWS)
        return float((p_values <= level).mean())

    pooled = np.concatenate([first, second])
    known = pooled[np.isfinite(pooled)]
    # With the last one, every known shifted time is after every known other one.
    last = 1 + (math.ceil(np.ptp(known) / resolution) if known.size else 0)
    candidates = range(1, last + 1)
    index = bisect.bisect_left(candidates, power, key=rate_of)
    if index == len(candidates):
        return VisibleShift(math.inf, rate_of(last))
    multiple = candidates[index]
    return VisibleShift(float(multiple * resolution), rate_of(multiple))


def _checked(times: np.ndarray, at_least: int = 2) -> np.ndarray:
    times = np.asarray(times, np.float64)
    bad = times.ndim != 1 or np.isnan(times).any() or (times < 0).any()
    if bad or times.size < at_least:
        raise ValueError(
            f"Times must be a list of {at_least} or more numbers of updates, inf where "
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


def _ranks_of_groups(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, ...]:
    """Mid-ranks [..., N] and [..., M] among all times of an experiment."""
    ranks = stats.rankdata(np.concatenate([first, second], axis=-1), axis=-1)
    return ranks[..., : first.shape[-1]], ranks[..., first.shape[-1] :]


def _signed_ranks(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, ...]:
    with np.errstate(invalid="ignore"):  # Two censored times are a tie.
        apart = np.where(first == second, 0.0, second - first)
    return (np.sign(apart) * stats.rankdata(np.abs(apart), axis=-1),)


def _p_values(scores: tuple[np.ndarray, ...], seed: int, draws: int) -> np.ndarray:
    """P-values [...] of one group [..., N] by its signs, or of two by relabeling."""
    return stats.permutation_test(
        scores,
        lambda *groups, axis: groups[-1].sum(axis=axis),
        permutation_type="samples" if len(scores) == 1 else "independent",
        vectorized=True,
        n_resamples=draws,
        batch=_AT_ONCE,
        axis=-1,
        rng=np.random.default_rng([seed, 0]),
    ).pvalue


def _resampled_groups(first, second, generator) -> tuple[np.ndarray, np.ndarray]:
    pooled = np.concatenate([first, second])
    drawn = generator.choice(pooled, size=(SIMULATIONS, pooled.size))
    return drawn[:, : first.size], drawn[:, first.size :]


def _resampled_pairs(first, second, generator) -> tuple[np.ndarray, np.ndarray]:
    shape = (SIMULATIONS, first.size)
    drawn = generator.integers(first.size, size=shape)
    mirrored = generator.integers(2, size=shape).astype(bool)
    one, other = first[drawn], second[drawn]
    return np.where(mirrored, other, one), np.where(mirrored, one, other)
