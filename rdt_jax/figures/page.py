"""The page a figure is drawn on: its title, a line below it, legend and panels.

Everything is laid out in inches, so that text keeps its size however many panels there
are. Only matplotlib's object-oriented interface is used: no global state is touched.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal, TypedDict

import numpy as np
from matplotlib import axes, ticker
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from rdt_jax.analysis import grokking

WIDTH = 8.2  # inches; a README shows about 110 pixels for each
TEXT, SMALL = 9.0, 8.0  # points
INK, FAINT, RULE = "#222222", "#606060", "#d4d4d4"
ASIDE = "#f4f4f4"  # what a part of a panel off its scale is drawn on
STEP_LABEL = "step (optimizer updates), log scale; step 0 is not shown"

_LEFT, _BOTTOM = 0.62, 0.47  # inches
_LINE = 0.17
_SMALL, _TITLE = FontProperties(size=SMALL), FontProperties(size=11.5, weight="bold")


class Said(TypedDict):
    """What stands around the panels of a figure, as of `make`."""

    title: str
    line: str
    notes: Sequence[str]


def make(
    num_rows: int,
    num_columns: int,
    *,
    title: str,
    line: str = "",
    notes: Sequence[str],
    handles: Sequence[Any],
    label: str,
    height: float = 1.35,
    gap: float = 0.14,
    left: float = _LEFT,
    right: float = 0.35,
    titled: int = 0,
    above: float = 0.0,
) -> tuple[Figure, list[list[axes.Axes]]]:
    """Makes a figure with a header and empty panels; outer ones have tick labels.

    Args:
      title: the finding, in words made from the numbers; of two lines at most.
      line: text below it; how many runs, and what is smoothed.
      notes: sentences that say how it was measured. They are not drawn: they stand in
        the numbers of the figure, and below it in a report.
      handles: of the legend, in as many rows as they need.
      label: of the horizontal axis, with its unit.
      height: of a panel, in inches; so are the others.
      gap: between panels.
      left: margin for what stands to the left of the panels.
      right: margin for what stands to the right of the panels.
      titled: number of lines of a title that each panel has; 0 if only those of the
        first row have one, of one line.
      above: further room over the first row of panels.
    """
    between = gap + 0.2 * (titled > 0) + _LINE * max(0, titled - 1)
    above += _LINE * max(0, titled - 1)
    titles = wrapped(title, WIDTH - 0.5, _TITLE)
    lines = wrapped(line, WIDTH - 0.5)
    below = 0.36 + 0.21 * (len(titles) - 1)  # where the line stands
    head = below + _LINE * len(lines)  # where the legend begins
    legend_width = sum(0.47 + text_width(handle.get_label()) for handle in handles)
    legend_rows = max(1, int(np.ceil(legend_width / WIDTH)))
    above += _LINE * (legend_rows - 1)
    total = head + 0.58 + above + num_rows * height + (num_rows - 1) * between + _BOTTOM
    width = (WIDTH - left - right - (num_columns - 1) * gap) / num_columns
    figure = Figure(figsize=(WIDTH, total))

    def write(text: str, down: float, **style: Any) -> None:
        figure.text(0.1 / WIDTH, 1 - down / total, text, va="top", **style)

    for index, text in enumerate(titles):
        place = 0.1 + 0.21 * index
        write(text, place, fontproperties=_TITLE, color=INK)
    for index, text in enumerate(lines):
        write(text, below + _LINE * index, fontsize=SMALL, color=FAINT)
    for note in notes:
        figure.text(0, 0, note, visible=False)
    figure.legend(
        handles=handles,
        loc="upper left",
        ncol=-(-len(handles) // legend_rows),
        frameon=False,
        bbox_to_anchor=(0.04 / WIDTH, 1 - head / total),
        fontsize=SMALL,
        handlelength=1.9,
        columnspacing=1.5,
        borderaxespad=0.2,
    )
    center = (left + (WIDTH - right - left) / 2) / WIDTH
    figure.text(center, 0.08 / total, label, fontsize=TEXT, ha="center", color=INK)
    panels: list[list[axes.Axes]] = []
    for row in range(num_rows):
        bottom = _BOTTOM + (num_rows - 1 - row) * (height + between)
        panels.append([])
        for column in range(num_columns):
            begin = left + column * (width + gap)
            box = (begin / WIDTH, bottom / total, width / WIDTH, height / total)
            panels[-1].append(_panel(figure, box, column == 0, row == num_rows - 1))
    return figure, panels


def _panel(
    figure: Figure,
    box: tuple[float, float, float, float],
    is_first: bool,
    is_last: bool,
) -> axes.Axes:
    """Adds a panel, with tick labels if it is first in its row, last in its column."""
    panel = figure.add_axes(box)
    panel.spines[:].set_color(RULE)
    panel.tick_params(
        labelsize=SMALL,
        color=RULE,
        labelcolor=INK,
        labelleft=is_first,
        labelbottom=is_last,
    )
    return panel


def wrapped(text: str, width: float, font: FontProperties = _SMALL) -> list[str]:
    """Returns the lines of a text that may be so wide, in inches."""
    if text_width(text, font) <= width:
        return [text]
    lines = [""]
    together = re.sub(r" ([=x]) ", "\xa0\\1\xa0", text)  # R = 4, and 4 x 2
    for word in together.split(" "):
        longer = f"{lines[-1]} {word}".lstrip()
        if text_width(longer, font) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [line for line in lines if line]


def text_width(text: str, font: FontProperties = _SMALL) -> float:
    """Returns the width of one line of text, in inches."""
    if not text.strip():
        return 0.0
    return TextPath((0, 0), text, prop=font).get_extents().width / 72


def use_steps(panel: axes.Axes, first: int, last: int) -> None:
    """Makes the horizontal axis one of steps, logarithmic, from `first` to `last`."""
    panel.set_xscale("log")
    panel.set_xlim(first / 1.08, last * 1.08)
    decades = np.log10(last / first)
    subs = (1, 2, 5) if decades < 1.3 else (1, 3) if decades < 2.5 else (1,)
    panel.xaxis.set_major_locator(ticker.LogLocator(subs=subs))
    panel.xaxis.set_major_formatter(lambda step, _: grokking.format_steps(step))
    panel.xaxis.set_minor_formatter(ticker.NullFormatter())
    panel.tick_params(which="minor", length=0)
    rule(panel)


def rule(panel: axes.Axes, axis: Literal["both", "x", "y"] = "both") -> None:
    """Draws the grid of a panel, below all else."""
    panel.grid(True, axis=axis, color="#ececec", lw=0.6)
    panel.set_axisbelow(True)


def add_scale(
    figure: Figure, panel: axes.Axes, shades: ScalarMappable, label: str
) -> Colorbar:
    """Adds the scale of shades to the right of a panel, as high as it is."""
    box = panel.get_position()
    scale = figure.add_axes((box.x1 + 0.12 / WIDTH, box.y0, 0.11 / WIDTH, box.height))
    bar = figure.colorbar(shades, cax=scale)
    bar.outline.set_visible(False)
    scale.tick_params(labelsize=SMALL, length=2, color=RULE)
    scale.set_ylabel(label, fontsize=SMALL, color=INK)
    return bar


def hide_rest(panels: Sequence[Sequence[axes.Axes]], used: int) -> None:
    """Hides the panels after the first `used`; those above them get tick labels."""
    flat = [panel for row in panels for panel in row]
    for index in range(used, len(flat)):
        flat[index].set_visible(False)
        flat[index - len(panels[0])].tick_params(labelbottom=True)


def label_row(panel: axes.Axes, text: str) -> None:
    """Writes the name of a row of panels to the right of its last one."""
    style = {"rotation": 270, "fontsize": TEXT, "color": INK}
    _write_beside(panel, text, 0.5, "axes fraction", **style)


def draw_level(panel: axes.Axes, level: float, label: str) -> None:
    """Draws a dashed line, its name to the right of the panel (empty: none)."""
    panel.axhline(level, color=FAINT, lw=0.9, ls=(0, (4, 3)), zorder=2)
    name_level(panel, level, label)


def draw_chance(panel: axes.Axes, level: float, label: str) -> None:
    """Draws a light line behind all others, on which a run that fails lies."""
    panel.axhline(level, color=RULE, lw=1.6, zorder=1)
    name_level(panel, level, label)


def name_level(panel: axes.Axes, level: float, label: str) -> None:
    """Writes a name to the right of the panel, at a level."""
    _write_beside(panel, label, level, "data", fontsize=SMALL, color=FAINT)


def _write_beside(
    panel: axes.Axes, text: str, at: float, upwards: str, **style: Any
) -> None:
    place: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points"}
    place["xycoords"] = ("axes fraction", upwards)
    panel.annotate(text, (1, at), va="center", **place, **style)


def write_in(panel: axes.Axes, text: str) -> None:
    """Says in the middle of an empty panel why it is empty."""
    panel.text(
        0.5,
        0.36,
        text,
        transform=panel.transAxes,
        ha="center",
        fontsize=SMALL,
        color=FAINT,
    )
