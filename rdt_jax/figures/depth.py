"""How far a model follows hops, by the loops of training and of inference.

One panel per way of drawing the loops of training, each of one run. The figures are
those of Kohli et al. (2026), arXiv:2604.07822: 5 and 7 (`hops_by_loops`), 6
(`updates_to_hops`), 8 (`by_loop`) and 19 (`ratios`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib import axes, colors, lines, ticker
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from rdt_jax.analysis import grokking
from rdt_jax.analysis.compute import Budget, Curve
from rdt_jax.analysis.curriculum import Progress
from rdt_jax.analysis.depth import Depth
from rdt_jax.figures import page

# Apart for every common color vision, and in gray by their marks.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#222222")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*", "<")

LABELS = {
    "mean_margin": "mean logit margin",
    "mean_change": "mean change / norm of the state",
}

_TRAINED, _LEARNED = "#d55e00", "#222222"
_COLUMNS = 3


class Panel(NamedTuple):
    """One run, and what was measured of it.

    Attributes:
      title: how its loops are drawn, and which seed it is of how many.
      found: of `analysis.depth.measure`.
      trained: R, or the most loops of training.
      learned: hops that were learned when it was measured; None for none.
    """

    title: str
    found: Depth
    trained: int
    learned: int | None


def hops_by_loops(
    panels: Sequence[Panel], *, title: str, notes: Sequence[str]
) -> Figure:
    """Draws accuracy by hops and loops at inference as heat maps.

    Args:
      panels: at least one.
      title: one line; what is measured, on which task.
      notes: lines below it; which parameters, which rows.

    Raises:
      ValueError: if there is no panel.
    """
    _check(panels)
    handles = [
        lines.Line2D([], [], color=_TRAINED, lw=1.8, label="most loops of training"),
        lines.Line2D([], [], color=_LEARNED, lw=1.8, ls=":", label="hops learned"),
    ]
    figure, flat = _grid(
        len(panels), title, notes, handles, "hops of the question", 2.3, 0.75
    )
    norm, shades = colors.Normalize(0, 1), matplotlib.colormaps["Blues"]
    for panel, shown in zip(flat, panels, strict=True):
        found = shown.found
        edges = (*_edges(found.levels), *_edges(found.loops))
        panel.imshow(
            found.accuracy.T,
            origin="lower",
            aspect="auto",
            extent=edges,
            cmap=shades,
            norm=norm,
            interpolation="nearest",
        )
        panel.axhline(shown.trained, color=_TRAINED, lw=1.8)
        if shown.learned is not None:
            panel.axvline(shown.learned, color=_LEARNED, lw=1.8, ls=":")
        panel.set_title(shown.title, fontsize=page.TEXT)
        panel.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
        panel.yaxis.set_major_locator(ticker.MaxNLocator(7, integer=True))
    _label_rows(flat, "loops at inference")
    box = flat[-1].get_position()
    scale = figure.add_axes(
        (1 - 0.62 / page.WIDTH, box.y0, 0.11 / page.WIDTH, box.height)
    )
    bar = figure.colorbar(ScalarMappable(norm, shades), cax=scale)
    bar.outline.set_visible(False)
    scale.tick_params(labelsize=page.SMALL, length=2, color=page.RULE)
    scale.set_ylabel("accuracy", fontsize=page.SMALL)
    return figure


def updates_to_hops(
    progress: Mapping[str, Sequence[Progress]],
    *,
    title: str,
    notes: Sequence[str],
) -> Figure:
    """Draws the hops that have been learned over the updates of training.

    Args:
      progress: name of a group -> its runs.
      title: one line.
      notes: lines below it.

    Raises:
      ValueError: if there is no run.
    """
    _check([run for members in progress.values() for run in members])
    handles: list[Any] = [
        lines.Line2D([], [], marker=mark, color=color, ms=4.5, label=name)
        for name, color, mark in _styles(progress)
    ]
    style: dict[str, Any] = {"ls": "", "marker": ">", "mfc": "white", "ms": 5}
    handles.append(
        lines.Line2D([], [], color=page.INK, **style, label="end of the run")
    )
    label = "optimizer updates, from the start of the curriculum"
    figure, ((panel,),) = page.make(
        1, 1, title=title, notes=notes, handles=handles, label=label, height=2.6
    )
    for (_, color, mark), members in zip(
        _styles(progress), progress.values(), strict=True
    ):
        for run in members:
            hops = [1, *run.passed]
            steps = [0, *run.passed.values()]
            panel.step(
                [*steps, run.last_step],
                [*hops, hops[-1]],
                where="post",
                color=color,
                lw=1.5,
            )
            panel.plot(steps[1:], hops[1:], mark, color=color, ms=4.5)
            panel.plot(run.last_step, hops[-1], color=color, **style)
    panel.set_ylabel("most hops learned", fontsize=page.TEXT)
    panel.yaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    panel.xaxis.set_major_formatter(lambda step, _: grokking.format_steps(step))
    panel.set_xlim(left=0)
    _rule(panel)
    return figure


def by_loop(
    panels: Sequence[Panel],
    *,
    levels: Sequence[int],
    quantity: str,
    title: str,
    notes: Sequence[str],
) -> Figure:
    """Draws a mean by loop, a line for each number of hops.

    Hops that had been learned are bold, with a dashed line at the mean of the first
    loops at which they are right.

    Args:
      panels: at least one.
      levels: numbers of hops to draw.
      quantity: of `Depth`, a key of LABELS.
      title: one line.
      notes: lines below it.

    Raises:
      ValueError: if there is no panel.
    """
    _check(panels)
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(levels)))
    handles = [
        lines.Line2D([], [], color=shade, lw=1.8, label=f"{level} hops")
        for level, shade in zip(levels, shades, strict=True)
    ]
    handles += [
        lines.Line2D([], [], color=page.INK, lw=1, ls="--", label="first hit"),
        lines.Line2D([], [], color=_TRAINED, lw=1.2, label="most loops of training"),
    ]
    figure, flat = _grid(len(panels), title, notes, handles, "loop", 2.1, 0.2)
    for panel, shown in zip(flat, panels, strict=True):
        found = shown.found
        panel.axhline(0, color=page.FAINT, lw=0.8)
        panel.axvline(shown.trained, color=_TRAINED, lw=1.2)
        for level, shade in zip(levels, shades, strict=True):
            index = int(np.searchsorted(found.levels, level))
            learned = shown.learned is not None and level <= shown.learned
            values = getattr(found, quantity)[index]
            panel.plot(found.loops, values, color=shade, lw=1.9 if learned else 0.9)
            if learned and np.isfinite(found.first_hit[index]):
                panel.axvline(found.first_hit[index], color=shade, lw=1, ls="--")
        panel.set_title(shown.title, fontsize=page.TEXT)
        panel.xaxis.set_major_locator(ticker.MaxNLocator(7, integer=True))
        panel.set_xlim(1, found.loops[-1])
        _rule(panel)
    low = min(panel.get_ylim()[0] for panel in flat)
    high = max(panel.get_ylim()[1] for panel in flat)
    for panel in flat:
        panel.set_ylim(low, high)
    _label_rows(flat, LABELS[quantity])
    return figure


def ratios(
    found: Mapping[str, Mapping[int, Sequence[float]]],
    *,
    title: str,
    notes: Sequence[str],
) -> Figure:
    """Draws the generalization ratio over the hops that had been learned.

    Args:
      found: name of a group -> hops learned -> the ratio of each run.
      title: one line.
      notes: lines below it.

    Raises:
      ValueError: if there is no ratio.
    """
    _check([value for each in found.values() for value in each])
    handles = [
        lines.Line2D([], [], marker=mark, color=color, ms=5, label=name)
        for name, color, mark in _styles(found)
    ]
    label = "hops learned when it was measured"
    figure, ((panel,),) = page.make(
        1, 1, title=title, notes=notes, handles=handles, label=label, height=2.2
    )
    panel.axhline(1, color=page.FAINT, lw=0.9, ls=(0, (4, 3)))
    for (_, color, mark), ratio in zip(_styles(found), found.values(), strict=True):
        learned = sorted(ratio)
        medians = [np.median(ratio[hops]) for hops in learned]
        panel.plot(learned, medians, color=color, lw=1.5)
        for hops in learned:
            panel.plot([hops] * len(ratio[hops]), ratio[hops], mark, color=color, ms=5)
    panel.set_ylabel("most hops answered / learned", fontsize=page.TEXT)
    panel.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    _rule(panel)
    return figure


def accuracy_by_compute(
    curves: Mapping[str, Sequence[Curve]],
    best: Sequence[Budget],
    *,
    title: str,
    notes: Sequence[str],
) -> Figure:
    """Draws accuracy over the operations of training, and who is best with so many.

    Args:
      curves: name of a group -> the curve of each run.
      best: by budget, drawn as a strip above the curves.
      title: one line.
      notes: lines below it.

    Raises:
      ValueError: if there is no curve.
    """
    _check([curve for members in curves.values() for curve in members])
    handles = [
        lines.Line2D([], [], lw=1.8, color=color, marker=mark, ms=4, label=name)
        for name, color, mark in _styles(curves)
    ]
    label = "operations of training (forward and backward, at the least)"
    figure, ((panel,),) = page.make(
        1, 1, title=title, notes=notes, handles=handles, label=label, height=2.4
    )
    for (_, color, _), members in zip(_styles(curves), curves.values(), strict=True):
        for curve in members:
            panel.plot(curve.flops, curve.accuracy, color=color, lw=1.5)
    style = {name: (color, mark) for name, color, mark in _styles(curves)}
    for budget in best:
        color, mark = style[budget.best]
        panel.plot(budget.flops, 1.1, mark, color=color, ms=4)
    panel.set_ylabel("accuracy", fontsize=page.TEXT)
    panel.set_ylim(-0.03, 1.16)
    panel.set_yticks([0, 0.25, 0.5, 0.75, 1, 1.1], ["0", "", "0.5", "", "1", "best"])
    panel.set_xlim(left=0)
    panel.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    _rule(panel)
    return figure


def style_of(index: int) -> tuple[str, str]:
    """Returns the color and the mark of the group with an index."""
    return COLORS[index % len(COLORS)], MARKS[index % len(MARKS)]


def _styles(groups: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [(name, *style_of(index)) for index, name in enumerate(groups)]


def _check(shown: Sequence[Any]) -> None:
    if not shown:
        raise ValueError("At least one run is drawn, got none.")


def _grid(
    count: int,
    title: str,
    notes: Sequence[str],
    handles: Sequence[Any],
    label: str,
    height: float,
    right: float,
) -> tuple[Figure, list[axes.Axes]]:
    """Makes a figure of `count` panels, row by row."""
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    figure, panels = page.make(
        rows,
        columns,
        title=title,
        notes=notes,
        handles=handles,
        label=label,
        height=height,
        right=right,
        titled=True,
    )
    flat = [panel for row in panels for panel in row]
    for index in range(count, len(flat)):
        flat[index].set_visible(False)
        flat[index - columns].tick_params(labelbottom=True)
    return figure, flat[:count]


def _label_rows(panels: Sequence[axes.Axes], label: str) -> None:
    for panel in panels[::_COLUMNS]:
        panel.set_ylabel(label, fontsize=page.TEXT)


def _edges(values: np.ndarray) -> tuple[float, float]:
    return values[0] - 0.5, values[-1] + 0.5


def _rule(panel: axes.Axes) -> None:
    panel.grid(True, color="#ececec", lw=0.6)
    panel.set_axisbelow(True)
