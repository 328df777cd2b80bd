"""The packs that are trained, killed and trained on: what a new one needs is a line."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from rdt_jax import config as configs

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Toy sizes, evaluated and saved so often that most of a process's time, once it has
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
_TWO_HOPS = _TOY | {
    "task.kwargs.num_entities": 11,
    "task.kwargs.num_relations": 5,
    "task.kwargs.out_degree": 3,
    "task.kwargs.ood_share": 0.0,  # Without ood, phases can pass so early.
    "task.kwargs.phi": 1.3,
    "task.kwargs.atomic_repeats": 2,
    "phases.memorized": 0.3,
    "phases.id_generalized": 0.3,
}
_STAGES = _TOY | {
    "task.kwargs.num_entities": 7,
    "task.kwargs.num_relations": 3,
    "task.kwargs.max_hops": 5,
    "task.kwargs.max_train_hops": 4,
    "task.kwargs.train_per_hop": 40,
    "task.kwargs.heldout_per_hop": 20,
    "recurrence.num_loops": 2,
    "phases.hop_learned": 0.06,  # Chance is 1/7: stages pass soon.
    "curriculum.reset_optimizer": True,
}
_SLOW = {"optimizer.learning_rate": 1e-4}  # Passes no phase, and spends its budget.
_BREAKS = {  # Weights grow 300-fold an update, until their products overflow.
    "optimizer.learning_rate": 1.0,
    "optimizer.weight_decay": 300.0,
    "optimizer.warmup_steps": 0,
}


class Case(NamedTuple):
    """A pack."""

    config: str  # a named config
    overrides: Mapping[str, Any]  # of all lanes
    lanes: list[dict[str, Any]]  # the overrides of each
    exact: bool = False  # as of `run.TrainOptions`
    onset_errors: float = 4.0  # of `training.phases`; fewer let few rows begin a phase


_COMPOSITION = "knowledge_composition.py:smoke"
_THREE = [{"seed": 1}, {"seed": 2} | _SLOW, {"seed": 3} | _BREAKS]
CASES = {
    "solo": Case(
        _COMPOSITION,
        _TWO_HOPS | {"stop_after_phases": False, "snapshot_steps": (0, 20, 24)},
        [{}],
    ),
    # One lane breaks, one ends early, after which the third goes on alone.
    "pack": Case(_COMPOSITION, _TWO_HOPS, _THREE),
    "exact": Case(_COMPOSITION, _TWO_HOPS, _THREE, exact=True),
    "curriculum": Case(
        "knowledge_depth.py:smoke",
        _STAGES,
        [{"seed": 2}, {"seed": 3}, {"seed": 1} | _SLOW],
        onset_errors=-1.0,
    ),
}


def write(name: str, path: pathlib.Path) -> None:
    """Writes what the child needs to know of a case."""
    case = CASES[name]
    config = configs.load(f"{ROOT}/configs/{case.config}")
    lanes = [
        configs.override(config, {**case.overrides, **lane}) for lane in case.lanes
    ]
    values = {"exact": case.exact, "onset_errors": case.onset_errors}
    path.write_text(json.dumps(values | {"lanes": [configs.to_json(c) for c in lanes]}))
