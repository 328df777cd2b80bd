"""Does looping let a transformer combine facts it never combined, and how soon?

Question: how do loop depth R and weight decay decide whether and when a transformer
memorizes two-hop facts, generalizes to new combinations of practiced facts (ID), and
generalizes to facts that it never combined (OOD)?

Prediction (Kohli et al. 2026, arXiv:2604.07822, Figure 3): without loops OOD accuracy
stays near chance; with loops it rises after ID has, and sooner with more loops. Weight
decay is ours: in grokking it decides how long generalization lags behind memorization.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

from rdt_jax import registry
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import grokking
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.grokking import Bound, Cell
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import grokking as drawing
from rdt_jax.figures import tables
from rdt_jax.sweep import spec

CONFIG = "configs/knowledge_composition.py"

LOOPS = "recurrence.num_loops"
WEIGHT_DECAY = "optimizer.weight_decay"
OOD = "ood_generalized"
SOURCE = "Kohli et al. (2026), arXiv:2604.07822"

_PAPER = (spec.grid(LOOPS, 1, 2, 4, 8), spec.grid("seed", 0, 1, 2))
SWEEPS: Mapping[str, tuple[list[dict[str, Any]], ...]] = {
    "smoke": (
        spec.grid(LOOPS, 1, 2),
        spec.grid(WEIGHT_DECAY, 0.1),
        spec.grid("seed", 0),
    ),
    "cpu": (
        spec.grid(LOOPS, 1, 2, 4),
        spec.grid(WEIGHT_DECAY, 0.03, 0.1),
        spec.grid("seed", 0),
    ),
    "cpu_long": (
        spec.grid(LOOPS, 1, 2, 4, 8),
        spec.grid(WEIGHT_DECAY, 0.01, 0.03, 0.1, 0.3),
        spec.grid("seed", 0, 1, 2),
    ),
    "paper": _PAPER,  # at the weight decay of the config
    "paper_code": _PAPER,
}


def sweep(preset: str) -> list[dict[str, Any]]:
    """Returns the overrides of each trial; ValueError lists the presets."""
    return spec.product(*registry.lookup("preset", SWEEPS, preset))


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws the study; ValueError if there is no run."""
    accuracy = drawing.accuracy(runs)
    chance = run_folders.chance(runs[0], "ood")
    return {
        "accuracy": accuracy,
        "ood_by_depth": drawing.ood_by_depth(runs, chance=chance),
        "phase_diagram": drawing.phase_diagram(runs),
    }


