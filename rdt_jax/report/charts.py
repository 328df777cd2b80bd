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


def _diagram(scale: Any, title: str, label: str) -> Spec:
    """Draws a field per cell; the parameter `chosen` has the cells with a frame."""
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
    cells = rows("cells").encode(
        x=alt.X("column:N", axis=alt.Axis(labelAngle=0, orient="top"), scale=gaps),
        y=alt.Y("row:N", scale=gaps),
    )
    is_chosen = "indexof(chosen, datum.cell) >= 0"
    fields = cells.mark_rect(
        cornerRadius=4, cursor="pointer", invalid=None, tooltip=HINT
    ).encode(
        color=alt.when(_IS_KNOWN).then(shade).otherwise(alt.value("url(#beyond)")),
        stroke=either(is_chosen, INK, RULE),
        strokeWidth=either(is_chosen, 2.5, 0.5),
        description="spoken:N",
    )
    known = alt.when(_IS_DARK).then(alt.value("#ffffff")).when(_IS_KNOWN)
    ink = known.then(alt.value("#222222")).otherwise(alt.value(INK))
    median = cells.mark_text(dy=-7, fontSize=13, aria=False).encode(text="text:N")
    count = cells.mark_text(dy=9, fontSize=11, aria=False).encode(text="count:N")
    drawn = alt.layer(fields, median.encode(fill=ink), count.encode(fill=ink))
    return finished(drawn.add_params(alt.param(name="chosen", value=[])))


def _curves(scale: alt.Scale) -> Spec:
    """Draws a line per run and group; a rule where the pointer is says the values."""
    x = alt.X("step:Q", title=None, axis=alt.Axis(labelExpr=STEPS, tickCount=5))
    y = alt.Y("value:Q", title=None, scale=scale, axis=alt.Axis(tickCount=5))
    stroke = raw(alt.Stroke, "color:N")
    lines = rows("lines").mark_line(strokeJoin="round")
    levels = rows("levels").mark_rule(strokeDash=[4, 3], opacity=0.7, aria=False)
    marks = rows("marks").mark_point(size=55, strokeWidth=2, opacity=1)
    hover = alt.selection_point(
        name="hover", nearest=True, on="pointermove", clear="pointerout",
        fields=["step"], empty=False,
    )  # fmt: skip
    steps = rows("steps").mark_rule(stroke=FAINT, aria=False, tooltip=HINT)
    drawn = alt.layer(
        levels.encode(y=y, stroke=stroke),
        lines.encode(
            x=x,
            y=y,
            stroke=stroke,
            detail=["run:N", "series:N"],
            strokeDash=raw(alt.StrokeDash, "dash:N"),
            strokeWidth=raw(alt.StrokeWidth, "width:Q"),
            opacity=raw(alt.Opacity, "opacity:Q"),
            description="spoken:N",
        ),
        steps.encode(x=x, opacity=either(hover, 0.6, 0)).add_params(hover),
        marks.encode(
            x=x,
            y=y,
            stroke=stroke,
            fill=raw(alt.Fill, "fill:N"),
            description="spoken:N",
        ),
    )
    return finished(drawn, width="container", height=190)


def _timeline() -> Spec:
    """Draws a bar per phase of one run, from onset to completion, and its events."""
    shared = {
        "x": alt.X("step:Q", title=None, axis=alt.Axis(labelExpr=STEPS, tickCount=6)),
        "y": alt.Y("phase:N", sort=None, title=None),
        "stroke": raw(alt.Stroke, "color:N"),
    }
    bars = rows("bars").mark_rule(strokeWidth=4, aria=False)
    marks = rows("marks").mark_point(size=90, strokeWidth=2, opacity=1, tooltip=HINT)
    drawn = alt.layer(
        bars.encode(**shared, x2="until:Q", strokeDash=raw(alt.StrokeDash, "dash:N")),
        marks.encode(
            **shared,
            fill=raw(alt.Fill, "fill:N"),
            description="spoken:N",
        ),
    )
    return finished(drawn, width="container")
