"""Judges what is claimed of the inside of looped models on the runs of the study.

A claim about every run is decided against by one run. Otherwise it waits for runs that
still train, and for analyses that are not there, as long as they can change it; what a
median says is decided against if it would be, whatever they turned out to be.
"""

from collections.abc import Callable, Sequence

import numpy as np

from rdt_jax import wording
from rdt_jax.analysis import binding, geometry, grokking, lens, questions, stages
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.runs import Run
from rdt_jax.analysis.stages import Sample

SOURCE = "Kohli et al. (2026), arXiv:2604.07822"
WANG = "Wang et al. (2024), arXiv:2405.15071"

DECODED = 0.5  # of the rows: what counts as decodable, or as recovered
NEVER = 0.1  # of the rows: what counts as not decodable at all; chance is .02
ATTENDED = 0.5  # of the way from even weights to all of it: what counts as attended to
GROWN = 0.1  # of the whole effect: what a cause must gain to have grown
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
        _hops_attend_in_turn(looped),
        _alignment_rises(looped, vanilla),
    ]


def _memorized_without_bridge(looped: Sequence[Run]) -> Claim:
    # Where one-hop rows are answered at r1, the facts alone bring the bridge there.
    apart = [run for run in looped if run.config.task.kwargs.answer_at != "last"]
    found = stages.sample(apart, "lens", "memorized")
    targets = [lens.target_at_answer(s.result)[TRAIN, -1] for s in found.seen]
    bridges = [lens.bridge_at_r1(s.result)[TRAIN].max() for s in found.seen]
    return _judge_each(
        "When a looped model has memorized, it gives the answers of trained questions "
        f"without a bridge at r1 (below {DECODED:g} at every depth).",
        source=f"{SOURCE}, Figure 4, stage 1",
        expected="the target is decodable and the bridge is not, in every looped model",
        found=found,
        so=[t >= DECODED > b for t, b in zip(targets, bridges, strict=True)],
        measured=f"bridge {_median(bridges)}, target {_median(targets)}",
        otherwise="looped runs that have memorized"
        if apart or not looped
        else "looped runs whose rows are not answered at their last word "
        "(task.kwargs.answer_at)",
    )


def _bridge_before_target(looped: Sequence[Run]) -> Claim:
    found = stages.sample(looped, "lens", "end")
    bridges = [_depth(lens.bridge_at_r1(s.result)[OOD]) for s in found.seen]
    targets = [_depth(lens.target_at_answer(s.result)[OOD]) for s in found.seen]
    return _judge_each(
        "Once a looped model combines OOD facts, the target is decodable where the "
        "answer is read, and the bridge at r1 at a smaller effective depth.",
        source=f"{SOURCE}, Figure 4, stage 3",
        expected="bridge from depth 1-2, target from depth 5 of 8, the second loop",
        found=found,
        so=[b < t < np.inf for b, t in zip(bridges, targets, strict=True)],
        measured=(
            f"bridge from depth {_median(bridges)}, target from depth "
            f"{_median(targets)}"
        ),
        otherwise=COMBINES,
    )


def _bridge_within_first_loop(looped: Sequence[Run]) -> Claim:
    found = stages.sample(looped, "lens", "end")
    reached = [
        lens.bridge_at_r1(s.result)[OOD, : s.run.config.model.core_blocks + 1].max()
        for s in found.seen
    ]
    return _judge_each(
        "Once a looped model combines OOD facts, the bridge of OOD questions is "
        "decodable at r1 by the end of the first loop.",
        source=f"{SOURCE}, Figure 4, stage 3",
        expected="decodable from effective depth 1-2, with 4 blocks in a loop",
        found=found,
        so=[share >= DECODED for share in reached],
        measured=f"share of rows {_median(reached)}",
        otherwise=COMBINES,
    )


