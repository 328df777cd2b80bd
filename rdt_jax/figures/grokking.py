"""When accuracy rises and phases complete, by loop depth and weight decay.

Step axes are logarithmic and start at the first evaluation after step 0, which is
therefore not shown. Where several seeds were run, the bold line is a run, the one of
the median rank, and not an average.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import axes, colors, lines, patches, ticker
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from rdt_jax import tasks, wording
from rdt_jax.analysis import grokking, runs
from rdt_jax.analysis.grokking import Cell
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import page
from rdt_jax.training import phases

LOOPS = "recurrence.num_loops"
WEIGHT_DECAY = "optimizer.weight_decay"
SPLIT_NAMES = {
    "train": "train", "id": "ID", "ood": "OOD", "depth": "depth", "mixed": "mixed",
}  # fmt: skip
# Apart for every common color vision, and in gray.
SPLIT_COLORS = {
    "train": "#8f8f8f", "id": "#0072b2", "ood": "#d55e00", "depth": "#cc79a7",
    "mixed": "#009e73",
}  # fmt: skip
# Of the second, third and fourth line of a split: parts of it, other loop counts.
_DASHES = ("-", "--", ":", "-.")

_BARS = (1.33, 1.13)  # heights of the first and last of three phases, above accuracy 1


def by_loops_and_decay(members: Sequence[Run]) -> dict[str, Figure]:
    """Draws the figures of a sweep over loop depth and weight decay.

    Args:
      members: runs of one sweep, finished or not.

    Returns:
      `accuracy` by split, `ood_by_depth` where the task has OOD rows, and
      `phase_diagram`.

    Raises:
      ValueError: as the functions that draw them.
    """
    figures = {"accuracy": accuracy(members)}
    chances = tasks.make_table(members[0].config).certificate.chance
    if "ood" in chances:
        figures["ood_by_depth"] = ood_by_depth(members, chance=chances["ood"])
    return figures | {"phase_diagram": phase_diagram(members)}


def accuracy(members: Sequence[Run]) -> Figure:
    """Draws accuracy by split, one panel per weight decay and loop depth.

    Splits are train, ID, OOD and depth, as far as the task has them, and what further
    phases are about: dashed lines are of a part of a split, or at other loop counts.

    The strip above a panel shows the phases of its bold run as bars from onset to
    completion, in phase order from the top, and the completions of the other seeds as
    ticks.

    Args:
      members: runs of one sweep, finished or not.

    Raises:
      ValueError: if there is no run, or if runs differ in more than loop depth, weight
        decay and seed where a panel or the title needs them equal.
    """
    cells = runs.group(members, (WEIGHT_DECAY, LOOPS))
    decays = runs.values_of(members, WEIGHT_DECAY)
    depths = runs.values_of(members, LOOPS)
    events = grokking.watched_events(members)
    handles: list[Any] = []
    splits = grokking.drawn_splits(members)
    for split, style in styles_of(splits).items():
        label = split_name(members, split)
        handles.append(lines.Line2D([], [], lw=2, **style, label=label))
    mark: dict[str, Any] = {"color": page.INK, "markersize": 4.5}
    handles += [
        lines.Line2D([], [], marker="o", mfc="white", **mark, label="onset"),
        lines.Line2D([], [], marker="o", **mark, label="completed"),
        lines.Line2D([], [], marker=">", mfc="white", **mark, label="not completed"),
    ]
    if any(run.outcome == "failed" for run in members):
        label = "loss not finite"
        handles.append(lines.Line2D([], [], ls="", marker="x", **mark, label=label))
    several = _has_seeds(cells)
    if several:
        tick: dict[str, Any] = {"ls": "", "marker": "|", "mew": 1.1, **mark}
        handles.append(lines.Line2D([], [], **tick, label="completed, other seeds"))
    figure, panels = page.make(
        len(decays),
        len(depths),
        title=f"Accuracy during training: {task_name(members)}",
        notes=(
            _seeds_note(members, events[-1], ", bars", ", ticks"),
            phases_note(members, events),
        ),
        handles=handles,
        label=page.STEP_LABEL,
    )
    for row, decay in zip(panels, decays, strict=True):
        for panel, depth in zip(row, depths, strict=True):
            page.use_steps(panel, *_step_range(members))
            panel.set_ylim(-0.04, 1.42)
            panel.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
            panel.axhspan(1.06, 1.42, color="#f4f4f4", lw=0, zorder=0)
            panel.axhline(1.06, color=page.RULE, lw=0.6, zorder=0)
            if row is panels[0]:
                panel.set_title(_loops_name(depth), fontsize=page.TEXT)
            _draw_accuracy(panel, cells.get((decay, depth), []), events, splits)
        page.label_row(row[-1], f"weight decay {decay:g}")
        row[0].set_ylabel("accuracy", fontsize=page.TEXT, y=0.36)
    return figure


def ood_by_depth(
    members: Sequence[Run],
    *,
    event: str = "ood_generalized",
    chance: float | None = None,
) -> Figure:
    """Draws the accuracy on one split by loop depth, one panel per weight decay.

    Args:
      members: runs of one sweep, finished or not.
      event: name of the phase whose accuracy is drawn.
      chance: accuracy of a uniform guess on the split, drawn as a line if given.

    Raises:
      ValueError: if there is no run, or if runs differ in more than loop depth, weight
        decay and seed where a line or the title needs them equal.
    """
    task = task_name(members)
    name = split_name(members, grokking.watched(members, event))
    levels = grokking.thresholds(members, event)
    cells = runs.group(members, (WEIGHT_DECAY, LOOPS))
    decays = runs.values_of(members, WEIGHT_DECAY)
    depths = runs.values_of(members, LOOPS)
    styles = page.loop_styles(depths)
    handles = [
        lines.Line2D(
            [], [], color=styles[depth].color, ls=styles[depth].dash, lw=2.2,
            label=_loops_name(depth),
        )
        for depth in depths
    ]  # fmt: skip
    dot: dict[str, Any] = {"marker": "o", "markersize": 5, "color": page.INK}
    handles.append(lines.Line2D([], [], ls="", **dot, label="completed"))
    columns = min(len(decays), 2)
    figure, panels = page.make(
        -(-len(decays) // columns),
        columns,
        title=f"{name} accuracy by loop depth: {task}",
        notes=(
            _seeds_note(members, event),
            *([phases_note(members, [event])] if levels else []),
        ),
        handles=handles,
        label=page.STEP_LABEL,
        height=2.1,
        right=0.85,
        titled=True,
    )
    flat = [panel for row in panels for panel in row]
    for panel, decay in zip(flat, decays, strict=False):
        page.use_steps(panel, *_step_range(members))
        panel.set_ylim(-0.03, 1.03)
        panel.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
        panel.set_title(f"weight decay {decay:g}", fontsize=page.TEXT)
        last = panel is flat[len(decays) - 1] or any(panel is row[-1] for row in panels)
        for level in levels:
            page.draw_level(panel, level, f"threshold\n{level:.2f}" if last else "")
        if chance is not None:
            page.draw_chance(panel, chance, f"chance\n{chance:.2f}" if last else "")
        for depth in depths:
            _draw_seeds(panel, cells.get((decay, depth), []), event, styles[depth])
    for row in panels:
        row[0].set_ylabel(f"{name} accuracy", fontsize=page.TEXT)
    for index in range(len(decays), len(flat)):
        flat[index].set_visible(False)
        flat[index - columns].tick_params(labelbottom=True)
    return figure


def phase_diagram(members: Sequence[Run]) -> Figure:
    """Draws the median updates to each phase over loop depth and weight decay.

    Args:
      members: runs of one sweep, finished or not.

    Raises:
      ValueError: if there is no run, or if runs differ in more than loop depth, weight
        decay and seed where a cell or the title needs them equal.
    """
    title = f"Updates to each phase: {task_name(members)}"
    cells = grokking.cells(members, (LOOPS, WEIGHT_DECAY))
    grid = {tuple(cell.values.values()): cell for cell in cells}
    events = grokking.watched_events(members)
    depths = runs.values_of(members, LOOPS)
    decays = runs.values_of(members, WEIGHT_DECAY)
    several = max(len(cell.run_ids) for cell in cells) > 1
    handles = [_legend_patch("median beyond the budget (>)", "#f0f0f0", "////")]
    if any(cell.unfinished for cell in cells):
        handles.append(_legend_patch("not known yet: unfinished runs (...)", "white"))
    figure, panels = page.make(
        1,
        len(events),
        title=title,
        notes=(
            f"{'Median over seeds' if several else 'One seed'}, at the training loop "
            "count R; n/N: runs in which the phase completed.",
            phases_note(members, events, ends=False),
        ),
        handles=handles,
        label="weight decay",
        height=max(1.0, 0.52 * len(depths)),
        gap=0.18,
        right=0.85,
    )
    norm = _step_norm(cells)
    for panel, event in zip(panels[0], events, strict=True):
        for row, depth in enumerate(depths):
            for column, decay in enumerate(decays):
                cell = grid.get((depth, decay))
                if cell is not None and event in cell.times:
                    _draw_cell(panel, column, row, cell, event, norm)
        panel.set_xlim(-0.5, len(decays) - 0.5)
        panel.set_ylim(-0.5, len(depths) - 0.5)
        panel.set_xticks(range(len(decays)), [f"{decay:g}" for decay in decays])
        panel.set_yticks(range(len(depths)), [str(depth) for depth in depths])
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
        panel.set_title(event_name(event), fontsize=page.TEXT)
    panels[0][0].set_ylabel("training loops R", fontsize=page.TEXT)
    if not all(t.median.beyond for cell in cells for t in cell.times.values()):
        _draw_colorbar(figure, panels[0][-1], norm)
    return figure


def event_name(event: str) -> str:
    """Names a phase in words: `ID generalized` of `id_generalized`."""
    return " ".join(SPLIT_NAMES.get(word, word) for word in event.split("_"))


def split_name(members: Sequence[Run], watched: str) -> str:
    """Names a split, or what else a phase is about: `ID, hops=2 (8 loops)`.

    Depth is named with the loops at which it is judged, R unless they are given.

    Args:
      members: runs.
      watched: accuracy as of `grokking.watched`.

    Raises:
      ValueError: if the runs do not share `phases.depth_loops`.
    """
    group, loops = phases.rows_and_loops(watched)
    split, _, tag = group.partition("[")
    name = ", ".join([SPLIT_NAMES[split], *([tag[:-1]] if tag else [])])
    if split == "depth" and loops is None:
        loops = runs.shared_value(members, "phases.depth_loops")
        if loops is None:
            return f"{name} (R)"
    return name if loops is None else f"{name} ({wording.count(loops, 'loop')})"


def styles_of(watched: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns how lines of accuracies look: their split's color, dashes for its parts.

    Args:
      watched: accuracies as of `grokking.watched`, each once.
    """
    found: dict[str, dict[str, Any]] = {}
    for each in watched:
        color = SPLIT_COLORS[re.split(r"[\[@]", each)[0]]
        same = sum(style["color"] == color for style in found.values())
        found[each] = {"color": color, "ls": _DASHES[same % len(_DASHES)]}
    return found


