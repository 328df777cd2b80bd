"""What an evaluation means for one lane: its metrics row, its events, its end.

A lane's side of the training state is a JSON value that lives in the checkpoint:
`detector` (phases.State), `accuracy` (of each watched part, at the loop count of its
phase), `stage` (index of the curriculum's stage), `pins` (transitions whose parameters
were kept) and `final` (the last fields of its status, None while it trains).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from rdt_jax.training import curriculum, evaluate, phases

Lane = dict[str, Any]


class Awaited(NamedTuple):
    """What is awaited of every lane of a pack; the same while it trains.

    Attributes:
      config: config of the first lane; what is read here is the same for all.
      max_pins: parameters that a run may keep at transitions; None for no limit. Those
        of snapshots and of the end are kept whatever it is.
      budgets: steps at which parameters are kept as those of the end.
    """

    config: ml_collections.ConfigDict
    phases: Sequence[phases.Phase]
    stages: curriculum.Stages
    groups: Sequence[str]
    loops: Sequence[int]
    max_pins: int | None
    budgets: frozenset[int] = frozenset()


class Pin(NamedTuple):
    """Parameters to keep: `transitions/<event>-<side>-<step>`."""

    event: str  # with its hops: hop_learned_3; final; snapshot
    side: str  # before, after; at
    step: int  # of the evaluation whose parameters they are


class Observation(NamedTuple):
    """What an evaluation says of a lane.

    Attributes:
      lane: state of the lane after it.
      row: row of metrics.jsonl, without the step; None if the lane is no longer finite.
    """

    lane: Lane
    row: dict[str, float] | None
    events: list[dict[str, Any]]
    pins: list[Pin]


def new_lane(awaited: Awaited) -> Lane:
    """Returns the lane before its first evaluation."""
    detector = phases.new_state(awaited.phases)
    return {
        "detector": detector, "accuracy": {}, "stage": 0, "pins": 0, "final": None,
    }  # fmt: skip


def extended(lane: Lane, config: ml_collections.ConfigDict) -> Lane:
    """Returns the lane, which trains again if it spent less than the budget of now."""
    final = lane["final"] or {}
    spent = final.get("reason") == "budget" and final["step"] < config.num_steps
    return lane | {"final": None} if spent else lane


def observe(
    awaited: Awaited, lane: Lane, at: int, window: int, measured: Mapping[str, Any]
) -> Observation:
    """Takes in one evaluation of a lane, `window` updates since the one before.

    `measured` has "quantities" (name -> float32 [loops, G]), "weight_norm", and of
    `pack.TrainState` the lane's "loss_sum", "gradient_norm", "update_ratio" and
    "finite_steps".
    """
    # The last update may have broken what its own loss does not see yet.
    seen = (measured["quantities"]["loss"], measured["weight_norm"])
    if measured["finite_steps"] < at or not all(np.isfinite(x).all() for x in seen):
        last = int(measured["finite_steps"])
        failed = {"state": "failed", "reason": "nan", "step": last}
        return Observation(lane | {"final": failed}, None, [], [])
    row = _quantities(awaited, measured["quantities"])
    accuracy = {
        p.watched: row[_name(p.group, "accuracy", p.loops)] for p in awaited.phases
    }
    row["model/weight_norm"] = float(measured["weight_norm"])
    if at > 0:
        loops = awaited.config.recurrence.num_loops
        row[f"train/batch_loss@{loops}"] = float(measured["loss_sum"]) / window
        for name in ("gradient_norm", "update_ratio"):
            row[f"model/{name}"] = float(measured[name])
    if awaited.stages.values:
        row["curriculum/stage"] = awaited.stages.values[lane["stage"]]
    detector, events = phases.observe(lane["detector"], awaited.phases, at, accuracy)
    pins: list[Pin] = []
    for event in events:
        hops = "" if event["hops"] is None else f"_{event['hops']}"
        for side in ("before", "after"):
            if event[side] is None:
                continue
            if lane["pins"] + len(pins) == awaited.max_pins:
                event[side] = None
            else:
                pins.append(Pin(f"{event['event']}{hops}", side, event[side]))
    final = _final(awaited, detector, at)
    now = {
        "detector": detector,
        "accuracy": accuracy,
        "stage": curriculum.next_stage(awaited.stages, lane["stage"], detector),
        "pins": lane["pins"] + len(pins),
        "final": final,
    }
    if at in awaited.config.snapshot_steps:
        pins.append(Pin("snapshot", "at", at))
    if final is not None or at in awaited.budgets:
        pins.append(Pin("final", "after", at))
    return Observation(now, row, events, pins)


def shown_accuracy(lane: Lane) -> dict[str, float]:
    """Returns the accuracies of whole splits, which fit in a line."""
    return {k: v for k, v in lane["accuracy"].items() if "[" not in k}


def _name(group: str, quantity: str, loops: int) -> str:
    split, bracket, tag = group.partition("[")
    return f"{split}/{quantity}@{loops}{bracket}{tag}"


def _quantities(
    awaited: Awaited, measured: Mapping[str, np.ndarray]
) -> dict[str, float]:
    row = {}
    for position, loops in enumerate(awaited.loops):
        for column, group in enumerate(awaited.groups):
            for quantity, values in measured.items():
                if quantity == "kl" and loops == 1:
                    continue  # There is no loop before the first.
                if quantity in evaluate.TRAIN_ONLY and group != "train":
                    continue
                value = float(values[position, column])
                row[_name(group, quantity, loops)] = value
    return row


def _final(awaited: Awaited, detector: phases.State, at: int) -> dict[str, Any] | None:
    passed = phases.all_completed(detector, awaited.phases)
    if awaited.config.stop_after_phases and passed:
        return {"state": "done", "reason": "phases_passed", "step": at}
    if at >= awaited.config.num_steps:
        return {"state": "done", "reason": "budget", "step": at}
    return None
