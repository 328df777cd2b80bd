"""Do more loops than needed destroy an answer that loops had reached?

Question: how does the margin of the right answer go on as a model loops beyond what it
was trained with, by the hops of the question and the loops of training?

Prediction (Kohli et al. 2026, arXiv:2604.07822, Figure 8): the mean margin rises to a
peak, later for more hops, and then declines within 50 loops; it declines less where the
loops of training were drawn anew at every update.

The runs are those of experiments/depth_extrapolation that loop. The figure is of R = 6,
7, 8 and drawn loops, so a verdict is of runs with R > 4, or of those with drawn loops
that learned six hops; others are listed. A peak at the last loop that was looked at is
not known to be one, and what it would decide is open.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table
from scipy import stats

from experiments.depth_extrapolation import study as extrapolation
from rdt_jax import wording
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import curriculum, scaling
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.curriculum import Kind, Measured
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import depth as drawing
from rdt_jax.figures import terminal
from rdt_jax.figures.words import task_name

CONFIG = extrapolation.CONFIG
WHAT = "depth_far"
ANALYSES = {WHAT: extrapolation.ANALYSES["depth"]}
SOURCE = "Kohli et al. (2026), arXiv:2604.07822, Figure 8"
ERRORS = 3  # standard errors over rows from which a difference is none of the rows
LEAST_LOST = 0.05  # of a peak: less is no decline, and no difference of declines
POINTS = 4  # numbers of hops, the fewest; by chance 1 in 24 orders of them ascends
# Rank correlation from which something comes later for more hops; four that are in
# order but for two neighbors have .8.
CORRELATION = 0.75

_FEW = 5  # lines of a panel

sweep = extrapolation.looped


class Losses(NamedTuple):
    """What two runs of a pair lose on the hops that both learned, of their peaks."""

    pair: str  # graph and seed of both
    hops: np.ndarray  # int64 [n], that both learned
    fixed: float  # mean over these hops of what the run with fixed loops loses
    drawn: float  # likewise of that with drawn loops
    # Standard error over rows of the difference, the peaks taken as known and the rows
    # of both runs, though they are the same, as others.
    error: float

    @property
    def is_less(self) -> bool:
        """Whether drawn loops lose less, by what noise over rows does not explain."""
        return self.fixed - self.drawn >= max(LEAST_LOST, ERRORS * self.error)

    @property
    def is_not_less(self) -> bool:
        """Whether noise over rows cannot hide that drawn loops lose less.

        Where neither loses LEAST_LOST there is nothing that they could lose less of.
        """
        hidden = self.fixed - self.drawn + ERRORS * self.error
        return hidden < LEAST_LOST <= max(self.fixed, self.drawn)


def table(runs: Sequence[Run]) -> Table:
    """Builds the table of the study, of the stages where nothing was measured yet."""
    rows, last = [], 0
    for run, learned, found in curriculum.last_measured(runs, WHAT):
        last = int(found.loops[-1])
        over = scaling.overthinking(found)
        rows += [
            (
                curriculum.name_of(run),
                curriculum.pair_of(run),
                str(level),
                f"{found.first_hit[index]:.1f}",
                str(over.peak_loop[index]),
                f"{over.peak[index]:.1f}",
                f"{over.drop[index]:.1f} +- {over.error[index]:.1f}",
            )
            for index, level in enumerate(found.levels)
            if level <= max(2, learned or 0)
        ]
    if not rows:
        return extrapolation.table(runs)
    return terminal.table(
        f"Mean logit margin by loops: {task_name(runs)}",
        ("loops", "graph/seed", "hops", "first hit", "peak at", "peak", "drop"),
        rows,
        caption=f"Drop: from the peak to loop {last}, +- its standard error over rows; "
        "the peak is chosen on every other row and scored on the rest.",
        words=("loops",),
    )


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges the claims on what has been run so far."""
    return [
        _margin_declines(runs, "R > 4"),
        _margin_declines(runs, "drawn loops"),
        _drawn_loops_decline_less(runs),
        _peaks_come_later(runs, "R > 4"),
        _peaks_come_later(runs, "drawn loops"),
    ]


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws the study; nothing where nothing was measured."""
    seeds = {
        run.run_id: [
            found for _, _, found in curriculum.last_measured(members, "depth_far")
        ]
        for members in curriculum.by_recurrence(runs).values()
        for run in members
    }
    panels = [
        drawing.panel_of(
            run,
            found,
            learned,
            curriculum.trained_hops(run, learned),
            seeds[run.run_id],
        )
        for run, learned, found in curriculum.last_measured(
            curriculum.median_runs(runs), WHAT
        )
    ]
    if not panels:
        return {}
    most = max(len(panel.seeds) for panel in panels)
    line = f"{task_name(runs)}; median of {most} runs, band: lowest to highest"
    every = panels[0].found.levels
    levels = every[np.unique(np.linspace(0, every.size - 1, _FEW).round().astype(int))]
    notes = (
        f"Hops learned: of one run. {drawing.median_note(runs)}",
        "Held-out rows, parameters when the last stage was passed, or at the end if "
        "none was.",
        "Bold: hops that were learned, with the loop at which they are first right.",
    )
    return {
        "margins": drawing.by_loop(
            panels,
            levels=levels.tolist(),
            quantity="mean_margin",
            title=drawing.found_kept(panels),
            line=f"{line}; margin: logit of the answer less the largest other",
            notes=notes,
        ),
        "changes": drawing.by_loop(
            panels,
            levels=levels.tolist(),
            quantity="mean_change",
            title=drawing.found_moving(panels),
            line=f"{line}; at the answer",
            notes=notes,
        ),
    }


def _margin_declines(runs: Sequence[Run], kind: Kind) -> Claim:
    """A run is right if the margin falls for most of its learned numbers of hops.

    It falls where it had risen, was positive and lost ERRORS errors over rows and
    LEAST_LOST of its peak; it stays where errors cannot hide that, or where it never
    rose. Where its peak is the last loop it is open.
    """

    def outcome(one: Measured) -> tuple[bool | None, str]:
        over, last = scaling.overthinking(one.found), one.found.loops[-1]
        least, noise = LEAST_LOST * over.peak, ERRORS * over.error
        rose = (over.peak > 0) & (over.peak_loop > 1)
        falls = rose & (over.drop > noise) & (over.drop >= least)
        stays = (over.peak_loop < last) & (over.drop + noise < least)
        counts = [(part & one.learned).sum() for part in (falls, stays | ~rose)]
        total = one.learned.sum()
        listed = ", ".join(map(str, over.peak_loop[one.learned]))
        hops = wording.count(total, "number of hops", "numbers of hops")
        return (
            judging.majority(counts[0], counts[1], total - sum(counts)),
            f"falls for {counts[0]} of {hops}, peaks at loop {listed}",
        )

    return curriculum.judge_kind(
        f"With {kind}, the mean margin of learned hops rises to a peak and declines "
        "with more loops.",
        runs,
        kind,
        WHAT,
        outcome,
        names=("falls", "stays"),
        source=SOURCE,
        expected="a peak and a decline by loop 50 for all numbers of hops, R = 6, 7, 8 "
        "and drawn",
        prefix="runs by most of their hops",
    )


def _drawn_loops_decline_less(runs: Sequence[Run]) -> Claim:
    """Pairs of runs of a graph and seed are judged, most of them decide.

    They are one with drawn loops and one with the largest fixed R > 4, on the hops that
    both learned. A pair is right by `Losses.is_less` and wrong by `is_not_less`.
    """
    fixed, drawn = (curriculum.of_kind(runs, kind) for kind in ("R > 4", "drawn loops"))
    # The paper compares with its largest fixed counts.
    most = max((run.num_loops for run in fixed), default=0)
    fixed = [run for run in fixed if run.num_loops == most]
    measured = curriculum.judged([*fixed, *drawn], WHAT)
    reference = {
        curriculum.pair_of(one.run): one
        for one in measured
        if curriculum.is_fixed(one.run)
    }
    pairs = [
        pair
        for one in measured
        if not curriculum.is_fixed(one.run)
        for pair in _losses(reference.get(curriculum.pair_of(one.run)), one)
    ]
    less, not_less = (
        sum(getattr(pair, name) for pair in pairs)
        for name in ("is_less", "is_not_less")
    )
    waiting = curriculum.unmeasured([*fixed, *drawn], [one.run for one in measured])
    undecided = len(pairs) - less - not_less
    holds = judging.majority(less, not_less, undecided + len(waiting))
    missing = curriculum.waits_for(waiting) if holds is None else []
    if not pairs:
        missing.append(
            f"runs with R > {curriculum.FEW} and with drawn loops that learn "
            f"{curriculum.LEAST_DRAWN} hops, of one graph and seed"
        )
    elif holds is None and undecided:
        missing.append(
            f"a decline, or rows to tell, in {wording.count(undecided, 'pair')}"
        )
    return judging.judge(
        "The margin declines less with drawn loops than with the largest fixed R, on "
        "the hops that both learned.",
        source=SOURCE,
        expected="a much slower decline with drawn loops than with R = 6, 7 and 8",
        measured=(
            "share of the peak that is lost by the last loop, with drawn loops and "
            f"with the largest fixed R ({most or 'none'}): "
            f"{'; '.join(map(_say, pairs)) or 'not measured'}"
        ),
        holds=holds,
        missing=missing,
        runs=[one.run for one in measured],
        test="count of pairs of runs",
    )


def _losses(fixed: Measured | None, drawn: Measured) -> list[Losses]:
    """Compares two runs of one pair, if there are both and hops that both learned."""
    if fixed is None:
        return []
    over = [scaling.overthinking(one.found) for one in (fixed, drawn)]
    both = fixed.learned & drawn.learned
    both &= np.isfinite(over[0].lost) & np.isfinite(over[1].lost)
    if not both.any():
        return []
    errors = [one.error[both] / one.peak[both] for one in over]
    return [
        Losses(
            pair=curriculum.pair_of(fixed.run),
            hops=fixed.found.levels[both],
            fixed=float(over[0].lost[both].mean()),
            drawn=float(over[1].lost[both].mean()),
            error=float(np.linalg.norm(errors) / both.sum()),
        )
    ]


def _say(pair: Losses) -> str:
    ends = sorted({int(pair.hops.min()), int(pair.hops.max())})
    return (
        f"graph/seed {pair.pair}, {' to '.join(map(str, ends))} hops: {pair.drawn:.2f} "
        f"and {pair.fixed:.2f}, apart {pair.fixed - pair.drawn:.2f} +- {pair.error:.2f}"
    )


def _peaks_come_later(runs: Sequence[Run], kind: Kind) -> Claim:
    """A run is right with a rank correlation of hops and peaks of CORRELATION or more.

    It is wrong with one of 0 or less, and open between, or where fewer than POINTS of
    its numbers of hops have their peaks before the last loop.
    """

    def outcome(one: Measured) -> tuple[bool | None, str] | None:
        if one.learned.sum() < POINTS:
            return None
        peaks = scaling.overthinking(one.found).peak_loop
        seen = one.learned & (peaks < one.found.loops[-1])
        listed = f"at loop {', '.join(map(str, peaks[one.learned]))}"
        if seen.sum() < POINTS:
            return None, f"{listed} ({seen.sum()} before the last)"
        # Equal values have no correlation: they do not grow.
        grows = np.ptp(peaks[seen]) > 0
        rank = stats.spearmanr(one.found.levels[seen], peaks[seen])[0] if grows else 0.0
        is_open = 0 < rank < CORRELATION
        return (
            None if is_open else bool(rank >= CORRELATION),
            f"{listed} (rank correlation {rank:.2f})",
        )

    return curriculum.judge_kind(
        f"With {kind}, the margin peaks at a later loop for more hops.",
        runs,
        kind,
        WHAT,
        outcome,
        names=("later", "not later"),
        source=SOURCE,
        expected="earlier and higher peaks for fewer hops",
        prefix="peaks from 2 hops on",
        wanted=f"a run with {kind} that learns "
        f"{max(POINTS + 1, curriculum.LEAST_DRAWN * (kind == 'drawn loops'))} hops",
    )
