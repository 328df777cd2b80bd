"""The published claims on what happens inside a network that adds, of the base cell.

Key frequencies are picked on the embedding and scored on the logits. What comes with
decay stands beside the run without it of the same split and seed, the *control*. A run
in which two numbers differ by less than can be told leaves its claim open where it
could turn the majority.

References: Nanda et al. (2023), arXiv:2301.05217; Verma (2026), arXiv:2605.20441.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

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
    judge = functools.partial(_by_majority, runs=runs, inside=inside)
    arrives = lambda memorized, generalized: generalized < np.inf
    half = _chance(runs) / 2  # of a guess's loss
    at_end: dict[str, Any] = {
        "concerns": arrives, "unit": "nats: it, and half of a guess's",
    }  # fmt: skip
    return [
        judge(
            "The loss of the key frequencies alone falls before that of the whole "
            "network (held-out pairs, to half of a guess's).",
            expected="restricted loss declines before test loss",
            concerns=arrives,
            # At one snapshot of both, neither is first.
            measure=lambda one: (
                _first_below(one, one.progress.restricted_loss, half),
                _first_below(one, one.progress.loss, half),
            ),
            unit="updates: keys alone and whole",
            holds=lambda restricted, whole: _is_less(restricted, whole, least=1),
        ),
        judge(
            "Between memorization and generalization the train loss without the key "
            "frequencies rises: its median is higher in the last third of the "
            "snapshots than in the first.",
            expected="excluded loss rises during circuit formation",
            concerns=lambda memorized, generalized: memorized < generalized < np.inf,
            measure=_excluded_between,
            unit="nats: first and last third",
            holds=lambda first, last: _is_less(first, last, LEAST_RISE),
            needs=f" with {3 * LEAST_SNAPSHOTS} snapshots between",
        ),
        *_beside_control(runs, inside),
        judge(
            "In the end the key frequencies are enough: their loss is below half of a "
            "guess's.",
            expected="keeping only the key frequencies does not break the network",
            measure=lambda one: (_at_end(one.progress.restricted_loss), half),
            holds=lambda alone, half: alone < half,
            **at_end,
        ),
        judge(
            "In the end the key frequencies are needed: without them the loss is above "
            "half of a guess's.",
            expected="ablating the key frequencies breaks the network",
            measure=lambda one: (_at_end(one.progress.excluded_loss), half),
            holds=lambda without, half: without > half,
            **at_end,
        ),
    ]


def _at_end(losses: np.ndarray) -> float:
    """Loss of all pairs at the end, after the last loop."""
    return float(losses[-1, -1, 0])


def _excluded_between(one: Inside) -> tuple[float, float] | None:
    """Median excluded loss of the first and of the last third of the time."""
    step = one.progress.step
    times = (step >= one.memorized) & (step <= one.generalized)
    values = one.progress.excluded_loss[times, -1, _TRAIN]
    third = values.size // 3
    if third < LEAST_SNAPSHOTS:
        return None
    return float(np.median(values[:third])), float(np.median(values[-third:]))


# What is claimed to rise from memorization to the last snapshot, by more than without
# decay: claim, measure [C], source, its words.
_RISING: Sequence[tuple[str, Callable[[fourier.Progress], np.ndarray], str, str]] = (
    (
        "The embedding comes to use few frequencies: from memorization to the last "
        "snapshot its Gini coefficient rises, by more than without decay.",
        lambda found: found.embedding_gini,
        NANDA,
        "the Gini coefficient of the embedding's Fourier norms rises",
    ),
    (
        "Attention heads come apart: from memorization to the last snapshot the "
        "cosine between two of them falls, by more than without decay.",
        lambda found: -found.head_similarity,
        VERMA,
        "an online diagnostic of the regime; 1 where training collapses",
    ),
    (
        "Attention heads come to differ in entropy: from memorization to the last "
        "snapshot its deviation over them rises, by more than without decay.",
        lambda found: found.entropy_spread,
        VERMA,
        "an online diagnostic of the regime",
    ),
)


def _beside_control(runs: Sequence[Run], inside: Sequence[Inside]) -> list[Claim]:
    """Judges by how much measures rise beside the control in the same updates.

    A control that ended before, or memorized later than the last snapshot, is none.
    """
    names = {run.run_id for run in cells.controls(runs)}
    controls = {c.run.pair: c for c in inside if c.run.run_id in names}

    def rises(one: Inside, measure: Any) -> tuple[float, float] | None:
        other, last = controls.get(one.run.pair), one.progress.step[-1]
        if other is None or other.memorized is None or other.progress.step[-1] < last:
            return None
        return _rise(one, measure, last), _rise(other, measure, last)

    return [
        _by_majority(
            text,
            source=source,
            expected=expected,
            runs=runs,
            inside=inside,
            concerns=lambda memorized, generalized: (
                max(memorized, generalized) < np.inf
            ),
            measure=functools.partial(rises, measure=measure),
            unit="rises with decay and without",
            holds=lambda rise, other: _is_less(max(other, 0.0), rise, LEAST_CHANGE),
            needs=" and their controls",
        )
        for text, measure, source, expected in _RISING
    ]


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
