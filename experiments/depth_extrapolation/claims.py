"""Judges what is claimed of depth extrapolation on the runs of the study.

Loop counts that serve best are chosen on every other row and scored on the rest
(analysis/scaling.py). Above chance, gained, lost and certainly mean by four standard
errors of the rows; runs of different seeds are counted, never pooled.

A run that is not finished may still speak for a claim: it is missing, unless those that
are finished decide against the claim whatever it does.
"""

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from experiments.depth_extrapolation import learning
from experiments.depth_extrapolation.learning import SOURCE
from rdt_jax import wording
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import curriculum, depth, grokking, scaling, stored
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.depth import Depth
from rdt_jax.analysis.runs import Run

ERRORS = 4  # standard errors that a gain or a loss must have
APART = 2  # standard errors that must lie between the fewest and the most loops
SMALL_R = 4  # up to so many loops of training the paper sees no gain from more
KEPT = 0.05  # loss of accuracy below which learned hops are kept
RATIO = 1.2  # of hops answered to hops learned that the paper sees from 4 hops on


class _Sample(NamedTuple):
    """What was measured of the runs that a claim is about."""

    wanted: str  # what such a run is
    measured: list[tuple[Run, int, Depth]]  # when it passed a stage of so many hops
    lacking: Counter[str]  # what finished runs are without
    unfinished: list[Run]  # that may still come to be measured