def thresholds(members: Sequence[Run], events: Sequence[str]) -> str:
    """Names the thresholds of some events: `0.99 (train), 0.95 (ID)`.

    Raises:
      ValueError: if the events are about other rows in some runs.
    """
    return ", ".join(
        f"{level_name(members, event)} "
        f"({split_name(members, grokking.watched(members, event))})"
        for event in events
    )


def level_name(members: Sequence[Run], event: str) -> str:
    """Writes the threshold of an event, or those of several runs: `0.50 or 0.90`."""
    return " or ".join(f"{at:.2f}" for at in grokking.thresholds(members, event))


def phases_note(
    members: Sequence[Run], events: Sequence[str], ends: bool = True
) -> str:
    """Says when a phase has completed, and, if `ends`, whether that ends a run.

    Raises:
      ValueError: as `thresholds`.
    """
    note = (
        f"Completed: median of the last {phases.SMOOTHING} evaluations at or above "
        f"{thresholds(members, events)}."
    )
    return f"{note} {end_note(members)}".rstrip() if ends else note


def end_note(members: Sequence[Run]) -> str:
    """Says which phases end a run; nothing where some runs train their whole budget."""
    if not all(run.config.stop_after_phases for run in members):
        return ""
    shown = {name for run in members for name in run.config.phases.shown}
    named = " and ".join(map(event_name, sorted(shown)))
    but = f" but {named}" if shown else ""
    return f"A run ends once all phases{but} have completed."


