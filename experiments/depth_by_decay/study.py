"""Does looping let a transformer combine facts it never combined, and how soon?

Question: how do loop depth R and weight decay decide whether and when a transformer
memorizes two-hop facts, generalizes to new combinations of practiced facts (ID), and
generalizes to facts that it never combined (OOD)?

Prediction (Kohli et al. 2026, arXiv:2604.07822, Figure 3): without loops OOD accuracy
stays near chance; with loops it rises after ID has, and sooner with more loops. Weight
decay is ours: in grokking it decides how long generalization lags behind memorization.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from rdt_jax import wording
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import grokking
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.grokking import Bound, Cell
from rdt_jax.analysis.runs import LOOPS, WEIGHT_DECAY, Run
from rdt_jax.sweep import spec

CONFIG = "configs/knowledge_composition.py"

OOD = "ood_generalized"
JUDGED = (2, 4)  # loop counts of which the second is to complete OOD sooner
SOURCE = "Kohli et al. (2026), arXiv:2604.07822"

_PAPER = (spec.grid(LOOPS, 1, 2, 4, 8), spec.seeds(3))
SWEEPS = {
    "smoke": (
        spec.grid(LOOPS, 1, 2),
        spec.grid(WEIGHT_DECAY, 0.1),
        spec.seeds(1),
    ),
    "cpu": (
        spec.grid(LOOPS, 1, 2, 4),
        spec.grid(WEIGHT_DECAY, 0.03, 0.1),
        spec.seeds(1),
    ),
    "cpu_long": (
        spec.grid(LOOPS, 1, 2, 4, 8),
        spec.grid(WEIGHT_DECAY, 0.01, 0.03, 0.1, 0.3),
        spec.seeds(3),
    ),
    "paper": _PAPER,  # at the weight decay of the config
    "paper_code": _PAPER,
}
sweep = spec.by_preset(SWEEPS)


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges the claims on what has been run so far."""
    return [
        _loops_are_needed(runs),
        _stages_are_ordered(runs),
        _four_is_sooner_than_two(runs),
    ]


def _loops_are_needed(runs: Sequence[Run]) -> Claim:
    vanilla = [run for run in runs if run.num_loops == 1]
    looped = [run for run in runs if run.num_loops > 1]
    passed, reached = (grokking.arrived(each, OOD) for each in (vanilla, looped))
    depths = _completing(looped)
    done = [depth for depth in depths if depth.decays]
    stuck = [depth for depth in depths if not depth.decays and not depth.open_runs]
    measured = (
        f"OOD completed in {len(passed)} of {wording.count(len(vanilla), 'run')} with "
        f"R = 1 and in {len(reached)} of {wording.count(len(looped), 'run')} with "
        "R >= 2"
    )
    if reached:
        times = map(grokking.grok_times, reached)
        first = min(grokking.completion(each, OOD).steps for each in times)
        measured += f" (first after {grokking.format_steps(first)} updates)"
    if depths:
        where = ", ".join(map(_decays, depths))
        measured += f"; weight decays at which most runs complete it: {where}"
    over = [run for run in vanilla if run.outcome == "over"]
    if over:
        trained = min(run.last_step or 0 for run in over)
        measured += f"; R = 1 trained for {grokking.format_steps(trained)}"
    # Where one looped depth arrives, the budget is one in which the others could.
    fails = bool(passed or (stuck and done))
    return judging.judge(
        "With the same blocks and budget, R = 1 completes OOD in no run, and every "
        "R >= 2 in most runs of at least one weight decay.",
        source=f"{SOURCE}, Figure 3 left",
        expected="OOD accuracy stays near .01 with R = 1, reaches .7 with R = 2, 4, 8",
        measured=measured,
        holds=not fails,
        missing=() if fails else _missing_for_need(vanilla, depths),
        runs=runs,
    )


class _Depth(NamedTuple):
    """Where the runs of one loop count R complete OOD."""

    loops: int
    decays: list[float]  # at which most runs do
    reached: int  # runs that do, at any
    runs: int
    open_runs: list[Run]  # that may still bring most runs of a further decay there


def _completing(looped: Sequence[Run]) -> list[_Depth]:
    cells = run_folders.group(looped, (LOOPS, WEIGHT_DECAY))
    depths = []
    for loops, keys in itertools.groupby(cells, key=lambda key: key[0]):
        decays, reached, number, open_runs = [], 0, 0, []
        for key in keys:
            arrived = len(grokking.arrived(cells[key], OOD))
            awaited = grokking.awaited(cells[key], OOD)
            reached, number = reached + arrived, number + len(cells[key])
            if 2 * arrived > len(cells[key]):
                decays.append(key[1])
            elif 2 * (arrived + len(awaited)) > len(cells[key]):
                open_runs += awaited
        depths.append(_Depth(loops, decays, reached, number, open_runs))
    return depths


def _decays(depth: _Depth) -> str:
    where = " and ".join(f"{decay:g}" for decay in depth.decays) or "none"
    runs = wording.count(depth.runs, "run")
    return f"R = {depth.loops} {where} ({depth.reached} of {runs})"


