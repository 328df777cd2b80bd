"""Modular addition: times against a number, and progress measures over training.

Step axes are logarithmic and begin after step 0, which is therefore not shown.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import axes, lines, ticker
from matplotlib.figure import Figure

from rdt_jax.analysis import fourier, grokking
from rdt_jax.analysis.laws import PowerLaw
from rdt_jax.figures import page
from rdt_jax.figures.grokking import SPLIT_COLORS, event_name
from rdt_jax.training import phases

# Apart from the splits' colors for every common color vision, and in gray.
RESTRICTED, EXCLUDED = "#009e73", "#e69f00"

_TRAIN, _ID, _MIRRORED, _UNMIRRORED = (
    fourier.GROUPS.index(name) for name in ("train", "id", "mirrored", "unmirrored")
)
_DASHED, _DOTTED = (0, (4, 2)), ":"
_BEYOND = 1.15  # of the budget: where censored runs stand
_IMAGES = (
    "Top, ID: all held-out pairs (a, b); dashed, those whose mirror image (b, a) is "
    "trained; dotted, the others."
)
_ROWS = ("accuracy", "loss, nats", "without k, nats", "Gini", "sum of squares")


class Followed(NamedTuple):
    """One run whose progress is drawn.

    Attributes:
      label: heading of its column, such as `R = 2 loops`.
      progress: its measures.
      completed: event -> updates to its completion; None if it did not complete.
    """

    label: str
    progress: fourier.Progress
    completed: Mapping[str, int | None]


def times_by_value(
    times: Mapping[str, Mapping[float, np.ndarray]],
    *,
    budget: float,
    title: str,
    notes: Sequence[str],
    label: str,
    is_log: bool,
    laws: Mapping[str, PowerLaw],
) -> Figure:
    """Draws updates to phases against a number, a dot per run.

    Censored runs are an open triangle beyond the budget, with their number; the bar of
    a value is the median of its runs, and is left out where that is censored.

    Args:
      times: event -> value -> [N], updates; inf where censored.
      budget: updates after which a time is censored.
      title: one line; what is measured, on which task.
      notes: lines below it; how it was measured. A further one says so where a law
        goes on beyond the budget.
      label: of the number, with its unit.
      is_log: whether its axis is logarithmic.
      laws: event -> power law to be drawn as a line.

    Raises:
      ValueError: if there is no time.
    """
    values = sorted({value for each in times.values() for value in each})
    if not values:
        raise ValueError("At least one value with times is drawn, got none.")
    color_of = lambda event: SPLIT_COLORS[phases.BUILT_IN[event]]
    handles: list[Any] = [
        lines.Line2D(
            [], [], ls="", marker="o", color=color_of(event), label=event_name(event)
        )
        for event in times
    ]
    mark: dict[str, Any] = {"ls": "", "color": page.INK}
    handles += [
        lines.Line2D([], [], marker="_", mew=2, ms=12, **mark, label="median"),
        lines.Line2D(
            [], [], marker="^", mfc="white", **mark, label="not in budget (runs)"
        ),
    ]
    if laws:
        handles.append(
            lines.Line2D([], [], color=page.INK, lw=1.2, ls="--", label="power law")
        )
    curves = {
        event: _follow(law, values)
        for event, law in laws.items()
        if np.isfinite(law.scale)
    }
    if any((y > budget).any() for _, y in curves.values()):
        notes = (*notes, "The power law is drawn up to the budget.")
    figure, ((panel,),) = page.make(
        1, 1, title=title, notes=notes, handles=handles, label="", height=2.9,
        right=0.6,
    )  # fmt: skip
    beyond = budget * _BEYOND
    panel.set_yscale("log")
    if is_log:
        panel.set_xscale("log")
        width = np.log(values[-1] / values[0]) or 1.0
        beside = lambda value, share: value * np.exp(share * width)
    else:
        width = (values[-1] - values[0]) or 1.0
        beside = lambda value, share: value + share * width
    for event, offset in zip(times, (-0.008, 0.008), strict=False):
        style: dict[str, Any] = {"ls": "", "color": color_of(event), "ms": 5}
        for value, found in times[event].items():
            known = found[np.isfinite(found)]
            at = beside(value, offset)
            panel.plot(np.full(known.size, at), known, "o", alpha=0.55, mew=0, **style)
            late = found.size - known.size
            if late:
                panel.plot([at] * late, [beyond] * late, "^", mfc="white", **style)
                side = -1 if offset < 0 else 1  # away from the other event's
                panel.annotate(
                    str(late), (at, beyond), xytext=(6 * side, 0), va="center",
                    textcoords="offset points", ha="right" if side < 0 else "left",
                    fontsize=page.SMALL, color=color_of(event),
                )  # fmt: skip
            if np.isfinite(np.median(found)):
                panel.plot([at], [np.median(found)], "_", **style | {"ms": 15}, mew=2)
        if event in curves:
            x, y = curves[event]
            shown = y <= budget
            panel.plot(x[shown], y[shown], "--", lw=1.2, color=color_of(event))
    panel.set_ylim(top=budget * _BEYOND**2)
    panel.axhspan(budget, budget * _BEYOND**2, color=page.ASIDE, lw=0, zorder=0)
    panel.axhline(budget, color=page.RULE, lw=0.8, zorder=0)
    page.name_level(panel, budget, f"budget\n{grokking.format_steps(budget)}")
    panel.set_xlim(beside(values[0], -0.06), beside(values[-1], 0.06))
    panel.xaxis.set_major_locator(ticker.FixedLocator(values))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.xaxis.set_minor_locator(ticker.NullLocator())
    steps = ticker.LogLocator(subs=(1, 2, 5)).tick_values(panel.get_ylim()[0], budget)
    inside = [step for step in steps if step <= budget]
    panel.yaxis.set_major_locator(ticker.FixedLocator(inside))
    panel.yaxis.set_major_formatter(lambda step, _: grokking.format_steps(step))
    panel.yaxis.set_minor_formatter(ticker.NullFormatter())
    panel.grid(True, color="#ececec", lw=0.6)
    panel.set_axisbelow(True)
    panel.set_xlabel(label, fontsize=page.TEXT)
    panel.set_ylabel("updates, log scale", fontsize=page.TEXT)
    return figure


def progress(
    followed: Sequence[Followed], *, title: str, notes: Sequence[str], chance: float
) -> Figure:
    """Draws the progress measures of some runs, one column each, one row per measure.

    Reference: Nanda et al. (2023), arXiv:2301.05217, its progress measures.

    Args:
      followed: the runs, all read out after the last loop.
      title: one line; on which task.
      notes: lines below it; how it was measured. A further one says which pairs of ID
        are drawn apart.
      chance: loss of a uniform guess, nats, drawn as a line.

    Raises:
      ValueError: if there is no run.
    """
    if not followed:
        raise ValueError("At least one run is followed, got none.")
    train, id_ = SPLIT_COLORS["train"], SPLIT_COLORS["id"]
    handles: list[Any] = [
        lines.Line2D([], [], lw=1.8, color=color, label=label)
        for color, label in (
            (train, "train"),
            (id_, "ID"),
            (RESTRICTED, "ID, key frequencies alone"),
            (EXCLUDED, "train, without them"),
        )
    ]
    handles += [
        lines.Line2D([], [], lw=1.4, color=page.INK, label="Gini: embedding"),
        lines.Line2D([], [], lw=1.4, color=page.INK, ls=_DASHED, label="Gini: logits"),
    ]
    figure, panels = page.make(
        len(_ROWS),
        len(followed),
        title=title,
        notes=(*notes, _IMAGES),
        handles=handles,
        label=page.STEP_LABEL,
        height=1.15,
        gap=0.3,
        right=0.6,
    )
    for row, name in zip(panels, _ROWS, strict=True):
        row[0].set_ylabel(name, fontsize=page.SMALL)
    for column, run in enumerate(followed):
        is_last = column == len(followed) - 1
        _draw_column([row[column] for row in panels], run, chance, is_last)
    for row in panels:  # Only the first of a row has tick labels.
        limits = np.array([panel.get_ylim() for panel in row])
        for panel in row:
            panel.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    return figure


def _follow(law: PowerLaw, values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Returns values from the first to the last, and the updates that a law expects."""
    x = np.geomspace(values[0], values[-1], 200)
    return x, law.scale * x**-law.exponent


