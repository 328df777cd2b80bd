"""The charts of the page: Vega-Lite specs that know no data and no sweep.

    specs()["accuracy"]   # a dict; page.js gives it rows, titles and widths

Rows come in named data sets: `cells` of the phase diagram, `lines`, `marks`, `levels`
and `steps` of the curves, `bars` and `marks` of a run's time line. Colors are variables
of the page's style, so that light, dark and print show the same drawing.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import altair as alt

from rdt_jax.analysis.runs import LOOPS
from rdt_jax.figures import page

Spec = dict[str, Any]

INK, FAINT, RULE = "var(--ink)", "var(--faint)", "var(--rule)"
DASHES = {"-": [1, 0], "--": [5, 3], ":": [1.5, 2], "-.": [6, 2, 1.5, 2]}
STEPS = "format(datum.value, '.3~s')"  # As the figures: 950, 2.25k, 10k.

_TEXT = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12}
CONFIG: Spec = {
    "background": "transparent",
    "font": "inherit",
    "view": {"stroke": None},
    "axis": {
        **_TEXT, "titleFontWeight": 500, "domain": False, "ticks": False,
        "gridColor": "var(--grid)", "labelPadding": 6, "labelLimit": 320,
    },
    "legend": {**_TEXT, "titleFontWeight": 500, "titleLimit": 320},
}  # fmt: skip

_LEAST_LUMINANCE = 0.2  # of a line on dark paper: a contrast of 4 to 1
_IS_KNOWN = "datum.kind === 'known'"


def specs() -> dict[str, Spec]:
    """Returns the charts of the page by name."""
    return {
        "diagram_steps": _diagram("log", "updates (median)", STEPS),
        "diagram_share": _diagram("linear", "accuracy (median)", "datum.label"),
        "accuracy": _curves("accuracy", alt.Scale(domain=[0, 1])),
        "loss": _curves("loss", alt.Scale(type="symlog", constant=0.1, zero=True)),
        "timeline": _timeline(),
    }


def finished(chart: alt.TopLevelMixin, **properties: Any) -> Spec:
    """Returns the spec of a chart in the page's style, with further properties."""
    return chart.to_dict() | {"config": CONFIG} | properties


def cell_styles(sweep: Mapping[str, Any]) -> list[dict[str, str]]:
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


def _diagram(scale: Any, title: str, label: str) -> Spec:
    """Draws a field per cell.

    Its parameter `chosen` holds the numbers of the cells that have a frame.
    """
    chosen = alt.param(name="chosen", value=[])
    is_chosen = "indexof(chosen, datum.cell) >= 0"
    shade = alt.Color(
        "value:Q",
        scale=alt.Scale(
            type=scale,
            scheme=alt.SchemeParams(name="viridis", extent=[0.96, 0.08]),
            nice=False,
        ),
        legend=alt.Legend(
            title=title, orient="bottom", direction="horizontal", labelExpr=label,
            type="symbol", symbolType="square", symbolSize=190, tickCount=5, offset=10,
        ),
    )  # fmt: skip
    gaps = alt.Scale(paddingInner=0.07, paddingOuter=0.05)
    cells = alt.Chart(alt.NamedData("cells")).encode(
        x=alt.X("column:N", axis=alt.Axis(labelAngle=0, orient="top"), scale=gaps),
        y=alt.Y("row:N", scale=gaps),
    )
    fields = cells.mark_rect(cornerRadius=4, cursor="pointer", invalid=None).encode(
        color=alt.when(_IS_KNOWN).then(shade).otherwise(alt.value("url(#beyond)")),
        stroke=alt.when(is_chosen).then(alt.value(INK)).otherwise(alt.value(RULE)),
        strokeWidth=alt.when(is_chosen).then(alt.value(2.5)).otherwise(alt.value(0.5)),
        tooltip=[
            alt.Tooltip("label:N", title="cell"),
            alt.Tooltip("text:N", title="median"),
            alt.Tooltip("spread:N", title="spread"),
            alt.Tooltip("count:N", title="reached"),
            alt.Tooltip("state:N", title="runs"),
        ],
        description="spoken:N",
    )
    is_dark = f"{_IS_KNOWN} && luminance(scale('color', datum.value)) < 0.21"
    ink = (
        alt.when(is_dark)
        .then(alt.value("#ffffff"))
        .when(_IS_KNOWN)
        .then(alt.value("#222222"))
        .otherwise(alt.value(INK))
    )
    written = [
        cells.mark_text(dy=dy, fontSize=size, aria=False).encode(
            text=f"{field}:N", fill=ink
        )
        for field, dy, size in (("text", -7, 13), ("count", 9, 11))
    ]
    return finished(alt.layer(fields, *written).add_params(chosen))


