"""Judges what is claimed of the inside of looped models on the runs of the study.

A claim about runs holds if it is so in most of those that can tell, and fails if it is
so in at most half of them, unless runs that still train, or lack an analysis, could
turn it. What a lens reads counts as far as it is above both controls of `lens`: the
embedding alone, and the model before training. What differs by less than is said is
open: it counts for neither side.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rdt_jax import wording
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import (
    geometry,
    grokking,
    knockout,
    lens,
    questions,
    stages,
    statistics,
)
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.patching import FEWEST
from rdt_jax.analysis.runs import Run
from rdt_jax.analysis.stages import Sample, Seen

SOURCE = "Kohli et al. (2026), arXiv:2604.07822"
WANG = "Wang et al. (2024), arXiv:2405.15071"

DECODED = 0.5  # of the rows above the controls: decodable; of the rows: recovered
NEVER = 0.1  # of the rows above the controls: not decodable at all
# Of the questions, or of a whole effect: what counts as a difference. It is twice the
# standard error of the difference of two shares near .5 of 200 questions.
LEAST = 0.1
LATER = 0.25  # of the effective depth: what counts as later
FULL = 0.9  # of the whole effect: a cause that has so much cannot grow
MEMORIZED, ID, OOD_DONE = (stages.EVENTS[stage] for stage in ("memorized", "id", "end"))
TRAIN, OOD = (questions.GROUPS.index(name) for name in ("train", "ood"))

COMBINES = "a looped run that completes OOD"


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges the claims on what has been run so far."""
    looped = [run for run in runs if run.num_loops > 1]
    vanilla = [run for run in runs if run.num_loops == 1]
    return [
        _memorized_without_bridge(looped),
        _bridge_before_target(looped),
        _bridge_within_first_loop(looped),
        _bridge_later_without_loops(looped, vanilla),
        _no_target_without_loops(vanilla),
        _first_loop_decides(looped),
        _cause_grows(runs),
        _first_hop_is_read_first(looped),
        _second_hop_is_read_later(looped),
        _alignment_rises(looped, vanilla),
    ]


def _memorized_without_bridge(looped: Sequence[Run]) -> Claim:
    """At memorization, the bridge of train questions stays below DECODED at r1.

    Judged on looped runs that memorize before they complete ID, and whose one-hop rows
    are not answered at r1: where they are, the facts alone bring the bridge there.
    """
    apart = [run for run in looped if run.config.task.kwargs.answer_at != "last"]
    found = _before(stages.sample(apart, "lens", "memorized"), MEMORIZED, ID)
    targets = [lens.excess(s.result, "target")[TRAIN, -1] for s in found.seen]
    bridges = [lens.excess(s.result, "bridge")[TRAIN].max() for s in found.seen]
    return _judge_runs(
        "When a looped model has memorized, and not yet generalized to ID, the bridge "
        f"of trained questions is not decodable at r1 (below {DECODED:g} of the rows "
        "above the controls at every depth).",
        source=f"{SOURCE}, Figure 4, stage 1",
        expected="the target is decodable and the bridge is not, in every looped model",
        found=found,
        so=[bridge < DECODED for bridge in bridges],
        measured=f"bridge {_median(bridges)}, target {_median(targets)}",
        otherwise="looped runs that memorize before they generalize to ID"
        if apart or not looped
        else "looped runs whose rows are not answered at their last word "
        "(task.kwargs.answer_at)",
    )


def _bridge_before_target(looped: Sequence[Run]) -> Claim:
    """At OOD completion the bridge is DECODED at a smaller depth than the target.

    A run whose target is decodable at no depth cannot tell.
    """
    found = stages.sample(looped, "lens", "end")
    bridges = [_depth(s, "bridge") for s in found.seen]
    targets = [_depth(s, "target") for s in found.seen]
    return _judge_runs(
        "Once a looped model combines OOD facts, the bridge of OOD questions is "
        "decodable at r1 at a smaller effective depth than the target where the answer "
        "is read.",
        source=f"{SOURCE}, Figure 4, stage 3",
        expected="bridge from depth 1-2, target from depth 5 of 8, the second loop",
        found=found,
        so=[
            b < t if np.isfinite(t) else None
            for b, t in zip(bridges, targets, strict=True)
        ],
        measured=(
            f"bridge from depth {_median(bridges)}, target from depth "
            f"{_median(targets)}"
        ),
        otherwise=COMBINES,
        cannot="a target that is decodable",
    )


