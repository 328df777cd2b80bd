"""Groups of times beside each other: what two or more ways of training make of them."""

from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np
from matplotlib import axes, lines, ticker
from matplotlib.figure import Figure

from rdt_jax.analysis import grokking, statistics
from rdt_jax.figures import page, palette

COLORS = palette.COLORS[:2]

_MARGIN = 0.06  # of the range of times, on either side
# Of a pair, by which of its times is censored: the first, the second, both.
_ACROSS, _UP, _BOTH = ">", "^", "D"


def paired_times(
    times: Mapping[str, np.ndarray],
    *,
    budget: float,
    event: str,
    **said: Unpack[page.Said],
) -> Figure:
    """Draws how two groups of times are distributed, and how they pair up.

    On the left the share of runs that have arrived, by update, a thin line over a thick
    one; on the right one dot per pair, equal times on the diagonal. Where a run is
    censored, the axes reach beyond the budget: its curve stays below 1, and its dot is
    an open mark there, a triangle that points along the axis on which it is censored.

    Raises:
      ValueError: if there are not two groups [N], inf where censored, of the same runs.
    """
    sizes = [values.size for values in times.values()]
    if len(sizes) != 2 or sizes[0] != sizes[1] or not sizes[0]:
        raise ValueError(f"Two groups of one size are drawn, got sizes {sizes}.")
    names, (first, second) = list(times), times.values()
    pooled = np.concatenate([first, second])
    shown = np.where(np.isinf(pooled), budget, pooled)
    margin = _MARGIN * max(1.0, np.ptp(shown))
    is_censored = bool(np.isinf(pooled).any())
    limits = shown.min() - margin, shown.max() + (1 + is_censored) * margin
    figure, ((left, right),) = page.make(
        1,
        2,
        handles=_paired_handles(times),
        label="",
        height=3.0,
        gap=0.75,
        right=0.2,
        **said,
    )
    last = budget if is_censored else limits[1]
    for panel in (left, right):
        _use_updates(panel.xaxis, limits[0], last)
        panel.set_xlim(limits)
        page.rule(panel)
        panel.tick_params(labelleft=True)
        if is_censored:
            panel.axvspan(budget, limits[1], color=page.ASIDE, lw=0, zorder=0)
    if is_censored:
        right.axhspan(budget, limits[1], color=page.ASIDE, lw=0, zorder=0)
    beyond = 2 * limits[1]
    for values, color, width in zip(times.values(), COLORS, (3.4, 1.5), strict=True):
        # Censored times lie beyond what is shown; the last point, of no weight, too,
        # so that every curve goes on to the edge.
        arrived = np.append(np.where(np.isinf(values), beyond, values), beyond)
        weights = np.append(np.ones(values.size), 0)
        left.ecdf(arrived, weights, color=color, lw=width)
    left.set_ylim(-0.03, 1.03)
    left.set_xlabel(f"updates to {event}", fontsize=page.TEXT)
    left.set_ylabel("share of runs", fontsize=page.TEXT)
    _draw_pairs(right, first, second, budget + margin)
    _use_updates(right.yaxis, limits[0], last)
    right.set_ylim(limits)
    right.set_xlabel(f"updates, {names[0]}", fontsize=page.TEXT)
    right.set_ylabel(f"updates, {names[1]}", fontsize=page.TEXT)
    return figure


def _paired_handles(times: Mapping[str, np.ndarray]) -> list[Any]:
    """Returns the legend of `paired_times`, of the marks that it draws alone."""
    handles: list[Any] = [
        lines.Line2D([], [], lw=2, color=color, label=name)
        for name, color in zip(times, COLORS, strict=True)
    ]
    dot: dict[str, Any] = {"ls": "", "color": page.INK, "ms": 4.5}
    handles.append(lines.Line2D([], [], marker="o", **dot, label="a pair"))
    names, late = list(times), [np.isinf(values) for values in times.values()]
    for mark, which, label in (
        (_ACROSS, late[0] & ~late[1], f"{names[0]} not in budget"),
        (_UP, late[1] & ~late[0], f"{names[1]} not in budget"),
        (_BOTH, late[0] & late[1], "neither in budget"),
    ):
        if which.any():
            handles.append(
                lines.Line2D([], [], marker=mark, mfc="white", **dot, label=label)
            )
    return handles


