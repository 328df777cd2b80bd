"""Can a looped model tell by itself when it has looped enough?

Question: how many loops does each halting rule take, how accurate are the answers that
it stops with, and what do these cost against a fixed number of loops?

Prediction (Kohli et al. 2026, arXiv:2604.07822, Figures 9 and 10): a rule that waits
until the output has settled (KL) stops too early on hard questions; with a limit on the
entropy of the output besides, loops grow with the hops and answers are more accurate.

The runs are those of experiments/depth_extrapolation.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from experiments.depth_extrapolation import study as extrapolation
from experiments.halting import drawing
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import curriculum, halting
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.halting import Halting
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import depth, terminal
from rdt_jax.figures.grokking import task_name

CONFIG = extrapolation.CONFIG
ANALYSES = {"halting": extrapolation.ANALYSES["depth"]}
SOURCE = "Kohli et al. (2026), arXiv:2604.07822"
ERRORS = 2  # standard errors that a difference must have

sweep = extrapolation.sweep


def table(runs: Sequence[Run]) -> Table:
    """Builds the table of the study, of the stages where nothing was measured yet."""
    rows = [
        [curriculum.name_of(run), str(run.config.seed), str(level), *(
            f"{found.mean_loops[k, index]:.1f} / {found.accuracy[k, index]:.2f}"
            for k in _settings(run, found)
        )]
        for run, _, found in curriculum.last_measured(runs, "halting")
        for index, level in enumerate(found.levels)
    ]  # fmt: skip
    if not rows:
        return extrapolation.table(runs)
    return terminal.table(
        f"Loops taken / accuracy by rule: {task_name(runs)}",
        ("loops", "seed", "hops", "R", "KL", "KL and entropy"),
        rows,
        caption=_thresholds_note(),
        words=("loops",),
    )


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges the claims on what has been run so far."""
    return [
        _entropy_is_more_accurate(runs),
        _entropy_loops_more_for_more_hops(runs),
        _entropy_grows_more(runs),
    ]


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws the study; nothing where nothing was measured."""
    panels, clouds = [], []
    chosen = curriculum.median_runs(runs)
    for run, learned, found in curriculum.last_measured(chosen, "halting"):
        title = f"{curriculum.name_of(run)}, seed {run.config.seed}"
        trained = curriculum.trained_hops(run, learned)
        shown = _settings(run, found)
        panels.append(drawing.Panel(title, found, shown, learned, trained))
        rows = found.hops <= (learned or found.levels[0])
        # The mean operations of the rows of the same hops, [K, N].
        flops = found.flops[:, np.searchsorted(found.levels, found.hops)]
        spent = flops[:, rows].mean(axis=1)
        accuracy = found.correct[:, rows].mean(axis=1)
        front = halting.pareto(spent, accuracy)
        clouds.append(drawing.Cloud(title, found.rule, spent, accuracy, front))
    if not panels:
        return {}
    note = depth.median_note(runs)
    return {
        "by_hops": drawing.by_hops(
            panels,
            title=f"Loops that rows take, and what these answer: {task_name(runs)}",
            notes=(
                note,
                "Held-out rows, parameters when the last stage was passed, or at the "
                "end if none was.",
                "Gray: the loop count R of the evaluation for all rows.",
                _thresholds_note(),
            ),
        ),
        "pareto": drawing.pareto(
            clouds,
            title=f"Accuracy by the cost of inference: {task_name(runs)}",
            notes=(
                f"{note} Parameters when it passed its last stage, or at its end.",
                "Held-out rows of all hops that were learned (of two hops, if none "
                "were); a point for each threshold, gray for each fixed loop count.",
            ),
        ),
    }


def _entropy_is_more_accurate(runs: Sequence[Run]) -> Claim:
    notes: dict[str, list[str]] = {"more accurate": [], "less": [], "no difference": []}
    measured = curriculum.judged(runs, "halting")
    for run, found, learned in measured:
        rows = np.isin(found.hops, found.levels[learned])
        kl, both = (found.correct[k][rows].astype(float) for k in _pair(found))
        difference = both - kl
        error = difference.std(ddof=1) / np.sqrt(difference.size)
        outcome = "more accurate" if difference.mean() > 0 else "less"
        if abs(difference.mean()) <= ERRORS * error:
            outcome = "no difference"
        notes[outcome].append(
            f"{curriculum.label(run)} {both.mean():.2f} against {kl.mean():.2f}"
        )
    better, worse, open_runs = map(len, notes.values())
    holds, missing = curriculum.majority(runs, measured, better, worse + open_runs)
    if not measured:
        missing.append("a run with loops that passes a stage")
    elif not better and not worse:
        missing.append(f"a difference beyond {ERRORS} standard errors of the rows")
    return judging.judge(
        "Halting by KL and entropy answers learned hops more accurately than by KL.",
        source=f"{SOURCE}, Figure 10",
        expected="KL and entropy above KL alone, KL < .01 and entropy < 3 of 5.4 nats",
        measured=judging.by_outcome(notes),
        holds=holds,
        missing=missing,
        runs=[one.run for one in measured],
    )


def _entropy_loops_more_for_more_hops(runs: Sequence[Run]) -> Claim:
    parts, used, grown = [], [], 0
    for run, found, learned in curriculum.judged(runs, "halting"):
        if learned.sum() < 2:
            continue
        used.append(run)
        _, both = _pair(found)
        few, many = (
            found.loops[both][found.hops == level]
            for level in found.levels[learned][[0, -1]]
        )
        grown += _exceeds(many, few)
        parts.append(
            f"{curriculum.label(run)} {few.mean():.1f} on 2 hops, {many.mean():.1f} on "
            f"{found.levels[learned][-1]}"
        )
    holds, missing = _most(runs, grown, used)
    return judging.judge(
        "Halting by KL and entropy takes more loops for more hops.",
        source=f"{SOURCE}, Figure 9",
        expected="loops grow with the hops, to about 15 at 37 hops",
        measured=f"mean loops: {', '.join(parts) or 'not measured'}",
        holds=holds,
        missing=missing,
        runs=used,
    )


def _entropy_grows_more(runs: Sequence[Run]) -> Claim:
    parts, used, more = [], [], 0
    for run, found, learned in curriculum.judged(runs, "halting"):
        if learned.sum() < 2:
            continue
        used.append(run)
        first, last = np.flatnonzero(learned)[[0, -1]]
        growth = [
            found.mean_loops[k, last] - found.mean_loops[k, first] for k in _pair(found)
        ]
        kl, both = _pair(found)
        longer = found.loops[both] - found.loops[kl]  # of each row
        few, many = (longer[found.hops == found.levels[k]] for k in (first, last))
        more += _exceeds(many, few)
        parts.append(f"{curriculum.label(run)} {growth[1]:.1f} against {growth[0]:.1f}")
    holds, missing = _most(runs, more, used)
    return judging.judge(
        "The loops taken grow more with the hops by KL and entropy than by KL.",
        source=f"{SOURCE}, Figure 9",
        expected="about 15 loops at 37 hops by KL and entropy, about 5 by KL",
        measured=(
            "more loops on the most hops learned than on 2: "
            f"{', '.join(parts) or 'not measured'}"
        ),
        holds=holds,
        missing=missing,
        runs=used,
    )


def _most(
    runs: Sequence[Run], right: int, used: Sequence[Run]
) -> tuple[bool | None, list[str]]:
    """Says whether most of the runs that learned 3 hops are right, or what it lacks."""
    measured = curriculum.judged(runs, "halting")
    holds, missing = curriculum.majority(runs, measured, right, len(used) - right)
    return holds, missing + ([] if used else ["a run with loops that learns 3 hops"])


def _exceeds(many: np.ndarray, few: np.ndarray) -> bool:
    """Says whether the mean of some rows exceeds that of others beyond their errors."""
    error = np.sqrt(few.var(ddof=1) / few.size + many.var(ddof=1) / many.size)
    return bool(many.mean() - few.mean() > ERRORS * error)


def _pair(found: Halting) -> tuple[int, int]:
    return halting.published(found, "kl"), halting.published(found, "kl_entropy")


def _settings(run: Run, found: Halting) -> list[int]:
    """Returns the settings that are shown by hops: fixed R and the published rules."""
    at_training = (found.rule == halting.FIXED) & (found.threshold == run.num_loops)
    (fixed,) = np.flatnonzero(at_training)
    return [int(fixed), *_pair(found)]


def _thresholds_note() -> str:
    return (
        f"KL: below {halting.KL} nats; entropy: below {halting.ENTROPY_SHARE:.2f} of "
        f"that of a uniform guess; from loop {halting.MIN_LOOPS} on."
    )
