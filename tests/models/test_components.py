"""Injections, initial states, gates and scales at the start."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax.models import components, inits, recurrent
from rdt_jax.models.architecture import ModelConfig

B, T, D = 3, 5, 16
CONFIG = ModelConfig(
    vocab_size=11, max_length=T, width=D, num_heads=2, mlp_ratio=2, prelude_blocks=0,
    core_blocks=3, coda_blocks=0, position="none", output_init="normal",
    embedding_std=0.5, dtype="float32", remat="none", init_depth=50,
)  # fmt: skip
KEY = jax.random.key(0)


def test_the_diagonal_factor_is_below_one_by_construction():
    injection = components.INJECTIONS["diagonal"]
    params = injection.init(KEY, CONFIG)
    np.testing.assert_allclose(components.decay(params), 0.2**0.5, rtol=1e-5)
    np.testing.assert_array_equal(params["kernel"], np.eye(D))
    for value in (-6.0, -1.0, 0.0, 1.0, 2.0):
        wild = params | {"step": jnp.full(D, value), "log_rate": jnp.full(D, value)}
        factor = components.decay(wild)
        assert (factor > 0).all() and (factor < 1).all()


def test_a_gate_begins_nearly_shut():
    config = dataclasses.replace(CONFIG, residual="gated")
    params = components.init_gate(KEY, config)
    new, old = jnp.full((B, T, D), 1.0), jnp.zeros((B, T, D))
    mixed = components.keep(params, new, old)
    np.testing.assert_allclose(mixed, 1 / (1 + np.exp(2)), atol=0.05)
    assert components.init_gate(KEY, CONFIG) == {}


def test_a_random_initial_state_is_drawn_anew_or_from_key_0():
    draw = components.INITIAL_STATES["normal"]
    config = dataclasses.replace(CONFIG, initial_state_std=0.3, width=64)
    x = jnp.zeros((40, T, 64))
    one, other = (draw(jax.random.key(seed), x, config) for seed in (1, 2))
    assert np.std(one) == pytest.approx(0.3, rel=0.05)
    assert (one != other).mean() > 0.99
    assert (one[0] != one[1]).mean() > 0.99
    fixed = draw(None, x, config)
    np.testing.assert_array_equal(fixed[0], fixed[7])
    np.testing.assert_array_equal(fixed[:, :2], draw(None, x[:, :2], config))
    assert (fixed[0, 0] != fixed[0, 1]).all()
    assert draw(None, x.astype(jnp.bfloat16), config).dtype == jnp.bfloat16


@pytest.mark.parametrize("weight_init", ["gpt2", "huginn"])
def test_tables_and_states_of_huginn_end_at_three_deviations(weight_init):
    config = dataclasses.replace(
        CONFIG, weight_init=weight_init, vocab_size=4001, initial_state_std=0.3,
        position="learned", step_embedding="learned", step_table=999,
    )  # fmt: skip
    params = recurrent.init(KEY, config)
    x = jnp.zeros((400, T, D))
    state = components.INITIAL_STATES["normal"](KEY, x, config)
    drawn = [(state, 0.3), (params["embedding"], 0.5), (params["step"]["table"], 0.5)]
    for values, std in drawn:
        assert np.std(values) == pytest.approx(std, rel=0.03)
        assert (np.abs(values) > 3 * std).any() == (weight_init != "huginn")


@pytest.mark.parametrize(
    ("weight_init", "fan_in", "expected"),
    [
        ("gpt2", 999, 0.02),
        ("moeut", 200, (2 / 50 / 200) ** 0.5),
        ("huginn", 999, (2 / 5 / D) ** 0.5),
    ],
)
def test_matrices_start_at_the_scale_of_their_paper(weight_init, fan_in, expected):
    config = dataclasses.replace(CONFIG, weight_init=weight_init)
    drawn = np.asarray(inits.weight(config, fan_in)(KEY, (200, 100)))
    cut = 0.9866 if weight_init == "huginn" else 1.0  # Three deviations at most.
    assert drawn.std() == pytest.approx(expected * cut, rel=0.02)
    assert (np.abs(drawn) > 3 * expected).any() == (weight_init != "huginn")
    scales = {"zero": 0, "gpt2": 6**-0.5, "normal": 1, "depth": 0.1}
    for name, scale in scales.items():
        output = dataclasses.replace(config, output_init=name)
        drawn = np.asarray(inits.output(output, fan_in)(KEY, (200, 100)))
        assert drawn.std() == pytest.approx(expected * cut * scale, rel=0.02)


def test_a_scheme_without_its_depth_is_refused():
    config = dataclasses.replace(CONFIG, weight_init="moeut", init_depth=None)
    with pytest.raises(ValueError, match="weight_init moeut .* needs model.init_depth"):
        inits.weight(config, 3)


def test_more_loops_than_the_step_table_are_refused():
    config = dataclasses.replace(CONFIG, step_embedding="learned", step_table=3)
    run = lambda loops: jax.eval_shape(
        lambda key: recurrent.apply(
            recurrent.init(key, config),
            np.ones((B, T), np.int32), np.ones((B, 1), np.int32), config,
            num_loops=loops,
        ),
        KEY,
    )  # fmt: skip
    assert run(3).states.shape == (3, B, T, D)
    message = r"4 loops need .* larger model.step_table; the learned table has 3 loops"
    with pytest.raises(ValueError, match=message):
        run(4)


def test_an_unknown_component_is_refused():
    wrong = dataclasses.replace(CONFIG, injection="gate")
    message = "Unknown injection 'gate'; choose from add, concat, diagonal, none"
    with pytest.raises(ValueError, match=message):
        recurrent.init(KEY, wrong)
