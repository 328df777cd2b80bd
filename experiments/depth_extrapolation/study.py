"""Does a looped model follow more hops than it was trained on, if it loops more?

Question: how many hops does a model learn in a curriculum, by the loops of training,
and how many more does it answer with more loops at inference?

Prediction (Kohli et al. 2026, arXiv:2604.07822, Figures 5 to 7): more loops of training
learn more hops, and loops drawn anew at every update learn the most; the first four
hops take most of the updates; more loops at inference answer more hops than were
trained, but only where training had more than four; if only two hops were learned,
nothing does.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from experiments.depth_extrapolation import claims as judging
from rdt_jax.analysis import compute, curriculum, scaling, stored
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.grokking import format_steps
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import depth as drawing
from rdt_jax.figures import terminal
from rdt_jax.figures.words import task_name
from rdt_jax.sweep import spec

CONFIG = "configs/knowledge_depth.py"
# The parameters with which a stage was passed have seen no deeper row; those at the end
# stand in where no stage was passed.
ANALYSES = {"depth": (*(f"hop_learned_{hops}-after" for hops in range(2, 41)), "final")}

claims = judging.claims
_BUDGETS = 40  # of training, at which the best is named


def fixed(*loops: int) -> list[dict[str, Any]]:
    """Returns trials in which every update takes the same number of loops."""
    return spec.grid("recurrence.num_loops", *loops)


def feedforward(blocks: int) -> list[dict[str, Any]]:
    """Returns the trial of a model that passes so many blocks of their own once."""
    return [{"recurrence.num_loops": 1, "model.core_blocks": blocks}]


def drawn(mean: float, most: int, **changes: Any) -> list[dict[str, Any]]:
    """Returns the trial whose updates draw their loops from 2 to `most`."""
    return [
        {
            **changes,
            "recurrence.num_loops": most,  # of the evaluation, as in the paper
            "recurrence.sampling": "poisson",
            "recurrence.mean_loops": mean,
            "recurrence.min_loops": 2,
            "recurrence.max_loops": most,
        }
    ]


# A graph with its questions, and a seed of the rest: replicates. Rules were written on
# runs of graph 0, and are judged on others.
PAIRS = spec.zipped(**{"task.seed": (1, 2), "seed": (1, 2)})
SWEEPS = {
    "smoke": ([*fixed(1, 2), *drawn(2.0, 3)], spec.seeds(1)),
    "cpu": ([*fixed(1, 2, 5), *feedforward(8)], PAIRS, spec.grid("num_steps", 3_400)),
    # Drawn loops are slow to leave two hops: 6,000 updates and more.
    "cpu_long": (
        [*fixed(1, 2, 4, 8), *feedforward(8), *drawn(4.0, 8, num_steps=20_000)],
        PAIRS,
    ),
    "paper": (
        [*fixed(*range(1, 9)), *feedforward(8), *feedforward(16), *drawn(4.0, 8)],
        spec.seeds(1),
    ),
}
sweep = spec.by_preset(SWEEPS)


def looped(preset: str) -> list[dict[str, Any]]:
    """Returns the trials with loops, whose runs other studies ask, too."""
    return [trial for trial in sweep(preset) if trial["recurrence.num_loops"] > 1]


def table(runs: Sequence[Run]) -> Table:
    """Builds the table of the study; ValueError if there is no run."""
    return terminal.table(
        f"Hops learned: {task_name(runs)}",
        ("loops", "graph/seed", "learned", "to 2 hops", "to the most", "answered"),
        [_row(run) for each in curriculum.by_recurrence(runs).values() for run in each],
        caption="Updates until two hops, and until the most, were learned; > marks the "
        "last stage there is. Answered: the most hops with accuracy at least "
        f"{scaling.ANSWERED} after the loops that serve best, and as a multiple of "
        "those learned. ... marks a run that is not finished.",
        words=("loops",),
    )


def _row(run: Run) -> list[str]:
    """Says what a run learned, and the hops answered when it passed its last stage."""
    found = curriculum.progress(run)
    learned = found.learned
    names = [curriculum.name_of(run), curriculum.pair_of(run)]
    open_end = "..." if found.outcome == "unfinished" else ""
    if learned is None:
        after = f"> {format_steps(found.last_step)}{open_end}"
        return [*names, f"none{open_end}", after, "", ""]
    mark = "" if found.is_bounded else "> "
    measured = judging.stages_of(run)
    reach = None
    if measured:
        last = measured[max(measured)]
        reach = scaling.reach(last, scaling.scaled(last, 1).accuracy)
    return [
        *names,
        f"{mark}{learned}{open_end}",
        format_steps(found.passed[min(found.passed)]),
        format_steps(found.passed[learned]),
        "" if reach is None else f"{reach} ({reach / learned:.2f}x)",
    ]


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws the study, as far as it has been run; ValueError if there is no run."""
    groups = curriculum.by_recurrence(runs)
    task = task_name(runs)
    seeds = max(map(len, groups.values()))
    median = "one seed" if seeds == 1 else f"the median run of {seeds} seeds by depth"
    progress = {
        name: [curriculum.progress(run) for run in members]
        for name, members in groups.items()
    }
    made = {
        "updates_to_hops": drawing.updates_to_hops(
            progress,
            title=drawing.found_learned(progress),
            line=f"{task}; a line per run",
            notes=(_threshold_note(runs),),
        ),
        "accuracy_by_compute": _by_compute(groups, task),
    }
    chosen = curriculum.median_runs(runs)
    last = {run: max(judging.stages_of(run), default=None) for run in chosen}
    panels = _panels(last)
    rows = "Held-out rows of each number of hops. "
    if panels:
        made["hops_by_loops"] = drawing.hops_by_loops(
            panels,
            title=drawing.found_answered(panels),
            line=f"{task}; {median}",
            notes=(
                rows,
                "Parameters when the last stage was passed, or at the end if none was.",
            ),
        )
    hops, able = curriculum.common_stage(runs) or (1, [])
    matched = {run: hops for run in chosen if run in able}
    if matched and len(same := _panels(matched)) == len(matched):
        made["matched"] = drawing.hops_by_loops(
            same,
            title=drawing.found_answered(same),
            line=f"{task}, after the same {hops} hops of training; {median}",
            notes=(rows, f"Parameters when {hops} hops were learned."),
        )
    ratios = {name: _ratios(members) for name, members in groups.items()}
    if any(ratios.values()):
        made["ratios"] = drawing.ratios(
            {name: found for name, found in ratios.items() if found},
            title=_most_ratios(ratios),
            line=f"{task}; a dot per run, line: median",
            notes=(
                f"Answered: accuracy at least {scaling.ANSWERED} after the loop count "
                "that serves every other row best, scored on the rest.",
            ),
        )
    return made


