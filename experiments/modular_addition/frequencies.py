"""The published claims on what happens inside a network that adds, of the base cell.

Reference: Nanda et al. (2023), arXiv:2301.05217.
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
LEAST_SNAPSHOTS = 3  # of each third of the time between two events

_TRAIN, _ID = (fourier.GROUPS.index(name) for name in ("train", "id"))


def judge_all(runs: Sequence[Run], inside: Sequence[Inside]) -> list[Claim]:
    """Judges all claims on progress measures of the base cell's runs."""
    return [
        _keys_come_first(runs, inside),
        _excluded_rises(runs, inside),
        _frequencies_get_few(runs, inside),
        _keys_are_the_network(runs, inside),
    ]


def _keys_come_first(runs: Sequence[Run], inside: Sequence[Inside]) -> Claim:
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
        holds=lambda restricted, whole: restricted < whole,
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
        holds=lambda first, last: last > first,
        needs=f" with {3 * LEAST_SNAPSHOTS} snapshots between",
    )


def _frequencies_get_few(runs: Sequence[Run], inside: Sequence[Inside]) -> Claim:
    def ends(one: Inside) -> tuple[float, float]:
        at = np.flatnonzero(one.progress.step >= one.memorized)[0]
        gini = one.progress.embedding_gini
        return float(gini[at]), float(gini[-1])

    return _by_majority(
        "From memorization to the end the embedding comes to use few frequencies: its "
        "Gini coefficient rises.",
        expected="the Gini coefficient of the embedding's Fourier norms rises",
        runs=runs,
        inside=inside,
        concerns=lambda memorized, generalized: max(memorized, generalized) < np.inf,
        measure=ends,
        unit="Gini at memorization and at the end",
        holds=lambda first, last: last > first,
    )


def _keys_are_the_network(runs: Sequence[Run], inside: Sequence[Inside]) -> Claim:
    chance = _chance(runs)
    last = lambda x: float(x[-1, -1, 0])  # At the end, after the last loop, all pairs.
    return _by_majority(
        "In the end the key frequencies are enough and are needed: alone their loss is "
        "below half of a guess's, without them it is above.",
        expected="ablating the key frequencies breaks the network, keeping only them "
        "does not",
        runs=runs,
        inside=inside,
        concerns=lambda memorized, generalized: generalized < np.inf,
        measure=lambda one: (
            last(one.progress.restricted_loss),
            last(one.progress.excluded_loss),
        ),
        unit="nats: alone and without",
        holds=lambda alone, without: alone < chance / 2 < without,
    )


def _by_majority(
    text: str,
    *,
    expected: str,
    runs: Sequence[Run],
    inside: Sequence[Inside],
    concerns: Callable[[float, float], bool],
    measure: Callable[[Inside], tuple[float, float] | None],
    unit: str,
    holds: Callable[[float, float], bool],
    needs: str = "",
) -> Claim:
    """Judges a claim about two numbers of each run of the base cell that is over.

    Args:
      concerns: whether the claim is about a run, by the updates in which it memorized
        and generalized, inf where it has not.
      measure: returns the two numbers; None if there are too few snapshots.
      unit: what the two numbers are.
      holds: whether two numbers are as claimed.
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
    right = np.array([holds(*pair) for pair in pairs], bool)
    training = len(run_folders.unfinished(reference))
    lacking = len(concerned) - len(pairs)
    verdict = cells.majority(right, training + lacking)
    return judging.judge(
        text,
        source=NANDA,
        expected=expected,
        measured=_say(right, pairs, unit, len(concerned)),
        holds=verdict,
        missing=[]
        if verdict is not None
        else _lacks(reference, training, lacking, needs),
        runs=[one.run for one, pair in found if pair is not None],
    )


def _say(
    right: np.ndarray, pairs: Sequence[tuple[float, float]], unit: str, concerned: int
) -> str:
    medians = (
        " and ".join(f"{x:.3g}" for x in np.median(pairs, axis=0)) if pairs else "?"
    )
    said = f"{cells.share(right)}; medians ({unit}) {medians}"
    if len(pairs) < concerned:
        said += f"; {len(pairs)} of {wording.count(concerned, 'run')} measured"
    return said


def _lacks(
    reference: Sequence[Run], training: int, lacking: int, needs: str
) -> list[str]:
    if not reference:
        return ["the runs"]
    missing = cells.ends(training)
    if lacking:
        missing.append(
            f"the stored progress measures{needs} of {wording.count(lacking, 'run')}"
        )
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