def table(runs: Sequence[Run]) -> Table:
    """Builds the table of the study; ValueError if there is no run."""
    return tables.updates_to_phases(runs)


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges the claims on what has been run so far."""
    return [_loops_are_needed(runs), _stages_are_ordered(runs), _deeper_is_sooner(runs)]


def _loops_are_needed(runs: Sequence[Run]) -> Claim:
    text = (
        "With the same blocks and budget, R = 1 does not complete OOD and R >= 2 does."
    )
    vanilla = [grokking.grok_times(run) for run in runs if run.num_loops == 1]
    looped = [grokking.grok_times(run) for run in runs if run.num_loops > 1]
    passed = [_completed(times, OOD) for times in vanilla]
    reached = [step for t in looped if (step := _completed(t, OOD)) is not None]
    measured = (
        f"OOD completed in {sum(p is not None for p in passed)} of {len(vanilla)} runs "
        f"with R = 1 and in {len(reached)} of {len(looped)} runs with R >= 2"
    )
    if reached:
        measured += f" (first after {grokking.format_steps(min(reached))} updates)"
    over = [times for times in vanilla if times.outcome == "over"]
    if over:
        trained = min(times.last_step or 0 for times in over)
        measured += f"; R = 1 trained for {grokking.format_steps(trained)}"
    leaves = any(step is not None for step in passed)
    missing = []
    if not vanilla or not looped:
        missing.append("runs with R = 1 and with R >= 2")
    unfinished = sum(times.outcome == "unfinished" for times in vanilla)
    if unfinished:
        missing.append(f"the end of {unfinished} runs with R = 1")
    if vanilla and not over and not unfinished:
        missing.append("a run with R = 1 whose loss stays finite")
    if looped and not reached:
        missing.append("a run with R >= 2 that completes OOD (a longer budget)")
    return judging.judge(
        text,
        source=f"{SOURCE}, Figure 3 left",
        expected="OOD accuracy stays near .01 with R = 1, reaches .7 with R = 2, 4, 8",
        measured=measured,
        holds=not leaves,
        missing=() if leaves else missing,
        runs=runs,
    )


def _stages_are_ordered(runs: Sequence[Run]) -> Claim:
    text = "Train, ID and OOD complete in this order in every run that completes OOD."
    ordered, tied, wrong = 0, 0, []
    for run in runs:
        times = grokking.grok_times(run)
        if _completed(times, OOD) is None:
            continue
        steps = [_completed(times, event) for event in times.phases]
        known = [step for step in steps if step is not None]
        if len(known) < len(steps) or known != sorted(known):
            wrong.append(run.run_id)
        elif len(set(known)) < len(known):
            tied += 1
        else:
            ordered += 1
    measured = (
        f"of {ordered + tied + len(wrong)} runs that completed OOD, {ordered} are in "
        f"order, {tied} have two phases at one evaluation, {len(wrong)} are not"
    )
    if wrong:
        some = ", ".join(wrong[:3]) + (", ..." if len(wrong) > 3 else "")
        measured += f": {some}"
    missing = []
    if not ordered and not wrong:
        missing.append("a run that completes OOD with its phases at three evaluations")
    return judging.judge(
        text,
        source=f"{SOURCE}, Figure 3 right",
        expected="train, then ID, then OOD: about 90, 330 and 1,500 epochs with R = 4",
        measured=measured,
        holds=not wrong,
        missing=missing,
        runs=runs,
    )


def _deeper_is_sooner(runs: Sequence[Run]) -> Claim:
    text = "Among R >= 2, more loops need fewer updates to OOD (median over seeds)."
    cells = [
        cell
        for cell in grokking.cells(runs, (WEIGHT_DECAY, LOOPS))
        if cell.values[LOOPS] > 1 and OOD in cell.times
    ]
    sooner, later, open_pairs = [], [], []
    for shallow, deep in zip(cells, cells[1:], strict=False):
        if shallow.values[WEIGHT_DECAY] != deep.values[WEIGHT_DECAY]:
            continue
        before, after = shallow.times[OOD].median, deep.times[OOD].median
        pair = _describe(shallow, before, deep, after)
        if grokking.is_sooner(after, before):
            sooner.append(pair)
        elif grokking.is_sooner(before, after):
            later.append(pair)
        else:
            open_pairs.append(pair)
    measured = "; ".join(
        f"{label}: {', '.join(pairs)}"
        for label, pairs in (
            ("sooner with more loops", sooner),
            ("later", later),
            ("tied or beyond the budget", open_pairs),
        )
        if pairs
    )
    missing = []
    if not sooner and not later:
        missing.append("two loop depths >= 2 with a different, known time to OOD")
    elif 0 < len(later) < len(sooner):
        missing.append("more seeds: the pairs disagree")
    return judging.judge(
        text,
        source=f"{SOURCE}, Figure 3 left",
        expected="R = 2 takes 7,000 epochs, R = 4 takes 2,000, R = 8 about as long",
        measured=measured or "no pair to compare",
        holds=not later,
        missing=missing,
        runs=runs,
    )


def _completed(times: grokking.GrokTimes, event: str) -> int | None:
    return times.phases[event].completed if event in times.phases else None


def _describe(shallow: Cell, before: Bound, deep: Cell, after: Bound) -> str:
    depths = f"R = {shallow.values[LOOPS]} -> {deep.values[LOOPS]}"
    seeds = min(len(shallow.run_ids), len(deep.run_ids))
    return (
        f"{depths} {before} -> {after} (weight decay {shallow.values[WEIGHT_DECAY]:g}, "
        f"{seeds} {'seed' if seeds == 1 else 'seeds'})"
    )
