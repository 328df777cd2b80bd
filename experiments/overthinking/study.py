"""Do more loops than needed destroy an answer that loops had reached?

Question: how does the margin of the right answer go on as a model loops beyond what it
was trained with, by the hops of the question and the loops of training?

Prediction (Kohli et al. 2026, arXiv:2604.07822, Figure 8): the mean margin rises to a
peak, later for more hops, and then declines; it declines less where the loops of
training were drawn anew at every update.

The runs are those of experiments/depth_extrapolation.
"""

import statistics
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table
from scipy import stats

from experiments.depth_extrapolation import study as extrapolation
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import curriculum, depth, scaling, stored
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.depth import Depth
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import depth as drawing
from rdt_jax.figures import depth_tables

CONFIG = extrapolation.CONFIG
ANALYSES = {"depth": ("final",)}
SOURCE = "Kohli et al. (2026), arXiv:2604.07822, Figure 8"
ERRORS = 3  # standard errors that a decline must have

_FEW = 5  # lines of a panel

sweep = extrapolation.sweep


def table(runs: Sequence[Run]) -> Table:
    """Builds the table of the study, of the stages where nothing was measured yet."""
    rows, last = [], 0
    for name, members in curriculum.by_recurrence(runs).items():
        for run in members:
            found = stored.load(run, "depth", "final")
            if found is None:
                continue
            last = int(found.loops[-1])
            declined = scaling.overthinking(found)
            rows += [
                depth_tables.Decline(
                    name=name,
                    seed=run.config.seed,
                    hops=int(level),
                    first_hit=float(found.first_hit[index]),
                    peak_loop=int(declined.peak_loop[index]),
                    peak=float(declined.peak[index]),
                    drop=float(declined.drop[index]),
                    error=float(declined.error[index]),
                )
                for index, level in enumerate(found.levels)
                if level <= max(2, curriculum.progress(run).learned or 0)
            ]
    if not rows:
        return extrapolation.table(runs)
    return depth_tables.declines(rows, task=_task(runs), last=last)


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges the claims on what has been run so far."""
    return [
        _margin_declines(runs),
        _drawn_loops_decline_less(runs),
        _hard_questions_peak_later(runs),
        _hard_questions_are_hit_later(runs),
    ]


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws the study; nothing where nothing was measured."""
    panels = []
    for members in curriculum.by_recurrence(runs).values():
        run = curriculum.median_run(members)
        found = stored.load(run, "depth", "final")
        if found is not None:
            panels.append(
                drawing.Panel(
                    title=f"{curriculum.name_of(run)}, seed {run.config.seed}",
                    found=found,
                    trained=depth.most_loops(run.config),
                    learned=curriculum.progress(run).learned,
                )
            )
    if not panels:
        return {}
    every = panels[0].found.levels
    levels = every[np.unique(np.linspace(0, every.size - 1, _FEW).round().astype(int))]
    notes = (
        "Held-out rows, parameters at the end of the run. Bold: hops that were learned,"
        " with the loop at which they are first right.",
    )
    return {
        "margins": drawing.by_loop(
            panels,
            levels=levels.tolist(),
            quantity="mean_margin",
            title=f"Logit of the answer less the largest other one: {_task(runs)}",
            notes=notes,
        ),
        "changes": drawing.by_loop(
            panels,
            levels=levels.tolist(),
            quantity="mean_change",
            title=f"How far one more loop moves the state at the answer: {_task(runs)}",
            notes=notes,
        ),
    }


def _margin_declines(runs: Sequence[Run]) -> Claim:
    counts, used, declined = [], [], 0
    for run, found, learned in _measured(runs):
        over = scaling.overthinking(found)
        falls = (over.drop > ERRORS * over.error) & (over.peak > 0)
        falls &= (over.peak_loop > 1) & learned  # It had risen.
        used.append(run)
        declined += bool(2 * falls.sum() > learned.sum())
        at = ", ".join(map(str, over.peak_loop[learned]))
        counts.append(
            f"{_name(run)} falls for {falls.sum()} of {learned.sum()} numbers of hops, "
            f"peaks at loop {at}"
        )
    return judging.judge(
        "The mean margin of learned hops rises to a peak and declines with more loops.",
        source=SOURCE,
        expected="a peak and a decline for all numbers of hops, R = 6, 7, 8 and drawn",
        measured="; ".join(counts) or "not measured",
        holds=2 * declined > len(used),
        missing=[] if used else ["a run with loops that passes a stage"],
        runs=used,
    )


