"""Judges what looping is claimed to do to OOD on the runs of the study.

A run completes OOD when the median of its last five evaluations on OOD rows reaches
the threshold (.50). Where a claim is about a budget, a run that ended without it counts
against, also one whose loss was not finite: it is not there within these updates. Of
other budgets it says nothing. A run that still trains, or is lost, is waited for
wherever it could change the verdict.

Two times are apart if they differ by LEAST evaluations or more; what is not apart
counts for neither side, and a verdict by majority stands only if it stands whichever
way those would turn out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rdt_jax import wording
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import grokking, statistics
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.grokking import Bound
from rdt_jax.analysis.runs import WEIGHT_DECAY, Run

TRAIN, ID, OOD = "memorized", "id_generalized", "ood_generalized"
SOURCE = "Kohli et al. (2026), arXiv:2604.07822"
NEAR_CHANCE = 0.1  # smoothed OOD accuracy that a model without loops stays below
LEAST = 2  # evaluations: the least difference between two times that counts


class Models(NamedTuple):
    """The runs of a study by model."""

    vanilla: list[Run]  # one pass over the blocks that looped models have
    deep: list[Run]  # one pass over more blocks, each with its own parameters
    looped: dict[int, list[Run]]  # loop count R >= 2 -> runs


def models_of(runs: Sequence[Run]) -> Models:
    """Groups runs by model; the blocks that looped models have are the fewest."""
    blocks_of = lambda run: run.config.model.core_blocks
    fewest = min(map(blocks_of, runs), default=0)
    models = Models([], [], {})
    for run in runs:
        if run.num_loops > 1:
            models.looped.setdefault(run.num_loops, []).append(run)
        else:
            (models.vanilla if blocks_of(run) == fewest else models.deep).append(run)
    return models


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges the claims on what has been run so far."""
    models = models_of(runs)
    return [
        _never_leaves(
            models.vanilla,
            "Without loops, at equal parameters, OOD accuracy (smoothed) reaches "
            f"{NEAR_CHANCE} in no run.",
            expected="about .01 with R = 1, to 8,000 epochs",
            place="Figure 3 left",
            kind="runs with R = 1 and the blocks of the looped models",
        ),
        _never_leaves(
            models.deep,
            "Without loops, at the operations of R = 2 (twice the blocks), OOD "
            f"accuracy (smoothed) reaches {NEAR_CHANCE} in no run.",
            expected="OOD answers never decodable with 8 layers and no loop",
            place="Section 5.2 and Figure 4",
            kind="runs with R = 1 and twice the blocks",
        ),
        *(_is_reached(models.looped.get(r, []), r, runs) for r in _EXPECTED),
        _four_is_sooner_than_two(models.looped.get(2, []), models.looped.get(4, [])),
    ]


def completed(run: Run, event: str) -> Bound:
    """Returns the updates to the completion of an event, or their lower bound."""
    return grokking.completion(grokking.grok_times(run), event)


def smoothed_ood(run: Run) -> np.ndarray:
    """Returns the smoothed OOD accuracy at each evaluation, [E]."""
    if not run_folders.has_group(run, "ood"):
        return np.zeros(0)
    return grokking.smooth(run_folders.accuracy(run, "ood").values)


def is_sooner(one: Bound, other: Bound, every: int) -> bool:
    """Says whether one time is certainly LEAST evaluations sooner than another.

    `every` is the number of updates between evaluations: what had not completed at one
    can have completed at the next at the earliest.
    """
    earliest = other.steps + every * other.beyond
    return not one.beyond and earliest - one.steps >= LEAST * every


def _never_leaves(
    runs: Sequence[Run], text: str, *, expected: str, place: str, kind: str
) -> Claim:
    """Fails by one run that reaches NEAR_CHANCE; holds if all have ended below.

    A run whose loss was not finite is no evidence of never and is left out; one at
    least must have trained to its end. It asks for none and not for few since 207 OOD
    rows are at .1 by chance (.02) in less than one of 10^8 evaluations.
    """
    highest = {run: float(smoothed_ood(run).max(initial=0.0)) for run in runs}
    left = [run for run in runs if highest[run] >= NEAR_CHANCE]
    ended = [run for run in runs if run.outcome == "over" or run in left]
    missing = []
    if not left:
        missing += grokking.ends_of(run_folders.unfinished(runs))
        if not ended and not missing:
            missing.append(kind if not runs else "a run whose loss stays finite")
    most = f"{max(highest[run] for run in ended):.2f}" if ended else "unknown"
    failed = sum(run.outcome == "failed" for run in runs)
    return judging.judge(
        text,
        source=f"{SOURCE}, {place}",
        expected=expected,
        measured=f"reached in {len(left)} of {wording.count(len(ended), 'run')}, "
        f"highest smoothed OOD accuracy {most}"
        + (f"; {failed} more broke down" if failed else ""),
        holds=not left,
        missing=missing,
        runs=runs,
        test="count of runs",
    )


# R -> what the source has of it
_EXPECTED = {
    2: "about .7 after 6,000 epochs, .78 after 7,000 to 8,000",
    4: "about .7 after 1,000 epochs, .75 to .8 after 2,000",
    8: "about .75, with a timing like that of R = 4",
}


