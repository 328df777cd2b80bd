"""Do more loops than needed destroy an answer that loops had reached?

Question: how does the margin of the right answer go on as a model loops beyond what it
was trained with, by the hops of the question and the loops of training?

Prediction (Kohli et al. 2026, arXiv:2604.07822, Figure 8): the mean margin rises to a
peak, later for more hops, and then declines; it declines less where the loops of
training were drawn anew at every update.

The runs are those of experiments/depth_extrapolation.
"""

import statistics
from collections.abc import Callable, Sequence
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
from rdt_jax.analysis.curriculum import Measured
from rdt_jax.analysis.depth import Depth
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import depth as drawing
from rdt_jax.figures import terminal
from rdt_jax.figures.words import task_name

CONFIG = extrapolation.CONFIG
ANALYSES = {"depth_far": extrapolation.ANALYSES["depth"]}
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
    """What two runs of a seed lose on the hops that both learned, of their peaks."""

    seed: int
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
        """Whether noise over rows cannot hide that drawn loops lose less."""
        return self.fixed - self.drawn + ERRORS * self.error < LEAST_LOST


def table(runs: Sequence[Run]) -> Table:
    """Builds the table of the study, of the stages where nothing was measured yet."""
    rows, last = [], 0
    for run, learned, found in curriculum.last_measured(runs, "depth_far"):
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
        _margin_declines(runs),
        _drawn_loops_decline_less(runs),
        _comes_later(
            runs,
            "The margin peaks at a later loop for more hops.",
            "earlier and higher peaks for fewer hops",
            "loop of the peak",
            lambda found: scaling.overthinking(found).peak_loop.astype(float),
        ),
        _comes_later(
            runs,
            "The first loop with the right answer comes later for more hops.",
            "later first hits for more hops, the dashed lines of the figure",
            "mean first loop",
            lambda found: found.first_hit,
        ),
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
            curriculum.median_runs(runs), "depth_far"
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


def _margin_declines(runs: Sequence[Run]) -> Claim:
    counts, declined = [], 0
    measured = curriculum.judged(runs, "depth_far")
    for run, found, learned in measured:
        over = scaling.overthinking(found)
        falls = (over.drop > ERRORS * over.error) & (over.peak > 0)
        falls &= (over.peak_loop > 1) & learned  # It had risen.
        falls &= over.drop >= LEAST_LOST * over.peak
        declined += bool(2 * falls.sum() > learned.sum())
        at = ", ".join(map(str, over.peak_loop[learned]))
        counts.append(
            f"{curriculum.label(run)} falls for {falls.sum()} of "
            f"{wording.count(learned.sum(), 'number of hops', 'numbers of hops')}, "
            f"peaks at loop {at}"
        )
    others = len(measured) - declined
    holds, missing = curriculum.majority(runs, measured, declined, others)
    return judging.judge(
        "The mean margin of learned hops rises to a peak and declines with more loops.",
        source=SOURCE,
        expected="a peak and a decline for all numbers of hops, R = 6, 7, 8 and drawn",
        measured="; ".join(counts) or "not measured",
        holds=holds,
        missing=missing
        + ([] if measured else ["a run with loops that passes a stage"]),
        runs=[one.run for one in measured],
    )


