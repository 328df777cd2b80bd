"""Colors and dashes of the lines of a page: those of the figures, also on dark paper.

styles.of_cells(sweep)[0]     # {"color": "#707070", "dash": "-"}: one loop
styles.on_dark("#0072b2")     # "#2486bd"
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colors

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
    shades = [page.style_of(i).color for i in range(len(sweep["cells"]))]
    for place, axis in enumerate(sweep["axes"]):
        if axis["key"] == LOOPS:
            loops = [int(axis["values"][c["values"][place]]) for c in sweep["cells"]]
            by_loops = page.loop_styles(sorted({*loops}))
            shades = [by_loops[count].color for count in loops]
    return [
        {"color": shade, "dash": [*DASHES][shades[:index].count(shade) % len(DASHES)]}
        for index, shade in enumerate(shades)
    ]


def on_dark(color: str) -> str:
    """Returns a color as it is drawn on dark paper: with white if it is too dark."""
    mixed = np.array(colors.to_rgb(color))
    while mixed**2.2 @ (0.2126, 0.7152, 0.0722) < _LEAST_LUMINANCE:
        mixed += (1 - mixed) * 0.05
    red, green, blue = mixed
    return colors.to_hex((red, green, blue))
