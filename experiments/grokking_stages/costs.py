"""What each stage took by loop depth and weight decay: updates, operations, seconds."""

from collections.abc import Callable, Sequence

import numpy as np
from rich.table import Table

from experiments.depth_by_decay.claims import ID, OOD, TRAIN, completed, smoothed_ood
from experiments.grokking_stages.claims import onset
from rdt_jax.analysis import compute, grokking
from rdt_jax.analysis.grokking import Bound
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import terminal
from rdt_jax.figures.cells import Sweep
from rdt_jax.figures.words import task_name

_HEADINGS = (
    "R", "decay", "train", "ID", "OOD\nonset", "OOD", "runs", "10¹²\noperations",
    "seconds", "at the\nend", "moved",
)  # fmt: skip


def table(members: Sequence[Run]) -> Table:
    """Builds the table of the study: medians over the runs of a cell.

    A median is a bound (`>`) where at least half of the runs did not get there, and
    `...` while unfinished ones may change it. ValueError if there is no run.
    """
    sweep = Sweep.of(members)
    found = terminal.table(
        f"What the stages take: {task_name(members)}",
        _HEADINGS,
        caption="R: how often a pass runs the same layers; decay: weight decay.\n"
        "train, ID, OOD: updates to each phase; OOD onset: to the first evaluation "
        "above chance; runs: those that completed OOD.\n"
        "operations, seconds: of training, to OOD; seconds without compiling and "
        "evaluating, of one machine and whatever else it did, - where a run shared "
        "its program.\n"
        "at the end: smoothed OOD accuracy; moved: by how much it did in the last "
        "quarter of the budget.\n"
        f"Medians over {sweep.repetitions}; > marks what lies beyond the budget.",
    )
    for (loops, decay), own in sweep.cells.items():
        arrived = len(grokking.arrived(own, OOD))
        is_open = any(run.outcome == "unfinished" for run in own)
        phases = [[completed(run, event) for run in own] for event in (TRAIN, ID, OOD)]
        train, id_, ood = (_updates(times, is_open) for times in phases)
        values = [smoothed_ood(run) for run in own]
        values = [each for each in values if each.size]
        ends = [each[-1] for each in values]
        moved = [np.ptp(each[-max(2, len(each) // 4) :]) for each in values]
        found.add_row(
            str(loops),
            f"{decay:g}",
            train,
            id_,
            _updates([onset(run) for run in own], is_open),
            ood,
            f"{arrived}/{len(own)}",
            _spent(own, lambda run: compute.training_flops(run) / 1e12, is_open),
            _spent(own, compute.training_seconds, is_open),
            *("..." if is_open else f"{np.median(n):.2f}" for n in (ends, moved)),
        )
    return found


def _updates(times: Sequence[Bound], is_open: bool) -> str:
    median = grokking.median(times)
    return "..." if median.beyond and is_open else str(median)


def _spent(
    own: Sequence[Run], count: Callable[[Run], np.ndarray | None], is_open: bool
) -> str:
    """Writes what was spent at OOD; `-` if a run does not know."""
    spent = [count(run) for run in own]
    known = [values for values in spent if values is not None]
    if len(known) < len(own):
        return "-"
    bounds = [compute.spent_at(run, OOD, s) for run, s in zip(own, known, strict=True)]
    median = grokking.median(bounds)
    if median.beyond and is_open:
        return "..."
    return f"{'> ' if median.beyond else ''}{median.steps:.3g}"
