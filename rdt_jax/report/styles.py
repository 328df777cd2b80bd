"""Colors and dashes of the lines of a page: those of the figures, also on dark paper.

styles.of_cells(sweep)[0]         # {"color": "#707070", "dash": "-"}: one loop
styles.on_dark(["#0072b2"])       # {"#0072b2": "#2486bd"}
"""

from collections.abc import Iterable, Mapping
from typing import Any

from rdt_jax.analysis.runs import LOOPS
from rdt_jax.figures import page

# Lengths of dashes and gaps, in pixels, of a line style of matplotlib.
DASHES = {"-": [1, 0], "--": [5, 3], ":": [1.5, 2], "-.": [6, 2, 1.5, 2]}
_LEAST_LUMINANCE = 0.2  # of a line on dark paper: a contrast of 4 to 1


def of_cells(sweep: Mapping[str, Any]) -> list[dict[str, str]]:
    """Returns color and dash of the lines of each cell of a sweep of the page's data.

    Cells have the color of their loop count where the sweep varies it, and among those
    of one color other dashes; else each has a color of its own.

    Args:
      sweep: an entry of `sweeps`, with `axes` and `cells`.
    """
    keys = [axis["key"] for axis in sweep["axes"]]
    if LOOPS in keys:
        place = keys.index(LOOPS)
        loops = [int(value) for value in sweep["axes"][place]["values"]]
        by_loops = page.loop_styles(loops)
        colors = [by_loops[loops[c["values"][place]]].color for c in sweep["cells"]]
    else:
        colors = [page.style_of(i).color for i in range(len(sweep["cells"]))]
    dashes = list(DASHES)
    return [
        {"color": color, "dash": dashes[colors[:index].count(color) % len(dashes)]}
        for index, color in enumerate(colors)
    ]


def on_dark(colors: Iterable[str]) -> dict[str, str]:
    """Returns by color how it is drawn on dark paper: lighter where it is too dark.

    Args:
      colors: hexadecimal colors, such as `#0072b2`.
    """
    return {color: _lightened(color) for color in colors}


def _lightened(color: str) -> str:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    weights = (0.2126, 0.7152, 0.0722)
    while sum(w * p**2.2 for w, p in zip(weights, parts, strict=True)) < (
        _LEAST_LUMINANCE
    ):
        parts = [part + (1 - part) * 0.05 for part in parts]
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)
