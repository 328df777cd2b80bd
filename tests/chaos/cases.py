"""The packs that are trained, killed and trained on: what a new one needs is a line."""

import pathlib
from typing import Any

import ml_collections

from rdt_jax import config as configs

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Two-hop questions at toy size, evaluated and saved so often that most of a process's
# time, once it has started, goes into its records.
_TOY: dict[str, Any] = {
    "num_steps": 48,
    "eval_every_steps": 4,
    "checkpoint_every_steps": 8,
    "batch_size": 13,
    "task.kwargs.num_entities": 11,
    "task.kwargs.num_relations": 5,
    "task.kwargs.out_degree": 3,
    "task.kwargs.ood_share": 0.0,  # Without ood, phases can pass so early.
    "task.kwargs.phi": 1.3,
    "task.kwargs.atomic_repeats": 2,
    "model.width": 14,
    "model.num_heads": 2,
    "model.core_blocks": 1,
    "model.remat": "none",  # Compiles faster.
    "optimizer.learning_rate": 1e-2,
    "optimizer.warmup_steps": 5,
    "phases.memorized": 0.3,
    "phases.id_generalized": 0.3,
}
_SLOW = {"optimizer.learning_rate": 1e-4}  # Passes no phase, and spends its budget.
_BREAKS = {  # Weights grow 300-fold an update, until their products overflow.
    "optimizer.learning_rate": 1.0,
    "optimizer.weight_decay": 300.0,
    "optimizer.warmup_steps": 0,
}

# Name -> the overrides of each lane.
CASES: dict[str, list[dict[str, Any]]] = {
    "solo": [{"stop_after_phases": False}],
    "pack": [{"seed": 1}, {"seed": 2} | _SLOW, {"seed": 3} | _BREAKS],
}


def make(name: str) -> list[ml_collections.ConfigDict]:
    """Returns the configs of a case."""
    smoke = configs.load(f"{ROOT}/configs/knowledge_composition.py:smoke")
    return [configs.override(smoke, _TOY | lane) for lane in CASES[name]]
