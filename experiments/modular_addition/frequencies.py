"""The published claims on what happens inside a network that adds, of the base cell.

Key frequencies are picked on the embedding and scored on the logits. What comes with
decay stands beside the run without it of the same split and seed, the *control*. A run
in which two numbers differ by less than can be told leaves its claim open where it
could turn the majority.

References: Nanda et al. (2023), arXiv:2301.05217; Verma (2026), arXiv:2605.20441.
"""

from collections.abc import Callable, Sequence

import numpy as np

from experiments.modular_addition import cells
from experiments.modular_addition.cells import GENERALIZED, MEMORIZED, Inside
from rdt_jax import wording
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import fourier
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.runs import Run

NANDA = "Nanda et al. (2023), arXiv:2301.05217"
VERMA = "Verma (2026), arXiv:2605.20441"
LEAST_SNAPSHOTS = 3  # of each third of the time between two events
LEAST_RISE = 0.1  # nats, of the excluded loss
LEAST_CHANGE = 0.05  # of numbers between 0 and 1, beside the control's

_TRAIN, _ID = (fourier.GROUPS.index(name) for name in ("train", "id"))


def judge_all(runs: Sequence[Run], inside: Sequence[Inside]) -> list[Claim]:
    """Judges all claims on progress measures of the base cell's runs."""
    return [
        _keys_come_first(runs, inside),
        _excluded_rises(runs, inside),
        _beside_control(
            runs,
            inside,
            "The embedding comes to use few frequencies: from memorization to the last "
            "snapshot its Gini coefficient rises, by more than without decay.",
            lambda found: found.embedding_gini,
            source=NANDA,
            expected="the Gini coefficient of the embedding's Fourier norms rises",
        ),
        _beside_control(
            runs,
            inside,
            "Attention heads come apart: from memorization to the last snapshot the "
            "cosine between two of them falls, by more than without decay.",
            lambda found: -found.head_similarity,
            source=VERMA,
            expected="an online diagnostic of the regime; 1 where training collapses",
        ),
        _beside_control(
            runs,
            inside,
            "Attention heads come to differ in entropy: from memorization to the last "
            "snapshot its deviation over them rises, by more than without decay.",
            lambda found: found.entropy_spread,
            source=VERMA,
            expected="an online diagnostic of the regime",
        ),
        _keys_are_enough(runs, inside),
        _keys_are_needed(runs, inside),
    ]


def _keys_come_first(runs: Sequence[Run], inside: Sequence[Inside]) -> Claim:
    """Judges which is below first; at one snapshot of both, neither is."""
    chance = _chance(runs)

    def first(one: Inside) -> tuple[float, float]:
        """Updates at which each loss is below half of a guess's."""
        losses = (one.progress.restricted_loss, one.progress.loss)
        restricted, whole = (_first_below(one, x, chance / 2) for x in losses)
        return restricted, whole

    return _by_majority(
        "The loss of the key frequencies alone falls before that of the whole network "
        "(held-out pairs, to half of a guess's).",
        expected="restricted loss declines before test loss",
        runs=runs,
        inside=inside,
        concerns=lambda memorized, generalized: generalized < np.inf,
        measure=first,
        unit="updates: keys alone and whole",
        holds=lambda restricted, whole: _is_less(restricted, whole, least=1),
    )


def _excluded_rises(runs: Sequence[Run], inside: Sequence[Inside]) -> Claim:
    def between(one: Inside) -> tuple[float, float] | None:
        """Median excluded loss of the first and of the last third of the time."""
        step = one.progress.step
        times = (step >= one.memorized) & (step <= one.generalized)
        values = one.progress.excluded_loss[times, -1, _TRAIN]
        third = values.size // 3
        if third < LEAST_SNAPSHOTS:
            return None
        return float(np.median(values[:third])), float(np.median(values[-third:]))

    return _by_majority(
        "Between memorization and generalization the train loss without the key "
        "frequencies rises: its median is higher in the last third of the snapshots "
        "than in the first.",
        expected="excluded loss rises during circuit formation",
        runs=runs,
        inside=inside,
        concerns=lambda memorized, generalized: memorized < generalized < np.inf,
        measure=between,
        unit="nats: first and last third",
        holds=lambda first, last: _is_less(first, last, LEAST_RISE),
        needs=f" with {3 * LEAST_SNAPSHOTS} snapshots between",
    )


def _beside_control(
    runs: Sequence[Run],
    inside: Sequence[Inside],
    text: str,
    measure: Callable[[fourier.Progress], np.ndarray],
    *,
    source: str,
    expected: str,
) -> Claim:
    """Judges by how much a measure [C] rises beside the control in the same updates.

    A control that ended before, or memorized later than the last snapshot, is none.
    """
    pair_of = lambda run: (run.config.task.seed, run.config.seed)
    names = {run.run_id for run in cells.controls(runs)}
    of_pair = {pair_of(one.run): one for one in inside if one.run.run_id in names}

    def rises(one: Inside) -> tuple[float, float] | None:
        other = of_pair.get(pair_of(one.run))
        last = one.progress.step[-1]
        if other is None or other.memorized is None or other.progress.step[-1] < last:
            return None
        return _rise(one, measure, last), _rise(other, measure, last)

    return _by_majority(
        text,
        source=source,
        expected=expected,
        runs=runs,
        inside=inside,
        concerns=lambda memorized, generalized: max(memorized, generalized) < np.inf,
        measure=rises,
        unit="rises with decay and without",
        holds=lambda rise, other: _is_less(max(other, 0.0), rise, LEAST_CHANGE),
        needs=" and their controls",
    )


