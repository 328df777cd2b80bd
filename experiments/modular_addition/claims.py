"""The published claims on grokking modular addition, judged on what has been run.

Every claim is about runs at R = 1, the models of the papers. A majority is more than
half of the runs; a censored run counts against a claim about arriving, never for it.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from experiments.modular_addition import cells
from experiments.modular_addition.cells import GENERALIZED, MEMORIZED, Inside
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import fourier, grokking, laws
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.runs import Run

LEVEL = 0.05  # of the test for a trend
LEVEL_EXPONENT = 0.25  # a time with an exponent closer to 0 does not depend on decay

POWER = "Power et al. (2022), arXiv:2201.02177"
NANDA = "Nanda et al. (2023), arXiv:2301.05217"
OMNIGROK = "Liu et al. (2022), arXiv:2210.01117"

_TRAIN, _ID = (fourier.GROUPS.index(name) for name in ("train", "id"))


def judge_all(runs: Sequence[Run], inside: Sequence[Inside]) -> list[Claim]:
    """Judges all claims.

    Args:
      runs: of the study, finished or not.
      inside: the base cell's runs whose progress measures are stored.
    """
    by_decay = cells.by_decay(runs)
    decaying = {value: members for value, members in by_decay.items() if value > 0}
    return [
        _generalizes_late(cells.base(runs)),
        _more_data_is_sooner(cells.by_fraction(runs)),
        _never_without_decay(by_decay),
        _inverse_to_decay(decaying),
        _memorizes_alike(decaying),
        _norm_falls(cells.base(runs)),
        _keys_come_first(runs, inside),
        _excluded_rises(runs, inside),
        _frequencies_get_few(runs, inside),
        _keys_are_the_network(runs, inside),
    ]


def _generalizes_late(runs: Sequence[Run]) -> Claim:
    memorized = cells.times(runs, MEMORIZED)
    generalized = cells.times(runs, GENERALIZED)
    late = (generalized > 2 * memorized) & np.isfinite(generalized)
    return judging.judge(
        "A run generalizes, and only after twice the updates that it memorized in.",
        source=f"{POWER}, Figure 1",
        expected="train accuracy near 1 before 1e3 updates, validation after 1e5",
        measured=(
            f"{_share(late)} runs; medians {_median(memorized)} and "
            f"{_median(generalized)} updates"
        ),
        holds=_most(late),
        missing=_unfinished(runs),
        runs=runs,
    )


def _more_data_is_sooner(by_fraction: Mapping[float, Sequence[Run]]) -> Claim:
    runs = [run for members in by_fraction.values() for run in members]
    missing = _unfinished(runs) or _too_few(by_fraction, "shares of data")
    measured, holds = _medians(by_fraction, GENERALIZED), None
    if not missing:
        test = laws.trend(*cells.pool(by_fraction, GENERALIZED))
        measured += (
            f"; in {test.later:.2f} of the pairs more data is later, p = "
            f"{test.p_value:.3f}"
        )
        holds = test.later < 0.5 and test.p_value <= LEVEL
    return judging.judge(
        "The more pairs are trained, the fewer updates generalization takes.",
        source=POWER,
        expected="near 25-30 % of the data, 1 % less of it takes 40-50 % longer",
        measured=measured,
        holds=holds,
        missing=missing,
        runs=runs,
    )


def _never_without_decay(by_decay: Mapping[float, Sequence[Run]]) -> Claim:
    without = list(by_decay.get(0.0, []))
    others = [run for value, cell in by_decay.items() if value > 0 for run in cell]
    memorized = np.isfinite(cells.times(without, MEMORIZED))
    arrived = np.isfinite(cells.times(without, GENERALIZED))
    with_decay = np.isfinite(cells.times(others, GENERALIZED))
    missing = _unfinished(without)
    if without and not memorized.all():
        missing.append("runs without decay that memorize")
    if not with_decay.any():
        missing.append("a run with decay that generalizes in the same budget")
    measured = f"without decay {_share(arrived)} runs generalize"
    if without:
        measured += f" in {grokking.format_steps(without[0].config.num_steps)} updates"
    return judging.judge(
        "Without weight decay no run generalizes in a budget that suffices with it.",
        source=f"{NANDA}, appendix",
        expected="no grokking at weight decay 0",
        measured=f"{measured}; with decay {_share(with_decay)}",
        holds=not arrived.any(),
        missing=[] if arrived.any() else missing,
        runs=[*without, *others],
    )


def _inverse_to_decay(decaying: Mapping[float, Sequence[Run]]) -> Claim:
    law, measured, missing = _law(decaying, GENERALIZED)
    holds = None
    if law is not None:
        has_one, has_none = (law.low <= x <= law.high for x in (1, 0))
        holds = has_one
        if has_one and has_none:
            missing.append("a narrower interval: it holds 0 as well as 1")
    return judging.judge(
        "The time to generalize is inversely proportional to weight decay.",
        source=OMNIGROK,
        expected="updates ~ decay ** -1",
        measured=measured,
        holds=holds,
        missing=missing,
        runs=[run for members in decaying.values() for run in members],
    )


def _memorizes_alike(decaying: Mapping[float, Sequence[Run]]) -> Claim:
    law, measured, missing = _law(decaying, MEMORIZED)
    holds = None
    if law is not None:
        holds = -LEVEL_EXPONENT <= law.low and law.high <= LEVEL_EXPONENT
        if not holds and law.low <= 0 <= law.high:
            missing.append("a narrower interval")
    return judging.judge(
        "The time to memorize does not depend on weight decay (exponent within "
        f"{LEVEL_EXPONENT} of 0).",
        source=OMNIGROK,
        expected="updates ~ decay ** 0",
        measured=measured,
        holds=holds,
        missing=missing,
        runs=[run for members in decaying.values() for run in members],
    )


def _norm_falls(runs: Sequence[Run]) -> Claim:
    arrived = [run for run in runs if cells.completed(run, GENERALIZED) is not None]
    changes, falls = [], []
    for run in arrived:
        norm = run_folders.series(run, "model/weight_norm")
        at = cells.completed(run, GENERALIZED)
        now, before = norm.values[norm.steps == at], norm.values[norm.steps < at]
        changes.append(float(now[0] / before.max()) if before.size else 1.0)
        falls.append(changes[-1] < 1)
    missing = _unfinished(runs)
    if not arrived:
        missing.append("a run that generalizes")
    median = f"{np.median(changes):.2f}" if changes else "unknown"
    return judging.judge(
        "When a run generalizes, the norm of its weights has fallen from its peak.",
        source=OMNIGROK,
        expected="the norm rises while memorizing and falls until generalization",
        measured=f"{_share(np.array(falls))} runs; norm / peak: median {median}",
        holds=_most(np.array(falls)),
        missing=missing,
        runs=arrived,
    )


def _keys_come_first(runs: Sequence[Run], inside: Sequence[Inside]) -> Claim:
    chance = _chance(runs)

    def first(one: Inside) -> tuple[float, float]:
        """Updates at which each loss is below half of a guess's."""
        losses = (one.progress.restricted_loss, one.progress.loss)
        restricted, whole = (_first_below(one, x, chance / 2) for x in losses)
        return restricted, whole

    return _of_inside(
        "The loss of the key frequencies alone falls before that of the whole network "
        "(held-out pairs, to half of a guess's).",
        source=NANDA,
        expected="restricted loss declines before test loss",
        runs=runs,
        inside=[one for one in inside if one.generalized is not None],
        measure=first,
        unit="updates: keys alone and whole",
        holds=lambda restricted, whole: restricted < whole,
    )


