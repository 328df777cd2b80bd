"""A tiny model of modular addition, whose parameters are drawn and never trained."""

from typing import Any

import jax
import ml_collections

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.models import presets, recurrent
from tests.conftest import ROOT


def config(modulus: int, width: int, **overrides: Any) -> ml_collections.ConfigDict:
    """Returns a config; `__` stands for a dot in further keys."""
    changes = {
        "task.kwargs.modulus": modulus,
        "model.width": width,
        "model.num_heads": 2,
        "model.embedding_std": 1.0,  # Logits that differ.
    }
    changes |= {key.replace("__", "."): value for key, value in overrides.items()}
    return configs.override(configs.load(f"{ROOT}/configs/modular.py:smoke"), changes)


def params(
    config: ml_collections.ConfigDict, seed: int, *, core: float = 8.0
) -> recurrent.Params:
    """Draws parameters; those of the core are larger, as it would change little."""
    model = presets.model_config(config, tasks.make_table(config))
    drawn = jax.jit(recurrent.init, static_argnums=1)(jax.random.key(seed), model)
    return drawn | {"core": jax.tree.map(lambda x: core * x, drawn["core"])}
