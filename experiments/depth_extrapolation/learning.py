"""Judges what is claimed of how many hops a curriculum teaches, and when.

Hops that were learned within a budget are a lower bound: they decide against a claim
only where the run could have learned no more, being neither cut short
(analysis/curriculum.py) nor at the last stage.
"""

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import curriculum
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.curriculum import Kind
from rdt_jax.analysis.grokking import ends_of, format_steps
from rdt_jax.analysis.runs import Run

SOURCE = "Kohli et al. (2026), arXiv:2604.07822"
SLOW = 4  # hops up to which the paper sees a long phase, and quick ones after it
FURTHER = 6  # hops that a run must learn for the quick phase to be seen


class _Learned(NamedTuple):
    """The median of the hops that runs learn."""

    least: float  # within their budgets
    most: float  # with any budget and further stages; inf where that is not known


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges the claims on what has been run so far."""
    return [
        _more_loops_learn_more(curriculum.same_core(runs)),
        _no_loops_learn_fewer(runs),
        _drawn_loops_learn_most(runs),
        _first_hops_take_most(runs, "R > 4"),
        _first_hops_take_most(runs, "drawn loops"),
    ]


def _more_loops_learn_more(runs: Sequence[Run]) -> Claim:
    """No R may learn fewer hops than one before it, and the last more than the first.

    Hops are medians over runs; one that could have learned more is open.
    """
    groups = _groups(runs, fixed=True)
    members = [run for group in groups.values() for run in group]
    learned = {name: _learned(group) for name, group in groups.items()}
    least = [each.least for each in learned.values()]
    behind = _too_few(least, least)
    lost = bool(_too_few([each.most for each in learned.values()], least))
    missing, names = [], list(groups)
    if len(groups) < 2:
        missing.append("two fixed loop counts")
    elif max(least) < 2:
        missing.append("a run that learns two hops")
    if not lost:
        missing += ends_of(run_folders.unfinished(members))
        missing += _more_of({names[k]: groups[names[k]] for k in behind})
    return judging.judge(
        "More loops of training learn more hops in a curriculum.",
        source=f"{SOURCE}, Figure 5",
        expected=(
            "2, 6, 9, 10, 12, 13, 16 and 16 hops with R = 1 to 8, none learning fewer "
            "than the one before it"
        ),
        measured=_hops_learned(groups),
        holds=not behind,
        missing=missing,
        runs=members,
        test="medians of runs",
    )


def _too_few(hops: Sequence[float], least: Sequence[float]) -> list[int]:
    """Returns the loop counts that learn too few hops for more loops to learn more.

    These are the indices of those with less than any before it has within the budget
    (`least`), and of the last one unless it has more than the first.
    """
    last = len(hops) - 1
    return [
        k
        for k, each in enumerate(hops)
        if each < max(least[:k], default=0) or (k == last and each <= least[0])
    ]


def _no_loops_learn_fewer(runs: Sequence[Run]) -> Claim:
    """Wherever R times the blocks are the same, the median without loops is lower.

    So are updates and operations. It is open if hops that a run could have learned with
    more updates could turn it.
    """
    groups = _groups(runs, fixed=True)
    blocks = lambda name: groups[name][0].config.model.core_blocks
    loops = lambda name: groups[name][0].num_loops
    pairs = [
        (once, looped)
        for once, looped in itertools.permutations(groups, 2)
        if loops(once) == 1 < loops(looped)
        and blocks(once) == loops(looped) * blocks(looped)
    ]
    members = {name: groups[name] for pair in pairs for name in pair}
    learned = {name: _learned(group) for name, group in members.items()}
    holds = all(learned[a].most < learned[b].least for a, b in pairs)
    missing = [] if pairs else ["blocks without loops, as many as a core runs"]
    if not holds and all(learned[a].least < learned[b].most for a, b in pairs):
        used = [run for group in members.values() for run in group]
        missing += ends_of(run_folders.unfinished(used)) + _more_of(members)
    return judging.judge(
        "Blocks that run once learn fewer hops than a core that loops over as many.",
        source=f"{SOURCE}, Appendix G",
        expected="4, 6 and 6 hops with 8, 16 and 24 layers; 6, 10 and 13 with R = 2, 4 "
        "and 6 of four",
        measured=_hops_learned(members),
        holds=holds,
        missing=missing,
        runs=[run for group in members.values() for run in group],
        test="medians of runs",
    )


def _drawn_loops_learn_most(runs: Sequence[Run]) -> Claim:
    """The median with drawn loops is above that of the fixed R that learns most.

    It is open if that R still learned at its end on a smaller budget, or drawn loops
    did and learned no more.
    """
    fixed, drawn = _groups(runs, fixed=True), _groups(runs, fixed=False)
    of_fixed = {name: _learned(members) for name, members in fixed.items()}
    of_drawn = [_learned(members) for members in drawn.values()]
    best_fixed = max((each.least for each in of_fixed.values()), default=0)
    best_drawn = max((each.least for each in of_drawn), default=0)
    holds = best_drawn > best_fixed
    budget = lambda groups: max(r.config.num_steps for m in groups for r in m)
    missing = []
    if not fixed or not drawn:
        missing.append("runs with fixed and with drawn loops")
    elif max(best_fixed, best_drawn) < 2:
        missing.append("a run that learns two hops")
    elif holds and budget(drawn.values()) > budget(fixed.values()):
        missing += _more_of(
            {k: fixed[k] for k in fixed if of_fixed[k].least == best_fixed}
        )
    if max((each.most for each in of_drawn), default=0) > best_fixed:
        missing += ends_of(run_folders.unfinished(runs))
        missing += [] if holds else _more_of(drawn)
    return judging.judge(
        "Loops that are drawn anew at every update learn more hops than any fixed R.",
        source=f"{SOURCE}, Figure 5",
        expected="22 hops, against 16 with R = 7 and R = 8",
        measured=_hops_learned(fixed | drawn),
        holds=holds,
        missing=missing,
        runs=runs,
        test="medians of runs",
    )


def _first_hops_take_most(runs: Sequence[Run], kind: Kind) -> Claim:
    """A run is right if SLOW hops took more than half of its updates.

    Runs that learn FURTHER hops are judged. A stage that did not end counts as time
    after the first hops: it would have taken still more.
    """
    members = [run for run in runs if curriculum.kind_of(run) == kind]
    parts, used, slow = [], [], 0
    for run in members:
        found = curriculum.progress(run)
        learned = found.learned or 0
        if found.outcome == "unfinished" or learned < FURTHER:
            continue
        used.append(run)
        whole = found.last_step if found.is_bounded else found.passed[learned]
        slow += 2 * found.passed[SLOW] > whole
        parts.append(
            f"{curriculum.label(run)} {format_steps(found.passed[SLOW])} of "
            f"{format_steps(whole)} for {learned} hops"
            + (" and a stage that did not end" if found.is_bounded else "")
        )
    missing = [] if used else [f"a run with {kind} that learns {FURTHER} hops"]
    left = run_folders.unfinished(members)
    holds = judging.majority(slow, len(used) - slow, len(left))
    if holds is None:
        missing += ends_of(left)
    return judging.judge(
        f"With {kind}, learning up to {SLOW} hops takes more updates than all further "
        "hops together.",
        source=f"{SOURCE}, Figure 6",
        expected=(
            "drawn loops: 1.33 M updates up to 4 hops, .12 M more up to 19 and .82 M "
            "more up to 22"
        ),
        measured=f"updates to {SLOW} hops: {', '.join(parts) or 'none'}",
        holds=holds,
        missing=missing,
        runs=used,
        test="count of runs",
    )


def _groups(runs: Sequence[Run], *, fixed: bool) -> dict[str, list[Run]]:
    return {
        name: members
        for name, members in curriculum.by_recurrence(runs).items()
        if curriculum.is_fixed(members[0]) == fixed
    }


def _learned(members: Sequence[Run]) -> _Learned:
    """Bounds the median of hops learned; one hop where no stage was passed."""
    least = [curriculum.progress(run).learned or 1 for run in members]
    most = [
        math.inf
        if run.outcome == "unfinished"
        or _is_capped(run)
        or curriculum.is_cut_short(run)
        else hops
        for run, hops in zip(members, least, strict=True)
    ]
    return _Learned(statistics.median(least), statistics.median(most))


def _hops_learned(groups: Mapping[str, Sequence[Run]]) -> str:
    """Says what groups learned within their budget, and which could learn more."""
    budget = {name: max(r.config.num_steps for r in m) for name, m in groups.items()}
    listed = [f"{name}: {_learned(m).least:g}" for name, m in groups.items()]
    within = "median hops learned"
    if len({*budget.values()}) > 1:
        listed = [
            f"{said} by {format_steps(steps)}"
            for said, steps in zip(listed, budget.values(), strict=True)
        ]
    elif budget:
        within += f" within {format_steps(max(budget.values()))} updates"
    notes = {
        within: listed or ["none"],
        "still learning at the end": _any(groups, curriculum.is_cut_short),
        "the last stage there is was passed": _any(groups, _is_capped),
    }
    return judging.by_outcome(notes)


def _more_of(groups: Mapping[str, Sequence[Run]]) -> list[str]:
    """Says what would tell how many more hops groups can learn."""
    cut_short = _any(groups, curriculum.is_cut_short)
    capped = _any(groups, _is_capped)
    missing = [f"a longer budget for {', '.join(cut_short)}"] if cut_short else []
    return missing + ([f"more hops for {', '.join(capped)}"] if capped else [])


def _any(groups: Mapping[str, Sequence[Run]], test: Callable[[Run], bool]) -> list[str]:
    return [name for name, members in groups.items() if any(map(test, members))]


def _is_capped(run: Run) -> bool:
    """Says whether a run passed the last stage, and could have learned more hops."""
    return not curriculum.progress(run).is_bounded
