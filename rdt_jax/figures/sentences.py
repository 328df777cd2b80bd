"""What the runs of a sweep did, in sentences that need no table.

    sentences.of_sweep(runs)
    # ["OOD accuracy reached 0.50 with R = 1 (no loop) in 0 of 2 runs, with R = 2 loops
    #  in 2 of 2, after 4,250 to 6,000 updates."]

Every number is counted from the runs: those that broke down or still train, too.
"""

from collections.abc import Sequence

from rdt_jax import wording
from rdt_jax.analysis import grokking
from rdt_jax.analysis.runs import Run
from rdt_jax.figures.cells import Sweep
from rdt_jax.figures.words import last_event, level_name, split_name

ELSEWHERE = (
    "On another processor the same runs round differently, and since training is "
    "chaotic a transition then comes earlier or later: one preset of one commit "
    "completed its last phase at 4.25k and 6k updates on one, at 5.25k and 5k on "
    "another. Compare orders, not digits."
)
_MOST = 6  # values of an axis in a sentence


def of_sweep(members: Sequence[Run]) -> list[str]:
    """Says of any sweep how many runs completed the last phase, by its first axis.

    That is the first of its axes in which runs differ. It says nothing of runs without
    a phase of train, ID or OOD rows.
    """
    event, sweep = last_event(members), Sweep.of(members)
    if event is None:
        return []
    key = next((k for k in sweep.keys if len(sweep.values[k]) > 1), sweep.keys[0])
    place, values = sweep.keys.index(key), sweep.values[key]
    parts = []
    for value in values[:_MOST]:
        cells = [cell for at, cell in sweep.cells.items() if at[place] == value]
        runs = [run for cell in cells for run in cell]
        parts.append(f"with {sweep.title(key, value)} in {reached(runs, event)}")
    if len(values) > _MOST:
        more = wording.count(len(values) - _MOST, "more value")
        parts.append(f"and for {more} see the table")
    name = split_name(members, grokking.watched(members, event))
    level = level_name(members, event)
    first = f"{name} accuracy reached {level} {'; '.join(parts)}."
    return [first, *unknown(members)]


def reached(members: Sequence[Run], event: str) -> str:
    """Says how many runs completed an event: `2 of 3 runs, after 40 to 60 updates`."""
    times = [grokking.completion(grokking.grok_times(run), event) for run in members]
    steps = sorted(time.steps for time in times if not time.beyond)
    said = f"{len(steps)} of {wording.count(len(members), 'run')}"
    if not steps:
        return said
    ends = dict.fromkeys(f"{step:,.0f}" for step in (steps[0], steps[-1]))
    return f"{said}, after {' to '.join(ends)} updates"


def unknown(members: Sequence[Run]) -> list[str]:
    """Says which runs may still change what is said, and which broke down, if any."""
    number = lambda outcome: sum(run.outcome == outcome for run in members)
    total, said = wording.count(len(members), "run"), []
    if unfinished := number("unfinished"):
        verb = "is" if unfinished == 1 else "are"
        said.append(f"{unfinished} of {total} {verb} not finished: this may change.")
    if failed := number("failed"):
        said.append(
            f"{failed} of {total} broke down (the loss was not finite) and counts as "
            "not arrived."
        )
    return said
