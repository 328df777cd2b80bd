"""A tiny model of many loops on questions of many hops, untrained but never still."""

import functools

import jax
import ml_collections
import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.analysis import depth
from rdt_jax.models import presets, recurrent
from tests.conftest import ROOT

LOOPS = 5


@functools.cache
def config() -> ml_collections.ConfigDict:
    """Returns the config; chance is 1 / 7."""
    return configs.override(
        configs.load(f"{ROOT}/configs/knowledge_depth.py:smoke"),
        {
            "task.kwargs.num_entities": 7,
            "task.kwargs.num_relations": 3,
            "task.kwargs.max_hops": 5,
            "task.kwargs.max_train_hops": 3,
            "task.kwargs.train_per_hop": 40,
            "task.kwargs.heldout_per_hop": 23,
            "model.width": 8,
            "model.num_heads": 2,
            "model.core_blocks": 1,
            "model.output_init": "normal",  # At zero, a loop would change nothing.
            "model.embedding_std": 1.0,
            "recurrence.num_loops": 2,
        },
    )


@functools.cache
def table() -> tasks.Table:
    """Returns the table of the config."""
    return tasks.make_table(config())


@functools.cache
def params() -> recurrent.Params:
    """Draws parameters of the model."""
    model = presets.model_config(config(), table())
    drawn = jax.jit(lambda key: recurrent.init(key, model))(jax.random.key(3))
    return drawn | {"core": jax.tree.map(lambda x: 8 * x, drawn["core"])}


@functools.cache
def measured() -> depth.Depth:
    """Measures the model, in batches that do not divide its rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depth, "BATCH_BYTES", 30 * 4 * 8 * 7 * (LOOPS + 1))
        return depth.measure(params(), config(), table(), num_loops=LOOPS)
