"""What happens to a gradient before the optimizer, and to weights after it.

Every piece is an optax transformation over traced strengths, so that lanes may differ:
accumulate -> clip -> filter -> orthogonal -> the optimizer -> constant norm.

Clipping keeps one outlier out of the filter's memory; what the filter brings along the
weights is removed with the rest; the norm is that after the whole update.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import ml_collections
import optax

from rdt_jax import registry
from rdt_jax.training.hyper import LaneParams

# A part of the gradient below this share of it is the rounding of a difference.
_ROUNDING = 1e-5


def before(
    section: ml_collections.ConfigDict, hyper: LaneParams, clips: bool
) -> list[optax.GradientTransformation]:
    """Returns what a run does to its gradient, in order; nothing by default.

    `section` is `gradient` of the config; `clips` says whether any lane of the pack
    clips.
    """
    chosen = [optax.clip_by_global_norm(hyper["gradient.clip_norm"])] if clips else []
    make_filter = registry.lookup("gradient filter", FILTERS, section.filter)
    if make_filter is not None:
        chosen.append(make_filter(hyper, section.filter_window))
    return chosen + ([orthogonal()] if section.orthogonal else [])


class EmaState(NamedTuple):
    """The slow part of the gradient, leaves as the parameters, and updates so far."""

    seen: jax.Array
    slow: chex.ArrayTree


def grokfast_ema(strength: jax.Array, decay: jax.Array) -> optax.GradientTransformation:
    """Adds `strength` times the exponential moving average of the gradients.

    Reference: Lee et al. (2024), arXiv:2405.20233: m <- decay m + (1 - decay) g,
    beginning with m = g; g + strength m goes on.
    """

    def init(params: chex.ArrayTree) -> EmaState:
        return EmaState(jnp.int32(0), optax.tree.zeros_like(params))

    def update(
        gradient: chex.ArrayTree, state: EmaState, params: chex.ArrayTree | None = None
    ) -> tuple[chex.ArrayTree, EmaState]:
        del params
        keep = jnp.where(state.seen == 0, 0.0, decay)
        slow = jax.tree.map(
            lambda m, g: keep * m + (1 - keep) * g, state.slow, gradient
        )
        amplified = jax.tree.map(lambda g, m: g + strength * m, gradient, slow)
        return amplified, EmaState(state.seen + 1, slow)

    return optax.GradientTransformation(init, update)


class MaState(NamedTuple):
    """The last gradients and their sum.

    A sum that is only added to and subtracted from keeps the rounding of the largest
    gradient it ever held. So the gradients since the ring was at its start are also
    added up anew, and take the place of the sum when it is there again.
    """

    seen: jax.Array  # int32, updates so far
    ring: chex.ArrayTree  # leaves [W, ...], gradient i at place i mod W
    total: chex.ArrayTree  # leaves as the parameters, the sum over the ring
    # likewise, the sum over the places that were written in this round
    fresh: chex.ArrayTree


def grokfast_ma(strength: jax.Array, window: int) -> optax.GradientTransformation:
    """Adds `strength` times the mean of the last `window` gradients, this one included.

    Until there are so many it adds nothing. Reference: Lee et al. (2024),
    arXiv:2405.20233.
    """

    def init(params: chex.ArrayTree) -> MaState:
        zeros = optax.tree.zeros_like(params)
        ring = jax.tree.map(lambda x: jnp.zeros((window, *x.shape), x.dtype), params)
        return MaState(jnp.int32(0), ring, zeros, zeros)

    def update(
        gradient: chex.ArrayTree, state: MaState, params: chex.ArrayTree | None = None
    ) -> tuple[chex.ArrayTree, MaState]:
        del params
        place = state.seen % window
        closes = place == window - 1  # `fresh` now covers the whole ring.

        def put(
            ring: jax.Array, total: jax.Array, fresh: jax.Array, g: jax.Array
        ) -> tuple[jax.Array, jax.Array, jax.Array]:
            left = jax.lax.dynamic_index_in_dim(ring, place, keepdims=False)
            ring = jax.lax.dynamic_update_index_in_dim(ring, g, place, 0)
            fresh = fresh + g
            total = jnp.where(closes, fresh, total - left + g)
            return ring, total, jnp.where(closes, 0.0, fresh)

        put_all = jax.tree.map(put, state.ring, state.total, state.fresh, gradient)
        ring, total, fresh = (
            jax.tree.map(lambda _, x, i=i: x[i], gradient, put_all) for i in range(3)
        )
        share = jnp.where(state.seen + 1 >= window, strength / window, 0.0)
        amplified = jax.tree.map(lambda g, s: g + share * s, gradient, total)
        return amplified, MaState(state.seen + 1, ring, total, fresh)

    return optax.GradientTransformation(init, update)


# From a lane's strengths and the window; None for no filter.
Filter = Callable[[LaneParams, int], optax.GradientTransformation]
FILTERS: Mapping[str, Filter | None] = {
    "none": None,
    "grokfast_ema": lambda hyper, _: grokfast_ema(
        hyper["gradient.filter_strength"], hyper["gradient.filter_decay"]
    ),
    "grokfast_ma": lambda hyper, window: grokfast_ma(
        hyper["gradient.filter_strength"], window
    ),
}


def orthogonal() -> optax.GradientTransformation:
    """Removes from each tensor's gradient what lies along the tensor, keeping the norm.

    Reference: Prieto et al. (2025), arXiv:2501.04697: g - (w.g / w.w) w, rescaled
    to the norm of g. Differs from the paper: what is left of a gradient that
    lies along the weights, always so of a single number, is rounding, and becomes zero
    instead of being scaled up; zero weights leave their gradient as it is.
    """

    def project(g: jax.Array, w: jax.Array) -> jax.Array:
        along, size = jnp.vdot(w, g), jnp.vdot(w, w)
        left = g - jnp.where(size > 0, along / size, 0.0) * w
        norm, norm_left = jnp.linalg.norm(g.ravel()), jnp.linalg.norm(left.ravel())
        return left * jnp.where(norm_left > _ROUNDING * norm, norm / norm_left, 0.0)

    return optax.stateless(
        lambda gradient, params: jax.tree.map(project, gradient, params)
    )


def constant_norm() -> optax.GradientTransformation:
    """Rescales all weights, after an update, to the L2 norm that they started with.

    The norm is over all parameters together, biases and scales of norms included.
    Reference: Liu et al. (2022), arXiv:2210.01117.
    """

    def update(
        updates: chex.ArrayTree, norm: jax.Array, params: chex.ArrayTree | None = None
    ) -> tuple[chex.ArrayTree, jax.Array]:
        moved = optax.apply_updates(params, updates)
        factor = norm / optax.tree.norm(moved)
        back = jax.tree.map(lambda new, old: factor * new - old, moved, params)
        return back, norm

    return optax.GradientTransformation(optax.tree.norm, update)


def problems(config: ml_collections.ConfigDict) -> list[str]:
    """Lists what of the `gradient` section does not go with the batch."""
    parts = config.gradient.micro_batches
    if not config.batch_size % parts:
        return []
    return [
        f"gradient.micro_batches must divide batch_size ({config.batch_size}), got "
        f"{parts}."
    ]