def _excluded_rises(runs: Sequence[Run], inside: Sequence[Inside]) -> Claim:
    def between(one: Inside) -> tuple[float, float]:
        """Excluded loss at the ends of the time from memorized to generalized."""
        step = one.progress.step
        times = np.flatnonzero((step >= one.memorized) & (step <= one.generalized))
        values = one.progress.excluded_loss[times, -1, _TRAIN]
        return float(values[0]), float(values[-1])

    def has_time(one: Inside) -> bool:
        if one.memorized is None or one.generalized is None:
            return False
        step = one.progress.step
        return ((step >= one.memorized) & (step <= one.generalized)).sum() > 1

    return _of_inside(
        "Between memorization and generalization the train loss without the key "
        "frequencies rises, though train accuracy stays.",
        source=NANDA,
        expected="excluded loss rises during circuit formation",
        runs=runs,
        inside=[one for one in inside if has_time(one)],
        measure=between,
        unit="nats: first and last",
        holds=lambda first, last: last > first,
    )


def _frequencies_get_few(runs: Sequence[Run], inside: Sequence[Inside]) -> Claim:
    def ends(one: Inside) -> tuple[float, float]:
        at = np.flatnonzero(one.progress.step >= one.memorized)[0]
        gini = one.progress.embedding_gini
        return float(gini[at]), float(gini[-1])

    return _of_inside(
        "From memorization to the end the embedding comes to use few frequencies: its "
        "Gini coefficient rises.",
        source=NANDA,
        expected="the Gini coefficient of the embedding's Fourier norms rises",
        runs=runs,
        inside=[
            one
            for one in inside
            if one.generalized is not None and one.memorized is not None
        ],
        measure=ends,
        unit="Gini at memorization and at the end",
        holds=lambda first, last: last > first,
    )


