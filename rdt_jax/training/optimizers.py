"""Optimizers over traced hyper-parameters, so that the lanes of a pack may differ."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from rdt_jax import registry
from rdt_jax.training import gradients
from rdt_jax.training.hyper import LaneParams, Spec

# Parameters that are no part of the blocks and of what stands between them.
_OUTSIDE = ("embedding", "position", "step", "readout", "halting", "final_norm")


def is_block_matrix(path: tuple[Any, ...], leaf: jax.Array) -> bool:
    """Says whether a parameter is a matrix, or several, of prelude, core or coda.

    Those of injection and gate count as well; tables, readout and halting do not, nor
    do vectors. `path` has the keys of the leaf, as JAX gives them.
    """
    return path[0].key not in _OUTSIDE and leaf.ndim >= 2


_block_matrices = lambda params: jax.tree_util.tree_map_with_path(
    is_block_matrix, params
)

# From the parameters to which of them decay; None for all.
DECAYED: Mapping[str, Callable[[Any], Any] | None] = {
    "all": None,
    "matrices": lambda params: jax.tree.map(lambda x: x.ndim >= 2, params),
    "blocks": _block_matrices,
}


_MUON_RMS = 0.2  # of a matrix's update over the rate, about that of AdamW's


def _muon(hyper: LaneParams, epsilon: float) -> optax.GradientTransformation:
    """Orthogonalizes the momentum of the blocks' matrices; all else is AdamW's.

    A leaf of more than two axes is a batch of matrices on its last two, but for
    routers, [D, H, E], which are one matrix [D, E] per head. Updates are scaled to the
    root mean square of AdamW's, so that one rate serves both.

    Reference: Jordan et al. (2024), Muon, with Nesterov momentum and five
    Newton-Schulz iterations, as optax has it; the scale is that of Liu et al. (2025),
    arXiv:2502.16982.

    Differs from the code of Jordan et al.: optax corrects the bias of momentum and
    gradient, and theirs does not. The first direction is the same. In the second the
    newest gradient weighs 1.24 times as much beside the older ones at a momentum of
    .95, in the 25th less than 1.01 times.
    """

    def axes(path: tuple[Any, ...], leaf: jax.Array) -> tuple[int, int]:
        is_router = any("router" in str(entry) for entry in path)
        return (0 if is_router else leaf.ndim - 2), leaf.ndim - 1

    def scale(path: tuple[Any, ...], leaf: jax.Array) -> float:
        return _MUON_RMS * max(leaf.shape[axis] for axis in axes(path, leaf)) ** 0.5

    with_path = jax.tree_util.tree_map_with_path
    orthogonalized = optax.chain(
        optax.contrib.scale_by_muon(
            beta=hyper["optimizer.momentum"],
            weight_dimension_numbers=functools.partial(
                with_path, lambda p, x: optax.contrib.MuonDimensionNumbers(*axes(p, x))
            ),
        ),
        optax.stateless(
            lambda updates, _: with_path(lambda p, x: scale(p, x) * x, updates)
        ),
    )
    names = {True: "matrices", False: "rest"}
    return optax.partition(
        {"matrices": orthogonalized, "rest": _adam(hyper, epsilon)},
        lambda params: jax.tree.map(names.get, _block_matrices(params)),
    )


def _adam(hyper: LaneParams, epsilon: float) -> optax.GradientTransformation:
    return optax.scale_by_adam(hyper["optimizer.b1"], hyper["optimizer.b2"], epsilon)


# What an update is before weight decay and rate: from a lane's numbers and epsilon.
OPTIMIZERS: Mapping[
    str, Callable[[LaneParams, float], optax.GradientTransformation]
] = {
    "adamw": _adam,
    "muon": _muon,
    "lion": lambda hyper, _: optax.scale_by_lion(
        hyper["optimizer.b1"], hyper["optimizer.b2"]
    ),
    "sgd": lambda hyper, _: optax.trace(hyper["optimizer.momentum"]),
}

# Share of the rate, from the progress in [0, 1] from the end of the warm-up to
# num_steps, that through the last `decay_fraction` of all steps, and `final_fraction`.
SCHEDULES: Mapping[str, Callable[[jax.Array, jax.Array, float], jax.Array]] = {
    "constant": lambda p, tail, final: jnp.ones_like(p),
    "linear": lambda p, tail, final: 1 - (1 - final) * p,
    "cosine": lambda p, tail, final: (
        final + (1 - final) * (1 + jnp.cos(jnp.pi * p)) / 2
    ),
    "wsd": lambda p, tail, final: 1 - (1 - final) * tail,
}


def make(spec: Spec, hyper: LaneParams) -> optax.GradientTransformation:
    """Builds a lane's optimizer inside the traced step.

    It does to the gradient what `gradients` says, then
    w <- w - rate * (direction + decay * w), optax's convention, for all of OPTIMIZERS.
    """
    section = spec.config.optimizer
    direction = registry.lookup("optimizer", OPTIMIZERS, section.name)
    decayed = registry.lookup("decayed", DECAYED, section.decayed)
    return optax.chain(
        *gradients.before(spec.config.gradient, hyper, "clip" in spec.parts),
        direction(hyper, section.epsilon),
        optax.add_decayed_weights(hyper["optimizer.weight_decay"], decayed),
        optax.scale_by_learning_rate(functools.partial(_rate, spec, hyper)),
        *([gradients.constant_norm()] if section.constant_norm else []),
    )


def _rate(spec: Spec, hyper: LaneParams, step: jax.Array) -> jax.Array:
    """Returns the learning rate of an update, from the number of those before it."""
    section, num_steps = spec.config.optimizer, spec.config.num_steps
    decay = registry.lookup("schedule", SCHEDULES, section.schedule)
    warmup_steps = hyper["optimizer.warmup_steps"]
    # optax's schedules refuse a traced warm-up length (its fractions are traced).
    warmup = jnp.maximum(warmup_steps, 1.0)
    ramp = jnp.minimum((step + 1) / warmup, 1.0)
    span = jnp.maximum(num_steps - warmup_steps, 1.0)
    progress = jnp.clip((step - warmup_steps) / span, 0.0, 1.0)
    tail_steps = section.decay_fraction * num_steps
    tail = jnp.clip(1.0 - (num_steps - step) / tail_steps, 0.0, 1.0)
    rate = hyper["optimizer.learning_rate"] * ramp
    return rate * decay(progress, tail, section.final_fraction)


def problems(config: ml_collections.ConfigDict) -> list[str]:
    """Lists what of the `optimizer` section does not go with the budget."""
    section = config.optimizer
    if section.warmup_steps > config.num_steps:
        return [
            f"optimizer.warmup_steps must be in [0, num_steps = {config.num_steps}], "
            f"got {section.warmup_steps}."
        ]
    begin = (1 - section.decay_fraction) * config.num_steps
    if section.schedule == "wsd" and section.warmup_steps > begin:
        return [
            "optimizer.warmup_steps must end before the decay of schedule wsd "
            f"begins at step {begin:g}, got {section.warmup_steps}."
        ]
    return []
