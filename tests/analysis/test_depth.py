import jax
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax.analysis import depth
from rdt_jax.models import presets, recurrent
from tests.analysis import hops

CHANCE = 1 / 7


@pytest.fixture(scope="module")
def found():
    return hops.measured()


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


def test_rows_after_four_loops_are_what_a_pass_of_four_loops_gives(found):
    table, model = hops.table(), presets.model_config(hops.config(), hops.table())
    tokens, places = table.tokens[found.row], table.answer_positions[found.row]
    index = np.arange(found.row.size)
    outputs = jax.jit(
        lambda params: recurrent.apply(params, tokens, places, model, num_loops=4)
    )(hops.params())
    logits = np.asarray(outputs.logits, np.float64)[:, 0]
    target = table.targets[found.row, 0]
    others = logits.copy()
    others[index, target] = -np.inf
    margin = logits[index, target] - others.max(axis=1)
    np.testing.assert_allclose(found.margin[:, 3], margin, rtol=1e-3, atol=1e-3)
    sure = np.abs(margin) > 1e-2
    assert (found.correct[sure, 3] == (margin > 0)[sure]).all()
    before, after = np.asarray(outputs.states)[-2:, index, places[:, 0]]
    change = np.linalg.norm(after - before, axis=1) / np.linalg.norm(before, axis=1)
    np.testing.assert_allclose(found.change[:, 2], change, rtol=1e-3)
    assert change.min() > 1e-2


def test_rows_are_the_held_out_ones_of_every_number_of_hops(found):
    table = hops.table()
    assert found.levels.tolist() == [2, 3, 4, 5]
    assert set(found.row) == {*table.rows_of("id"), *table.rows_of("depth")}
    assert (table.tags["hops"][found.row] == found.hops).all()
    assert found.count.sum() == found.row.size == np.unique(found.row).size


def test_means_are_over_the_rows_of_a_number_of_hops(found):
    for index, level in enumerate(found.levels):
        rows = found.hops == level
        assert found.accuracy[index, 4] == found.correct[rows, 4].mean()
        np.testing.assert_allclose(
            found.mean_margin[index], found.margin[rows].mean(axis=0), rtol=1e-4
        )
    assert found.mean_change.shape == (4, 5)


def test_fewer_rows_are_the_first_of_the_same_permutation(found):
    row, levels = depth.sample(hops.config(), hops.table(), 4)
    assert np.unique(levels, return_counts=True)[1].tolist() == [4, 4, 4, 4]
    for level in (2, 5):
        whole = found.row[found.hops == level]
        assert row[levels == level].tolist() == whole[:4].tolist()
        assert whole.tolist() != sorted(whole)


def test_cost_grows_by_the_same_with_each_loop_and_with_the_hops(found):
    each = np.diff(found.flops, axis=1)
    assert (each == each[:, :1]).all() and each.min() > 0
    assert (np.diff(found.flops[:, 0]) > 0).all()


def test_a_table_without_hops_says_what_it_has(tiny_config, tiny_table):
    config = configs.override(tiny_config, {"curriculum.by": "size"})
    with pytest.raises(ValueError, match="tag 'size'.*knowledge_composition has hops"):
        depth.sample(config, tiny_table, 5)


def test_first_hit_counts_rows_that_are_ever_right():
    correct = [[0, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 0]]
    found = planted(correct, [2, 2, 2, 3])
    assert depth.first_hits(np.array(correct, bool)).tolist() == [2, 3, 0, 1]
    assert found.first_hit.tolist() == [2.5, 1.0]
    assert found.hit.tolist() == [2 / 3, 1.0]
    assert np.isnan(planted([[0, 0]], [2]).first_hit).all()


def test_loops_that_serve_deeper_rows_are_found():
    """Each hop takes two loops, so at four loops nothing beyond two hops is right."""
    levels = np.repeat([2, 3, 4], 30)
    always = lambda k: 99
    found = planted(right_between(levels, lambda k: 2 * k, always, 8), levels)
    scaled = depth.scaled(found, 4)
    assert scaled.loops.tolist() == [4, 6, 8]
    assert scaled.accuracy.tolist() == [1, 1, 1]
    assert scaled.gain.tolist() == [0, 1, 1]
    assert scaled.error.tolist() == [0, 0, 0]
    assert depth.reach(found, found.accuracy[:, 3]) == 2
    assert depth.reach(found, scaled.accuracy) == 4
    assert depth.generalization_ratio(found, 2) == 2.0


def test_a_chosen_loop_gains_nothing_from_noise():
    """Of guesses the best loop scores high on its own rows, and chance on others."""
    generator = np.random.default_rng(0)
    levels = np.repeat(np.arange(2, 12), 60)
    found = planted(generator.random((600, 24)) < CHANCE, levels)
    assert found.accuracy.max(axis=1).mean() > CHANCE + 0.06
    scaled = depth.scaled(found, 4)
    assert abs(scaled.accuracy.mean() - CHANCE) < 0.03
    assert abs(scaled.gain.mean()) < 0.03
    assert scaled.count.tolist() == [30] * 10
    assert not depth.above_chance(scaled, CHANCE).any()
    better = scaled._replace(accuracy=np.full(10, 0.41))  # 4.2 errors above chance
    assert depth.above_chance(better, CHANCE).all()


def test_nothing_answered_reaches_one_hop():
    found = planted(np.zeros((6, 3)), [2, 2, 2, 3, 3, 3])
    assert depth.reach(found, found.accuracy[:, 0]) == 1
    assert depth.generalization_ratio(found, 2) == 0.5


def test_overthinking_is_the_decline_from_the_peak():
    """Two hops peak at loop 2 and fall back to half; three hops rise to the end."""
    levels = np.repeat([2, 3], 10)
    fall, rise = [1.0, 4.0, 3.0, 2.0], [-3.0, -2.0, 1.0, 5.0]
    margin = np.array([fall] * 10 + [rise] * 10)
    found = depth.overthinking(planted(margin > 0, levels, margin))
    assert found.peak_loop.tolist() == [2, 4]
    assert found.peak.tolist() == [4, 5]
    assert found.drop.tolist() == [2, 0]
    assert found.index.tolist() == [0.5, 0]
    assert found.error.tolist() == [0, 0]


def test_a_margin_that_never_is_positive_has_no_overthinking_index():
    margin = np.full((6, 3), -1.0)
    found = depth.overthinking(planted(margin > 0, [2] * 6, margin))
    assert np.isnan(found.index).all()


def test_noise_is_no_overthinking():
    generator = np.random.default_rng(1)
    margin = generator.normal(1.0, 1.0, (400, 16))
    found = depth.overthinking(
        planted(margin > 0, np.repeat([2, 3, 4, 5], 100), margin)
    )
    assert (np.abs(found.drop) < 4 * found.error).all()


def test_loops_that_were_not_measured_are_refused(found):
    with pytest.raises(ValueError, match="1 to 5 loops were measured, got 6"):
        depth.scaled(found, 6)
