"""The numbers of a figure: what is drawn, without how it looks.

They are what must come out again when a figure is drawn from the same run folders:
the data of lines, points, areas, bars, images and texts, in the order of drawing.
"""

import math
from typing import Any

import numpy as np
from matplotlib import axes
from matplotlib.figure import Figure

from rdt_jax import wording

TOLERANCE = 1e-6  # relative, and of 1 where numbers are small


def of(figure: Figure) -> dict[str, Any]:
    """Returns the numbers and words of a figure as a JSON value.

    What is not drawn, being no number or infinite, is None.
    """
    return {
        "texts": [text.get_text() for text in figure.texts if text.get_visible()],
        "notes": [t.get_text() for t in figure.texts if not t.get_visible()],
        "legends": [
            [text.get_text() for text in legend.get_texts()]
            for legend in figure.legends
        ],
        "panels": [_of_panel(panel) for panel in figure.axes],
    }


def difference(stored: Any, drawn: Any, where: str = "") -> str | None:
    """Says where two such values first differ, and how; None if they do not."""
    if isinstance(stored, dict) and isinstance(drawn, dict):
        if stored.keys() != drawn.keys():
            return _differs(where, sorted(stored), sorted(drawn))
        pairs = [(f"{where} {key}".strip(), stored[key], drawn[key]) for key in stored]
    elif isinstance(stored, list) and isinstance(drawn, list):
        if len(stored) != len(drawn):
            there_were = wording.count(len(stored), "value")
            return f"{where}: {there_were} stored, {len(drawn)} drawn"
        pairs = [
            (f"{where}[{index}]", *each)
            for index, each in enumerate(zip(stored, drawn, strict=True))
        ]
    elif _is_number(stored) and _is_number(drawn):
        close = math.isclose(stored, drawn, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        return None if close else _differs(where, stored, drawn)
    else:
        return None if stored == drawn else _differs(where, stored, drawn)
    found = (difference(one, other, place) for place, one, other in pairs)
    return next(filter(None, found), None)


def _of_panel(panel: axes.Axes) -> dict[str, Any]:
    return {
        "titles": [
            panel.get_title(),
            panel.get_xlabel(),
            panel.get_ylabel(),
            panel.get_xscale(),
            panel.get_yscale(),
        ],
        "texts": [text.get_text() for text in panel.texts],
        "lines": [_list(line.get_xydata()) for line in panel.lines],
        "points": [_list(each.get_offsets()) for each in panel.collections],
        "areas": [
            [_list(path.vertices) for path in each.get_paths()]
            for each in panel.collections
        ],
        "values": [
            [] if each.get_array() is None else _list(each.get_array())
            for each in panel.collections
        ],
        "patches": [_list(patch.get_path().vertices) for patch in panel.patches],
        "places": [_list(patch.get_patch_transform()) for patch in panel.patches],
        "images": [_list(image.get_array()) for image in panel.images],
    }


def _list(values: Any) -> Any:
    if hasattr(values, "get_matrix"):  # A transform.
        values = values.get_matrix()
    numbers: np.ndarray = np.ma.filled(np.ma.asarray(values, float), np.nan)
    found = numbers.astype(object)
    found[~np.isfinite(numbers)] = None  # JSON has no NaN.
    return found.tolist()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _differs(where: str, stored: Any, drawn: Any) -> str:
    return f"{where}: {stored!r} stored, {drawn!r} drawn"
