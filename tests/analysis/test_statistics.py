"""Tests on times against enumeration by hand, and against textbook power."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from rdt_jax.analysis import statistics

INF = math.inf
BIG = {"resolution": 1, "budget": 10**9, "seed": 5}


def rank_sum(first, second):
    return statistics.rank_sum(np.array(first), np.array(second), seed=3)


def signed_rank(first, second):
    return statistics.signed_rank(np.array(first), np.array(second), seed=3)


def comparisons_won(first, second):
    """Comparisons in which the second time is later, equal ones counting half."""
    return sum((b > a) + 0.5 * (b == a) for a in first for b in second)


def enumerated_signed_rank(signs, ranks):
    flips = np.array(list(itertools.product([-1, 1], repeat=len(signs))))
    signed = np.array(signs) * ranks
    return np.mean(np.abs(flips @ signed) >= abs(signed.sum()))


# Medians.


def test_the_median_and_its_interval_by_the_binomial():
    times = np.arange(20.0) * 10  # Of a fair coin, 5 or fewer of 20: .0207.
    assert statistics.median_interval(times) == (95.0, 50.0, 140.0)
    tail = sum(math.comb(20, k) for k in range(6)) / 2**20
    assert 2 * tail < 0.05 < 2 * (tail + math.comb(20, 6) / 2**20)
    wide = statistics.median_interval(times, confidence=0.99)
    assert (wide.low, wide.high) == (30.0, 160.0)
    np.random.default_rng(0).shuffle(times)
    assert statistics.median_interval(times) == (95.0, 50.0, 140.0)


def test_censored_times_have_a_rank_but_no_value():
    times = [10, 20, 30, 40, 50, 60, INF, INF]
    assert statistics.median_interval(np.array(times)) == (45.0, 10.0, INF)
    half = [10, 20, INF, INF]
    assert statistics.median_interval(np.array(half)).median == INF
    assert statistics.median_interval(np.array([10, INF, 20])).median == 20
    assert statistics.median_interval(np.full(9, INF)) == (INF, INF, INF)


def test_few_times_have_no_interval():
    found = statistics.median_interval(np.array([10.0, 20, 30, 40, 50]))
    assert found.median == 30
    assert np.isnan([found.low, found.high]).all()
    six = statistics.median_interval(np.array([10.0, 20, 30, 40, 50, 60]))
    assert (six.low, six.high) == (10, 60)


def test_the_interval_covers_the_median_as_often_as_it_says():
    generator = np.random.default_rng(1)
    samples = generator.exponential(size=(400, 20))
    samples[samples > 1.2] = INF  # The median of the distribution is log 2 = 0.69.
    covered = [
        found.low <= math.log(2) <= found.high
        for found in map(statistics.median_interval, samples)
    ]
    assert 0.93 <= np.mean(covered) <= 0.985  # .959 expected, 3 errors of .01.


# Two tests.

GROUPS = [
    ([10, 20, 30], [40, 50, 60]),
    ([40, 50, 60], [10, 20, 30]),
    ([10, 20, 40], [30, 50, 50, 60]),
    ([10, 20, 20, 30], [20, 30, 30]),  # Ties.
    ([10, 20, INF], [30, INF, INF, INF]),  # Censored.
    ([10, INF, INF, INF], [20, 30, 40, 50]),
    ([INF, INF], [INF, INF, INF]),
    ([20, 20], [20, 20, 20]),
    ([10, 11, 12, 25, 26], [13, 14, 15, 16, 17, 18]),
]


@pytest.mark.parametrize(("first", "second"), GROUPS)
def test_rank_sum_equals_enumeration(first, second):
    found = rank_sum(first, second)
    won = comparisons_won(first, second)
    assert found.later == pytest.approx(won / (len(first) * len(second)))
    # Where the two tails differ in weight, scipy doubles the lighter one.
    assert found.p_value == pytest.approx(
        min(1, 2 * min(one_sided(first, second), one_sided(second, first)))
    )


def one_sided(first, second):
    """Share of arrangements in which the second group is at least as late."""
    times = [*first, *second]
    found = comparisons_won(first, second)
    wins = [
        comparisons_won(
            [t for i, t in enumerate(times) if i not in chosen],
            [times[i] for i in chosen],
        )
        for chosen in itertools.combinations(range(len(times)), len(second))
    ]
    return np.mean([won >= found for won in wins])


def test_rank_sum_by_hand():
    assert rank_sum([10, 20, 30], [40, 50, 60]) == pytest.approx((1.0, 2 / 20))
    # 40 and 50 are later than all, 25 than two: 8 of 9; 2 of 20 are as extreme, twice.
    assert rank_sum([10, 20, 30], [25, 40, 50]) == pytest.approx((8 / 9, 4 / 20))
    assert rank_sum([30, 30], [30, 30]) == (0.5, 1.0)
    # A censored time is later than any, and how late nobody knows.
    assert rank_sum([1, 2, 3], [4, 5, INF]) == rank_sum([1, 2, 3], [4, 5, 6])


PAIRS = [  # first, second, sign and mid-rank of each difference
    ([10, 20, 30, 40, 50], [11, 22, 33, 44, 55], [1] * 5, [1, 2, 3, 4, 5]),
    ([10, 20, 30], [11, 18, 33], [1, -1, 1], [1, 2, 3]),
    ([10, 20, 30, 40], [12, 18, 30, 45], [1, -1, 0, 1], [2.5, 2.5, 1, 4]),  # A tie.
    ([10, 20, INF, INF], [INF, 21, 30, INF], [1, 1, -1, 0], [3.5, 2, 3.5, 1]),
    ([10, 20], [10, 20], [0, 0], [1.5, 1.5]),
    ([INF, INF], [INF, INF], [0, 0], [1.5, 1.5]),
]


@pytest.mark.parametrize(("first", "second", "signs", "ranks"), PAIRS)
def test_signed_rank_equals_enumeration(first, second, signs, ranks):
    found = signed_rank(first, second)
    assert found.p_value == pytest.approx(enumerated_signed_rank(signs, ranks))
    later = sum(r for s, r in zip(signs, ranks, strict=True) if s > 0)
    total = sum(r for s, r in zip(signs, ranks, strict=True) if s)
    assert found.later == pytest.approx(later / total if total else 0.5)
    mirrored = signed_rank(second, first)
    assert mirrored == pytest.approx((1 - found.later, found.p_value))


def test_signed_rank_by_hand():
    # All five later: of 32 signs, all plus and all minus are as extreme.
    assert signed_rank([10, 20, 30, 40, 50], [11, 22, 33, 44, 55]).p_value == 2 / 32
    # Ranks 1 2 3, the sum is 1 - 2 + 3 = 2 of at most 6: 6 of 8 sums are that far off.
    assert signed_rank([10, 20, 30], [11, 18, 33]) == pytest.approx((4 / 6, 6 / 8))


def test_larger_groups_agree_with_the_tests_of_scipy():
    generator = np.random.default_rng(2)
    first = generator.integers(10, 40, size=20) * 20.0
    second = first + generator.integers(-3, 6, size=20) * 20.0
    second[:3] = INF
    u = stats.mannwhitneyu(second, first, method="asymptotic")
    found = rank_sum(first, second)
    assert found.later == pytest.approx(u.statistic / 400)
    assert found.p_value == pytest.approx(u.pvalue, abs=0.02)  # Draws: error .005.
    apart = np.minimum(second, 1e6) - first
    w = stats.wilcoxon(apart, zero_method="pratt", method="asymptotic")
    assert 0.001 < signed_rank(first, second).p_value < 0.5
    assert signed_rank(first, second).p_value == pytest.approx(w.pvalue, abs=0.015)


def test_draws_are_of_the_seed_and_never_give_zero():
    first, second = np.arange(20.0), np.arange(20.0) + 100
    for test in (statistics.rank_sum, statistics.signed_rank):
        assert test(first, second, seed=1).p_value == pytest.approx(2 / 10_000)
    near = first + np.arange(20) * 7 % 20 - 6.5
    near -= near.min()
    for test in (statistics.rank_sum, statistics.signed_rank):
        assert test(first, near, seed=1) == test(first, near, seed=1)
        assert test(first, near, seed=1).p_value != test(first, near, seed=2).p_value


# Mistakes.


@pytest.mark.parametrize("times", [[], [[1.0, 2.0]], [1, math.nan], [3, -1]])
def test_what_is_no_list_of_times_is_refused(times):
    good, bad = np.array([1.0, 2.0]), np.array(times)
    message = r"Times must be a list of [12] or more numbers of updates, inf where cens"
    for call in (
        lambda: statistics.median_interval(bad),
        lambda: statistics.rank_sum(good, bad, seed=0),
        lambda: statistics.rank_sum(bad, good, seed=0),
        lambda: statistics.signed_rank(bad, good, seed=0),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_test_needs_two_times_in_a_group():
    assert statistics.median_interval(np.array([30.0])).median == 30
    message = r"Times must be a list of 2 or more numbers .*, got \[30\.\]"
    for test in (rank_sum, signed_rank):
        with pytest.raises(ValueError, match=message):
            test([30.0], [30.0])


def test_pairs_of_two_sizes_are_refused():
    message = r"Paired groups must be of one size, got 2 and 3\."
    with pytest.raises(ValueError, match=message):
        signed_rank([1, 2], [1, 2, 3])


def test_the_sign_test_is_that_of_a_fair_coin():
    assert statistics.sign_test(0, 0) == statistics.sign_test(2, 2) == 1
    assert statistics.sign_test(6, 0) == statistics.sign_test(0, 6) == 2 / 2**6
    # 0, 1, 7 or 8 heads of 8.
    assert statistics.sign_test(7, 1) == pytest.approx((1 + 8 + 8 + 1) / 2**8)


def test_holm_raises_p_values_by_the_number_of_tests_that_are_left():
    found = statistics.holm([0.04, 0.01, 0.03, 0.5])
    # .01 x 4, .03 x 3, then .04 x 2 < .09, .5 x 1.
    np.testing.assert_allclose(found, [0.09, 0.04, 0.09, 0.5])
    assert statistics.holm([0.7, 0.6]) == [1.0, 1.0]
    assert statistics.holm([]) == []