def _missing_for_need(vanilla: Sequence[Run], depths: Sequence[_Depth]) -> list[str]:
    missing = []
    if not vanilla or not depths:
        missing.append("runs with R = 1 and with R >= 2")
    unfinished = [run for run in vanilla if run.outcome == "unfinished"]
    missing += grokking.ends_of(unfinished, "with R = 1")
    if vanilla and not unfinished and all(run.outcome == "failed" for run in vanilla):
        missing.append("a run with R = 1 whose loss stays finite")
    waiting = [depth for depth in depths if not depth.decays]
    open_runs = [run for depth in waiting for run in depth.open_runs]
    missing += grokking.ends_of(open_runs, "with R >= 2")
    if waiting and not open_runs:
        missing.append("an R >= 2 that completes OOD in most runs (a longer budget)")
    return missing


def _stages_are_ordered(runs: Sequence[Run]) -> Claim:
    ordered, tied, wrong = 0, 0, []
    for run in grokking.arrived(runs, OOD):
        times = grokking.grok_times(run)
        steps = [phase.completed for phase in times.phases.values()]
        known = [step for step in steps if step is not None]
        if len(known) < len(steps) or known != sorted(known):
            wrong.append(run.run_id)
        elif len(set(known)) < len(known):
            tied += 1
        else:
            ordered += 1
    measured = (
        f"of {wording.count(ordered + tied + len(wrong), 'run')} that completed OOD, "
        f"{ordered} in order, {tied} with two phases at one evaluation, "
        f"{len(wrong)} neither"
    )
    if wrong:
        some = ", ".join(wrong[:3]) + (", ..." if len(wrong) > 3 else "")
        measured += f": {some}"
    missing = []
    if not wrong:
        missing += grokking.ends_of(grokking.awaited(runs, OOD))
        if not ordered:
            missing.append(
                "a run that completes OOD with its phases at three evaluations"
            )
    return judging.judge(
        "Train, ID and OOD complete in this order, or some of them at the same "
        "evaluation, in every run that completes OOD.",
        source=f"{SOURCE}, Figure 3 right",
        expected="train, then ID, then OOD: about 90, 330 and 1,500 epochs with R = 4",
        measured=measured,
        holds=not wrong,
        missing=missing,
        runs=runs,
    )


def _four_is_sooner_than_two(runs: Sequence[Run]) -> Claim:
    tied = "tied or beyond the budget"
    judged: dict[str, list[str]] = {
        "sooner": [], "later": [], tied: [], "not judged": [],
    }  # fmt: skip
    unfinished = []
    for shallow, deep in _pairs(runs):
        before, after = shallow.times[OOD].median, deep.times[OOD].median
        if (shallow.values[LOOPS], deep.values[LOOPS]) != JUDGED:
            outcome = "not judged"
        elif grokking.is_sooner(after, before):
            outcome = "sooner"
        elif grokking.is_sooner(before, after):
            outcome = "later"
        else:
            outcome = tied
            unfinished.append(shallow.unfinished + deep.unfinished)
        judged[outcome].append(_describe(shallow, before, deep, after))
    sooner, later = len(judged["sooner"]), len(judged["later"])
    fails = later > sooner + sum(count > 0 for count in unfinished)
    missing = []
    if not fails:
        if any(unfinished):
            missing.append(
                f"the end of {wording.count(sum(unfinished), 'run')} with R = 2 or 4"
            )
        elif not sooner and not later:
            missing.append("R = 2 and R = 4 with a different, known time to OOD")
        elif later:
            missing.append("more seeds: the weight decays disagree")
    return judging.judge(
        "R = 4 needs fewer updates to OOD than R = 2 (median over seeds, at equal "
        "weight decay).",
        source=f"{SOURCE}, Figure 3 left",
        expected=(
            "R = 2 takes 7,000 epochs, R = 4 takes 2,000; R = 8, about as long as "
            "R = 4, is reported and not judged"
        ),
        measured=(
            judging.by_outcome(judged) if any(judged.values()) else "no pair to compare"
        ),
        holds=not fails,
        missing=missing,
        runs=runs,
    )


def _pairs(runs: Sequence[Run]) -> list[tuple[Cell, Cell]]:
    """Neighboring loop counts R >= 2 at equal weight decay, where OOD was evaluated."""
    cells = [
        cell
        for cell in grokking.cells(runs, (WEIGHT_DECAY, LOOPS))
        if cell.values[LOOPS] > 1 and OOD in cell.times
    ]
    return [
        (shallow, deep)
        for shallow, deep in zip(cells, cells[1:], strict=False)
        if shallow.values[WEIGHT_DECAY] == deep.values[WEIGHT_DECAY]
    ]


def _describe(shallow: Cell, before: Bound, deep: Cell, after: Bound) -> str:
    depths = f"R = {shallow.values[LOOPS]} -> {deep.values[LOOPS]}"
    seeds = min(len(shallow.run_ids), len(deep.run_ids))
    return (
        f"{depths} {before} -> {after} (weight decay {shallow.values[WEIGHT_DECAY]:g}, "
        f"{wording.count(seeds, 'seed')})"
    )
