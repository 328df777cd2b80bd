"""The two ways to attend, against each other and against flax's attention."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax.models import attention
from rdt_jax.models.architecture import ModelConfig

B, T, H, K = 3, 5, 2, 7
D = H * K
ATTEND = {"short": attention.attend_short, "long": attention.attend_long}


def _causal(length, batch=B):
    mask = np.tril(np.ones((length, length), bool))
    return np.tile(mask, (batch, 1, 1))


def _padded(length):
    """A causal mask whose rows end in 0, 1 and 2 padded keys."""
    mask = _causal(length)
    for row in range(1, B):
        mask[row, :, length - row :] = False
    return mask


@pytest.fixture(scope="module")
def qkv():
    keys = jax.random.split(jax.random.key(0), 3)
    return tuple(jax.random.normal(key, (B, T, H, K)) for key in keys)


@functools.cache
def _jit(name):
    def loss(q, k, v, mask):
        mixed = ATTEND[name](q, k, v, mask)
        return (mixed * jnp.cos(jnp.arange(mixed.size)).reshape(mixed.shape)).sum()

    return jax.jit(ATTEND[name]), jax.jit(jax.grad(loss, argnums=(0, 1, 2)))


def _reference(q, k, v, mask):
    """One query, head and key at a time, in float64."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    mixed = np.zeros_like(q)
    for b, t, h in np.ndindex(q.shape[:3]):
        seen = [s for s in range(q.shape[1]) if mask[b, t, s]]
        scores = np.array([q[b, t, h] @ k[b, s, h] for s in seen]) / K**0.5
        weights = np.exp(scores) / np.exp(scores).sum()
        mixed[b, t, h] = sum(w * v[b, s, h] for w, s in zip(weights, seen, strict=True))
    return mixed


@pytest.mark.parametrize("make_mask", [_causal, _padded])
@pytest.mark.parametrize("name", ATTEND)
def test_attention_is_the_weighted_mean_of_what_is_seen(qkv, name, make_mask):
    mask = make_mask(T)
    mixed = _jit(name)[0](*qkv, mask)
    np.testing.assert_allclose(mixed, _reference(*qkv, mask), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make_mask", [_causal, _padded])
def test_both_ways_have_the_same_gradients(qkv, make_mask):
    mask = make_mask(T)
    short, long = (_jit(name)[1](*qkv, mask) for name in ("short", "long"))
    for one, other in zip(short, long, strict=True):
        assert np.abs(one).max() > 0.1
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ATTEND)
def test_a_query_that_sees_nothing_has_finite_gradients(qkv, name):
    mask = _causal(T)
    mask[1] = False
    attend, gradient = _jit(name)
    mixed, grads = attend(*qkv, mask), gradient(*qkv, mask)
    for array in (mixed, *grads):
        assert np.isfinite(array).all()
    assert (np.asarray(grads[0])[1] == 0).all()


@pytest.mark.parametrize("name", ATTEND)
def test_weights_pass_through_dropout_once_per_place(qkv, name):
    places = []

    def drop(weights, place):
        places.append((place, weights.shape))
        return weights * 3

    mask = _padded(T)
    mixed = jax.jit(lambda *qkv: ATTEND[name](*qkv, mask, drop))(*qkv)
    expected = 3 * np.asarray(_jit(name)[0](*qkv, mask))
    np.testing.assert_allclose(mixed, expected, rtol=1e-5, atol=1e-6)
    if name == "short":
        assert places == [(t, (t + 1, B, H)) for t in range(T)]
    else:
        assert places == [(0, (B, H, T, T))]


@pytest.mark.parametrize("name", ATTEND)
def test_bfloat16_stays_bfloat16(qkv, name):
    low = [x.astype(jnp.bfloat16) for x in qkv]
    mixed = _jit(name)[0](*low, _causal(T))
    assert mixed.dtype == jnp.bfloat16
    exact = _reference(*low, _causal(T))
    np.testing.assert_allclose(np.float32(mixed), exact, atol=2**-5)


# The module.

CONFIG = ModelConfig(
    vocab_size=2, max_length=9, width=D, num_heads=H, mlp_ratio=1, prelude_blocks=0,
    core_blocks=1, coda_blocks=0, position="none", output_init="gpt2",
    embedding_std=1.0, dtype="float32", remat="none",
)  # fmt: skip


def _flax_params(params):
    """Our packed weights, in the layout of flax.linen.MultiHeadDotProductAttention."""
    kernels = jnp.split(params["qkv"]["kernel"], 3, axis=1)
    biases = jnp.split(params["qkv"]["bias"], 3)
    packed = {
        name: {"kernel": kernel.reshape(D, H, K), "bias": bias.reshape(H, K)}
        for name, kernel, bias in zip(
            ("query", "key", "value"), kernels, biases, strict=True
        )
    }
    out = params["output"]
    packed["out"] = {"kernel": out["kernel"].reshape(H, K, D), "bias": out["bias"]}
    return packed


def _draw(shapes, seed):
    random = np.random.default_rng(seed)
    draw = lambda leaf: np.float32(0.4 * random.standard_normal(leaf.shape))
    return jax.tree.map(draw, shapes)


@pytest.mark.parametrize("length", [1, 5, 9])  # Short up to 8, then long.
def test_attention_equals_that_of_flax(length):
    module = attention.Attention(CONFIG)
    oracle = nn.MultiHeadDotProductAttention(num_heads=H, qkv_features=D)
    x = _draw(jax.ShapeDtypeStruct((B, length, D), np.float32), 1)
    mask = _padded(length) if length > B else _causal(length)
    shapes = jax.eval_shape(module.init, jax.random.key(2), x, x, mask)["params"]
    params = _draw(shapes, 3)
    weight = np.sin(np.arange(x.size)).reshape(x.shape).astype(np.float32)

    def ours(params, x):
        y, _ = module.apply({"params": params}, x, x, mask)
        return (y * weight).sum(), y

    def theirs(params, x):
        packed = {"params": _flax_params(params)}
        with jax.numpy_rank_promotion("allow"):
            y = oracle.apply(packed, x, mask=mask[:, None])
        return (y * weight).sum(), y

    one, other = (
        jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, x)
        for loss in (ours, theirs)
    )
    for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True):
        assert np.abs(b).max() > 1e-3 or length == 1  # One key: no gradient of it.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_the_output_projection_starts_at_its_own_scale():
    config = dataclasses.replace(CONFIG, num_heads=11, width=110)
    module = attention.Attention(config)
    x = jnp.zeros((1, 2, 110))
    params = jax.jit(module.init)(jax.random.key(0), x, x, _causal(2, 1))["params"]
    assert np.std(params["qkv"]["kernel"]) == pytest.approx(0.02, rel=0.05)
    assert np.std(params["output"]["kernel"]) == pytest.approx(0.02 / 2**0.5, rel=0.05)
    assert not params["qkv"]["bias"].any()
    assert not params["output"]["bias"].any()
