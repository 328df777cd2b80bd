"""Judges what is claimed of depth extrapolation on the runs of the study.

Each run is judged by itself: right, wrong, or open where its rows cannot tell. A claim
holds if most runs are right, a tie being no majority, and is open while those that are
open or not finished could turn it. Where the source speaks of some loop counts only,
runs of these are judged (`curriculum.Kind`).

Loop counts that serve best are chosen on every other row and scored on the rest
(analysis/scaling.py). Above chance and gained mean four standard errors of the rows,
since hops and loop counts are many: with 80 scored rows a gain of about .2. Where two
numbers are compared once, two errors count, and the least difference given below.
"""

import itertools
import math
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
from rdt_jax.analysis.curriculum import FEW, Kind
from rdt_jax.analysis.depth import Depth
from rdt_jax.analysis.runs import Run

ERRORS = 4  # standard errors of the rows that a chosen loop count must gain
APART = 2  # standard errors of the rows of a single comparison
LEAST_LOST = 0.05  # of the accuracy on learned hops: less is kept
LEAST_DEEPER = 0.02  # of the mean accuracy on all deeper hops: less is as deep
RATIO = 1.2  # of hops answered to hops learned that the paper sees from 4 hops on
MANY = 8  # loops of training from which on it sees that
# With two hops alone the paper sees no extension, whatever the loops.
LEAST_HOPS = 3


