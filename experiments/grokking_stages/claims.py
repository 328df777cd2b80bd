"""Judges what is claimed of the stages of grokking, on the looped runs of the study.

Each claim is about most runs: it holds if more than half of those it is about do as it
says, and fails if half or more do not. What a run does not tell (times that are less
than LEAST evaluations apart, a run that still trains or is lost) counts for neither
side, and the verdict stands only if it stands whichever way that would turn out. The
p-value is that of the sign test: as likely to do so as not. Runs that share a graph,
or a seed at several decays, are not independent, so it is about these graphs.

Claims about OOD are about runs that complete it; how many do is a claim of
depth_by_decay and is not judged again. Nor are updates to OOD by loop depth; operations
and seconds are in the table.
"""

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np

from experiments.depth_by_decay.claims import (
    ID,
    LEAST,
    OOD,
    SOURCE,
    TRAIN,
    completed,
    is_sooner,
    smoothed_ood,
)  # fmt: skip
from rdt_jax import tasks, wording
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import grokking
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.grokking import Bound
from rdt_jax.analysis.runs import Run
from rdt_jax.analysis.statistics import sign_test
from rdt_jax.tasks import knowledge

PLATEAU = (0.7, 0.85)  # where OOD accuracy is to settle: read off a figure, +-10 %
SETTLED = 0.05  # change of smoothed accuracy over the last quarter of training, at most
LONG = 10.0  # times the updates to memorization
APART = 2.0  # times the updates to ID
_NAMES = {ID: "ID", OOD: "OOD"}

