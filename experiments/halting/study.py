"""Can a looped model tell by itself when it has looped enough?

Question: how many loops does each halting rule take, how accurate are the answers that
it stops with, and what do these cost against a fixed number of loops?

Prediction (Kohli et al. 2026, arXiv:2604.07822, Figures 9 and 10): a rule that waits
until the output has settled (KL) stops too early on hard questions; with a limit on the
entropy of the output besides, loops grow with the hops and answers are more accurate.

The runs are those of experiments/depth_extrapolation.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from experiments.depth_extrapolation import study as extrapolation
from experiments.halting import drawing
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import curriculum, halting, stored
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.halting import Halting
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import depth_tables

CONFIG = extrapolation.CONFIG
ANALYSES = {"halting": extrapolation.ANALYSES["depth"]}
SOURCE = "Kohli et al. (2026), arXiv:2604.07822"
ERRORS = 2  # standard errors that a difference must have

_RULES = {"kl": "KL", "kl_entropy": "KL and entropy"}

sweep = extrapolation.sweep


def table(runs: Sequence[Run]) -> Table:
    """Builds the table of the study, of the stages where nothing was measured yet."""
    rows = []
    for name, members in curriculum.by_recurrence(runs).items():
        for run in members:
            _, checkpoint = curriculum.deepest(run)
            found = stored.load(run, "halting", checkpoint)
            if found is None:
                continue
            chosen = _settings(run, found)
            rows += [
                depth_tables.Stop(
                    name=name,
                    seed=run.config.seed,
                    hops=int(level),
                    values={
                        label: (
                            float(found.mean_loops[k, index]),
                            float(found.accuracy[k, index]),
                        )
                        for label, k in chosen.items()
                    },
                )
                for index, level in enumerate(found.levels)
            ]
    if not rows:
        return extrapolation.table(runs)
    return depth_tables.stops(rows, task=_task(runs), note=_thresholds_note())


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges the claims on what has been run so far."""
    return [
        _entropy_is_more_accurate(runs),
        _entropy_loops_more_for_more_hops(runs),
        _entropy_grows_more(runs),
    ]


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws the study; nothing where nothing was measured."""
    panels, clouds = [], []
    groups = curriculum.by_recurrence(runs)
    for members in groups.values():
        run = curriculum.median_run(members)
        learned, checkpoint = curriculum.deepest(run)
        found = stored.load(run, "halting", checkpoint)
        if found is None:
            continue
        title = f"{curriculum.name_of(run)}, seed {run.config.seed}"
        shown = list(_settings(run, found).values())
        # The stage in a row is the one that its updates trained.
        trained = learned or run.metrics[-1]["curriculum/stage"]
        panels.append(drawing.Panel(title, found, shown, learned, trained))
        rows = found.hops <= (learned or found.levels[0])
        spent = _flops_of_rows(found)[:, rows].mean(axis=1)
        accuracy = found.correct[:, rows].mean(axis=1)
        front = halting.pareto(spent, accuracy)
        clouds.append(drawing.Cloud(title, found.rule, spent, accuracy, front))
    if not panels:
        return {}
    chosen = _chosen_note(max(map(len, groups.values())))
    return {
        "by_hops": drawing.by_hops(
            panels,
            title=f"Loops that rows take, and what these answer: {_task(runs)}",
            notes=(
                chosen,
                "Held-out rows, parameters when the last stage was passed, or at the "
                "end if none was.",
                "Gray: the loop count R of the evaluation for all rows.",
                _thresholds_note(),
            ),
        ),
        "pareto": drawing.pareto(
            clouds,
            title=f"Accuracy by the cost of inference: {_task(runs)}",
            notes=(
                f"{chosen} Parameters when it passed its last stage, or at its end.",
                "Held-out rows of all hops that were learned (of two hops, if none "
                "were); a point for each threshold, gray for each fixed loop count.",
            ),
        ),
    }


def _entropy_is_more_accurate(runs: Sequence[Run]) -> Claim:
    better: list[str] = []
    worse: list[str] = []
    open_runs: list[str] = []
    used: list[Run] = []
    for run, found, learned in _measured(runs):
        used.append(run)
        rows = np.isin(found.hops, found.levels[learned])
        kl, both = (found.correct[k][rows].astype(float) for k in _pair(found))
        difference = both - kl
        error = difference.std(ddof=1) / np.sqrt(difference.size)
        note = f"{_name(run)} {both.mean():.2f} against {kl.mean():.2f}"
        if abs(difference.mean()) <= ERRORS * error:
            open_runs.append(note)
        else:
            (better if difference.mean() > 0 else worse).append(note)
    parts = [
        f"{label}: {', '.join(notes)}"
        for label, notes in (
            ("more accurate", better),
            ("less", worse),
            ("no difference", open_runs),
        )
        if notes
    ]
    left = curriculum.unmeasured(runs, used)
    holds = judging.majority(len(better), len(worse) + len(open_runs), len(left))
    missing = [] if holds is not None else curriculum.waits_for(left)
    if not used:
        missing.append("a run with loops that passes a stage")
    elif not better and not worse:
        missing.append(f"a difference beyond {ERRORS} standard errors of the rows")
    return judging.judge(
        "Halting by KL and entropy answers learned hops more accurately than by KL.",
        source=f"{SOURCE}, Figure 10",
        expected="KL and entropy above KL alone, KL < .01 and entropy < 3 of 5.4 nats",
        measured="; ".join(parts) or "not measured",
        holds=holds,
        missing=missing,
        runs=used,
    )


def _entropy_loops_more_for_more_hops(runs: Sequence[Run]) -> Claim:
    parts, used, grown = [], [], 0
    for run, found, learned in _measured(runs):
        if learned.sum() < 2:
            continue
        used.append(run)
        _, both = _pair(found)
        few, many = (
            found.loops[both][found.hops == level]
            for level in found.levels[learned][[0, -1]]
        )
        grown += _exceeds(many, few)
        parts.append(
            f"{_name(run)} {few.mean():.1f} on 2 hops, {many.mean():.1f} on "
            f"{found.levels[learned][-1]}"
        )
    holds, missing = _most(runs, grown, used)
    return judging.judge(
        "Halting by KL and entropy takes more loops for more hops.",
        source=f"{SOURCE}, Figure 9",
        expected="loops grow with the hops, to about 15 at 37 hops",
        measured=f"mean loops: {', '.join(parts) or 'not measured'}",
        holds=holds,
        missing=missing,
        runs=used,
    )


def _entropy_grows_more(runs: Sequence[Run]) -> Claim:
    parts, used, more = [], [], 0
    for run, found, learned in _measured(runs):
        if learned.sum() < 2:
            continue
        used.append(run)
        first, last = np.flatnonzero(learned)[[0, -1]]
        growth = [
            found.mean_loops[k, last] - found.mean_loops[k, first] for k in _pair(found)
        ]
        kl, both = _pair(found)
        longer = found.loops[both] - found.loops[kl]  # of each row
        few, many = (longer[found.hops == found.levels[k]] for k in (first, last))
        more += _exceeds(many, few)
        parts.append(f"{_name(run)} {growth[1]:.1f} against {growth[0]:.1f}")
    holds, missing = _most(runs, more, used)
    return judging.judge(
        "The loops taken grow more with the hops by KL and entropy than by KL.",
        source=f"{SOURCE}, Figure 9",
        expected="about 15 loops at 37 hops by KL and entropy, about 5 by KL",
        measured=(
            "more loops on the most hops learned than on 2: "
            f"{', '.join(parts) or 'not measured'}"
        ),
        holds=holds,
        missing=missing,
        runs=used,
    )


def _most(
    runs: Sequence[Run], right: int, used: Sequence[Run]
) -> tuple[bool | None, list[str]]:
    """Says whether most of the runs that learned 3 hops are right, or what it lacks."""
    left = curriculum.unmeasured(runs, [run for run, *_ in _measured(runs)])
    holds = judging.majority(right, len(used) - right, len(left))
    missing = [] if holds is not None else curriculum.waits_for(left)
    return holds, missing + ([] if used else ["a run with loops that learns 3 hops"])


def _measured(runs: Sequence[Run]) -> list[tuple[Run, Halting, np.ndarray]]:
    """Returns looped runs that are over and learned hops, and which, bool [H]."""
    members = []
    for run in runs:
        if run.outcome == "unfinished":
            continue  # It may pass a further stage.
        learned, checkpoint = curriculum.deepest(run)
        found = stored.load(run, "halting", checkpoint)
        if found is not None and learned and run.num_loops > 1:
            members.append((run, found, found.levels <= learned))
    return members


def _exceeds(many: np.ndarray, few: np.ndarray) -> bool:
    """Says whether the mean of some rows exceeds that of others beyond their errors."""
    error = np.sqrt(few.var(ddof=1) / few.size + many.var(ddof=1) / many.size)
    return bool(many.mean() - few.mean() > ERRORS * error)


def _pair(found: Halting) -> tuple[int, int]:
    return halting.published(found, "kl"), halting.published(found, "kl_entropy")


def _settings(run: Run, found: Halting) -> dict[str, int]:
    """Returns the settings that are shown by hops: fixed R and the published rules."""
    at_training = (found.rule == halting.FIXED) & (found.threshold == run.num_loops)
    (fixed,) = np.flatnonzero(at_training)
    rules = {name: halting.published(found, rule) for rule, name in _RULES.items()}
    return {"R": int(fixed), **rules}


def _flops_of_rows(found: Halting) -> np.ndarray:
    """Returns the mean operations of the rows of the same hops, [K, N]."""
    return found.flops[:, np.searchsorted(found.levels, found.hops)]


def _thresholds_note() -> str:
    return (
        f"KL: below {halting.KL} nats; entropy: below {halting.ENTROPY_SHARE:.2f} of "
        f"that of a uniform guess; from loop {halting.MIN_LOOPS} on."
    )


def _chosen_note(seeds: int) -> str:
    if seeds == 1:
        return "One seed."
    which = "" if seeds % 2 else ", of the middle two the higher"
    return f"Each panel: the median run of {seeds} seeds by hops learned{which}."


def _name(run: Run) -> str:
    return f"{curriculum.name_of(run)} (seed {run.config.seed})"


def _task(runs: Sequence[Run]) -> str:
    return str(run_folders.shared_value(runs, "task.name")).replace("_", " ")
