"""Loops that rows take when they stop by themselves, and what these answer.

References: Kohli et al. (2026), arXiv:2604.07822, Figures 9 and 10.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import lines, ticker
from matplotlib.figure import Figure

from rdt_jax.analysis import curriculum, halting
from rdt_jax.analysis.halting import Halting
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import depth, page
from rdt_jax.figures.words import task_name

# Rule -> color and mark; apart for every common color vision, and in gray by marks.
STYLES = {
    "fixed": ("#8f8f8f", "."),
    "kl": ("#b59b00", "v"),
    "kl_now": ("#d55e00", "s"),
    "kl_entropy": ("#0072b2", "o"),
    "state": ("#009e73", "^"),
    "confidence": ("#cc79a7", "D"),
}
NAMES = {
    "fixed": "same for all rows",
    "kl": "KL of Geiping et al.",
    "kl_now": "KL",
    "kl_entropy": "KL and entropy",
    "state": "state",
    "confidence": "confidence",
}
# Rule -> once what holds a row stops by it; models/halting.py defines them.
MEANINGS = {
    "kl": "its output hardly moves, seen from the loop before",
    "kl_now": "its output hardly moves",
    "kl_entropy": "that output is decided too (low entropy)",
    "state": "the state at its answers hardly moves (share of its norm)",
    "confidence": "one answer is probable",
}
THRESHOLDS = (
    f"KL: below {halting.KL} nats; entropy: below {halting.ENTROPY_SHARE:.2f} of "
    f"that of a uniform guess; from loop {halting.MIN_LOOPS} on."
)

# Accuracies are drawn at -sqrt(1 - accuracy), which gives those near 1 more room.
_TICKS = (0, 0.5, 0.8, 0.9, 0.95, 0.99, 1)

# A run, the hops of its last stage (None if it passed none), and what was measured.
Measured = tuple[Run, int | None, Halting]


def published(found: Halting) -> tuple[int, int]:
    """Returns the settings of KL, and of KL and entropy, which differ in that only."""
    return halting.published(found, "kl_now"), halting.published(found, "kl_entropy")


def settings(run: Run, found: Halting) -> list[int]:
    """Returns the settings that are shown by hops: fixed R and the published rules."""
    at_training = (found.rule == halting.FIXED) & (found.threshold == run.num_loops)
    (fixed,) = np.flatnonzero(at_training)
    return [int(fixed), *published(found)]


def by_hops(runs: Sequence[Run], measured: Sequence[Measured]) -> Figure:
    """Draws loops taken above accuracy, by hops, for one setting of each rule.

    Args:
      runs: all runs of the study.
      measured: those that are drawn, at least one, a column each.
    """
    handles: list[Any] = [
        lines.Line2D([], [], color=color, marker=mark, ms=4.5, label=NAMES[rule])
        for rule in ("fixed", "kl_now", "kl_entropy")
        for color, mark in (STYLES[rule],)
    ]
    passed: dict[str, Any] = {"color": page.INK, "lw": 1.2, "ls": ":"}
    trained: dict[str, Any] = {"color": page.FAINT, "lw": 1.2, "ls": (0, (6, 2))}
    handles.append(lines.Line2D([], [], **passed, label="hops learned"))
    if any(learned is None for _, learned, _ in measured):
        handles.append(lines.Line2D([], [], **trained, label="hops trained"))
    figure, (above, below) = page.make(
        2,
        len(measured),
        title=_finding(measured),
        line=f"{task_name(runs)}; a run a column, band: 2 standard errors of rows",
        notes=(
            depth.median_note(runs),
            "Held-out rows, parameters when the last stage was passed, or at the "
            "end if none was.",
            "Gray: the loop count R of the evaluation for all rows.",
            THRESHOLDS,
        ),
        handles=handles,
        label="hops of the question",
        height=1.6,
        right=0.2,
    )
    highest = 1.04 * max(found.loops.max() for _, _, found in measured)
    for top, bottom, (run, learned, found) in zip(above, below, measured, strict=True):
        for index in settings(run, found):
            color, mark = STYLES[str(found.rule[index])]
            # Rules that agree lie on each other: the wider one below shows.
            is_wide = str(found.rule[index]) == "kl_now"
            style: dict[str, Any] = {
                "color": color, "marker": mark, "lw": 3.2 if is_wide else 1.3,
                "ms": 6 if is_wide else 3.5, "zorder": 2 if is_wide else 3,
            }  # fmt: skip
            accuracy = found.accuracy[index]
            top.plot(found.levels, found.mean_loops[index], **style)
            bottom.plot(found.levels, accuracy, **style)
            error = 2 * np.sqrt(accuracy * (1 - accuracy) / found.num_rows)
            band: dict[str, Any] = {"color": color, "alpha": 0.18, "lw": 0}
            bottom.fill_between(
                found.levels, accuracy - error, accuracy + error, **band
            )
        for part in (top, bottom):
            stage = curriculum.trained_hops(run, learned)
            part.axvline(stage, **(trained if learned is None else passed))
            part.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
            page.rule(part)
        top.set_ylim(0, highest)
        bottom.set_ylim(-0.03, 1.03)
        top.set_title(_name(run), fontsize=page.TEXT)
    above[0].set_ylabel("mean loops taken", fontsize=page.TEXT)
    below[0].set_ylabel("accuracy", fontsize=page.TEXT)
    return figure


def pareto(runs: Sequence[Run], measured: Sequence[Measured]) -> Figure:
    """Draws accuracy over the operations of inference, a point for each setting.

    Accuracies near 1 have more room, by the square root of the share of errors.

    Args:
      runs: all runs of the study.
      measured: those that are drawn, at least one, a panel each.
    """
    rules = [r for r in STYLES if any((m.rule == r).any() for _, _, m in measured)]
    handles: list[Any] = [
        lines.Line2D([], [], ls="", color=color, marker=mark, ms=5, label=NAMES[rule])
        for rule in rules
        for color, mark in (STYLES[rule],)
    ]
    handles.append(lines.Line2D([], [], color=page.INK, lw=1, label="Pareto front"))
    figure, (panels,) = page.make(
        1,
        len(measured),
        title=_cheapest(measured),
        line=f"{task_name(runs)}; a point for each threshold, one run a panel",
        notes=(
            f"{depth.median_note(runs)} Parameters when it passed its last stage, or "
            "at its end.",
            "Held-out rows of all hops that were learned (of two hops, if none "
            "were); a point for each threshold, gray for each fixed loop count.",
            *_meanings(rules),
        ),
        handles=handles,
        label="mean operations of the forward pass of a row, log scale",
        height=2.4,
        right=0.2,
    )
    for panel, (run, learned, found) in zip(panels, measured, strict=True):
        spent, accuracy = _spent(learned, found)
        front = halting.pareto(spent, accuracy)
        line: dict[str, Any] = {"color": page.INK, "lw": 1, "drawstyle": "steps-post"}
        panel.plot(spent[front], accuracy[front], **line)
        for rule in rules:
            color, mark = STYLES[rule]
            here = found.rule == rule
            style: dict[str, Any] = {"color": color, "ms": 4.5}
            if mark != ".":  # Those that overlap are told apart by their edges.
                style |= {"mec": "white", "mew": 0.5}
            panel.plot(spent[here], accuracy[here], mark, **style)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
        panel.xaxis.set_minor_formatter(ticker.NullFormatter())
        panel.set_yscale("function", functions=(_spread, _narrow))
        panel.set_ylim(-0.06, 1.003)
        panel.set_yticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
        panel.set_title(_name(run), fontsize=page.TEXT)
        page.rule(panel)
    panels[0].set_ylabel("accuracy (square root of errors)", fontsize=page.TEXT)
    return figure


def _finding(measured: Sequence[Measured]) -> str:
    """Says what both published rules answer of all hops beyond those learned."""
    parts = []
    for run, learned, found in measured:
        deeper = found.levels > (learned or found.levels[0])
        shares = [found.accuracy[k][deeper] for k in published(found)]
        said = ", ".join(f"{share.mean():.2f}" for share in shares if share.size)
        parts.append(f"{curriculum.name_of(run)}: {said or 'none asked'}")
    return f"Beyond the hops learned KL, and KL and entropy, answer {'; '.join(parts)}"


def _cheapest(measured: Sequence[Measured]) -> str:
    """Says how often a rule reaches for less what the training loop count does."""
    cheaper = 0
    for run, learned, found in measured:
        spent, accuracy = _spent(learned, found)
        by_rule = found.rule != halting.FIXED
        fixed = ~by_rule & (found.threshold == run.num_loops)
        least = accuracy[fixed].max(initial=0)
        most = spent[fixed].min(initial=np.inf)
        cheaper += bool((by_rule & (accuracy >= least) & (spent < most)).any())
    of = f"{cheaper} of {len(measured)}"
    return f"For fewer operations than at R a rule answers as much in {of} runs"


def _spent(learned: int | None, found: Halting) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean operations and accuracy of each setting on learned hops, [K]."""
    rows = found.hops <= (learned or found.levels[0])
    # The mean operations of the rows of the same hops, [K, N].
    flops = found.flops[:, np.searchsorted(found.levels, found.hops)]
    return flops[:, rows].mean(axis=1), found.correct[:, rows].mean(axis=1)


def _name(run: Run) -> str:
    return f"{curriculum.name_of(run)}, seed {run.config.seed}"


def _meanings(rules: Sequence[str]) -> list[str]:
    """Says in lines when rows stop by the rules that are not fixed."""
    said = [
        f"by {NAMES[rule]} once {MEANINGS[rule]}" for rule in rules if rule in MEANINGS
    ]
    found = [", ".join(said[i : i + 2]) for i in range(0, len(said), 2)]
    return [f"A row stops {line}." for line in found]


def _spread(accuracy: np.ndarray) -> np.ndarray:
    errors = 1 - accuracy
    return -np.sign(errors) * np.sqrt(np.abs(errors))


def _narrow(place: np.ndarray) -> np.ndarray:
    return 1 + np.sign(place) * place**2
