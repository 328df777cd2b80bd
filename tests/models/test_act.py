"""Halting per position, by hand on a state of one number."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax.models import act

CONFIG = types.SimpleNamespace(halting_threshold=0.99)


def _run(chances, states, bias=0.0):
    """Runs loops whose halting chance and new state are given, [R][B][T] each."""
    params = {"kernel": jnp.ones((1, 1)), "bias": jnp.full(1, bias)}
    chances, states = np.float64(chances), np.float32(states)
    halting, every = act.start(jnp.zeros((*chances.shape[1:], 1))), []
    for p, state in zip(chances, states, strict=True):
        entered = np.float32(np.log(p / (1 - p)))[..., None]
        halting = act.advance(
            params, halting, jnp.asarray(entered), jnp.asarray(state)[..., None], CONFIG
        )
        every.append(halting)
    return jax.tree.map(lambda *x: jnp.stack(x), *every)


# Position 0 spends .3, .5, then the .2 that is left; position 1 halts at once; position
# 2 does not halt.
CHANCES = np.array(
    [[[0.3, 0.995, 0.1]], [[0.5, 0.5, 0.2]], [[0.4, 0.5, 0.3]], [[0.9, 0.9, 0.1]]]
)
STATES = np.array(
    [
        [[1.0, 10.0, 100.0]],
        [[2.0, 20.0, 200.0]],
        [[3.0, 30.0, 300.0]],
        [[4.0, 40.0, 400.0]],
    ]
)


def test_probability_is_spent_until_nothing_is_left():
    halting = _run(CHANCES, STATES)
    np.testing.assert_allclose(
        halting.updates[:, 0], [[1, 1, 1], [2, 1, 2], [3, 1, 3], [3, 1, 4]]
    )
    np.testing.assert_allclose(
        halting.remainder[:, 0],
        [[0, 1, 0], [0, 1, 0], [0.2, 1, 0], [0.2, 1, 0]],
        atol=1e-6,
    )
    np.testing.assert_allclose(
        halting.probability[:, 0],
        [[0.3, 1, 0.1], [0.8, 1, 0.3], [1, 1, 0.6], [1, 1, 0.7]],
        rtol=1e-6,
    )


def test_the_output_is_interpolated_and_then_stays():
    output = _run(CHANCES, STATES).output[:, 0, :, 0]
    first = 0.3 * 1
    second = 0.5 * 2 + 0.5 * first
    third = 0.2 * 3 + 0.8 * second
    np.testing.assert_allclose(output[:, 0], [first, second, third, third], rtol=1e-6)
    np.testing.assert_array_equal(output[:, 1], 10.0)
    np.testing.assert_array_equal(output[2, :2], output[3, :2])


def test_what_halted_stays_so_whatever_rounding_left():
    chances = np.random.default_rng(0).uniform(0.01, 0.9, (40, 3, 11))
    halting = _run(chances, np.zeros_like(chances))
    halted = np.asarray(halting.remainder > 0)
    assert halted[-1].all()
    assert (halted[1:] >= halted[:-1]).all()
    for leaf in (halting.updates, halting.remainder, halting.probability):
        np.testing.assert_array_equal(leaf[1:][halted[:-1]], leaf[:-1][halted[:-1]])
    assert (np.asarray(halting.probability)[halted] == 1).all()


@pytest.mark.parametrize("bias", [1.0, -3.0])
def test_the_ponder_cost_moves_the_halting_unit(bias):
    key = jax.random.key(1)
    states = jax.random.normal(key, (30, 2, 5, 3))
    config = types.SimpleNamespace(halting_threshold=0.99, width=3, halting_bias=bias)
    params = act.init(jax.random.key(0), config)

    def ponder(params):
        halting, _ = jax.lax.scan(
            lambda h, s: (act.advance(params, h, s, s, config), None),
            act.start(states[0]), states,
        )  # fmt: skip
        return act.penalties(halting, jnp.ones((2, 5), bool))["ponder"]

    cost, gradient = jax.jit(jax.value_and_grad(ponder))(params)
    assert 2 < cost < 30
    assert np.abs(gradient["kernel"]).max() > 1e-3
    assert gradient["bias"][0] < -1e-3  # More is spent before, so less remains.


def test_positions_that_do_not_count_cost_nothing():
    halting = jax.tree.map(lambda x: x[-1], _run(CHANCES, STATES))
    cost = act.penalties(halting, jnp.array([[True, True, False]]))["ponder"]
    assert cost == pytest.approx((3.2 + 2) / 2)
    assert act.penalties(halting, jnp.zeros((1, 3), bool))["ponder"] == 0


def test_statistics_say_who_halted_when():
    found = act.statistics(_run(CHANCES, STATES), jnp.ones((1, 3), bool))
    share = lambda *values: pytest.approx(np.array(values) / 3)
    assert found["halted"][:, 0] == share(1, 1, 2, 2)
    assert found["halted_at_1"][:, 0] == share(1, 1, 1, 1)
    assert found["halted_at_2"][:, 0] == share(0, 0, 0, 0)
    assert found["halted_at_3_to_4"][:, 0] == share(0, 0, 1, 1)
    assert found["ponder"][:, 0] == share(
        1 + 2 + 1, 2 + 2 + 2, 3.2 + 2 + 3, 3.2 + 2 + 4
    )
    assert not found["halting_collapse"].any()
    bins = [value for name, value in found.items() if name.startswith("halted_at")]
    np.testing.assert_allclose(sum(bins), found["halted"], rtol=1e-6)


@pytest.mark.parametrize(
    ("chance", "halted", "collapsed"), [(0.999, 1, 1), (1e-4, 0, 1), (0.4, 1, 0)]
)
def test_collapsed_halting_raises_the_alarm(chance, halted, collapsed):
    chances = np.full((5, 2, 3), chance)
    found = act.statistics(_run(chances, chances), jnp.ones((2, 3), bool))
    np.testing.assert_array_equal(found["halted"][-1], halted)
    np.testing.assert_array_equal(found["halting_collapse"][-1], collapsed)
