"""Norms, positions, dropout and the block, with its norms in one of four places.

Reference: Radford et al. (2019), the GPT-2 block, as Kohli et al. (2026),
arXiv:2604.07822, Section 4, loop it; other placements name theirs.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rdt_jax import registry
from rdt_jax.models import attention, experts, feedforward
from rdt_jax.models.architecture import ModelConfig


class Noise(NamedTuple):
    """Where randomness comes from: a key and traced rates, so that lanes may differ."""

    key: jax.Array  # consumed
    # Share of attention weights and of branch outputs set to zero; None for no dropout,
    # when only the initial state is random.
    rate: jax.Array | None = None
    # Share of the embedded input set to zero; None likewise.
    embedding_rate: jax.Array | None = None

    def fold(self, index: int | jax.Array) -> "Noise":
        """Returns the noise of one of several places that share this one."""
        return self._replace(key=jax.random.fold_in(self.key, index))


def dropout(x: jax.Array, key: jax.Array, rate: jax.Array) -> jax.Array:
    """Zeroes a share `rate` in [0, 1) of `x`, of any shape, and rescales the rest."""
    keep = jax.random.uniform(key, x.shape) >= rate
    return jnp.where(keep, x / (1 - rate).astype(x.dtype), 0)


# Statistics are counted in float32 at least. The variance is not flax's fast one, a
# difference of two means, which loses the digits of a state far from zero.
NORMS: Mapping[str, Callable[..., nn.Module]] = {
    # Radford et al. (2019), with GPT-2's epsilon.
    "layer": functools.partial(nn.LayerNorm, epsilon=1e-5, use_fast_variance=False),
    # Zhang and Sennrich (2019), arXiv:1910.07467, with Huginn's epsilon.
    "rms": functools.partial(nn.RMSNorm, epsilon=1e-6),
}


def norm(config: ModelConfig, dtype: jnp.dtype, name: str | None = None) -> nn.Module:
    """Returns the norm of a model's `[..., D]` states, which keeps their dtype."""
    kind = registry.lookup("norm", NORMS, config.norm)
    return kind(dtype=dtype, name=name)


class Placement(NamedTuple):
    """Where the norms of a block stand."""

    before: bool = True  # whether a branch reads a normalized stream
    gates_only: bool = False  # whether that is only what a softmax or a sigmoid reads
    # What follows the branch's name in that of the norm of the sum; None for no such
    # norm.
    after: str | None = None


PLACEMENTS: Mapping[str, Placement] = {
    "pre": Placement(),  # Radford et al. (2019).
    "post": Placement(before=False, after="_norm"),  # Vaswani et al. (2017).
    "sandwich": Placement(after="_out_norm"),  # Geiping et al. (2025), Section 3.
    "peri": Placement(gates_only=True),  # Csordas et al. (2024), arXiv:2405.16039.
}
Branch = Callable[[jax.Array, jax.Array], jax.Array]  # (values, normed) -> branch


class Block(nn.Module):
    """Attention, then feed-forward, each added to its input."""

    config: ModelConfig  # which attention, feed-forward, norms and where they stand

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array,
        noise: Noise | None,
        queries: jax.Array | None = None,
        branch_scale: float | jax.Array | None = None,
    ) -> tuple[jax.Array, dict[str, experts.Route]]:
        """Maps [B, T, D] to [B, T, D], or to [B, Q, D] at the positions of `queries`.

        The `mask` is bool [B, T, T], `noise` dropout, None for none; `queries` are
        int32 [B, Q] with Q < T, of dense attention; `branch_scale` is a factor of both
        branches, None for none. Returns the next stream, and the routes of the block's
        mixtures of experts.
        """
        config, routes = self.config, {}
        drop = lambda y, place: y if noise is None or noise.rate is None else (
            dropout(y, noise.fold(place).key, noise.rate)
        )  # fmt: skip
        attention_kind = registry.lookup(
            "attention", attention.ATTENTIONS, config.attention
        )
        mlp_kind = registry.lookup(
            "feed-forward", feedforward.FEEDFORWARDS, config.feedforward
        )
        attend = attention_kind(config, name="attention")
        mlp = mlp_kind(config, name="mlp")
        drop_weights = None
        if noise is not None and noise.rate is not None:
            drop_weights = lambda w, t: drop(w, 2 + t)

        chosen = () if queries is None else (queries,)
        take = lambda x: x if queries is None else attention.take_positions(x, queries)

        def attention_branch(values: jax.Array, normed: jax.Array) -> jax.Array:
            branch, found = attend(values, normed, mask, drop_weights, *chosen)
            routes.update(found)
            return drop(self._scaled("attention_scale", branch, branch_scale), 0)

        def mlp_branch(values: jax.Array, normed: jax.Array) -> jax.Array:
            branch, found = mlp(values, normed)
            routes.update(found)
            return drop(self._scaled("mlp_scale", branch, branch_scale), 1)

        has_gate = config.feedforward in ("swiglu", "sigma_moe")
        x = self._add(take, x, attention_branch, "attention", True)
        return self._add(lambda x: x, x, mlp_branch, "mlp", has_gate), routes

    def _add(
        self,
        take: Callable[[jax.Array], jax.Array],
        x: jax.Array,
        branch: Branch,
        name: str,
        has_gate: bool,
    ) -> jax.Array:
        """Adds a branch to the stream that `take` leaves of `x`, with its norms."""
        config = self.config
        place = registry.lookup("norm placement", PLACEMENTS, config.norm_placement)
        normed = x
        if place.before and (has_gate or not place.gates_only):
            normed = norm(config, x.dtype, f"{name}_norm")(x)
        x = take(x) + branch(x if place.gates_only else normed, normed)
        if place.after is None:
            return x
        return norm(config, x.dtype, f"{name}{place.after}")(x)

    def _scaled(
        self, name: str, branch: jax.Array, fixed: float | jax.Array | None
    ) -> jax.Array:
        """Touvron et al. (2021), arXiv:2103.17239: LayerScale; and a `fixed` factor."""
        if fixed is not None:
            branch = branch * jnp.asarray(fixed, branch.dtype)
        if self.config.residual not in ("layerscale", "gated_layerscale"):
            return branch
        init = nn.initializers.constant(self.config.layer_scale)
        scale = self.param(name, init, (branch.shape[-1],)).astype(branch.dtype)
        return branch * jnp.expand_dims(scale, tuple(range(branch.ndim - 1)))


POSITIONS = ("learned", "sinusoidal", "rope", "none")


def sinusoid(place: Any, width: int) -> Any:
    """Returns sines and cosines of places, [...] to [..., D].

    Reference: Vaswani et al. (2017), arXiv:1706.03762, Section 3.5.
    """
    pair = np.arange(width) // 2
    angle = place[..., None] / 10_000 ** (2 * pair / width)
    even = np.arange(width) % 2 == 0
    if isinstance(angle, np.ndarray):
        return np.where(even, np.sin(angle), np.cos(angle))
    return jnp.where(even, jnp.sin(angle), jnp.cos(angle))


def sinusoidal_positions(length: int, width: int) -> np.ndarray:
    """Returns the fixed position table, float64 [T, D]."""
    return sinusoid(np.arange(length), width)
