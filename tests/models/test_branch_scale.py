"""A fixed factor on the core's residual branches: what it is, and in which passes.

That it goes with every other component: test_combinations.py.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax.models import components, cost, presets, recurrent, trace
from tests.models import combinations, oracle
from tests.models.test_presets import LOGNORMAL, POISSON, UNIFORM

SCALES = tuple(components.BRANCH_SCALES)
TOKENS = np.array([[3, 9, 1], [5, 2, 8], [7, 7, 0]], np.int32)
ANSWERS = np.array([[2, 1], [0, 2], [1, 1]], np.int32)
WEIGHT = np.sin(np.arange(3 * 2 * 17)).reshape(3, 2, 17).astype(np.float32)
_apply = jax.jit(recurrent.apply, static_argnames=("config", "num_loops"))


@pytest.fixture
def model(tiny_config, tiny_table):
    """Returns a function to a model of two core blocks that trains with three loops."""

    def make(scale, **changed):
        keys = {"core_blocks": 2, "prelude_blocks": 1, "coda_blocks": 1}
        keys |= {"branch_scale": scale}
        found = combinations.make(tiny_config, keys)
        return dataclasses.replace(presets.model_config(found, tiny_table), **changed)

    return make


_params = functools.partial(combinations.draw, seed=5, scale=0.4)


def _with_factor(params, factor):
    """Returns what the oracle takes for a LayerScale of one number in the core."""
    number = np.float64(factor)
    core = [
        b | {"attention_scale": number, "mlp_scale": number} for b in params["core"]
    ]
    return params | {"core": core}


@pytest.mark.parametrize(
    ("scale", "factors"),
    [
        ("none", {1: 1.0, 3: 1.0, 5: 1.0}),
        ("loops", {1: 1 / 3, 3: 1 / 3, 5: 1 / 3}),
        ("depth", dict.fromkeys((1, 3, 5), 1 / math.sqrt(18))),
        ("pass_loops", {1: 1.0, 3: 1 / 3, 5: 1 / 5}),
    ],
)  # fmt: skip
def test_the_branches_of_the_core_have_the_factor_in_passes_of_any_length(
    model, scale, factors
):
    config = model(scale)
    plain = dataclasses.replace(config, branch_scale="none", branch_loops=None)
    params = _params(config)
    passes = {}
    for num_loops, factor in factors.items():
        passes[num_loops] = ours = _apply(
            params, TOKENS, ANSWERS, config, num_loops=num_loops
        )
        scaled = _with_factor(params, factor)
        expected = oracle.run(scaled, TOKENS, ANSWERS, plain, num_loops)
        for name in ("states", "logits"):
            theirs = expected[name]
            size = np.abs(theirs).max()
            error = np.abs(getattr(ours, name) - theirs).max()
            assert error < 1e-6 * size, (name, num_loops)
        other = oracle.run(params, TOKENS, ANSWERS, plain, num_loops)["states"]
        assert (factor == 1) == (np.abs(ours.states - other).max() < 1e-4)
    # A loop is the same in a longer pass, unless the length of the pass scales it.
    longer = np.abs(passes[5].states[:3] - passes[3].states).max()
    assert longer > 1e-3 if scale == "pass_loops" else longer < 1e-6


@pytest.mark.exhaustive
def test_a_drawn_count_is_the_pass_of_so_many_loops(model):
    """Values and gradients, and those that training computes at the answers alone."""
    config = model("pass_loops", prelude_blocks=0, core_blocks=1, coda_blocks=0)
    params = jax.tree.map(jnp.asarray, _params(config))

    def loss(params, run, **loops):
        return (WEIGHT * run(params, TOKENS, ANSWERS, config, **loops)).sum()

    whole = lambda *a, **k: recurrent.apply(*a, **k).logits
    at_answers = lambda *a, **k: recurrent.answer(*a, **k)[0]
    compiled = lambda **k: jax.jit(jax.value_and_grad(functools.partial(loss, **k)))
    draw = jax.jit(
        lambda p, n: jax.value_and_grad(loss)(p, whole, num_loops=n, max_loops=6)
    )
    drawn = draw(params, jnp.int32(3))
    for run in (whole, at_answers):
        fixed = compiled(run=run, num_loops=3)(params)
        for one, other in zip(*map(jax.tree.leaves, (drawn, fixed)), strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)


def _mean_of_poisson():
    """The mean of a Poisson of mean 4, below 2 taken as 2 and above 8 as 8."""
    chance = [math.exp(-4) * 4**k / math.factorial(k) for k in range(60)]
    return sum(min(max(k, 2), 8) * p for k, p in enumerate(chance))


@pytest.mark.parametrize(
    ("drawn", "mean"),
    [
        ({"recurrence.num_loops": 5}, 5.0),
        (UNIFORM | {"recurrence.num_loops": 5}, 4.0),
        (POISSON, _mean_of_poisson()),
        (LOGNORMAL | {"recurrence.max_loops": 2000}, 33.0),  # Hardly clipped.
    ],
)
def test_the_loops_of_the_factor_are_the_mean_of_training(
    tiny_config, tiny_table, drawn, mean
):
    base = configs.override(tiny_config, drawn | {"model.core_blocks": 3})
    expected = {"none": None, "pass_loops": 1 / 7, "loops": 1 / mean}
    expected["depth"] = 1 / (mean * math.sqrt(3))
    for scale, factor in expected.items():
        config = configs.override(base, {"model.branch_scale": scale})
        assert presets.problems(config) == []
        found = presets.model_config(config, tiny_table)
        given = components.BRANCH_SCALES[scale](found, 7)
        assert given == (factor if factor is None else pytest.approx(factor, rel=1e-6))


def test_without_a_scale_the_model_does_not_know_the_loops(tiny_config, tiny_table):
    """So that runs of all loop counts share what is compiled for their evaluation."""
    models = {
        presets.model_config(
            configs.override(tiny_config, {"recurrence.num_loops": loops}), tiny_table
        )
        for loops in (1, 4)
    }
    assert len(models) == 1


@pytest.mark.parametrize("scale", SCALES)
def test_parameters_and_operations_are_those_of_any_scale(
    tiny_config, tiny_table, model, scale
):
    assert cost.parameters(model(scale)) == cost.parameters(model("none"))
    assert combinations.shapes(model(scale)) == combinations.shapes(model("none"))
    flops = [
        presets.update_flops(
            configs.override(tiny_config, {"model.branch_scale": name}), tiny_table
        )
        for name in (scale, "none")
    ]
    assert flops[0] == flops[1]


@pytest.mark.parametrize("scale", ["depth", "pass_loops"])
def test_a_traced_pass_has_the_factor(model, scale):
    config = model(scale)
    params = _params(config)
    own = _apply(params, TOKENS, ANSWERS, config, num_loops=5)
    run = jax.jit(trace.trace, static_argnames=("config", "num_loops"))
    traced = run(params, TOKENS, ANSWERS, config, num_loops=5)
    np.testing.assert_allclose(traced.logits, own.logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "scale", ["depth", pytest.param("pass_loops", marks=pytest.mark.exhaustive)]
)
def test_gradients_are_finite_in_bfloat16(model, scale):
    config = model(scale, dtype="bfloat16", prelude_blocks=0, coda_blocks=0)
    params = jax.tree.map(jnp.asarray, _params(config))

    @jax.jit
    def run(params, count):
        def loss(params):
            outputs = recurrent.apply(
                params, TOKENS, ANSWERS, config, num_loops=count, max_loops=8
            )
            return (WEIGHT * outputs.logits).sum(), outputs.states

        return jax.grad(loss, has_aux=True)(params)

    gradient, states = run(params, jnp.int32(7))
    assert states.dtype == jnp.bfloat16
    for leaf in jax.tree.leaves(gradient):
        assert leaf.dtype == jnp.float32 and np.isfinite(leaf).all()
    for block in gradient["core"]:
        assert np.abs(block["mlp"]["output"]["kernel"]).max() > 0


def test_a_pass_of_unknown_length_is_refused(model):
    run = functools.partial(
        recurrent.apply_until_halted, rule="kl", thresholds={"kl": 1e-3},
        min_loops=1, max_loops=4,
    )  # fmt: skip
    message = (
        "model.branch_scale must be none, loops or depth where .*, got pass_loops: "
    )
    config = model("pass_loops")
    with pytest.raises(ValueError, match=message):
        run(_params(config), TOKENS, ANSWERS, config)


@pytest.mark.parametrize(
    ("scale", "like"),
    [("none", "none"), ("loops", "none"), ("depth", "depth"), ("pass_loops", "none")],
)
def test_a_feedforward_model_keeps_what_its_depth_says(tiny_config, scale, like):
    config = configs.override(tiny_config, {"model.branch_scale": scale})
    for match in ("params", "flops"):
        found = presets.feedforward_like(config, match)
        assert found.config.model.branch_scale == like
        assert presets.problems(found.config) == []


def test_a_feedforward_model_has_no_scale_by_loops(tiny_config):
    config = presets.feedforward_like(tiny_config, "params").config
    changed = configs.override(config, {"model.branch_scale": "loops"})
    assert presets.problems(changed) == [
        "model.branch_scale must be none or depth in preset feedforward, got loops; "
        "model.preset custom allows any valid choice."
    ]
