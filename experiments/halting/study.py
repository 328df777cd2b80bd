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
from rdt_jax.analysis import curriculum
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.halting import Halting
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import terminal
from rdt_jax.figures.words import task_name

CONFIG = extrapolation.CONFIG
ANALYSES = {"halting": extrapolation.ANALYSES["depth"]}
SOURCE = "Kohli et al. (2026), arXiv:2604.07822"
ERRORS = 2  # standard errors that a difference must have

sweep = extrapolation.looped


def table(runs: Sequence[Run]) -> Table:
    """Builds the table of the study, of the stages where nothing was measured yet."""
    rows = [
        [curriculum.name_of(run), curriculum.pair_of(run), str(level), *(
            f"{found.mean_loops[k, index]:.1f} / {found.accuracy[k, index]:.2f}"
            for k in drawing.settings(run, found)
        )]
        for run, _, found in curriculum.last_measured(runs, "halting")
        for index, level in enumerate(found.levels)
    ]  # fmt: skip
    if not rows:
        return extrapolation.table(runs)
    return terminal.table(
        f"Loops taken / accuracy by rule: {task_name(runs)}",
        ("loops", "graph/seed", "hops", "R", "KL", "KL and entropy"),
        rows,
        caption=drawing.THRESHOLDS,
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
    measured = curriculum.last_measured(curriculum.median_runs(runs), "halting")
    if not measured:
        return {}
    return {
        "by_hops": drawing.by_hops(runs, measured),
        "pareto": drawing.pareto(runs, measured),
    }


def _entropy_is_more_accurate(runs: Sequence[Run]) -> Claim:
    notes: dict[str, list[str]] = {"more accurate": [], "less": [], "no difference": []}
    measured = curriculum.judged(runs, "halting")
    for run, found, learned in measured:
        rows = np.isin(found.hops, found.levels[learned])
        kl, both = (
            found.correct[k][rows].astype(float) for k in drawing.published(found)
        )
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
        _, both = drawing.published(found)
        few, many = _at_ends(found, learned, found.loops[both])
        grown += _exceeds(many, few)
        parts.append(
            f"{curriculum.label(run)} {few.mean():.1f} on 2 hops, {many.mean():.1f} on "
            f"{found.levels[learned][-1]}"
        )
    return _judge_most(
        "Halting by KL and entropy takes more loops for more hops.",
        "loops grow with the hops, to about 15 at 37 hops",
        f"mean loops: {', '.join(parts) or 'not measured'}",
        runs,
        grown,
        used,
    )


def _entropy_grows_more(runs: Sequence[Run]) -> Claim:
    parts, used, more = [], [], 0
    for run, found, learned in curriculum.judged(runs, "halting"):
        if learned.sum() < 2:
            continue
        used.append(run)
        kl, both = drawing.published(found)
        few, many = _at_ends(found, learned, found.loops[both] - found.loops[kl])
        more += _exceeds(many, few)
        first, last = np.flatnonzero(learned)[[0, -1]]
        growth = found.mean_loops[:, last] - found.mean_loops[:, first]
        parts.append(
            f"{curriculum.label(run)} {growth[both]:.1f} against {growth[kl]:.1f}"
        )
    return _judge_most(
        "The loops taken grow more with the hops by KL and entropy than by KL.",
        "about 15 loops at 37 hops by KL and entropy, about 5 by KL",
        "more loops on the most hops learned than on 2: "
        f"{', '.join(parts) or 'not measured'}",
        runs,
        more,
        used,
    )


def _judge_most(
    text: str,
    expected: str,
    measured: str,
    runs: Sequence[Run],
    right: int,
    used: Sequence[Run],
) -> Claim:
    """Judges a claim that is `right` of most of the runs that learned 3 hops."""
    holds, missing = curriculum.majority(
        runs, curriculum.judged(runs, "halting"), right, len(used) - right
    )
    return judging.judge(
        text,
        source=f"{SOURCE}, Figure 9",
        expected=expected,
        measured=measured,
        holds=holds,
        missing=missing + ([] if used else ["a run with loops that learns 3 hops"]),
        runs=used,
    )


def _at_ends(
    found: Halting, learned: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the values of the rows of the fewest and of the most hops learned."""
    few, many = found.levels[learned][[0, -1]]
    return values[found.hops == few], values[found.hops == many]


def _exceeds(many: np.ndarray, few: np.ndarray) -> bool:
    """Says whether the mean of some rows exceeds that of others beyond their errors."""
    error = np.sqrt(few.var(ddof=1) / few.size + many.var(ddof=1) / many.size)
    return bool(many.mean() - few.mean() > ERRORS * error)
