"""Does the third stage of grokking need loops, and is it reached sooner with more?

Question: do train, ID and OOD accuracy complete in this order, with which delays, and
what does it take in updates, operations and time, at loop depth R = 1, 2 and 4?

Prediction (Kohli et al. 2026, arXiv:2604.07822, Section 5.2 and Figure 3): OOD never
leaves zero at R = 1; with loops it completes last, long after memorization, starts to
rise while ID still rises, and settles near .75; R = 4 is sooner than R = 2 in updates
and in time.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from rdt_jax import registry
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import compute, grokking, survival, transitions
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.grokking import Bound
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import stages as drawing
from rdt_jax.figures import tables
from rdt_jax.sweep import spec

CONFIG = "configs/knowledge_composition.py"

LOOPS, DECAY = "recurrence.num_loops", "optimizer.weight_decay"
TRAIN, ID, OOD = "memorized", "id_generalized", "ood_generalized"
SOURCE = "Kohli et al. (2026), arXiv:2604.07822"

NEAR_ZERO = 0.1  # OOD accuracy that a model without loops stays below
PLATEAU = (0.7, 0.85)  # where OOD accuracy is to settle: read off a figure, +-10 %
SETTLED = 0.05  # change of accuracy over the last quarter of training, at most
LONG = 10.0  # times the updates to memorization

_PAPER = (spec.grid(LOOPS, 1, 2, 4), spec.grid("seed", 0, 1, 2))
SWEEPS: Mapping[str, tuple[list[dict[str, Any]], ...]] = {
    "smoke": (spec.grid(LOOPS, 1, 2), spec.grid(DECAY, 0.1), spec.grid("seed", 0)),
    "cpu": (
        spec.grid(LOOPS, 1, 2, 4),
        spec.grid(DECAY, 0.1),
        spec.grid("seed", 0, 1, 2),
    ),
    "cpu_long": (
        spec.grid(LOOPS, 1, 2, 4),
        spec.grid(DECAY, 0.1),
        spec.grid("num_steps", 20_000),
        spec.grid("seed", *range(5)),
    ),
    "paper": _PAPER,  # at the weight decay of the config
}


def sweep(preset: str) -> list[dict[str, Any]]:
    """Returns the overrides of each trial; ValueError lists the presets."""
    return spec.product(*registry.lookup("preset", SWEEPS, preset))


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws the study; ValueError if there is no run."""
    by_depth = _by_depth(runs)
    budget = run_folders.shared_value(runs, "num_steps")
    curves = {
        depth: survival.survival([_completed(run, OOD) for run in members])
        for depth, members in by_depth.items()
    }
    seeds = judging.fewest_seeds(runs)
    return {
        "stages": drawing.stages(
            by_depth,
            {run.run_id: compute.training_flops(run) / 1e12 for run in runs},
            shown=_shown(by_depth),
            chance=run_folders.chance(runs[0], "ood"),
            cost_label="operations of training (10¹²)",
        ),
        "arrivals": drawing.arrivals(
            curves,
            budget=budget,
            title="Runs that have not completed OOD: knowledge composition",
            notes=(
                f"Kaplan-Meier, {seeds} or more seeds of each R; band: pointwise 95% "
                "interval. A run is censored at its last evaluation.",
                "Completed: as in the figure of the stages.",
            ),
        ),
    }


def table(runs: Sequence[Run]) -> Table:
    """Builds the table of the study; ValueError if there is no run."""
    return tables.updates_to_phases(runs)


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges claims 1 to 4 of the paper's Section 5.2 on what has been run so far."""
    return [
        _vanilla_stays(runs),
        _looped_leave(runs),
        _is_before(runs, TRAIN, ID, "about 90 and 330 epochs with R = 4"),
        _is_before(runs, ID, OOD, "about 330 and 1,500 epochs with R = 4"),
        _starts_before_id_is_done(runs),
        _comes_long_after_memorization(runs),
        _plateau(runs),
        _more_loops_need_less(runs, "updates"),
        _more_loops_need_less(runs, "operations"),
        _more_loops_need_less(runs, "seconds"),
    ]


def _by_depth(runs: Sequence[Run]) -> dict[int, list[Run]]:
    return {depth: cell for (depth,), cell in run_folders.group(runs, (LOOPS,)).items()}


def _shown(by_depth: Mapping[int, Sequence[Run]]) -> int:
    """The depth whose stages are drawn: most seeds that completed OOD, then deepest."""
    arrived = lambda depth: sum(
        not _completed(run, OOD).beyond for run in by_depth[depth]
    )
    return max(by_depth, key=lambda depth: (arrived(depth), depth))


def _completed(run: Run, event: str) -> Bound:
    return grokking.completion(grokking.grok_times(run), event)


