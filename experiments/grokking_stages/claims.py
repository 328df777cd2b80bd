"""Judges what is claimed of the stages of grokking on the runs of the study.

Order and onset are judged on every run that shows them, times by medians in which a
censored run has a rank and no value. A run that still trains is waited for wherever it
can change the verdict.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rdt_jax import wording
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import compute, grokking
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.grokking import Bound
from rdt_jax.analysis.runs import Run

LOOPS = "recurrence.num_loops"
TRAIN, ID, OOD = "memorized", "id_generalized", "ood_generalized"
SOURCE = "Kohli et al. (2026), arXiv:2604.07822"

NEAR_ZERO = 0.1  # OOD accuracy that a model without loops stays below
PLATEAU = (0.7, 0.85)  # where OOD accuracy is to settle: read off a figure, +-10 %
SETTLED = 0.05  # change of accuracy over the last quarter of training, at most
LONG = 10.0  # times the updates to memorization


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges claims 1 to 4 of the paper's Section 5.2 on what has been run so far."""
    looped = [run for run in runs if run.num_loops > 1]
    return [
        _vanilla_stays([run for run in runs if run.num_loops == 1]),
        _looped_leave(looped),
        _is_before(looped, TRAIN, ID, "about 90 and 330 epochs with R = 4"),
        _is_before(looped, ID, OOD, "about 330 and 1,500 epochs with R = 4"),
        _starts_before_id_is_done(runs),
        _comes_long_after_memorization(looped),
        _plateau(looped),
        *(_more_loops_need_less(runs, unit) for unit in _EXPECTED),
    ]


def completed(run: Run, event: str) -> Bound:
    """Returns the updates to the completion of an event, or their lower bound."""
    return grokking.completion(grokking.grok_times(run), event)


def _smoothed_ood(run: Run) -> np.ndarray:
    if not run_folders.has_group(run, "ood"):
        return np.zeros(0)
    return grokking.smooth(run_folders.accuracy(run, "ood").values)


def _vanilla_stays(vanilla: Sequence[Run]) -> Claim:
    highest = [float(v.max()) for run in vanilla if (v := _smoothed_ood(run)).size]
    leaves = any(value >= NEAR_ZERO for value in highest)
    missing = []
    if not vanilla:
        missing.append("runs with R = 1")
    elif not highest:
        missing.append("an evaluation with R = 1")
    elif not leaves:
        missing += grokking.ends_of(run_folders.unfinished(vanilla), "with R = 1")
    most = f"{max(highest):.2f}" if highest else "unknown"
    return judging.judge(
        f"Without loops, OOD accuracy never reaches {NEAR_ZERO}.",
        source=f"{SOURCE}, Figure 3 left",
        expected="about .01 with R = 1, to 8,000 epochs",
        measured=(
            f"highest smoothed OOD accuracy {most}, "
            f"{wording.count(len(highest), 'run')} of R = 1"
        ),
        holds=not leaves,
        missing=missing,
        runs=vanilla,
    )


def _looped_leave(looped: Sequence[Run]) -> Claim:
    left = [run for run in looped if _smoothed_ood(run).max(initial=0.0) >= NEAR_ZERO]
    waiting = [run for run in looped if run not in left]
    stuck = len(waiting) > len(run_folders.unfinished(waiting))
    missing = [] if stuck else grokking.ends_of(waiting, "with R >= 2")
    if not looped:
        missing.append("runs with R >= 2")
    return judging.judge(
        f"With R >= 2, OOD accuracy reaches {NEAR_ZERO} in every run.",
        source=f"{SOURCE}, Figure 3 left",
        expected="all of R = 2, 4, 8 reach .7",
        measured=(
            f"reached in {len(left)} of {wording.count(len(looped), 'run')} with "
            f"R >= 2, OOD completed in {len(grokking.arrived(looped, OOD))}"
        ),
        holds=not stuck,
        missing=missing,
        runs=looped,
    )


