"""What happens inside when a looped transformer begins to combine unseen facts?

Question: where on its way does a model hold the entity in the middle of a two-hop
question, which states decide the answer, who attends to whom, and what of this changes
when it memorizes, generalizes to new combinations of practiced facts (ID), and to facts
that it never combined (OOD)? How do loops differ from as many blocks of their own?

Prediction (Kohli et al. 2026, arXiv:2604.07822, Figures 4 and 11): with loops the
bridge can be read off r1 within the first loop, for OOD questions too, and the target
off r2 in the second; without, the OOD bridge comes too late and the OOD target never.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from rdt_jax import registry
from rdt_jax.analysis import binding, geometry, lens, questions, stages
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import mechanism as drawing
from rdt_jax.sweep import spec

CONFIG = "configs/knowledge_composition.py"

LOOPS = "recurrence.num_loops"
BLOCKS = "model.core_blocks"
WEIGHT_DECAY = "optimizer.weight_decay"
SOURCE = "Kohli et al. (2026), arXiv:2604.07822"
WANG = "Wang et al. (2024), arXiv:2405.15071"

ANALYSES = {what: stages.KINDS for what in ("lens", "patching", "binding", "geometry")}

DECODED = 0.5  # of the rows: what counts as decodable, or as recovered
NEVER = 0.1  # of the rows: what counts as not decodable at all; chance is .02
ATTENDED = 0.5  # of the way from even weights to all of it: what counts as attended to
TRAIN, OOD = (questions.GROUPS.index(name) for name in ("train", "ood"))


def _models(*models: tuple[int, int]) -> list[dict[str, Any]]:
    return [{LOOPS: loops, BLOCKS: blocks} for loops, blocks in models]


_DECAY = spec.grid(WEIGHT_DECAY, 0.1)
_PAPER = (_models((2, 4), (1, 8)), spec.grid("seed", 0, 1, 2))
SWEEPS: Mapping[str, tuple[list[dict[str, Any]], ...]] = {
    "smoke": (_models((2, 2), (1, 4)), _DECAY, spec.grid("seed", 0)),
    "cpu": (
        _models((2, 2), (4, 2), (1, 2), (1, 4)), _DECAY, spec.grid("seed", 0, 1, 2),
    ),
    "cpu_long": (
        _models((2, 2), (4, 2), (1, 2), (1, 4), (1, 8)),
        _DECAY,
        spec.grid("seed", 0, 1, 2, 3, 4),
    ),
    "paper": _PAPER,
    "paper_code": _PAPER,
}  # fmt: skip


def sweep(preset: str) -> list[dict[str, Any]]:
    """Returns the overrides of each trial; ValueError lists the presets."""
    return spec.product(*registry.lookup("preset", SWEEPS, preset))


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws the study; ValueError if there is no run."""
    return {
        "lens": drawing.lens(runs),
        "patching": drawing.patching(runs),
        "attention": drawing.attention(runs),
        "geometry": drawing.geometry(runs),
    }


def table(runs: Sequence[Run]) -> Table:
    """Builds the table of the study; ValueError if there is no run."""
    return drawing.table(runs)


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
    seen = stages.look(apart, "lens", "memorized")
    targets = [lens.target_at_answer(s.result)[TRAIN, -1] for s in seen]
    bridges = [lens.bridge_at_r1(s.result)[TRAIN].max() for s in seen]
    without = [t >= DECODED > b for t, b in zip(targets, bridges, strict=True)]
    return judging.judge(
        "When a looped model has memorized, it gives the answers of trained questions "
        f"without a bridge at r1 (below {DECODED:g} at every depth).",
        source=f"{SOURCE}, Figure 4, stage 1",
        expected="the target is decodable and the bridge is not, in every looped model",
        measured=(
            f"so in {sum(without)} of {len(seen)} runs; bridge {_median(bridges)}, "
            f"target {_median(targets)}"
        ),
        holds=all(without),
        missing=()
        if seen
        else [
            "looped runs that have memorized, with their lens, of rows that are not "
            "answered at their last word (task.kwargs.answer_at)"
        ],
        runs=[s.run for s in seen],
    )