def _bridge_within_first_loop(looped: Sequence[Run]) -> Claim:
    """At OOD completion the bridge is DECODED after a block of the first loop."""
    found = stages.sample(looped, "lens", "end")
    reached = [
        lens.excess(s.result, "bridge")[OOD, : s.run.config.model.core_blocks + 1].max()
        for s in found.seen
    ]
    return _judge_runs(
        "Once a looped model combines OOD facts, the bridge of OOD questions is "
        f"decodable at r1 by the end of the first loop (at least {DECODED:g} of the "
        "rows above the controls).",
        source=f"{SOURCE}, Figure 4, stage 3",
        expected="decodable from effective depth 1-2, with 4 blocks in a loop",
        found=found,
        so=[share >= DECODED for share in reached],
        measured=f"share of rows above the controls {_median(reached)}",
        otherwise=COMBINES,
    )


def _bridge_later_without_loops(looped: Sequence[Run], vanilla: Sequence[Run]) -> Claim:
    """At their ends the OOD bridge is DECODED deeper without loops, in most pairs.

    A pair is a looped run that completed OOD and one without loops, past ID, of equal
    effective depth, decay, graph, seed, place of the answer and number of updates. It
    counts if they differ by LATER of the depth; decodable at no depth is later.
    """
    ends = {s.run: s for s in stages.look([*looped, *vanilla], "lens", "final")}
    depths: list[tuple[float, float]] = []
    so, runs, unknown, unequal = [], [], 0, 0
    for one, other in (
        (r, v) for r in looped for v in vanilla if _pairing(r) == _pairing(v)
    ):
        waits = [run.outcome == "unfinished" for run in (one, other)]
        came = grokking.arrived([one], OOD_DONE), grokking.arrived([other], ID)
        if not all(any(each) for each in zip(came, waits, strict=True)):
            continue
        if any(waits) or not {one, other} <= ends.keys():
            unknown += 1
        elif one.status["step"] != other.status["step"]:
            unequal += 1
        else:
            pair = _depth(ends[one], "bridge"), _depth(ends[other], "bridge")
            depths.append(pair)
            runs += [one, other]
            least = LATER * one.num_loops * one.config.model.core_blocks
            apart = 0 if pair[0] == pair[1] else pair[1] - pair[0]
            so.append(apart > 0 if abs(apart) >= least else None)
    missing = [f"the ends and lenses of {wording.count(unknown, 'pair')}"] * (
        unknown > 0
    )
    if unequal:
        missing.append("pairs with equally many updates (stop_after_phases=false)")
    if depths:
        missing.append(f"pairs that differ by {LATER:g} of the depth")
    with_loops, without = zip(*depths, strict=True) if depths else ((), ())
    return _judge_most(
        "Without loops, at equal effective depth and equally many updates, the bridge "
        "of OOD questions is decodable at r1 at a greater depth, or at none (by "
        f"{LATER:g} of the depth or more; pairs of one graph and seed).",
        source=f"{SOURCE}, Figures 4 and 11",
        expected="depth 1-2 of 8 with loops, only after depth 7 of 8 without",
        so=so,
        of="pair",
        measured=f"depth {_median(with_loops)} with loops, {_median(without)} without",
        unknown=unknown,
        missing=missing
        or [
            "a looped run that completes OOD and one without loops past ID, equally "
            "deep and of one graph and seed"
        ],
        runs=runs,
    )


def _pairing(run: Run) -> tuple[object, ...]:
    """What runs of a pair have in common."""
    config = run.config
    effective = run.num_loops * config.model.core_blocks
    place, decay = config.task.kwargs.answer_at, config.optimizer.weight_decay
    return effective, place, decay, config.task.seed, config.seed


def _no_target_without_loops(vanilla: Sequence[Run]) -> Claim:
    """At a run's end the OOD target is below NEVER at every depth.

    Judged on runs without loops that are over and past ID.
    """
    found = _over(vanilla, "lens")
    reached = [lens.excess(s.result, "target")[OOD].max() for s in found.seen]
    return _judge_runs(
        "Without loops the target of OOD questions is decodable at no depth (below "
        f"{NEVER:g} of the rows above the controls), however deep the model.",
        source=f"{SOURCE}, Figure 4",
        expected="never decodable in a model of 8 blocks",
        found=found,
        so=[share < NEVER for share in reached],
        measured=f"at most {_median(reached)} of the rows above the controls",
        otherwise="runs without loops that are over and past ID",
    )


