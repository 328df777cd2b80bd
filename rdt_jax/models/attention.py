"""Causal self-attention: dense, or with a mixture of value and output projections."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rdt_jax.models import experts, inits, products
from rdt_jax.models.architecture import ModelConfig, wide

# Up to this length a sum over written-out pairs beats batched T x T products; above,
# compiling the pairs takes twice as long as well.
SHORT = 4
_MASKED = -1e9  # Finite: a fully masked row keeps finite gradients.

# Which of the dense projections have a bias; experts have none.
BIASES = ("all", "query_key", "none")

DropWeights = Callable[[jax.Array, int], jax.Array]  # (weights, place) -> weights


class Attention(nn.Module):
    """Multi-head causal self-attention."""

    # Reads num_heads, head_width, position, bias, norm_placement and the keys of the
    # initialization.
    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        normed: jax.Array,
        mask: jax.Array,
        drop_weights: DropWeights | None = None,
        queries: jax.Array | None = None,
    ) -> tuple[jax.Array, dict[str, experts.Route]]:
        """Maps [B, T, D] to [B, T, D], or to [B, Q, D] at the positions of `queries`.

        Values are projections of `x`, queries and keys of `normed`, the same array
        unless the norms are placed `peri`. The lower triangular `mask` [B, T, T] is
        True where query t may see key s; `drop_weights`, None for no dropout, must draw
        independently at different places; `queries` are int32 [B, Q] with Q < T, None
        for all T.

        Returns the branch, and no routes.
        """
        config = self.config
        batch, length, width = x.shape
        inner = config.num_heads * config.size_of_head
        dense = functools.partial(products.dense, init=inits.weight(config, width))
        biased = config.bias == "all"
        if config.norm_placement == "peri" or config.bias == "query_key":
            query_key = dense(
                normed, 2 * inner, "query_key", use_bias=config.bias != "none"
            )
            v = dense(x, inner, "value", use_bias=biased)
            q, k = jnp.split(query_key, 2, axis=-1)
        else:
            q, k, v = jnp.split(dense(x, 3 * inner, "qkv", use_bias=biased), 3, -1)
        heads = (batch, length, config.num_heads, config.size_of_head)
        q, k, v = (part.reshape(heads) for part in (q, k, v))
        drop_weights = _watched(self, drop_weights)
        mixed = _attend(q, k, v, mask, drop_weights, config, queries)
        mixed = mixed.reshape(batch, -1, inner)
        draw = inits.output(config, inner)
        return products.dense(mixed, width, "output", init=draw, use_bias=biased), {}


class SwitchHead(nn.Module):
    """Attention whose value and output projections are mixtures of experts, by head.

    Reference: Csordas et al. (2024), arXiv:2312.07987, as arXiv:2405.16039 uses it:
    sigmoid scores, no renormalization, no biases.
    """

    # Reads what Attention reads, and attention_experts, attention_experts_per_token and
    # expert_dispatch.
    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        normed: jax.Array,
        mask: jax.Array,
        drop_weights: DropWeights | None = None,
    ) -> tuple[jax.Array, dict[str, experts.Route]]:
        """Maps [B, T, D] to [B, T, D], as `Attention` does; the routers read `normed`.

        Returns the branch, and the routes `value` and `output` of [B, T, H] routers.
        """
        config = self.config
        batch, length, width = x.shape
        num_heads, head_width = config.num_heads, config.size_of_head
        num_experts = config.attention_experts
        inner = num_heads * head_width
        query_key = products.dense(
            normed, 2 * inner, "query_key", init=inits.weight(config, width),
            use_bias=config.bias != "none",
        )  # fmt: skip
        heads = (batch, length, num_heads, head_width)
        q, k = (part.reshape(heads) for part in jnp.split(query_key, 2, axis=-1))
        routes = {
            name: experts.route(
                jnp.einsum(
                    "btd,dhe->bthe",
                    normed,
                    self.param(
                        f"{name}_router", inits.router(config, width),
                        (width, num_heads, num_experts),
                    ).astype(normed.dtype),
                ),
                config.attention_experts_per_token,
            )
            for name in ("value", "output")
        }  # fmt: skip
        shape = (num_heads, num_experts, width, head_width)
        values = self.param("value", inits.weight(config, width), shape)
        shape = (num_heads, num_experts, head_width, width)
        outputs = self.param("output", inits.output(config, inner), shape)
        values, outputs = values.astype(x.dtype), outputs.astype(x.dtype)
        if experts.use_sorted(
            config.expert_dispatch,
            num_experts=num_experts,
            chosen=config.attention_experts_per_token,
            tokens=batch * length,
        ):
            project_values, project_outputs = _values_sorted, _outputs_sorted
        else:
            project_values, project_outputs = _values_dense, _outputs_dense
        v = project_values(x, values, routes["value"])
        drop_weights = _watched(self, drop_weights)
        mixed = _attend(q, k, v, mask, drop_weights, config)
        return project_outputs(mixed, outputs, routes["output"]), routes


ATTENTIONS: Mapping[str, type[Any]] = {"dense": Attention, "switch_head": SwitchHead}


def is_short(length: int) -> bool:
    """Says whether rows of so many tokens take `attend_short`."""
    return length <= SHORT


def _values_dense(x, values, route):
    every = jnp.einsum("btd,hedk->bthek", x, values)
    return jnp.einsum("bthek,bthe->bthk", every, experts.gates(route).astype(x.dtype))


def _outputs_dense(mixed, outputs, route):
    gates = experts.gates(route).astype(mixed.dtype)
    return jnp.einsum(
        "bthek,hekd->btd", mixed[:, :, :, None] * gates[..., None], outputs
    )


def _values_sorted(x, values, route):
    every = _by_expert(x[:, :, None], values, route)  # [B, T, H, k, K]
    return jnp.einsum("bthjk,bthj->bthk", every, route.scores.astype(x.dtype))


def _outputs_sorted(mixed, outputs, route):
    every = _by_expert(mixed, outputs, route)  # [B, T, H, k, D]
    return jnp.einsum("bthjd,bthj->btd", every, route.scores.astype(mixed.dtype))


def _by_expert(x, weights, route):
    """Multiplies [B, T, H, .] by the chosen k of each head's experts [H, E, ., .]."""
    rows = jnp.broadcast_to(x[:, :, :, None], (*route.chosen.shape, x.shape[-1]))
    num_heads, num_experts = weights.shape[:2]
    head = jnp.arange(num_heads)[None, None, :, None]
    flat = (route.chosen + num_experts * head).reshape(-1)
    groups = experts.group(flat, num_heads * num_experts)
    blocks = experts.gather(rows.reshape(-1, rows.shape[-1]), groups)
    weights = weights.reshape(-1, *weights.shape[2:])
    found = experts.scatter(experts.multiply(blocks, weights, groups), groups)
    return found.reshape(*rows.shape[:-1], -1)


