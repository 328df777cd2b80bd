"""Planted power laws, with and without censored runs."""

import itertools
import math

import numpy as np
import pytest

from rdt_jax.analysis import laws

VALUES = np.repeat([0.25, 0.5, 1.0, 2.0], 5)


def draw(exponent, seed=0, spread=0.2, scale=400.0):
    noise = np.random.default_rng(seed).normal(scale=spread, size=VALUES.size)
    return scale * VALUES**-exponent * np.exp(noise)


def censor(times, budget):
    return np.where(times > budget, np.inf, times)


@pytest.mark.parametrize("exponent", [1.0, 0.0, -0.5])
def test_the_planted_exponent_lies_in_the_interval(exponent):
    law = laws.fit_power(VALUES, draw(exponent), budget=1e6)
    assert law.low < exponent < law.high
    assert law.exponent == pytest.approx(exponent, abs=0.15)
    assert law.scale == pytest.approx(400, rel=0.15)
    assert (law.runs, law.censored) == (20, 0)


def test_without_noise_it_is_exact():
    law = laws.fit_power(VALUES, draw(0.7, spread=0.0), budget=1e6)
    assert law[:4] == pytest.approx((0.7, 0.7, 0.7, 400))


def test_censoring_does_not_bend_the_line():
    """Those of the least value are censored: without them the law looks less steep."""
    budget, found, clipped = 1200, [], []
    for seed in range(7):
        times = draw(1.0, seed, spread=0.35)
        late = censor(times, budget)
        assert np.isinf(late).sum() >= 3
        law = laws.fit_power(VALUES, late, budget)
        assert law.censored == np.isinf(late).sum()
        assert law.low < 1 < law.high
        found.append(law.exponent)
        clipped.append(laws.fit_power(VALUES, np.minimum(times, budget), 1e6).exponent)
    assert np.median(found) == pytest.approx(1, abs=0.1)
    assert np.median(clipped) < 0.9


def slow_score(values, times, budget, exponent):
    """Kendall's score of the residuals against the values, pair by pair."""
    score = 0
    for i, j in itertools.permutations(range(len(values)), 2):
        if values[i] <= values[j]:
            continue
        left = [
            math.log(min(times[k], budget)) + exponent * math.log(values[k])
            for k in (i, j)
        ]
        if left[0] < left[1] and times[i] < np.inf:
            score -= 1
        elif left[0] > left[1] and times[j] < np.inf:
            score += 1
    return score


@pytest.mark.parametrize("seed", range(4))
def test_the_score_changes_its_sign_at_the_exponent(seed):
    times = censor(draw(1.0, seed, spread=0.5), 900)
    found = laws.fit_power(VALUES, times, 900).exponent
    below, above = (slow_score(VALUES, times, 900, found + d) for d in (-1e-3, 1e-3))
    assert below <= 0 <= above
    assert slow_score(VALUES, times, 900, found - 0.3) < 0
    assert slow_score(VALUES, times, 900, found + 0.3) > 0


def test_a_bound_on_one_side_is_told():
    values, times = [1.0, 1.0, 2.0, 2.0], [np.inf, np.inf, 90.0, 100.0]
    law = laws.fit_power(values, times, 1000)
    assert (law.exponent, law.high) == (np.inf, np.inf)
    assert law.low > math.log(10) / math.log(2) - 1e-6
    assert math.isnan(law.scale)
    law = laws.fit_power(values, [np.inf] * 4, 1000)
    assert math.isnan(law.exponent) and math.isnan(law.low)


def test_the_same_seed_gives_the_same_interval():
    times = draw(1.0, spread=0.5)
    one, again = (laws.fit_power(VALUES, times, 1e6, seed=3) for _ in range(2))
    assert one == again
    assert laws.fit_power(VALUES, times, 1e6, seed=4)[1:3] != one[1:3]


@pytest.mark.parametrize(
    ("values", "times", "message"),
    [
        ([0.0, 1.0], [5.0, 6.0], "all of them above 0, got"),
        ([1.0, 2.0], [5.0], "as many values as times"),
        ([1.0, 1.0], [5.0, 6.0], "two different values at least"),
        ([1.0, 2.0], [5.0, 11.0], "beyond the budget of 10 updates, got 11"),
    ],
)
def test_what_cannot_be_fitted(values, times, message):
    with pytest.raises(ValueError, match=message):
        laws.fit_power(values, times, 10)


def test_a_trend_is_a_share_of_pairs():
    values, times = [1, 1, 2, 3], [30.0, 10.0, 20.0, np.inf]
    # Of (1, 2), (1, 3), (2, 3): later are 10 < 20, both of 3, 20 < inf; not 30, 20.
    test = laws.trend(values, times)
    assert test.later == pytest.approx(4 / 5)
    # All 24 orders of four different times: 4 or 5 of 5 pairs, or as few.
    scores = []
    for order in itertools.permutations(range(4)):
        score = 0
        for i, j in itertools.combinations(range(4), 2):
            if values[i] < values[j]:
                score += np.sign(order[j] - order[i])
        scores.append(score)
    assert test.p_value == pytest.approx(min(1, 2 * np.mean(np.array(scores) >= 3)))


def test_a_trend_sees_what_falls_and_what_does_not():
    falling = laws.trend(VALUES, draw(1.0))
    assert falling.later < 0.1 and falling.p_value < 0.01
    level = laws.trend(VALUES, draw(0.0))
    assert 0.3 < level.later < 0.7 and level.p_value > 0.05
    with pytest.raises(ValueError, match="of which two differ"):
        laws.trend([1, 1], [2.0, 3.0])
