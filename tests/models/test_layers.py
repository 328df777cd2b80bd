"""Norms, dropout and positions against their formulas in numpy."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax.models import layers
from rdt_jax.models.architecture import ModelConfig

B, T, H, K, F = 3, 5, 2, 7, 23
D = H * K
CONFIG = ModelConfig(
    vocab_size=2, max_length=T, width=D, num_heads=H, mlp_ratio=1, mlp_width=F,
    prelude_blocks=0, core_blocks=1, coda_blocks=0, position="none",
    output_init="gpt2", embedding_std=1.0, dtype="float32", remat="none",
)  # fmt: skip


def _draw(tree, seed, scale=0.5):
    random = np.random.default_rng(seed)
    draw = lambda leaf: np.float32(scale * random.standard_normal(leaf.shape))
    return jax.tree.map(draw, tree)


def _shapes(module, *inputs):
    return jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]


def _norm(x, params):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * params["scale"] + params["bias"]


@pytest.fixture(scope="module")
def mask():
    mask = np.tile(np.tril(np.ones((T, T), bool)), (B, 1, 1))
    mask[1, :, 4] = False
    return mask


@pytest.fixture(scope="module")
def block(mask):
    block = layers.Block(CONFIG)
    x = _draw(np.zeros((B, T, D)), 1, 2.0)
    return block, _draw(_shapes(block, x, mask, None), 2), x


@pytest.fixture(scope="module")
def apply(block, mask):
    """The block under jit, (params, x, noise) -> x."""
    module, _, _ = block
    return jax.jit(lambda p, x, noise: module.apply({"params": p}, x, mask, noise)[0])


def _noise(seed, rate=0.5):
    return layers.Noise(jax.random.key(seed), jnp.float32(rate), jnp.float32(0.2))


@pytest.mark.parametrize("name", layers.NORMS)
def test_a_norm_is_its_formula_also_far_from_zero(name):
    x = _draw(np.zeros((B, T, D)), 3, 4.0) + np.float32(1000.0)
    norm = layers.norm(dataclasses.replace(CONFIG, norm=name), x.dtype)
    params = _draw(_shapes(norm, x), 4)
    wide = np.float64(x)
    if name == "layer":
        expected = _norm(wide, params)
    else:
        size = np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-6)
        expected = wide / size * params["scale"]
    normed = jax.jit(norm.apply)({"params": params}, x)
    np.testing.assert_allclose(normed, expected, rtol=1e-4, atol=1e-4)


def test_layer_norm_counts_in_float32():
    # The mean of these is lost in bfloat16: 256 + 1 is 256 there.
    x = jnp.tile(jnp.array([256.0, 258.0], jnp.bfloat16), (B, 64))
    norm = layers.norm(CONFIG, x.dtype)
    normed = norm.apply(norm.init(jax.random.key(0), x), x)
    assert normed.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        np.float32(normed), np.tile([-1.0, 1.0], (B, 64)), rtol=0.01
    )


# Dropout.


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_zeroes_a_share_and_keeps_the_mean(rate):
    x = jnp.full((1009, 97), 3.0)
    dropped = np.asarray(layers.dropout(x, jax.random.key(1), jnp.float32(rate)))
    error = math.sqrt(rate * (1 - rate) / x.size)
    assert (dropped == 0).mean() == pytest.approx(rate, abs=4 * error)
    np.testing.assert_allclose(dropped[dropped != 0], 3 / (1 - rate), rtol=1e-6)


def test_dropout_at_rate_zero_changes_nothing():
    x = jax.random.normal(jax.random.key(2), (B, T, D))
    for dtype in (jnp.float32, jnp.bfloat16):
        same = layers.dropout(x.astype(dtype), jax.random.key(3), jnp.float32(0))
        assert same.dtype == dtype
        np.testing.assert_array_equal(same, x.astype(dtype))


def test_dropout_needs_no_gradient_of_what_it_zeroed():
    x = jnp.ones((31, 37))
    drop = lambda x: layers.dropout(x, jax.random.key(4), jnp.float32(0.5))
    gradient = jax.grad(lambda x: drop(x).sum())(x)
    np.testing.assert_array_equal(gradient, drop(x))


def test_places_have_noise_of_their_own():
    noise = _noise(5)
    places = [noise.fold(place) for place in range(6)]
    places += [noise.fold(place).fold(1) for place in range(6)] + [noise]
    keys = {tuple(jax.random.key_data(place.key).tolist()) for place in places}
    assert len(keys) == len(places)
    assert all((p.rate, p.embedding_rate) == noise[1:] for p in places)


@pytest.mark.parametrize("branch", ["attention", "mlp"])
def test_a_block_drops_what_it_adds(block, apply, branch):
    _, params, x = block
    # One branch adds a constant, the other nothing: its dropout is what is seen.
    params = jax.tree.map(np.zeros_like, params)
    params[branch]["output"]["bias"][:] = 1.0
    added = np.asarray(apply(params, 0 * x, _noise(6)))
    assert set(added.ravel().tolist()) == {0.0, 2.0}
    assert added.mean() == pytest.approx(1.0, abs=4 / added.size**0.5)
    np.testing.assert_array_equal(added, apply(params, 0 * x, _noise(6)))
    assert (added != apply(params, 0 * x, _noise(7))).any()
    none = apply(params, 0 * x, _noise(6, rate=0.0))
    np.testing.assert_array_equal(none, np.ones_like(x))


def test_the_two_branches_of_a_block_drop_independently(block, apply):
    _, params, x = block
    params = jax.tree.map(np.zeros_like, params)
    params["attention"]["output"]["bias"][:] = 1.0
    params["mlp"]["output"]["bias"][:] = 10.0
    added = np.asarray(apply(params, 0 * x, _noise(7)))
    shares = [(added == value).mean() for value in (0, 2, 20, 22)]
    np.testing.assert_allclose(shares, 0.25, atol=4 * (0.1875 / added.size) ** 0.5)


def test_attention_weights_are_dropped(block, apply):
    _, params, x = block
    params = jax.tree.map(np.zeros_like, params)
    # Every value is 1, so what is mixed is the sum of the weights that were kept.
    params["attention"]["qkv"]["bias"][2 * D :] = 1.0
    params["attention"]["output"]["kernel"][:] = np.eye(D)
    np.testing.assert_allclose(apply(params, 0 * x, None), 1.0, rtol=1e-5)
    mixed = np.asarray(apply(params, 0 * x, _noise(9))).round(3)
    # Query t sees t + 1 keys: its weights are 0 or 2 / (t + 1); outputs double again.
    for t in range(3):
        kept = {round(4 * n / (t + 1), 3) for n in range(t + 2)}
        found = set(np.float64(mixed[:, t].ravel()).round(3).tolist())
        assert found <= kept
        assert len(found) > 1


# Positions.