def _is_before(looped: Sequence[Run], first: str, then: str, expected: str) -> Claim:
    """Judges an order on all runs in which the later event has completed."""
    names = {TRAIN: "train", ID: "ID", OOD: "OOD"}
    before = tied = after = 0
    for run in grokking.arrived(looped, then):
        one, other = completed(run, first), completed(run, then)
        before += grokking.is_sooner(one, other)
        tied += not one.beyond and one.steps == other.steps
        after += one.beyond or one.steps > other.steps
    missing = []
    if not after:
        missing += grokking.ends_of(grokking.awaited(looped, then), "with R >= 2")
        if not before:
            missing.append("a run that tells the two apart")
    return judging.judge(
        f"With R >= 2, {names[first]} completes before {names[then]}, or at the same "
        f"evaluation, in every run that completes {names[then]}.",
        source=f"{SOURCE}, Figure 3 right",
        expected=expected,
        measured=(
            f"in {before} of {wording.count(before + tied + after, 'such run')} "
            f"{names[first]} completes before, in {tied} both at one evaluation, in "
            f"{after} in the other order"
        ),
        holds=not after,
        missing=missing,
        runs=looped,
    )


def _starts_before_id_is_done(runs: Sequence[Run]) -> Claim:
    arrived = grokking.arrived(runs, OOD)
    onsets = [grokking.grok_times(run).phases[OOD].onset for run in arrived]
    early = sum(
        onset is not None and onset < completed(run, ID).steps
        for run, onset in zip(arrived, onsets, strict=True)
    )
    missing = []
    if early == len(arrived):
        missing += grokking.ends_of(grokking.awaited(runs, OOD))
        if not arrived:
            missing.append("a run that completes OOD")
    return judging.judge(
        "OOD accuracy starts to rise before ID is complete, in every run that "
        "completes OOD.",
        source=f"{SOURCE}, Figure 3 right",
        expected="OOD rises from about 300 epochs, ID is complete at 300 to 400",
        measured=(
            f"in {early} of {wording.count(len(arrived), 'run')} the onset of OOD is "
            "earlier"
        ),
        holds=early == len(arrived),
        missing=missing,
        runs=arrived,
    )


def _comes_long_after_memorization(looped: Sequence[Run]) -> Claim:
    known = [(run, wait) for run in looped if (wait := _wait(run)) is not None]
    counted = [run for run, _ in known]
    arrived = grokking.arrived(counted, OOD)
    measured, is_late, missing = "no ratio", False, []
    if known:
        # The median lies between those of the least and of the most that each can be.
        low, high = (
            statistics.median(wait[end] for _, wait in known) for end in (0, 1)
        )
        measured = (
            f"median {_between(low, high)}, over {len(known)} of "
            f"{wording.count(len(looped), 'run')} with R >= 2, {len(arrived)} of which "
            "completed OOD"
        )
        is_late = low >= LONG
        if not is_late and high >= LONG:
            waiting = grokking.awaited(counted, OOD)
            missing += grokking.ends_of(waiting, "with R >= 2") or ["a longer budget"]
        # What never comes is not late.
        if is_late and not arrived:
            missing.append("a run with R >= 2 that completes OOD")
    else:
        missing.append("a run with R >= 2 that memorizes or completes OOD")
    return judging.judge(
        f"OOD takes at least {LONG:.0f} times the updates of memorization (median over "
        "runs with R >= 2).",
        source=f"{SOURCE}, Section 5.2 and Figure 3 right",
        expected="1,500 against 90 epochs in the figure, 10^4 against 10^2 in the text",
        measured=measured,
        holds=is_late,
        missing=missing,
        runs=counted,
    )


def _wait(run: Run) -> tuple[float, float] | None:
    """The least and the most that OOD can have taken, in times to memorization.

    None for a run that is over and came to neither, or had memorized untrained.
    """
    start, end = completed(run, TRAIN), completed(run, OOD)
    if start.beyond and end.beyond:
        return (0.0, math.inf) if run.outcome == "unfinished" else None
    if start.steps == 0:
        return None
    ratio = end.steps / start.steps
    return (0.0 if start.beyond else ratio, math.inf if end.beyond else ratio)


def _between(low: float, high: float) -> str:
    if math.isinf(high):
        return f"at least {low:.2g} times"
    if low == high:
        return f"{low:.2g} times"
    return f"{low:.2g} to {high:.2g} times"


