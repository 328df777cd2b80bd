"""The charts of the page: Vega-Lite specs that know no data and no sweep.

    specs()["accuracy"]   # a dict; page.js gives it rows, titles and widths

Rows come in named data sets: `cells` of the phase diagram, `lines`, `marks`, `levels`
and `steps` of the curves, `bars` and `marks` of a run's time line. Colors are variables
of the page's style, so that light, dark and print show the same drawing.
"""

from typing import Any

import altair as alt

Spec = dict[str, Any]

INK, FAINT, RULE = "var(--ink)", "var(--faint)", "var(--rule)"
# What a row says under the pointer: an object. The nearest row comes inside another.
HINT = alt.ExprRef("(datum.datum || datum).hint")
STEPS = "format(datum.value, '.3~s')"  # As the figures: 950, 2.25k, 10k.

_TEXT = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12}
CONFIG: Spec = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        **_TEXT, "titleFontWeight": 500, "domain": False, "ticks": False,
        "gridColor": "var(--grid)", "labelPadding": 6, "labelLimit": 420,
    },
    "legend": {**_TEXT, "titleFontWeight": 500, "titleLimit": 320},
}  # fmt: skip

_IS_KNOWN = "datum.kind === 'known'"
_IS_DARK = f"{_IS_KNOWN} && luminance(scale('color', datum.value)) < 0.21"


def specs() -> dict[str, Spec]:
    """Returns the charts of the page by name."""
    return {
        "diagram_steps": _diagram("log", "updates (median)", STEPS),
        "diagram_share": _diagram("linear", "accuracy (median)", "datum.label"),
        "accuracy": _curves(alt.Scale(domain=[0, 1])),
        "loss": _curves(alt.Scale(type="symlog", constant=0.1, zero=True)),
        "timeline": _timeline(),
    }


def finished(chart: alt.TopLevelMixin, **properties: Any) -> Spec:
    """Returns the spec of a chart in the page's style, with further properties."""
    return chart.to_dict() | {"config": CONFIG} | properties


def rows(name: str) -> alt.Chart:
    """Returns a chart of a data set."""
    return alt.Chart(alt.NamedData(name))


def either(test: Any, then: Any, otherwise: Any) -> Any:
    """Returns a channel that has one value where a test holds, else another."""
    return alt.when(test).then(alt.value(then)).otherwise(alt.value(otherwise))


def raw(channel: Any, field: str) -> Any:
    """Returns a channel whose values are in the rows: a color, a width, a dash."""
    return channel(field, scale=None)


# Channels that charts share.
_STEP = alt.X("step:Q", title=None, axis=alt.Axis(labelExpr=STEPS, tickCount=5))
_STROKE, _FILL = raw(alt.Stroke, "color:N"), raw(alt.Fill, "fill:N")
_DASH, _SPOKEN = raw(alt.StrokeDash, "dash:N"), alt.Description("spoken:N")


def _diagram(scale: Any, title: str, label: str) -> Spec:
    """Draws a field per cell; the parameter `chosen` has the cells with a frame."""
    viridis = alt.SchemeParams(name="viridis", extent=[0.96, 0.08])
    legend = alt.Legend(
        title=title, orient="bottom", direction="horizontal", labelExpr=label,
        type="symbol", symbolType="square", symbolSize=190, tickCount=5, offset=10,
    )  # fmt: skip
    shade = alt.Color("value:Q", legend=legend)
    shade = shade.scale(type=scale, scheme=viridis, nice=False)
    gaps = alt.Scale(paddingInner=0.07, paddingOuter=0.05)
    above = alt.Axis(labelAngle=0, orient="top")
    x, y = alt.X("column:N", axis=above, scale=gaps), alt.Y("row:N", scale=gaps)
    cells, is_chosen = rows("cells").encode(x, y), "indexof(chosen, datum.cell) >= 0"
    fields = cells.mark_rect(
        cornerRadius=4, cursor="pointer", invalid=None, tooltip=HINT
    )
    fields = fields.encode(
        _SPOKEN,
        color=alt.when(_IS_KNOWN).then(shade).otherwise(alt.value("url(#beyond)")),
        stroke=either(is_chosen, INK, RULE),
        strokeWidth=either(is_chosen, 2.5, 0.5),
    )
    known = alt.when(_IS_DARK).then(alt.value("#ffffff")).when(_IS_KNOWN)
    ink = known.then(alt.value("#222222")).otherwise(alt.value(INK))
    median = cells.mark_text(dy=-7, fontSize=13, aria=False).encode(text="text:N")
    count = cells.mark_text(dy=9, fontSize=11, aria=False).encode(text="count:N")
    drawn = alt.layer(fields, median.encode(fill=ink), count.encode(fill=ink))
    return finished(drawn.add_params(alt.param(name="chosen", value=[])))


def _curves(scale: alt.Scale) -> Spec:
    """Draws a line per run and group; a rule where the pointer is says the values."""
    y = alt.Y("value:Q", title=None, scale=scale, axis=alt.Axis(tickCount=5))
    levels = rows("levels").mark_rule(strokeDash=[4, 3], opacity=0.7, aria=False)
    lines = rows("lines").mark_line(strokeJoin="round").encode(
        _STEP, y, _STROKE, _DASH, _SPOKEN,
        raw(alt.StrokeWidth, "width:Q"),
        raw(alt.Opacity, "opacity:Q"),
        detail=["run:N", "series:N"],
    )  # fmt: skip
    hover = alt.selection_point(
        name="hover", nearest=True, on="pointermove", clear="pointerout",
        fields=["step"], empty=False,
    )  # fmt: skip
    steps = rows("steps").mark_rule(stroke=FAINT, aria=False, tooltip=HINT)
    steps = steps.encode(_STEP, opacity=either(hover, 0.6, 0)).add_params(hover)
    marks = rows("marks").mark_point(size=55, strokeWidth=2, opacity=1)
    marks = marks.encode(_STEP, y, _STROKE, _FILL, _SPOKEN)
    drawn = alt.layer(levels.encode(y, _STROKE), lines, steps, marks)
    return finished(drawn, width="container", height=190)


def _timeline() -> Spec:
    """Draws a bar per phase of one run, from onset to completion, and its events."""
    shared = _STEP, alt.Y("phase:N", sort=None, title=None), _STROKE
    bars = rows("bars").mark_rule(strokeWidth=4, aria=False)
    marks = rows("marks").mark_point(size=90, strokeWidth=2, opacity=1, tooltip=HINT)
    drawn = alt.layer(
        bars.encode(*shared, _DASH, x2="until:Q"),
        marks.encode(*shared, _FILL, _SPOKEN),
    )
    return finished(drawn, width="container")