class _Sample(NamedTuple):
    """What was measured of the runs that a claim is about."""

    wanted: str  # what such a run is
    measured: list[tuple[Run, int, Depth]]  # when it passed a stage of so many hops
    lacking: Counter[str]  # what finished runs are without
    unfinished: list[Run]  # that may still come to be measured


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges the claims on what has been run so far."""
    return [
        *learning.claims(runs),
        _nothing_beyond_at_training_loops(runs),
        _more_loops_answer_more(runs),
        _few_loops_answer_no_more(runs),
        _without_loops_nothing_deeper(runs),
        _twice_the_loops_lose(runs, 2),
        _twice_the_loops_lose(runs, FEW),
        _most_loops_decide(runs),
        _two_hops_alone_do_not_extend(runs),
        _many_hops_extend(runs, "R > 4"),
        _many_hops_extend(runs, "drawn loops"),
    ]


def stages_of(run: Run) -> dict[int, Depth]:
    """Returns what was measured when each stage was passed, by its hops."""
    return {
        hops: found
        for hops, name in curriculum.kept_stages(run).items()
        if (found := stored.load(run, "depth", name)) is not None
    }


def _nothing_beyond_at_training_loops(runs: Sequence[Run]) -> Claim:
    """A run is right with less than ANSWERED on one hop more than it had learned."""
    sample = _sample(
        [run for run in runs if curriculum.is_fixed(run)],
        "a fixed R that passes a stage",
    )
    outcomes = []
    for run, hops, found in sample.measured:
        accuracy = found.accuracy[:, run.num_loops - 1]
        note = f"{curriculum.label(run)} {_at(found, accuracy, hops + 1)} on {hops + 1}"
        outcomes.append((scaling.reach(found, accuracy) <= hops, note))
    return _judge(
        "With the loops of training nothing deeper than trained is answered "
        f"(accuracy {scaling.ANSWERED}).",
        sample,
        outcomes,
        ("not answered", "answered"),
        figure="Figure 5, rows r = R",
        expected="nothing beyond the hops learned at r = R, for R = 1 to 8",
        what="hops beyond those learned: ",
    )


def _more_loops_answer_more(runs: Sequence[Run]) -> Claim:
    """A run is right if it gains on any deeper number of hops, and is above chance.

    Drawn loops were left out after runs of graph 0 had been seen, three of which gained
    nothing from more than their most; Figure 5, on which this rests, has a fixed R.
    """
    sample, outcomes = _gains(runs, "R > 4")
    return _judge(
        f"With a fixed R > {FEW}, more loops at inference than in training answer "
        "hops above chance that were never trained.",
        sample,
        outcomes,
        ("gained", "did not"),
        figure="Figure 5",
        expected="R = 6 answers 17 hops after learning 13, R = 8 answers 24 after 16",
    )


def _few_loops_answer_no_more(runs: Sequence[Run]) -> Claim:
    """A run is right if it gains nothing as above; at least one has R = FEW."""
    sample, outcomes = _gains(runs, "R = 2 to 4")
    has_border = any(run.num_loops == FEW for run, _, _ in sample.measured)
    return _judge(
        f"Only with R > {FEW}: with R = 2 to {FEW}, more loops at inference than in "
        "training answer no hops above chance that were never trained.",
        sample,
        [(not gained, note) for gained, note in outcomes],
        ("did not", "gained"),
        figure="Figure 5",
        expected="nothing deeper with R = 2 to 4, which lose even what they learned",
        missing=[f"a run with R = {FEW}"] if outcomes and not has_border else [],
    )


def _gains(
    runs: Sequence[Run], kind: Kind
) -> tuple[_Sample, list[tuple[bool | None, str]]]:
    """Says of each run whether more loops than in training answer deeper hops."""
    sample = _sample(
        curriculum.of_kind(runs, kind),
        f"a run with {kind} that learns {LEAST_HOPS} hops",
        least=LEAST_HOPS,
    )
    outcomes: list[tuple[bool | None, str]] = []
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
        note = (
            f"{curriculum.label(run)} {scaled.accuracy[best]:.2f} on "
            f"{found.levels[best]} hops after "
            f"{wording.count(scaled.loops[best], 'loop')}, "
            f"{scaled.accuracy[best] - scaled.gain[best]:.2f} after {run.num_loops}"
        )
        outcomes.append((bool(works.any()), note))
    return sample, outcomes


def _without_loops_nothing_deeper(runs: Sequence[Run]) -> Claim:
    """A run is right with a ratio of 1 or less, its blocks run as often as is best."""
    return _judge_extension(
        f"Models trained without loops answer no hops (accuracy {scaling.ANSWERED}) "
        "that were never trained, however often their blocks run at inference.",
        _sample(
            curriculum.of_kind(runs, "no loops"),
            "a run without loops that passes a stage",
        ),
        figure="Appendix G",
        expected="8, 16 and 24 layers learn 4, 6 and 6 hops and answer no more",
    )


def _two_hops_alone_do_not_extend(runs: Sequence[Run]) -> Claim:
    """A run is right with a ratio of 1 when it had learned two hops."""
    looped = [run for run in runs if curriculum.kind_of(run) != "no loops"]
    return _judge_extension(
        "A looped model that has learned two hops only answers no deeper ones "
        f"(accuracy {scaling.ANSWERED}), whatever its loops at inference.",
        _sample(looped, "a run with loops that passes two hops", stage=2),
        figure="Appendix J",
        expected="a generalization ratio of 1 where two hops were learned",
    )


def _judge_extension(text: str, sample: _Sample, *, figure: str, expected: str):
    outcomes = []
    for run, hops, found in sample.measured:
        accuracy = scaling.scaled(found, 1).accuracy
        note = f"{curriculum.label(run)} {_at(found, accuracy, hops + 1)}"
        outcomes.append((scaling.generalization_ratio(found, hops) <= 1, note))
    return _judge(
        text,
        sample,
        outcomes,
        ("not answered", "answered"),
        figure=figure,
        expected=expected,
        what="one hop more, with the best loops: ",
    )


def _twice_the_loops_lose(runs: Sequence[Run], loops: int) -> Claim:
    """A run is right if it loses LEAST_LOST and APART errors of the learned rows.

    It is wrong if APART errors cannot hide such a loss.
    """
    sample = _sample(
        [r for r in runs if curriculum.is_fixed(r) and r.num_loops == loops],
        f"a run with R = {loops} that passes a stage",
        asked=lambda hops: hops,
    )
    outcomes = []
    for run, hops, found in sample.measured:
        rows = found.correct[found.hops <= hops].astype(float)
        before, after = rows[:, loops - 1], rows[:, 2 * loops - 1]
        error = float((before - after).std(ddof=1) / np.sqrt(len(rows)))
        note = (
            f"{curriculum.label(run)} {before.mean():.2f} after {loops} loops, "
            f"{after.mean():.2f} after {2 * loops}"
        )
        loss = float((before - after).mean())
        lost = scaling.is_there(loss, error, least=LEAST_LOST, errors=APART)
        outcomes.append((lost, note))
    return _judge(
        f"With R = {loops}, twice the loops of training lose accuracy on the hops that "
        "were learned.",
        sample,
        outcomes,
        ("lost", "kept"),
        figure="Figure 5",
        expected="R = 2 to 4 lose accuracy on learned hops at r > R",
    )


def _most_loops_decide(runs: Sequence[Run]) -> Claim:
    """Each graph is judged on its runs of recurrences that passed a common stage.

    It is one of LEAST_HOPS or more: what has learned two hops only answers no deeper
    ones, which is another claim.
    It is right if of any two that differ in their most loops the one with more has
    LEAST_DEEPER and APART errors of the rows more, in the mean accuracy on all deeper
    hops with the best loops; wrong if of any two it cannot have that.
    """
    runs = curriculum.same_core(runs)
    finished = [
        run
        for members in curriculum.by_recurrence(runs).values()
        if not run_folders.unfinished(members)
        for run in members
    ]
    hops, able = curriculum.common_stage(finished) or (1, [])
    if hops < LEAST_HOPS:
        able = []
    wanted = f"two loop counts of a graph that pass a stage of {LEAST_HOPS} hops"
    sample = _sample(able, wanted, least=hops, stage=hops)
    sample = sample._replace(unfinished=run_folders.unfinished(runs))
    by_graph: dict[str, list[tuple[Run, float, float]]] = {}
    for run, _, found in sample.measured:
        scored = (run, *_beyond(found, hops))
        by_graph.setdefault(curriculum.pair_of(run), []).append(scored)
    graphs: list[tuple[bool | None, str]] = []
    for pair, scores in by_graph.items():
        outcomes = {
            scaling.is_there(
                more - less, math.hypot(error, other), least=LEAST_DEEPER, errors=APART
            )
            for (few, less, error), (many, more, other) in itertools.permutations(
                scores, 2
            )
            if depth.most_loops(few.config) < depth.most_loops(many.config)
        }
        listed = [f"{curriculum.name_of(run)} {mean:.3f}" for run, mean, _ in scores]
        right = False if False in outcomes else None if None in outcomes else True
        if outcomes:
            graphs.append((right, f"graph/seed {pair} {', '.join(listed)}"))
    return _judge(
        "After the same training data, the most loops of training decide how deep "
        "more loops at inference reach.",
        sample,
        graphs,
        ("deeper", "not deeper"),
        figure="Figure 7",
        expected=(
            "trained up to 12 hops: R = 6 answers 14, R = 8 and loops drawn up to 8 "
            "answer 19"
        ),
        what=f"mean accuracy with the best loops on all hops beyond {hops}: ",
        test="count of graphs",
    )


def _beyond(found: Depth, hops: int) -> tuple[float, float]:
    """Returns the mean accuracy on all deeper hops, with the best loops; its error."""
    deeper = found.levels > hops
    scaled = scaling.scaled(found, 1)
    accuracy, rows = scaled.accuracy[deeper], scaled.num_rows[deeper]
    # Rows of different hops are different rows.
    variance = (accuracy * (1 - accuracy) / rows).sum() / accuracy.size**2
    return float(accuracy.mean()), float(np.sqrt(variance))


def _many_hops_extend(runs: Sequence[Run], kind: Kind) -> Claim:
    """A run is right with a generalization ratio of RATIO or more at its last stage."""
    least = 4
    sample = _sample(
        [
            run
            for run in runs
            if curriculum.kind_of(run) == kind and depth.most_loops(run.config) >= MANY
        ],
        f"a run with {kind}, {MANY} at the most or more, that learns {least} hops",
        least=least,
        asked=lambda hops: RATIO * hops,
    )
    outcomes = []
    for run, hops, found in sample.measured:
        ratio = scaling.generalization_ratio(found, hops)
        outcomes.append((ratio >= RATIO, f"{curriculum.label(run)} {ratio:.2f}"))
    return _judge(
        f"With {kind}, models trained with {MANY} loops or more (drawn: at the most) "
        f"that learned {least} hops or more answer at least {RATIO} times as many with "
        "the best loops.",
        sample,
        outcomes,
        ("as many", "fewer"),
        figure="Appendix J",
        expected="a generalization ratio of about 1.25 at 4 hops, 1.2 to 1.8 beyond",
        what="generalization ratio: ",
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

    It is the `stage` of so many hops, or the last one, of runs that learned the `least`
    and were asked as many hops as `asked` says of the stage's.
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
    outcomes: Sequence[tuple[bool | None, str]],
    names: tuple[str, str],
    *,
    figure: str,
    expected: str,
    what: str = "",
    missing: Sequence[str] = (),
    test: str = "count of runs",
) -> Claim:
    """Judges a claim by the majority of a sample: see `curriculum.tally`."""
    open_runs, lacking = sample.unfinished, sample.lacking
    holds, measured, waits = curriculum.tally(outcomes, names, len(open_runs))
    measured = what + measured
    if lacking:
        without = ", ".join(f"{n} without {lack}" for lack, n in lacking.items())
        due = wording.count(len(sample.measured) + lacking.total(), "run")
        measured += f"; {len(sample.measured)} of {due} measured ({without})"
    missing = [
        *missing,
        *(grokking.ends_of(open_runs) if holds is None else ()),
        *waits,
    ]
    if not outcomes:
        missing += [
            f"{lack} of {wording.count(n, 'run')}" for lack, n in lacking.items()
        ] or [sample.wanted]
    return judging.judge(
        text,
        source=f"{SOURCE}, {figure}",
        expected=expected,
        measured=measured,
        holds=holds,
        missing=missing,
        runs=[run for run, _, _ in sample.measured],
        test=test,
    )


def _at(found: Depth, accuracy: np.ndarray, hops: int) -> str:
    (index,) = np.flatnonzero(found.levels == hops)
    return f"{accuracy[index]:.2f}"