def _first_loop_decides(looped: Sequence[Run]) -> Claim:
    """At OOD completion a clean r1 of the first loop recovers DECODED of OOD answers.

    Judged on runs of two or more blocks, as with one no state lies within the first
    loop, in which at least FEWEST questions count. What the last loop's state recovers
    is reported and not judged: at most the blocks behind it can still read it.
    """
    several = [run for run in looped if run.config.model.core_blocks > 1]
    found = stages.sample(several, "patching", "end")
    early, late, so = [], [], []
    for s in found.seen:
        blocks, at_r1 = s.run.config.model.core_blocks, s.result.recovered
        at_r1 = at_r1[OOD, :, questions.FIRST]
        can_tell = s.result.rows[OOD] >= FEWEST
        # The state that block e reads was left by the block before it.
        first = at_r1[1 : blocks + 1].max()
        so.append(bool(first >= DECODED) if can_tell else None)
        if can_tell:
            early.append(first)
            late.append(at_r1[(s.run.num_loops - 1) * blocks + 1 :].max())
    return _judge_runs(
        "In a looped model that combines OOD facts, the clean state at r1 that the "
        f"first loop left brings the answer back (at least {DECODED:g} of the rows).",
        source=f"{SOURCE}, Appendix E, Figure 11",
        expected="at r1 all layers of the first iteration are causal",
        found=found,
        so=so,
        measured=(
            f"recovered at best {_median(early)}; by what the last loop left "
            f"{_median(late)}"
        ),
        otherwise=(
            f"{COMBINES}, of two or more blocks"
            if grokking.arrived(looped, OOD_DONE)
            else COMBINES
        ),
        cannot=f"{FEWEST} questions that count",
    )


def _cause_grows(runs: Sequence[Run]) -> Claim:
    """From memorization to ID the largest effect at r1 on train answers rises by LEAST.

    Medians over runs that memorize before they complete ID, with an effect below FULL
    then. It fails if the effect falls by LEAST, and is open between the two.
    """
    found, pairs = _since(
        stages.sample(runs, "patching", "id"), MEMORIZED, ID, "memorized"
    )
    counted = [pair for pair in pairs if all(s.result.rows[TRAIN] for s in pair)]
    strength = lambda s: float(s.result.effect[TRAIN, 1:, questions.FIRST].max())
    can_grow = [pair for pair in counted if strength(pair[0]) < FULL]
    change = [strength(after) - strength(first) for first, after in can_grow]
    measured = (
        f"largest effect at r1 changes by {_median(change)}, by {LEAST:g} or more in "
        f"{sum(c >= LEAST for c in change)} of {wording.count(len(change), 'run')} "
        "that can grow"
    )
    if full := len(counted) - len(can_grow):
        measured += (
            f"; {full} with {FULL:g} or more at memorization cannot and are not counted"
        )
    if without := len(pairs) - len(counted):
        number = wording.count(without, "run")
        measured += f"; {number} without a question that counts"
    if found.unknown:
        missing = stages.missing(found, "")
    elif change:
        missing = [f"a change of {LEAST:g} or more"]
    else:
        missing = [
            "runs that memorize before they generalize to ID, and then have an effect "
            f"below {FULL:g}"
        ]
    return _judge_least(
        "The causal effect of the state at r1 on answers of trained questions grows by "
        f"{LEAST:g} or more between memorization and ID generalization (median over "
        "runs).",
        source=f"{WANG}, Figure 4b",
        expected="the strength of S[5, r1] grows during grokking, in 8 blocks",
        measured=f"{measured}{stages.note(found)}",
        least=_middle(change, found.unknown * [-np.inf]),
        most=_middle(change, found.unknown * [np.inf]),
        missing=missing,
        runs=[after.run for _, after in can_grow],
        test="median over runs",
    )


