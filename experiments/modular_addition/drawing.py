"""Modular addition: times against a number, and progress measures over training.

Step axes are logarithmic and begin after step 0, which is therefore not shown.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import axes, lines, ticker
from matplotlib.figure import Figure

from experiments.modular_addition import cells
from experiments.modular_addition.cells import GENERALIZED, MEMORIZED, Inside
from rdt_jax import wording
from rdt_jax.analysis import fourier, grokking, laws
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import page, words
from rdt_jax.figures.palette import SPLITS as SPLIT_COLORS
from rdt_jax.figures.words import event_name
from rdt_jax.training import phases

# Apart from the splits' colors for every common color vision, and in gray.
RESTRICTED, EXCLUDED = "#009e73", "#e69f00"

_TRAIN, _ID, _MIRRORED, _UNMIRRORED = (
    fourier.GROUPS.index(name) for name in ("train", "id", "mirrored", "unmirrored")
)
_DASHED, _DOTTED = (0, (4, 2)), ":"
_BEYOND = 1.15  # of the budget: where censored runs stand
_ROWS = ("accuracy", "loss, nats", "Gini", "sum of squares")


def times_by_value(
    runs_by_value: Mapping[float, Sequence[Run]],
    label: str,
    *,
    is_log: bool,
    without: Sequence[Run] = (),
) -> Figure:
    """Draws updates to both phases against a number, a dot per run.

    Censored runs are an open triangle beyond the budget, with their number; the bar of
    a value is the median of its runs, and is left out where that is censored. On a
    logarithmic axis a power law is fitted once all runs are over.

    Args:
      runs_by_value: value of the number -> runs that differ in their seed only.
      label: name of the number, with its unit.
      is_log: whether its axis is logarithmic.
      without: runs at 0, which has no place on such an axis.
    """
    runs = [run for members in runs_by_value.values() for run in members]
    values = list(runs_by_value)
    budget = max(run_folders.values_of(runs, "num_steps"))
    thresholds = words.thresholds(runs, (MEMORIZED, GENERALIZED))
    notes = [f"Thresholds: {thresholds}."]
    named = {f"{value:g}": members for value, members in runs_by_value.items()}
    reached = words.reached(named, GENERALIZED)
    title = f"ID generalizes in {reached}, by {label.partition(',')[0]}"
    if unknown := len(run_folders.unfinished(runs)):
        notes.append(
            f"{unknown} of {wording.count(len(runs), 'run')} are not over, or not "
            "known, and are drawn as not in budget until they arrive."
        )
    color_of = lambda event: SPLIT_COLORS[phases.BUILT_IN[event]]
    handles: list[Any] = [
        lines.Line2D(
            [], [], ls="", marker="o", color=color_of(event), label=event_name(event)
        )
        for event in (MEMORIZED, GENERALIZED)
    ]
    mark: dict[str, Any] = {"ls": "", "color": page.INK}
    handles += [
        lines.Line2D([], [], marker="_", mew=2, ms=12, **mark, label="median"),
        lines.Line2D(
            [], [], marker="^", mfc="white", **mark, label="not in budget (runs)"
        ),
    ]
    x = y = np.zeros(0)  # the law
    if is_log and len(values) > 1 and not unknown:
        law = laws.fit_power(*cells.pool(runs_by_value, GENERALIZED))
        notes.append(
            f"Updates to ID generalization ~ decay ** -x, x = {law.exponent:.2f} "
            f"(95 % interval over pairs {law.low:.2f} to {law.high:.2f}); "
            f"{law.censored} of {wording.count(law.runs, 'run')} censored."
        )
        handles += [
            lines.Line2D([], [], color=page.INK, lw=1.2, ls="--", label="power law"),
            lines.Line2D([], [], color=page.FAINT, lw=1, ls=":", label="~ 1 / decay"),
        ]
        if np.isfinite(law.scale):
            interval = f"95 %: {law.low:.2f} to {law.high:.2f}"
            title = f"Updates to ID go as 1 / decay ** {law.exponent:.2f} ({interval})"
            x = np.geomspace(values[0], values[-1], 200)
            y = law.scale * x**-law.exponent
    if without:
        arrived = np.isfinite(cells.times(without, GENERALIZED)).sum()
        notes.append(
            f"At weight decay 0, not on this axis, {arrived} of "
            f"{wording.count(len(without), 'run')} generalize."
        )
    line = (
        f"{task_of(runs)}, R = 1; a dot per run; budget {grokking.format_steps(budget)}"
    )
    if (y > budget).any():
        notes.append("The power law is drawn up to the budget.")
    figure, ((panel,),) = page.make(
        1, 1, title=title, line=line, notes=notes, handles=handles, label="",
        height=2.9, right=0.6,
    )  # fmt: skip
    beyond = budget * _BEYOND
    panel.set_yscale("log")
    panel.set_xscale("log" if is_log else "linear")
    panel.margins(x=0.06)
    for event, side in ((MEMORIZED, -1), (GENERALIZED, 1)):
        style: dict[str, Any] = {"ls": "", "color": color_of(event), "ms": 5}
        for value, members in runs_by_value.items():
            found = cells.times(members, event)
            known = found[np.isfinite(found)]
            dots = np.full(known.size, value), known
            panel.plot(*dots, "o", alpha=0.55, mew=0, **style)
            late = found.size - known.size
            if late:
                panel.plot([value] * late, [beyond] * late, "^", mfc="white", **style)
                panel.annotate(
                    str(late), (value, beyond), xytext=(6 * side, 0), va="center",
                    textcoords="offset points", ha="right" if side < 0 else "left",
                    fontsize=page.SMALL, color=color_of(event),
                )  # fmt: skip
            if np.isfinite(np.median(found)):
                middle = [value], [np.median(found)]
                panel.plot(*middle, "_", **style | {"ms": 15}, mew=2)
    if x.size:
        x, y = x[y <= budget], y[y <= budget]
        panel.plot(x, y, "--", lw=1.2, color=color_of(GENERALIZED))
        # The slope that is claimed, through the middle of the law.
        middle = y[y.size // 2] * x[x.size // 2]
        panel.plot(x, np.minimum(middle / x, budget), ":", lw=1, color=page.FAINT)
    panel.set_ylim(top=budget * _BEYOND**2)
    panel.axhspan(budget, budget * _BEYOND**2, color=page.ASIDE, lw=0, zorder=0)
    panel.axhline(budget, color=page.RULE, lw=0.8, zorder=0)
    page.name_level(panel, budget, f"budget\n{grokking.format_steps(budget)}")
    panel.xaxis.set_major_locator(ticker.FixedLocator(values))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.xaxis.set_minor_locator(ticker.NullLocator())
    steps = ticker.LogLocator(subs=(1, 2, 5)).tick_values(panel.get_ylim()[0], budget)
    inside = [step for step in steps if step <= budget]
    panel.yaxis.set_major_locator(ticker.FixedLocator(inside))
    panel.yaxis.set_major_formatter(lambda step, _: grokking.format_steps(step))
    panel.yaxis.set_minor_formatter(ticker.NullFormatter())
    page.rule(panel)
    panel.set_xlabel(label, fontsize=page.TEXT)
    panel.set_ylabel("updates, log scale", fontsize=page.TEXT)
    return figure


def progress(followed: Sequence[Inside]) -> Figure:
    """Draws the progress measures of some runs, one column each, one row per measure.

    Reference: Nanda et al. (2023), arXiv:2301.05217, its progress measures.

    Args:
      followed: runs of the base cell, at least one, read out after the last loop.
    """
    runs = [one.run for one in followed]
    chance = float(np.log(run_folders.shared_value(runs, "task.kwargs.modulus")))
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
        lines.Line2D([], [], lw=1.8, color=id_, ls=style, label=label)
        for style, label in ((_DASHED, "ID, mirror trained"), (_DOTTED, "ID, not"))
    ]
    handles += [
        lines.Line2D([], [], lw=1.4, color=page.INK, label="Gini: embedding"),
        lines.Line2D([], [], lw=1.4, color=page.INK, ls=_DASHED, label="Gini: logits"),
    ]
    figure, panels = page.make(
        len(_ROWS),
        len(followed),
        title=_keys_found(followed),
        line=f"{task_of(runs)}; one run a column, of the median rank by updates to ID; "
        "k: key frequencies at its end",
        notes=(
            "After the last loop. Gini: of the Fourier norms. Sum of squares: of "
            "all weights. Vertical: memorized, "
            "ID generalized.",
            "Top, ID: all held-out pairs (a, b); dashed, those whose mirror image "
            "(b, a) is trained; dotted, the others.",
        ),
        handles=handles,
        label=page.STEP_LABEL,
        height=1.15,
        gap=0.22,
        right=0.6,
    )
    for row, name in zip(panels, _ROWS, strict=True):
        row[0].set_ylabel(name, fontsize=page.SMALL)
    for column, one in enumerate(followed):
        is_last = column == len(followed) - 1
        _draw_column([row[column] for row in panels], one, chance, is_last)
    for row in panels:  # Only the first of a row has tick labels.
        limits = np.array([panel.get_ylim() for panel in row])
        for panel in row:
            panel.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    return figure


def _keys_found(followed: Sequence[Inside]) -> str:
    """Says how many key frequencies there are at the end, and what is answered."""
    parts = [
        f"{one.progress.is_key.sum()} at R = {one.run.num_loops} "
        f"(ID {one.progress.accuracy[-1, -1, _ID]:.2f})"
        for one in followed
    ]
    return f"Key frequencies at the end: {', '.join(parts)}"


def task_of(runs: Sequence[Run]) -> str:
    """Names what runs learn: `a + b mod 97`."""
    return f"a + b mod {run_folders.shared_value(runs, 'task.kwargs.modulus')}"


def _draw_column(
    panels: Sequence[axes.Axes], one: Inside, chance: float, is_last: bool
) -> None:
    found, loops = one.progress, one.run.num_loops
    shown = found.step > 0
    step = found.step[shown]
    accuracy, loss, gini, weights = panels
    for panel in panels:
        page.use_steps(panel, step[0], step[-1])
        for split, at in (("train", one.memorized), ("id", one.generalized)):
            if at is not None:
                color = SPLIT_COLORS[split]
                panel.axvline(at, color=color, lw=0.9, ls=":", zorder=1)
    name = "R = 1 (no loop)" if loops == 1 else f"R = {loops} loops"
    accuracy.set_title(name, fontsize=page.TEXT)

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
    loss.yaxis.set_minor_formatter(ticker.NullFormatter())
    page.draw_level(loss, chance, "chance" if is_last else "")
    _name_keys(gini, np.flatnonzero(found.is_key) + 1)
    draw(gini, found.embedding_gini[shown], page.INK)
    draw(gini, last(found.gini), page.INK, linestyle=_DASHED)
    gini.set_ylim(0, 1)
    draw(weights, found.sum_squared_weights[shown], page.INK)


def _name_keys(panel: axes.Axes, keys: np.ndarray) -> None:
    """Lists the key frequencies above a panel."""
    told = f"k = {', '.join(map(str, keys))}" if keys.size else "no key frequency"
    panel.text(
        1, 1.03, told, transform=panel.transAxes,
        fontsize=page.SMALL, color=page.FAINT, ha="right", va="bottom",
    )  # fmt: skip