def _is_reached(own: Sequence[Run], loops: int, runs: Sequence[Run]) -> Claim:
    """Holds if more than half of all runs with R complete OOD, at whatever decay.

    It fails if half of them or more ended without it.
    """
    reached = grokking.arrived(own, OOD)
    awaited = grokking.awaited(own, OOD)
    holds = judging.majority(
        len(reached), len(own) - len(reached) - len(awaited), len(awaited)
    )
    missing = [] if holds is not None else grokking.ends_of(awaited)
    if not own:
        missing.append(f"runs with R = {loops}")
    by_decay = {
        decay: f"{len(grokking.arrived(cell, OOD))} of {len(cell)} at decay {decay:g}"
        for (decay,), cell in run_folders.group(own, (WEIGHT_DECAY,)).items()
    }
    budget = _budget(runs)
    return judging.judge(
        f"With R = {loops}, most runs complete OOD within the budget{budget}.",
        source=f"{SOURCE}, Figure 3 left",
        expected=_EXPECTED[loops],
        measured=f"{len(reached)} of {wording.count(len(own), 'run')}"
        + (f" ({', '.join(by_decay.values())})" if len(by_decay) > 1 else "")
        + f", median {_median(own)} updates; OOD accuracy at the end {_ends(own)}",
        holds=holds,
        missing=missing,
        runs=own,
        test="count of runs",
    )


def _median(runs: Sequence[Run]) -> str:
    times = [completed(run, OOD) for run in runs]
    return str(grokking.median(times)) if times else "unknown"


def _ends(runs: Sequence[Run]) -> str:
    ends = [smoothed[-1] for run in runs if (smoothed := smoothed_ood(run)).size]
    if not ends:
        return "unknown"
    return f"{np.median(ends):.2f} (median; {min(ends):.2f} to {max(ends):.2f})"


def _budget(runs: Sequence[Run]) -> str:
    budgets = [f"{steps:,}" for steps in run_folders.values_of(runs, "num_steps")]
    return f" of {' or '.join(budgets)} updates" if budgets else ""


class Pairs(NamedTuple):
    """Runs of R = 2 and R = 4 that have graph, seed and weight decay in common."""

    runs: list[tuple[Run, Run]]
    sooner: int  # pairs in which R = 4 completes OOD sooner
    later: int  # pairs in which it is later
    # [P, 2] updates to OOD, inf beyond the budget; alike where they are not apart
    times: np.ndarray
    awaited: list[Run]  # unfinished runs of pairs that are not apart


def compare(two: Sequence[Run], four: Sequence[Run]) -> Pairs:
    """Compares R = 2 and R = 4 pair by pair; what neither completes is not apart."""
    place_of = lambda run: tuple(
        run_folders.value_of(run, key) for key in ("task.seed", "seed", WEIGHT_DECAY)
    )
    partners = {place_of(run): run for run in four}
    pairs = [(run, partners[place_of(run)]) for run in two if place_of(run) in partners]
    times, sooner, later, awaited = [], 0, 0, []
    for pair in pairs:
        before, after = (completed(run, OOD) for run in pair)
        every = max(run.config.eval_every_steps for run in pair)
        won, lost = is_sooner(after, before, every), is_sooner(before, after, every)
        sooner, later = sooner + won, later + lost
        bounds = [np.inf if t.beyond else t.steps for t in (before, after)]
        times.append(bounds if won or lost else [0.0, 0.0])
        awaited += [] if won or lost else grokking.awaited(pair, OOD)
    return Pairs(pairs, sooner, later, np.reshape(times, (-1, 2)), awaited)


def _four_is_sooner_than_two(two: Sequence[Run], four: Sequence[Run]) -> Claim:
    """Holds if R = 4 is sooner in more than half of all pairs, fails if later in half.

    A pair counts if its times are apart; one that neither completes within the budget
    is a tie. The p-value is that of the signed-rank test, in which pairs that are not
    apart are ties. Pairs of one graph are not independent, so it is about these graphs.
    """
    pairs = compare(two, four)
    total = len(pairs.runs)
    apart = pairs.sooner + pairs.later
    holds = judging.majority(pairs.sooner, pairs.later, total - apart)
    missing = []
    if not total:
        missing.append("runs with R = 2 and R = 4 of one graph, seed and decay")
    elif holds is None:
        missing += grokking.ends_of(pairs.awaited, "with R = 2 or 4")
        if not missing:
            missing.append(
                f"times that are apart in more than {apart} of {total} pairs"
            )
    medians = [
        f"R = {own[0].num_loops} {_median(own)}"
        for own in zip(*pairs.runs, strict=True)
    ]
    return judging.judge(
        f"R = 4 completes OOD {LEAST} evaluations or more before R = 2, in most pairs "
        "of one graph, seed and weight decay.",
        source=f"{SOURCE}, Figure 3 left",
        expected="R = 2 takes 7,000 epochs, R = 4 takes 2,000",
        measured=f"sooner in {pairs.sooner}, later in {pairs.later} of "
        f"{wording.count(total, 'pair')}, {total - apart} not apart; medians: "
        f"{', '.join(medians) or 'unknown'}",
        holds=holds,
        missing=missing,
        runs=[run for pair in pairs.runs for run in pair],
        test="signed-rank test over pairs",
        p_value=statistics.signed_rank(*pairs.times.T, seed=0).p_value
        if total > 1
        else None,
    )
