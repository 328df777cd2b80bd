"""The stages of grokking by loop depth, and what each depth pays to reach the last.

The first figure is the counterpart of Figure 3 of Kohli et al. (2026),
arXiv:2604.07822. Bold lines are runs, those of the median rank, and not averages.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import axes, lines, ticker
from matplotlib.figure import Figure

from rdt_jax.analysis import grokking, runs
from rdt_jax.analysis.runs import Run
from rdt_jax.analysis.survival import Survival
from rdt_jax.figures import grokking as drawing
from rdt_jax.figures import page

EVENT = "ood_generalized"

_NO_INTERVAL = (
    "Where the share is 1 or 0 no interval is known, which does not make it certain: "
    "see the numbers of runs."
)


def stages(
    members: Mapping[int, Sequence[Run]],
    spent: Mapping[str, np.ndarray],
    *,
    shown: int,
    chance: float,
    cost_label: str,
) -> Figure:
    """Draws OOD accuracy by updates and by cost, and all splits at one loop depth.

    Args:
      members: training loop count -> its runs, which differ in their seed only.
      spent: run id -> [E], what training had cost up to each evaluation.
      shown: loop count whose stages are drawn on the right.
      chance: accuracy of a uniform guess on OOD.
      cost_label: what the cost is, with its unit.

    Raises:
      ValueError: if there is no run, or none of `shown`.
    """
    if not members.get(shown):
        raise ValueError(f"There is no run of R = {shown} whose stages can be drawn.")
    styles = page.loop_styles(list(members))
    every = [run for group in members.values() for run in group]
    handles: list[Any] = [
        lines.Line2D([], [], color=color, lw=2.2, ls=dash, label=f"R = {depth}")
        for depth in members
        for color, dash, _ in (styles[depth],)
    ]
    splits = grokking.drawn_splits(every)
    names = [drawing.split_name(every, split) for split in splits]
    for split, name in zip(splits, names, strict=True):
        look = drawing.styles_of(splits)[split]
        handles.append(lines.Line2D([], [], **look, lw=2.2, label=f"right: {name}"))
    completed: dict[str, Any] = {"marker": "o", "ls": "", "color": page.INK, "ms": 5}
    handles.append(lines.Line2D([], [], **completed, label="completed"))
    figure, ((left, middle, right),) = page.make(
        1,
        3,
        title=f"Stages by loop depth R: {drawing.task_name(every)}",
        notes=(
            "Left, middle: OOD accuracy at the training loop count. Right: "
            f"R = {shown}, log scale; upright lines: phases completed.",
            "Bold: the seed of the median rank by updates to OOD; thin: the other "
            "seeds.",
            drawing.phases_note(every, grokking.watched_events(every)),
        ),
        handles=handles,
        label="",
        height=2.3,
        gap=0.36,
        right=0.55,
    )
    for panel in (left, middle, right):
        panel.set_ylim(-0.03, 1.03)
        panel.grid(True, color="#ececec", lw=0.6)
        panel.set_axisbelow(True)
    by_step = lambda run: np.array([row["step"] for row in run.metrics], float)
    _draw_depths(left, members, styles, by_step)
    _draw_depths(middle, members, styles, lambda run: spent[run.run_id])
    left.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
    left.xaxis.set_major_formatter(lambda step, _: grokking.format_steps(step))
    middle.xaxis.set_major_locator(ticker.MaxNLocator(4))
    middle.xaxis.set_major_formatter(lambda cost, _: f"{cost:g}")
    _draw_splits(right, members[shown], splits)
    for panel, label in (
        (left, "optimizer updates"),
        (middle, cost_label),
        (right, f"updates (log), R = {shown}"),
    ):
        panel.set_xlim(left=panel.get_xlim()[0] if panel is right else 0)
        panel.set_xlabel(label, fontsize=page.TEXT)
    left.set_ylabel("accuracy", fontsize=page.TEXT)
    for panel, text in ((left, "OOD"), (middle, "OOD"), (right, ", ".join(names))):
        panel.set_title(text, fontsize=page.TEXT)
        page.draw_chance(panel, chance, "chance" if panel is right else "")
    page.draw_level(right, runs.shared_value(every, f"phases.{EVENT}"), "OOD\nlevel")
    return figure


def arrivals(
    curves: Mapping[int, Survival], *, budget: float, title: str, notes: Sequence[str]
) -> Figure:
    """Draws the share of runs that OOD has not reached yet, one curve per loop depth.

    Args:
      curves: training loop count -> its survival curve.
      budget: updates up to which a curve is drawn.
      title: one line; of which task.
      notes: lines below it; how it was measured. A further one says where there is no
        interval.

    Raises:
      ValueError: if there is no curve.
    """
    if not curves:
        raise ValueError("At least one survival curve is drawn, got none.")
    styles = page.loop_styles(list(curves))
    handles: list[Any] = [
        lines.Line2D(
            [], [], color=color, lw=2.2, ls=dash,
            label=f"R = {depth}: {curve.waiting[0] - curve.censored.size} of "
            f"{curve.waiting[0]} arrived",
        )
        for depth, curve in curves.items()
        for color, dash, _ in (styles[depth],)
    ]  # fmt: skip
    tick: dict[str, Any] = {"ls": "", "marker": "|", "color": page.INK, "ms": 8}
    handles.append(lines.Line2D([], [], mew=1.5, **tick, label="censored"))
    figure, ((panel,),) = page.make(
        1, 1, title=title, notes=(*notes, _NO_INTERVAL), handles=handles,
        label="optimizer updates", height=2.2,
    )  # fmt: skip
    for index, (depth, curve) in enumerate(curves.items()):
        color, dash, _ = styles[depth]
        # Curves lie on each other until a run arrives: the later, the narrower.
        width = 2.0 + 1.6 * (len(curves) - 1 - index)
        ends = np.append(curve.steps[1:], max(budget, curve.steps[-1]))
        steps = np.stack([curve.steps, ends], axis=1).ravel()
        flat = lambda values: np.repeat(values, 2)
        line: dict[str, Any] = {"color": color, "lw": width, "ls": dash}
        panel.plot(steps, flat(curve.share), solid_capstyle="butt", **line)
        panel.fill_between(
            steps, flat(curve.low), flat(curve.high), color=color, alpha=0.13, lw=0
        )
        at = np.searchsorted(curve.steps, curve.censored, side="right") - 1
        panel.plot(
            curve.censored, curve.share[at], "|", color=color, ms=6 + width, mew=1.5
        )
    panel.set_xlim(0, budget * 1.02)
    panel.set_ylim(-0.03, 1.06)
    panel.set_ylabel("share of runs without OOD", fontsize=page.TEXT)
    panel.xaxis.set_major_formatter(lambda step, _: grokking.format_steps(step))
    panel.grid(True, color="#ececec", lw=0.6)
    panel.set_axisbelow(True)
    return figure


def _draw_depths(
    panel: axes.Axes,
    members: Mapping[int, Sequence[Run]],
    styles: Mapping[int, page.Style],
    across: Callable[[Run], np.ndarray],
) -> None:
    """OOD accuracy over `across`, [E] of each run."""
    for depth, group in members.items():
        median = grokking.median_run(group, EVENT)
        for run in group:
            if not runs.has_group(run, "ood"):
                continue
            bold = run is median
            width, alpha, size = (2.0, 1.0, 6.0) if bold else (0.9, 0.5, 3.5)
            values = runs.accuracy(run, "ood").values
            x = across(run)
            color, dash, _ = styles[depth]
            style: dict[str, Any] = {"color": color, "zorder": 3 + bold}
            panel.plot(x, values, lw=width, alpha=alpha, ls=dash, **style)
            done = grokking.grok_times(run).phases[EVENT].completed
            if done is not None:
                at = [row["step"] for row in run.metrics].index(done)
                panel.plot(x[at], values[at], "o", ms=size, mec="white", **style)


def _draw_splits(panel: axes.Axes, group: Sequence[Run], splits: Sequence[str]) -> None:
    first = min(run.config.eval_every_steps for run in group)
    page.use_steps(panel, first, max(run.last_step or first for run in group))
    median = grokking.median_run(group, EVENT)
    for run in group:
        bold = run is median
        times = {
            grokking.watched([run], e): t
            for e, t in grokking.grok_times(run).phases.items()
        }
        for split in splits:
            look = drawing.styles_of(splits)[split]
            if runs.has_group(run, split):
                steps, values = runs.accuracy(run, split)
                width, alpha = (2.0, 1.0) if bold else (0.9, 0.5)
                kept = steps > 0
                panel.plot(
                    steps[kept], values[kept], **look, lw=width, alpha=alpha,
                    zorder=3 + bold,
                )  # fmt: skip
            done = times[split].completed if split in times else None
            if bold and done is not None:
                panel.axvline(done, color=look["color"], lw=1.0)
