"""Loops that rows take when they stop by themselves, and what these answer.

References: Kohli et al. (2026), arXiv:2604.07822, Figures 9 and 10.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import lines, ticker
from matplotlib.figure import Figure

from rdt_jax.analysis.halting import Halting
from rdt_jax.figures import page

# Rule -> color and mark; apart for every common color vision, and in gray by marks.
STYLES = {
    "fixed": ("#8f8f8f", "."),
    "kl": ("#d55e00", "s"),
    "kl_entropy": ("#0072b2", "o"),
    "state": ("#009e73", "^"),
    "confidence": ("#cc79a7", "D"),
}
NAMES = {
    "fixed": "same for all rows",
    "kl": "KL",
    "kl_entropy": "KL and entropy",
    "state": "state",
    "confidence": "confidence",
}
# Rule -> once what holds a row stops by it; models/halting.py defines them.
MEANINGS = {
    "kl": "its output hardly moves",
    "kl_entropy": "that output is decided too (low entropy)",
    "state": "the state at its answers hardly moves (share of its norm)",
    "confidence": "one answer is probable",
}

_TRAINED = (0, (6, 2))
# Accuracies are drawn at -sqrt(1 - accuracy), which gives those near 1 more room.
_TICKS = (0, 0.5, 0.8, 0.9, 0.95, 0.99, 1)


class Panel(NamedTuple):
    """One run, and what was measured of it.

    Attributes:
      title: how its loops are drawn, and which seed it is of how many.
      found: of `analysis.halting.measure`.
      shown: indices of the settings that are drawn by hops.
      learned: hops that were learned when it was measured; None for none.
      stage: most hops that had been trained by then.
    """

    title: str
    found: Halting
    shown: Sequence[int]
    learned: int | None
    stage: int


def by_hops(panels: Sequence[Panel], *, title: str, notes: Sequence[str]) -> Figure:
    """Draws loops taken above accuracy, by hops, for one setting of each rule.

    Args:
      panels: at least one, each a column.
      title: one line.
      notes: lines below it; the thresholds.

    Raises:
      ValueError: if there is no panel.
    """
    if not panels:
        raise ValueError("At least one run is drawn, got none.")
    rules = list(dict.fromkeys(str(p.found.rule[k]) for p in panels for k in p.shown))
    handles: list[Any] = [
        lines.Line2D([], [], color=color, marker=mark, ms=4.5, label=NAMES[rule])
        for rule in rules
        for color, mark in (STYLES[rule],)
    ]
    learned: dict[str, Any] = {"color": page.INK, "lw": 1.2, "ls": ":"}
    trained: dict[str, Any] = {"color": page.FAINT, "lw": 1.2, "ls": _TRAINED}
    handles.append(lines.Line2D([], [], **learned, label="hops learned"))
    if any(panel.stage != panel.learned for panel in panels):
        handles.append(lines.Line2D([], [], **trained, label="hops trained"))
    figure, (above, below) = page.make(
        2,
        len(panels),
        title=title,
        notes=notes,
        handles=handles,
        label="hops of the question",
        height=1.6,
        right=0.2,
    )
    for top, bottom, panel in zip(above, below, panels, strict=True):
        found = panel.found
        for index in panel.shown:
            color, mark = STYLES[str(found.rule[index])]
            style: dict[str, Any] = {"color": color, "marker": mark, "ms": 4, "lw": 1.4}
            top.plot(found.levels, found.mean_loops[index], **style)
            bottom.plot(found.levels, found.accuracy[index], **style)
        for part in (top, bottom):
            if panel.learned is not None:
                part.axvline(panel.learned, **learned)
            if panel.stage != panel.learned:
                part.axvline(panel.stage, **trained)
            part.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
            part.grid(True, color="#ececec", lw=0.6)
            part.set_axisbelow(True)
        top.set_ylim(0, 1.04 * max(p.found.loops.max() for p in panels))
        bottom.set_ylim(-0.03, 1.03)
        top.set_title(panel.title, fontsize=page.TEXT)
    above[0].set_ylabel("mean loops taken", fontsize=page.TEXT)
    below[0].set_ylabel("accuracy", fontsize=page.TEXT)
    return figure


class Cloud(NamedTuple):
    """All settings of one run.

    Attributes:
      title: how its loops are drawn, and which seed it is of how many.
      rule: str [K].
      flops: float64 [K], mean operations of a row.
      accuracy: float64 [K].
      front: int [F], the settings that nothing beats, by ascending operations.
    """

    title: str
    rule: np.ndarray
    flops: np.ndarray
    accuracy: np.ndarray
    front: np.ndarray


def pareto(clouds: Sequence[Cloud], *, title: str, notes: Sequence[str]) -> Figure:
    """Draws accuracy over the operations of inference, a point for each setting.

    Accuracies near 1 have more room, by the square root of the share of errors.

    Args:
      clouds: at least one, each a panel.
      title: one line.
      notes: lines below it; which rows. Further ones say when a row stops by each rule.

    Raises:
      ValueError: if there is no cloud.
    """
    if not clouds:
        raise ValueError("At least one run is drawn, got none.")
    rules = [rule for rule in STYLES if any((c.rule == rule).any() for c in clouds)]
    handles: list[Any] = [
        lines.Line2D([], [], ls="", color=color, marker=mark, ms=5, label=NAMES[rule])
        for rule in rules
        for color, mark in (STYLES[rule],)
    ]
    handles.append(lines.Line2D([], [], color=page.INK, lw=1, label="Pareto front"))
    figure, (panels,) = page.make(
        1,
        len(clouds),
        title=title,
        notes=(*notes, *_meanings(rules)),
        handles=handles,
        label="mean operations of the forward pass of a row, log scale",
        height=2.4,
        right=0.2,
    )
    for panel, cloud in zip(panels, clouds, strict=True):
        panel.plot(
            cloud.flops[cloud.front],
            cloud.accuracy[cloud.front],
            color=page.INK,
            lw=1,
            drawstyle="steps-post",
        )
        for rule in rules:
            color, mark = STYLES[rule]
            here = cloud.rule == rule
            style: dict[str, Any] = {"color": color, "ms": 4.5}
            if mark != ".":  # Those that overlap are told apart by their edges.
                style |= {"mec": "white", "mew": 0.5}
            panel.plot(cloud.flops[here], cloud.accuracy[here], mark, **style)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
        panel.xaxis.set_minor_formatter(ticker.NullFormatter())
        panel.set_yscale("function", functions=(_spread, _narrow))
        panel.set_ylim(-0.06, 1.003)
        panel.set_yticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
        panel.set_title(cloud.title, fontsize=page.TEXT)
        panel.grid(True, color="#ececec", lw=0.6)
        panel.set_axisbelow(True)
    label = "accuracy (square root of errors)"
    panels[0].set_ylabel(label, fontsize=page.TEXT)
    return figure


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