def times_by_group(
    times: Mapping[str, np.ndarray],
    *,
    budget: float,
    event: str,
    told: Mapping[str, str] | None = None,
    **said: Unpack[page.Said],
) -> Figure:
    """Draws one row per group: a dot per run, the median and its 95 % interval.

    Runs that are censored, inf, are an open triangle beyond the budget with their
    number; a censored median has no bar, and an interval ends there at the latest.

    Args:
      told: group -> what else is said beside its number of runs, such as a p-value.

    Raises:
      ValueError: if there is no group.
    """
    if not times:
        raise ValueError("At least one group of times is drawn, got none.")
    dot: dict[str, Any] = {"ls": "", "color": COLORS[0], "ms": 5}
    bar: dict[str, Any] = {"ls": "", "marker": "|", "color": page.INK, "ms": 15}
    label = "median, 95 % interval"
    if any(np.isinf(np.median(values)) for values in times.values()):
        label = "median, 95 % interval (no bar: not within budget)"
    handles = [
        lines.Line2D([], [], marker="o", alpha=0.55, mew=0, **dot, label="a run"),
        lines.Line2D([], [], marker=">", mfc="white", **dot, label="not within budget"),
        lines.Line2D([], [], mew=2, **bar | {"ls": "-"}, lw=1.2, label=label),
    ]
    figure, ((panel,),) = page.make(
        1,
        1,
        handles=handles,
        label="",
        height=0.32 * len(times) + 0.2,
        right=0.6 + 0.75 * bool(told),
        **said,
    )
    beyond = budget * (1 + _MARGIN)
    for row, (name, values) in enumerate(times.items()):
        known = values[np.isfinite(values)]
        panel.plot(known, np.full(known.size, row), "o", alpha=0.55, mew=0, **dot)
        late = np.full(values.size - known.size, beyond)
        panel.plot(late, np.full(late.size, row), ">", mfc="white", **dot)
        if late.size:
            panel.annotate(
                f"{late.size}", (beyond, row), xytext=(6, 0), fontsize=page.SMALL,
                textcoords="offset points", color=COLORS[0], va="center",
            )  # fmt: skip
        if np.isfinite(np.median(values)):
            panel.plot([np.median(values)], [row], mew=2, **bar)
        _, low, high = statistics.median_interval(values)
        if np.isfinite(low):
            panel.hlines(row, low, min(high, beyond), color=page.INK, lw=1.2)
        beside = [f"n = {values.size}", (told or {}).get(name, "")]
        page.name_level(panel, row, ", ".join(filter(None, beside)))
    panel.set_yticks(range(len(times)), list(times))
    panel.set_ylim(len(times) - 0.5, -0.5)
    panel.set_xlabel(f"updates to {event}", fontsize=page.TEXT)
    panel.set_xlim(0, budget * (1 + 2 * _MARGIN))
    panel.axvspan(budget, panel.get_xlim()[1], color=page.ASIDE, lw=0, zorder=0)
    _use_updates(panel.xaxis, 0, budget)
    page.rule(panel, axis="x")
    names = 0.075 * max(map(len, times)) / page.WIDTH  # Room for them.
    box = panel.get_position()
    panel.set_position((names, box.y0, box.x1 - names, box.height))
    return figure


def _use_updates(axis: Any, first: float, last: float) -> None:
    """Puts ticks at round numbers of updates, none beyond the last."""
    ticks = ticker.MaxNLocator(5, integer=True).tick_values(first, last)
    inside = [tick for tick in ticks if first <= tick <= last]
    axis.set_major_locator(ticker.FixedLocator(inside))
    axis.set_major_formatter(lambda step, _: grokking.format_steps(step))


def _draw_pairs(
    panel: axes.Axes, first: np.ndarray, second: np.ndarray, beyond: float
) -> None:
    panel.axline((0, 0), slope=1, color=page.FAINT, lw=0.9, ls=(0, (4, 3)))
    known = np.isfinite(first) & np.isfinite(second)
    style: dict[str, Any] = {"ls": "", "color": page.INK, "zorder": 3}
    # Pairs that coincide, as they do on a grid of evaluations, are darker.
    panel.plot(first[known], second[known], "o", ms=5, alpha=0.55, mew=0, **style)
    at = [np.where(np.isinf(values), beyond, values) for values in (first, second)]
    for mark, across, up in (
        (_ACROSS, True, False), (_UP, False, True), (_BOTH, True, True),
    ):  # fmt: skip
        here = (np.isinf(first) == across) & (np.isinf(second) == up)
        panel.plot(*(v[here] for v in at), marker=mark, mfc="white", ms=5, **style)
