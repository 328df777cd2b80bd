"""The loop's Jacobian against the dense one; states and gradients against `apply`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.analysis import stability
from rdt_jax.models import presets, recurrent
from tests.analysis import modular

ROWS, TRAINED, FACTOR = 3, 2, 2


@pytest.fixture(scope="module")
def config():
    return modular.config(5, 4, model__mlp_ratio=1, recurrence__num_loops=TRAINED)


@pytest.fixture(scope="module")
def model(config):
    return presets.model_config(config, tasks.make_table(config))


@pytest.fixture(scope="module")
def params(config):
    return modular.params(config, seed=1)


@pytest.fixture(scope="module")
def measured(params, config):
    table = tasks.make_table(config)
    return stability.measure(params, config, table, rows=ROWS, steps=16, factor=FACTOR)


@pytest.fixture(scope="module")
def rows(config):
    table = tasks.make_table(config)
    chosen = np.random.default_rng(0).permutation(table.rows_of("train"))[:ROWS]
    return tuple(
        x[chosen] for x in (table.tokens, table.answer_positions, table.targets)
    )


def test_the_radius_is_that_of_the_dense_jacobian(params, model, rows, measured):
    tokens, positions, _ = rows
    apply = functools.partial(recurrent.apply, config=model)

    def radius(token, position):
        """Of d state 3 / d state 2, with the states as a chain of one-loop passes."""
        counted = recurrent.counted_positions(token[None], position[None])
        core, first, _ = recurrent.recurrence(
            params, token[None], counted, model, None, None
        )
        state = apply(params, token[None], position[None], num_loops=TRAINED).states[-1]
        onward = lambda x: core(first._replace(state=x), jnp.int32(TRAINED)).state
        return jax.jacfwd(onward)(state).reshape(state.size, state.size)

    dense = jax.jit(jax.vmap(radius))(jnp.asarray(tokens), jnp.asarray(positions))
    expected = np.abs(np.linalg.eigvals(np.asarray(dense, np.float64))).max(axis=-1)
    np.testing.assert_allclose(measured.spectral_radius, expected, rtol=1e-3)
    assert np.ptp(expected) > 0.01  # Rows differ.


def test_states_and_gradients_are_those_of_longer_passes(params, model, rows, measured):
    tokens, positions, targets = rows
    assert measured.loops.tolist() == [1, 2, 3, 4]

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def run(params):
        outputs = recurrent.apply(params, tokens, positions, model, num_loops=4)
        log_probs = jax.nn.log_softmax(outputs.logits[:, 0])
        loss = -log_probs[np.arange(ROWS), targets[:, 0]].mean()
        return loss, outputs.states

    gradient, states = jax.device_get(run(params))
    states = states.astype(np.float64)  # [4, N, T, D]
    size = states[0, 0].size
    for loop in range(4):
        expected = np.sqrt((states[loop] ** 2).reshape(ROWS, -1).mean(-1))
        np.testing.assert_allclose(measured.state_norm[loop], expected, rtol=1e-4)
        if loop:
            moved = (states[loop] - states[loop - 1]).reshape(ROWS, size)
            before = states[loop - 1].reshape(ROWS, size)
            np.testing.assert_allclose(
                measured.distance[loop],
                np.linalg.norm(moved, axis=1) / np.linalg.norm(before, axis=1),
                rtol=1e-4,
            )
    total = sum(float((x**2).sum()) for x in jax.tree.leaves(gradient))
    assert measured.gradient_norm[3] == pytest.approx(total**0.5, rel=1e-4)
    assert np.ptp(measured.gradient_norm) > 0.01 * total**0.5  # Loops differ.


def test_a_loop_that_changes_nothing_is_at_its_fixed_point(params, config):
    """Blocks without outputs leave the state as it is: the Jacobian is the identity."""
    block = params["core"][0]
    silent = lambda layer: (
        layer | {"output": jax.tree.map(jnp.zeros_like, layer["output"])}
    )
    block = block | {name: silent(block[name]) for name in ("attention", "mlp")}
    found = stability.measure(
        params | {"core": [block]}, config, tasks.make_table(config),
        rows=ROWS, steps=16, factor=FACTOR,
    )  # fmt: skip
    np.testing.assert_allclose(found.spectral_radius, 1, rtol=1e-5)
    np.testing.assert_array_equal(found.distance, 0)
    np.testing.assert_allclose(np.ptp(found.state_norm, axis=0), 0, atol=1e-6)


def test_more_loops_than_a_learned_step_table_knows(params, config, model):
    config = configs.override(
        config, {"model.step_embedding": "learned", "model.step_table": 3}
    )
    table = tasks.make_table(config)
    model = presets.model_config(config, table)
    stepped = jax.eval_shape(lambda key: recurrent.init(key, model), jax.random.key(0))
    stepped = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), stepped)
    with pytest.raises(ValueError, match="4 loops need model.step_embedding"):
        stability.measure(stepped, config, table, rows=2, factor=FACTOR)


def test_a_factor_of_the_length_of_the_pass_is_refused(params, config):
    config = configs.override(config, {"model.branch_scale": "pass_loops"})
    with pytest.raises(ValueError, match="must be none, loops or depth .*, got pass_"):
        stability.measure(params, config, tasks.make_table(config), rows=2)
