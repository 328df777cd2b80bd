"""How deep a curriculum got, and after how many updates.

Reference: Kohli et al. (2026), arXiv:2604.07822, Section 6.1: the most hops that a run
passes are its learnable recursion depth. All numbers of hops are watched from the start
(training/phases.py), so some may be answered before any row of theirs was trained: they
are passed only once they have been trained and are learned then.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from rdt_jax import wording
from rdt_jax.analysis import claims, depth, grokking, stored
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.runs import Run
from rdt_jax.models import loop
from rdt_jax.training import phases

# The config keys that say how many loops an update takes, and over how many blocks.
RECURRENCE = (
    *(f"recurrence.{key}" for key in ("sampling", "num_loops", "max_loops")),
    "model.core_blocks",
)

FEW = 4  # loops of training up to which Kohli et al. see no gain from more
LEAST_DRAWN = 6  # hops from which on a run with drawn loops is like theirs (22)
Kind = Literal["no loops", "R = 2 to 4", "R > 4", "drawn loops"]

# What says of a stage that is not over that it may be passed with more updates:
UNDER_WAY = 0.5  # accuracy above chance, or
RISE = 0.05  # how much it grew over the last quarter of the stage


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a run passed."""

    # Hops -> updates after which they, and all fewer, had been trained and were
    # learned, ascending.
    passed: Mapping[int, int]
    # Hops -> updates after which they were learned first, by training of fewer hops
    # alone, ascending by hops. Parameters kept then are of no stage.
    untrained: Mapping[int, int]
    deepest: int  # hops of the last stage that there is
    # Updates at the last evaluation; what has not passed had not by then.
    last_step: int
    outcome: run_folders.Outcome

    @property
    def learned(self) -> int | None:
        """The learnable recursion depth within the budget; None if no stage passed."""
        return max(self.passed, default=None)

    @property
    def is_bounded(self) -> bool:
        """Whether there were deeper stages: if not, more could have been learned."""
        return self.learned != self.deepest


def progress(run: Run) -> Progress:
    """Reads the stages that a run passed off its events.

    Raises:
      ValueError: if the run has no curriculum.
    """
    if run.config.curriculum.by is None:
        raise ValueError(
            f"Run {run.run_id} has no curriculum (curriculum.by is none), so there "
            "are no stages that it could pass."
        )
    stages, spells = _stages(run), _spells(run)
    trained = _trained(run, stages)
    passed: dict[int, int] = {}
    step = 0
    for hops in stages:
        held = [spell for spell in spells[hops] if spell.end > trained[hops]]
        if not held:
            break
        step = max(step, int(trained[hops]), held[0].start)
        passed[hops] = step
    untrained = {
        hops: spells[hops][0].start
        for hops in stages
        if spells[hops] and spells[hops][0].start < trained[hops]
    }
    return Progress(
        passed=passed,
        untrained=untrained,
        deepest=stages[-1],
        last_step=run.last_step or 0,
        outcome=run.outcome,
    )


def open_accuracy(run: Run) -> np.ndarray:
    """Returns the smoothed accuracy on the hops of the stage that did not end.

    It is float64 [E], at the evaluations whose updates trained these hops; empty if
    there was none, or if all stages were passed.
    """
    reached = progress(run)
    remaining = [hops for hops in _stages(run) if hops not in reached.passed]
    if not remaining:
        return np.zeros(0)
    series = run_folders.accuracy(run, f"id[{run.config.curriculum.by}={remaining[0]}]")
    begun = _trained(run, remaining)[remaining[0]]
    return grokking.smooth(series.values)[series.steps >= begun]


