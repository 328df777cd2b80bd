"""Optimizers over traced hyper-parameters, so that the lanes of a pack may differ."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax

from rdt_jax import registry


class Hyper(NamedTuple):
    """What may differ between the lanes of one program; float32 scalars, or [S].

    `LANE_KEYS` says which config key each one comes from.
    """

    learning_rate: jax.Array
    weight_decay: jax.Array
    b1: jax.Array
    b2: jax.Array
    warmup_steps: jax.Array
    label_smoothing: jax.Array
    dropout: jax.Array
    embedding_dropout: jax.Array


LANE_KEYS: Mapping[str, str] = {
    "optimizer.learning_rate": "learning_rate",
    "optimizer.weight_decay": "weight_decay",
    "optimizer.b1": "b1",
    "optimizer.b2": "b2",
    "optimizer.warmup_steps": "warmup_steps",
    "loss.label_smoothing": "label_smoothing",
    "model.dropout": "dropout",
    "model.embedding_dropout": "embedding_dropout",
}


def _adamw(hyper: Hyper, schedule: optax.Schedule, epsilon: float):
    # optax multiplies the decay by the rate: w <- w - rate * (adam + decay * w).
    return optax.adamw(
        schedule,
        b1=hyper.b1,
        b2=hyper.b2,
        eps=epsilon,
        weight_decay=hyper.weight_decay,
    )


OPTIMIZERS: Mapping[str, Callable[..., optax.GradientTransformation]] = {
    "adamw": _adamw,
}

# Share of the rate at progress p in [0, 1] from the end of the warm-up to num_steps.
SCHEDULES: Mapping[str, Callable[[jax.Array, float], jax.Array]] = {
    "constant": lambda p, final: jnp.ones_like(p),
    "linear": lambda p, final: 1 - (1 - final) * p,
    "cosine": lambda p, final: final + (1 - final) * (1 + jnp.cos(jnp.pi * p)) / 2,
}


def make(
    config: ml_collections.ConfigDict, hyper: Hyper
) -> optax.GradientTransformation:
    """Builds a lane's optimizer inside the traced step, from its scalar `hyper`."""
    section = config.optimizer
    decay = registry.lookup("schedule", SCHEDULES, section.schedule)
    num_steps, final = config.num_steps, section.final_fraction

    def schedule(step: jax.Array) -> jax.Array:
        # optax's schedules refuse a traced warm-up length (its fractions are traced).
        warmup = jnp.maximum(hyper.warmup_steps, 1.0)
        ramp = jnp.minimum((step + 1) / warmup, 1.0)
        span = jnp.maximum(num_steps - hyper.warmup_steps, 1.0)
        progress = jnp.clip((step - hyper.warmup_steps) / span, 0.0, 1.0)
        return hyper.learning_rate * ramp * decay(progress, final)

    optimizer = registry.lookup("optimizer", OPTIMIZERS, section.name)
    return optimizer(hyper, schedule, section.epsilon)


def read_hyper(config: ml_collections.ConfigDict) -> dict[str, float]:
    """Returns the values of a run's lane keys, by their name in `Hyper`."""
    values = {}
    for key, name in LANE_KEYS.items():
        section, leaf = key.split(".")
        values[name] = float(config[section][leaf])
    return values


def problems(config: ml_collections.ConfigDict) -> list[str]:
    """Lists what is wrong with the `optimizer` and `loss` sections."""
    section = config.optimizer
    found = []
    for key, table in (("name", OPTIMIZERS), ("schedule", SCHEDULES)):
        if section[key] not in table:
            found.append(
                f"optimizer.{key} must be one of {', '.join(table)}, "
                f"got {section[key]!r}."
            )
    if section.learning_rate <= 0:
        found.append(
            f"optimizer.learning_rate must be positive, got {section.learning_rate}."
        )
    if section.epsilon <= 0:
        found.append(f"optimizer.epsilon must be positive, got {section.epsilon}.")
    if section.weight_decay < 0:
        found.append(
            f"optimizer.weight_decay must be at least 0, got {section.weight_decay}."
        )
    for key in ("b1", "b2"):
        if not 0 <= section[key] < 1:
            found.append(f"optimizer.{key} must be in [0, 1), got {section[key]}.")
    if not 0 <= section.warmup_steps <= config.num_steps:
        found.append(
            f"optimizer.warmup_steps must be in [0, num_steps = {config.num_steps}], "
            f"got {section.warmup_steps}."
        )
    if not 0 <= section.final_fraction <= 1:
        found.append(
            f"optimizer.final_fraction must be in [0, 1], got {section.final_fraction}."
        )
    smoothing = config.loss.label_smoothing
    if not 0 <= smoothing < 1:
        found.append(f"loss.label_smoothing must be in [0, 1), got {smoothing}.")
    return found