def _curves(quantity: str, scale: alt.Scale) -> Spec:
    """Draws a line per run and group; each row says its color and dash."""
    x = alt.X("step:Q", title=None, axis=alt.Axis(labelExpr=STEPS, tickCount=5))
    y = alt.Y("value:Q", title=None, scale=scale, axis=alt.Axis(tickCount=5))
    color = alt.Stroke("color:N", scale=None)
    named = lambda name: alt.Chart(alt.NamedData(name))
    lines = (
        named("lines")
        .mark_line(strokeJoin="round")
        .encode(
            x=x,
            y=y,
            stroke=color,
            detail=["run:N", "series:N"],
            strokeDash=alt.StrokeDash("dash:N", scale=None),
            strokeWidth=alt.StrokeWidth("width:Q", scale=None),
            opacity=alt.Opacity("opacity:Q", scale=None),
            description="spoken:N",
        )
    )
    levels = named("levels").mark_rule(strokeDash=[4, 3], opacity=0.7, aria=False)
    marks = named("marks").mark_point(size=55, strokeWidth=2, opacity=1)
    hover = alt.selection_point(
        name="hover",
        nearest=True,
        on="pointermove",
        clear="pointerout",
        fields=["step"],
        empty=False,
    )
    steps = (
        named("steps")
        .mark_rule(stroke=FAINT, aria=False, tooltip=alt.TooltipContent("data"))
        .encode(
            x=x,
            opacity=alt.when(hover).then(alt.value(0.6)).otherwise(alt.value(0)),
        )
        .add_params(hover)
    )
    drawn = alt.layer(
        levels.encode(y=y, stroke=color),
        lines,
        steps,
        marks.encode(
            x=x,
            y=y,
            stroke=color,
            fill=alt.Fill("fill:N", scale=None),
            description="spoken:N",
        ),
    )
    return finished(drawn, width="container", height=190, usermeta={"y": quantity})


def _timeline() -> Spec:
    """Draws a bar per phase of one run, from onset to completion, and its events."""
    x = alt.X("step:Q", title=None, axis=alt.Axis(labelExpr=STEPS, tickCount=6))
    y = alt.Y("phase:N", sort=None, title=None)
    color = alt.Stroke("color:N", scale=None)
    fill = alt.Fill("fill:N", scale=None)
    bars = (
        alt.Chart(alt.NamedData("bars"))
        .mark_rule(strokeWidth=4, aria=False)
        .encode(
            x=x,
            x2="until:Q",
            y=y,
            stroke=color,
            strokeDash=alt.StrokeDash("dash:N", scale=None),
        )
    )
    marks = (
        alt.Chart(alt.NamedData("marks"))
        .mark_point(size=90, strokeWidth=2, opacity=1)
        .encode(
            x=x,
            y=y,
            stroke=color,
            fill=fill,
            tooltip=[alt.Tooltip("name:N", title="event"), alt.Tooltip("at:N")],
            description="spoken:N",
        )
    )
    sizes = {
        "width": "container",
        "height": {"step": 30},
        "autosize": {"type": "fit-x"},
    }
    return finished(alt.layer(bars, marks), **sizes)
