"""The whole model: loops, dropout, halting and parameters; every preset compiled.

What it computes and what it may not depend on: test_combinations.py, by the oracle.
"""

import dataclasses
import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax.models import attention, halting, layers, recurrent
from rdt_jax.models.architecture import ModelConfig
from tests.models import combinations, oracle

# Distinct sizes, so that a swapped axis cannot pass by coincidence.
DIMS = chex.Dimensions(B=5, T=3, V=23, D=22, R=7, A=2)
CONFIG = ModelConfig(
    vocab_size=DIMS.V,
    max_length=11,
    width=DIMS.D,
    num_heads=2,
    mlp_ratio=3,
    prelude_blocks=0,
    core_blocks=1,
    coda_blocks=0,
    position="learned",
    output_init="normal",
    embedding_std=0.5,
    dtype="float32",
    remat="none",
)
STAGES = dataclasses.replace(CONFIG, prelude_blocks=1, core_blocks=2, coda_blocks=1)
TOKENS = np.random.default_rng(0).integers(1, DIMS.V, DIMS["BT"]).astype(np.int32)
ANSWERS = np.array([[2, 1], [2, 0], [1, 1], [0, 2], [2, 2]], np.int32)
WEIGHT = np.sin(np.arange(np.prod(DIMS["BAV"]))).reshape(DIMS["BAV"])

_apply = jax.jit(
    recurrent.apply, static_argnames=("config", "num_loops", "backprop_depth")
)
_readout = jax.jit(recurrent.readout, static_argnames="config")


_shapes = combinations.shapes
_params = functools.partial(combinations.draw, seed=1, scale=0.3)


def _init(seed, config):
    key = jax.random.key(seed, impl="rbg")  # Compiles faster.
    return jax.jit(recurrent.init, static_argnums=1)(key, config)


def _run(config=CONFIG, tokens=TOKENS, answers=ANSWERS, num_loops=3, **options):
    return _apply(
        _params(config), tokens, answers, config, num_loops=num_loops, **options
    )


@pytest.mark.parametrize("depth", [1, None])
def test_a_gradient_reaches_the_embedding_of_positions_through_all_loops_only(depth):
    def loss(params):
        outputs = recurrent.apply(
            params, TOKENS, ANSWERS, CONFIG, num_loops=2, backprop_depth=depth
        )
        return (outputs.logits * WEIGHT).sum()

    gradient = jax.jit(jax.grad(loss))(_params(CONFIG))
    assert np.asarray(gradient["position"]).any() == (depth is None)
    assert np.abs(gradient["core"][0]["mlp"]["input"]["kernel"]).max() > 1e-2


def test_with_zero_output_init_every_loop_is_the_identity():
    params = _init(3, dataclasses.replace(CONFIG, output_init="zero"))
    one, many = (
        _apply(params, TOKENS, ANSWERS, CONFIG, num_loops=n) for n in (3, DIMS.R)
    )
    embedded = params["embedding"][TOKENS] + params["position"][None, : DIMS.T]
    for state in (*one.states, *many.states):
        np.testing.assert_array_equal(state, embedded)
    np.testing.assert_array_equal(one.logits, many.logits)
    assert np.abs(one.logits).max() > 0.1


