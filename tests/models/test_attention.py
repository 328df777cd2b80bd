"""The two ways to attend, against each other and against flax's attention."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax.models import attention

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
