"""Mixtures of experts: which experts a token uses, and the products with theirs alone.

Reference: Csordas et al. (2024), arXiv:2405.16039: sigmoid scores, the k best, no
renormalization; and a regularizer that keeps all experts in use.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rdt_jax.models.architecture import wide

DISPATCHES = ("auto", "dense", "sorted")

# Experts per chosen one from which sorting pays. `dense` does E / k times the useful
# work; sorting, gathering and half-empty blocks cost some three times it. On 2 CPU
# cores, forward and backward, time of dense over that of sorted in one run: at E / k of
# 2, 0.6 to 0.7 (E = 4, 8); of 4, 0.9 to 1.3 (E = 8, 16, 384 and 1,536 tokens); of 8,
# 2.5; of 16, 2.7.
_SPARSE = 4
_MOST_ROWS = 128  # Of one block of tokens that share an expert.


class Route(NamedTuple):
    """The experts of every token."""

    scores: jax.Array  # [..., k], sigmoids in (0, 1)
    chosen: jax.Array  # int32 [..., k], of E, all different
    logits: jax.Array  # [..., E], at least float32


class Load(NamedTuple):
    """What routers did so far, summed over tokens and loops; a part of the carry."""

    # [B, L, G, E], softmax of the logits, for each of L blocks and G routers.
    mass: jax.Array
    chosen: jax.Array  # [B, L, G, E], how often an expert was chosen


Loads = Mapping[str, Load]  # by router: mlp, value, output


def route(logits: jax.Array, k: int) -> Route:
    """Chooses the k experts with the highest logits, [..., E] to [..., k] each."""
    logits = logits.astype(wide(logits.dtype))
    best, chosen = jax.lax.top_k(logits, k)
    return Route(jax.nn.sigmoid(best), chosen, logits)


def gates(route: Route) -> jax.Array:
    """Returns the score of every expert, zero where it is not chosen, [..., E]."""
    one_hot = jax.nn.one_hot(
        route.chosen, route.logits.shape[-1], dtype=route.scores.dtype
    )
    return (one_hot * route.scores[..., None]).sum(axis=-2)


def use_sorted(dispatch: str, *, num_experts: int, chosen: int, tokens: int) -> bool:
    """Says whether tokens are sorted by expert; both ways give the same.

    `dispatch` is of DISPATCHES, and `auto` takes the faster one for so many `tokens`
    that each choose `chosen` experts.
    """
    if dispatch == "auto":
        return num_experts >= _SPARSE * chosen and tokens * chosen >= num_experts
    return dispatch == "sorted"


class Groups(NamedTuple):
    """M rows in blocks of C rows, each block for one expert; the rest is zero."""

    # int32 [blocks * C], which of the M rows stands there; M where none does.
    row: jax.Array
    place: jax.Array  # int32 [M], where a row stands
    expert: jax.Array  # int32 [blocks]


def blocks_of(rows: int, num_experts: int) -> tuple[int, int]:
    """Returns how many blocks hold M sorted rows, and the rows of one, C."""
    size = max(1, min(_MOST_ROWS, rows // num_experts))
    return rows // size + num_experts, size  # As many as any counts need.


def group(experts: jax.Array, num_experts: int) -> Groups:
    """Sorts M rows by expert, int32 [M], into blocks; no row is dropped."""
    rows = experts.size
    total, size = blocks_of(rows, num_experts)
    order = jnp.argsort(experts, stable=True)
    counts = jnp.bincount(experts, length=num_experts)
    blocks = -(-counts // size)
    first_row, first_block = (jnp.cumsum(n) - n for n in (counts, blocks))
    by_expert = experts[order]
    rank = jnp.arange(rows) - first_row[by_expert]
    place = first_block[by_expert] * size + rank
    return Groups(
        row=jnp.full(total * size, rows).at[place].set(order),
        place=jnp.zeros(rows, place.dtype).at[order].set(place),
        expert=jnp.repeat(jnp.arange(num_experts), blocks, total_repeat_length=total),
    )


def gather(x: jax.Array, groups: Groups) -> jax.Array:
    """Puts rows [M, D] into their blocks, [blocks, C, D]."""
    padded = jnp.concatenate([x, jnp.zeros_like(x[:1])])
    return padded[groups.row].reshape(groups.expert.size, -1, x.shape[-1])


def scatter(blocks: jax.Array, groups: Groups) -> jax.Array:
    """Takes rows out of their blocks again, [blocks, C, D] to [M, D]."""
    return blocks.reshape(-1, blocks.shape[-1])[groups.place]


def multiply(blocks: jax.Array, weights: jax.Array, groups: Groups) -> jax.Array:
    """Multiplies each block by its expert's matrix: [., C, D] x [E, D, F]."""
    return jnp.einsum("gcd,gdf->gcf", blocks, weights[groups.expert])


def load(route: Route, counted: jax.Array) -> Load:
    """Sums a route of [B, T, G] over the tokens that count, bool [B, T]; L = 1."""
    weight = counted[:, :, None, None].astype(route.logits.dtype)
    chosen = jax.nn.one_hot(
        route.chosen, route.logits.shape[-1], dtype=weight.dtype
    ).sum(axis=-2)
    total = lambda x: (x * weight).sum(axis=1)[:, None]
    return Load(total(jax.nn.softmax(route.logits)), total(chosen))


def join(*loads: Loads) -> dict[str, Load]:
    """Puts the routers of several blocks side by side, along L."""
    names = {name for part in loads for name in part}
    return {
        name: jax.tree.map(
            lambda *x: jnp.concatenate(x, axis=-3),
            *(part[name] for part in loads if name in part),
        )
        for name in sorted(names)
    }


def negative_entropy(load: Load) -> jax.Array:
    """Returns the sum of p log p of the mean router distribution, [..., L, G], nats."""
    total = load.mass.sum(axis=-1, keepdims=True)
    p = load.mass / jnp.maximum(total, 1e-9)  # Zero where no token counts.
    return (p * jnp.log(jnp.maximum(p, 1e-9))).sum(axis=-1)


def penalties(loads: Loads) -> dict[str, jax.Array]:
    """Returns the regularizers of the feed-forward and of the attention routers.

    Each is the negative entropy of a router's mean distribution over loops and tokens:
    per row, averaged over rows and heads, summed over blocks; value and output routers
    of the attention are added.
    """
    found: dict[str, jax.Array] = {}
    names = {"mlp": "mlp", "value": "attention", "output": "attention"}
    for router, load_ in loads.items():
        name = f"router_entropy_{names[router]}"
        term = negative_entropy(load_).mean(axis=(0, 2)).sum()
        found[name] = found.get(name, jnp.zeros_like(term)) + term
    return found


def statistics(loads: Loads) -> dict[str, jax.Array]:
    """Describes the routers, float32 [R, B] each, from loads with a leading axis R.

    For each router, averaged over blocks and heads: `router_entropy_*`, of its mean
    distribution, in [0, 1] (1: all experts alike); `router_load_*`, the share of
    choices that went to the most used expert; `router_used_*`, the share of experts
    that were chosen at least once.
    """
    found = {}
    for name, load_ in loads.items():
        experts = load_.mass.shape[-1]
        share = load_.chosen / jnp.maximum(load_.chosen.sum(-1, keepdims=True), 1)
        values = {
            "entropy": -negative_entropy(load_) / jnp.log(experts),
            "load": share.max(axis=-1),
            "used": (load_.chosen > 0).mean(axis=-1),
        }
        for kind, value in values.items():
            mean = value.mean(axis=(-2, -1)).astype(jnp.float32)
            found[f"router_{kind}_{name}"] = mean
    return found
