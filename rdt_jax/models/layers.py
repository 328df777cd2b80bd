"""Norms, positions, dropout and the pre-norm block.

Reference: Radford et al. (2019), the GPT-2 block, as Kohli et al. (2026),
arXiv:2604.07822, Section 4, loop it.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rdt_jax.models import attention, feedforward

NORM_EPSILON = 1e-5  # GPT-2's.


class Noise(NamedTuple):
    """Where dropout comes from: a key and traced rates, so that lanes may differ.

    Attributes:
      key: consumed.
      rate: share of attention weights and of branch outputs set to zero.
      embedding_rate: share of the embedded input set to zero.
    """

    key: jax.Array
    rate: jax.Array
    embedding_rate: jax.Array

    def fold(self, index: int | jax.Array) -> "Noise":
        """Returns the noise of one of several places that share this one."""
        return self._replace(key=jax.random.fold_in(self.key, index))


def dropout(x: jax.Array, key: jax.Array, rate: jax.Array) -> jax.Array:
    """Zeroes a share `rate` in [0, 1) of `x`, of any shape, and rescales the rest."""
    keep = jax.random.uniform(key, x.shape) >= rate
    return jnp.where(keep, x / (1 - rate).astype(x.dtype), 0)


class LayerNorm(nn.Module):
    """Normalizes [..., D] to zero mean and unit variance, in float32, and rescales."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns an array of the shape and dtype of `x`."""
        width = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (width,))
        bias = self.param("bias", nn.initializers.zeros, (width,))
        x32 = x.astype(jnp.float32)
        centered = x32 - x32.mean(axis=-1, keepdims=True)
        variance = (centered**2).mean(axis=-1, keepdims=True)
        normed = centered * jax.lax.rsqrt(variance + NORM_EPSILON)
        return (normed * _like(normed, scale) + _like(normed, bias)).astype(x.dtype)


class Block(nn.Module):
    """Pre-norm block: attention, then feed-forward, each added to its input.

    Attributes:
      num_heads: H.
      mlp_width: F.
      output_std: standard deviation of the two output projections at the start.
    """

    num_heads: int
    mlp_width: int
    output_std: float

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, noise: Noise | None) -> jax.Array:
        """Maps [B, T, D] to [B, T, D]; `mask` is bool [B, T, T], True where seen."""
        drop = lambda y, place: y if noise is None else (
            dropout(y, noise.fold(place).key, noise.rate)
        )  # fmt: skip
        attend = attention.Attention(self.num_heads, self.output_std, name="attention")
        drop_weights = None if noise is None else lambda w, t: drop(w, 2 + t)
        branch = attend(LayerNorm(name="attention_norm")(x), mask, drop_weights)
        x = x + drop(branch, 0)
        mlp = feedforward.Mlp(self.mlp_width, self.output_std, name="mlp")
        return x + drop(mlp(LayerNorm(name="mlp_norm")(x)), 1)


def sinusoidal_positions(length: int, width: int) -> np.ndarray:
    """Returns the fixed position table, float32 [T, D].

    Reference: Vaswani et al. (2017), arXiv:1706.03762, Section 3.5.
    """
    pair = np.arange(width) // 2
    angle = np.arange(length)[:, None] / 10_000 ** (2 * pair / width)[None, :]
    table = np.where(np.arange(width) % 2 == 0, np.sin(angle), np.cos(angle))
    return table.astype(np.float32)


def _like(x: jax.Array, vector: jax.Array) -> jax.Array:
    return jnp.expand_dims(vector, tuple(range(x.ndim - 1)))