def _attend(q, k, v, mask, drop_weights, config: ModelConfig, queries=None):
    if config.position == "rope":
        turn = lambda x: rotate(x, config.rope_fraction, config.rope_base)
        q, k = turn(q), turn(k)
    if queries is not None:
        q, mask = (take_positions(x, queries) for x in (q, mask))
    attend = attend_short if is_short(k.shape[1]) else attend_long
    return attend(q, k, v, mask, drop_weights)


def _watched(module: nn.Module, drop_weights: DropWeights | None):
    """Shows the weights to a caller who makes `intermediates` mutable.

    If that caller gives bool [H, T, T] as `kept` in the collection `edges`, a query's
    weight is first taken from the keys that are not kept, and given to the others.
    """
    if not module.is_mutable_collection("intermediates"):
        return drop_weights
    kept: jax.Array | None = module.get_variable("edges", "kept")

    def keep(weights: jax.Array, place: int) -> jax.Array:
        if kept is not None:
            weights = _without_edges(weights, kept, place)
        module.sow("intermediates", "weights", weights)
        return weights if drop_weights is None else drop_weights(weights, place)

    return keep


def _without_edges(weights: jax.Array, kept: jax.Array, query: int) -> jax.Array:
    """Takes weight from edges; of `attend_short` it is [keys, B, H] of one query."""
    if weights.ndim == 4:
        here, axis = kept[None], -1
    else:
        here, axis = kept[:, query, : len(weights)].T[:, None], 0
    rest = jnp.where(here, weights, 0)
    whole = rest.sum(axis=axis, keepdims=True)
    return rest / jnp.where(whole > 0, whole, 1)  # 0 where no weight is left.