def is_cut_short(run: Run) -> bool:
    """Says whether the budget of a run ended while it was learning its stage.

    It was where the smoothed accuracy on the hops of that stage exceeded chance by
    UNDER_WAY, or had risen by RISE over the last quarter of the stage, or where the
    stage had been evaluated fewer times than accuracies are smoothed over. More updates
    may then have passed it.
    """
    if run.outcome != "over" or not progress(run).is_bounded:
        return False
    accuracy = open_accuracy(run)
    if accuracy.size < phases.SMOOTHING:
        return True
    rise = accuracy[-1] - accuracy[-1 - accuracy.size // 4]
    above = accuracy[-1] - run_folders.chance(run, "id")
    return bool(above >= UNDER_WAY or rise >= RISE)


def kept_stages(run: Run) -> dict[int, str]:
    """Returns the checkpoints at which a run passed stages, by their hops, ascending.

    Hops that were learned before they were trained have none.
    """
    reached = progress(run)
    return {
        hops: name
        for hops in reached.passed
        if hops not in reached.untrained
        for name in stored.of_kind(run, f"hop_learned_{hops}-after")
    }


def deepest(run: Run) -> tuple[int | None, str]:
    """Returns the hops and the checkpoint of the last stage that kept parameters.

    They are None and `final` if a run passed no stage and kept its parameters there.
    """
    return max(kept_stages(run).items(), default=(None, "final"))


class Measured(NamedTuple):
    """A looped run that is over and learned hops, and what was measured of it."""

    run: Run
    found: Any  # the stored analysis of its last stage
    learned: np.ndarray  # bool [H], the numbers of hops that it had learned by then


def last_measured(runs: Sequence[Run], what: str) -> list[tuple[Run, int | None, Any]]:
    """Returns a stored analysis of each run that has one of its last stage.

    They are by recurrence and seed, each behind its run and its hops as of `deepest`.
    """
    ordered = [run for members in by_recurrence(runs).values() for run in members]
    return list(_measured(ordered, what))


def _measured(runs: Sequence[Run], what: str) -> Iterator[tuple[Run, int | None, Any]]:
    for run in runs:
        hops, checkpoint = deepest(run)
        found = stored.load(run, what, checkpoint)
        if found is not None:
            yield run, hops, found


def judged(runs: Sequence[Run], what: str) -> list[Measured]:
    """Returns the looped runs that are over, learned hops and were measured then.

    A run that still trains may pass a further stage. The analysis has numbers of hops
    `levels`.
    """
    over = [run for run in runs if run.outcome != "unfinished"]
    return [
        Measured(run, found, found.levels <= hops)
        for run, hops, found in _measured(over, what)
        if hops and depth.most_loops(run.config) > 1
    ]


def tally(
    outcomes: Sequence[tuple[bool | None, str]], names: tuple[str, str], waiting: int
) -> tuple[bool | None, str, list[str]]:
    """Lets the majority of runs decide a claim, a tie being none.

    Args:
      outcomes: of each run, whether it is right (None: it cannot tell), and its words.
      names: what right runs are called, and wrong ones.
      waiting: number of further runs that may turn out either way.

    Returns:
      whether the claim holds, what is said of the runs, and what is missing of them.
    """
    count = {
        of: sum(right == of for right, _ in outcomes) for of in (True, False, None)
    }
    notes = {
        name: [note for right, note in outcomes if right == of]
        for name, of in zip((*names, "open"), count, strict=True)
    }
    holds = claims.majority(count[True], count[False], count[None] + waiting)
    missing = []
    if holds is None and count[None]:
        missing.append(
            f"more rows or loops for {wording.count(count[None], 'open case')}"
        )
    return holds, claims.by_outcome(notes), missing


def judge_kind(
    text: str,
    runs: Sequence[Run],
    kind: Kind,
    what: str,
    outcome: Callable[[Measured], tuple[bool | None, str] | None],
    *,
    names: tuple[str, str],
    source: str,
    expected: str,
    prefix: str,
    wanted: str | None = None,
) -> claims.Claim:
    """Judges a claim by a stored analysis (`what`) of most runs of a kind.

    Runs of R = 2 to 4 are listed behind them: the source speaks of others.

    Args:
      outcome: from a run of `judged` to an outcome of `tally`; None of a run that the
        claim is not about.
      prefix: says which numbers those of the outcomes are.
      wanted: a run that a verdict is missing where there is none to judge.
    """
    members = of_kind(runs, kind)
    measured = judged(members, what)
    said = [(one.run, found) for one in measured if (found := outcome(one)) is not None]
    others = [
        f"{label(one.run)} {found[1]}"
        for one in judged(of_kind(runs, "R = 2 to 4"), what)
        if (found := outcome(one)) is not None
    ]
    waiting = unmeasured(members, [one.run for one in measured])
    holds, listed, missing = tally(
        [(right, f"{label(run)} {note}") for run, (right, note) in said],
        names,
        len(waiting),
    )
    learns = f"learns {LEAST_DRAWN} hops" if kind == "drawn loops" else "passes a stage"
    if not said:
        missing.append(wanted or f"a run with {kind} that {learns}")
    return claims.judge(
        text,
        source=source,
        expected=expected,
        measured=f"{prefix}: {listed}"
        + (f"; not judged: {', '.join(others)}" if others else ""),
        holds=holds,
        missing=missing + (waits_for(waiting) if holds is None else []),
        runs=[run for run, _ in said],
        test="count of runs",
    )


def unmeasured(runs: Sequence[Run], measured: Sequence[Run]) -> list[str]:
    """Says of each looped run that may still be measured what is missing.

    That is `its end` while it may pass a further stage, and `its measure` if parameters
    of a stage that it trained are gone or have not been measured.
    """
    names = {run.run_id for run in measured}
    lacks = []
    for run in runs:
        if run.run_id in names or depth.most_loops(run.config) == 1:
            continue
        stages = progress(run)
        if run.outcome == "unfinished":
            lacks.append("its end")
        elif stages.passed.keys() - stages.untrained.keys():
            lacks.append("its measure")
    return lacks


def waits_for(unmeasured: Sequence[str]) -> list[str]:
    """Says what a claim is missing while runs are not measured, if any is not."""
    counts = Counter(unmeasured)
    return [
        f"the {what[4:]} of {wording.count(counts[what], 'run')}"
        for what in sorted(counts)
    ]


def common_stage(runs: Sequence[Run]) -> tuple[int, list[Run]] | None:
    """Returns the hops of the deepest stage at which two loop counts can be compared.

    It is one that recurrences of different largest loop counts passed in all of their
    runs, which are returned with it: their parameters have then been trained on the
    same rows (Kohli et al., Figure 7). None if there is none.
    """
    groups = list(by_recurrence(runs).values())
    passed = [min(progress(run).learned or 0 for run in members) for members in groups]
    for hops in sorted({least for least in passed if least}, reverse=True):
        able = [
            members
            for members, least in zip(groups, passed, strict=True)
            if least >= hops
        ]
        if len({depth.most_loops(members[0].config) for members in able}) > 1:
            return hops, [run for members in able for run in members]
    return None


def by_recurrence(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Groups runs by how the loops of training are drawn: `R = 5` -> runs by seed.

    Fixed loop counts come first, then those such as `R drawn from 2 to 8`; runs without
    loops are apart by their blocks.

    Raises:
      ValueError: if runs of a group differ in more than their seed.
    """
    found: dict[str, list[Run]] = {}
    for members in run_folders.group(runs, RECURRENCE).values():
        found[name_of(members[0])] = members
    return dict(sorted(found.items(), key=lambda item: _rank(item[1][0])))


def name_of(run: Run) -> str:
    """Says how the loops of a run's updates are drawn; without loops, its blocks."""
    recurrence = run.config.recurrence
    if kind_of(run) == "no loops":
        return f"R = 1, {wording.count(run.config.model.core_blocks, 'block')}"
    if recurrence.sampling == "fixed":
        return f"R = {recurrence.num_loops}"
    counts = np.flatnonzero(loop.loop_distribution(recurrence))
    return f"R drawn from {counts.min()} to {counts.max()}"


def label(run: Run) -> str:
    """Names a run by its loops and its pair: `R = 5 (graph 1, seed 0)`."""
    seeds = f"graph {run.config.task.seed}, seed {run.config.seed}"
    return f"{name_of(run)} ({seeds})"


def pair_of(run: Run) -> str:
    """Names the graph of a run with its questions, and the seed of all else: `1/0`."""
    return f"{run.config.task.seed}/{run.config.seed}"


def kind_of(run: Run) -> Kind:
    """Says of which kind Kohli et al. would count a run: they differ in what loops do.

    Verdicts are given by kind, so that none depends on how many of each were trained.
    """
    if not is_fixed(run):
        return "drawn loops"
    if run.num_loops == 1:
        return "no loops"
    return "R = 2 to 4" if run.num_loops <= FEW else "R > 4"


def same_core(runs: Sequence[Run]) -> list[Run]:
    """Returns the runs whose core has as many blocks as those with loops have.

    Where none has loops these are all.
    """
    blocks = lambda run: run.config.model.core_blocks
    looped = {blocks(run) for run in runs if kind_of(run) != "no loops"}
    return [run for run in runs if not looped or blocks(run) in looped]


def of_kind(runs: Sequence[Run], kind: Kind) -> list[Run]:
    """Returns the runs of a kind; with drawn loops only those that learn LEAST_DRAWN.

    The runs of the source that drew their loops had learned 22 hops. Those that are not
    finished may still learn as many.
    """
    return [
        run
        for run in runs
        if kind_of(run) == kind
        and (
            kind != "drawn loops"
            or run.outcome == "unfinished"
            or (progress(run).learned or 0) >= LEAST_DRAWN
        )
    ]


def is_fixed(run: Run) -> bool:
    """Says whether all updates of a run take the same number of loops."""
    return run.config.recurrence.sampling == "fixed"


def median_runs(runs: Sequence[Run]) -> list[Run]:
    """Returns the run of the median rank of each recurrence by hops learned.

    Of runs that learned as many hops the sooner ranks higher; of an even number the
    higher of the middle two is returned.
    """

    def rank(run: Run) -> tuple[int, int]:
        reached = progress(run)
        learned = reached.learned or 1
        return learned, -reached.passed.get(learned, 0)

    groups = by_recurrence(runs).values()
    return [sorted(members, key=rank)[len(members) // 2] for members in groups]


def trained_hops(run: Run, learned: int | None) -> int:
    """Returns the most hops that had been trained when a run was measured.

    Args:
      learned: hops of the stage that it had passed then; None if it passed none.
    """
    # The stage in a row is the one that its updates trained.
    return learned or run.metrics[-1]["curriculum/stage"]


def _rank(run: Run) -> tuple[bool, int, int, int]:
    most = depth.most_loops(run.config)
    return not is_fixed(run), most, run.num_loops, run.config.model.core_blocks


class _Spell(NamedTuple):
    start: int  # evaluation at which hops were learned
    end: float  # evaluation at which they were lost again; inf if they were not


def _spells(run: Run) -> dict[int, list[_Spell]]:
    """Returns during which updates each number of hops was learned, ascending."""
    found: dict[int, list[_Spell]] = {hops: [] for hops in _stages(run)}
    for row in run.events:
        if row["event"] != phases.HOP_LEARNED:
            continue
        spells = found.setdefault(row["hops"], [])
        if row["kind"] == "completed":
            spells.append(_Spell(row["step"], math.inf))
        elif row["kind"] == "lost":
            spells[-1] = spells[-1]._replace(end=row["step"])
    return found


def _trained(run: Run, stages: Sequence[int]) -> dict[int, float]:
    """Returns hops -> the first evaluation whose updates trained so many, else inf."""
    # The stage in a row is the one that its updates trained, of which 0 has none.
    rows = [row for row in run.metrics if row["step"] > 0]
    return {
        hops: min(
            (r["step"] for r in rows if hops <= r["curriculum/stage"]), default=math.inf
        )
        for hops in stages
    }


def _stages(run: Run) -> list[int]:
    """Returns the numbers of hops that are trained stage by stage, ascending."""
    prefix = f"id/accuracy@{run.num_loops}[{run.config.curriculum.by}="
    start = run.config.curriculum.start
    stages = {
        int(name.removeprefix(prefix).removesuffix("]"))
        for row in run.metrics[:1]
        for name in row
        if name.startswith(prefix)
    }
    return sorted(hops for hops in stages if hops >= start) or [start]
