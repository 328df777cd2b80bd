import jax
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax.analysis import depth, halting
from rdt_jax.models import presets, recurrent
from tests.analysis import hops
from tests.analysis.test_scaling import planted


@pytest.fixture(scope="module")
def found():
    return hops.measured()


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


@pytest.mark.exhaustive
def test_far_is_the_same_to_fifty_loops(found):
    far = depth.measure_far(hops.params(), hops.config(), hops.table())
    assert far.loops[-1] == 50
    np.testing.assert_allclose(far.margin[:, :5], found.margin, rtol=1e-4, atol=1e-4)


def test_rows_are_the_held_out_ones_of_every_number_of_hops(found):
    table = hops.table()
    assert found.levels.tolist() == [2, 3, 4, 5]
    assert set(found.row) == {*table.rows_of("id"), *table.rows_of("depth")}
    assert (table.tags["hops"][found.row] == found.hops).all()
    assert found.num_rows.sum() == found.row.size == np.unique(found.row).size


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


def test_a_model_that_is_another_one_in_longer_passes_is_refused(
    tiny_config, tiny_table
):
    config = configs.override(tiny_config, {"model.branch_scale": "pass_loops"})
    for module in (depth, halting):
        with pytest.raises(
            ValueError, match="must be none, loops or depth .*, got pas"
        ):
            module.measure({}, config, tiny_table)


def test_first_hit_counts_rows_that_are_ever_right():
    correct = [[0, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 0]]
    found = planted(correct, [2, 2, 2, 3])
    assert depth.first_hits(np.array(correct, bool)).tolist() == [2, 3, 0, 1]
    assert found.first_hit.tolist() == [2.5, 1.0]
    assert found.hit.tolist() == [2 / 3, 1.0]
    assert np.isnan(planted([[0, 0]], [2]).first_hit).all()


def test_summary_is_of_the_loop_that_is_best_for_all():
    found = planted([[1, 0, 1], [0, 1, 1], [0, 1, 0], [0, 1, 0]], [2, 2, 3, 3])
    assert depth.summary(found) == {
        "loops": 2.0, "accuracy, 2 hops": 0.5, "accuracy, 3 hops": 1.0,
    }  # fmt: skip
