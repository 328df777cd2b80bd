import numpy as np
import pytest
from scipy import stats

from rdt_jax.analysis import survival
from rdt_jax.analysis.grokking import Bound


def at(*steps):
    """Times; a negative one is censored there."""
    return [Bound(abs(step), step < 0) for step in steps]


def test_a_curve_worked_by_hand():
    # 7 runs: 2 arrive at 6, one is censored there, one arrives at 9, one is censored at
    # 10, one arrives at 13, one is censored at 20.
    found = survival.survival(at(6, -20, 9, 6, -6, 13, -10))
    np.testing.assert_array_equal(found.steps, [0, 6, 9, 10, 13, 20])
    np.testing.assert_array_equal(found.waiting, [7, 7, 4, 3, 2, 1])
    share = [1, 5 / 7, 5 / 7 * 3 / 4, 15 / 28, 15 / 28 / 2, 15 / 56]
    np.testing.assert_allclose(found.share, share)
    np.testing.assert_array_equal(found.censored, [6, 10, 20])
    # Greenwood at 9: the sum of d / (n (n - d)) is 2 / (7 * 5) + 1 / (4 * 3).
    error = np.sqrt(2 / 35 + 1 / 12) / -np.log(share[2])
    ends = np.exp(np.log(share[2]) * np.exp(1.959964 * error * np.array([1, -1])))
    np.testing.assert_allclose([found.low[2], found.high[2]], ends, rtol=1e-5)


def test_it_agrees_with_scipy():
    generator = np.random.default_rng(0)
    times = generator.integers(1, 30, 40)
    beyond = (generator.random(40) < 0.4) | (times == times.max())
    given = [Bound(*each) for each in zip(times, beyond, strict=True)]
    found = survival.survival(given)
    sample = stats.CensoredData(times[~beyond], right=times[beyond])
    curve = stats.ecdf(sample).sf
    np.testing.assert_array_equal(found.steps[1:], curve.quantiles)
    np.testing.assert_allclose(found.share[1:], curve.probabilities)
    inside = (found.share > 0) & (found.share < 1)
    ends = stats.ecdf(sample).sf.confidence_interval(0.95, method="log-log")
    for ours, theirs in ((found.low, ends.low), (found.high, ends.high)):
        np.testing.assert_allclose(
            ours[inside], theirs.probabilities[inside[1:]], rtol=1e-6
        )


def test_without_censoring_it_is_the_share_of_runs():
    found = survival.survival(at(30, 10, 20, 10))
    np.testing.assert_array_equal(found.steps, [0, 10, 20, 30])
    np.testing.assert_allclose(found.share, [1, 0.5, 0.25, 0])
    assert np.isnan(found.low).tolist() == [True, False, False, True]


def test_if_no_run_arrives_it_stays_at_one():
    found = survival.survival(at(-8, -8, -9))
    np.testing.assert_array_equal(found.share, [1, 1, 1])
    assert found.waiting.tolist() == [3, 3, 1]


def test_more_confidence_is_wider():
    times = at(6, -20, 9, 6, -6, 13, -10)
    narrow = survival.survival(times, confidence=0.5)
    wide = survival.survival(times, confidence=0.99)
    assert wide.low[2] < narrow.low[2] < narrow.share[2] < narrow.high[2] < wide.high[2]


@pytest.mark.parametrize(
    ("times", "confidence"), [((), 0.95), ((4,), 0.0), ((4,), 1.0)]
)
def test_what_is_impossible_is_refused(times, confidence):
    with pytest.raises(ValueError, match=r"at least one run and a confidence in \(0"):
        survival.survival(at(*times), confidence=confidence)
