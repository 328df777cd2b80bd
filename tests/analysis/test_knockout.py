"""Cutting an edge takes away what a head that was made by hand is known to carry."""

import dataclasses

import jax
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax.analysis import knockout, questions
from rdt_jax.models import presets, trace
from tests.analysis import planted

TRAIN, ID, OOD = range(3)
IDLE, CARRIES = range(2)


@pytest.fixture(scope="module")
def circuit(root):
    """The planted circuit, carried by the second head of two; the first says naught."""
    params, config, table = planted.make(root)
    width = config.model.width
    keys = {"model.num_heads": 2, "model.head_width": width}

    def beside_nothing(dense, parts, axis):
        """Puts zeros for the first head before each of the parts of an axis."""
        found = {}
        for name, values in dense.items():
            own = values.ndim - 1 if name == "bias" else axis
            split = np.split(values, parts, axis=own)
            pairs = [x for each in split for x in (0 * each, each)]
            found[name] = np.concatenate(pairs, axis=own)
        return found

    attention = params["core"][0]["attention"]
    params["core"][0]["attention"] = {
        "query_key": beside_nothing(attention["query_key"], 2, 1),
        "value": beside_nothing(attention["value"], 1, 1),
        "output": attention["output"]
        | {"kernel": np.concatenate(2 * [attention["output"]["kernel"]])},
    }
    return params, configs.override(config, keys), table


@pytest.fixture(scope="module")
def found(circuit):
    return knockout.measure(*circuit, per_group=5, batch_size=4)


def test_each_hop_is_lost_in_its_loop_and_head_alone(found):
    first, second = knockout.hops(found)
    assert (found.query[first], found.key[first]) == (1, 0)
    assert (found.query[second], found.key[second]) == (2, 1)
    assert found.head.shape == (3, 2, 2, 3) and found.loop.tolist() == [1, 2]
    expected = np.zeros((2, 2, 3))  # By block, head, edge.
    expected[0, CARRIES, first] = expected[1, CARRIES, second] = 1
    for group in (TRAIN, ID, OOD):
        np.testing.assert_array_equal(found.head[group], expected)
        np.testing.assert_array_equal(found.in_loop[group], expected[:, CARRIES])
        np.testing.assert_array_equal(found.in_others[group], expected[::-1, CARRIES])
    assert found.rows.tolist() == [5, 5, 5] and (found.accuracy == 1).all()


def test_its_summary_is_of_both_hops(found):
    summary = knockout.summarize(found)
    assert len(summary) == 12 and set(summary.values()) == {1}
    less = found._replace(in_loop=0.25 * found.in_loop)
    assert knockout.summarize(less)["answer to r1 cut in a loop, ood"] == 0.25


def test_a_question_that_is_not_answered_does_not_count(circuit):
    params, config, table = circuit
    facts = np.argwhere(questions.facts(table) >= 0)
    is_known = ~planted.ood_facts(table)[tuple(facts.T)]
    mlp = params["core"][0]["mlp"]
    write = {"kernel": mlp["output"]["kernel"] * is_known[:, None]}
    block = params["core"][0] | {"mlp": mlp | {"output": mlp["output"] | write}}
    forgets = params | {"core": [block]}
    found = knockout.measure(forgets, config, table, per_group=5, batch_size=4)
    assert found.rows.tolist() == [5, 5, 0] and found.accuracy.tolist() == [1, 1, 0]
    assert np.isnan(found.head[OOD]).all() and np.isnan(found.in_loop[OOD]).all()
    assert (found.in_loop[ID].max(axis=0)[[*knockout.hops(found)]] == 1).all()


@pytest.mark.parametrize(
    "length",  # as attend_short does it, and attend_long
    [3, pytest.param(6, marks=pytest.mark.exhaustive)],
)
def test_weight_that_is_cut_goes_to_the_other_keys_in_proportion(circuit, length):
    params, config, table = circuit
    params = jax.tree.map(lambda x: 0.02 * x, params)  # Attention all over.
    model = dataclasses.replace(presets.model_config(config, table), max_length=6)
    tokens = np.tile(questions.sample(table, 4).tokens[:4], 2)[:, :length]
    params["position"] = np.resize(params["position"], (6, model.width))
    kept = np.ones((2, 2, length, length), bool)
    kept[1, CARRIES, 2, 1] = kept[0, IDLE, 1, :2] = False
    run = jax.jit(
        lambda kept: (
            trace.trace(
                params, tokens, np.full((4, 1), 2), model, num_loops=2, kept=kept
            ).attention
        )
    )
    whole, cut = (np.asarray(run(each)) for each in (np.ones_like(kept), kept))
    expected = whole.copy()
    expected[1, :, CARRIES, 2, 1] = 0
    expected[1, :, CARRIES, 2] /= expected[1, :, CARRIES, 2].sum(-1, keepdims=True)
    expected[0, :, IDLE, 1] = 0  # Of no key at all: nothing.
    np.testing.assert_allclose(cut[0], expected[0], atol=1e-6)
    np.testing.assert_allclose(
        cut[1, :, CARRIES, 2], expected[1, :, CARRIES, 2], atol=0.02
    )
    assert (whole[1, :, CARRIES, 2, 1] > 0.1).all()
