"""Dense causal self-attention."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

INIT_STD = 0.02  # GPT-2's, of every matrix that is not an output projection.

# Up to this length a sum over written-out pairs beats batched T x T products.
_SHORT = 8
_MASKED = -1e9  # Finite: a fully masked row keeps finite gradients.

DropWeights = Callable[[jax.Array, int], jax.Array]  # (weights, place) -> weights


class Attention(nn.Module):
    """Multi-head causal self-attention with biases.

    Attributes:
      num_heads: H, divides D.
      output_std: standard deviation of the output projection at the start.
    """

    num_heads: int
    output_std: float

    @nn.compact
    def __call__(
        self, x: jax.Array, mask: jax.Array, drop_weights: DropWeights | None = None
    ) -> jax.Array:
        """Maps [B, T, D] to [B, T, D].

        Args:
          x: [B, T, D].
          mask: bool [B, T, T], True where query t may see key s; lower triangular.
          drop_weights: dropout on the weights, of any shape; calls with different
            `place` must draw independently. None for no dropout.
        """
        batch, length, width = x.shape
        qkv = nn.Dense(
            3 * width, dtype=x.dtype, kernel_init=nn.initializers.normal(INIT_STD),
            name="qkv",
        )(x)  # fmt: skip
        heads = (batch, length, self.num_heads, width // self.num_heads)
        q, k, v = (part.reshape(heads) for part in jnp.split(qkv, 3, axis=-1))
        attend = attend_short if length <= _SHORT else attend_long
        mixed = attend(q, k, v, mask, drop_weights).reshape(batch, length, width)
        return nn.Dense(
            width, dtype=x.dtype, kernel_init=nn.initializers.normal(self.output_std),
            name="output",
        )(mixed)  # fmt: skip


def attend_long(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    mask: jax.Array,
    drop_weights: DropWeights | None = None,
) -> jax.Array:
    """Softmax attention as two batched products; [B, T, H, K] to [B, T, H, K]."""
    scores = jnp.einsum("bqhk,bshk->bhqs", q, k) / q.shape[-1] ** 0.5
    scores = jnp.where(mask[:, None], scores.astype(jnp.float32), _MASKED)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)  # [B, H, T, T]
    if drop_weights is not None:
        weights = drop_weights(weights, 0)
    return jnp.einsum("bhqs,bshk->bqhk", weights, v)


def attend_short(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    mask: jax.Array,
    drop_weights: DropWeights | None = None,
) -> jax.Array:
    """Equals `attend_long` for a causal mask; [B, T, H, K] to [B, T, H, K].

    At T = 3 the batched products are thousands of 3 x K x 3 multiplications, which a
    CPU runs one by one. Here each (query, key) pair is a product over whole rows, and
    the sum within a head is one matrix product with a 0/1 [D, H] matrix.
    """
    batch, length, heads, head_width = q.shape
    flat = (batch, length, heads * head_width)
    q, k, v = (x.reshape(flat) for x in (q / head_width**0.5, k, v))  # [B, T, D]
    of_head = jnp.repeat(jnp.eye(heads, dtype=q.dtype), head_width, axis=0)  # [D, H]
    mixed = []
    for t in range(length):
        scores = jnp.stack([(q[:, t] * k[:, s]) @ of_head for s in range(t + 1)])
        seen = mask[:, t, : t + 1].T[:, :, None]  # [t + 1, B, 1]
        scores = jnp.where(seen, scores.astype(jnp.float32), _MASKED)
        weights = jax.nn.softmax(scores, axis=0).astype(v.dtype)  # [t + 1, B, H]
        if drop_weights is not None:
            weights = drop_weights(weights, t)
        spread = [weights[s] @ of_head.T for s in range(t + 1)]  # each [B, D]
        mixed.append(sum(spread[s] * v[:, s] for s in range(t + 1)))
    return jnp.stack(mixed, axis=1).reshape(batch, length, heads, head_width)
