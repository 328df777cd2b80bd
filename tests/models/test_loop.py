"""The recurrence against a Python loop, and its gradients against those by hand."""

import functools
import tracemalloc

import jax
import jax.numpy as jnp
import ml_collections
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
            )[1]
            return jax.vjp(run, state)[1]

        return sum(
            leaf.size for leaf in jax.tree.leaves(jax.eval_shape(pull_back, STATE))
        )

    assert kept("none") > kept("dots") > kept("full") >= R * STATE.size


@pytest.mark.parametrize(("depth", "most"), [(None, 1), (2, 3)])
def test_tracing_does_not_grow_with_the_number_of_loops(depth, most):
    counts = []
    for num_loops in (9, 500):  # Up to four are written out.
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


@pytest.mark.parametrize(("loops", "depth"), [(R, 0), (R, -1), (R, R + 1), (0, 0)])
def test_a_depth_outside_the_loops_is_refused(loops, depth):
    message = rf"backprop_depth must be in \[1, num_loops = {loops}\], got {depth}\."
    with pytest.raises(ValueError, match=message):
        _run(WEIGHT, STATE, loops, depth)


def test_an_unknown_policy_is_refused():
    message = "Unknown remat policy 'some'; choose from dots, full, none"
    with pytest.raises(ValueError, match=message):
        _run(WEIGHT, STATE, R, remat="some")


# A state of several parts.


def _parts(weight, scale, mask, key):
    """A core on floats, a count and a nested accumulator, which draws noise."""

    def core(state, index):
        x, count, rest = state
        keep = jax.random.bernoulli(jax.random.fold_in(key, index), 0.8, x.shape)
        x = jnp.sin(jnp.tanh(x @ weight + 0.1 * index) * scale) * mask * keep
        held = rest["held"] * 0.9 + x[..., 0] * (1 + count)[:, None]
        return x, count + 1, {"held": held}

    return core


SCALE = np.float32(RANDOM.uniform(0.5, 2, (D,)))[None, None]
MASK = RANDOM.random((B, T, D)) < 0.9
PARTS = STATE, np.zeros(B, np.int32), {"held": STATE[..., 1]}


def _loss(weight, scale, x, key, num_loops, depth=None, remat="full", most=None):
    """Reads the last state and, with weights of its own, every state."""
    last, states = loop.run_loops(
        _parts(weight, scale, MASK, key),
        (x, *PARTS[1:]),
        num_loops=num_loops,
        backprop_depth=depth,
        remat=remat,
        max_loops=most,
    )
    each = jnp.cos(jnp.arange(most or num_loops) + 1.0)[:, None, None, None]
    loss = (last[0] * READ).sum() + last[2]["held"].sum() + (states[0] * each).sum()
    return loss, (last, states)


KEY = jax.random.key(5)
_TRACES = []


@functools.cache
def _drawn(depth):
    def loss(weight, scale, x, key, num_loops):
        _TRACES.append(depth)
        return _loss(weight, scale, x, key, num_loops, depth, most=R)

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))


@functools.cache
def _known(num_loops, depth):
    def loss(weight, scale, x, key):
        return _loss(weight, scale, x, key, num_loops, depth)

    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    return run(WEIGHT, SCALE, STATE, KEY)