def _bridge_later_without_loops(looped: Sequence[Run], vanilla: Sequence[Run]) -> Claim:
    pair = _of_equal_depth(
        (stages.sample(looped, "lens", "end"), _over(vanilla, "lens")),
        lambda each: [*each.due, *each.awaited],
    )
    compared = _of_equal_depth(pair, lambda each: [s.run for s in each.seen])
    one, other = (
        [_depth(lens.bridge_at_r1(s.result)[OOD]) for s in each.seen]
        for each in compared
    )
    open_one, open_other = (
        len(each.due) + len(each.awaited) - len(known)
        for each, known in zip(pair, (one, other), strict=True)
    )
    holds = lambda one, other: bool(one and other and np.median(other) > np.median(one))
    missing = []
    if not any(each.due or each.awaited for each in pair):
        missing.append(
            "runs with and without loops of one effective depth, the former past OOD"
        )
    elif (
        not one
        or not other
        or holds([*one, *open_one * [0.0]], [*other, *open_other * [np.inf]])
    ):
        for each, which in zip(pair, ("with loops", "without loops"), strict=True):
            missing += stages.missing(each, COMBINES, which)
    return judging.judge(
        "Without loops, at equal effective depth, the bridge of OOD questions is "
        "decodable at r1 at a greater depth, or at none (medians over seeds).",
        source=f"{SOURCE}, Figures 4 and 11",
        expected="depth 1-2 of 8 with loops, only after depth 7 of 8 without",
        measured=(
            f"depth {_median(one)} with loops, {_median(other)} without"
            f"{stages.note(*pair)}"
        ),
        holds=holds(one, other),
        missing=missing,
        runs=[s.run for each in compared for s in each.seen],
    )


def _of_equal_depth(
    pair: Sequence[Sample], members: Callable[[Sample], Sequence[Run]]
) -> list[Sample]:
    """The parts of two samples at the effective depths that members of both have."""
    effective = lambda run: run.num_loops * run.config.model.core_blocks
    one, other = ({effective(run) for run in members(each)} for each in pair)
    return [
        stages.of_runs(each, lambda run: effective(run) in one & other) for each in pair
    ]


def _no_target_without_loops(vanilla: Sequence[Run]) -> Claim:
    found = _over(vanilla, "lens")
    reached = [lens.target_at_answer(s.result)[OOD].max() for s in found.seen]
    return _judge_each(
        "Without loops the target of OOD questions is decodable at no depth "
        f"(below {NEVER:g} of the rows), however deep the model.",
        source=f"{SOURCE}, Figure 4",
        expected="never decodable in a model of 8 blocks",
        found=found,
        so=[share < NEVER for share in reached],
        measured=f"at most {_median(reached)} of the rows",
        otherwise="runs without loops that are over and past ID",
    )


def _first_loop_decides(looped: Sequence[Run]) -> Claim:
    # With one block in a loop no state lies within it.
    several = [run for run in looped if run.config.model.core_blocks > 1]
    found = stages.sample(several, "patching", "end")
    counted = [s for s in found.seen if s.result.rows[OOD]]
    early, late = [], []
    for s in counted:
        blocks, loops = s.run.config.model.core_blocks, s.run.num_loops
        at_r1 = s.result.recovered[OOD, :, questions.FIRST]
        # The state that block e reads was left by the block before it.
        early.append(at_r1[1 : blocks + 1].max())
        late.append(at_r1[(loops - 1) * blocks + 1 :].max())
    return _judge_each(
        "In a looped model that combines OOD facts, the clean state at r1 that the "
        f"first loop left brings the answer back (at least {DECODED:g} of the rows), "
        "one that the last loop left does not.",
        source=f"{SOURCE}, Appendix E, Figure 11",
        expected="at r1 all layers of the first iteration are causal",
        found=found,
        so=[e >= DECODED > last for e, last in zip(early, late, strict=True)],
        measured=(
            f"recovered at best {_median(early)} in the first loop, {_median(late)} in "
            f"the last{_without_rows_note(found, len(counted))}"
        ),
        otherwise=(
            f"{COMBINES}, of two or more blocks"
            if grokking.arrived(looped, OOD_DONE)
            else COMBINES
        ),
        counted=counted,
    )


