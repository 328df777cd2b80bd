"""When accuracy rises and phases complete, by loop depth and weight decay.

Figures are matplotlib's object-oriented API only; they are laid out in inches, so that
text keeps its size however many panels there are. Step axes are logarithmic and start
at the first evaluation after step 0, which is therefore not shown. Where several seeds
were run, the bold line is a run, the one of the median rank, and not an average.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import axes, colors, lines, patches, ticker
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from rdt_jax.analysis import grokking, runs
from rdt_jax.analysis.grokking import Cell, CellTimes
from rdt_jax.analysis.runs import Run
from rdt_jax.training import phases

LOOPS = "recurrence.num_loops"
WEIGHT_DECAY = "optimizer.weight_decay"
STEP_LABEL = "step (optimizer updates)"
SPLIT_NAMES = {"train": "train", "id": "ID", "ood": "OOD"}
EVENT_NAMES = {
    "memorized": "memorized",
    "id_generalized": "ID generalized",
    "ood_generalized": "OOD generalized",
}
# Apart for every common color vision, and in gray.
SPLIT_COLORS = {"train": "#8f8f8f", "id": "#0072b2", "ood": "#d55e00"}

_WIDTH = 8.2  # inches; a README shows it at about 110 pixels per inch
_TEXT, _SMALL = 9.0, 8.0  # points
_INK, _FAINT, _RULE = "#222222", "#606060", "#d4d4d4"
_VANILLA = "#9a9a9a"
_STRIP = {"train": 1.33, "id": 1.23, "ood": 1.13}  # heights of the phase bars


def accuracy(members: Sequence[Run]) -> Figure:
    """Draws train, ID and OOD accuracy, one panel per weight decay and loop depth.

    The strip above a panel shows the phases of its median run as bars from onset to
    completion, and the completions of the other seeds as ticks.

    Args:
      members: runs of one sweep, finished or not.

    Raises:
      ValueError: if there is no run, or if runs differ in more than loop depth, weight
        decay and seed where a panel or the title needs them equal.
    """
    cells = runs.group(members, (WEIGHT_DECAY, LOOPS))
    decays = runs.values_of(members, WEIGHT_DECAY)
    depths = runs.values_of(members, LOOPS)
    splits = [phases.EVENTS[event] for event in grokking.watched_events(members)]
    handles: list[Any] = [
        lines.Line2D([], [], color=SPLIT_COLORS[s], lw=2, label=SPLIT_NAMES[s])
        for s in splits
    ]
    bar: dict[str, Any] = {"color": _INK, "markersize": 4.5}
    handles += [
        lines.Line2D([], [], marker="o", mfc="white", **bar, label="onset"),
        lines.Line2D([], [], marker="o", **bar, label="completed"),
        lines.Line2D([], [], marker=">", mfc="white", **bar, label="not completed"),
    ]
    if any(run.outcome == "failed" for run in members):
        cross = lines.Line2D([], [], ls="", marker="x", **bar, label="loss not finite")
        handles.append(cross)
    figure, panels = _canvas(
        len(decays),
        len(depths),
        title=f"Accuracy during training: {_task(members)}",
        notes=(
            f"Evaluated at the training loop count R. {_seeds_note(cells)}",
            _phases_note(members),
        ),
        handles=handles,
    )
    for row, decay in enumerate(decays):
        for column, depth in enumerate(depths):
            panel = panels[row][column]
            _style_steps(panel, members)
            panel.set_ylim(-0.04, 1.42)
            panel.set_yticks([0, 0.5, 1])
            panel.axhspan(1.06, 1.42, color="#f4f4f4", lw=0, zorder=0)
            panel.axhline(1.06, color=_RULE, lw=0.6, zorder=0)
            _draw_accuracy(panel, cells.get((decay, depth), []), splits)
            if row == 0:
                panel.set_title(_loops_name(depth), fontsize=_TEXT, color=_INK)
        _label_row(panels[row], f"weight decay {decay:g}")
        panels[row][0].set_ylabel("accuracy", fontsize=_TEXT, y=0.36)
    return figure


def ood_by_depth(
    members: Sequence[Run], *, split: str = "ood", chance: float | None = None
) -> Figure:
    """Draws the accuracy on one split by loop depth, one panel per weight decay.

    Args:
      members: runs of one sweep, finished or not.
      split: train, id or ood.
      chance: accuracy of a uniform guess on the split, drawn as a line if given.

    Raises:
      ValueError: if there is no run, or if runs differ in more than loop depth, weight
        decay and seed where a line or the title needs them equal.
    """
    event = next(event for event, s in phases.EVENTS.items() if s == split)
    threshold = runs.shared_value(members, f"phases.{event}")
    cells = runs.group(members, (WEIGHT_DECAY, LOOPS))
    decays = runs.values_of(members, WEIGHT_DECAY)
    depths = runs.values_of(members, LOOPS)
    styles = _depth_styles(depths)
    handles: list[Any] = [
        lines.Line2D([], [], **styles[depth], lw=2.2, label=_loops_name(depth))
        for depth in depths
    ]
    dot: dict[str, Any] = {"ls": "", "marker": "o", "markersize": 5, "color": _INK}
    handles.append(lines.Line2D([], [], **dot, label="completed"))
    name = SPLIT_NAMES[split]
    figure, panels = _canvas(
        (len(decays) + 1) // 2,
        min(len(decays), 2),
        title=f"{name} accuracy by loop depth: {_task(members)}",
        notes=(
            f"Evaluated at the training loop count R. {_seeds_note(cells)}",
            _phases_note(members, event),
        ),
        handles=handles,
        height=2.1,
        titles=True,
        right=0.85,
    )
    flat = [panel for row in panels for panel in row]
    for panel, decay in zip(flat, decays, strict=False):
        _style_steps(panel, members)
        panel.set_ylim(-0.03, 1.03)
        panel.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
        panel.set_title(f"weight decay {decay:g}", fontsize=_TEXT, color=_INK)
        last = panel is flat[len(decays) - 1] or panel in [row[-1] for row in panels]
        _draw_level(panel, threshold, f"threshold\n{threshold:.2f}" if last else "")
        if chance is not None:
            _draw_level(panel, chance, f"chance\n{chance:.2f}" if last else "")
        for depth in depths:
            _draw_seeds(panel, cells.get((decay, depth), []), event, styles[depth])
    for row in panels:
        row[0].set_ylabel(f"{name} accuracy", fontsize=_TEXT)
    for panel in flat[len(decays) :]:
        panel.set_visible(False)
        flat[len(decays) - 2].tick_params(labelbottom=True)
    return figure


def phase_diagram(members: Sequence[Run]) -> Figure:
    """Draws the median updates to each phase over loop depth and weight decay.

    Args:
      members: runs of one sweep, finished or not.

    Raises:
      ValueError: if there is no run, or if runs differ in more than loop depth, weight
        decay and seed where a cell or the title needs them equal.
    """
    title = f"Updates to each phase: {_task(members)}"
    cells = grokking.cells(members, (LOOPS, WEIGHT_DECAY))
    events = grokking.watched_events(members)
    depths = runs.values_of(members, LOOPS)
    decays = runs.values_of(members, WEIGHT_DECAY)
    grid = {(c.values[LOOPS], c.values[WEIGHT_DECAY]): c for c in cells}
    handles = [
        patches.Patch(
            fc="#f0f0f0",
            ec="#a8a8a8",
            hatch="////",
            lw=0,
            label="median beyond the budget (>)",
        )  # fmt: skip
    ]
    if any(cell.unfinished for cell in cells):
        label = "not known yet: runs are unfinished (…)"
        handles.append(patches.Patch(fc="white", ec=_RULE, label=label))
    figure, panels = _canvas(
        1,
        len(events),
        title=title,
        notes=(
            "Median over seeds, at the training loop count R; below it, in how many of "
            "the runs the phase completed.",
            _phases_note(members, stops=False),
        ),
        handles=handles,
        height=max(1.0, 0.52 * len(depths)),
        gap=0.18,
        right=0.85,
        label="weight decay",
    )
    norm = _step_norm(cells)
    palette = _palette()
    for panel, event in zip(panels[0], events, strict=True):
        for row, depth in enumerate(depths):
            for column, decay in enumerate(decays):
                cell = grid.get((depth, decay))
                _draw_cell(panel, column, row, cell, event, norm, palette)
        panel.set_xlim(-0.5, len(decays) - 0.5)
        panel.set_ylim(-0.5, len(depths) - 0.5)
        panel.set_xticks(range(len(decays)), [f"{decay:g}" for decay in decays])
        panel.set_yticks(range(len(depths)), [str(depth) for depth in depths])
        panel.tick_params(length=0, labelsize=_SMALL)
        panel.spines[:].set_visible(False)
        panel.set_title(EVENT_NAMES[event], fontsize=_TEXT, color=_INK)
    panels[0][0].set_ylabel("training loops R", fontsize=_TEXT)
    _draw_colorbar(figure, panels[0][-1], norm, palette)
    return figure


def thresholds(members: Sequence[Run], event: str | None = None) -> str:
    """Names the thresholds of all events, or of one: `0.99 (train), 0.95 (ID)`.

    Raises:
      ValueError: if the runs do not share them.
    """
    parts = [
        f"{runs.shared_value(members, f'phases.{event}'):.2f} "
        f"({SPLIT_NAMES[phases.EVENTS[event]]})"
        for event in ([event] if event else grokking.watched_events(members))
    ]
    return ", ".join(parts)


def _seeds_note(cells: Mapping[tuple, Sequence[Run]]) -> str:
    if max(map(len, cells.values())) == 1:
        return "One seed."
    return "Bold: the seed of the median rank; thin: the others."


def _phases_note(
    members: Sequence[Run], event: str | None = None, stops: bool = True
) -> str:
    note = (
        f"Completed: median of the last {phases.SMOOTHING} evaluations at or above "
        f"{thresholds(members, event)}."
    )
    if stops and all(run.config.stop_after_phases for run in members):
        note += " A run ends once all phases have completed."
    return note


def _canvas(
    num_rows: int,
    num_columns: int,
    *,
    title: str,
    notes: Sequence[str],
    handles: Sequence[Any],
    height: float = 1.35,
    gap: float = 0.14,
    right: float = 0.35,
    titles: bool = False,
    label: str = STEP_LABEL + ", log scale; step 0 is not shown",
) -> tuple[Figure, list[list[axes.Axes]]]:
    """Lays out a header, a grid of panels with shared axes and one axis label."""
    left, bottom, between = 0.62, 0.47, gap + 0.2 * titles
    top = 0.36 + 0.17 * len(notes) + 0.30 + 0.28
    total = top + num_rows * height + (num_rows - 1) * between + bottom
    width = (_WIDTH - left - right - (num_columns - 1) * gap) / num_columns
    figure = Figure(figsize=(_WIDTH, total))
    figure.text(
        0.1 / _WIDTH, 1 - 0.1 / total, title, fontsize=11.5, weight="bold", va="top",
        color=_INK,
    )  # fmt: skip
    for index, note in enumerate(notes):
        down = 0.36 + 0.17 * index
        figure.text(
            0.1 / _WIDTH, 1 - down / total, note, fontsize=_SMALL, va="top",
            color=_FAINT,
        )  # fmt: skip
    figure.legend(
        handles=handles, loc="upper left", ncol=len(handles), frameon=False,
        bbox_to_anchor=(0.04 / _WIDTH, 1 - (0.36 + 0.17 * len(notes)) / total),
        fontsize=_SMALL, handlelength=1.9, columnspacing=1.5, borderaxespad=0.2,
    )  # fmt: skip
    panels: list[list[axes.Axes]] = []
    for row in range(num_rows):
        panels.append([])
        for column in range(num_columns):
            x = left + column * (width + gap)
            y = bottom + (num_rows - 1 - row) * (height + between)
            panel = figure.add_axes(
                (x / _WIDTH, y / total, width / _WIDTH, height / total)
            )
            panel.tick_params(
                labelsize=_SMALL, labelleft=column == 0, color=_RULE, labelcolor=_INK,
                labelbottom=row == num_rows - 1,
            )  # fmt: skip
            panel.spines[:].set_color(_RULE)
            panels[-1].append(panel)
    center = (left + (_WIDTH - right - left) / 2) / _WIDTH
    figure.text(center, 0.08 / total, label, fontsize=_TEXT, ha="center", color=_INK)
    return figure, panels


def _style_steps(panel: axes.Axes, members: Sequence[Run]) -> None:
    first = min(run.config.eval_every_steps for run in members)
    budget = max(run.config.num_steps for run in members)
    panel.set_xscale("log")
    panel.set_xlim(first / 1.08, budget * 1.08)
    decades = np.log10(budget / first)
    subs = (1, 2, 5) if decades < 1.3 else (1, 3) if decades < 2.5 else (1,)
    panel.xaxis.set_major_locator(ticker.LogLocator(subs=subs))
    panel.xaxis.set_major_formatter(lambda step, _: grokking.format_steps(step))
    panel.xaxis.set_minor_formatter(ticker.NullFormatter())
    panel.tick_params(which="minor", length=0)
    panel.grid(True, axis="both", color="#ececec", lw=0.6)
    panel.set_axisbelow(True)


def _draw_accuracy(
    panel: axes.Axes, members: Sequence[Run], splits: Sequence[str]
) -> None:
    median = grokking.median_run(members)
    if median is None:
        text = "not evaluated yet" if members else "not in the sweep"
        panel.text(
            0.5, 0.36, text, transform=panel.transAxes, ha="center", fontsize=_SMALL,
            color=_FAINT,
        )  # fmt: skip
        return
    for run in members:
        bold = run is median
        times = grokking.grok_times(run)
        for event, times_of_event in times.phases.items():
            split = phases.EVENTS[event]
            color = SPLIT_COLORS[split]
            width, alpha = (1.7, 1.0) if bold else (0.8, 0.55)
            panel.plot(
                *runs.accuracy(run, split), color=color, lw=width, alpha=alpha,
                zorder=3 + bold + 0.1 * splits.index(split),
            )  # fmt: skip
            if run.outcome == "failed":
                steps, values = runs.accuracy(run, split)
                panel.plot(steps[-1], values[-1], "x", color=color, ms=5, zorder=5)
            height = _STRIP[split]
            if bold:
                _draw_bar(panel, height, times_of_event, times.last_step, color)
            elif times_of_event.completed is not None:
                panel.plot(
                    times_of_event.completed, height, "|", color=color, ms=5, mew=1.1
                )


def _draw_bar(
    panel: axes.Axes,
    height: float,
    times: grokking.PhaseTimes,
    last_step: int | None,
    color: str,
) -> None:
    if times.onset is None:
        return
    end = last_step if times.completed is None else times.completed
    mark, fill = (">", "white") if times.completed is None else ("o", color)
    style: dict[str, Any] = {"ms": 4, "mec": color, "mew": 1.1, "zorder": 5}
    panel.plot([times.onset, end], [height] * 2, color=color, lw=1.6, zorder=4)
    panel.plot(times.onset, height, "o", mfc="white", **style)
    panel.plot(end, height, mark, mfc=fill, **style)


def _draw_seeds(
    panel: axes.Axes, members: Sequence[Run], event: str, style: Mapping[str, Any]
) -> None:
    split = phases.EVENTS[event]
    median = grokking.median_run(members, event)
    for run in members:
        if not runs.has_split(run, split):
            continue
        bold = run is median
        width, alpha = (2.0, 1.0) if bold else (0.9, 0.5)
        steps, values = runs.accuracy(run, split)
        panel.plot(steps, values, **style, lw=width, alpha=alpha, zorder=3 + bold)
        completed = grokking.grok_times(run).phases[event].completed
        if completed is not None:
            at = values[np.searchsorted(steps, completed)]
            panel.plot(
                completed, at, "o", color=style["color"], ms=6 if bold else 3.5,
                mec="white", mew=0.8, zorder=5 + bold,
            )  # fmt: skip


def _draw_level(panel: axes.Axes, level: float, label: str) -> None:
    panel.axhline(level, color=_FAINT, lw=0.9, ls=(0, (4, 3)), zorder=2)
    panel.annotate(
        label, (1, level), xycoords=("axes fraction", "data"), xytext=(5, 0),
        textcoords="offset points", fontsize=_SMALL, color=_FAINT, va="center",
    )  # fmt: skip


def _draw_cell(
    panel: axes.Axes,
    column: int,
    row: int,
    cell: Cell | None,
    event: str,
    norm: colors.Normalize,
    palette: colors.Colormap,
) -> None:
    face, ink, hatch, edge = "white", _FAINT, None, "white"
    text = ""
    if cell is not None:
        times = cell.times[event]
        text = _cell_text(cell, times)
        if not times.median.beyond:
            face = colors.to_hex(palette(norm(times.median.steps)))
            ink = "white" if _is_dark(face) else _INK
        elif cell.unfinished:
            edge = _RULE
        else:
            face, hatch, ink = "#f0f0f0", "////", _INK
    box = patches.Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, fc=face, ec=edge)
    box.set_linewidth(0.8)
    if hatch:
        box.set(hatch=hatch, edgecolor="#c4c4c4")
    panel.add_patch(box)
    halo = {"boxstyle": "round,pad=0.12", "fc": "#f0f0f0", "ec": "none"}
    panel.text(
        column, row, text, ha="center", va="center", fontsize=_SMALL, color=ink,
        linespacing=1.15, bbox=halo if hatch else None,
    )  # fmt: skip


def _cell_text(cell: Cell, times: CellTimes) -> str:
    waiting = times.median.beyond and cell.unfinished
    median = "…" if waiting else str(times.median)
    return f"{median}\n{times.reached}/{times.runs}"


def _step_norm(cells: Sequence[Cell]) -> colors.LogNorm:
    medians = [times.median for cell in cells for times in cell.times.values()]
    known = [m.steps for m in medians if not m.beyond and m.steps > 0] or [1.0]
    low, high = min(known), max(known)
    return colors.LogNorm(low / 1.2, high * 1.2)


def _draw_colorbar(
    figure: Figure,
    panel: axes.Axes,
    norm: colors.LogNorm,
    palette: colors.Colormap,
) -> None:
    box = panel.get_position()
    axis = figure.add_axes((box.x1 + 0.12 / _WIDTH, box.y0, 0.11 / _WIDTH, box.height))
    bar = figure.colorbar(ScalarMappable(norm, palette), cax=axis)
    bar.locator = ticker.LogLocator(subs=(1, 2, 5))
    bar.formatter = ticker.FuncFormatter(lambda s, _: grokking.format_steps(s))
    bar.minorlocator = ticker.NullLocator()
    bar.update_ticks()
    bar.outline.set_visible(False)
    axis.tick_params(labelsize=_SMALL, length=2, color=_RULE)
    axis.set_ylabel("optimizer updates", fontsize=_SMALL, color=_INK)


def _palette() -> colors.Colormap:
    """Light is early; the darkest and lightest ends of viridis stay unused."""
    viridis = matplotlib.colormaps["viridis_r"]
    return colors.ListedColormap(viridis(np.linspace(0.04, 0.92, 256)))


def _depth_styles(depths: Sequence[int]) -> dict[int, dict[str, Any]]:
    """One loop is gray; deeper is darker."""
    looped = [depth for depth in depths if depth > 1]
    shades = matplotlib.colormaps["viridis_r"](np.linspace(0.28, 0.95, len(looped)))
    styles = {
        depth: {"color": colors.to_hex(shade)}
        for depth, shade in zip(looped, shades, strict=True)
    }
    return {1: {"color": _VANILLA}} | styles


def _loops_name(depth: int) -> str:
    return "R = 1 (no loop)" if depth == 1 else f"R = {depth} loops"


def _label_row(panels: Sequence[axes.Axes], text: str) -> None:
    panels[-1].annotate(
        text, (1, 0.5), xycoords="axes fraction", xytext=(5, 0), rotation=270,
        textcoords="offset points", fontsize=_TEXT, va="center", color=_INK,
    )  # fmt: skip


def _task(members: Sequence[Run]) -> str:
    return runs.shared_value(members, "task.name").replace("_", " ")


def _is_dark(color: str) -> bool:
    linear = np.array(colors.to_rgb(color)) ** 2.2
    return float(linear @ (0.2126, 0.7152, 0.0722)) < 0.25
