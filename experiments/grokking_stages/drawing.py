"""The stages of grokking by loop depth, and what each depth pays to reach the last.

The first figure is the counterpart of Figure 3 of Kohli et al. (2026),
arXiv:2604.07822. Without a run each raises ValueError.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import axes, lines, ticker
from matplotlib.figure import Figure

from experiments.depth_by_decay.claims import OOD, completed
from rdt_jax.analysis import bands, compute, grokking, runs
from rdt_jax.analysis.runs import LOOPS, Run
from rdt_jax.analysis.survival import survival
from rdt_jax.figures import curves, page, palette, words

_NO_INTERVAL = (
    "Where the share is 1 or 0 no interval is known, which does not make it certain: "
    "see the numbers of runs."
)


def stages(members: Sequence[Run]) -> Figure:
    """Draws OOD accuracy by updates and by cost, and all splits at one loop depth.

    That depth is the one with most seeds that completed OOD, of these the deepest.
    """
    level = runs.shared_value(members, f"phases.{OOD}")
    by_depth = _by_depth(members)
    shown = max(by_depth, key=lambda r: (len(grokking.arrived(by_depth[r], OOD)), r))
    most = max(map(len, by_depth.values()))
    styles = palette.of_each_loops(by_depth)
    handles = [_key(styles[depth], f"R = {depth}") for depth in by_depth]
    splits = grokking.drawn_splits(members)
    names = [words.split_name(members, split) for split in splits]
    for look, name in zip(palette.of_groups(splits).values(), names, strict=True):
        handles.append(lines.Line2D([], [], **look, lw=2.2, label=name))
    dot: dict[str, Any] = {"marker": "o", "ls": "", "color": page.INK, "ms": 5}
    handles.append(lines.Line2D([], [], **dot, label="completed (median)"))
    figure, ((left, middle, right),) = page.make(
        1,
        3,
        title=f"OOD completes in {_reached(by_depth)}",
        line=f"{words.task_name(members)}; {bands.said(most)}",
        notes=(
            "Left, middle: OOD accuracy at the training loop count. Right: all splits "
            f"at R = {shown}, log scale; upright lines: median completions of phases.",
            words.phases_note(members, grokking.watched_events(members)),
        ),
        handles=handles,
        label="",
        height=2.3,
        gap=0.36,
        right=0.55,
        titled=1,
    )
    for depth, group in by_depth.items():
        curves.draw_cell(left, group, OOD, styles[depth])
        curves.draw_cell(middle, group, OOD, styles[depth], _operations_of(group))
    left.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    left.xaxis.set_major_formatter(lambda step, _: grokking.format_steps(step))
    middle.xaxis.set_major_locator(ticker.MaxNLocator(4))
    middle.xaxis.set_major_formatter(lambda cost, _: f"{cost:g}")
    _draw_splits(right, by_depth[shown], splits)
    left.set_ylabel("accuracy", fontsize=page.TEXT)
    chance = runs.chance(members[0], "ood")
    for panel, text, label in (
        (left, "OOD by updates", "optimizer updates"),
        (middle, "OOD by cost", "operations of training (10¹²)"),
        (right, f"R = {shown}: {', '.join(names)}", "updates, log scale"),
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
    """Draws the share of runs that OOD has not reached yet, one curve a loop depth."""
    budget = runs.shared_value(members, "num_steps")
    shares = {
        depth: survival([completed(run, OOD) for run in group])
        for depth, group in _by_depth(members).items()
    }
    styles = palette.of_each_loops(shares)
    handles = []
    for depth, curve in shares.items():
        runs_of_depth = curve.waiting[0]
        arrived = f"{runs_of_depth - curve.censored.size} of {runs_of_depth} arrived"
        handles.append(_key(styles[depth], f"R = {depth}: {arrived}"))
    tick: dict[str, Any] = {"ls": "", "marker": "|", "color": page.INK, "ms": 8}
    handles.append(lines.Line2D([], [], mew=1.5, **tick, label="censored"))
    figure, ((panel,),) = page.make(
        1,
        1,
        title=f"OOD arrives in {_reached(_by_depth(members))}",
        line=f"{words.task_name(members)}; Kaplan-Meier estimate, band: pointwise 95 % "
        "interval",
        notes=(
            "A run is censored at its last evaluation. Completed: as in the figure of "
            "the stages.",
            _NO_INTERVAL,
        ),
        handles=handles,
        label="optimizer updates",
        height=2.2,
    )
    for index, (depth, curve) in enumerate(shares.items()):
        color, dash, _ = styles[depth]
        # Curves lie on each other until a run arrives: the later, the narrower.
        width = 2.0 + 1.6 * (len(shares) - 1 - index)
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


def _key(style: palette.Style, label: str) -> lines.Line2D:
    return lines.Line2D([], [], color=style.color, lw=2.2, ls=style.dash, label=label)


def _reached(by_depth: Mapping[int, Sequence[Run]]) -> str:
    return words.reached({f"R = {r}": group for r, group in by_depth.items()}, OOD)


def _operations_of(group: Sequence[Run]) -> Callable[[np.ndarray], np.ndarray]:
    """Returns what counts the operations (10^12) up to steps of runs of one depth."""
    longest = max(group, key=lambda run: run.last_step or 0)
    steps = [row["step"] for row in longest.metrics]
    spent = compute.training_flops(longest) / 1e12
    return lambda at: np.interp(at, steps, spent)


def _draw_splits(panel: axes.Axes, group: Sequence[Run], splits: Sequence[str]) -> None:
    """Draws all splits of one depth; completions are upright lines with a name."""
    first = min(run.config.eval_every_steps for run in group)
    page.use_steps(panel, first, max(run.last_step or first for run in group))
    looks = palette.of_groups(splits)
    for split in splits:
        curves.draw(panel, group, split, **looks[split])
    for index, event in enumerate(grokking.watched_events(group)):
        median = grokking.median([completed(run, event) for run in group])
        if not median.beyond:
            color = looks[grokking.watched(group, event)]["color"]
            panel.axvline(median.steps, color=color, lw=1.0)
            panel.text(
                median.steps, 0.75 - 0.2 * index, words.phase_name(group, event),
                color=color, rotation=90, ha="right", va="center", fontsize=page.SMALL,
            )  # fmt: skip