def _keys_are_the_network(runs: Sequence[Run], inside: Sequence[Inside]) -> Claim:
    chance = _chance(runs)
    last = lambda x: float(x[-1, -1, 0])  # At the end, after the last loop, all pairs.
    return _of_inside(
        "In the end the key frequencies are enough and are needed: alone their loss is "
        "below half of a guess's, without them it is above.",
        source=NANDA,
        expected="ablating the key frequencies breaks the network, keeping only them "
        "does not",
        runs=runs,
        inside=[one for one in inside if one.generalized is not None],
        measure=lambda one: (
            last(one.progress.restricted_loss),
            last(one.progress.excluded_loss),
        ),
        unit="nats: alone and without",
        holds=lambda alone, without: alone < chance / 2 < without,
    )


def _of_inside(
    text: str,
    *,
    source: str,
    expected: str,
    runs: Sequence[Run],
    inside: Sequence[Inside],
    measure: Callable[[Inside], tuple[float, float]],
    unit: str,
    holds: Callable[[float, float], bool],
) -> Claim:
    """Judges a claim about two numbers of each run, by the majority."""
    pairs = [measure(one) for one in inside]
    right = np.array([holds(*pair) for pair in pairs], bool)
    reference = cells.base(runs)
    missing = _unfinished(reference)
    if reference and not pairs:
        missing.append("a run that generalizes late, and its stored progress measures")
    medians = (
        " and ".join(f"{x:.3g}" for x in np.median(pairs, axis=0)) if pairs else "?"
    )
    return judging.judge(
        text,
        source=source,
        expected=expected,
        measured=f"{_share(right)} runs; medians ({unit}) {medians}",
        holds=_most(right),
        missing=missing,
        runs=[one.run for one in inside],
    )


def _law(
    decaying: Mapping[float, Sequence[Run]], event: str
) -> tuple[laws.PowerLaw | None, str, list[str]]:
    """Fits the exponent of a time, says it in words, and what it lacks."""
    runs = [run for members in decaying.values() for run in members]
    measured = _medians(decaying, event)
    missing = _unfinished(runs) or _too_few(decaying, "weight decays above 0")
    if missing:
        return None, measured, missing
    budget = run_folders.shared_value(runs, "num_steps")
    law = laws.fit_power(*cells.pool(decaying, event), budget)
    measured += (
        f"; exponent {law.exponent:.2f}, 95 % interval over seeds {law.low:.2f} to "
        f"{law.high:.2f}, {law.censored} of {law.runs} censored"
    )
    if np.isnan([law.exponent, law.low, law.high]).any():
        return None, measured, ["more runs that arrive"]
    return law, measured, []


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


def _unfinished(runs: Sequence[Run]) -> list[str]:
    if not runs:
        return ["the runs"]
    left = len(runs) - len(cells.over(runs))
    return [f"the end of {left} runs"] if left else []


def _too_few(found: Mapping[float, Sequence[Run]], what: str) -> list[str]:
    return [] if len(found) >= 3 else [f"runs at three {what}"]


def _most(right: np.ndarray) -> bool:
    return bool(2 * right.sum() > right.size)


def _share(right: np.ndarray) -> str:
    return f"{right.sum():g} of {right.size}"


def _median(times: np.ndarray) -> str:
    if not times.size:
        return "unknown"
    median = float(np.median(times))
    return grokking.format_steps(median) if np.isfinite(median) else "beyond the budget"


def _medians(found: Mapping[float, Sequence[Run]], event: str) -> str:
    """Says the median of each value: `0.5: 900 (4/5)`."""
    parts = []
    for value, members in found.items():
        times = cells.times(members, event)
        arrived = np.isfinite(times).sum()
        parts.append(f"{value:g}: {_median(times)} ({arrived}/{times.size})")
    return "median updates " + (", ".join(parts) if parts else "unknown")
