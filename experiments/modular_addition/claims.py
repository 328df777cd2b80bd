"""The published claims on grokking modular addition, judged on what has been run.

Every claim is about runs at R = 1, the models of the papers. A majority is more than
half of the runs. A censored run counts against a claim about arriving, never for it,
and leaves it open where a longer budget could turn the majority. So do runs that still
train and runs that could not be measured, as long as they could.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats

from experiments.modular_addition import cells, frequencies
from experiments.modular_addition.cells import GENERALIZED, MEMORIZED, Inside
from rdt_jax import wording
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import grokking, laws
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.runs import Run

LEVEL = 0.05  # of a test
LEVEL_EXPONENT = 0.25  # a time with an exponent closer to 0 hardly depends on decay
# Between these a time goes with 1 / decay, and neither with the root nor the square.
INVERSE = (0.5, 2.0)
VERMA_EXPONENT = (0.725, 0.799)  # the interval of .757
LEAST_FALL = 0.1  # of the norm, as a share of its rise from the start to its peak
LONGER = 10  # budget without decay, in median times to generalize of the base cell
PERCENT_SHARES = (0.25, 0.3)  # trained, between which a percent of the pairs counts
PERCENT_GROWTH = (0.4, 0.5)  # of the time, for a percent of the pairs less

POWER = "Power et al. (2022), arXiv:2201.02177"
OMNIGROK = "Liu et al. (2022), arXiv:2210.01117"
PoolOf = Callable[[Mapping[float, Sequence[Run]]], cells.Pool]  # of some cells
_generalization: PoolOf = functools.partial(cells.pool, event=GENERALIZED)
_memorization: PoolOf = functools.partial(cells.pool, event=MEMORIZED)


def judge_all(runs: Sequence[Run], inside: Sequence[Inside]) -> list[Claim]:
    """Judges all claims; `inside` are measured runs of the base cell and controls."""
    by_decay = cells.by_decay(runs)
    decaying = {value: members for value, members in by_decay.items() if value > 0}
    return [
        _generalizes_late(cells.base(runs)),
        _more_data_is_sooner(cells.by_fraction(runs)),
        _percent_counts(cells.by_fraction(runs)),
        _never_without_decay(cells.base(runs), by_decay.get(0.0, [])),
        _delay_is_inverse(decaying),
        _time_has_published_exponent(decaying),
        _memorizes_alike(decaying),
        _norm_falls(cells.by_fraction(runs)),
        *frequencies.judge_all(runs, inside),
    ]


def _generalizes_late(runs: Sequence[Run]) -> Claim:
    """Judges most runs of the base cell, late ones against those that are not.

    Those that only memorize in their budget could be late, so they leave the claim open
    where they could turn the majority.
    """
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
        f"Generalization is late: in most runs it takes more than {cells.LATE} times "
        "the updates that memorization took.",
        source=f"{POWER}, Figure 1",
        expected="train accuracy near 1 before 1e3 updates, validation after 1e5",
        measured=(
            f"{cells.share(late)}, {memorized_only.sum()} memorized only; medians "
            f"{_median(runs, _memorization)} and {_median(runs, _generalization)} "
            "updates"
        ),
        holds=holds,
        missing=missing,
        runs=runs,
        test="count of runs",
    )


def _more_data_is_sooner(by_fraction: Mapping[float, Sequence[Run]]) -> Claim:
    """Judges the trend over all shares of data, censored runs being last."""
    runs = _all(by_fraction)
    missing = _unfinished(runs) or _too_few(by_fraction, "shares of data")
    measured, holds, p_value = _medians(by_fraction, _generalization), None, None
    if not missing:
        pool = cells.pool(by_fraction, GENERALIZED)
        test = laws.trend(pool.values, pool.times)
        p_value = test.p_value
        measured += f"; with more data later in {test.later:.2f} of the pairs of runs"
        holds = test.later < 0.5
    return judging.judge(
        "The more pairs are trained, the fewer updates generalization takes.",
        source=POWER,
        expected="less data takes more updates, by a law of its own near 25-30 %",
        measured=measured,
        holds=holds,
        missing=missing,
        runs=runs,
        test="trend over runs (Jonckheere)",
        p_value=p_value,
    )


def _percent_counts(by_fraction: Mapping[float, Sequence[Run]]) -> Claim:
    """Judges pairs of runs of one split seed and seed, at PERCENT_SHARES.

    The time grows by a constant factor for each percent of the pairs less. A pair is
    as claimed if that factor lies within PERCENT_GROWTH, to the percent; the claim
    fails if most pairs lie below, or most above. A run that did not arrive took longer
    than its budget, which may be enough to say.
    """
    more, less = PERCENT_SHARES[1], PERCENT_SHARES[0]
    slow, fast = (by_fraction.get(share, []) for share in (less, more))
    pairs = [run.pair for run in fast]
    times = dict(zip(pairs, cells.times(fast, GENERALIZED), strict=True))
    growths: list[float] = []
    bounds: list[float] = []
    for run in slow:
        time = cells.completed(run, GENERALIZED)
        ratio = (time or run.config.num_steps) / times.get(run.pair, np.inf)
        if ratio > 0 and (time or run.outcome != "unfinished"):
            growth = round(ratio ** (1 / round(100 * (more - less))) - 1, 2)
            (growths if time else bounds).append(growth)
    low, high = PERCENT_GROWTH
    above = sum(x > high for x in growths + bounds)
    below = sum(x < low for x in growths)
    within = sum(low <= x <= high for x in growths)
    waits = len(slow) - above - below - within
    holds = judging.majority(within, above + below, waits)
    if not holds and max(above, below) * 2 <= len(slow):
        holds = None
    runs = [*slow, *fast]
    missing = _unfinished(runs) or ["pairs of which most are alike"]
    return judging.judge(
        f"Between {less:g} and {more:g} of the pairs, each percent less takes "
        f"{low:.0%} to {high:.0%} more updates.",
        source=POWER,
        expected="1 % less data, 40-50 % longer, near 25-30 % of the data",
        measured=(
            f"{within} of {wording.count(len(slow), 'pair')} of runs within, "
            f"{below} below, {above} above; median {_middle(np.array(growths))}"
        ),
        holds=holds,
        missing=missing if holds is None else [],
        runs=runs,
        test="count of pairs of runs",
    )


def _never_without_decay(reference: Sequence[Run], without: Sequence[Run]) -> Claim:
    """Judges runs without decay, one of which refutes it by generalizing late.

    One that generalizes by the time it memorizes was never where the claim begins, and
    counts neither way. The budget must be LONGER times the median time of the base
    cell; a run that has not memorized says nothing.
    """
    memorized, generalized = (cells.times(without, e) for e in (MEMORIZED, GENERALIZED))
    at_once = generalized <= memorized
    concerned = np.isfinite(memorized) & ~at_once
    arrived = np.isfinite(generalized) & concerned
    budget = min((run.config.num_steps for run in without), default=0)
    times = cells.times(reference, GENERALIZED)
    needed = LONGER * float(np.median(times)) if times.size else np.inf
    missing = _unfinished(without)
    if not missing and not concerned.any():
        missing.append("runs without decay that memorize first")
    if budget < needed:
        longer = f"a budget of {grokking.format_steps(needed)} updates"
        missing.append(
            "runs with decay that generalize" if needed == np.inf else longer
        )
    soon = (at_once & np.isfinite(generalized)).sum()
    return judging.judge(
        "Without weight decay no run that has memorized generalizes later, in a budget "
        f"of {LONGER} times what it takes with decay.",
        source=f"{frequencies.NANDA}, appendix",
        expected="no grokking at weight decay 0, in 40k epochs",
        measured=(
            f"{cells.share(arrived[concerned])} in {grokking.format_steps(budget)} "
            f"updates, {soon} more at once; median with decay "
            f"{_median(reference, _generalization)}"
        ),
        holds=not arrived.any(),
        missing=[] if arrived.any() else missing,
        runs=without,
        test="count of runs",
    )


def _delay_is_inverse(decaying: Mapping[float, Sequence[Run]]) -> Claim:
    """Judges the exponent of the delay over the decays at which most runs are late.

    It holds if the interval over pairs of split and seed has 1 and lies within INVERSE,
    fails if it lacks 1, and is open if it is wider. The delay, and not the time, since
    the law is about how long the norm takes to fall once training is memorized; where
    runs are not late there is nothing of that to time.
    """
    late = cells.delayed(decaying)
    law, measured, missing = _law(late, cells.pool_delays)
    whole, said, _ = _law(decaying, cells.pool_delays)
    if decaying and len(late) < 3:
        missing = ["three weight decays at which most runs are late"]
    if whole is not None and len(late) < len(decaying):
        measured += f"; over all decays: {said}"
    low, high = INVERSE
    holds = None
    if law is not None:
        holds = law.low <= 1 <= law.high
        if holds and not (low < law.low and law.high < high):
            missing.append(f"a narrower interval, between {low:g} and {high:g}")
    return judging.judge(
        "The delay from memorization to generalization is inversely proportional to "
        f"weight decay (exponent 1, not {low:g} or {high:g}), where runs are late.",
        source=OMNIGROK,
        expected="updates ~ decay ** -1",
        measured=measured,
        holds=holds,
        missing=_unfinished(_all(decaying)) or missing,
        runs=_all(late),
        test="95 % interval over pairs of split and seed",
    )


def _time_has_published_exponent(decaying: Mapping[float, Sequence[Run]]) -> Claim:
    """Judges the exponent of the time to generalize over all decays above 0.

    It holds if the interval meets VERMA_EXPONENT and has neither 1/2 nor 1, fails if it
    does not meet it, and is open otherwise.
    """
    law, measured, missing = _law(decaying, _generalization)
    low, high = VERMA_EXPONENT
    holds = None
    if law is not None:
        holds = law.low <= high and low <= law.high
        if holds and any(law.low <= other <= law.high for other in (0.5, 1.0)):
            missing.append("a narrower interval, without 0.5 and 1")
    return judging.judge(
        "The time to generalize falls with weight decay by an exponent of "
        f"{low:g} to {high:g}, which is neither 0.5 nor 1.",
        source=frequencies.VERMA,
        expected="0.757 (0.725 to 0.799) over decays from 0.1 to 2",
        measured=measured,
        holds=holds,
        missing=missing,
        runs=_all(decaying),
        test="95 % interval over pairs of split and seed",
    )


def _memorizes_alike(decaying: Mapping[float, Sequence[Run]]) -> Claim:
    """Judges whether the exponent's interval lies within LEVEL_EXPONENT of 0.

    That is a quarter of the law's; an effect below it is no part of the claim, and is
    said. It fails if the interval lies outside, and is open otherwise.
    """
    law, measured, missing = _law(decaying, _memorization)
    holds = None
    if law is not None:
        holds = -LEVEL_EXPONENT <= law.low and law.high <= LEVEL_EXPONENT
        if not holds and law.low <= LEVEL_EXPONENT and law.high >= -LEVEL_EXPONENT:
            missing.append("a narrower interval")
    return judging.judge(
        "The time to memorize hardly depends on weight decay (exponent within "
        f"{LEVEL_EXPONENT} of 0).",
        source=OMNIGROK,
        expected="updates ~ decay ** 0",
        measured=measured,
        holds=holds,
        missing=missing,
        runs=_all(decaying),
        test="95 % interval over pairs of split and seed",
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
        test="count of runs, and Fisher's exact test against the others",
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
    decaying: Mapping[float, Sequence[Run]], pool: PoolOf
) -> tuple[laws.PowerLaw | None, str, list[str]]:
    """Fits the exponent of a time, says it in words, and what it lacks."""
    runs = _all(decaying)
    missing = _unfinished(runs) or _too_few(decaying, "weight decays above 0")
    measured = _medians(decaying, pool)
    if missing:
        return None, measured, missing
    law = laws.fit_power(*pool(decaying))
    measured += (
        f"; exponent {law.exponent:.2f}, 95 % interval {law.low:.2f} to "
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


def _median(runs: Sequence[Run], pool: PoolOf) -> str:
    """Says the median of the times of runs, and why there is none."""
    if not runs:
        return "unknown"
    found = pool({0: runs})
    late = np.isinf(found.times)
    steps = np.where(late, found.limits, found.times)
    median = grokking.median(list(map(grokking.Bound, steps, late)))
    if not median.beyond:
        return grokking.format_steps(median.steps)
    waits = grokking.awaited(runs, GENERALIZED)
    return "not known yet" if waits else "beyond the budget"


def _middle(shares: np.ndarray) -> str:
    return f"{np.median(shares):.2f}" if shares.size else "unknown"


def _medians(found: Mapping[float, Sequence[Run]], pool: PoolOf) -> str:
    """Says the median of each value: `0.5: 900 (4/5)`."""
    parts = []
    for value, members in found.items():
        arrived = np.isfinite(pool({value: members}).times).sum()
        parts.append(f"{value:g}: {_median(members, pool)} ({arrived}/{len(members)})")
    return "median updates " + (", ".join(parts) if parts else "unknown")
