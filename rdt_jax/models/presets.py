"""From a run's config to a model: names stand for choices of components."""

from collections.abc import Mapping
from typing import Any

import ml_collections

from rdt_jax import registry
from rdt_jax.models import loop, recurrent
from rdt_jax.tasks import Table

# Preset -> the model keys it fixes. The pre-norm GPT-2 block without injection, step
# embedding or gate is what `rdt` means, and what the skeleton does by itself.
PRESETS: Mapping[str, Mapping[str, Any]] = {"rdt": {}}


def model_config(
    config: ml_collections.ConfigDict, table: Table
) -> recurrent.ModelConfig:
    """Returns the model that a run trains on `table`."""
    section = config.model.to_dict()
    fixed = registry.lookup("model preset", PRESETS, section.pop("preset"))
    for key in ("dropout", "embedding_dropout"):  # Traced rates, not shapes.
        del section[key]
    return recurrent.ModelConfig(
        vocab_size=len(table.vocab),
        max_length=table.tokens.shape[1],
        **section | fixed,
    )


def problems(config: ml_collections.ConfigDict) -> list[str]:
    """Lists what is wrong with the `model` and `recurrence` sections."""
    model, recurrence = config.model, config.recurrence
    choices = {
        "model.preset": PRESETS,
        "model.position": recurrent.POSITIONS,
        "model.output_init": recurrent.OUTPUT_INITS,
        "model.dtype": recurrent.DTYPES,
        "model.remat": loop.REMAT,
        "recurrence.sampling": loop.SAMPLINGS,
    }
    found = []
    for key, values in choices.items():
        section, name = key.split(".")
        if config[section][name] not in values:
            found.append(
                f"{key} must be one of {', '.join(values)}, "
                f"got {config[section][name]!r}."
            )
    for key in ("width", "num_heads", "mlp_ratio", "core_blocks"):
        if model[key] < 1:
            found.append(f"model.{key} must be at least 1, got {model[key]}.")
    for key in ("prelude_blocks", "coda_blocks"):
        if model[key] < 0:
            found.append(f"model.{key} must be at least 0, got {model[key]}.")
    if model.num_heads >= 1 and model.width % model.num_heads:
        found.append(
            f"model.width ({model.width}) must be a multiple of model.num_heads "
            f"({model.num_heads})."
        )
    for key in ("dropout", "embedding_dropout"):
        if not 0 <= model[key] < 1:
            found.append(f"model.{key} must be in [0, 1), got {model[key]}.")
    if model.embedding_std <= 0:
        found.append(
            f"model.embedding_std must be positive, got {model.embedding_std}."
        )
    if recurrence.sampling in loop.SAMPLINGS:
        found += loop.problems(recurrence)
    return found
