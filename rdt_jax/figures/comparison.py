"""Groups of times beside each other: what two or more ways of training make of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import axes, lines, ticker
from matplotlib.figure import Figure

from rdt_jax.analysis import grokking
from rdt_jax.figures import page

# Apart for every common color vision, and in gray.
COLORS = ("#0072b2", "#d55e00")

_MARGIN = 0.06  # of the range of times, on either side


def paired_times(
    times: Mapping[str, np.ndarray],
    *,
    budget: float,
    title: str,
    notes: Sequence[str],
    event: str,
) -> Figure:
    """Draws how two groups of times are distributed, and how they pair up.

    On the left the share of runs that have arrived, by update, a thin line over a thick
    one; on the right one dot per pair, equal times on the diagonal. Where a run is
    censored, the axes reach to the budget: its curve stays below 1, and its dot is a
    triangle there.

    Args:
      times: two names -> [N], updates, of the same runs in the same order; inf where
        censored.
      budget: updates after which a time is censored.
      title: one line; what is measured, on which task.
      notes: lines below it; how it was measured.
      event: what the times lead to, such as `ID generalized`.

    Raises:
      ValueError: if there are not two groups of one size.
    """
    sizes = [values.size for values in times.values()]
    if len(sizes) != 2 or sizes[0] != sizes[1] or not sizes[0]:
        raise ValueError(f"Two groups of one size are drawn, got sizes {sizes}.")
    first, second = times.values()
    pooled = np.concatenate([first, second])
    shown = np.where(np.isinf(pooled), budget, pooled)
    margin = _MARGIN * max(1.0, np.ptp(shown))
    limits = shown.min() - margin, shown.max() + margin
    handles: list[Any] = [
        lines.Line2D([], [], lw=2, color=color, label=name)
        for name, color in zip(times, COLORS, strict=True)
    ]
    dot: dict[str, Any] = {"ls": "", "color": page.INK, "ms": 4.5}
    handles.append(lines.Line2D([], [], marker="o", **dot, label="a pair"))
    if np.isinf(pooled).any():
        label = "not within the budget"
        handles.append(
            lines.Line2D([], [], marker=">", mfc="white", **dot, label=label)
        )
    figure, ((left, right),) = page.make(
        1,
        2,
        title=title,
        notes=notes,
        handles=handles,
        label="",
        height=3.0,
        gap=0.75,
        right=0.2,
    )
    for panel in (left, right):
        _use_updates(panel.xaxis)
        panel.set_xlim(limits)
        panel.grid(True, color="#ececec", lw=0.6)
        panel.set_axisbelow(True)
        panel.tick_params(labelleft=True)
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
    _draw_pairs(right, first, second, budget)
    _use_updates(right.yaxis)
    right.set_ylim(limits)
    across, up = times
    right.set_xlabel(f"updates, {across}", fontsize=page.TEXT)
    right.set_ylabel(f"updates, {up}", fontsize=page.TEXT)
    return figure


def times_by_group(
    times: Mapping[str, np.ndarray],
    *,
    budget: float,
    title: str,
    notes: Sequence[str],
    event: str,
) -> Figure:
    """Draws one row per group: a dot per run, and a bar at the median.

    Censored runs are an open triangle at the budget with their number, and a censored
    median has no bar.

    Args:
      times: name -> [N], updates; inf where censored.
      budget: updates after which a time is censored.
      title: one line; what is measured, on which task.
      notes: lines below it; how it was measured.
      event: what the times lead to, such as `ID generalized`.

    Raises:
      ValueError: if there is no group.
    """
    if not times:
        raise ValueError("At least one group of times is drawn, got none.")
    dot: dict[str, Any] = {"ls": "", "color": COLORS[0], "ms": 5}
    bar: dict[str, Any] = {"ls": "", "marker": "|", "color": page.INK, "ms": 15}
    handles = [
        lines.Line2D([], [], marker="o", alpha=0.55, mew=0, **dot, label="a run"),
        lines.Line2D([], [], marker=">", mfc="white", **dot, label="not within budget"),
        lines.Line2D([], [], mew=2, **bar, label="median"),
    ]
    figure, ((panel,),) = page.make(
        1,
        1,
        title=title,
        notes=notes,
        handles=handles,
        label=f"updates to {event}",
        height=0.32 * len(times) + 0.2,
    )
    for row, values in enumerate(times.values()):
        known = values[np.isfinite(values)]
        panel.plot(known, np.full(known.size, row), "o", alpha=0.55, mew=0, **dot)
        late = np.full(values.size - known.size, float(budget))
        panel.plot(late, np.full(late.size, row), ">", mfc="white", **dot)
        if late.size:
            panel.annotate(
                f"{late.size}", (budget, row), xytext=(6, 0), fontsize=page.SMALL,
                textcoords="offset points", color=COLORS[0], va="center",
            )  # fmt: skip
        if np.isfinite(np.median(values)):
            panel.plot([np.median(values)], [row], mew=2, **bar)
    panel.set_yticks(range(len(times)), list(times))
    panel.set_ylim(len(times) - 0.5, -0.5)
    panel.set_xlim(0, budget * (1 + _MARGIN))
    _use_updates(panel.xaxis)
    panel.grid(True, axis="x", color="#ececec", lw=0.6)
    panel.set_axisbelow(True)
    names = 0.075 * max(map(len, times)) / page.WIDTH  # Room for them.
    box = panel.get_position()
    panel.set_position((names, box.y0, box.x1 - names, box.height))
    return figure


def _use_updates(axis: Any) -> None:
    axis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    axis.set_major_formatter(lambda step, _: grokking.format_steps(step))


def _draw_pairs(
    panel: axes.Axes, first: np.ndarray, second: np.ndarray, budget: float
) -> None:
    panel.axline((0, 0), slope=1, color=page.FAINT, lw=0.9, ls=(0, (4, 3)))
    known = np.isfinite(first) & np.isfinite(second)
    style: dict[str, Any] = {"ls": "", "color": page.INK, "zorder": 3}
    # Pairs that coincide, as they do on a grid of evaluations, are darker.
    panel.plot(first[known], second[known], "o", ms=5, alpha=0.55, mew=0, **style)
    at = [np.where(np.isinf(values), budget, values) for values in (first, second)]
    panel.plot(*(v[~known] for v in at), marker=">", mfc="white", ms=5, **style)