def _keys_are_enough(runs: Sequence[Run], inside: Sequence[Inside]) -> Claim:
    return _at_the_end(
        runs,
        inside,
        "In the end the key frequencies are enough: their loss is below half of a "
        "guess's.",
        lambda found: found.restricted_loss,
        expected="keeping only the key frequencies does not break the network",
        holds=lambda alone, half: alone < half,
    )


def _keys_are_needed(runs: Sequence[Run], inside: Sequence[Inside]) -> Claim:
    return _at_the_end(
        runs,
        inside,
        "In the end the key frequencies are needed: without them the loss is above "
        "half of a guess's.",
        lambda found: found.excluded_loss,
        expected="ablating the key frequencies breaks the network",
        holds=lambda without, half: without > half,
    )


def _at_the_end(
    runs: Sequence[Run],
    inside: Sequence[Inside],
    text: str,
    losses: Callable[[fourier.Progress], np.ndarray],
    *,
    expected: str,
    holds: Callable[[float, float], bool],
) -> Claim:
    """Judges a loss of all pairs at the end, after the last loop."""
    half = _chance(runs) / 2
    return _by_majority(
        text,
        expected=expected,
        runs=runs,
        inside=inside,
        concerns=lambda memorized, generalized: generalized < np.inf,
        measure=lambda one: (float(losses(one.progress)[-1, -1, 0]), half),
        unit="nats: it, and half of a guess's",
        holds=holds,
    )


def _rise(
    one: Inside, measure: Callable[[fourier.Progress], np.ndarray], last: int
) -> float:
    """Rise of a measure from memorization, which there was, to an update."""
    found = one.progress
    first, end = np.interp((one.memorized or 0, last), found.step, measure(found))
    return float(end - first)


def _is_less(low: float, high: float, least: float) -> bool | None:
    """Says which of two numbers is less; None if they are nearer than `least`."""
    if low == high or abs(high - low) < least:
        return None
    return low < high


def _by_majority(
    text: str,
    *,
    source: str = NANDA,
    expected: str,
    runs: Sequence[Run],
    inside: Sequence[Inside],
    concerns: Callable[[float, float], bool],
    measure: Callable[[Inside], tuple[float, float] | None],
    unit: str,
    holds: Callable[[float, float], bool | None],
    needs: str = "",
) -> Claim:
    """Judges a claim about two numbers of each run of the base cell that is over.

    Args:
      concerns: whether the claim is about a run, by the updates in which it memorized
        and generalized, inf where it has not.
      measure: returns the two numbers; None if there are too few snapshots.
      unit: what the two numbers are.
      holds: whether two numbers are as claimed; None if that cannot be told.
      needs: what the measures of a run must have.
    """
    reference = cells.base(runs)
    events = [cells.times(reference, e) for e in (MEMORIZED, GENERALIZED)]
    concerned = [
        run
        for run, *at in zip(reference, *events, strict=True)
        if run.outcome != "unfinished" and concerns(*at)
    ]
    names = {run.run_id for run in concerned}
    found = [(one, measure(one)) for one in inside if one.run.run_id in names]
    pairs = [pair for _, pair in found if pair is not None]
    said = [holds(*pair) for pair in pairs]
    right = np.array([each for each in said if each is not None], bool)
    training = len(run_folders.unfinished(reference))
    lacking, even = len(concerned) - len(pairs), len(said) - right.size
    verdict = cells.majority(right, training + lacking + even)
    return judging.judge(
        text,
        source=source,
        expected=expected,
        measured=_say(right, pairs, unit, len(concerned)),
        holds=verdict,
        missing=[]
        if verdict is not None
        else _lacks(reference, training, lacking, even, needs),
        runs=[one.run for one, pair in found if pair is not None],
        test="count of runs",
    )


def _say(
    right: np.ndarray, pairs: Sequence[tuple[float, float]], unit: str, concerned: int
) -> str:
    medians = (
        " and ".join(f"{x:.3g}" for x in np.median(pairs, axis=0)) if pairs else "?"
    )
    said = f"{right.sum()} of {wording.count(len(pairs), 'run')}"
    if even := len(pairs) - right.size:
        said += f", {even} undecided"
    said += f"; medians ({unit}) {medians}"
    if len(pairs) < concerned:
        said += f"; {len(pairs)} of {wording.count(concerned, 'run')} measured"
    return said


def _lacks(
    reference: Sequence[Run], training: int, lacking: int, even: int, needs: str
) -> list[str]:
    if not reference:
        return ["the runs"]
    missing = cells.ends(training)
    if lacking:
        missing.append(
            f"the stored progress measures{needs} of {wording.count(lacking, 'run')}"
        )
    if even:
        missing.append(f"a clear difference in {wording.count(even, 'run')}")
    return missing or ["a run that generalizes as the claim says"]


def _first_below(one: Inside, losses: np.ndarray, level: float) -> float:
    """Updates at the first snapshot at which a held-out loss is low; inf for never."""
    below = np.flatnonzero(losses[:, -1, _ID] < level)
    return float(one.progress.step[below[0]]) if below.size else float("inf")


def _chance(runs: Sequence[Run]) -> float:
    """Loss of a guess among the residues, nats; NaN without a run."""
    reference = cells.base(runs)
    if not reference:
        return float("nan")
    return float(np.log(run_folders.shared_value(reference, "task.kwargs.modulus")))
