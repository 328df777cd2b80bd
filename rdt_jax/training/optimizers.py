"""Optimizers over traced hyper-parameters, so that the lanes of a pack may differ."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax

from rdt_jax import registry
from rdt_jax.training import gradients


class Hyper(NamedTuple):
    """What may differ between the lanes of one program; float32 scalars, or [S].

    `LANE_KEYS` says which config key each one comes from.
    """

    learning_rate: jax.Array
    weight_decay: jax.Array
    b1: jax.Array
    b2: jax.Array
    momentum: jax.Array
    warmup_steps: jax.Array
    clip_norm: jax.Array
    filter_strength: jax.Array
    filter_decay: jax.Array
    label_smoothing: jax.Array
    deep_supervision: jax.Array
    block_similarity: jax.Array
    dropout: jax.Array
    embedding_dropout: jax.Array
    init_scale: jax.Array


LANE_KEYS: Mapping[str, str] = {
    "optimizer.learning_rate": "learning_rate",
    "optimizer.weight_decay": "weight_decay",
    "optimizer.b1": "b1",
    "optimizer.b2": "b2",
    "optimizer.momentum": "momentum",
    "optimizer.warmup_steps": "warmup_steps",
    "gradient.clip_norm": "clip_norm",
    "gradient.filter_strength": "filter_strength",
    "gradient.filter_decay": "filter_decay",
    "loss.label_smoothing": "label_smoothing",
    "loss.deep_supervision": "deep_supervision",
    "loss.block_similarity": "block_similarity",
    "model.dropout": "dropout",
    "model.embedding_dropout": "embedding_dropout",
    "model.init_scale": "init_scale",
}

# Parts of the program that are left out while no lane uses them: does a run use it?
PARTS: Mapping[str, Callable[[ml_collections.ConfigDict], bool]] = {
    "dropout": lambda c: c.model.dropout > 0 or c.model.embedding_dropout > 0,
    "clip": lambda c: c.gradient.clip_norm is not None,
    "deep_supervision": lambda c: c.loss.deep_supervision > 0,
    "block_similarity": lambda c: c.loss.block_similarity > 0,
}


def parts_of(configs: Iterable[ml_collections.ConfigDict]) -> frozenset[str]:
    """Names the parts of PARTS that at least one of the runs uses."""
    configs = tuple(configs)
    return frozenset(name for name, uses in PARTS.items() if any(map(uses, configs)))


# Parameters that are no part of the blocks and of what stands between them.
_OUTSIDE = ("embedding", "position", "step", "readout", "halting", "final_norm")


def is_block_matrix(path: tuple[Any, ...], leaf: jax.Array) -> bool:
    """Says whether a parameter is a matrix, or several, of prelude, core or coda.

    Those of injection and gate count as well; tables, readout and halting do not, nor
    do vectors.

    Args:
      path: of the leaf in the tree of parameters, as JAX gives it.
      leaf: the parameter.
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


def _muon(hyper: Hyper, epsilon: float) -> optax.GradientTransformation:
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

    def axes(path, leaf) -> tuple[int, int]:
        is_router = any("router" in str(entry) for entry in path)
        return (0 if is_router else leaf.ndim - 2), leaf.ndim - 1

    def scale(path, leaf):
        return _MUON_RMS * max(leaf.shape[axis] for axis in axes(path, leaf)) ** 0.5

    with_path = jax.tree_util.tree_map_with_path
    orthogonalized = optax.chain(
        optax.contrib.scale_by_muon(
            beta=hyper.momentum,
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


def _adam(hyper: Hyper, epsilon: float) -> optax.GradientTransformation:
    return optax.scale_by_adam(hyper.b1, hyper.b2, epsilon)


# What an update is before weight decay and rate: from a lane's numbers and epsilon.
OPTIMIZERS: Mapping[str, Callable[[Hyper, float], optax.GradientTransformation]] = {
    "adamw": _adam,
    "muon": _muon,
    "lion": lambda hyper, _: optax.scale_by_lion(hyper.b1, hyper.b2),
    "sgd": lambda hyper, _: optax.trace(hyper.momentum),
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


def make(
    config: ml_collections.ConfigDict,
    hyper: Hyper,
    parts: frozenset[str] | None = None,
) -> optax.GradientTransformation:
    """Builds a lane's optimizer inside the traced step.

    It does to the gradient what `gradients` says, then
    w <- w - rate * (direction + decay * w), optax's convention, for all of OPTIMIZERS.

    Args:
      config: of any lane of the pack.
      hyper: scalars.
      parts: `parts_of` the pack; None for a pack of this config alone.
    """
    section = config.optimizer
    decay = registry.lookup("schedule", SCHEDULES, section.schedule)
    num_steps, final = config.num_steps, section.final_fraction
    tail_steps = section.decay_fraction * num_steps

    def schedule(step: jax.Array) -> jax.Array:
        # optax's schedules refuse a traced warm-up length (its fractions are traced).
        warmup = jnp.maximum(hyper.warmup_steps, 1.0)
        ramp = jnp.minimum((step + 1) / warmup, 1.0)
        span = jnp.maximum(num_steps - hyper.warmup_steps, 1.0)
        progress = jnp.clip((step - hyper.warmup_steps) / span, 0.0, 1.0)
        tail = jnp.clip(1.0 - (num_steps - step) / tail_steps, 0.0, 1.0)
        return hyper.learning_rate * ramp * decay(progress, tail, final)

    parts = parts_of([config]) if parts is None else parts
    direction = registry.lookup("optimizer", OPTIMIZERS, section.name)
    decayed = registry.lookup("decayed", DECAYED, section.decayed)
    return optax.chain(
        *gradients.before(config.gradient, hyper, "clip" in parts),
        direction(hyper, section.epsilon),
        optax.add_decayed_weights(hyper.weight_decay, decayed),
        optax.scale_by_learning_rate(schedule),
        *([gradients.constant_norm()] if section.constant_norm else []),
    )


def read_hyper(config: ml_collections.ConfigDict) -> dict[str, float]:
    """Returns the values of a run's lane keys, by their name in `Hyper`."""
    values = {}
    for key, name in LANE_KEYS.items():
        section, leaf = key.split(".")
        value = config[section][leaf]
        values[name] = math.inf if value is None else float(value)  # No limit.
    return values


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