def _cause_grows(runs: Sequence[Run]) -> Claim:
    found, pairs = _since(
        stages.sample(runs, "patching", "id"), MEMORIZED, ID, "memorized"
    )
    counted = [pair for pair in pairs if all(s.result.rows[TRAIN] for s in pair)]
    strength = lambda s: float(s.result.effect[TRAIN, 1:, questions.FIRST].max())
    can_grow = [pair for pair in counted if strength(pair[0]) < FULL]
    change = [strength(after) - strength(first) for first, after in can_grow]
    full_note = ""
    if full := len(counted) - len(can_grow):
        full_note = (
            f"; {full} with {FULL:g} or more at memorization cannot and are not counted"
        )
    holds = lambda change: bool(change and np.median(change) >= GROWN)
    missing = []
    if holds([*change, *found.unknown * [np.inf]]):
        missing += stages.missing(found, "")
    elif not change:
        missing.append(
            "runs that memorize before they generalize to ID, and then have an effect "
            f"below {FULL:g}"
        )
    return judging.judge(
        "The causal effect of the state at r1 on answers of trained questions grows by "
        f"{GROWN:g} or more between memorization and ID generalization (median over "
        "runs).",
        source=f"{WANG}, Figure 4b",
        expected="the strength of S[5, r1] grows during grokking, in 8 blocks",
        measured=(
            f"largest effect at r1 changes by {_median(change)}, by {GROWN:g} or more "
            f"in {sum(c >= GROWN for c in change)} of "
            f"{wording.count(len(change), 'run')} that can grow"
            f"{full_note}"
            f"{_without_rows_note(found, len(counted))}{stages.note(found)}"
        ),
        holds=holds(change),
        missing=missing,
        runs=[after.run for _, after in can_grow],
    )


def _since(
    sample: Sample, first: str, then: str, stage: str
) -> tuple[Sample, list[tuple[stages.Seen, stages.Seen]]]:
    """The runs in which an event completed before another, at a stage and later."""
    found = stages.of_runs(sample, lambda run: _is_before(run, first, then))
    # Until the second completes the first may still come before it in any run.
    found = found._replace(awaited=sample.awaited)
    before = {s.run: s for s in stages.look(found.due, sample.what, stage)}
    pairs = [(before[s.run], s) for s in found.seen if s.run in before]
    return found._replace(seen=[s for _, s in pairs]), pairs


def _hops_attend_in_turn(looped: Sequence[Run]) -> Claim:
    found = stages.sample(looped, "binding", "end")
    first, second = [], []
    for s in found.seen:
        to_head, to_first = binding.retrieval(s.result)
        # A query sees itself and what stands before it.
        even = 1 / (1 + np.array([questions.FIRST, int(s.result.answer_position)]))
        weights = np.array(
            [
                to_head[OOD, s.result.loop == 1].max(),
                to_first[OOD, s.result.loop > 1].max(),
            ]
        )
        to_h, to_r1 = (weights - even) / (1 - even)
        first.append(to_h)
        second.append(to_r1)
    return _judge_each(
        "In a looped model that combines OOD facts, a head at r1 attends to h in the "
        "first loop, and a head where the answer is read to r1 in a later one "
        f"(at least {ATTENDED:g} of the way from even weights to all of it).",
        source=f"{WANG}, Figure 4, its circuit, looped",
        expected="the bridge is stored at r1 and read from there for the second hop",
        found=found,
        so=[min(pair) >= ATTENDED for pair in zip(first, second, strict=True)],
        measured=(
            f"of the way to all weight on h {_median(first)}, on r1 {_median(second)}"
        ),
        otherwise=COMBINES,
    )


