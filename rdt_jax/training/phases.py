"""When a phase begins, completes and is lost: the only place that defines it.

Accuracies are smoothed by the median of the last SMOOTHING evaluations (of those there
are, at the start). A phase's *onset* is declared once the smoothed accuracy has
exceeded chance (`above_chance`) at ONSET_RUN evaluations running, or at fewer if it
reaches the threshold at once; it is dated at the first of them. It has *completed*
when, with its onset behind it, the smoothed accuracy reaches the threshold, and is
*lost* when, after that, it stays below half the threshold at LOST_RUN evaluations
running; it may then begin again.
"""

import dataclasses
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from rdt_jax.events import (
    BUILT_IN,
    HOP_LEARNED,
    Phase,
    declared,
    loops_of,
    parsed,
    rows_and_loops,
)
from rdt_jax.schema import KEYS
from rdt_jax.tasks import Table

SMOOTHING = 5
ONSET_ERRORS = 4.0  # binomial standard errors
LEAST_BY_CHANCE = 2.0  # rows that count as right by chance, however low it is
ONSET_RUN = 3
LOST_RUN = 5
# Evaluations whose parameters are kept: when an onset is declared, the newest that no
# smoothed value above chance has used is SMOOTHING + ONSET_RUN - 1 back. One to spare.
RING = 9

State = dict[str, Any]


def above_chance(chance: float, rows: int | np.ndarray) -> np.ndarray:
    """Returns the accuracy above which answers are no guesses.

    Above it Wilson's interval of ONSET_ERRORS standard errors lies beyond `chance`, the
    accuracy of a guess. That says nothing where a guess is right in no row or two (at a
    chance of 0, one right row would do), so chance counts as at least LEAST_BY_CHANCE
    rows: of very many rows eight must then be right, of nine seven. At most 1, which
    fewer than seven never exceed.
    """
    guessed = np.minimum(1.0, np.maximum(chance, LEAST_BY_CHANCE / rows))
    error = np.sqrt(guessed * (1 - guessed) / rows)
    return np.minimum(1.0, guessed + ONSET_ERRORS * error)


def phases_of(
    config: ml_collections.ConfigDict,
    table: Table,
    rows: Mapping[str, int],
    stages: Sequence[int] = (),
) -> list[Phase]:
    """Returns the phases of a run: those that are declared of rows that it evaluates.

    `rows` has the number of evaluated rows by group (splits, and their breakdowns),
    `stages` the value of the curriculum's tag in each of its stages.
    """
    by, awaited = config.curriculum.by, HOP_LEARNED not in config.phases.shown
    level, loops = config.phases[HOP_LEARNED], loops_of(config, "id")
    asked = [phase for phase in declared(config) if phase.group in rows]
    asked += [
        Phase(HOP_LEARNED, f"id[{by}={hops}]", loops, level, awaited=awaited, hops=hops)
        for hops in stages
    ]
    chance = table.certificate.chance
    return [
        dataclasses.replace(p, chance=chance[p.split], rows=rows[p.group])
        for p in asked
    ]


def new_state(phases: Sequence[Phase]) -> State:
    """Returns the state before the first evaluation."""
    fresh = {
        "recent": [],  # raw accuracies in the smoothing window
        "above": 0,  # evaluations running above `onset_above`
        "first_above": None,  # step of the first of them
        "before": None,  # step of the last evaluation that its window did not use
        "onset": None,
        "completed": None,
        "below": 0,  # evaluations running below half the threshold, once completed
        "occurrences": 0,  # times the phase began
    }
    return {
        "steps": [],
        "events": {p.name: fresh | {"recent": []} for p in phases},
    }


def observe(
    state: State, phases: Sequence[Phase], step: int, accuracy: Mapping[str, float]
) -> tuple[State, list[dict[str, Any]]]:
    """Takes in one evaluation; steps ascend from call to call.

    `accuracy` has a value for each `Phase.watched`. Returns the next state, the one
    before staying as it is, and the rows of events.jsonl that this evaluation adds:
    `kind` is onset, completed or lost; `before` and `after` are the steps of the
    parameters to pin, None where this is not the phase's first occurrence.
    """
    steps = [*state["steps"], step][-RING:]
    events, rows = {}, []
    for phase in phases:
        events[phase.name], kinds = _advance(
            state["events"][phase.name], phase, steps, accuracy[phase.watched]
        )
        entry = events[phase.name]
        smoothed = statistics.median(entry["recent"])
        for kind in kinds:
            first = entry["occurrences"] == 1
            row = {
                "step": step,
                "event": phase.event,
                "kind": kind,
                "hops": phase.hops,
                "split": phase.split,
                "loops": phase.loops,
                "onset": entry["onset"],
                "completed": None if kind == "onset" else entry["completed"],
                "threshold": phase.threshold,
                "value": smoothed,
                "before": entry["before"] if first and kind == "onset" else None,
                "after": step if first and kind == "completed" else None,
                "occurrence": entry["occurrences"],
            }
            rows.append(row)
        if "lost" in kinds:
            events[phase.name] = entry | {
                "onset": None, "completed": None, "above": 0, "below": 0,
            }  # fmt: skip
    return {"steps": steps, "events": events}, rows