def join_weights(kept: Sequence[jax.Array]) -> jax.Array:
    """Joins what one layer kept of its weights, in `intermediates`, to [B, H, T, T].

    Of `attend_long` that is one array [B, H, T, T], before dropout; of `attend_short`
    one [t + 1, B, H] for every query t, whose later keys have no weight.
    """
    if kept[0].ndim == 4:
        return kept[0]
    length = len(kept)
    padded = [jnp.pad(w, ((0, length - len(w)), (0, 0), (0, 0))) for w in kept]
    return jnp.stack(padded).transpose(2, 3, 0, 1)


def take_positions(x: jax.Array, positions: jax.Array) -> jax.Array:
    """Picks positions int32 [B, Q] of [B, T, ...], to [B, Q, ...]."""
    index = positions.reshape(positions.shape + (1,) * (x.ndim - 2))
    return jnp.take_along_axis(x, index, axis=1)


def rotate(x: jax.Array, fraction: float, base: float) -> jax.Array:
    """Turns pairs of numbers of [B, T, H, K] by an angle that grows with the position.

    Reference: Su et al. (2021), arXiv:2104.09864, Section 3.2; number i of the first
    half of what is turned is paired with number i of its second half. That is the share
    `fraction` of the K numbers, from the first, rounded down to an even number of them;
    `base` is the longest wavelength, in positions, divided by 2 pi.
    """
    length, head_width = x.shape[1], x.shape[3]
    half = int(head_width * fraction) // 2
    angle = np.arange(length)[:, None] * base ** (-np.arange(half) / half)[None, :]
    dtype = wide(x.dtype)
    cos, sin = (jnp.asarray(f(angle), dtype)[None, :, None] for f in (np.cos, np.sin))
    one, other = (part.astype(dtype) for part in jnp.split(x[..., : 2 * half], 2, -1))
    turned = jnp.concatenate([one * cos - other * sin, one * sin + other * cos], -1)
    return jnp.concatenate([turned.astype(x.dtype), x[..., 2 * half :]], axis=-1)


def attend_long(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    mask: jax.Array,
    drop_weights: DropWeights | None = None,
) -> jax.Array:
    """Softmax attention as two batched products; queries [B, Q, H, K] to the same.

    Keys and values are [B, T, H, K], the mask is bool [B, Q, T].
    """
    scores = jnp.einsum("bqhk,bshk->bhqs", q, k) / q.shape[-1] ** 0.5
    scores = jnp.where(mask[:, None], scores.astype(wide(q.dtype)), _MASKED)
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
    """Equals `attend_long` for a causal mask; queries [B, Q, H, K] to [B, Q, H, K].

    At T = 3 the batched products are thousands of 3 x K x 3 multiplications, which a
    CPU runs one by one. Here each (query, key) pair is a product over whole rows, and
    the sum within a head is one matrix product with a 0/1 [D, H] matrix.
    """
    batch, length, heads, head_width = k.shape
    num_queries = q.shape[1]
    q, k, v = (x.reshape(*x.shape[:2], -1) for x in (q / head_width**0.5, k, v))
    of_head = jnp.repeat(jnp.eye(heads, dtype=q.dtype), head_width, axis=0)  # [D, H]
    mixed = []
    for t in range(num_queries):
        # Fewer queries than keys stand at any positions, else each at its own.
        keys = range(t + 1 if num_queries == length else length)
        scores = jnp.stack([(q[:, t] * k[:, s]) @ of_head for s in keys])
        seen = mask[:, t, : len(keys)].T[:, :, None]  # [keys, B, 1]
        scores = jnp.where(seen, scores.astype(wide(q.dtype)), _MASKED)
        weights = jax.nn.softmax(scores, axis=0).astype(v.dtype)  # [keys, B, H]
        if drop_weights is not None:
            weights = drop_weights(weights, t)
        spread = [weights[s] @ of_head.T for s in keys]  # each [B, D]
        mixed.append(sum(spread[s] * v[:, s] for s in keys))
    return jnp.stack(mixed, axis=1).reshape(batch, num_queries, heads, head_width)