class _Score(NamedTuple):
    """What runs of one recurrence answer of hops that were never trained."""

    loops: int  # the most that an update of training takes
    median: float  # over runs, of the mean accuracy over these hops
    error: float  # of one run, over rows; the largest of any


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges the claims on what has been run so far."""
    return [
        *learning.claims(runs),
        _nothing_beyond_at_training_loops(runs),
        _more_loops_answer_more(runs),
        _few_loops_lose(runs),
        _most_loops_decide(runs),
        _two_hops_alone_do_not_extend(runs),
        _many_hops_extend(runs),
    ]


def stages_of(run: Run) -> dict[int, Depth]:
    """Returns what was measured when each stage was passed, by its hops."""
    return {
        hops: found
        for hops, name in curriculum.kept_stages(run).items()
        if (found := stored.load(run, "depth", name)) is not None
    }


def _nothing_beyond_at_training_loops(runs: Sequence[Run]) -> Claim:
    sample = _sample(
        [run for run in runs if curriculum.is_fixed(run)],
        "a fixed R that passes a stage",
    )
    parts, beyond = [], 0
    for run, hops, found in sample.measured:
        accuracy = found.accuracy[:, run.num_loops - 1]
        beyond += scaling.reach(found, accuracy) > hops
        parts.append(
            f"{curriculum.label(run)} {_at(found, accuracy, hops + 1)} on {hops + 1} "
            "hops"
        )
    return _judge(
        "With the loops of training nothing deeper than trained is answered "
        f"(accuracy {scaling.ANSWERED}).",
        sample,
        figure="Figure 5, rows r = R",
        expected="nothing beyond the hops learned at r = R, for R = 1 to 8",
        measured=f"one hop more than learned: {', '.join(parts) or 'not measured'}",
        holds=not beyond,
        lost=beyond > 0,
    )


def _more_loops_answer_more(runs: Sequence[Run]) -> Claim:
    # With two hops alone the paper sees no extension either: a claim of its own.
    least = 3
    sample = _sample(
        [run for run in runs if curriculum.is_fixed(run) and run.num_loops > SMALL_R],
        f"a run with a fixed R > {SMALL_R} that learns {least} hops",
        least=least,
    )
    notes: dict[str, list[str]] = {"gained": [], "did not": []}
    for run, hops, found in sample.measured:
        scaled = scaling.scaled(found, run.num_loops)
        deeper = found.levels > hops
        works = (
            deeper
            & scaling.above_chance(scaled, run_folders.chance(run, "id"))
            & (scaled.loops > run.num_loops)
            & (scaled.gain > ERRORS * scaled.error)
        )
        best = int(np.flatnonzero(deeper)[scaled.accuracy[deeper].argmax()])
        notes["gained" if works.any() else "did not"].append(
            f"{curriculum.label(run)} {scaled.accuracy[best]:.2f} on "
            f"{found.levels[best]} hops after "
            f"{wording.count(scaled.loops[best], 'loop')}, "
            f"{scaled.accuracy[best] - scaled.gain[best]:.2f} after {run.num_loops}"
        )
    gained, other = map(len, notes.values())
    return _judge(
        f"With a fixed R > {SMALL_R}, more loops at inference than in training answer "
        "hops above chance that were never trained.",
        sample,
        figure="Figure 5",
        expected="R = 6 answers 17 hops after learning 13, R = 8 answers 24 after 16",
        measured=judging.by_outcome(notes),
        holds=gained > other,
        lost=gained + len(sample.unfinished) <= other,
    )


def _few_loops_lose(runs: Sequence[Run]) -> Claim:
    few = [r for r in runs if curriculum.is_fixed(r) and 2 <= r.num_loops <= SMALL_R]
    sample = _sample(
        few,
        f"a run with R = 2 to {SMALL_R} that passes a stage",
        asked=lambda hops: hops,
    )
    notes: dict[str, list[str]] = {"lost": [], "kept": [], "open": []}
    for run, hops, found in sample.measured:
        twice = 2 * run.num_loops
        rows = found.correct[found.hops <= hops].astype(float)
        before, after = rows[:, run.num_loops - 1], rows[:, twice - 1]
        notes[_outcome(before - after)].append(
            f"{curriculum.label(run)} {before.mean():.2f} after {run.num_loops} loops, "
            f"{after.mean():.2f} after {twice}"
        )
    kept = bool(notes["kept"])
    open_ends = []
    if notes["open"] and not kept:
        open_ends.append(f"more rows of {wording.count(len(notes['open']), 'run')}")
    return _judge(
        f"With R = 2 to {SMALL_R}, twice the loops of training lose accuracy on the "
        "hops that were learned.",
        sample,
        figure="Figure 5",
        expected="R = 2 to 4 lose accuracy on learned hops at r > R",
        measured=judging.by_outcome(notes),
        holds=not kept,
        lost=kept,
        open_ends=open_ends,
    )


def _outcome(loss: np.ndarray) -> str:
    """Says what became of rows by their loss, [n] in {-1, 0, 1}."""
    error = ERRORS * loss.std(ddof=1) / np.sqrt(loss.size)
    if loss.mean() > error:
        return "lost"
    return "kept" if loss.mean() + error < KEPT else "open"


def _most_loops_decide(runs: Sequence[Run]) -> Claim:
    finished = [
        run
        for members in curriculum.by_recurrence(runs).values()
        if not run_folders.unfinished(members)
        for run in members
    ]
    hops, able = curriculum.common_stage(finished) or (1, [])
    wanted = "two loop counts that pass a common stage"
    sample = _sample(able, wanted, least=hops, stage=hops)
    sample = sample._replace(unfinished=run_folders.unfinished(runs))
    scores = _scores(sample.measured)
    loops = {score.loops for score in scores.values()}
    pairs = [
        (few, many)
        for few, many in itertools.permutations(scores.values(), 2)
        if few.loops < many.loops
    ]
    extremes = [
        p for p in pairs if (p[0].loops, p[1].loops) == (min(loops), max(loops))
    ]
    lost = any(_falls(pair, APART) for pair in extremes)
    lost |= any(_falls(pair, ERRORS) for pair in pairs)
    holds = all(few.median < many.median for few, many in pairs)
    open_ends = []
    if sample.measured and not pairs:
        open_ends.append(wanted)
    elif not all(_falls(p, APART) or _falls(p[::-1], APART) for p in extremes):
        open_ends.append(
            f"a difference beyond {APART} standard errors of the rows between the "
            "fewest and the most loops"
        )
    elif not holds:
        open_ends.append("an order of the loop counts between these that is certain")
    listed = ", ".join(f"{name}: {score.median:.3f}" for name, score in scores.items())
    return _judge(
        "After the same training data, the most loops of training decide how deep "
        "more loops at inference reach.",
        sample,
        figure="Figure 7",
        expected=(
            "trained up to 12 hops: R = 6 answers 14, R = 8 and loops drawn up to 8 "
            "answer 19"
        ),
        measured=(
            f"median over runs of the mean accuracy with the best loops on all hops "
            f"beyond {hops}: {listed or 'none'}"
        ),
        holds=holds,
        lost=lost,
        open_ends=[] if lost else open_ends,
    )


def _scores(measured: Sequence[tuple[Run, int, Depth]]) -> dict[str, _Score]:
    """Scores each recurrence on all hops that are deeper than the stage."""
    members: dict[str, list[_Score]] = {}
    for run, hops, found in measured:
        deeper = found.levels > hops
        scaled = scaling.scaled(found, 1)
        accuracy, rows = scaled.accuracy[deeper], scaled.num_rows[deeper]
        # Rows of different hops are different rows.
        variance = (accuracy * (1 - accuracy) / rows).sum() / accuracy.size**2
        members.setdefault(curriculum.name_of(run), []).append(
            _Score(
                depth.most_loops(run.config),
                float(accuracy.mean()),
                float(np.sqrt(variance)),
            )
        )
    return {
        name: _Score(
            scores[0].loops,
            statistics.median(score.median for score in scores),
            max(score.error for score in scores),
        )
        for name, scores in members.items()
    }


def _falls(pair: tuple[_Score, _Score], errors: float) -> bool:
    """Says whether the second is below the first by so many standard errors."""
    one, other = pair
    return one.median - other.median > errors * math.hypot(one.error, other.error)


def _two_hops_alone_do_not_extend(runs: Sequence[Run]) -> Claim:
    sample = _sample(runs, "a run that passes two hops", stage=2)
    parts, beyond = [], 0
    for run, hops, found in sample.measured:
        scaled = scaling.scaled(found, 1)
        beyond += scaling.generalization_ratio(found, hops) > 1
        parts.append(f"{curriculum.label(run)} {_at(found, scaled.accuracy, hops + 1)}")
    return _judge(
        "A model that has learned two hops only answers no deeper ones "
        f"(accuracy {scaling.ANSWERED}), whatever its loops at inference.",
        sample,
        figure="Appendix J",
        expected="a generalization ratio of 1 where two hops were learned",
        measured=f"three hops with the best loops: {', '.join(parts) or 'none'}",
        holds=not beyond,
        lost=beyond > 0,
    )


def _many_hops_extend(runs: Sequence[Run]) -> Claim:
    least, most = 4, 8
    sample = _sample(
        [run for run in runs if depth.most_loops(run.config) >= most],
        f"a run with {most} loops or more that learns {least} hops",
        least=least,
        asked=lambda hops: RATIO * hops,
    )
    ratios = {
        curriculum.label(run): scaling.generalization_ratio(found, hops)
        for run, hops, found in sample.measured
    }
    best = [*ratios.values(), *[math.inf] * len(sample.unfinished)]
    listed = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
    return _judge(
        f"Models with {most} loops of training or more (drawn: at the most) that "
        f"learned {least} hops or more answer at least {RATIO} times as many with the "
        "best loops.",
        sample,
        figure="Appendix J",
        expected="a generalization ratio of about 1.25 at 4 hops, 1.2 to 1.8 beyond",
        measured=f"generalization ratio: {listed or 'none'}",
        holds=bool(ratios) and statistics.median(ratios.values()) >= RATIO,
        lost=bool(best) and statistics.median(best) < RATIO,
    )


def _sample(
    runs: Sequence[Run],
    wanted: str,
    *,
    least: int = 2,
    asked: Callable[[int], float] = lambda hops: hops + 1,
    stage: int | None = None,
) -> _Sample:
    """Collects what was measured of finished runs when they passed a stage.

    Args:
      least: hops that a run must have learned.
      asked: of the hops of the stage; so many, or more, must have been asked.
      stage: hops of the stage; None for the last one of a run.
    """
    learned = {run: curriculum.progress(run).learned or 0 for run in runs}
    open_runs = [
        run
        for run in run_folders.unfinished(runs)
        if learned[run] < (stage or math.inf)
    ]
    sample = _Sample(wanted, [], Counter(), open_runs)
    for run in runs:
        if run in open_runs or learned[run] < least:
            continue
        stages = stages_of(run)
        hops = max(stages, default=0) if stage is None else stage
        if hops < least or hops not in stages:
            sample.lacking["an analysis"] += 1
        elif stages[hops].levels[-1] < asked(hops):
            sample.lacking["deeper rows"] += 1
        else:
            sample.measured.append((run, hops, stages[hops]))
    return sample


def _judge(
    text: str,
    sample: _Sample,
    *,
    figure: str,
    expected: str,
    measured: str,
    holds: bool,
    lost: bool,
    open_ends: Sequence[str] = (),
) -> Claim:
    """Judges a claim on a sample.

    It is `lost` if it fails whatever becomes of unfinished runs; `open_ends` are what
    is missing besides runs.
    """
    count, lacking = len(sample.measured), sample.lacking
    if lacking:
        without = ", ".join(f"{n} without {what}" for what, n in lacking.items())
        due = wording.count(count + lacking.total(), "run")
        measured += f"; {count} of {due} measured ({without})"
    missing = list(open_ends)
    if not count:
        missing += [
            f"{what} of {wording.count(n, 'run')}" for what, n in lacking.items()
        ]
        missing += [] if lacking else [sample.wanted]
    if not lost:
        missing += grokking.ends_of(sample.unfinished)
    return judging.judge(
        text,
        source=f"{SOURCE}, {figure}",
        expected=expected,
        measured=measured,
        holds=holds,
        missing=missing,
        runs=[run for run, _, _ in sample.measured],
    )


def _at(found: Depth, accuracy: np.ndarray, hops: int) -> str:
    (index,) = np.flatnonzero(found.levels == hops)
    return f"{accuracy[index]:.2f}"