def _bridge_before_target(looped: Sequence[Run]) -> Claim:
    seen = _generalized(looped, "lens")
    bridges = [_depth(lens.bridge_at_r1(s.result)[OOD]) for s in seen]
    targets = [_depth(lens.target_at_answer(s.result)[OOD]) for s in seen]
    before = [b < t for b, t in zip(bridges, targets, strict=True)]
    return judging.judge(
        "Once a looped model combines OOD facts, the bridge is decodable at r1 at a "
        "smaller effective depth than the target where the answer is read.",
        source=f"{SOURCE}, Figure 4, stage 3",
        expected="bridge from depth 1-2, target from depth 5 of 8, the second loop",
        measured=(
            f"so in {sum(before)} of {len(seen)} runs; bridge from depth "
            f"{_median(bridges)}, target from depth {_median(targets)}"
        ),
        holds=all(before),
        missing=_missing_generalized(seen),
        runs=[s.run for s in seen],
    )


def _bridge_within_first_loop(looped: Sequence[Run]) -> Claim:
    seen = _generalized(looped, "lens")
    reached = [
        lens.bridge_at_r1(s.result)[OOD, : s.run.config.model.core_blocks + 1].max()
        for s in seen
    ]
    within = [share >= DECODED for share in reached]
    return judging.judge(
        "Once a looped model combines OOD facts, the bridge of OOD questions is "
        "decodable at r1 by the end of the first loop.",
        source=f"{SOURCE}, Figure 4, stage 3",
        expected="decodable from effective depth 1-2, with 4 blocks in a loop",
        measured=(
            f"so in {sum(within)} of {len(seen)} runs; share of rows {_median(reached)}"
        ),
        holds=all(within),
        missing=_missing_generalized(seen),
        runs=[s.run for s in seen],
    )


def _bridge_later_without_loops(looped: Sequence[Run], vanilla: Sequence[Run]) -> Claim:
    ours = _generalized(looped, "lens")
    theirs = _over(vanilla, "lens")
    effective = lambda s: s.run.num_loops * s.run.config.model.core_blocks
    shared = {effective(s) for s in ours} & {effective(s) for s in theirs}
    ours, theirs = (
        [s for s in each if effective(s) in shared] for each in (ours, theirs)
    )
    one, other = (
        [_depth(lens.bridge_at_r1(s.result)[OOD]) for s in each]
        for each in (ours, theirs)
    )
    return judging.judge(
        "Without loops, at equal effective depth, the bridge of OOD questions is "
        "decodable at r1 at a greater depth, or at none (medians over seeds).",
        source=f"{SOURCE}, Figures 4 and 11",
        expected="depth 1-2 of 8 with loops, only after depth 7 of 8 without",
        measured=f"depth {_median(one)} with loops, {_median(other)} without",
        holds=bool(one and other and np.median(other) > np.median(one)),
        missing=()
        if shared
        else [
            "runs with and without loops of one effective depth, the former past OOD"
        ],
        runs=[s.run for s in (*ours, *theirs)],
    )


def _no_target_without_loops(vanilla: Sequence[Run]) -> Claim:
    seen = _over(vanilla, "lens")
    reached = [lens.target_at_answer(s.result)[OOD].max() for s in seen]
    return judging.judge(
        "Without loops the target of OOD questions is decodable at no depth "
        f"(below {NEVER:g} of the rows), however deep the model.",
        source=f"{SOURCE}, Figure 4",
        expected="never decodable in a model of 8 blocks",
        measured=f"at most {_median(reached)} of the rows, over {len(seen)} runs",
        holds=all(share < NEVER for share in reached),
        missing=() if seen else ["runs without loops that are over and past ID"],
        runs=[s.run for s in seen],
    )


def _first_loop_decides(looped: Sequence[Run]) -> Claim:
    seen = [
        s
        for s in _generalized(looped, "patching")
        if s.run.config.model.core_blocks > 1 and s.result.rows[OOD]
    ]
    early, late = [], []
    for s in seen:
        blocks, loops = s.run.config.model.core_blocks, s.run.num_loops
        at_r1 = s.result.recovered[OOD, :, questions.FIRST]
        # The state that block e reads was left by the block before it.
        early.append(at_r1[1 : blocks + 1].max())
        late.append(at_r1[(loops - 1) * blocks + 1 :].max())
    holds = [e >= DECODED > last for e, last in zip(early, late, strict=True)]
    return judging.judge(
        "In a looped model that combines OOD facts, the clean state at r1 that the "
        f"first loop left brings the answer back (at least {DECODED:g} of the rows), "
        "one that the last loop left does not.",
        source=f"{SOURCE}, Appendix E, Figure 11",
        expected="at r1 all layers of the first iteration are causal",
        measured=(
            f"so in {sum(holds)} of {len(seen)} runs; recovered at best "
            f"{_median(early)} in the first loop, {_median(late)} in the last"
        ),
        holds=all(holds),
        missing=_missing_generalized(seen),
        runs=[s.run for s in seen],
    )