def _draw_accuracy(
    panel: axes.Axes,
    members: Sequence[Run],
    events: Sequence[str],
    splits: Sequence[str],
) -> None:
    median = grokking.median_run(members, events[-1])
    if median is None:
        page.write_in(panel, "not evaluated yet" if members else "not in the sweep")
        return
    styles = styles_of(splits)
    between = (_BARS[0] - _BARS[1]) / max(2, len(events) - 1)
    for run in members:
        bold = run is median
        width, alpha = (1.7, 1.0) if bold else (0.8, 0.55)
        for order, (split, style) in enumerate(styles.items()):
            if not runs.has_group(run, split):
                continue
            shown = _after_start(runs.accuracy(run, split))
            over = 3 + bold + 0.1 * order
            panel.plot(*shown, **style, lw=width, alpha=alpha, zorder=over)
            if run.outcome == "failed":
                end = (shown.steps[-1:], shown.values[-1:])
                panel.plot(*end, "x", color=style["color"], ms=5)
        for event, phase in grokking.grok_times(run).phases.items():
            if event not in events:  # Of a run without evaluations all are known.
                continue
            style = styles[grokking.watched(members, event)]
            height = _BARS[0] - events.index(event) * between
            if bold:
                _draw_bar(panel, height, phase, run.last_step or 0, style)
            elif phase.completed is not None:
                mark = {"color": style["color"], "ms": 5, "mew": 1.1}
                panel.plot(phase.completed, height, "|", **mark)


