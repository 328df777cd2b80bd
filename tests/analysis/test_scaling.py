import numpy as np
import pytest

from rdt_jax.analysis import depth, scaling

CHANCE = 1 / 7


def planted(correct, levels, margin=None):
    """A measurement of rows [N, M] with the given hops [N]."""
    correct, levels = np.asarray(correct), np.asarray(levels)
    if margin is None:
        margin = np.where(correct, 1.0, -1.0)
    return depth.assemble(
        row=np.arange(len(levels)),
        hops=levels,
        correct=correct.astype(bool),
        margin=np.asarray(margin, np.float32),
        change=np.zeros(correct.shape, np.float32),
        flops=np.ones((np.unique(levels).size, correct.shape[1]), np.int64),
    )


def right_between(hops_of_rows, first, last, loops):
    """Rows that are right from loop `first(hops)` on, up to `last(hops)`."""
    count = np.arange(1, loops + 1)
    return [[first(k) <= c <= last(k) for c in count] for k in hops_of_rows]


def test_loops_that_serve_deeper_rows_are_found():
    """Each hop takes two loops, so at four loops nothing beyond two hops is right."""
    levels = np.repeat([2, 3, 4], 30)
    always = lambda k: 99
    found = planted(right_between(levels, lambda k: 2 * k, always, 8), levels)
    scaled = scaling.scaled(found, 4)
    assert scaled.loops.tolist() == [4, 6, 8]
    assert scaled.accuracy.tolist() == [1, 1, 1]
    assert scaled.gain.tolist() == [0, 1, 1]
    assert scaled.error.tolist() == [0, 0, 0]
    assert scaling.reach(found, found.accuracy[:, 3]) == 2
    assert scaling.reach(found, scaled.accuracy) == 4
    assert scaling.generalization_ratio(found, 2) == 2.0


def test_a_chosen_loop_gains_nothing_from_noise():
    """Of guesses the best loop scores high on its own rows, and chance on others."""
    generator = np.random.default_rng(0)
    levels = np.repeat(np.arange(2, 12), 60)
    found = planted(generator.random((600, 24)) < CHANCE, levels)
    assert found.accuracy.max(axis=1).mean() > CHANCE + 0.06
    scaled = scaling.scaled(found, 4)
    assert abs(scaled.accuracy.mean() - CHANCE) < 0.03
    assert abs(scaled.gain.mean()) < 0.03
    assert scaled.num_rows.tolist() == [30] * 10
    assert not scaling.above_chance(scaled, CHANCE).any()
    better = scaled._replace(accuracy=np.full(10, 0.41))  # 4.2 errors above chance
    assert scaling.above_chance(better, CHANCE).all()


def test_nothing_answered_reaches_one_hop():
    found = planted(np.zeros((6, 3)), [2, 2, 2, 3, 3, 3])
    assert scaling.reach(found, found.accuracy[:, 0]) == 1
    assert scaling.generalization_ratio(found, 2) == 0.5


def test_overthinking_is_the_decline_from_the_peak():
    """Two hops peak at loop 2 and fall back to half; three hops rise to the end."""
    levels = np.repeat([2, 3], 10)
    fall, rise = [1.0, 4.0, 3.0, 2.0], [-3.0, -2.0, 1.0, 5.0]
    margin = np.array([fall] * 10 + [rise] * 10)
    found = scaling.overthinking(planted(margin > 0, levels, margin))
    assert found.peak_loop.tolist() == [2, 4]
    assert found.peak.tolist() == [4, 5]
    assert found.drop.tolist() == [2, 0]
    assert found.lost.tolist() == [0.5, 0]
    assert found.error.tolist() == [0, 0]


def test_a_margin_that_never_is_positive_has_no_overthinking_index():
    margin = np.full((6, 3), -1.0)
    found = scaling.overthinking(planted(margin > 0, [2] * 6, margin))
    assert np.isnan(found.lost).all()


def test_noise_is_no_overthinking():
    generator = np.random.default_rng(1)
    margin = generator.normal(1.0, 1.0, (400, 16))
    found = scaling.overthinking(
        planted(margin > 0, np.repeat([2, 3, 4, 5], 100), margin)
    )
    assert (np.abs(found.drop) < 4 * found.error).all()


def test_loops_that_were_not_measured_are_refused():
    with pytest.raises(ValueError, match="1 to 2 loops were measured, got 3"):
        scaling.scaled(planted([[0, 1]], [2]), 3)


@pytest.mark.parametrize(
    ("difference", "error", "verdict"),
    [
        (0.1, 0.04, True),
        (0.1, 0.06, None),  # As large, but for two errors.
        (0.04, 0.001, False),
        (0.04, 0.01, None),  # Two errors may hide .05.
        (-0.1, 0.01, False),
    ],
)
def test_a_difference_is_there_or_not_or_open(difference, error, verdict):
    found = scaling.is_there(difference, error, least=0.05, errors=2)
    assert found is verdict
