"""Packs: which trials share a compiled program, and what packs need of a machine."""

import collections
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

import ml_collections

from rdt_jax import sharding, tasks
from rdt_jax.config import raise_problems
from rdt_jax.models import presets
from rdt_jax.profile import memory
from rdt_jax.store import checkpoint
from rdt_jax.training import curriculum, hyper, phases

# Trials that differ in these keys only may train as lanes of one pack. Parts of the
# program that only some values need, such as dropout, are in `hyper.parts_of`.
LANE_KEYS = ("seed", *hyper.LANE_KEYS)

Pack = list[ml_collections.ConfigDict]


def signature(config: ml_collections.ConfigDict) -> str:
    """Returns a text that two configs share if they can share a compiled program."""
    shared = config.to_dict()  # Without the lane keys.
    for key in LANE_KEYS:
        *sections, leaf = key.split(".")
        parent = shared
        for section in sections:
            parent = parent[section]
        del parent[leaf]
    parts = sorted(hyper.parts_of([config]))
    return json.dumps([shared, parts], sort_keys=True)


def program_id(config: ml_collections.ConfigDict) -> str:
    """Returns a short name of the signature of a config."""
    return hashlib.sha256(signature(config).encode()).hexdigest()[:12]


Predict = Callable[[ml_collections.ConfigDict], memory.Bytes]


@functools.cache
def predictor() -> Predict:
    """Returns a function that predicts bytes, computed once for each signature."""
    bytes_by_signature: dict[str, memory.Bytes] = {}

    def predict(config: ml_collections.ConfigDict) -> memory.Bytes:
        name = signature(config)
        if name not in bytes_by_signature:
            table = tasks.make_table(config)
            bytes_by_signature[name] = memory.predict(config, table)
        return bytes_by_signature[name]

    return predict


class Needs(NamedTuple):
    """What packs will need at most."""

    # number of programs to compile, one per signature and number of lanes; a pack that
    # is split later needs another one
    programs: int
    memory: int  # bytes on the device of the pack that needs the most
    # bytes on disk of the parameters that runs keep at transitions, in snapshots and at
    # their end
    pins: int
    checkpoints: int  # bytes on disk of the rotating checkpoints of all packs


def form(
    configs: Sequence[ml_collections.ConfigDict],
    max_lanes: int | None,
    memory_bytes: int,
    predict: Predict,
) -> list[Pack]:
    """Groups configs by signature, in their order, into packs that fit into memory.

    A pack has at most `max_lanes` lanes, or with None as many as fit. One lane is a
    pack even if its prediction is larger than `memory_bytes`, those of a worker's
    device, since predictions are rather too large than too small. ValueError if
    `max_lanes` is below 1.
    """
    if max_lanes is not None and max_lanes < 1:
        raise ValueError(f"--lanes must be at least 1, got {max_lanes}.")
    groups: dict[str, Pack] = {}
    for config in configs:
        groups.setdefault(signature(config), []).append(config)
    packs = []
    for group in groups.values():
        size = len(group) if max_lanes is None else max_lanes
        if size > 1:
            bytes_ = predict(group[0])
            fitting = (memory_bytes - bytes_.shared) // bytes_.lane
            size = max(1, min(size, fitting))
        packs += [group[i : i + size] for i in range(0, len(group), size)]
    return packs


def check_mesh(axes: sharding.Axes, configs: Pack, sweep: str) -> None:
    """Raises ValueError if the trials of a sweep cannot train on a mesh."""
    trials_per_program = collections.Counter(map(signature, configs)).values()
    most = max(trials_per_program, default=axes.trial)
    if axes.trial >= 2 * most:  # At least half of the devices would train padding.
        raise ValueError(
            f"--mesh must have trial below {2 * most}, twice the trials of {sweep} "
            f"that share a program, got {axes.trial}."
        )
    for config in {signature(config): config for config in configs}.values():
        model = presets.model_config(config, tasks.make_table(config))
        raise_problems(sharding.problems(axes, config, model))


def needs(packs: Sequence[Pack], max_pins: Sequence[int], predict: Predict) -> Needs:
    """Adds up what packs will need; each has the most pins of a run at transitions."""
    lanes_and_bytes = [(len(pack), predict(pack[0])) for pack in packs]
    num_pins = [
        1 + len(pack[0].snapshot_steps) + pins
        for pack, pins in zip(packs, max_pins, strict=True)
    ]
    return Needs(
        programs=len({(signature(pack[0]), len(pack)) for pack in packs}),
        memory=max(
            (b.shared + lanes * b.lane for lanes, b in lanes_and_bytes), default=0
        ),
        pins=sum(
            lanes * pins * b.params
            for (lanes, b), pins in zip(lanes_and_bytes, num_pins, strict=True)
        ),
        # One more than KEEP: the oldest goes after the next one is written.
        checkpoints=sum(
            lanes * (1 + checkpoint.KEEP) * b.state for lanes, b in lanes_and_bytes
        ),
    )


def max_pins(config: ml_collections.ConfigDict, budget: int | None, params: int) -> int:
    """Returns the number of pins that a run may keep at transitions.

    `budget` is in bytes on disk for all of them, None for no limit; a pin needs
    `params` bytes.
    """
    table = tasks.make_table(config)
    splits = sum(p.split in table.certificate.rows for p in phases.declared(config))
    stages = 0
    if config.curriculum.by is not None:
        stages = len(curriculum.stages_of(config, table).values)
    possible = 2 * (splits + stages)  # One before and one after each transition.
    return possible if budget is None else min(possible, budget // params)


def flops(pack: Pack) -> int:
    """Returns a lower bound of the floating-point operations of a pack's budget."""
    config = pack[0]
    table = tasks.make_table(config)
    return presets.update_flops(config, table) * config.num_steps * len(pack)
