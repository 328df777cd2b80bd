"""The page itself: one file of HTML from the numbers of `report.data`.

    html = rendering.render(data.of_sweeps(..))

Everything is inside: the numbers once, as JSON; the charts' JavaScript (Vega, Vega-Lite
and Vega-Embed, as vl-convert bundles them); page.css and SCRIPTS. The page's policy
allows these scripts and styles by their hashes, and nothing else: no request, no
evaluated code. What numbers and words say is escaped by the template, or set as text.
"""

import base64
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from rdt_jax.report import inside, styles

SCRIPTS = ("page.js", "tables.js", "inside.js")
_HERE = pathlib.Path(__file__).parent


def render(data: Mapping[str, Any]) -> str:
    """Returns the page of the numbers of some sweeps.

    Args:
      data: as `report.data.of_sweeps` returns it.

    Raises:
      ValueError: if a number in it is not finite.
    """
    sweeps = [sweep | {"styles": styles.of_cells(sweep)} for sweep in data["sweeps"]]
    style = _read("page.css") + _colors(sweeps)
    scripts = [_bundle(), *map(_read, SCRIPTS)]
    hashes = " ".join(map(_hash, scripts))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html").render(
        page=data,
        sweeps=sweeps,
        policy=f"default-src 'none'; script-src {hashes}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        style=style,
        scripts=scripts,
        dashes=styles.DASHES,
        data=_json({**data, "sweeps": sweeps}),
        charts=_charts(),
    )


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
    return _json({**drawn, "dashes": styles.DASHES})


@functools.cache
def _bundle() -> str:
    """Returns the JavaScript of the charts, made once per process (a second)."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def _colors(sweeps: Sequence[Mapping[str, Any]]) -> str:
    """Returns a variable per color of groups and cells, for light and dark paper."""
    styled = [each for sweep in sweeps for each in (*sweep["groups"], *sweep["styles"])]
    colors = sorted({each["color"] for each in styled} | inside.COLORS)
    light = "".join(f"--c{color[1:]}:{color};" for color in colors)
    dark = "".join(f"--c{color[1:]}:{styles.on_dark(color)};" for color in colors)
    is_dark = "@media screen and (prefers-color-scheme:dark)"
    return f":root{{{light}}}{is_dark}{{:root{{{dark}}}}}"
