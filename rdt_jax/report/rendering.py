"""The page itself: one file of HTML from the numbers of `report.data`.

    html = rendering.render(data.of_sweeps(..))

Everything is inside: the numbers once, as JSON; the charts' JavaScript (Vega, Vega-Lite
and Vega-Embed, as vl-convert bundles them); page.css and page.js. The page's policy
allows these scripts and styles by their hashes, and nothing else: no request, no
evaluated code. What numbers and words say is escaped by the template, or set as text.
"""

import base64
import functools
import hashlib
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jinja2
import vl_convert

from rdt_jax.report import charts

_HERE = pathlib.Path(__file__).parent
SCRIPTS = ("page.js",)


def render(data: Mapping[str, Any]) -> str:
    """Returns the page of the numbers of some sweeps.

    Args:
      data: as `report.data.of_sweeps` returns it.

    Raises:
      ValueError: if a number in it is not finite.
    """
    sweeps = [sweep | {"styles": charts.cell_styles(sweep)} for sweep in data["sweeps"]]
    style = _read("page.css") + _colors(sweeps)
    scripts = [_bundle(), *map(_read, SCRIPTS)]
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
        policy=_policy(scripts, style),
        style=style,
        scripts=scripts,
        dashes=charts.DASHES,
        data=_json({**data, "sweeps": sweeps}),
        charts=_json({**charts.specs(), "dashes": charts.DASHES}),
    )


def _json(value: Any) -> str:
    """Returns JSON in which no markup can end the element that holds it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _policy(scripts: list[str], style: str) -> str:
    """Returns the content-security policy: what is in the page, by its hash."""
    allowed = " ".join(map(_hash, scripts))
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


@functools.cache
def _bundle() -> str:
    """Returns the charts' JavaScript; it takes seconds to make, once per process."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def _colors(sweeps: list[dict[str, Any]]) -> str:
    """Returns a variable per color of groups and cells, for light and dark paper."""
    colors = sorted(set(_colors_of(sweeps)))
    light = "".join(f"--c{color[1:]}:{color};" for color in colors)
    on_dark = charts.on_dark(colors).items()
    dark = "".join(f"--c{color[1:]}:{lighter};" for color, lighter in on_dark)
    return (
        f":root{{{light}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    )


def _colors_of(sweeps: list[dict[str, Any]]) -> Iterator[str]:
    for sweep in sweeps:
        for styled in (*sweep["groups"], *sweep["styles"]):
            yield styled["color"]
