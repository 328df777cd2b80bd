"""Which trials share one compiled program."""

import json
from collections.abc import Sequence

import ml_collections

from rdt_jax import tasks
from rdt_jax.models import loop, presets, recurrent
from rdt_jax.training import optimizers

# Trials that differ in these keys only may train as lanes of one pack. Whether there is
# any dropout at all is part of the program.
LANE_KEYS = ("seed", *optimizers.LANE_KEYS)

Pack = list[ml_collections.ConfigDict]


def signature(config: ml_collections.ConfigDict) -> str:
    """Names the program that a config needs: everything but its lane keys."""
    static = config.to_dict()
    for key in LANE_KEYS:
        *sections, leaf = key.split(".")
        parent = static
        for section in sections:
            parent = parent[section]
        del parent[leaf]
    drops = config.model.dropout > 0 or config.model.embedding_dropout > 0
    return json.dumps([static, drops], sort_keys=True)


def form(configs: Sequence[ml_collections.ConfigDict], max_lanes: int) -> list[Pack]:
    """Groups configs by signature, in their order, into packs of at most `max_lanes`.

    Raises:
      ValueError: if `max_lanes` is below 1.
    """
    if max_lanes < 1:
        raise ValueError(f"--lanes must be at least 1, got {max_lanes}.")
    groups: dict[str, Pack] = {}
    for config in configs:
        groups.setdefault(signature(config), []).append(config)
    return [
        group[start : start + max_lanes]
        for group in groups.values()
        for start in range(0, len(group), max_lanes)
    ]


def flops(pack: Pack) -> int:
    """Returns the floating-point operations of a pack's whole budget, at the least."""
    config = pack[0]
    table = tasks.make_table(config)
    per_row = recurrent.training_flops(
        presets.model_config(config, table),
        num_loops=loop.mean_loops(config.recurrence),
        length=table.tokens.shape[1],
        num_answers=table.targets.shape[1],
    )
    return per_row * config.batch_size * config.num_steps * len(pack)