def _drawn_loops_decline_less(runs: Sequence[Run]) -> Claim:
    shares: dict[str, list[float]] = {}
    used, ways = [], {}
    for run, found, learned in _measured(runs):
        lost = scaling.overthinking(found).lost[learned]
        known = lost[np.isfinite(lost)]
        if known.size:
            used.append(run)
            shares.setdefault(curriculum.name_of(run), []).append(
                float(np.median(known))
            )
            ways[curriculum.name_of(run)] = run
    medians = {name: statistics.median(each) for name, each in shares.items()}
    fixed = [name for name, run in ways.items() if curriculum.is_fixed(run)]
    drawn = [name for name in ways if name not in fixed]
    # The paper compares with its largest fixed counts.
    most = max(fixed, key=lambda name: ways[name].num_loops, default=None)
    missing = []
    if most is None or not drawn:
        missing.append("runs with fixed and with drawn loops that pass a stage")
    listed = ", ".join(f"{name}: {value:.2f}" for name, value in medians.items())
    return judging.judge(
        "The margin declines less with drawn loops than with the largest fixed R.",
        source=SOURCE,
        expected="a much slower decline with drawn loops than with R = 6, 7 and 8",
        measured=f"share of the peak lost by the last loop: {listed or 'not measured'}",
        holds=not missing and min(medians[n] for n in drawn) < medians[most or ""],
        missing=missing,
        runs=used,
    )


def _hard_questions_peak_later(runs: Sequence[Run]) -> Claim:
    return _later(
        runs,
        "The margin peaks at a later loop for more hops.",
        "earlier and higher peaks for fewer hops",
        "loop of the peak",
        lambda found: scaling.overthinking(found).peak_loop.astype(float),
    )


def _hard_questions_are_hit_later(runs: Sequence[Run]) -> Claim:
    return _later(
        runs,
        "The first loop with the right answer comes later for more hops.",
        "later first hits for more hops, the dashed lines of the figure",
        "mean first loop",
        lambda found: found.first_hit,
    )


def _later(runs, text, expected, what, values_of) -> Claim:
    correlations, parts, used = [], [], []
    for run, found, learned in _measured(runs):
        if learned.sum() < 3:
            continue
        values = values_of(found)[learned]
        used.append(run)
        # Equal values have no correlation: they do not grow.
        grows = np.ptp(values) > 0
        rank = stats.spearmanr(found.levels[learned], values)[0] if grows else 0.0
        correlations.append(float(rank))
        listed = ", ".join(f"{value:.1f}" for value in values)
        parts.append(f"{_name(run)} {listed} (rank correlation {rank:.2f})")
    return judging.judge(
        text,
        source=SOURCE,
        expected=expected,
        measured=f"{what}, from 2 hops on: {'; '.join(parts) or 'not measured'}",
        holds=bool(correlations) and statistics.median(correlations) > 0,
        missing=[] if used else ["a run with loops that learns 4 hops"],
        runs=used,
    )


def _measured(runs: Sequence[Run]) -> list[tuple[Run, Depth, np.ndarray]]:
    """Returns looped runs that learned hops, and which hops these are, bool [H]."""
    members = []
    for run in runs:
        found = stored.load(run, "depth", "final")
        learned = curriculum.progress(run).learned
        if found is not None and learned and depth.most_loops(run.config) > 1:
            members.append((run, found, found.levels <= learned))
    return members


def _name(run: Run) -> str:
    return f"{curriculum.name_of(run)} (seed {run.config.seed})"


def _task(runs: Sequence[Run]) -> str:
    return str(run_folders.shared_value(runs, "task.name")).replace("_", " ")