def _first_hop_is_read_first(looped: Sequence[Run]) -> Claim:
    """At OOD completion more answers need that r1 reads h in the first loop than later.

    What is lost with this edge of attention cut in all heads of the first loop, against
    cut in all later loops; runs count with at least FEWEST questions and a difference
    of LEAST.
    """
    return _read_in(
        looped,
        hop=0,
        first_needed=True,
        text="In a looped model that combines OOD facts, more answers are lost when r1 "
        "cannot attend to h in the first loop than when it cannot in all later ones "
        f"(by {LEAST:g} of the questions or more).",
        expected="the bridge is fetched to r1 by attention from h, in lower layers",
    )


def _second_hop_is_read_later(looped: Sequence[Run]) -> Claim:
    """At OOD completion more answers need that r1 is read in later loops than at first.

    As the claim of the first hop, of the edge from r1 to where the answer is read.
    """
    return _read_in(
        looped,
        hop=1,
        first_needed=False,
        text="In a looped model that combines OOD facts, more answers are lost when "
        "their position cannot attend to r1 in all loops after the first than when it "
        f"cannot in the first (by {LEAST:g} of the questions or more).",
        expected="the bridge is stored at r1 and read from there for the second hop",
    )


def _read_in(
    looped: Sequence[Run], *, hop: int, first_needed: bool, text: str, expected: str
) -> Claim:
    found = stages.sample(looped, "knockout", "end")
    so, first, later = [], [], []
    for s in found.seen:
        edge = knockout.hops(s.result)[hop]
        lost = s.result.in_loop[OOD, 0, edge], s.result.in_others[OOD, 0, edge]
        can_tell = s.result.rows[OOD] >= FEWEST and abs(lost[0] - lost[1]) >= LEAST
        so.append((lost[0] > lost[1]) == first_needed if can_tell else None)
        first.append(lost[0])
        later.append(lost[1])
    return _judge_runs(
        text,
        source=f"{WANG}, Figure 4, its circuit, looped",
        expected=expected,
        found=found,
        so=so,
        measured=(
            f"lost with the edge cut in the first loop {_median(first)}, in all later "
            f"{_median(later)}"
        ),
        otherwise=COMBINES,
        cannot=f"{FEWEST} answered questions and a difference of {LEAST:g}",
    )


def _alignment_rises(looped: Sequence[Run], vanilla: Sequence[Run]) -> Claim:
    """Alignment of OOD bridges rises by LEAST more in runs that combine OOD facts.

    The mean over depths, from ID to OOD completion, against looped runs past ID that
    never complete OOD, from ID to their end: medians, and a rank-sum test over runs.
    It fails if it rises by LEAST less, and is open between the two.
    """
    combining = set(grokking.arrived(looped, OOD_DONE))
    ours, one = _rises(stages.sample(looped, "geometry", "end"))
    never = [run for run in looped if run not in combining]
    theirs, other = _rises(_over(never, "geometry"))
    _, without = _rises(_over(vanilla, "geometry"))
    missing = stages.missing(ours, f"{COMBINES} after ID", "that combine")
    missing += stages.missing(
        theirs, "a looped run that is over and past ID, and never completes OOD"
    )
    difference = _middle(one) - _middle(other) if one and other else np.nan
    is_whole = not ours.unknown and not theirs.unknown
    has_test = is_whole and min(len(one), len(other)) > 1
    p_value = None
    if has_test:  # Of ranks, which a shift of all leaves: a rise is above -4.
        rises = 4 + np.array(other), 4 + np.array(one)
        p_value = statistics.rank_sum(*rises, seed=0).p_value
    return _judge_least(
        "The bridges of OOD questions align with their embeddings as OOD answers come: "
        f"from ID generalization on alignment rises by {LEAST:g} or more above what it "
        "does in looped runs that never combine (medians).",
        source=f"a hypothesis of ours, after {SOURCE}, Section 5.2",
        expected="a rise where OOD facts are combined, and none elsewhere",
        measured=(
            "alignment at r1 (cosine, own less other entities, mean over depths) "
            f"changes by {_median(one)} where looped runs combine, by {_median(other)} "
            f"where they do not, and by {_median(without)} without loops"
            f"{stages.note(ours, theirs)}"
        ),
        least=difference if is_whole else np.nan,
        most=difference if is_whole else np.nan,
        missing=missing or [f"a difference of {LEAST:g} or more"],
        runs=[s.run for each in (ours, theirs) for s in each.seen],
        test="rank-sum over runs" if has_test else "medians over runs",
        p_value=p_value,
    )