def _smoothed_ood(run: Run) -> np.ndarray:
    if not run_folders.has_group(run, "ood"):
        return np.zeros(0)
    return grokking.smooth(run_folders.accuracy(run, "ood").values)


def _vanilla_stays(runs: Sequence[Run]) -> Claim:
    vanilla = [run for run in runs if run.num_loops == 1]
    highest = [float(v.max()) for run in vanilla if (v := _smoothed_ood(run)).size]
    leaves = any(value >= NEAR_ZERO for value in highest)
    unfinished = sum(run.outcome == "unfinished" for run in vanilla)
    missing = []
    if not vanilla:
        missing.append("runs with R = 1")
    elif not highest:
        missing.append("an evaluation with R = 1")
    elif unfinished and not leaves:
        missing.append(f"the end of {unfinished} runs with R = 1")
    most = f"{max(highest):.2f}" if highest else "unknown"
    return judging.judge(
        f"Without loops, OOD accuracy never reaches {NEAR_ZERO}.",
        source=f"{SOURCE}, Figure 3 left",
        expected="about .01 with R = 1, to 8,000 epochs",
        measured=f"highest smoothed OOD accuracy {most}, {len(highest)} runs of R = 1",
        holds=not leaves,
        missing=missing,
        runs=vanilla,
    )


def _looped_leave(runs: Sequence[Run]) -> Claim:
    looped = [run for run in runs if run.num_loops > 1]
    over = [run for run in looped if run.outcome != "unfinished"]
    highest = {
        run.run_id: float(values.max(initial=0.0))
        for run in looped
        if (values := _smoothed_ood(run)).size
    }
    left = [name for name, value in highest.items() if value >= NEAR_ZERO]
    stuck = [run for run in over if run.run_id not in left]
    done = sum(not _completed(run, OOD).beyond for run in looped)
    missing = []
    if not stuck and len(left) < len(looped):
        missing.append(f"the end of {len(looped) - len(left)} runs with R >= 2")
    if not looped:
        missing.append("runs with R >= 2")
    return judging.judge(
        f"With R >= 2, OOD accuracy reaches {NEAR_ZERO} in every run.",
        source=f"{SOURCE}, Figure 3 left",
        expected="all of R = 2, 4, 8 reach .7",
        measured=(
            f"{len(left)} of {len(looped)} runs with R >= 2 reach it, and {done} "
            "complete OOD"
        ),
        holds=not stuck,
        missing=missing,
        runs=looped,
    )


def _arrived(runs: Sequence[Run]) -> list[Run]:
    """The runs that completed OOD, which went through all stages."""
    return [run for run in runs if not _completed(run, OOD).beyond]


def _is_before(runs: Sequence[Run], first: str, then: str, expected: str) -> Claim:
    """Judges an order on all runs in which the later event has completed."""
    names = {TRAIN: "train", ID: "ID", OOD: "OOD"}
    before = tied = after = 0
    looped = [run for run in runs if run.num_loops > 1]
    for run in looped:
        one, other = _completed(run, first), _completed(run, then)
        if other.beyond:
            continue
        before += grokking.is_sooner(one, other)
        tied += not one.beyond and one.steps == other.steps
        after += one.beyond or one.steps > other.steps
    return judging.judge(
        f"With R >= 2, {names[first]} completes before {names[then]} in every run that "
        f"completes {names[then]}.",
        source=f"{SOURCE}, Figure 3 right",
        expected=expected,
        measured=(
            f"of {before + tied + after} such runs {before} do, {tied} complete both "
            f"at one evaluation, {after} in the other order"
        ),
        holds=not after,
        missing=() if before or after else ("a run that tells the two apart",),
        runs=looped,
    )


def _starts_before_id_is_done(runs: Sequence[Run]) -> Claim:
    arrived = _arrived(runs)
    onsets = [grokking.grok_times(run).phases[OOD].onset for run in arrived]
    early = sum(
        onset is not None and onset < _completed(run, ID).steps
        for run, onset in zip(arrived, onsets, strict=True)
    )
    return judging.judge(
        "OOD accuracy starts to rise before ID is complete, in every run that "
        "completes OOD.",
        source=f"{SOURCE}, Figure 3 right",
        expected="OOD rises from about 300 epochs, ID is complete at 300 to 400",
        measured=f"in {early} of {len(arrived)} runs the onset of OOD is earlier",
        holds=early == len(arrived),
        missing=() if arrived else ("a run that completes OOD",),
        runs=arrived,
    )


