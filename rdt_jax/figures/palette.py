"""Colors, dashes and marks of lines: one place for the figures and the report.

    palette.of_loops(4).color   # of R = 4, in every figure of the project
    palette.SPLITS["ood"]       # of OOD rows: the color of no loop count

A split has a color, a loop count another, and they never meet. Groups that are neither
have COLORS, by their place.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib import colors

# Apart for every common color vision, and in gray.
SPLITS = {
    "train": "#8f8f8f", "id": "#0072b2", "ood": "#d55e00", "depth": "#cc79a7",
    "mixed": "#009e73",
}  # fmt: skip
# In gray some are alike, and the dash or the mark tells.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#222222")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*", "<")
# In units of the line's width.
DASHES = ("-", (0, (4, 1)), (0, (4, 1, 1, 1)), (0, (4, 1, 1, 1, 1, 1)))

# Of the second, third and fourth line of a split: parts of it, other loop counts.
_PARTS = ("-", "--", ":", "-.")
# Of R = 2, 4, 8 and 16 or more; between them the shades between.
_LOOPED = colors.LinearSegmentedColormap.from_list(
    "loops", ("#e3a800", "#8c63c7", "#46207f", "#1a0637")
)
_ONE_LOOP = "#222222", (0, (1, 0.8))


class Style(NamedTuple):
    """How the lines of a group are drawn, so that gray tells them apart as well."""

    color: str  # of lines and marks
    dash: Any  # a line style of matplotlib
    mark: str  # a marker of matplotlib


DRAWN_LOOPS = Style("#3aa6b9", DASHES[3], MARKS[3])  # drawn anew at every update


def of_place(index: int) -> Style:
    """Returns the style of the group with an index."""
    return Style(
        COLORS[index % len(COLORS)],
        DASHES[index % len(DASHES)],
        MARKS[index % len(MARKS)],
    )


def of_loops(count: int) -> Style:
    """Returns the style of a loop count: of one it is dotted; deeper is darker."""
    if count == 1:
        return Style(*_ONE_LOOP, MARKS[0])
    place = count // 2 - 1
    color = colors.to_hex(_LOOPED(min(1.0, float(np.log2(count) - 1) / 3)))
    return of_place(place)._replace(color=color)


def of_each_loops(counts: Iterable[int]) -> dict[int, Style]:
    """Returns the style of each of some loop counts."""
    return {count: of_loops(count) for count in counts}


def of_groups(watched: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns how lines of accuracies look: a split's color, dashes for its parts."""
    found: dict[str, dict[str, Any]] = {}
    for each in watched:
        color = SPLITS[re.split(r"[\[@]", each)[0]]
        same = sum(style["color"] == color for style in found.values())
        found[each] = {"color": color, "ls": _PARTS[same % len(_PARTS)]}
    return found


def shades_of(values: Sequence[Any]) -> dict[Any, Style]:
    """Returns a style per value of an ascending order: later is darker."""
    shades = matplotlib.colormaps["viridis_r"](np.linspace(0.28, 0.95, len(values)))
    return {
        value: of_place(index)._replace(color=colors.to_hex(shade))
        for index, (value, shade) in enumerate(zip(values, shades, strict=True))
    }


def ink_on(color: str) -> str:
    """Returns the text color that reads best on a color: black, or white."""
    channels = np.array(colors.to_rgb(color))
    linear = np.where(
        channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
    )
    # From here on the contrast with black is the higher one (WCAG 2.1).
    return "black" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "white"
