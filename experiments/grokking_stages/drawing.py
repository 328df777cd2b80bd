"""The stages of grokking by loop depth, and what each depth pays to reach the last.

The first figure is the counterpart of Figure 3 of Kohli et al. (2026),
arXiv:2604.07822. Bold lines are runs, those of the median rank, and not averages.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import axes, lines, ticker
from matplotlib.figure import Figure

from experiments.grokking_stages.claims import LOOPS, OOD, completed
from rdt_jax.analysis import claims, compute, grokking, runs
from rdt_jax.analysis.runs import Run
from rdt_jax.analysis.survival import survival
from rdt_jax.figures import grokking as drawing
from rdt_jax.figures import page

_NO_INTERVAL = (
    "Where the share is 1 or 0 no interval is known, which does not make it certain: "
    "see the numbers of runs."
)


def stages(members: Sequence[Run]) -> Figure:
    """Draws OOD accuracy by updates and by cost, and all splits at one loop depth.

    That depth is the one with most seeds that completed OOD, of these the deepest.

    Raises:
      ValueError: if there is no run.
    """
    level = runs.shared_value(members, f"phases.{OOD}")
    by_depth = _by_depth(members)
    shown = max(by_depth, key=lambda r: (len(grokking.arrived(by_depth[r], OOD)), r))
    styles = page.loop_styles(list(by_depth))
    handles = [_key(styles[depth], f"R = {depth}") for depth in by_depth]
    splits = grokking.drawn_splits(members)
    names = [drawing.split_name(members, split) for split in splits]
    for split, name in zip(splits, names, strict=True):
        look = drawing.styles_of(splits)[split]
        handles.append(lines.Line2D([], [], **look, lw=2.2, label=f"right: {name}"))
    dot: dict[str, Any] = {"marker": "o", "ls": "", "color": page.INK, "ms": 5}
    handles.append(lines.Line2D([], [], **dot, label="completed"))
    figure, ((left, middle, right),) = page.make(
        1,
        3,
        title=f"Stages by loop depth R: {drawing.task_name(members)}",
        notes=(
            "Left, middle: OOD accuracy at the training loop count. Right: "
            f"R = {shown}, log scale; upright lines: phases completed.",
            "Bold: the seed of the median rank by updates to OOD; thin: the other "
            "seeds.",
            drawing.phases_note(members, grokking.watched_events(members)),
        ),
        handles=handles,
        label="",
        height=2.3,
        gap=0.36,
        right=0.55,
    )
    by_step = lambda run: np.array([row["step"] for row in run.metrics], float)
    _draw_depths(left, by_depth, styles, by_step)
    _draw_depths(
        middle, by_depth, styles, lambda run: compute.training_flops(run) / 1e12
    )
    left.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
    left.xaxis.set_major_formatter(lambda step, _: grokking.format_steps(step))
    middle.xaxis.set_major_locator(ticker.MaxNLocator(4))
    middle.xaxis.set_major_formatter(lambda cost, _: f"{cost:g}")
    _draw_splits(right, by_depth[shown], splits)
    left.set_ylabel("accuracy", fontsize=page.TEXT)
    chance = runs.chance(members[0], "ood")
    for panel, text, label in (
        (left, "OOD", "optimizer updates"),
        (middle, "OOD", "operations of training (10¹²)"),
        (right, ", ".join(names), f"updates (log), R = {shown}"),
    ):
        panel.set_ylim(-0.03, 1.03)
        page.rule(panel)
        panel.set_xlim(left=panel.get_xlim()[0] if panel is right else 0)
        panel.set_xlabel(label, fontsize=page.TEXT)
        panel.set_title(text, fontsize=page.TEXT)
        page.draw_chance(panel, chance, "chance" if panel is right else "")
    page.draw_level(right, level, "OOD\nlevel")
    return figure


def arrivals(members: Sequence[Run]) -> Figure:
    """Draws the share of runs that OOD has not reached yet, one curve per loop depth.

    Raises:
      ValueError: if there is no run.
    """
    budget = runs.shared_value(members, "num_steps")
    curves = {
        depth: survival([completed(run, OOD) for run in group])
        for depth, group in _by_depth(members).items()
    }
    styles = page.loop_styles(list(curves))
    handles = []
    for depth, curve in curves.items():
        runs_of_depth = curve.waiting[0]
        arrived = f"{runs_of_depth - curve.censored.size} of {runs_of_depth} arrived"
        handles.append(_key(styles[depth], f"R = {depth}: {arrived}"))
    tick: dict[str, Any] = {"ls": "", "marker": "|", "color": page.INK, "ms": 8}
    handles.append(lines.Line2D([], [], mew=1.5, **tick, label="censored"))
    figure, ((panel,),) = page.make(
        1,
        1,
        title="Runs that have not completed OOD: knowledge composition",
        notes=(
            f"Kaplan-Meier, {claims.fewest_seeds(members)} or more seeds of each R; "
            "band: pointwise 95% interval. A run is censored at its last evaluation.",
            "Completed: as in the figure of the stages.",
            _NO_INTERVAL,
        ),
        handles=handles,
        label="optimizer updates",
        height=2.2,
    )
    for index, (depth, curve) in enumerate(curves.items()):
        color, dash, _ = styles[depth]
        # Curves lie on each other until a run arrives: the later, the narrower.
        width = 2.0 + 1.6 * (len(curves) - 1 - index)
        ends = np.append(curve.steps[1:], max(budget, curve.steps[-1]))
        steps = np.stack([curve.steps, ends], axis=1).ravel()
        share, low, high = (
            np.repeat(values, 2) for values in (curve.share, curve.low, curve.high)
        )
        line: dict[str, Any] = {"color": color, "lw": width, "ls": dash}
        panel.plot(steps, share, solid_capstyle="butt", **line)
        panel.fill_between(steps, low, high, color=color, alpha=0.13, lw=0)
        at = np.searchsorted(curve.steps, curve.censored, side="right") - 1
        panel.plot(
            curve.censored, curve.share[at], "|", color=color, ms=6 + width, mew=1.5
        )
    panel.set_xlim(0, budget * 1.02)
    panel.set_ylim(-0.03, 1.06)
    panel.set_ylabel("share of runs without OOD", fontsize=page.TEXT)
    panel.xaxis.set_major_formatter(lambda step, _: grokking.format_steps(step))
    page.rule(panel)
    return figure


def _by_depth(members: Sequence[Run]) -> dict[int, list[Run]]:
    return {depth: group for (depth,), group in runs.group(members, (LOOPS,)).items()}


def _key(style: page.Style, label: str) -> lines.Line2D:
    return lines.Line2D([], [], color=style.color, lw=2.2, ls=style.dash, label=label)


def _draw_depths(
    panel: axes.Axes,
    members: Mapping[int, Sequence[Run]],
    styles: Mapping[int, page.Style],
    across: Callable[[Run], np.ndarray],
) -> None:
    """OOD accuracy over `across`, [E] of each run."""
    for depth, group in members.items():
        median = grokking.median_run(group, OOD)
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
            done = completed(run, OOD)
            if not done.beyond:
                at = [row["step"] for row in run.metrics].index(done.steps)
                panel.plot(x[at], values[at], "o", ms=size, mec="white", **style)


def _draw_splits(panel: axes.Axes, group: Sequence[Run], splits: Sequence[str]) -> None:
    first = min(run.config.eval_every_steps for run in group)
    page.use_steps(panel, first, max(run.last_step or first for run in group))
    median = grokking.median_run(group, OOD)
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