def _plateau(looped: Sequence[Run]) -> Claim:
    levels = []
    for run in looped:
        values = _smoothed_ood(run)
        if run.outcome != "over" or run.config.stop_after_phases:
            continue
        last_quarter = values[-max(2, len(values) // 4) :]
        if not completed(run, OOD).beyond and np.ptp(last_quarter) <= SETTLED:
            levels.append(float(values[-1]))
    low, high = PLATEAU
    middle = float(np.median(levels)) if levels else float("nan")
    number = wording.count(len(looped), "run")
    measured = f"settled in {len(levels)} of {number} with R >= 2"
    if levels:
        measured += (
            f", at {middle:.2f} (median; {min(levels):.2f} to {max(levels):.2f})"
        )
    waiting = run_folders.unfinished(looped)
    missing = []
    if 2 * len(levels) <= len(looped) or not looped:
        missing.append("a budget in which most runs settle after they complete OOD")
    elif _may_lie_between(levels, len(waiting), low, high):
        missing += grokking.ends_of(waiting, "with R >= 2")
    return judging.judge(
        f"OOD accuracy settles between {low} and {high}, not at 1.",
        source=f"{SOURCE}, Figure 3 left",
        expected="about .75 with R = 4 and 8, .78 with R = 2",
        measured=measured,
        holds=bool(low <= middle <= high),
        missing=missing,
        runs=looped,
    )


def _may_lie_between(
    levels: Sequence[float], unknown: int, low: float, high: float
) -> bool:
    """Whether some accuracies of `unknown` more runs put the median in [low, high]."""
    least, most = (statistics.median([*levels, *unknown * [end]]) for end in (0.0, 1.0))
    return least <= high and most >= low


_EXPECTED = {
    "updates": "1.23 M updates with R = 4, 4.29 M with R = 2",
    "operations": "1.7 times fewer, from the updates and twice the loops",
    "seconds": "about 8 h with R = 4, 31 h with R = 2",
}


def _more_loops_need_less(runs: Sequence[Run], unit: str) -> Claim:
    by_depth = run_folders.group(runs, (LOOPS,))
    missing, parts, medians, never = [], [], {}, []
    for depth in (2, 4):
        times = _spent(by_depth.get((depth,), []), unit)
        if not times:
            alone = " that trained alone" if unit == "seconds" else ""
            missing.append(f"runs with R = {depth}{alone}")
            continue
        medians[depth] = grokking.median(times)
        arrived = sum(not time.beyond for time in times)
        middle = _format(medians[depth], unit)
        parts.append(
            f"R = {depth} {middle} ({arrived} of {wording.count(len(times), 'run')})"
        )
        if not arrived:
            never.append(depth)
    sooner = len(medians) == 2 and grokking.is_sooner(medians[4], medians[2])
    later = len(medians) == 2 and grokking.is_sooner(medians[2], medians[4])
    if len(medians) == 2 and not sooner and not later:
        missing.append("medians that differ within the budget")
    return judging.judge(
        f"R = 4 needs fewer {unit} of training to OOD than R = 2 (median over seeds).",
        source=f"{SOURCE}, Figure 3 {'left' if unit == 'updates' else 'middle'}",
        expected=_EXPECTED[unit],
        measured=(", ".join(parts) or "no run") + _bound_note(never, unit, later),
        holds=sooner,
        missing=missing,
        runs=[run for run in runs if run.num_loops in (2, 4)],
    )


def _bound_note(depths: Sequence[int], unit: str, later: bool) -> str:
    """Says of loop counts without a run that completes OOD what their number is."""
    if not depths:
        return ""
    names = " or ".join(f"R = {depth}" for depth in depths)
    note = f"; no run with {names} completes OOD: a bound, what its runs had spent"
    if unit != "updates" and later and 4 in depths:
        note += ", and the verdict is that of updates again"
    return note


def _spent(runs: Sequence[Run], unit: str) -> list[Bound] | None:
    """What each run had spent at OOD, or by now; None if any does not know."""
    count: Mapping[str, Callable[[Run], np.ndarray | None]] = {
        "updates": lambda run: np.array([row["step"] for row in run.metrics], float),
        "operations": compute.training_flops,
        "seconds": compute.training_seconds,
    }
    found = []
    for run in runs:
        spent = count[unit](run)
        if spent is None:
            return None
        found.append(compute.spent_at(run, OOD, spent))
    return found


def _format(time: Bound, unit: str) -> str:
    if unit == "updates":
        return str(time)
    return f"{'> ' if time.beyond else ''}{time.steps:.3g}"