def _alignment_rises(looped: Sequence[Run], vanilla: Sequence[Run]) -> Claim:
    ours, one = _rises(stages.sample(looped, "geometry", "end"))
    theirs, other = _rises(_over(vanilla, "geometry"))
    always = all(rise > 0 for rise in one)
    more = lambda one, other: bool(one and other and np.median(one) > np.median(other))
    most, least = ours.unknown * [np.inf], theirs.unknown * [-np.inf]
    may_be_more = more([*one, *most], [*other, *least])
    missing = []
    if always and (may_be_more or not one or not other):
        missing += stages.missing(ours, f"{COMBINES} after ID", "with loops")
        missing += stages.missing(
            theirs, "a run without loops that is over and past ID", "without loops"
        )
    return judging.judge(
        "The bridges of OOD questions align with their embeddings as OOD answers come: "
        "from ID generalization on alignment rises in every looped run, and by more "
        "than without loops (medians).",
        source=f"a hypothesis of ours, after {SOURCE}, Section 5.2",
        expected="a rise with loops, less without",
        measured=(
            "alignment at r1 (cosine, own less other entities, mean over depths) "
            f"changes by {_median(one)} with loops, up in {sum(r > 0 for r in one)} of "
            f"{wording.count(len(one), 'run')}, and by {_median(other)} without"
            f"{stages.note(ours, theirs)}"
        ),
        holds=always and more(one, other),
        missing=missing,
        runs=[s.run for each in (ours, theirs) for s in each.seen],
    )


def _rises(ends: Sample) -> tuple[Sample, list[float]]:
    """How far the alignment of OOD bridges rose since ID generalization, by run."""
    found, pairs = _since(ends, ID, OOD_DONE, "id")
    mean = lambda s: geometry.alignment(s.result)[OOD, 1:].mean()
    return found, [float(mean(end) - mean(first)) for first, end in pairs]


def _is_before(run: Run, first: str, then: str) -> bool:
    """Whether an event completed earlier than another did, or than the run ended."""
    times = grokking.grok_times(run)
    one, other = (grokking.completion(times, event) for event in (first, then))
    return not one.beyond and one.steps < other.steps


def _over(vanilla: Sequence[Run], what: str) -> Sample:
    """Those that are over, and have learned what they can be expected to: ID."""
    learned = grokking.arrived(vanilla, ID)
    due = [run for run in learned if run.outcome == "over"]
    return Sample(
        what=what,
        seen=stages.look(due, what, "end"),
        due=due,
        awaited=[run for run in vanilla if run.outcome == "unfinished"],
    )


def _judge_each(
    text: str,
    *,
    source: str,
    expected: str,
    found: Sample,
    so: Sequence[bool],
    measured: str,
    otherwise: str,
    counted: Sequence[stages.Seen] | None = None,
) -> Claim:
    """Judges a claim about every run of a sample: one that is not `so` is enough.

    `so` is by run of `counted`, those of `found.seen` that can tell (None: all).
    """
    counted = found.seen if counted is None else counted
    missing = []
    if all(so):
        missing += stages.missing(found, otherwise)
        if found.seen and not counted:
            missing.append(
                "questions that count, answered by the clean pass and not alike by "
                "the corrupted"
            )
    return judging.judge(
        text,
        source=source,
        expected=expected,
        measured=(
            f"so in {sum(so)} of {wording.count(len(so), 'run')}; "
            f"{measured}{stages.note(found)}"
        ),
        holds=all(so),
        missing=missing,
        runs=[s.run for s in counted],
    )


def _without_rows_note(found: Sample, counted: int) -> str:
    without = len(found.seen) - counted
    number = wording.count(without, "run")
    return f"; {number} without a question that counts" if without else ""


def _depth(accuracy: np.ndarray) -> float:
    return lens.first_depth(accuracy, DECODED)


def _median(values: Sequence[float]) -> str:
    """Writes the median with the range, in two digits; inf is `none`."""
    if not len(values):
        return "unknown"
    write = lambda x: "none" if np.isinf(x) else f"{x:.2f}".removesuffix(".00")
    middle, low, high = np.median(values), min(values), max(values)
    if low == high:
        return write(middle)
    return f"{write(middle)} ({write(low)} to {write(high)})"