def _rises(ends: Sample) -> tuple[Sample, list[float]]:
    """How far the alignment of OOD bridges rose since ID generalization, by run."""
    found, pairs = _since(ends, ID, OOD_DONE, "id")
    mean = lambda s: geometry.alignment(s.result)[OOD, 1:].mean()
    return found, [float(mean(end) - mean(first)) for first, end in pairs]


def _since(
    sample: Sample, first: str, then: str, stage: str
) -> tuple[Sample, list[tuple[Seen, Seen]]]:
    """The runs in which an event completed before another, at a stage and later."""
    found = _before(sample, first, then)
    before = {s.run: s for s in stages.look(found.due, sample.what, stage)}
    pairs = [(before[s.run], s) for s in found.seen if s.run in before]
    return found._replace(seen=[s for _, s in pairs]), pairs


def _before(sample: Sample, first: str, then: str) -> Sample:
    """The runs in which an event completed before another did, or than they ended."""

    def is_before(run: Run) -> bool:
        times = grokking.grok_times(run)
        one, other = (grokking.completion(times, event) for event in (first, then))
        return not one.beyond and one.steps < other.steps

    # Until the second completes the first may still come before it in any run.
    return stages.of_runs(sample, is_before)._replace(awaited=sample.awaited)


def _over(runs: Sequence[Run], what: str) -> Sample:
    """Those that are over, and have learned what they can be expected to: ID."""
    learned = grokking.arrived(runs, ID)
    due = [run for run in learned if run.outcome == "over"]
    return Sample(
        what=what,
        seen=stages.look(due, what, "end"),
        due=due,
        awaited=[run for run in runs if run.outcome == "unfinished"],
    )


def _judge_runs(
    text: str,
    *,
    found: Sample,
    so: Sequence[bool | None],
    measured: str,
    otherwise: str,
    cannot: str = "",
    **told: str,
) -> Claim:
    """Judges what is claimed of most runs of a sample.

    `so` is by run of `found.seen`, None where the run cannot tell; `cannot` is what is
    missing in these, `otherwise` if no run came there.
    """
    is_whole = found.seen and not found.unknown
    lacks = [f"runs with {cannot}"] if is_whole else stages.missing(found, otherwise)
    return _judge_most(
        text,
        so=so,
        of="run",
        measured=f"{measured}{stages.note(found)}",
        unknown=found.unknown,
        missing=lacks,
        runs=[
            s.run for s, is_so in zip(found.seen, so, strict=True) if is_so is not None
        ],
        **told,
    )


def _judge_most(
    text: str,
    *,
    so: Sequence[bool | None],
    of: str,
    measured: str,
    unknown: int,
    missing: Sequence[str],
    runs: Sequence[Run],
    **told: Any,
) -> Claim:
    """Judges a count, of runs or pairs; `unknown` more may turn out either way."""
    right, wrong = so.count(True), so.count(False)
    holds = judging.majority(right, wrong, unknown)
    number = wording.count(right + wrong, of)
    number += f", {so.count(None)} open" if None in so else ""
    return judging.judge(
        text,
        measured=f"so in {right} of {number}; {measured}",
        holds=holds,
        missing=missing if holds is None else (),
        runs=runs,
        test=f"count of {of}s, most",
        **told,
    )


def _judge_least(
    text: str, *, least: float, most: float, missing: Sequence[str], **told: Any
) -> Claim:
    """Judges whether a change is LEAST or more; it lies between `least` and `most`."""
    holds = True if least >= LEAST else False if most <= -LEAST else None
    if holds is None:
        told["p_value"] = None
    return judging.judge(
        text, holds=holds, missing=missing if holds is None else (), **told
    )


def _depth(seen: Seen, what: str) -> float:
    return lens.first_depth(lens.excess(seen.result, what)[OOD], DECODED)


def _middle(values: Sequence[float], further: Sequence[float] = ()) -> float:
    every = [*values, *further]
    return float(np.median(every)) if every else np.nan


def _median(values: Sequence[float]) -> str:
    """Writes the median with the range, in two digits; inf is `none`."""
    known = [value for value in values if not np.isnan(value)]
    if not known:
        return "unknown"
    write = lambda x: "none" if np.isinf(x) else f"{x:.2f}".removesuffix(".00")
    middle, low, high = np.median(known), min(known), max(known)
    if low == high:
        return write(middle)
    return f"{write(middle)} ({write(low)} to {write(high)})"
