"""The words of figures and tables: names of tasks, splits and phases, and findings.

words.event_name("id_generalized")   # "ID generalized"
words.reached(cells, "ood_generalized")   # "0 of 4 runs with R = 1, 4 of 4 with.."
"""

from collections.abc import Collection, Mapping, Sequence

from rdt_jax import wording
from rdt_jax.analysis import grokking, runs
from rdt_jax.analysis.runs import Run
from rdt_jax.training import phases

SPLIT_NAMES = {
    "train": "train", "id": "ID", "ood": "OOD", "depth": "depth", "mixed": "mixed",
}  # fmt: skip
MOST_NAMED = 4  # cells whose runs are counted one by one


def task_name(members: Sequence[Run]) -> str:
    """Returns the task of all runs in words, or how many tasks they have."""
    names = runs.values_of(members, "task.name")
    if not names:
        raise ValueError("A sweep has at least one run, got no run.")
    if len(names) > 1:
        return wording.count(len(names), "task")
    name = names[0].rpartition(":")[2].replace("_", " ")
    if name != "modular":
        return name
    given = [run.config.task.kwargs.to_dict() for run in members]
    values = {
        key: {arguments.get(key) for arguments in given}
        for key in ("operation", "modulus")
    }
    known = {key: value for key, (value, *more) in values.items() if not more}
    p = known.get("modulus")
    parts = [known.get("operation"), p and f"p = {p}"]
    return f"{name} ({', '.join(filter(None, parts))})" if any(parts) else name


def event_name(event: str) -> str:
    """Names a phase in words: `ID generalized` of `id_generalized`."""
    return " ".join(SPLIT_NAMES.get(word, word) for word in event.split("_"))


def split_name(members: Sequence[Run], watched: str) -> str:
    """Names what a phase is about, as of `grokking.watched`: `ID, hops=2 (8 loops)`.

    Depth is named with the loops at which it is judged, R unless they are given.
    """
    group, loops = phases.rows_and_loops(watched)
    split, _, tag = group.partition("[")
    name = ", ".join([SPLIT_NAMES[split], *([tag[:-1]] if tag else [])])
    if split == "depth" and loops is None:
        return f"{name} ({depth_loops(members)})"
    return name if loops is None else f"{name} ({wording.count(loops, 'loop')})"


def depth_loops(members: Sequence[Run]) -> str:
    """Names the loops at which depth is judged: `R or 8 loops`."""
    found = runs.values_of(members, "phases.depth_loops")
    return " or ".join("R" if n is None else wording.count(n, "loop") for n in found)


def loop_count(members: Sequence[Run]) -> str:
    """Names the training loop count, with its number where no axis tells it.

    It also says so if a phase is about another one.
    """
    shared = runs.LOOPS not in runs.shown_axes(members)
    others = any("@" in text for run in members for text in run.config.phases.further)
    return f"R{f' = {members[0].num_loops}' * shared}{' (or as named)' * others}"


def thresholds(members: Sequence[Run], events: Sequence[str]) -> str:
    """Names the thresholds of some events: `0.99 (train), 0.95 (ID)`.

    Raises:
      ValueError: if the events are about other rows in some runs.
    """
    return ", ".join(
        f"{level_name(members, event)} "
        f"({split_name(members, grokking.watched(members, event))})"
        for event in events
    )


def level_name(members: Sequence[Run], event: str) -> str:
    """Writes the threshold of an event, or those of several runs: `0.50 or 0.90`."""
    return " or ".join(f"{at:.2f}" for at in grokking.thresholds(members, event))


def phases_note(
    members: Sequence[Run], events: Sequence[str], ends: bool = True
) -> str:
    """Says when a phase has completed, and, if `ends`, whether that ends a run.

    ValueError as `thresholds`.
    """
    note = (
        f"Completed: median of the last {phases.SMOOTHING} evaluations at or above "
        f"{thresholds(members, events)}."
    )
    return f"{note} {end_note(members)}".rstrip() if ends else note


def end_note(members: Sequence[Run]) -> str:
    """Says which phases end a run; nothing where some runs train their whole budget."""
    if not all(run.config.stop_after_phases for run in members):
        return ""
    shown = {name for run in members for name in run.config.phases.shown}
    named = " and ".join(map(event_name, sorted(shown)))
    but = f" but {named}" if shown else ""
    return f"A run ends once all phases{but} have completed."


def phase_name(members: Sequence[Run], event: str) -> str:
    """Names a phase by its rows: `OOD`; one that a config declares by its own name."""
    split = phases.BUILT_IN.get(event)
    return SPLIT_NAMES[split] if split else event_name(event)


def reached(cells: Mapping[str, Sequence[Run]], event: str) -> str:
    """Says in how many runs a phase completed: `0 of 4 runs with R = 1, ..`.

    Args:
      cells: name -> runs; of more than MOST_NAMED the sum is said. What is unfinished
        and may still complete is counted beside.
    """
    if len(cells) > MOST_NAMED or len(cells) < 2:
        cells = {"": [run for members in cells.values() for run in members]}
    parts: list[str] = []
    for name, members in cells.items():
        part = f"{len(grokking.arrived(members, event))} of {len(members)}"
        part += (" run" if len(members) == 1 else " runs") * (not parts)
        awaited = len(grokking.awaited(members, event))
        part += f" with {name}" * bool(name)
        parts.append(part + f" ({awaited} unfinished)" * bool(awaited))
    return ", ".join(parts)


def last_event(members: Sequence[Run], splits: Collection[str] = ()) -> str | None:
    """Returns the last phase of train, ID and OOD rows that runs declare.

    It is one of the splits that their tables have, if these are given.
    """
    about = {e: phases.BUILT_IN.get(e) for e in grokking.watched_events(members)}
    found = [e for e, split in about.items() if split not in (None, "depth")]
    found = [event for event in found if not splits or about[event] in splits]
    return found[-1] if found else None
