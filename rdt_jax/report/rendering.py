"""The page itself: one file of HTML from the numbers of `report.data`.

    html = rendering.render(data.of_sweeps(..))

Everything is inside: the numbers once, as JSON; the charts' JavaScript (Vega, Vega-Lite
and Vega-Embed, as vl-convert bundles them); page.css and SCRIPTS. The page's policy
allows these scripts and styles by their hashes, and nothing else: no request, no
evaluated code. What numbers and words say is escaped by the template, or set as text.
"""

import base64
import contextlib
import functools
import hashlib
import importlib.metadata
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from rdt_jax import machine
from rdt_jax.analysis.runs import LOOPS
from rdt_jax.figures import palette
from rdt_jax.report import inside
from rdt_jax.store import files

SCRIPTS = ("page.js", "tables.js", "inside.js")
# Lengths of dashes and gaps, in pixels, of a line style of matplotlib.
DASHES = {"-": [1, 0], "--": [5, 3], ":": [1.5, 2], "-.": [6, 2, 1.5, 2]}
_LIFTED = "color:oklch(from red l c h)"  # what not all browsers know
_ENTRY = "vegaEmbed"  # what page.js calls of the charts' JavaScript
_HERE = pathlib.Path(__file__).parent


def render(data: Mapping[str, Any]) -> str:
    """Returns the page of the numbers of some sweeps.

    Args:
      data: as `report.data.of_sweeps` returns it.

    Raises:
      ValueError: if a number in it is not finite.
    """
    sweeps = [sweep | {"styles": cell_styles(sweep)} for sweep in data["sweeps"]]
    numbers = [sweep | {"figures": []} for sweep in sweeps]  # Images are in the page.
    style = _read("page.css") + _colors(sweeps)
    scripts = [bundle(), *map(_read, SCRIPTS)]
    hashes = " ".join(map(_hash, scripts))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    return environment.get_template("page.html").render(
        page=data, sweeps=sweeps, style=style, scripts=scripts, dashes=DASHES,
        data=_json({**data, "sweeps": numbers}), charts=_charts(),
        policy=f"default-src 'none'; script-src {hashes}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'",
    )  # fmt: skip


def cell_styles(sweep: Mapping[str, Any]) -> list[dict[str, str]]:
    """Returns color and dash of the lines of each cell of a sweep of the page's data.

    Cells have the color of their loop count where the sweep varies it, and among those
    of one color other dashes; else each has a color of its own.
    """
    shades = [palette.of_place(i).color for i in range(len(sweep["cells"]))]
    for place, axis in enumerate(sweep["axes"]):
        if axis["key"] == LOOPS:
            loops = [int(axis["values"][c["values"][place]]) for c in sweep["cells"]]
            by_loops = palette.of_each_loops(sorted({*loops}))
            shades = [by_loops[count].color for count in loops]
    return [
        {"color": shade, "dash": [*DASHES][shades[:index].count(shade) % len(DASHES)]}
        for index, shade in enumerate(shades)
    ]


def _json(value: Any) -> str:
    """Returns JSON in which no markup can end the element that holds it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


@functools.cache
def _charts() -> str:
    """Returns the charts and the dashes of their lines, made once per process."""
    from rdt_jax.report import charts, inside_charts  # Altair takes a second to import.

    drawn = charts.specs() | inside_charts.specs()
    return _json({**drawn, "dashes": DASHES})


@functools.cache
def bundle() -> str:
    """Returns the JavaScript of the charts, made once per version of vl-convert."""
    version, kept = importlib.metadata.version("vl-convert-python"), None
    with contextlib.suppress(OSError, RuntimeError):  # Then it takes a second more.
        kept = machine.private_cache("report") / f"{_ENTRY}-{version}.js"
        return kept.read_text(encoding="utf-8")
    import vl_convert

    script = vl_convert.javascript_bundle(f"window.{_ENTRY} = {_ENTRY};")
    if kept is not None:
        with contextlib.suppress(OSError):
            files.write_text(kept, script)
    return script


def _colors(sweeps: Sequence[Mapping[str, Any]]) -> str:
    """Returns a variable per color of a line; its lightness is at least `--least`."""
    styled = [each for sweep in sweeps for each in (*sweep["groups"], *sweep["styles"])]
    colors = sorted({each["color"] for each in styled} | inside.COLORS)
    plain = "".join(f"--c{color[1:]}:{color};" for color in colors)
    lifted = "".join(
        f"--c{color[1:]}:oklch(from {color} max(l,var(--least)) c h);"
        for color in colors
    )
    return f":root{{{plain}}}@supports({_LIFTED}){{:root{{{lifted}}}}}"
