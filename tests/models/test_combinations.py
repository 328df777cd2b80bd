"""Every preset and every pair of components: values, gradients and invariances.

In float64: values against the numpy oracle to 1e-10, the gradient against the oracle's
own slope, and what a model may not depend on. Models run one operation at a time, which
shares the compiled operations between them; test_recurrent.py compiles the presets.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax.models import attention, presets, recurrent
from tests.models import combinations, oracle

B, T, A = 5, 4, 2
LOSS = {"ponder": 0.3, "router_entropy_mlp": 0.2, "router_entropy_attention": 0.1}


ANSWERS = np.array([[1, 3], [1, 2], [0, 1], [1, 1], [0, 0]], np.int32)


def _tokens(vocab):
    """Five rows: full, as row 0 but for a late word, padded once, twice, wholly."""
    tokens = np.random.default_rng(1).integers(1, vocab, (B, T)).astype(np.int32)
    tokens[1] = tokens[0]
    tokens[1, 2] = tokens[1, 2] % (vocab - 1) + 1
    tokens[2, 3:] = 0
    tokens[3, 2:] = 0
    tokens[4] = 0
    return tokens


def _loss(outputs, weights):
    loss = (outputs.logits * weights).sum()
    loss += sum(LOSS[name] * value for name, value in outputs.penalties.items())
    return loss, outputs


def _case(index, tiny_config, tiny_table):
    preset, keys = combinations.CASES[index]
    config = combinations.make(tiny_config, keys, preset)
    model = dataclasses.replace(
        presets.model_config(config, tiny_table), max_length=T, dtype="float64"
    )
    shapes = combinations.shapes(model)
    random = np.random.default_rng(index)
    # Apart from zero and one, so that no parameter and no norm is idle.
    params = jax.tree.map(lambda x: 0.5 * random.standard_normal(x.shape), shapes)
    params["final_norm"]["scale"] = 1 + params["final_norm"]["scale"]
    return config.recurrence.num_loops, model, params


EXHAUSTIVE = [pytest.mark.exhaustive]


@pytest.mark.parametrize(
    "index",
    [
        pytest.param(
            index, id=name, marks=EXHAUSTIVE if name in ("row6", "row7") else []
        )
        for index, name in enumerate(combinations.NAMES)
    ],
)
def test_a_model_is_its_equations(index, tiny_config, tiny_table, monkeypatch):
    loops, model, params = _case(index, tiny_config, tiny_table)
    monkeypatch.setattr(attention, "SHORT", 0)  # Fewer operations to compile.
    tokens, answers = _tokens(model.vocab_size), ANSWERS
    weights = np.sin(np.arange(B * A * model.vocab_size)).reshape(B, A, -1)

    def loss(params, tokens):
        outputs = recurrent.apply(params, tokens, answers, model, num_loops=loops)
        return _loss(outputs, weights)

    other = tokens.copy()
    other[0] = np.roll(other[0], 1)  # Another row 0, and rows 2 and 3 swapped.
    other[[2, 3]] = other[[3, 2]]
    with jax.enable_x64(True):
        arrays = jax.tree.map(jnp.asarray, params)
        with jax.disable_jit():
            run = jax.value_and_grad(loss, has_aux=True)
            (_, outputs), gradient = run(arrays, jnp.asarray(tokens))
            _, moved = loss(arrays, jnp.asarray(other))
        outputs, gradient, moved = jax.device_get((outputs, gradient, moved))

    expected = oracle.run(params, tokens, answers, model, loops, False)
    for name in ("states", "logits"):
        ours, theirs = getattr(outputs, name), expected[name]
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)
    assert outputs.penalties.keys() == expected["penalties"].keys()
    for name, value in expected["penalties"].items():
        np.testing.assert_allclose(outputs.penalties[name], value, rtol=1e-10)
    for name in ("ponder", "halted"):
        assert (name in outputs.statistics) == (model.halting == "act")
        if name in expected:
            np.testing.assert_allclose(
                outputs.statistics[name], expected[name], rtol=1e-6
            )
    if "used_mlp" in expected:
        np.testing.assert_allclose(
            outputs.statistics["router_used_mlp"], expected["used_mlp"], rtol=1e-6
        )
    for value in outputs.statistics.values():
        assert (value.shape, value.dtype) == ((loops, B), np.float32)

    # The slope along a random direction, by the oracle's central difference.
    random = np.random.default_rng(2)
    along = jax.tree.map(lambda x: random.standard_normal(x.shape), params)
    slope = sum(
        (g * d).sum()
        for g, d in zip(*map(jax.tree.leaves, (gradient, along)), strict=True)
    )
    ends = []
    for sign in (1, -1):
        step = lambda p, d, sign=sign: p + sign * 1e-6 * d
        shifted = jax.tree.map(step, params, along)
        found = oracle.run(shifted, tokens, answers, model, loops, False)
        ends.append(
            (found["logits"] * weights).sum()
            + sum(LOSS[name] * value for name, value in found["penalties"].items())
        )
    assert np.isfinite(slope)
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-5)
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()

    # Causality: rows 0 and 1 differ at place 2 only. The answer is read after it.
    states = outputs.states
    np.testing.assert_array_equal(states[:, 0, :2], states[:, 1, :2])
    assert (np.abs(states[:, 0, 2:] - states[:, 1, 2:]).max((0, 2)) > 1e-6).all()
    # Rows do not see each other, wherever they stand.
    np.testing.assert_allclose(states[:, [1, 4]], moved.states[:, [1, 4]], rtol=1e-12)
    np.testing.assert_allclose(states[:, [2, 3]], moved.states[:, [3, 2]], rtol=1e-12)
    assert np.abs(states[:, 0] - moved.states[:, 0]).max() > 1e-6
    # Padding: the two words of row 3 alone.
    short = oracle.run(params, tokens[3:4, :2], answers[3:4], model, loops)
    np.testing.assert_allclose(
        outputs.logits[3:4], short["logits"], rtol=1e-10, atol=1e-10
    )
    np.testing.assert_allclose(
        states[:, 3:4, :2], short["states"], rtol=1e-10, atol=1e-10
    )


def test_every_pair_of_components_stands_in_some_row():
    found = set().union(*(combinations.pairs_of(row) for row in combinations.ROWS))
    assert found >= combinations.required_pairs()
    each = {
        (key, value) for key, values in combinations.FACTORS.items() for value in values
    }
    for scale in ("none", "loops"):
        rows = [row for row in combinations.ROWS if row["branch_scale"] == scale]
        assert each <= set().union(*(row.items() for row in rows))
    # Nothing is left out but what a problem explains.
    total = sum(
        len(combinations.FACTORS[one]) * len(combinations.FACTORS[other])
        for one in combinations.FACTORS
        for other in combinations.FACTORS
        if one < other
    )
    assert total - len(combinations.required_pairs()) == 2


@pytest.mark.parametrize("state", ["zeros", "normal"])
def test_an_invalid_pair_says_why(tiny_config, state):
    keys = {"model.preset": "custom", "model.initial_state": state}
    (found,) = presets.problems(configs.override(tiny_config, keys))
    assert found == (
        f"model.injection none with model.initial_state {state} hides the tokens "
        "from the core; choose injection add, concat or diagonal, or initial_state "
        "embedding."
    )