@pytest.mark.exhaustive
def test_a_drawn_number_of_loops_is_the_fixed_model(num_loops=3):
    noise = _noise(6, rate=0.3)

    def loss(params, count, most):
        outputs = recurrent.apply(
            params, TOKENS, ANSWERS, CONFIG, num_loops=count, max_loops=most, rngs=noise
        )
        return (outputs.logits * WEIGHT).sum(), outputs

    run = jax.grad(loss, has_aux=True)
    known = jax.jit(lambda params: run(params, num_loops, None))(_params(CONFIG))
    drawn = jax.jit(lambda params, count: run(params, count, 4))(
        _params(CONFIG), jnp.int32(num_loops)
    )
    chex.assert_trees_all_close(drawn[0], known[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(drawn[1].logits, known[1].logits, rtol=1e-5, atol=1e-5)
    assert drawn[1].states.shape[0] == 4
    assert np.abs(known[0]["embedding"]).max() > 1e-2


@pytest.mark.parametrize(
    ("rule", "thresholds"), [("kl", {"kl": 0.016}), ("state", {"change": 0.44})]
)
def test_a_row_halts_with_the_logits_of_its_own_loop(rule, thresholds):
    states = _run(STAGES, num_loops=DIMS.R).states
    logits = [_readout(_params(STAGES), s, TOKENS, ANSWERS, STAGES) for s in states]
    views = [
        halting.View(jax.nn.log_softmax(read), attention.take_positions(s, ANSWERS))
        for read, s in zip(logits, states, strict=True)
    ]
    holds = halting.RULES[rule].holds
    settled = np.stack(
        [
            holds(now, before, **thresholds).all(-1)
            for before, now in itertools.pairwise(views)
        ]
    )  # [R - 1, B], from loop 2 on
    expected = np.where(settled.any(0), settled.argmax(0) + 2, DIMS.R)
    halted = jax.jit(
        lambda params: recurrent.apply_until_halted(
            params, TOKENS, ANSWERS, STAGES, rule=rule, thresholds=thresholds,
            min_loops=2, max_loops=DIMS.R,
        )
    )(_params(STAGES))  # fmt: skip
    assert halted.loops.tolist() == expected.tolist()
    assert halted.executed == expected.max() > expected.min()
    own = np.stack(logits)[expected - 1, np.arange(DIMS.B)]
    np.testing.assert_allclose(halted.logits, own, rtol=1e-4, atol=1e-4)


# Dropout.


def _noise(seed, rate=0.5, embedding_rate=0.0):
    return layers.Noise(
        jax.random.key(seed), jnp.float32(rate), jnp.float32(embedding_rate)
    )


def _run_noisy(params, noise):
    return _apply(params, TOKENS, ANSWERS, STAGES, num_loops=DIMS.R, rngs=noise)


def test_dropout_at_rate_zero_is_no_dropout():
    without = _run(STAGES, num_loops=DIMS.R)
    noisy = _run_noisy(_params(STAGES), _noise(0, rate=0.0))
    chex.assert_trees_all_close(noisy, without, rtol=1e-4, atol=1e-4)


def test_every_loop_and_block_draws_its_own_dropout():
    # Each block adds a constant of its own and reads nothing: what a loop adds shows
    # which of it was dropped.
    params = jax.tree.map(np.zeros_like, _params(STAGES))
    params["prelude"][0]["mlp"]["output"]["bias"][:] = 50.0
    params["core"][0]["mlp"]["output"]["bias"][:] = 1.0
    params["core"][1]["mlp"]["output"]["bias"][:] = 10.0
    states = np.asarray(_run_noisy(params, _noise(1)).states)
    added = np.diff(states, axis=0, prepend=0)  # 0, 2, 20 or 22, and once 100
    prelude, added = added[0] >= 100, added % 100
    masks = [*(added % 20 == 2), *(added >= 20), prelude]
    drawn = np.stack(masks).reshape(2 * DIMS.R + 1, -1)
    agree = (drawn[:, None] == drawn[None]).mean(axis=-1)
    np.fill_diagonal(agree, 0.5)
    np.testing.assert_allclose(agree, 0.5, atol=4.5 * 0.5 / drawn.shape[1] ** 0.5)
    np.testing.assert_array_equal(_run_noisy(params, _noise(1)).states, states)
    assert (_run_noisy(params, _noise(2)).states != states).any()


def test_embedding_dropout_drops_the_embedding_alone():
    params = jax.tree.map(np.zeros_like, _params(STAGES))
    params["embedding"][:] = 3.0
    outputs = _run_noisy(params, _noise(3, rate=0.0, embedding_rate=0.25))
    state = np.asarray(outputs.states[-1])
    np.testing.assert_allclose(sorted(set(state.ravel().tolist())), [0, 4], rtol=1e-6)
    error = (0.25 * 0.75 / state.size) ** 0.5
    assert (state == 0).mean() == pytest.approx(0.25, abs=4 * error)
    np.testing.assert_array_equal(outputs.states[0], state)  # Once, before the loops.


def test_the_coda_has_dropout():
    params = jax.tree.map(np.zeros_like, _params(STAGES))
    params["embedding"][:] = np.arange(DIMS.V * DIMS.D).reshape(DIMS["VD"]) % 7
    params["final_norm"]["scale"][:] = 1.0
    params["coda"][0]["mlp"]["output"]["bias"][:] = np.arange(DIMS.D)
    one, other = (_run_noisy(params, _noise(seed)) for seed in (4, 5))
    np.testing.assert_array_equal(one.states, other.states)
    assert (one.logits != other.logits).any(axis=-1).all()


# Every preset.

SMALL = dataclasses.replace(
    CONFIG, head_width=6, mlp_width=13, num_experts=7, expert_width=5,
    experts_per_token=2, attention_experts=5, step_table=64, layer_scale=0.5,
    halting_bias=-1.0, init_depth=8, rope_fraction=0.5,
)  # fmt: skip
PRESETS = {
    name: dataclasses.replace(SMALL, **keys)
    for name, keys in combinations.PRESETS.items()
}
LOOPED = [
    "huginn",
    *(
        pytest.param(name, marks=pytest.mark.exhaustive)
        for name in sorted(set(PRESETS) - {"rdt", "feedforward", "huginn"})
    ),
]


@pytest.mark.parametrize("name", LOOPED)
def test_64_loops_have_finite_gradients_and_begin_as_3_loops_do(name):
    config = dataclasses.replace(PRESETS[name], core_blocks=1)
    tokens = TOKENS.copy()
    tokens[1, 1:], tokens[2] = 0, 0

    def loss(params):
        outputs = recurrent.apply(params, tokens, ANSWERS, config, num_loops=64)
        return (outputs.logits * WEIGHT).sum() + sum(
            outputs.penalties.values()
        ), outputs

    params = _init(7, config)
    gradient, many = jax.jit(jax.grad(loss, has_aux=True))(params)
    chex.assert_tree_all_finite((gradient, many))
    assert np.abs(gradient["embedding"]).max() > 1e-4
    few = _apply(params, tokens, ANSWERS, config, num_loops=3)
    if config.initial_state != "normal":  # Drawn with as many digits as the model has.
        expected = oracle.run(params, tokens, ANSWERS, config, 3)
        for key in ("states", "logits"):
            ours = getattr(few, key)
            np.testing.assert_allclose(ours, expected[key], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(many.states[:3], few.states, rtol=1e-4, atol=1e-5)
    for key, value in few.statistics.items():
        np.testing.assert_allclose(
            many.statistics[key][:3], value, rtol=1e-4, atol=1e-5
        )
    read = _readout(params, many.states[2], tokens, ANSWERS, config)
    np.testing.assert_allclose(read, few.logits, rtol=1e-4, atol=1e-4)
    if name == "universal":
        assert (np.diff(many.statistics["halted"], axis=0) >= 0).all()
        assert (many.statistics["halted"][-1] == 1).all()  # Rows with no word as well.


@pytest.mark.parametrize("name", PRESETS)
def test_low_precision_stays_in_the_blocks(name):
    config = dataclasses.replace(PRESETS[name], dtype="bfloat16")

    def loss(params):
        outputs = recurrent.apply(params, TOKENS, ANSWERS, config, num_loops=3)
        return outputs.logits.sum() + sum(outputs.penalties.values()), outputs

    shapes = _shapes(config)
    gradient, outputs = jax.eval_shape(jax.grad(loss, has_aux=True), shapes)
    assert outputs.logits.shape == DIMS["BAV"]
    assert outputs.states.shape == (3, *DIMS["BTD"])
    assert outputs.states.dtype == jnp.bfloat16
    exact = (outputs.logits, outputs.penalties, outputs.statistics, gradient, shapes)
    assert {leaf.dtype for leaf in jax.tree.leaves(exact)} == {jnp.dtype("float32")}
    for value in outputs.statistics.values():
        assert value.shape == (3, DIMS.B)


def test_a_random_initial_state_follows_the_noise():
    config, params = PRESETS["huginn"], _params(PRESETS["huginn"])
    run = lambda rngs: (
        _apply(params, TOKENS, ANSWERS, config, num_loops=2, rngs=rngs).states
    )
    one, other = (run(layers.Noise(jax.random.key(seed))) for seed in (1, 2))
    assert (one != other).any(axis=(0, 2, 3)).all()
    np.testing.assert_array_equal(one, run(layers.Noise(jax.random.key(1))))


# Parameters.


def test_the_number_of_parameters_of_the_paper():
    paper = dataclasses.replace(
        CONFIG, vocab_size=2207, max_length=5, width=768, num_heads=12, mlp_ratio=4,
        core_blocks=4,
    )  # fmt: skip
    assert recurrent.num_parameters(_shapes(paper)) == 30_051_840


def test_the_scale_of_the_parameters():
    config = dataclasses.replace(
        CONFIG, vocab_size=997, width=64, mlp_ratio=4, coda_blocks=1, output_init="gpt2"
    )
    params = _init(4, config)
    assert np.std(params["embedding"]) == pytest.approx(0.5, rel=0.02)
    assert np.std(params["position"]) == pytest.approx(0.5, rel=0.1)
    blocks = [*params["prelude"], *params["core"], *params["coda"]]
    assert len(blocks) == 2
    for block in blocks:
        for branch, inner in (("attention", "qkv"), ("mlp", "input")):
            assert np.std(block[branch][inner]["kernel"]) == pytest.approx(
                0.02, rel=0.1
            )
            output = block[branch]["output"]["kernel"]  # Two blocks of two branches.
            assert np.std(output) == pytest.approx(0.02 / 4**0.5, rel=0.1)
    drawn = {float(b["mlp"]["input"]["kernel"][0, 0]) for b in blocks}
    assert len(drawn) == 2  # No two blocks begin alike.


# What is refused.


def test_rows_longer_than_the_position_table_are_refused():
    tokens, answers = np.ones((DIMS.B, 12), np.int32), ANSWERS
    message = (
        "rows of 12 tokens need model.position = none, rope or sinusoidal; .* 11 pos"
    )
    with pytest.raises(ValueError, match=message):
        recurrent.apply(_params(CONFIG), tokens, answers, CONFIG, num_loops=1)
    config = dataclasses.replace(CONFIG, position="sinusoidal")
    run = functools.partial(recurrent.apply, config=config, num_loops=1)
    assert jax.eval_shape(run, _shapes(config), tokens, answers).states.shape[2] == 12


@pytest.mark.parametrize(
    ("tokens", "answers"),
    [
        (np.float32(TOKENS), ANSWERS),
        (TOKENS, np.float32(ANSWERS)),
        (TOKENS[0], ANSWERS),
        (TOKENS, ANSWERS[:, 0]),
        (TOKENS, ANSWERS[:4]),
    ],
)
def test_wrong_inputs_are_refused(tokens, answers):
    with pytest.raises(AssertionError):
        recurrent.apply(_shapes(CONFIG), tokens, answers, CONFIG, num_loops=1)


EXHAUSTIVE = [pytest.mark.exhaustive]
TRIMMED = {
    "one loop": ({}, 1, None, 3),
    "all loops": ({}, 4, None, 10),
    "last loop": ({"core_blocks": 2, "prelude_blocks": 1}, 4, 1, 3),
    "post": ({"norm_placement": "post", "position": "rope"}, 3, 2, 10),
    "sandwich": ({"norm_placement": "sandwich", "injection": "concat"}, 2, None, 3),
    "peri": ({"norm_placement": "peri", "feedforward": "swiglu"}, 2, None, 3),
    "gated": ({"residual": "gated_layerscale"}, 2, None, 3),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n == "last loop" else EXHAUSTIVE) for n in TRIMMED],
)
def test_an_answer_is_that_of_the_whole_pass(name):
    changed, num_loops, backprop_depth, length = TRIMMED[name]
    config = dataclasses.replace(CONFIG, **changed)
    tokens = np.tile(TOKENS, (1, 4))[:, :length]
    tokens[1, 2:] = 0
    weight = WEIGHT[:, :2]

    def cost(params, run):
        logits = run(
            params, jnp.asarray(tokens), jnp.asarray(ANSWERS), config,
            num_loops=num_loops, backprop_depth=backprop_depth,
        )  # fmt: skip
        return (weight * logits).sum()

    whole = lambda *a, **k: recurrent.apply(*a, **k).logits
    trimmed = lambda *a, **k: recurrent.answer(*a, **k)[0]
    params = jax.tree.map(jnp.asarray, _params(config))
    expected, found = (
        jax.jit(jax.value_and_grad(functools.partial(cost, run=run)))(params)
        for run in (whole, trimmed)
    )
    chex.assert_trees_all_close(found, expected, rtol=2e-4, atol=2e-5)
