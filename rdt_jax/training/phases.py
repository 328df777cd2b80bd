"""When a phase begins, completes and is lost: the only place that defines it.

Accuracies are those at the training loop count (of depth: at `phases.depth_loops`, if
it is given), smoothed by the median of the last
SMOOTHING evaluations (of those there are, at the start). A phase's *onset* is declared
once the smoothed accuracy has exceeded chance (`above_chance`) at ONSET_RUN evaluations
running, or at fewer if it reaches the threshold at once; it is dated at the first of
them. It has *completed* when, with its onset behind it, the smoothed accuracy reaches
the threshold, and is *lost* when, after that, it stays below half the threshold at
LOST_RUN evaluations running; it may then begin again.

Under a curriculum, each of its stages is a phase of its own: `hop_learned` at hops k is
about the held-out rows of exactly k hops.

The detector is a fold over evaluations: `observe(state, ...)` returns the next state, a
JSON value that lives in the checkpoint.
"""

import dataclasses
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from rdt_jax.schema import EVENTS, HOP_LEARNED, KEYS
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


@dataclasses.dataclass(frozen=True)
class Phase:
    """One event to wait for.

    Attributes:
      event: key of EVENTS, or HOP_LEARNED.
      split: split whose accuracy is watched.
      loops: loop count of that accuracy.
      threshold: smoothed accuracy at which the phase has completed.
      chance: accuracy of a uniform guess on the split.
      rows: evaluated rows that are watched.
      tag: tag of the curriculum, if HOP_LEARNED.
      hops: its value that the rows have; None for all rows of the split.
    """

    event: str
    split: str
    loops: int
    threshold: float
    chance: float
    rows: int
    tag: str | None = None
    hops: int | None = None

    @property
    def name(self) -> str:
        """Names the phase among those of a run: `hop_learned_3`."""
        return self.event if self.hops is None else f"{self.event}_{self.hops}"

    @property
    def group(self) -> str:
        """Names the watched rows as evaluations do: `id[hops=3]`."""
        return (
            self.split if self.hops is None else f"{self.split}[{self.tag}={self.hops}]"
        )

    @property
    def onset_above(self) -> float:
        """Smoothed accuracy above which the phase may have begun."""
        return float(above_chance(self.chance, self.rows))


def above_chance(chance: float, rows: int | np.ndarray) -> np.ndarray:
    """Returns the accuracy above which answers are no guesses.

    Above it Wilson's interval of ONSET_ERRORS standard errors lies beyond chance. That
    says nothing where a guess is right in no row or two (at a chance of 0, one right
    row would do), so chance counts as at least LEAST_BY_CHANCE rows: of very many rows
    eight must then be right, of nine seven. At most 1, which fewer than seven never
    exceed.

    Args:
      chance: accuracy of a guess.
      rows: number of rows, one or an array.
    """
    guessed = np.minimum(1.0, np.maximum(chance, LEAST_BY_CHANCE / rows))
    error = np.sqrt(guessed * (1 - guessed) / rows)
    return np.minimum(1.0, guessed + ONSET_ERRORS * error)


def loops_of(config: ml_collections.ConfigDict, split: str) -> int:
    """Returns the loop count at which the accuracy of a split is judged."""
    loops = config.phases.depth_loops if split == "depth" else None
    return config.recurrence.num_loops if loops is None else loops


def events_of(config: ml_collections.ConfigDict, splits: Collection[str]) -> list[str]:
    """Returns the events that a run awaits on the splits that its table has."""
    return [
        event
        for event, split in EVENTS.items()
        if split in splits and config.phases[event] is not None
    ]


def phases_of(
    config: ml_collections.ConfigDict,
    table: Table,
    rows: Mapping[str, int],
    stages: Sequence[int] = (),
) -> list[Phase]:
    """Returns the phases of a run: one for each event of `events_of`.

    Args:
      config: config of the run.
      table: table of its task.
      rows: evaluated rows by group: splits, and their breakdowns.
      stages: values of the curriculum's tag, one for each of its stages.
    """
    watched: list[tuple[str, str, int | None]] = [
        (event, EVENTS[event], None) for event in events_of(config, rows)
    ]
    watched += [(HOP_LEARNED, "id", value) for value in stages]
    found = []
    for event, split, hops in watched:
        phase = Phase(
            event=event,
            split=split,
            loops=loops_of(config, split),
            threshold=config.phases[event],
            chance=table.certificate.chance[split],
            rows=0,
            tag=None if hops is None else config.curriculum.by,
            hops=hops,
        )
        found.append(dataclasses.replace(phase, rows=rows[phase.group]))
    return found


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
    """Takes in one evaluation.

    Args:
      state: state from `new_state`, or as returned here; not changed.
      phases: phases to wait for.
      step: step of the evaluation, ascending from call to call.
      accuracy: `Phase.group` -> accuracy at `Phase.loops`.

    Returns:
      The next state, and the rows of events.jsonl that this evaluation adds: `kind` is
      onset, completed or lost; `before` and `after` are the steps of the parameters to
      pin, None where this is not the phase's first occurrence.
    """
    steps = [*state["steps"], step][-RING:]
    events, rows = {}, []
    for phase in phases:
        events[phase.name], kinds = _advance(
            state["events"][phase.name], phase, steps, accuracy[phase.group]
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


def all_completed(state: State) -> bool:
    """Says whether every phase has completed and is not lost."""
    return all(entry["completed"] is not None for entry in state["events"].values())


def reached(state: State) -> str:
    """Names the last phase, in the order of `phases_of`, that has completed."""
    names = [e for e, s in state["events"].items() if s["completed"] is not None]
    return names[-1] if names else "start"


def problems(config: ml_collections.ConfigDict) -> list[str]:
    """Lists what of the `phases` section does not go with the evaluated loops."""
    found = []
    evaluated = (config.recurrence.num_loops, *config.recurrence.eval_loops)
    if loops_of(config, "depth") not in evaluated:
        found.append(
            "phases.depth_loops must be a loop count that is evaluated, "
            f"recurrence.num_loops or one of recurrence.eval_loops: "
            f"{', '.join(map(str, evaluated))}; got {config.phases.depth_loops}."
        )
    return found


def table_problems(config: ml_collections.ConfigDict, table: Table) -> list[str]:
    """Lists what the `phases` section awaits in vain of a table."""
    asked = {"depth_loops": "depth"}
    asked |= {e: s for e, s in EVENTS.items() if KEYS[f"phases.{e}"].default is None}
    return [
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
        entry["above"] = entry["above"] + 1 if smoothed > phase.onset_above else 0
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