def _cause_grows(runs: Sequence[Run]) -> Claim:
    before = {s.run.run_id: s for s in stages.look(runs, "patching", "memorized")}
    pairs = [
        (before[s.run.run_id], s)
        for s in stages.look(runs, "patching", "id")
        if s.run.run_id in before
    ]
    pairs = [
        pair for pair in pairs if stages.step_of(pair[0]) < stages.step_of(pair[1])
    ]
    strength = lambda s: s.result.effect[TRAIN, 1:, questions.FIRST].max()
    change = [strength(after) - strength(first) for first, after in pairs]
    return judging.judge(
        "The causal effect of the state at r1 on answers of trained questions grows "
        "between memorization and ID generalization (median over runs).",
        source=f"{WANG}, Figure 4b",
        expected="the strength of S[5, r1] grows during grokking, in 8 blocks",
        measured=(
            f"largest effect at r1 changes by {_median(change)}, up in "
            f"{sum(c > 0 for c in change)} of {len(change)} runs"
        ),
        holds=bool(change and np.median(change) > 0),
        missing=() if pairs else ["runs that memorize before they generalize to ID"],
        runs=[after.run for _, after in pairs],
    )


def _hops_attend_in_turn(looped: Sequence[Run]) -> Claim:
    seen = _generalized(looped, "binding")
    first, second = [], []
    for s in seen:
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
    both = [min(pair) >= ATTENDED for pair in zip(first, second, strict=True)]
    return judging.judge(
        "In a looped model that combines OOD facts, a head at r1 attends to h in the "
        "first loop, and a head where the answer is read to r1 in a later one "
        f"(at least {ATTENDED:g} of the way from even weights to all of it).",
        source=f"{WANG}, Figure 4, its circuit, looped",
        expected="the bridge is stored at r1 and read from there for the second hop",
        measured=(
            f"so in {sum(both)} of {len(seen)} runs; of the way to all weight on h "
            f"{_median(first)}, on r1 {_median(second)}"
        ),
        holds=all(both),
        missing=_missing_generalized(seen),
        runs=[s.run for s in seen],
    )


def _alignment_rises(looped: Sequence[Run], vanilla: Sequence[Run]) -> Claim:
    ours = _rises(_generalized(looped, "geometry"))
    theirs = _rises(_over(vanilla, "geometry"))
    one, other = ([rise for _, rise in each] for each in (ours, theirs))
    missing = []
    if not one:
        missing.append("looped runs past ID and OOD, with their geometry")
    if not other:
        missing.append("runs without loops past ID, with their geometry")
    return judging.judge(
        "The bridges of OOD questions align with their embeddings as OOD answers come: "
        "from ID generalization on alignment rises in every looped run, and by more "
        "than without loops (medians).",
        source=f"a hypothesis of ours, after {SOURCE}, Section 5.2",
        expected="a rise with loops, less without",
        measured=(
            "alignment at r1 (cosine, own less other entities, mean over depths) "
            f"changes by {_median(one)} with loops, up in {sum(r > 0 for r in one)} of "
            f"{len(one)} runs, and by {_median(other)} without"
        ),
        holds=bool(one and other)
        and all(rise > 0 for rise in one)
        and bool(np.median(one) > np.median(other)),
        missing=missing,
        runs=[run for run, _ in (*ours, *theirs)],
    )


def _rises(ends: Sequence[stages.Seen]) -> list[tuple[Run, float]]:
    """How far the alignment of OOD bridges rose since ID generalization, by run."""
    found = []
    for end in ends:
        for start in stages.look([end.run], "geometry", "id"):
            before, after = (
                geometry.alignment(s.result)[OOD, 1:].mean() for s in (start, end)
            )
            if stages.step_of(start) < stages.step_of(end):
                found.append((end.run, float(after - before)))
    return found


def _generalized(looped: Sequence[Run], what: str) -> list[stages.Seen]:
    return [s for s in stages.look(looped, what, "end") if s.generalized]


def _over(vanilla: Sequence[Run], what: str) -> list[stages.Seen]:
    """Those that are over, and have learned what they can be expected to: ID."""
    return [
        s
        for s in stages.look(vanilla, what, "end")
        if s.run.outcome == "over" and stages.checkpoint_of(s.run, "id") is not None
    ]


def _missing_generalized(seen: Sequence[stages.Seen]) -> list[str]:
    return [] if seen else ["a looped run that completes OOD, with this analysis"]


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
