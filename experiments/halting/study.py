"""Can a looped model tell by itself when it has looped enough?

Question: how many loops does each halting rule take, how accurate are the answers that
it stops with, and what do these cost against a fixed number of loops?

Prediction (Kohli et al. 2026, arXiv:2604.07822, Figures 9 and 10): a rule that waits
until the output has settled (KL) stops too early on hard questions; with a limit on the
entropy of the output besides, loops grow with the hops and answers are more accurate,
on hops that were never trained as well (they learn 22 and show 37).

The runs are those of experiments/depth_extrapolation that loop. Both rules look at the
same divergence, KL(now || before), and differ in the entropy alone. The figures are of
drawn loops; verdicts are of these, if they learned six hops, and of R > 4.
"""

import functools
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from experiments.depth_extrapolation import study as extrapolation
from experiments.halting import drawing
from rdt_jax.analysis import curriculum, halting, scaling
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.curriculum import Kind, Measured
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import terminal
from rdt_jax.figures.words import task_name

CONFIG = extrapolation.CONFIG
ANALYSES = {"halting": extrapolation.ANALYSES["depth"]}
SOURCE = "Kohli et al. (2026), arXiv:2604.07822"
ERRORS = 2  # standard errors that a difference must have
LEAST_RIGHT = 0.02  # of accuracy, from which on a rule is more accurate
LEAST_GROWTH = 0.5  # loops, from which on they grow more

KINDS: tuple[Kind, ...] = ("R > 4", "drawn loops")  # those of the source

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
        judge(runs, kind)
        for judge in (
            functools.partial(_entropy_is_more_accurate, beyond=True),
            functools.partial(_entropy_is_more_accurate, beyond=False),
            _entropy_grows_more,
        )
        for kind in KINDS
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


def _entropy_is_more_accurate(
    runs: Sequence[Run], kind: Kind, *, beyond: bool
) -> Claim:
    """A run is right with LEAST_RIGHT and ERRORS errors of the rows more by entropy.

    The rows are those of all hops that were learned, or of all deeper ones. It is wrong
    if the errors cannot hide such a difference.
    """

    def outcome(one: Measured) -> tuple[bool | None, str] | None:
        found = one.found
        rows = np.isin(found.hops, found.levels[one.learned ^ beyond])
        if not rows.any():
            return None
        kl, both = (
            found.correct[k][rows].astype(float) for k in drawing.published(found)
        )
        error = float((both - kl).std(ddof=1) / np.sqrt(rows.sum()))
        return (
            scaling.is_there(
                float((both - kl).mean()), error, least=LEAST_RIGHT, errors=ERRORS
            ),
            f"{both.mean():.2f} against {kl.mean():.2f}",
        )

    hops = "hops deeper than any learned" if beyond else "learned hops"
    return curriculum.judge_kind(
        f"With {kind}, halting by KL and entropy answers {hops} more accurately than "
        "by KL alone.",
        runs,
        kind,
        "halting",
        outcome,
        names=("more accurate", "not more"),
        source=f"{SOURCE}, Figure 10",
        expected="KL and entropy above KL alone, KL < .01 and entropy < 3 of 5.4 nats",
        prefix=f"accuracy on all {hops}",
    )


def _entropy_grows_more(runs: Sequence[Run], kind: Kind) -> Claim:
    """A run is right if its loops grow by LEAST_GROWTH and ERRORS errors more.

    They grow from two hops to the most that some fixed loop count answers. A run is
    wrong if the errors cannot hide so much.
    """

    def outcome(one: Measured) -> tuple[bool | None, str] | None:
        found = one.found
        answered = found.accuracy[found.rule == halting.FIXED].max(axis=0)
        last = found.levels[answered >= scaling.ANSWERED].max(initial=0)
        if last <= found.levels[0]:
            return None
        kl, both = drawing.published(found)
        more = (found.loops[both] - found.loops[kl]).astype(float)
        few, many = (more[found.hops == level] for level in (found.levels[0], last))
        error = np.sqrt(few.var(ddof=1) / few.size + many.var(ddof=1) / many.size)
        ends = np.searchsorted(found.levels, (found.levels[0], last))
        growth = np.diff(found.mean_loops[:, ends], axis=1)[:, 0]
        return (
            scaling.is_there(
                float(many.mean() - few.mean()),
                float(error),
                least=LEAST_GROWTH,
                errors=ERRORS,
            ),
            f"{growth[both]:.1f} against {growth[kl]:.1f} to {last} hops",
        )

    return curriculum.judge_kind(
        f"With {kind}, the loops taken grow more with the hops by KL and entropy than "
        "by KL alone.",
        runs,
        kind,
        "halting",
        outcome,
        names=("more", "not more"),
        source=f"{SOURCE}, Figure 9",
        expected="about 15 loops at 37 hops by KL and entropy, about 5 by KL",
        prefix="more loops on the most hops answered than on 2",
    )