def _drawn_loops_decline_less(runs: Sequence[Run]) -> Claim:
    members = curriculum.judged(runs, "depth_far")
    fixed = [one for one in members if curriculum.is_fixed(one.run)]
    # The paper compares with its largest fixed counts.
    most = max((one.run.num_loops for one in fixed), default=0)
    reference = {one.run.config.seed: one for one in fixed if one.run.num_loops == most}
    pairs: dict[str, list[Losses]] = {}
    for one in members:
        if not curriculum.is_fixed(one.run):
            found = pairs.setdefault(curriculum.name_of(one.run), [])
            found += _losses(reference.get(one.run.config.seed), one)
    verdicts = [_lose_less(found) for found in pairs.values()]
    # A run may come to be the reference, or one of a pair.
    missing = curriculum.waits_for(
        curriculum.unmeasured(runs, [one.run for one in members])
    )
    if not any(pairs.values()):
        missing.append("runs with fixed and with drawn loops that share seed and hops")
    elif None in verdicts and False not in verdicts:
        missing.append(f"more rows or seeds: less than {ERRORS} errors apart")
    listed = [f"{name}, {_say(one)}" for name in pairs for one in pairs[name]]
    return judging.judge(
        "The margin declines less with drawn loops than with the largest fixed R, on "
        "the hops that both learned.",
        source=SOURCE,
        expected="a much slower decline with drawn loops than with R = 6, 7 and 8",
        measured=(
            "share of the peak that is lost by the last loop, with drawn loops and "
            f"with R = {most}: {'; '.join(listed) or 'not measured'}"
        ),
        holds=all(verdicts),
        missing=missing,
        runs=[
            one.run
            for one in members
            if one.run.num_loops == most or not curriculum.is_fixed(one.run)
        ],
    )


def _losses(fixed: Measured | None, drawn: Measured) -> list[Losses]:
    """Compares two runs of one seed, if there are both and hops that both learned."""
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
            seed=fixed.run.config.seed,
            hops=fixed.found.levels[both],
            fixed=float(over[0].lost[both].mean()),
            drawn=float(over[1].lost[both].mean()),
            error=float(np.linalg.norm(errors) / both.sum()),
        )
    ]


def _lose_less(pairs: Sequence[Losses]) -> bool | None:
    """Says whether drawn loops lose less in most pairs; None if noise hides it."""
    if not pairs:
        return None
    less = sum(pair.is_less for pair in pairs)
    if 2 * less > len(pairs):
        return True
    not_less = sum(pair.is_not_less for pair in pairs)
    return False if 2 * not_less >= len(pairs) else None


def _say(pair: Losses) -> str:
    ends = sorted({int(pair.hops.min()), int(pair.hops.max())})
    return (
        f"seed {pair.seed}, {' to '.join(map(str, ends))} hops: {pair.drawn:.2f} and "
        f"{pair.fixed:.2f}, apart {pair.fixed - pair.drawn:.2f} +- {pair.error:.2f}"
    )


def _comes_later(
    runs: Sequence[Run],
    text: str,
    expected: str,
    what: str,
    values_of: Callable[[Depth], np.ndarray],
) -> Claim:
    correlations, parts, used = [], [], []
    measured = curriculum.judged(runs, "depth_far")
    for run, found, learned in measured:
        if learned.sum() < POINTS:
            continue
        values = values_of(found)[learned]
        used.append(run)
        # Equal values have no correlation: they do not grow.
        grows = np.ptp(values) > 0
        rank = stats.spearmanr(found.levels[learned], values)[0] if grows else 0.0
        correlations.append(float(rank))
        listed = ", ".join(f"{value:.1f}" for value in values)
        parts.append(f"{curriculum.label(run)} {listed} (rank correlation {rank:.2f})")
    left = curriculum.unmeasured(runs, [one.run for one in measured])
    low, high = (
        statistics.median([*correlations, *len(left) * [end]] or [0.0])
        for end in (-1.0, 1.0)
    )
    missing = []
    if low < CORRELATION and high > 0:
        missing += curriculum.waits_for(left)
    if not used:
        missing.append(f"a run with loops that learns {POINTS + 1} hops")
    elif not missing and 0 < high < CORRELATION:
        missing.append(f"a clearer order: a median of {CORRELATION:g} or more")
    return judging.judge(
        text,
        source=SOURCE,
        expected=expected,
        measured=f"{what}, from 2 hops on: {'; '.join(parts) or 'not measured'}",
        holds=low >= CORRELATION,
        missing=missing,
        runs=used,
    )