def _draw_bar(
    panel: axes.Axes,
    height: float,
    phase: grokking.PhaseTimes,
    last: int,
    look: Mapping[str, Any],
) -> None:
    color = look["color"]
    if phase.onset is None:
        return
    # An onset can be dated 0, which the axis cannot show: it begins at its edge.
    begin = max(phase.onset, panel.get_xlim()[0])
    end, mark, fill = (
        (last, ">", "white")
        if phase.completed is None
        else (phase.completed, "o", color)
    )
    style: dict[str, Any] = {"ms": 4, "mec": color, "mew": 1.1, "zorder": 5}
    panel.plot([begin, end], [height, height], **look, lw=1.6, zorder=4)
    panel.plot(begin, height, "o", mfc="white", **style)
    panel.plot(end, height, mark, mfc=fill, **style)


def _draw_seeds(
    panel: axes.Axes, members: Sequence[Run], event: str, style: page.Style
) -> None:
    split = grokking.watched(members, event)
    median = grokking.median_run(members, event)
    for run in members:
        if not runs.has_group(run, split):
            continue
        bold = run is median
        width, alpha, size = (2.0, 1.0, 6.0) if bold else (0.9, 0.5, 3.5)
        shown = _after_start(runs.accuracy(run, split))
        line: dict[str, Any] = {"color": style.color, "ls": style.dash, "lw": width}
        panel.plot(*shown, alpha=alpha, zorder=3 + bold, **line)
        time = grokking.completion(grokking.grok_times(run), event)
        if not time.beyond:
            at = shown.values[shown.steps == time.steps]
            dot: dict[str, Any] = {"color": style.color, "mec": "white", "mew": 0.8}
            panel.plot([time.steps] * at.size, at, "o", ms=size, zorder=5 + bold, **dot)