@pytest.mark.parametrize("depth", [None, 1, 3])
@pytest.mark.parametrize("num_loops", [1, 3, R])
def test_a_drawn_count_is_the_fixed_program(num_loops, depth):
    (_, (last, states)), gradient = _drawn(depth)(
        WEIGHT, SCALE, STATE, KEY, jnp.int32(num_loops)
    )
    (_, (known_last, known_states)), known = _known(
        num_loops, depth and min(depth, num_loops)
    )
    for one, other in zip(
        jax.tree.leaves((last, states)),
        jax.tree.leaves((known_last, known_states)),
        strict=True,
    ):
        rows = num_loops if len(one) == R else len(one)
        np.testing.assert_array_equal(one[:rows], other)
        assert not np.asarray(one[rows:]).any()
    assert last[1].tolist() == [num_loops] * B
    for one, other in zip(gradient, known, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert np.abs(known[0]).max() > 0.1
    assert np.asarray(gradient[2]).any() == (depth is None or depth >= num_loops)


def test_all_counts_share_one_compilation():
    for num_loops in (1, 2, R):
        _drawn(3)(WEIGHT, SCALE, STATE, KEY, jnp.int32(num_loops))
    assert _TRACES.count(3) == 1
    assert _drawn(3)._cache_size() == 1


@pytest.mark.parametrize("map_inside", [True, False])
def test_a_drawn_count_under_vmap(map_inside):
    """Both orders: gradients of each trial, and the gradient of all trials' sum."""
    weights = np.stack([WEIGHT, 0.5 * WEIGHT])

    def loss(weight, num_loops):
        return _loss(weight, SCALE, STATE, KEY, num_loops, 3, most=R)[0]

    if map_inside:
        total = lambda w, n: jax.vmap(loss, (0, None))(w, n).sum()
        together = jax.jit(jax.grad(total))
    else:
        together = jax.jit(jax.vmap(jax.grad(loss), (0, None)))
    gradients = together(weights, jnp.int32(5))
    for weight, gradient in zip(weights, gradients, strict=True):
        alone = _drawn(3)(weight, SCALE, STATE, KEY, jnp.int32(5))[1][0]
        np.testing.assert_allclose(gradient, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize(("num_loops", "depth"), [(1, None), (4, None), (5, 2)])
def test_a_draw_costs_as_many_loops_as_it_says(num_loops, depth, lanes):
    calls = []

    def core(state, index):
        jax.debug.callback(lambda i: calls.append(int(i)), index)
        return jnp.tanh(state)

    def loss(x, num_loops):
        return loop.run_loops(
            core, x, num_loops=num_loops, backprop_depth=depth, remat="none",
            max_loops=R,
        )[0].sum()  # fmt: skip

    x = np.ones((lanes, B), np.float32)
    gradient = jax.jit(jax.vmap(jax.grad(loss), (0, None)))
    gradient(x, jnp.int32(num_loops)).block_until_ready()
    jax.effects_barrier()
    # The index is not mapped over, so that a call stands for all lanes.
    counted = np.bincount(calls, minlength=R)
    recomputed = np.arange(num_loops - 1)[-(depth or R) + 1 :] if depth != 1 else []
    expected = (np.arange(R) < num_loops).astype(int)
    expected[recomputed] += 1
    assert counted.tolist() == expected.tolist()


def test_a_drawn_count_is_refused_without_its_maximum():
    run = lambda n, most, depth=None: loop.run_loops(
        _core(WEIGHT), STATE, num_loops=n, backprop_depth=depth, remat="full",
        max_loops=most,
    )  # fmt: skip
    with pytest.raises(ValueError, match="traced num_loops needs max_loops, got None"):
        run(jnp.int32(2), None)
    with pytest.raises(ValueError, match="for a traced num_loops only, got 3 with num"):
        run(2, 3)
    message = r"backprop_depth must be in \[1, max_loops = 4\], got 5\."
    with pytest.raises(ValueError, match=message):
        run(jnp.int32(2), 4, 5)


# The draw.


def _section(sampling, **keys):
    names = ("mean_loops", "min_loops", "max_loops", "sigma")
    values = dict.fromkeys(names) | {"sampling": sampling, "num_loops": 5, "seed": 3}
    return ml_collections.ConfigDict(values | keys)


KOHLI = _section("poisson", mean_loops=4.0, min_loops=2, max_loops=8)
HUGINN = _section("lognormal_poisson", mean_loops=6.0, sigma=0.5, max_loops=20)
SECTIONS = {
    "fixed": _section("fixed"),
    "uniform": _section("uniform", min_loops=3, max_loops=7),
    "poisson": KOHLI,
    "lognormal_poisson": HUGINN,
}


def _sampled(name, size=200_000):
    """Counts drawn by numpy, one by one as the papers say."""
    random, section = np.random.default_rng(1), SECTIONS[name]
    if name == "fixed":
        return np.full(size, 5)
    if name == "uniform":
        return random.integers(3, 7, size, endpoint=True)
    if name == "poisson":
        return np.clip(random.poisson(4.0, size), 2, 8)
    tau = random.normal(np.log(6.0) - 0.5**2 / 2, 0.5, size)
    return np.minimum(random.poisson(np.exp(tau)) + 1, section.max_loops)


@pytest.mark.parametrize("name", loop.SAMPLINGS)
def test_the_distribution_is_that_of_the_recipe(name):
    probability = loop.loop_distribution(SECTIONS[name])
    assert probability.sum() == pytest.approx(1, abs=1e-12)
    assert (probability >= 0).all()
    sample = _sampled(name)
    counted = np.bincount(sample, minlength=probability.size) / sample.size
    error = np.sqrt(probability * (1 - probability) / sample.size)
    assert (np.abs(counted - probability) <= 4.5 * error).all()
    mean = loop.mean_loops(SECTIONS[name])
    assert mean == pytest.approx(sample.mean(), abs=5 * sample.std() / 400 + 1e-9)


def test_the_largest_fixed_count_takes_no_memory_to_speak_of():
    tracemalloc.start()
    assert loop.mean_loops(_section("fixed", num_loops=2**16)) == 2**16
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_the_published_distributions():
    probability = loop.loop_distribution(KOHLI)
    known = [0, 0, 0.238, 0.195, 0.195, 0.156, 0.104, 0.060, 0.051]
    np.testing.assert_allclose(probability, known, atol=6e-4)
    assert loop.mean_loops(KOHLI) == pytest.approx(4.08, abs=5e-3)
    wide = _section("lognormal_poisson", mean_loops=32.0, sigma=0.5, max_loops=400)
    probability = loop.loop_distribution(wide)
    assert loop.mean_loops(wide) == pytest.approx(33, abs=1e-3)
    assert np.searchsorted(np.cumsum(probability), 0.5) == 29  # The median,
    assert probability.argmax() == 23  # and the mode: 24 in the paper, 23 in samples.


@functools.cache
def _draws(name, size=4000):
    draw = lambda step: jnp.int32(loop.draw_loops(SECTIONS[name], step))
    return np.asarray(jax.jit(jax.vmap(draw))(jnp.arange(size)))


@pytest.mark.parametrize("name", loop.SAMPLINGS)
def test_draws_follow_the_distribution(name):
    draws, probability = _draws(name), loop.loop_distribution(SECTIONS[name])
    assert draws.dtype == np.int32
    counted = np.bincount(draws, minlength=probability.size) / draws.size
    assert counted.size == probability.size
    error = np.sqrt(probability * (1 - probability) / draws.size)
    assert (np.abs(counted - probability) <= 4.5 * error).all()
    assert not counted[probability == 0].any()


def test_a_draw_depends_on_the_seed_and_the_step_alone():
    draw = jax.jit(lambda step: loop.draw_loops(KOHLI, step))
    again = [int(draw(step)) for step in (7, 3, 7)]
    assert again == _draws("poisson")[[7, 3, 7]].tolist()
    other = ml_collections.ConfigDict(KOHLI.to_dict() | {"seed": 4})
    others = [int(loop.draw_loops(other, step)) for step in range(30)]
    assert others != _draws("poisson")[:30].tolist()
    assert np.abs(np.corrcoef(_draws("poisson")[1:], _draws("poisson")[:-1])[0, 1]) < (
        4 / 4000**0.5
    )


def test_a_fixed_count_stays_an_int():
    assert loop.draw_loops(SECTIONS["fixed"], jnp.int32(3)) == 5
    assert type(loop.draw_loops(SECTIONS["fixed"], jnp.int32(3))) is int


def test_an_unknown_sampling_is_refused():
    message = "Unknown sampling 'x'; choose from fixed, lognormal_poisson, poisson, uni"
    with pytest.raises(ValueError, match=message):
        loop.loop_distribution(_section("x"))
