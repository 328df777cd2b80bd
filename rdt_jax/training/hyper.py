"""What the lanes of a program share (`Spec`), and in what they may differ (`Lanes`).

A key that schema.py declares with `per_lane=True` becomes an argument of the program,
under its name in the config:

    hyper["optimizer.learning_rate"]  # float32 scalar of a lane, or [S] of a pack

All other keys are constants of the program. Those that training reads are in `Spec`.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections

from rdt_jax import schema
from rdt_jax.models import presets
from rdt_jax.models.architecture import ModelConfig
from rdt_jax.tasks import Table
from rdt_jax.training import losses

LANE_KEYS = tuple(name for name, key in schema.KEYS.items() if key.per_lane)

LaneParams = Mapping[str, jax.Array]  # By LANE_KEYS, float32 each.


class Lanes(NamedTuple):
    """What tells the lanes of a pack apart; constant during training."""

    seed: jax.Array  # uint32 [S]
    hyper: LaneParams  # float32 [S] each


@dataclasses.dataclass(frozen=True)
class Spec:
    """What is the same for all lanes of a pack, and so part of its program.

    Attributes:
      model: shape of the model.
      config: config of the runs without LANE_KEYS, so that nobody takes those of the
        first lane for all.
      parts: names of `parts_of`, of what the program has beside the least.
    """

    model: ModelConfig
    config: ml_collections.ConfigDict
    parts: frozenset[str]


def make_spec(configs: Sequence[ml_collections.ConfigDict], table: Table) -> Spec:
    """Returns what runs share that differ in their seed and LANE_KEYS only."""
    shared = configs[0].copy_and_resolve_references()
    with shared.unlocked():
        for key in LANE_KEYS:
            section, leaf = key.split(".")
            del shared[section][leaf]
    return Spec(presets.model_config(configs[0], table), shared, parts_of(configs))


def parts_of(configs: Sequence[ml_collections.ConfigDict]) -> frozenset[str]:
    """Names the parts of a program that at least one of the runs uses.

    Those that no run uses are left out of the program: `dropout`, `clip`,
    `deep_supervision` and every term of `losses.TERMS`.
    """
    parts = set()
    for config in configs:
        model, loss = config.model, config.loss
        weights = ("deep_supervision", *losses.TERMS)
        parts |= {name for name in weights if loss[name] > 0}
        if model.dropout > 0 or model.embedding_dropout > 0:
            parts.add("dropout")
        if config.gradient.clip_norm is not None:
            parts.add("clip")
    return frozenset(parts)


def lane_params(config: ml_collections.ConfigDict) -> dict[str, float]:
    """Returns the values of a run's LANE_KEYS; a limit that is None is infinite."""
    values = {key: config[key] for key in LANE_KEYS}
    return {k: math.inf if v is None else float(v) for k, v in values.items()}


def make_lanes(configs: Sequence[ml_collections.ConfigDict]) -> Lanes:
    """Returns the lanes that a pack of `configs` trains."""
    values = [lane_params(config) for config in configs]
    return Lanes(
        seed=jnp.array([config.seed for config in configs], jnp.uint32),
        hyper={
            key: jnp.array([value[key] for value in values], jnp.float32)
            for key in LANE_KEYS
        },
    )