def _draw_cell(
    panel: axes.Axes,
    column: int,
    row: int,
    cell: Cell,
    event: str,
    norm: colors.Normalize,
) -> None:
    times = cell.times[event]
    median, face, edge, hatch = str(times.median), "#f0f0f0", "#c4c4c4", "////"
    if not times.median.beyond:
        face = edge = colors.to_hex(_palette()(norm(max(1.0, times.median.steps))))
        hatch = ""
    elif cell.unfinished:
        median, face, edge, hatch = "...", "white", page.RULE, ""
    style: dict[str, Any] = {"fc": face, "ec": edge, "lw": 0.8, "hatch": hatch}
    corner = (column - 0.48, row - 0.46)
    panel.add_patch(patches.Rectangle(corner, 0.96, 0.92, **style))
    halo = {"boxstyle": "round,pad=0.12", "fc": face, "ec": "none"}
    panel.text(
        column,
        row,
        f"{median}\n{times.reached}/{times.runs}",
        ha="center",
        va="center",
        fontsize=page.SMALL,
        color=page.ink_on(face),
        linespacing=1.15,
        bbox=halo if hatch else None,
    )


def _legend_patch(label: str, face: str, hatch: str = "") -> patches.Patch:
    return patches.Patch(fc=face, ec="#b8b8b8", hatch=hatch, label=label)


def _step_norm(cells: Sequence[Cell]) -> colors.LogNorm:
    medians = [times.median for cell in cells for times in cell.times.values()]
    known = [max(1.0, m.steps) for m in medians if not m.beyond] or [1.0]
    return colors.LogNorm(min(known) / 1.2, max(known) * 1.2)


def _draw_colorbar(figure: Figure, panel: axes.Axes, norm: colors.LogNorm) -> None:
    box = panel.get_position()
    scale = figure.add_axes(
        (box.x1 + 0.12 / page.WIDTH, box.y0, 0.11 / page.WIDTH, box.height)
    )
    bar = figure.colorbar(ScalarMappable(norm, _palette()), cax=scale)
    bar.locator = ticker.LogLocator(subs=(1, 2, 5))
    bar.formatter = ticker.FuncFormatter(lambda s, _: grokking.format_steps(s))
    bar.minorlocator = ticker.NullLocator()
    bar.update_ticks()
    bar.outline.set_visible(False)
    scale.tick_params(labelsize=page.SMALL, length=2, color=page.RULE)
    scale.set_ylabel("optimizer updates", fontsize=page.SMALL, color=page.INK)


def _palette() -> colors.Colormap:
    """Light is early; the ends of viridis, on which no text reads, stay unused."""
    viridis = matplotlib.colormaps["viridis_r"]
    return colors.ListedColormap(viridis(np.linspace(0.04, 0.92, 256)))


def _after_start(series: runs.Series) -> runs.Series:
    kept = series.steps > 0
    return runs.Series(series.steps[kept], series.values[kept])


def _step_range(members: Sequence[Run]) -> tuple[int, int]:
    first = min(run.config.eval_every_steps for run in members)
    return first, max(run.config.num_steps for run in members)


def _has_seeds(cells: Mapping[tuple, Sequence[Run]]) -> bool:
    return max(map(len, cells.values()), default=0) > 1


def _seeds_note(
    members: Sequence[Run], event: str, bold: str = "", thin: str = ""
) -> str:
    """Says which seeds are drawn how; `bold` and `thin` add to what they mark."""
    loops = runs.shared_value(members, "phases.depth_loops")
    depth = "" if loops is None else f", depth at {wording.count(loops, 'loop')}"
    note = f"Evaluated at the training loop count R{depth}. "
    if not _has_seeds(runs.group(members, (WEIGHT_DECAY, LOOPS))):
        return note + "One seed."
    split = grokking.watched(members, event)
    name = SPLIT_NAMES.get(split) or split_name(members, split)
    return (
        f"{note}Bold{bold}: the seed of the median rank by updates to {name}; "
        f"thin{thin}: the other seeds."
    )


def _loops_name(depth: int) -> str:
    return "R = 1 (no loop)" if depth == 1 else f"R = {depth} loops"


def task_name(members: Sequence[Run]) -> str:
    """Returns the task of all runs in words; ValueError if they do not share one."""
    name = runs.shared_value(members, "task.name").replace("_", " ")
    if name != "modular":
        return name
    of = lambda key: runs.shared_value(members, f"task.kwargs.{key}")
    return f"modular ({of('operation')}, p = {of('modulus')})"