def _comes_long_after_memorization(runs: Sequence[Run]) -> Claim:
    looped = [run for run in runs if run.num_loops > 1]
    waits = []
    for run in looped:
        start, end = _completed(run, TRAIN), _completed(run, OOD)
        if not start.beyond and start.steps > 0:
            waits.append(Bound(end.steps / start.steps, end.beyond))
    measured, holds, missing = "no ratio", None, []
    if waits:
        median = grokking.median(waits)
        sign = "more than " if median.beyond else ""
        measured = (
            f"median over {len(waits)} runs with R >= 2 that memorized: {sign}"
            f"{median.steps:.2g} times"
        )
        holds = median.steps >= LONG
        if median.beyond and not holds:
            missing.append("a longer budget")
        # What never comes is not late.
        if holds and all(wait.beyond for wait in waits):
            missing.append("a run with R >= 2 that completes OOD")
    else:
        missing.append("a run with R >= 2 that memorizes")
    return judging.judge(
        f"OOD takes at least {LONG:.0f} times the updates of memorization.",
        source=f"{SOURCE}, Section 5.2 and Figure 3 right",
        expected="1,500 against 90 epochs in the figure, 10^4 against 10^2 in the text",
        measured=measured,
        holds=holds,
        missing=missing,
        runs=looped,
    )


def _plateau(runs: Sequence[Run]) -> Claim:
    looped = [run for run in runs if run.num_loops > 1]
    levels = []
    for run in looped:
        values = _smoothed_ood(run)
        if run.outcome != "over" or run.config.stop_after_phases:
            continue
        last_quarter = values[-max(2, len(values) // 4) :]
        if not _completed(run, OOD).beyond and np.ptp(last_quarter) <= SETTLED:
            levels.append(float(values[-1]))
    low, high = PLATEAU
    middle = float(np.median(levels)) if levels else float("nan")
    measured = f"{len(levels)} of {len(looped)} runs with R >= 2 have settled"
    if levels:
        measured += (
            f", at {middle:.2f} (median; {min(levels):.2f} to {max(levels):.2f})"
        )
    missing = []
    if 2 * len(levels) <= len(looped) or not looped:
        missing.append("a budget in which most runs settle after they complete OOD")
    return judging.judge(
        f"OOD accuracy settles between {low} and {high}, not at 1.",
        source=f"{SOURCE}, Figure 3 left",
        expected="about .75 with R = 4 and 8, .78 with R = 2",
        measured=measured,
        holds=bool(low <= middle <= high),
        missing=missing,
        runs=looped,
    )


_EXPECTED = {
    "updates": "1.23 M updates with R = 4, 4.29 M with R = 2",
    "operations": "1.7 times fewer, from the updates and twice the loops",
    "seconds": "about 8 h with R = 4, 31 h with R = 2",
}


def _more_loops_need_less(runs: Sequence[Run], unit: str) -> Claim:
    by_depth = {d: _spent(group, unit) for d, group in _by_depth(runs).items()}
    pair = [run for run in runs if run.num_loops in (2, 4)]
    missing, parts, medians = [], [], {}
    for depth in (2, 4):
        spent = by_depth.get(depth)
        if not spent:
            alone = " that trained alone" if unit == "seconds" else ""
            missing.append(f"runs with R = {depth}{alone}")
            continue
        medians[depth] = grokking.median(spent)
        arrived = sum(not time.beyond for time in spent)
        middle = _format(medians[depth], unit)
        parts.append(f"R = {depth} {middle} ({arrived} of {len(spent)} runs)")
    sooner = len(medians) == 2 and grokking.is_sooner(medians[4], medians[2])
    later = len(medians) == 2 and grokking.is_sooner(medians[2], medians[4])
    if len(medians) == 2 and not sooner and not later:
        missing.append("medians that differ within the budget")
    return judging.judge(
        f"R = 4 needs fewer {unit} of training to OOD than R = 2 (median over seeds).",
        source=f"{SOURCE}, Figure 3 {'left' if unit == 'updates' else 'middle'}",
        expected=_EXPECTED[unit],
        measured=", ".join(parts) or "no run",
        holds=sooner,
        missing=missing,
        runs=pair,
    )


def _spent(runs: Sequence[Run], unit: str) -> list[Bound] | None:
    """What each run had spent at OOD, or by now; None if any does not know."""
    count: Mapping[str, Callable[[Run], np.ndarray | None]] = {
        "updates": lambda run: np.array([row["step"] for row in run.metrics], float),
        "operations": compute.training_flops,
        "seconds": transitions.training_seconds,
    }
    found = []
    for run in runs:
        spent = count[unit](run)
        if spent is None:
            return None
        found.append(transitions.spent_at(run, OOD, spent))
    return found


def _format(time: Bound, unit: str) -> str:
    if unit == "updates":
        return str(time)
    return f"{'> ' if time.beyond else ''}{time.steps:.3g}"
