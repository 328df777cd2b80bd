"""The packs that are trained, killed and trained on: what a new one needs is a line."""

import pathlib
from typing import Any, NamedTuple

import ml_collections

from rdt_jax import config as configs

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Small, and evaluated and saved so often that most of a process's time, once it has
# started, goes into its records.
_TOY: dict[str, Any] = {
    "num_steps": 48,
    "eval_every_steps": 4,
    "checkpoint_every_steps": 8,
    "batch_size": 13,
    "model.width": 14,
    "model.num_heads": 2,
    "model.core_blocks": 1,
    "model.remat": "none",  # Compiles faster.
    "optimizer.learning_rate": 1e-2,
    "optimizer.warmup_steps": 5,
}
_TWO_HOPS: dict[str, Any] = {
    "task.kwargs.num_entities": 11,
    "task.kwargs.num_relations": 5,
    "task.kwargs.out_degree": 3,
    "task.kwargs.ood_share": 0.0,  # Without ood, phases can pass so early.
    "task.kwargs.phi": 1.3,
    "task.kwargs.atomic_repeats": 2,
    "phases.memorized": 0.3,
    "phases.id_generalized": 0.3,
}
_HOPS: dict[str, Any] = {
    "task.kwargs.num_entities": 7,
    "task.kwargs.num_relations": 3,
    "task.kwargs.max_hops": 5,
    "task.kwargs.max_train_hops": 4,
    "task.kwargs.train_per_hop": 40,
    "task.kwargs.heldout_per_hop": 20,
    "phases.hop_learned": 0.11,  # Below chance: stages pass soon.
}
_SLOW = {"optimizer.learning_rate": 1e-4}  # Passes no phase, and spends its budget.
_BREAKS = {  # Weights grow 300-fold an update, until their products overflow.
    "optimizer.learning_rate": 1.0,
    "optimizer.weight_decay": 300.0,
    "optimizer.warmup_steps": 0,
}


class Case(NamedTuple):
    """A named config, what is changed in it, and in each lane."""

    config: str
    overrides: dict[str, Any]
    lanes: list[dict[str, Any]]


CASES: dict[str, Case] = {
    "solo": Case("knowledge_composition", _TWO_HOPS, [{"stop_after_phases": False}]),
    # One lane breaks, one ends early: then the third goes on alone.
    "pack": Case(
        "knowledge_composition",
        _TWO_HOPS,
        [{"seed": 1}, {"seed": 2} | _SLOW, {"seed": 3} | _BREAKS],
    ),
    # Stages end at different times, some with a fresh optimizer.
    "curriculum": Case(
        "knowledge_depth",
        _HOPS | {"curriculum.reset_optimizer": True},
        [{"seed": 2}, {"seed": 3}],
    ),
}


def make(name: str) -> list[ml_collections.ConfigDict]:
    """Returns the configs of a case."""
    case = CASES[name]
    smoke = configs.load(f"{ROOT}/configs/{case.config}.py:smoke")
    return [
        configs.override(smoke, _TOY | case.overrides | lane) for lane in case.lanes
    ]
