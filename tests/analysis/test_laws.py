"""Planted power laws, with and without censored runs."""

import itertools
import math

import numpy as np
import pytest

from rdt_jax.analysis import laws

VALUES = np.repeat([0.25, 0.5, 1.0, 2.0], 5)
APART = np.arange(VALUES.size)  # No two runs have anything in common,
SEEDS = np.tile(np.arange(5), 4)  # or one seed stands at every value.


def draw(exponent, seed=0, spread=0.2, scale=400.0):
    noise = np.random.default_rng(seed).normal(scale=spread, size=VALUES.size)
    return scale * VALUES**-exponent * np.exp(noise)


def censor(times, budget):
    return np.where(times > budget, np.inf, times)


@pytest.mark.parametrize("exponent", [1.0, 0.0, -0.5])
def test_the_planted_exponent_lies_in_the_interval(exponent):
    law = laws.fit_power(VALUES, draw(exponent), APART, budget=1e6)
    assert law.low < exponent < law.high
    assert law.exponent == pytest.approx(exponent, abs=0.15)
    assert law.scale == pytest.approx(400, rel=0.15)
    assert (law.runs, law.censored) == (20, 0)


def test_without_noise_it_is_exact():
    law = laws.fit_power(VALUES, draw(0.7, spread=0.0), APART, budget=1e6)
    assert law[:4] == pytest.approx((0.7, 0.7, 0.7, 400))


def test_censoring_does_not_bend_the_line():
    """Those of the least value are censored: without them the law looks less steep."""
    budget, found, clipped = 1200, [], []
    for seed in range(7):
        times = draw(1.0, seed, spread=0.35)
        late = censor(times, budget)
        assert np.isinf(late).sum() >= 3
        law = laws.fit_power(VALUES, late, APART, budget)
        assert law.censored == np.isinf(late).sum()
        assert law.low < 1 < law.high
        found.append(law.exponent)
        short = np.minimum(times, budget)
        clipped.append(laws.fit_power(VALUES, short, APART, 1e6).exponent)
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
    found = laws.fit_power(VALUES, times, APART, 900).exponent
    below, above = (slow_score(VALUES, times, 900, found + d) for d in (-1e-3, 1e-3))
    assert below <= 0 <= above
    assert slow_score(VALUES, times, 900, found - 0.3) < 0
    assert slow_score(VALUES, times, 900, found + 0.3) > 0


def test_a_bound_on_one_side_is_told():
    values, times = [1.0, 1.0, 2.0, 2.0], [np.inf, np.inf, 90.0, 100.0]
    law = laws.fit_power(values, times, range(4), 1000)
    assert (law.exponent, law.high) == (np.inf, np.inf)
    assert law.low > math.log(10) / math.log(2) - 1e-6
    assert math.isnan(law.scale)
    law = laws.fit_power(values, [np.inf] * 4, range(4), 1000)
    assert math.isnan(law.exponent) and math.isnan(law.low)


def test_the_same_seed_gives_the_same_interval():
    times = draw(1.0, spread=0.5)
    one, again = (laws.fit_power(VALUES, times, APART, 1e6, seed=3) for _ in range(2))
    assert one == again
    assert laws.fit_power(VALUES, times, APART, 1e6, seed=4)[1:3] != one[1:3]


def test_what_a_seed_does_at_every_value_does_not_widen_the_interval():
    """Late and soon seeds: how late they are says nothing of the exponent."""
    times = draw(1.0, spread=0.0) * np.tile([0.2, 0.5, 1.0, 2.0, 5.0], 4)
    law = laws.fit_power(VALUES, times, SEEDS, 1e6)
    assert law[:3] == pytest.approx((1, 1, 1))
    apart = laws.fit_power(VALUES, times, APART, 1e6)
    assert apart.low < 0.8 and apart.high > 1.2


def test_seeds_with_laws_of_their_own_widen_the_interval():
    """Drawn apart, runs of different seeds would average their exponents away."""
    exponents = np.tile([0.0, 0.5, 1.0, 1.5, 2.0], 4)
    times = 400.0 * VALUES**-exponents
    together = laws.fit_power(VALUES, times, SEEDS, 1e6)
    apart = laws.fit_power(VALUES, times, APART, 1e6)
    width = lambda law: law.high - law.low
    assert width(together) > 1.3 * width(apart) > 0


def test_a_sample_has_as_many_runs_of_every_value():
    """Also if some seeds stand at some values only."""
    values = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 4.0])
    blocks = np.array([0, 1, 2, 0, 1, 7])
    generator = np.random.default_rng(0)
    samples = [tuple(rows) for rows in laws.samples(values, blocks, generator)]
    assert len(set(samples)) > 1
    for rows in map(np.array, samples):
        np.testing.assert_array_equal(np.sort(values[rows]), values)
        assert (rows == 0).sum() == (rows == 3).sum()  # Seed 0 comes as a whole.


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
        laws.fit_power(values, times, range(len(times)), 10)
    with pytest.raises(ValueError, match="must be in a block, got 2 times and blocks"):
        laws.fit_power([1.0, 2.0], [5.0, 6.0], [0], 10)


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