def _panels(stages: Mapping[Run, int | None]) -> list[drawing.Panel]:
    """Returns what is drawn of runs when they had learned so many hops.

    Without a number it is of their end. What was not measured is left out.
    """
    panels = []
    for run, hops in stages.items():
        if hops is None:
            found = stored.load(run, "depth", "final")
        else:
            found = judging.stages_of(run).get(hops)
        if found is not None:
            panels.append(drawing.panel_of(run, found, hops))
    return panels


def _by_compute(groups: Mapping[str, Sequence[Run]], task: str) -> Figure:
    curves = {
        name: [compute.curve(run, "id") for run in members if run.metrics]
        for name, members in groups.items()
    }
    most = max(curve.flops[-1] for members in curves.values() for curve in members)
    budgets = np.linspace(0, most, _BUDGETS + 1)[1:]
    best = compute.best_by_budget(curves, budgets.tolist())
    title = "No run has been evaluated on all hops"
    if best:
        accuracy = best[-1].accuracy[best[-1].best]
        title = f"For the most operations {best[-1].best} is best ({accuracy:.2f})"
    return drawing.accuracy_by_compute(
        curves,
        best,
        title=f"{title}, of all trained hops",
        line=f"{task}; a line per run, smoothed over 5 evaluations",
        notes=(
            "Held-out rows of all hops of the curriculum (id), at the loop count of "
            "the evaluation.",
            "Best: the highest median, over seeds, of what was reached for so much, "
            "among those that spent as much.",
        ),
    )


def _most_ratios(ratios: Mapping[str, Mapping[int, Sequence[float]]]) -> str:
    parts = [
        f"{name}: {max(np.median(values) for values in found.values()):.2f}"
        for name, found in ratios.items()
        if found
    ]
    return f"Hops answered over hops learned, at most {', '.join(parts)}"


def _ratios(members: Sequence[Run]) -> dict[int, list[float]]:
    ratios: dict[int, list[float]] = {}
    for run in members:
        for hops, found in judging.stages_of(run).items():
            # Where no more hops were asked, no ratio but 1 could be seen.
            if hops < found.levels[-1]:
                ratio = scaling.generalization_ratio(found, hops)
                ratios.setdefault(hops, []).append(ratio)
    return ratios


def _threshold_note(runs: Sequence[Run]) -> str:
    threshold = run_folders.shared_value(runs, "phases.hop_learned")
    return (
        f"Learned: {threshold:.2f} of the held-out rows of exactly so many hops are "
        "right, smoothed over 5 evaluations; then one more hop joins."
    )
