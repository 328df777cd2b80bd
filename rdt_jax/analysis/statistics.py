"""Medians and comparisons of times that respect censoring.

A time is a number of optimizer updates; inf marks a *censored* run, which had not
arrived when its budget ended. All runs of a comparison have one budget, so a censored
time has a rank, the last, though no value: all here is ranks and order statistics.

The p-values are scipy's permutation tests on ranks: all arrangements are enumerated
where there are at most DRAWS of them, else DRAWS are drawn and (1 + b) / (1 + DRAWS) is
reported, b being at least as extreme (Phipson and Smyth 2010, Statistical Applications
in Genetics and Molecular Biology 9). Same times, same seed, same numbers.

Shapes: N, M times of a group.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

DRAWS = 9_999  # arrangements of a reported test

_AT_ONCE = 50  # arrangements, which bounds the memory


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
    ranks = stats.rankdata(np.concatenate([first, second]))
    scores = ranks[: first.size], ranks[first.size :]
    won = scores[1].sum() - second.size * (second.size + 1) / 2
    return Comparison(
        later=float(won / (first.size * second.size)),
        p_value=_p_value(scores, seed),
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
    first, second = _checked(first), _checked(second)
    if first.size != second.size:
        raise ValueError(
            f"Paired groups must be of one size, got {first.size} and {second.size}."
        )
    with np.errstate(invalid="ignore"):  # Two censored times are a tie.
        apart = np.where(first == second, 0.0, second - first)
    signed = np.sign(apart) * stats.rankdata(np.abs(apart))
    total = np.abs(signed).sum()
    return Comparison(
        later=float(0.5 + signed.sum() / (2 * total)) if total else 0.5,
        p_value=_p_value((signed,), seed),
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


def _checked(times: np.ndarray, at_least: int = 2) -> np.ndarray:
    times = np.asarray(times, np.float64)
    bad = times.ndim != 1 or np.isnan(times).any() or (times < 0).any()
    if bad or times.size < at_least:
        raise ValueError(
            f"Times must be a list of {at_least} or more numbers of updates, inf where "
            f"censored, got {times}."
        )
    return times


def _p_value(scores: tuple[np.ndarray, ...], seed: int) -> float:
    """P-value of one group [N] by its signs, or of two by relabeling."""
    test = stats.permutation_test(
        scores,
        lambda *groups, axis: groups[-1].sum(axis=axis),
        permutation_type="samples" if len(scores) == 1 else "independent",
        vectorized=True,
        n_resamples=DRAWS,
        batch=_AT_ONCE,
        rng=np.random.default_rng([seed, 0]),
    )
    return float(test.pvalue)
