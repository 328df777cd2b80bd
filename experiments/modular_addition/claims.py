"""The published claims on grokking modular addition, judged on what has been run.

Every claim is about runs at R = 1, the models of the papers. A majority is more than
half of the runs. A censored run counts against a claim about arriving, never for it,
and leaves it open where a longer budget could turn the majority. So do runs that still
train and runs that could not be measured, as long as they could.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from experiments.modular_addition import cells, frequencies
from experiments.modular_addition.cells import GENERALIZED, MEMORIZED, Inside
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import grokking, laws
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.runs import Run

LEVEL = 0.05  # of a test
LEVEL_EXPONENT = 0.25  # a time with an exponent closer to 0 does not depend on decay
# Between these the time goes with 1 / decay, and neither with the root nor the square.
INVERSE = (0.5, 2.0)
LEAST_FALL = 0.1  # of the norm, as a share of its rise from the start to its peak

POWER = "Power et al. (2022), arXiv:2201.02177"
OMNIGROK = "Liu et al. (2022), arXiv:2210.01117"


def judge_all(runs: Sequence[Run], inside: Sequence[Inside]) -> list[Claim]:
    """Judges all claims; `inside` are the measured runs of the base cell."""
    by_decay = cells.by_decay(runs)
    decaying = {value: members for value, members in by_decay.items() if value > 0}
    return [
        _generalizes_late(cells.base(runs)),
        _more_data_is_sooner(cells.by_fraction(runs)),
        _never_without_decay(by_decay),
        _inverse_to_decay(decaying),
        _memorizes_alike(decaying),
        _norm_falls(cells.by_fraction(runs)),
        *frequencies.judge_all(runs, inside),
    ]


def _generalizes_late(runs: Sequence[Run]) -> Claim:
    memorized = cells.times(runs, MEMORIZED)
    generalized = cells.times(runs, GENERALIZED)
    late = cells.is_late(memorized, generalized)
    memorized_only, training = _memorized_only(runs), _still_training(runs)
    undecided = memorized_only | training
    missing: list[str] = []
    holds = cells.majority(late[~undecided], undecided.sum())
    if holds is None:
        missing += cells.ends(training.sum()) if runs else ["the runs"]
        missing += ["a longer budget"] if memorized_only.any() else []
    return judging.judge(
        f"A run generalizes, and only after {cells.LATE} times the updates that it "
        "memorized in.",
        source=f"{POWER}, Figure 1",
        expected="train accuracy near 1 before 1e3 updates, validation after 1e5",
        measured=(
            f"{cells.share(late)}, {memorized_only.sum()} memorized only; medians "
            f"{_median(runs, MEMORIZED)} and {_median(runs, GENERALIZED)} updates"
        ),
        holds=holds,
        missing=missing,
        runs=runs,
    )


def _more_data_is_sooner(by_fraction: Mapping[float, Sequence[Run]]) -> Claim:
    runs = _all(by_fraction)
    missing = _unfinished(runs) or _too_few(by_fraction, "shares of data")
    measured, holds = _medians(by_fraction, GENERALIZED), None
    if not missing:
        values, times, _ = cells.pool(by_fraction, GENERALIZED)
        test = laws.trend(values, times)
        measured += (
            f"; in {test.later:.2f} of the pairs of runs the one with more data is "
            f"later, p = {test.p_value:.2g}"
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
    measured = f"without decay {cells.share(arrived)} generalized"
    if without:
        measured += f" in {grokking.format_steps(without[0].config.num_steps)} updates"
    return judging.judge(
        "Without weight decay no run generalizes in a budget that suffices with it.",
        source=f"{frequencies.NANDA}, appendix",
        expected="no grokking at weight decay 0",
        measured=f"{measured}; with decay {cells.share(with_decay)}",
        holds=not arrived.any(),
        missing=[] if arrived.any() else missing,
        runs=[*without, *others],
    )


def _inverse_to_decay(decaying: Mapping[float, Sequence[Run]]) -> Claim:
    law, measured, missing = _law(decaying, GENERALIZED)
    low, high = INVERSE
    holds = None
    if law is not None:
        holds = law.low <= 1 <= law.high
        if holds and not (low < law.low and law.high < high):
            missing.append(f"a narrower interval, between {low:g} and {high:g}")
    return judging.judge(
        "The time to generalize is inversely proportional to weight decay (exponent 1, "
        f"not {low:g} or {high:g}).",
        source=OMNIGROK,
        expected="updates ~ decay ** -1",
        measured=measured,
        holds=holds,
        missing=missing,
        runs=_all(decaying),
    )


def _memorizes_alike(decaying: Mapping[float, Sequence[Run]]) -> Claim:
    law, measured, missing = _law(decaying, MEMORIZED)
    holds = None
    if law is not None:
        holds = -LEVEL_EXPONENT <= law.low and law.high <= LEVEL_EXPONENT
        if not holds and law.low <= LEVEL_EXPONENT and law.high >= -LEVEL_EXPONENT:
            missing.append("a narrower interval")
    return judging.judge(
        "The time to memorize does not depend on weight decay (exponent within "
        f"{LEVEL_EXPONENT} of 0).",
        source=OMNIGROK,
        expected="updates ~ decay ** 0",
        measured=measured,
        holds=holds,
        missing=missing,
        runs=_all(decaying),
    )


def _norm_falls(by_fraction: Mapping[float, Sequence[Run]]) -> Claim:
    """Judges late runs beside those that memorize only, of all shares of data.

    A norm that fluctuates is below its peak at almost any time, so a fall has a least
    size, and it is told from one that has nothing to do with generalization.
    """
    runs = _all(by_fraction)
    late = cells.is_late(*(cells.times(runs, e) for e in (MEMORIZED, GENERALIZED)))
    fallen = np.array([_fall(run) for run in runs], float)
    falls, stays = fallen >= LEAST_FALL, _memorized_only(runs)
    training = _still_training(runs).sum()
    missing: list[str] = []
    holds = cells.majority(falls[late], training)
    said = [cells.share(falls[late], "late run"), cells.share(falls[stays])]
    lost = [_middle(fallen[group]) for group in (late, stays)]
    if holds is not False:
        holds, missing = _contrast(falls[late], falls[stays])
        missing += cells.ends(training) if runs else ["the runs"]
    return judging.judge(
        f"When a run generalizes late, the norm of its weights has lost {LEAST_FALL:g} "
        "or more of its rise to a peak, unlike that of runs that memorize only.",
        source=OMNIGROK,
        expected="the norm rises while memorizing and falls until generalization",
        measured=(
            f"{said[0]}, {said[1]} that memorized only; median shares lost "
            f"{lost[0]} and {lost[1]}"
        ),
        holds=holds,
        missing=missing,
        runs=[run for run, counts in zip(runs, late | stays, strict=True) if counts],
    )


def _fall(run: Run) -> float:
    """Share of its rise that the norm has lost at generalization, else at the end.

    The norm is smoothed as accuracies are; one that never rose has nothing to lose.
    """
    norm = run_folders.series(run, "model/weight_norm")
    end = cells.completed(run, GENERALIZED)
    until = np.inf if end is None else end
    smoothed = grokking.smooth(norm.values[norm.steps <= until])
    rise = smoothed.max() - smoothed[0] if smoothed.size else 0.0
    return float((smoothed.max() - smoothed[-1]) / rise) if rise > 0 else 0.0


def _contrast(falls: np.ndarray, others: np.ndarray) -> tuple[bool, list[str]]:
    """Says whether a larger share falls than of the others, and what that lacks."""
    if not falls.size or not others.size:
        return False, ["a run that generalizes late and one that memorizes only"]
    counts = [[group.sum(), (~group).sum()] for group in (falls, others)]
    is_clear = stats.fisher_exact(counts, alternative="greater").pvalue <= LEVEL
    more = bool(falls.mean() > others.mean())
    return more, ["more runs: others fall as well"] if more and not is_clear else []


def _law(
    decaying: Mapping[float, Sequence[Run]], event: str
) -> tuple[laws.PowerLaw | None, str, list[str]]:
    """Fits the exponent of a time, says it in words, and what it lacks."""
    runs = _all(decaying)
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


def _all(cell_of: Mapping[float, Sequence[Run]]) -> list[Run]:
    return [run for members in cell_of.values() for run in members]


def _unfinished(runs: Sequence[Run]) -> list[str]:
    return cells.ends(len(run_folders.unfinished(runs))) if runs else ["the runs"]


def _still_training(runs: Sequence[Run]) -> np.ndarray:
    """Runs that may yet generalize in their budget, bool [N]."""
    waits = np.array([run.outcome == "unfinished" for run in runs], bool)
    return waits & np.isinf(cells.times(runs, GENERALIZED))


def _memorized_only(runs: Sequence[Run]) -> np.ndarray:
    """Runs that spent their budget between memorizing and generalizing, bool [N]."""
    is_over = np.array([run.outcome == "over" for run in runs], bool)
    arrived = [np.isfinite(cells.times(runs, e)) for e in (MEMORIZED, GENERALIZED)]
    return is_over & arrived[0] & ~arrived[1]


def _too_few(found: Mapping[float, Sequence[Run]], what: str) -> list[str]:
    return [] if len(found) >= 3 else [f"runs at three {what}"]


def _median(runs: Sequence[Run], event: str) -> str:
    if not runs:
        return "unknown"
    times = map(grokking.grok_times, runs)
    median = grokking.median([grokking.completion(each, event) for each in times])
    if not median.beyond:
        return grokking.format_steps(median.steps)
    waits = grokking.awaited(runs, event)
    return "not known yet" if waits else "beyond the budget"


def _middle(shares: np.ndarray) -> str:
    return f"{np.median(shares):.2f}" if shares.size else "unknown"


def _medians(found: Mapping[float, Sequence[Run]], event: str) -> str:
    """Says the median of each value: `0.5: 900 (4/5)`."""
    parts = []
    for value, members in found.items():
        times = cells.times(members, event)
        arrived = np.isfinite(times).sum()
        median = _median(members, event)
        parts.append(f"{value:g}: {median} ({arrived}/{times.size})")
    return "median updates " + (", ".join(parts) if parts else "unknown")