def all_completed(state: State, phases: Sequence[Phase]) -> bool:
    """Says whether every phase that is awaited has completed and is not lost.

    Where none is awaited they have not: the run trains to its budget.
    """
    awaited = [state["events"][phase.name] for phase in phases if phase.awaited]
    return bool(awaited) and all(e["completed"] is not None for e in awaited)


def reached(state: State) -> str:
    """Names the last phase, in the order of `phases_of`, that has completed."""
    names = [e for e, s in state["events"].items() if s["completed"] is not None]
    return names[-1] if names else "start"


def problems(config: ml_collections.ConfigDict) -> list[str]:
    """Lists what of the `phases` section does not go with itself or the loops."""
    found = []
    names = [parsed(text)[0] for text in config.phases.further]
    if len(set(names)) < len(names):
        found.append(
            f"phases.further must have a name for each phase, got {', '.join(names)}."
        )
    evaluated = (config.recurrence.num_loops, *config.recurrence.eval_loops)
    if loops_of(config, "depth") not in evaluated:
        found.append(
            "phases.depth_loops must be a loop count that is evaluated, "
            f"recurrence.num_loops or one of recurrence.eval_loops: "
            f"{', '.join(map(str, evaluated))}; got {config.phases.depth_loops}."
        )
    for text in config.phases.further:
        loops = rows_and_loops(parsed(text)[1])[1]
        if loops not in (None, *evaluated):
            found.append(
                f"phases.further: the loops of {text!r} must be evaluated, "
                "recurrence.num_loops or one of recurrence.eval_loops: "
                f"{', '.join(map(str, evaluated))}; got {loops}."
            )
    return found


def table_problems(
    config: ml_collections.ConfigDict, table: Table, groups: Collection[str]
) -> list[str]:
    """Lists what the `phases` section awaits in vain of a table.

    `groups` are the evaluated rows, splits and their breakdowns; they are of no use,
    and perhaps empty, where there are no further phases and none that is only shown.
    """
    phases = declared(config)
    found = []
    for each in phases[len(phases) - len(config.phases.further) :]:
        if each.group not in groups:
            found.append(
                f"phases.further: {each.name} must be about rows that are evaluated: "
                f"{', '.join(groups)}; got {each.group}."
            )
    names = [each.name for each in phases if each.group in groups]
    names += [HOP_LEARNED] * (config.curriculum.by is not None)
    for name in config.phases.shown:
        if name not in names:
            found.append(
                f"phases.shown must hold phases of the run: {', '.join(names)}; got "
                f"{name}."
            )
    asked = {"depth_loops": "depth"}
    asked |= {e: s for e, s in BUILT_IN.items() if KEYS[f"phases.{e}"].default is None}
    return found + [
        f"phases.{key} must be none, since the table of {config.task.name} has no "
        f"{split} rows; got {config.phases[key]}."
        for key, split in asked.items()
        if config.phases[key] is not None and split not in table.certificate.rows
    ]


def _advance(
    entry: State, phase: Phase, steps: Sequence[int], accuracy: float
) -> tuple[State, list[str]]:
    entry = dict(entry)
    step = steps[-1]
    entry["recent"] = [*entry["recent"], accuracy][-SMOOTHING:]
    smoothed = statistics.median(entry["recent"])
    kinds = []
    if entry["onset"] is None:
        above = above_chance(phase.chance, phase.rows)
        entry["above"] = entry["above"] + 1 if smoothed > above else 0
        if entry["above"] == 1:
            entry["first_above"] = step
            entry["before"] = steps[max(0, len(steps) - 1 - SMOOTHING)]
        if entry["above"] and (
            entry["above"] >= ONSET_RUN or smoothed >= phase.threshold
        ):
            entry["onset"] = entry["first_above"]
            entry["occurrences"] += 1
            kinds.append("onset")
    if entry["onset"] is not None and entry["completed"] is None:
        if smoothed >= phase.threshold:
            entry["completed"] = step
            kinds.append("completed")
    elif entry["completed"] is not None:
        low = smoothed < phase.threshold / 2
        entry["below"] = entry["below"] + 1 if low else 0
        if entry["below"] >= LOST_RUN:
            kinds.append("lost")
    return entry, kinds