# Of a run: whether it does as claimed, None if it does not tell; and the number behind
# it, None if it has none.
Told = tuple[bool | None, float | None]


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges what the paper says of the stages on what has been run so far."""
    looped = [run for run in runs if run.num_loops > 1]
    coverage = _coverage(looped)
    return [
        _most(
            looped,
            f"With loops, train completes {LEAST} evaluations or more before ID, in "
            "most runs that complete ID.",
            place="Figure 3 right",
            expected="about 90 and 330 epochs with R = 4, at 38 % coverage",
            tell=_memorizes_first,
            number=f"updates from train to ID{coverage}",
            event=ID,
        ),
        _most(
            looped,
            f"With loops, OOD takes at least {APART:g} times the updates of ID, in "
            "most runs that complete OOD.",
            place="Figure 3 right",
            expected="about 330 and 1,500 epochs with R = 4: 4.5 times",
            tell=lambda run: _takes(run, ID, APART),
            number="times",
        ),
        _most(
            looped,
            f"With loops, OOD accuracy leaves chance {LEAST} evaluations or more "
            "before ID is complete, in most runs that complete OOD.",
            place="Figure 3 right",
            expected="OOD rises from about 300 epochs, ID is complete at 300 to 400",
            tell=_starts_before_id_is_done,
            number="updates from the onset of OOD to ID",
        ),
        _most(
            looped,
            f"With loops, OOD takes at least {LONG:g} times the updates of "
            "memorization, in most runs that complete OOD.",
            place="Section 5.2 and Figure 3 right",
            expected="1,500 against 90 epochs in the figure, 10^4 against 10^2 in the "
            "text, at 38 % coverage",
            tell=lambda run: _takes(run, TRAIN, LONG),
            number=f"times{coverage}",
        ),
        _most(
            looped,
            f"With loops, OOD accuracy settles between {PLATEAU[0]} and {PLATEAU[1]}, "
            "not at 1, in most runs that complete OOD.",
            place="Figure 3 left",
            expected="about .75 with R = 4 and 8, .78 with R = 2",
            tell=_settles_below_one,
            number=f"smoothed accuracy of those that settle (by {SETTLED} in the last "
            "quarter)",
        ),
    ]


def onset(run: Run) -> Bound:
    """Returns the updates to the first evaluation with OOD above chance, or a bound."""
    times = grokking.grok_times(run)
    begun = times.phases[OOD].onset if OOD in times.phases else None
    return Bound(times.censored_at, True) if begun is None else Bound(begun, False)


def level(run: Run) -> float | None:
    """Returns the smoothed OOD accuracy at which a run has settled; None if it has not.

    It has if it trained to its budget, and moved by at most SETTLED in the last quarter
    of it.
    """
    values = smoothed_ood(run)
    if run.outcome != "over" or run.config.stop_after_phases or not values.size:
        return None
    last_quarter = values[-max(2, len(values) // 4) :]
    return float(values[-1]) if np.ptp(last_quarter) <= SETTLED else None


def _most(
    looped: Sequence[Run],
    text: str,
    *,
    place: str,
    expected: str,
    tell: Callable[[Run], Told],
    number: str,
    event: str = OOD,
) -> Claim:
    """Judges a claim about most runs that complete an event, by the rule above."""
    arrived, awaited = (f(looped, event) for f in (grokking.arrived, grokking.awaited))
    told = [tell(run) for run in arrived]
    said = [does for does, _ in told]
    right, wrong, silent = (said.count(does) for does in (True, False, None))
    holds = judging.majority(right, wrong, silent + len(awaited))
    missing = []
    if holds is None:
        open_runs = [
            run for run, does in zip(arrived, said, strict=True) if does is None
        ]
        waits = [run for run in open_runs if run.outcome == "unfinished"]
        missing += grokking.ends_of([*awaited, *waits], "with loops")
        if not missing:
            missing.append(f"more runs that complete {_NAMES[event]} and tell")
    numbers = [value for _, value in told if value is not None]
    measured = (
        f"so in {right}, not so in {wrong} of {wording.count(len(arrived), 'run')} "
        f"that completed {_NAMES[event]} (of {len(looped)}), {silent} do not tell"
    )
    if numbers:
        middle, low, high = map(
            grokking.format_steps,
            (statistics.median(numbers), min(numbers), max(numbers)),
        )
        measured += f"; {number}: median {middle}, {low} to {high}"
    return judging.judge(
        text,
        source=f"{SOURCE}, {place}",
        expected=expected,
        measured=measured,
        holds=holds,
        missing=missing,
        runs=looped,
        test="sign test over runs",
        p_value=sign_test(right, wrong) if arrived else None,
    )


def _apart(run: Run, one: Bound, other: Bound) -> Told:
    """Says whether one time is sooner than another, and by how many updates."""
    every = run.config.eval_every_steps
    does = True if is_sooner(one, other, every) else None
    if is_sooner(other, one, every):
        does = False
    return does, None if one.beyond or other.beyond else other.steps - one.steps


def _memorizes_first(run: Run) -> Told:
    return _apart(run, completed(run, TRAIN), completed(run, ID))


def _starts_before_id_is_done(run: Run) -> Told:
    """Both times are of smoothed accuracies, which lag by as much."""
    return _apart(run, onset(run), completed(run, ID))


def _takes(run: Run, event: str, times: float) -> Told:
    """Says whether OOD takes so many times the updates of an event.

    A run tells it where it would with both times an evaluation earlier, too.
    """
    start, end = completed(run, event), completed(run, OOD)
    every = run.config.eval_every_steps
    low = 0.0 if start.beyond or not start.steps else (end.steps - every) / start.steps
    high = end.steps / (start.steps - every) if start.steps > every else math.inf
    does = True if low >= times else False if high < times else None
    return does, None if start.beyond or not start.steps else end.steps / start.steps


def _settles_below_one(run: Run) -> Told:
    settled = level(run)
    return None if settled is None else PLATEAU[0] <= settled <= PLATEAU[1], settled


def _coverage(runs: Sequence[Run]) -> str:
    """Says which share of all questions about ID facts alone is trained, by graph."""
    shares = set()
    for config in {
        run.config.task.seed: run.config for run in runs if run.metrics
    }.values():
        table = tasks.make_table(config)
        of_id = table.tags["pattern"] == knowledge.PATTERNS.index("id-id")
        trained = table.split[of_id] == tasks.SPLITS.index("train")
        shares.add(f"{100 * trained.mean():.0f} %")
    return f" (coverage {' and '.join(sorted(shares))})" if shares else ""
