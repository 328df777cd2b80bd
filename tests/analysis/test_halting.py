import jax
import numpy as np
import pytest

from rdt_jax.analysis import halting
from rdt_jax.models import presets, recurrent
from tests.analysis import hops

M = hops.LOOPS


@pytest.fixture(scope="module")
def found():
    return halting.measure(hops.params(), hops.config(), hops.table(), num_loops=M)


def _names(found, index):
    thresholds = {
        "kl": ("kl",),
        "kl_now": ("kl",),
        "kl_entropy": ("kl", "entropy"),
        "state": ("change",),
        "confidence": ("probability",),
    }[str(found.rule[index])]
    values = (found.threshold[index], found.entropy[index])
    return dict(zip(thresholds, map(float, values), strict=False))


@pytest.mark.parametrize(
    "rule", ["kl_entropy", pytest.param("state", marks=pytest.mark.exhaustive)]
)
def test_rows_stop_as_a_model_that_stops_them_does(found, rule):
    """The setting of the rule that tells rows apart the most."""
    table, model = hops.table(), presets.model_config(hops.config(), hops.table())
    of_rule = np.flatnonzero(found.rule == rule)
    index = max(of_rule, key=lambda k: np.unique(found.loops[k]).size)
    assert np.unique(found.loops[index]).size > 1
    halted = jax.jit(
        lambda params: recurrent.apply_until_halted(
            params, table.tokens[found.row], table.answer_positions[found.row], model,
            rule=rule, thresholds=_names(found, index), min_loops=halting.MIN_LOOPS,
            max_loops=M,
        )
    )(hops.params())  # fmt: skip
    np.testing.assert_array_equal(found.loops[index], halted.loops)
    right = halted.logits[:, 0].argmax(-1) == table.targets[found.row, 0]
    np.testing.assert_array_equal(found.correct[index], right)


def test_fixed_loops_are_those_of_depth(found):
    whole = hops.measured()
    for loops in (1, 4):
        (index,) = np.flatnonzero(
            (found.rule == halting.FIXED) & (found.threshold == loops)
        )
        assert (found.loops[index] == loops).all()
        np.testing.assert_array_equal(found.correct[index], whole.correct[:, loops - 1])
        np.testing.assert_array_equal(found.flops[index], whole.flops[:, loops - 1])


def test_published_settings_are_among_those_tried(found):
    assert found.threshold[halting.published(found, "kl")] == 0.01
    both = halting.published(found, "kl_entropy")
    assert found.threshold[both] == 0.01
    assert found.entropy[both] == pytest.approx(3 * np.log(12) / np.log(217))
    with pytest.raises(ValueError, match="No setting of rule 'confidence'"):
        halting.published(found, "confidence")


def test_the_published_rules_differ_in_the_entropy_alone(found):
    """So no row may stop earlier where its output must be decided, too."""
    kl, both = (halting.published(found, rule) for rule in ("kl_now", "kl_entropy"))
    assert (found.loops[both] >= found.loops[kl]).all()
    assert (found.loops[both] > found.loops[kl]).any()


def planted(loops, right, hops_of_rows):
    """Settings that take the given loops [K, N], of rows that are right [N, M]."""
    loops, right = np.array(loops, np.int32), np.array(right, bool)
    levels = np.unique(hops_of_rows)
    return halting.assemble(
        rule=["kl"] * len(loops),
        thresholds=[(0.1 * k,) for k in range(len(loops))],
        row=np.arange(loops.shape[1]),
        hops=np.array(hops_of_rows),
        loops=loops,
        right=right,
        flops=np.outer(levels, np.arange(1, right.shape[1] + 1)),
    )


def test_a_row_counts_with_its_own_last_loop():
    right = [[0, 1, 0], [0, 1, 0], [0, 0, 1]]
    found = planted([[1, 2, 3], [2, 3, 3]], right, [2, 2, 5])
    assert found.correct.tolist() == [[False, True, True], [True, False, True]]
    assert found.accuracy.tolist() == [[0.5, 1.0], [0.5, 1.0]]
    assert found.mean_loops.tolist() == [[1.5, 3.0], [2.5, 3.0]]
    assert found.flops.tolist() == [[3.0, 15.0], [5.0, 15.0]]
    assert np.isnan(found.entropy).all()


def test_the_front_holds_what_nothing_beats():
    flops = np.array([5.0, 1.0, 3.0, 3.0, 9.0, 2.0, 9.0])
    accuracy = np.array([0.5, 0.2, 0.7, 0.6, 0.9, 0.2, 0.9])
    assert halting.pareto(flops, accuracy).tolist() == [1, 2, 4]


def test_summary_is_of_the_published_settings(found):
    both = halting.published(found, "kl_entropy")
    numbers = halting.summary(found)
    assert numbers["loops, kl_entropy"] == found.mean_loops[both].mean()
    assert numbers["accuracy, kl_entropy"] == found.accuracy[both].mean()
    assert set(numbers) == {
        f"{q}, {r}" for q in ("loops", "accuracy") for r in ("kl_now", "kl_entropy")
    }