def _draw_column(
    panels: Sequence[axes.Axes], run: Followed, chance: float, is_last: bool
) -> None:
    found = run.progress
    shown = found.step > 0
    step = found.step[shown]
    accuracy, loss, per_key, gini, weights = panels
    for panel in panels:
        page.use_steps(panel, step[0], step[-1])
        for event, at in run.completed.items():
            if at is not None:
                color = SPLIT_COLORS[phases.BUILT_IN[event]]
                panel.axvline(at, color=color, lw=0.9, ls=":", zorder=1)
    accuracy.set_title(run.label, fontsize=page.TEXT)

    def draw(panel: axes.Axes, values: np.ndarray, color: str, **style: Any) -> None:
        panel.plot(step, values, marker=".", ms=3, lw=1.5, color=color, **style)

    def last(values: np.ndarray) -> np.ndarray:  # After the last loop.
        return values[shown, -1]

    train, id_ = SPLIT_COLORS["train"], SPLIT_COLORS["id"]
    draw(accuracy, last(found.accuracy)[:, _TRAIN], train)
    draw(accuracy, last(found.accuracy)[:, _ID], id_)
    for group, style in ((_MIRRORED, _DASHED), (_UNMIRRORED, _DOTTED)):
        draw(accuracy, last(found.accuracy)[:, group], id_, linestyle=style)
    accuracy.set_ylim(-0.05, 1.05)
    draw(loss, last(found.loss)[:, _TRAIN], train)
    draw(loss, last(found.loss)[:, _ID], id_)
    draw(loss, last(found.restricted_loss)[:, _ID], RESTRICTED)
    draw(loss, last(found.excluded_loss)[:, _TRAIN], EXCLUDED)
    loss.set_yscale("log")
    page.draw_level(loss, chance, "chance" if is_last else "")
    for index in np.flatnonzero(found.is_key):
        values = last(found.excluded_by_frequency)[:, index]
        draw(per_key, values, EXCLUDED, alpha=0.7)
    per_key.set_yscale("log")
    if found.is_key.any():
        _name_keys(per_key, np.flatnonzero(found.is_key) + 1)
    else:
        page.write_in(per_key, "no key frequency at the end")
    draw(gini, found.embedding_gini[shown], page.INK)
    draw(gini, last(found.gini), page.INK, linestyle=_DASHED)
    gini.set_ylim(0, 1)
    draw(weights, found.sum_squared_weights[shown], page.INK)


def _name_keys(panel: axes.Axes, keys: np.ndarray) -> None:
    """Lists the key frequencies; their lines lie too close to be named one by one."""
    each = ", a line each" if keys.size > 1 else ""
    panel.text(
        1, 1.03, f"k = {', '.join(map(str, keys))}{each}", transform=panel.transAxes,
        fontsize=page.SMALL, color=page.FAINT, ha="right", va="bottom",
    )  # fmt: skip
