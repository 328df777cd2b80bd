"""The recurrence against a Python loop, and its gradients against those by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax.models import loop

B, T, D, R = 3, 2, 5, 7
RANDOM = np.random.default_rng(0)
STATE = np.float32(RANDOM.standard_normal((B, T, D)))
WEIGHT = np.float32(RANDOM.standard_normal((D, D)) / 2)
READ = np.float32(RANDOM.standard_normal((B, T, D)))


def _core(weight):
    return lambda state, index: jnp.tanh(state @ weight + 0.1 * index)


def _by_hand(num_loops):
    """The states in float64, the initial one first."""
    states = [np.float64(STATE)]
    for index in range(num_loops):
        states.append(np.tanh(states[-1] @ WEIGHT + 0.1 * index))
    return states


def _run(weight, state, num_loops, depth=None, remat="none"):
    return loop.run_loops(
        _core(weight), state, num_loops=num_loops, backprop_depth=depth, remat=remat
    )[1]


@functools.cache
def _gradient(depth, remat="none"):
    def loss(weight, state):
        return (_run(weight, state, R, depth, remat)[-1] * READ).sum()

    return jax.jit(jax.grad(loss, argnums=(0, 1)))(WEIGHT, STATE)


@pytest.mark.parametrize("num_loops", [1, 2, R])
@pytest.mark.parametrize("depth", [1, None])
def test_the_loop_is_a_loop(num_loops, depth):
    run = jax.jit(_run, static_argnums=(2, 3))
    states = run(WEIGHT, STATE, num_loops, depth)
    assert states.shape == (num_loops, B, T, D)
    np.testing.assert_allclose(states, _by_hand(num_loops)[1:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("depth", [1, 2, R - 1, R, None])
def test_gradients_flow_through_the_last_loops_only(depth):
    states = _by_hand(R)
    carried, expected = np.float64(READ), np.zeros((D, D))
    for index in range(R - 1, R - 1 - (depth or R), -1):
        carried = carried * (1 - states[index + 1] ** 2)
        expected += np.einsum("btd,bte->de", states[index], carried)
        carried = carried @ WEIGHT.T
    weight_gradient, state_gradient = _gradient(depth)
    np.testing.assert_allclose(weight_gradient, expected, rtol=1e-4, atol=1e-6)
    if depth in (R, None):
        np.testing.assert_allclose(state_gradient, carried, rtol=1e-4, atol=1e-7)
        assert np.abs(carried).max() > 1e-4
    else:
        assert not np.asarray(state_gradient).any()


def test_the_states_before_the_cut_have_no_gradient():
    def loss(weight):
        return _run(weight, STATE, R, depth=3)[: R - 3].sum()

    assert not np.asarray(jax.jit(jax.grad(loss))(WEIGHT)).any()


@pytest.mark.parametrize("remat", loop.REMAT)
@pytest.mark.parametrize("depth", [3, None])
def test_recomputing_changes_no_gradient(remat, depth):
    for one, other in zip(_gradient(depth, remat), _gradient(depth), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_recomputing_keeps_less():
    def two_layers(state, index):
        hidden = jnp.tanh(state.reshape(B * T, D) @ WEIGHT) * jnp.cos(0.1 * index)
        return jnp.sin(jnp.tanh(hidden @ WEIGHT)).reshape(state.shape)

    def kept(remat):
        def pull_back(state):
            run = lambda s: loop.run_loops(
                two_layers, s, num_loops=R, backprop_depth=None, remat=remat
            )
            return jax.vjp(run, state)[1]

        return sum(
            leaf.size for leaf in jax.tree.leaves(jax.eval_shape(pull_back, STATE))
        )

    assert kept("none") > kept("dots") > kept("full") >= R * STATE.size


@pytest.mark.parametrize(("depth", "most"), [(None, 1), (2, 2)])
def test_tracing_does_not_grow_with_the_number_of_loops(depth, most):
    counts = []
    for num_loops in (5, 500):
        traced = []

        def core(state, index, traced=traced):
            traced.append(index)
            return state

        run = lambda s, core=core, n=num_loops: loop.run_loops(
            core, s, num_loops=n, backprop_depth=depth, remat="none"
        )
        jax.eval_shape(run, STATE)
        counts.append(len(traced))
    assert counts[0] == counts[1] <= most


@pytest.mark.parametrize("depth", [0, -1, R + 1])
def test_a_depth_outside_the_loops_is_refused(depth):
    message = rf"backprop_depth must be in \[1, num_loops = 7\], got {depth}\."
    with pytest.raises(ValueError, match=message):
        _run(WEIGHT, STATE, R, depth)


def test_no_loop_at_all_is_refused():
    with pytest.raises(ValueError, match=r"\[1, num_loops = 0\], got 0\."):
        _run(WEIGHT, STATE, 0)


def test_an_unknown_policy_is_refused():
    message = "Unknown remat policy 'some'; choose from dots, full, none"
    with pytest.raises(ValueError, match=message):
        _run(WEIGHT, STATE, R, remat="some")
