"""The charts of the views of report/inside.py: Vega-Lite over data named `rows`."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from rdt_jax.figures import page
from rdt_jax.report import charts, inside

_HEADER = alt.Header(
    labelColor=charts.INK, labelFontSize=12, titleColor=charts.INK, labelLimit=240
)
_WHOLE = "datum.value % 1 ? '' : format(datum.value, 'd')"  # labels of an axis
_DEPTH = "effective depth (blocks run so far)"


def specs() -> dict[str, charts.Spec]:
    """Returns the charts of the views as `inside.NAME`."""
    unit: dict[str, Any] = {"domain": (0, 1)}
    drawn = {
        "lens": _lines(_DEPTH, "share of rows", inside.READ, inside.DECODED, **unit),
        "patching": _map(),
        "knockout": _lines(
            "block of the pass, from 1", "share lost", inside.HOPS, inside.ASKED, **unit
        ),
        "geometry": _lines(
            _DEPTH, "alignment (cosine)", inside.GROUPS, domain=(-0.15, 1)
        ),
        "losses": _lines(page.STEP_LABEL, "loss (nats)", inside.LOSSES, type="log"),
        "spectrum": _lines("frequency", "share of variance", inside.SPECTRA, **unit),
    }
    legend: dict[str, Any] = {
        "layout": {"top": {"direction": "vertical"}},
        "columnPadding": 24,
    }
    legend |= {"symbolType": "stroke", "symbolOpacity": 1, "symbolStrokeWidth": 3}
    config = charts.CONFIG | {
        "legend": charts.CONFIG["legend"] | legend | {"orient": "top"}
    }
    return {
        f"inside.{name}": charts.finished(each, config=config)
        for name, each in drawn.items()
    }


def _lines(
    x: str, y: str, colors: Mapping[str, str], dashes: Sequence[str] = (), **scale: Any
) -> alt.FacetChart:
    """Draws medians over runs by `x` in bands from lowest to highest, a panel per cell.

    Steps are logarithmic; `colors` are those of the values of the axis `line`, `dashes`
    the values of `dash`, and `scale` is of the vertical axis.
    """
    rows, is_log = alt.Chart(alt.NamedData("rows")), x == page.STEP_LABEL
    axis = alt.Axis(labelExpr=charts.STEPS if is_log else _WHOLE, tickMinStep=1)
    across = alt.X("x:Q", title=x, axis=axis)
    across = across.scale(type="log") if is_log else across.scale(zero=False)
    ink = [f"var(--c{color[1:]})" for color in colors.values()]
    hue = alt.Color("line:N", title=None).scale(domain=[*colors], range=ink)
    channels: dict[str, Any] = {"x": across, "color": hue}
    told = [alt.Tooltip("cell:N"), alt.Tooltip("line:N"), alt.Tooltip("x:Q", title=x)]
    drawn: dict[str, Any] = {}
    if dashes:
        dash = alt.StrokeDash("dash:N", title=None)
        drawn["strokeDash"] = dash.scale(domain=[*dashes], range=[[1, 0], [4, 2]])
        channels["detail"], told = "dash:N", [*told, alt.Tooltip("dash:N")]
    of = {name: f"{name}(value):Q" for name in ("median", "min", "max")}
    up = {name: alt.Y(text, title=y).scale(**scale) for name, text in of.items()}
    told += [alt.Tooltip(of[n], format=".4~g", title=n) for n in of]
    band = rows.mark_area(opacity=0.15).encode(y=up["min"], y2=of["max"], **channels)
    line = rows.mark_line(point=True).encode(
        y=up["median"], tooltip=told, **channels, **drawn
    )
    rule = rows.mark_rule(strokeDash=[2, 2], color=charts.FAINT).encode(
        x=alt.X("end:Q", title=x, axis=axis), opacity=charts.raw(alt.Opacity, "seen:Q")
    )
    panel = (band + rule + line).properties(width=200, height=150)
    each = alt.Facet("cell:N", title=None, sort=None, header=_HEADER)
    return panel.facet(each, columns=3).resolve_scale(x="independent")


def _map() -> alt.FacetChart:
    """Draws medians over runs, in [0, 1], as fields: a row of maps for each cell."""
    rows, median = alt.Chart(alt.NamedData("rows")), "median(value):Q"
    across = alt.X("x:O", title="effective depth of the restored state")
    up = alt.Y("y:O", title="", sort=None)
    rows = rows.encode(across.axis(labelAngle=0), up)
    color = alt.Color(median, title=None).scale(
        domain=[0, 0.5, 1], range=["#f7fbff", "#6baed6", "#08306b"]
    )
    told = [alt.Tooltip(f"{name}:N") for name in ("cell", "column", "place", "x", "y")]
    told.append(alt.Tooltip(median, format=".4~g", title="median"))
    ink = alt.when("datum.median_value > 0.6").then(alt.value("#ffffff"))
    rows = rows.transform_filter("isValid(datum.value)")
    text = rows.mark_text(fontSize=10).encode(
        text=alt.Text(median, format=".2f"),
        color=ink.otherwise(alt.value("#222222")),
    )
    beside = alt.Header(
        **_HEADER.to_dict(), labelAngle=0, labelAlign="left", labelOrient="right",
        labelExpr="split(datum.label, ', ')",
    )  # fmt: skip
    panel = rows.mark_rect().encode(color=color, tooltip=told) + text
    return panel.properties(width=alt.Step(32), height=alt.Step(24)).facet(
        spacing={"row": 18, "column": 14},
        row=alt.Row("cell:N", title=None, sort=None, header=beside),
        column=alt.Column("column:N", title="questions", sort=None, header=_HEADER),
    )
