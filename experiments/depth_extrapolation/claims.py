"""Judges what is claimed of depth extrapolation on the runs of the study.

Loop counts that serve best are chosen on every other row and scored on the rest
(analysis/scaling.py). Above chance and gained mean by four standard errors of the rows;
runs of different seeds are counted, never pooled.
"""

import statistics
from collections.abc import Sequence

import numpy as np

from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import curriculum, depth, scaling, stored
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.depth import Depth
from rdt_jax.analysis.grokking import format_steps
from rdt_jax.analysis.runs import Run

SOURCE = "Kohli et al. (2026), arXiv:2604.07822"
ERRORS = 4  # standard errors that a gain or a loss must have
SMALL_R = 4  # up to so many loops of training the paper sees no gain from more


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges the claims on what has been run so far."""
    return [
        _more_loops_learn_more(runs),
        _drawn_loops_learn_most(runs),
        _two_hops_take_most(runs),
        _nothing_beyond_at_training_loops(runs),
        _more_loops_answer_more(runs),
        _few_loops_lose(runs),
        _most_loops_decide(runs),
        _two_hops_alone_do_not_extend(runs),
        _many_hops_extend(runs),
    ]


def stages_of(run: Run) -> dict[int, Depth]:
    """Returns what was measured when each stage was passed, by its hops."""
    measured = {}
    for hops in curriculum.progress(run).passed:
        for name in stored.of_kind(run, f"hop_learned_{hops}-after"):
            found = stored.load(run, "depth", name)
            if found is not None:
                measured[hops] = found
    return measured


def _more_loops_learn_more(runs: Sequence[Run]) -> Claim:
    groups = _groups(runs, fixed=True)
    learned = {name: _learned(members) for name, members in groups.items()}
    values = list(learned.values())
    pairs = list(zip(values, values[1:], strict=False))
    shallower = sum(deep < shallow for shallow, deep in pairs)
    missing = []
    if len(groups) < 2:
        missing.append("two fixed loop counts")
    members = [run for group in groups.values() for run in group]
    missing += _unfinished(members)
    capped = [name for name in groups if _is_capped(groups[name])]
    if not missing and values[0] == values[-1] and len(capped) == len(groups):
        missing.append("more hops: all loop counts passed the last stage")
    if not missing and max(values) < 2:
        missing.append("a run that learns two hops")
    return judging.judge(
        "More loops of training learn more hops in a curriculum.",
        source=f"{SOURCE}, Figure 5",
        expected=(
            "2, 6, 9, 10, 12, 13, 16 and 16 hops with R = 1 to 8, none learning fewer "
            "than the one before it"
        ),
        measured=f"median hops learned: {_list(learned)}{_capped_note(capped)}",
        holds=bool(values) and not shallower and values[-1] > values[0],
        missing=missing,
        runs=members,
    )


def _drawn_loops_learn_most(runs: Sequence[Run]) -> Claim:
    fixed, drawn = _groups(runs, fixed=True), _groups(runs, fixed=False)
    best_fixed = max((_learned(m) for m in fixed.values()), default=0)
    best_drawn = max((_learned(m) for m in drawn.values()), default=0)
    missing = []
    if not fixed or not drawn:
        missing.append("runs with fixed and with drawn loops")
    missing += _unfinished(runs)
    groups = fixed | drawn
    capped = [name for name in groups if _is_capped(groups[name])]
    if not missing and best_fixed == best_drawn and capped:
        missing.append("more hops: the last stage was passed by both")
    if not missing and max(best_fixed, best_drawn) < 2:
        missing.append("a run that learns two hops")
    learned = {name: _learned(members) for name, members in groups.items()}
    return judging.judge(
        "Loops that are drawn anew at every update learn more hops than any fixed R.",
        source=f"{SOURCE}, Figure 5",
        expected="22 hops, against 16 with R = 7 and R = 8",
        measured=f"median hops learned: {_list(learned)}{_capped_note(capped)}",
        holds=best_drawn > best_fixed,
        missing=missing,
        runs=runs,
    )


def _two_hops_take_most(runs: Sequence[Run]) -> Claim:
    least = 4
    shares, parts, used = [], [], []
    for run in runs:
        found = curriculum.progress(run)
        if found.learned is None or found.learned < least:
            continue
        whole = found.passed[found.learned]
        first = min(found.passed)
        shares.append(found.passed[first] / whole)
        used.append(run)
        parts.append(
            f"{_name(run)} {format_steps(found.passed[first])} of "
            f"{format_steps(whole)} for {found.learned} hops"
        )
    missing = [] if shares else [f"a run that learns {least} hops"]
    return judging.judge(
        "Learning two hops takes more updates than all further hops together.",
        source=f"{SOURCE}, Figure 6",
        expected=(
            "a long first phase and a fast one: 1.33 M updates up to 4 hops, of 1.45 M "
            "up to 19"
        ),
        measured=f"updates to two hops: {', '.join(parts) or 'none'}",
        holds=bool(shares) and statistics.median(shares) > 0.5,
        missing=missing,
        runs=used,
    )


def _nothing_beyond_at_training_loops(runs: Sequence[Run]) -> Claim:
    parts, beyond, used = [], 0, []
    for run in runs:
        hops, found = _last(run)
        if found is None or not curriculum.is_fixed(run) or hops >= found.levels[-1]:
            continue
        used.append(run)
        accuracy = found.accuracy[:, run.num_loops - 1]
        beyond += scaling.reach(found, accuracy) > hops
        parts.append(
            f"{_name(run)} {_at(found, accuracy, hops + 1)} on {hops + 1} hops"
        )
    return judging.judge(
        "With the loops of training nothing deeper than trained is answered "
        f"(accuracy {scaling.ANSWERED}).",
        source=f"{SOURCE}, Figure 5, rows r = R",
        expected="nothing beyond the hops learned at r = R, for R = 1 to 8",
        measured=f"one hop more than learned: {', '.join(parts) or 'not measured'}",
        holds=not beyond,
        missing=[] if used else ["a fixed R that passes a stage, with deeper rows"],
        runs=used,
    )


def _more_loops_answer_more(runs: Sequence[Run]) -> Claim:
    gained: list[str] = []
    other: list[str] = []
    used: list[Run] = []
    for run in runs:
        hops, found = _last(run)
        # With two hops alone the paper sees no extension either: a claim of its own.
        if found is None or hops < 3 or hops >= found.levels[-1]:
            continue
        most = depth.most_loops(run.config)
        if most <= SMALL_R:
            continue
        used.append(run)
        scaled = scaling.scaled(found, run.num_loops)
        deeper = found.levels > hops
        works = (
            deeper
            & scaling.above_chance(scaled, _chance(run))
            & (scaled.loops > run.num_loops)
            & (scaled.gain > ERRORS * scaled.error)
        )
        best = int(np.flatnonzero(deeper)[scaled.accuracy[deeper].argmax()])
        note = (
            f"{_name(run)} {scaled.accuracy[best]:.2f} on {found.levels[best]} hops "
            f"after {scaled.loops[best]} loops, "
            f"{scaled.accuracy[best] - scaled.gain[best]:.2f} after {run.num_loops}"
        )
        (gained if works.any() else other).append(note)
    parts = [
        f"{label}: {', '.join(notes)}"
        for label, notes in (("gained", gained), ("did not", other))
        if notes
    ]
    return judging.judge(
        f"With R > {SMALL_R}, more loops at inference than in training answer hops "
        "above chance that were never trained.",
        source=f"{SOURCE}, Figure 5",
        expected="R = 6 answers 17 hops after learning 13, R = 8 answers 24 after 16",
        measured="; ".join(parts) or "not measured",
        holds=len(gained) > len(other),
        missing=[] if used else [f"a run with R > {SMALL_R} that learns 3 hops"],
        runs=used,
    )


def _few_loops_lose(runs: Sequence[Run]) -> Claim:
    lost: list[str] = []
    kept: list[str] = []
    used: list[Run] = []
    for run in runs:
        hops, found = _last(run)
        if found is None or not curriculum.is_fixed(run):
            continue
        if not 2 <= run.num_loops <= SMALL_R:
            continue
        used.append(run)
        twice = 2 * run.num_loops
        rows = found.correct[found.hops <= hops].astype(float)
        loss = rows[:, run.num_loops - 1] - rows[:, twice - 1]
        error = loss.std(ddof=1) / np.sqrt(loss.size)
        note = (
            f"{_name(run)} {rows[:, run.num_loops - 1].mean():.2f} after "
            f"{run.num_loops} loops, {rows[:, twice - 1].mean():.2f} after {twice}"
        )
        (lost if loss.mean() > ERRORS * error else kept).append(note)
    parts = [
        f"{label}: {', '.join(notes)}"
        for label, notes in (("lost", lost), ("kept", kept))
        if notes
    ]
    return judging.judge(
        f"With R = 2 to {SMALL_R}, twice the loops of training lose accuracy on the "
        "hops that were learned.",
        source=f"{SOURCE}, Figure 5",
        expected="R = 2 to 4 lose accuracy on learned hops at r > R",
        measured="; ".join(parts) or "not measured",
        holds=bool(lost) and not kept,
        missing=[] if used else [f"a run with R = 2 to {SMALL_R} that passes a stage"],
        runs=used,
    )


def _most_loops_decide(runs: Sequence[Run]) -> Claim:
    hops, able = curriculum.common_stage(runs) or (1, [])
    scores: dict[int, list[np.ndarray]] = {}
    for run in able:
        found = stages_of(run).get(hops)
        if found is None or hops >= found.levels[-1]:
            continue
        scaled = scaling.scaled(found, 1)
        deeper = found.levels > hops
        scores.setdefault(depth.most_loops(run.config), []).append(
            np.array(
                [
                    scaled.accuracy[deeper].mean(),
                    # Rows of different hops are different rows.
                    (scaled.accuracy * (1 - scaled.accuracy) / scaled.num_rows)[
                        deeper
                    ].sum()
                    / deeper.sum() ** 2,
                ]
            )
        )
    missing = []
    holds = False
    if len(scores) < 2:
        missing.append("two loop counts that pass a common stage, with deeper rows")
    else:
        few, many = np.mean(scores[min(scores)], 0), np.mean(scores[max(scores)], 0)
        error = np.sqrt(
            few[1] / len(scores[min(scores)]) + many[1] / len(scores[max(scores)])
        )
        holds = bool(many[0] > few[0])
        if abs(many[0] - few[0]) <= 2 * error:
            missing.append("a difference beyond two standard errors of the rows")
    means = {f"{most} loops": np.mean(s, 0)[0] for most, s in sorted(scores.items())}
    listed = ", ".join(f"{name} {mean:.3f}" for name, mean in means.items())
    return judging.judge(
        "After the same training data, the most loops of training decide how deep "
        "more loops at inference reach.",
        source=f"{SOURCE}, Figure 7",
        expected=(
            "trained up to 12 hops: R = 6 answers 14, R = 8 and loops drawn up to 8 "
            "answer 19"
        ),
        measured=(
            f"mean accuracy with the best loops on all hops beyond {hops}, by "
            f"the most loops of training: {listed or 'none'}"
        ),
        holds=holds,
        missing=missing,
        runs=able,
    )


def _two_hops_alone_do_not_extend(runs: Sequence[Run]) -> Claim:
    parts, used, beyond = [], [], 0
    for run in runs:
        found = stages_of(run).get(2)
        if found is None or found.levels[-1] <= 2:
            continue
        used.append(run)
        scaled = scaling.scaled(found, 1)
        beyond += scaling.generalization_ratio(found, 2) > 1
        parts.append(f"{_name(run)} {_at(found, scaled.accuracy, 3)}")
    return judging.judge(
        "A model that has learned two hops only answers no deeper ones "
        f"(accuracy {scaling.ANSWERED}), whatever its loops at inference.",
        source=f"{SOURCE}, Appendix J",
        expected="a generalization ratio of 1 where two hops were learned",
        measured=f"three hops with the best loops: {', '.join(parts) or 'none'}",
        holds=not beyond,
        missing=[] if used else ["a run that passes two hops"],
        runs=used,
    )


def _many_hops_extend(runs: Sequence[Run]) -> Claim:
    least, most = 4, 8
    ratios, used = {}, []
    for run in runs:
        hops, found = _last(run)
        if found is None or hops < least or depth.most_loops(run.config) < most:
            continue
        if hops >= found.levels[-1]:
            continue
        used.append(run)
        ratios[_name(run)] = scaling.generalization_ratio(found, hops)
    listed = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
    return judging.judge(
        f"Models with up to {most} loops of training that learned {least} hops or more "
        "answer at least 1.2 times as many with the best loops.",
        source=f"{SOURCE}, Appendix J",
        expected="a generalization ratio of about 1.25 at 4 hops, 1.2 to 1.8 beyond",
        measured=f"generalization ratio: {listed or 'none'}",
        holds=bool(ratios) and statistics.median(ratios.values()) >= 1.2,
        missing=[] if used else [f"a run with {most} loops that learns {least} hops"],
        runs=used,
    )


def _groups(runs: Sequence[Run], *, fixed: bool) -> dict[str, list[Run]]:
    return {
        name: members
        for name, members in curriculum.by_recurrence(runs).items()
        if curriculum.is_fixed(members[0]) == fixed
    }


def _learned(members: Sequence[Run]) -> float:
    """Returns the median of hops learned; one hop where no stage was passed."""
    return statistics.median(curriculum.progress(run).learned or 1 for run in members)


def _is_capped(members: Sequence[Run]) -> bool:
    """Says whether half of the runs or more could have learned more hops."""
    capped = sum(not curriculum.progress(run).is_bounded for run in members)
    return 2 * capped >= len(members)


def _capped_note(capped: Sequence[str]) -> str:
    return f" (the last stage there is: {', '.join(capped)})" if capped else ""


def _unfinished(runs: Sequence[Run]) -> list[str]:
    count = sum(run.outcome == "unfinished" for run in runs)
    return [f"the end of {count} runs"] if count else []


def _last(run: Run) -> tuple[int, Depth | None]:
    stages = stages_of(run)
    if not stages:
        return 0, None
    return max(stages), stages[max(stages)]


def _chance(run: Run) -> float:
    return run_folders.chance(run, "id")


def _at(found: Depth, accuracy: np.ndarray, hops: int) -> str:
    (index,) = np.flatnonzero(found.levels == hops)
    return f"{accuracy[index]:.2f}"


def _name(run: Run) -> str:
    return f"{curriculum.name_of(run)} (seed {run.config.seed})"


def _list(learned: dict[str, float]) -> str:
    return ", ".join(f"{name}: {hops:g}" for name, hops in learned.items()) or "none"
