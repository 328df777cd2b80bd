"""When accuracy rises and phases complete, by the cells of any sweep.

    figures = grokking.of_sweep(runs)   # {"accuracy": .., "phase_diagram": ..}
    figures["phase_diagram"].savefig("phases.png")

Step axes are logarithmic and start at the first evaluation after step 0, which is
therefore not shown. Where several seeds were run, the bold line is a run, the one of
the median rank, and not an average.
"""

import re
from collections.abc import Collection, Mapping, Sequence
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
from rdt_jax.figures.cells import Placed, Sweep, folded
from rdt_jax.store import environment
from rdt_jax.training import phases

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

_MOST_COLUMNS, _MOST_PANELS = 6, 60  # of a page of accuracies
_MOST_COMPARED = 16  # panels with a line for each value of the first axis
_MOST_WIDE, _MOST_ROWS = 14, 60  # of a phase diagram
_BARS = (1.33, 1.13)  # heights of the first and last of three phases, above accuracy 1


def of_sweep(members: Sequence[Run]) -> dict[str, Figure]:
    """Draws the figures of any sweep; its axes are those of `runs.shown_axes`.

    They are `accuracy` and `phase_diagram` of all cells and, where lines can tell the
    values of the first axis, the split of the last phase in one figure: `ood_by_depth`
    by loops, `id_by_width` by model.width.

    Raises:
      ValueError: as the functions that draw them.
    """
    figures = {"accuracy": accuracy(members)}
    sweep, chances = Sweep.of(members), _chances(members)
    event = last_event(members, chances)
    fits = len(sweep.first) <= len(page.MARKS) and len(sweep.rest) <= _MOST_COMPARED
    if event is not None and sweep.is_full and fits:
        split = phases.BUILT_IN[event]
        name = sweep.name(sweep.keys[0]).replace(" ", "_").replace("R", "depth")
        chance = chances.get(split)
        drawn = split_by_axis(members, event=event, chance=chance)
        figures[f"{split}_by_{name}"] = drawn
    return figures | {"phase_diagram": phase_diagram(members)}


def accuracy(members: Sequence[Run]) -> Figure:
    """Draws accuracy by split, one panel per cell: in a grid where there are two axes.

    Splits are train, ID, OOD and depth, as far as the task has them, and what further
    phases are about: dashed lines are of a part of a split, or at other loop counts.

    The strip above a panel shows the phases of its bold run as bars from onset to
    completion, in phase order from the top, and the completions of the other seeds as
    ticks. A note says how many cells the page has no room for.

    Raises:
      ValueError: if there is no run.
    """
    task, sweep = task_name(members), Sweep.of(members)
    placed = sweep.panels(columns=_MOST_COLUMNS, most=_MOST_PANELS)
    events = grokking.watched_events(members)
    splits = grokking.drawn_splits(members)
    titles = [[folded(t, 25) for t in row] for row in placed.titles]
    sides = [folded(text, 20) for text in placed.sides]
    lines_of = lambda texts: max((text.count("\n") + 1 for text in texts), default=1)
    most_lines = lines_of(text for row in titles for text in row)
    figure, panels = page.make(
        len(placed.rows),
        len(placed.rows[0]),
        title=f"Accuracy during training: {task}",
        notes=(
            _seeds_note(members, None, ", bars", ", ticks"),
            phases_note(members, events),
            *_left_out_note(sweep, placed),
        ),
        handles=_accuracy_handles(members, sweep, splits),
        label=page.STEP_LABEL,
        right=0.2 + 0.15 * lines_of(sides),
        titled=0 if sides else most_lines,
        above=0.17 * (most_lines - 1) * bool(sides),
    )
    for row, cells in zip(panels, placed.rows, strict=True):
        for panel, cell in zip(row, cells, strict=False):
            page.use_steps(panel, *_step_range(members))
            panel.set_ylim(-0.04, 1.42)
            panel.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
            panel.axhspan(1.06, 1.42, color="#f4f4f4", lw=0, zorder=0)
            panel.axhline(1.06, color=page.RULE, lw=0.6, zorder=0)
            _draw_accuracy(panel, sweep.cells.get(cell, []), events, splits)
        row[0].set_ylabel("accuracy", fontsize=page.TEXT, y=0.36)
    for row, texts in zip(panels, titles, strict=False):
        for panel, text in zip(row, texts, strict=False):
            panel.set_title(text, fontsize=page.TEXT)
    for row, text in zip(panels, sides, strict=False):
        page.label_row(row[-1], text)
    page.hide_rest(panels, sum(map(len, placed.rows)))
    return figure


def split_by_axis(
    members: Sequence[Run],
    *,
    event: str = "ood_generalized",
    chance: float | None = None,
) -> Figure:
    """Draws the accuracy of one phase, the first axis by lines, others by panels.

    Raises:
      ValueError: if there is no run.
    """
    task, sweep = task_name(members), Sweep.of(members)
    name = split_name(members, grokking.watched(members, event))
    axis, *others = sweep.keys
    styles = sweep.styles
    handles = [
        lines.Line2D(
            [], [], color=styles[value].color, ls=styles[value].dash, lw=2.2,
            label=sweep.title(axis, value),
        )
        for value in sweep.first
    ]  # fmt: skip
    dot: dict[str, Any] = {"marker": "o", "markersize": 5, "color": page.INK}
    handles.append(lines.Line2D([], [], ls="", **dot, label="completed"))
    columns = min(len(sweep.rest), 2)
    by = "loop depth" if axis == runs.LOOPS else sweep.axis_title(axis)
    figure, panels = page.make(
        -(-len(sweep.rest) // columns),
        columns,
        title=f"{name} accuracy by {by}: {task}",
        notes=(
            _seeds_note(members, event),
            *(
                [phases_note(members, [event])]
                if grokking.thresholds(members, event)
                else []
            ),
        ),
        handles=handles,
        label=page.STEP_LABEL,
        height=2.1,
        right=0.85,
        titled=1,
    )
    flat = [panel for row in panels for panel in row]
    for panel, rest in zip(flat, sweep.rest, strict=False):
        page.use_steps(panel, *_step_range(members))
        panel.set_ylim(-0.03, 1.03)
        panel.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
        panel.set_title(sweep.label(rest, others), fontsize=page.TEXT)
        last = rest is sweep.rest[-1] or any(panel is row[-1] for row in panels)
        shown = [sweep.cells.get((value, *rest), []) for value in sweep.first]
        for level in grokking.thresholds(
            [run for cell in shown for run in cell], event
        ):
            page.draw_level(panel, level, f"threshold\n{level:.2f}" if last else "")
        if chance is not None:
            page.draw_chance(panel, chance, f"chance\n{chance:.2f}" if last else "")
        for value, cell in zip(sweep.first, shown, strict=True):
            _draw_seeds(panel, cell, event, styles[value])
    for row in panels:
        row[0].set_ylabel(f"{name} accuracy", fontsize=page.TEXT)
    page.hide_rest(panels, len(sweep.rest))
    return figure


def phase_diagram(members: Sequence[Run]) -> Figure:
    """Draws the median updates to each phase by cell.

    Two axes span a grid, one a strip; of more, or of cells that fill less than half of
    a grid, there is a list. A note says how many cells the page has no room for.

    Raises:
      ValueError: if there is no run.
    """
    title = f"Updates to each phase: {task_name(members)}"
    sweep = Sweep.of(members)
    cells = grokking.cells(members, sweep.keys)
    by_values = {tuple(cell.values.values()): cell for cell in cells}
    events = grokking.watched_events(members)
    placed = sweep.diagram(columns=_MOST_WIDE, most=_MOST_ROWS)
    (columns,) = placed.titles
    left = 0.3 + max(0.32, *map(page.text_width, placed.sides))
    entry = 0.9 if placed.is_list else 0.46  # inches that an entry needs
    is_wide = len(events) * (len(columns) * entry + 0.18) > page.WIDTH - left - 0.85
    over = f"Median over {sweep.repeats}s" if sweep.most_runs > 1 else "One seed"
    handles = [_legend_patch("median beyond the budget (>)", "#f0f0f0", "////")]
    if any(cell.unfinished for cell in cells):
        handles.append(_legend_patch("not known yet: unfinished runs (...)", "white"))
    figure, panels = page.make(
        len(events) if is_wide else 1,
        1 if is_wide else len(events),
        title=title,
        notes=(
            f"{over}, at the training loop count {loop_count(members)}; n/N: runs in "
            "which the phase completed.",
            phases_note(members, events, ends=False),
            *_left_out_note(sweep, placed),
        ),
        handles=handles,
        label="" if placed.is_list else " ".join(map(sweep.axis_title, sweep.keys[1:])),
        height=max(1.0, (0.27 if placed.is_list else 0.52) * len(placed.rows)),
        gap=0.18,
        left=left,
        right=0.85,
        titled=int(is_wide),
    )
    norm = _step_norm(cells)
    flat = [panel for row in panels for panel in row]
    for panel, event in zip(flat, events, strict=True):
        for row, values in enumerate(placed.rows):
            for column, cell in enumerate(map(by_values.get, values)):
                if cell is not None and event in cell.times:
                    between = "   " if placed.is_list else "\n"
                    _draw_cell(panel, column, row, cell, event, norm, between)
        panel.set_xlim(-0.5, len(columns) - 0.5)
        ends = (-0.5, len(placed.rows) - 0.5)
        panel.set_ylim(*(ends[::-1] if placed.is_list else ends))
        panel.set_xticks(range(len(columns)), columns)
        panel.set_yticks(range(len(placed.rows)), placed.sides)
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
        panel.set_title(event_name(event), fontsize=page.TEXT)
    if not placed.is_list:
        panels[0][0].set_ylabel(sweep.axis_title(sweep.keys[0]), fontsize=page.TEXT)
    if not all(t.median.beyond for cell in cells for t in cell.times.values()):
        _draw_colorbar(figure, panels[0][-1], norm)
    return figure


def last_event(members: Sequence[Run], splits: Collection[str] = ()) -> str | None:
    """Returns the last phase of train, ID and OOD rows that runs declare.

    It is one of the splits that their tables have, if these are given.
    """
    about = {e: phases.BUILT_IN.get(e) for e in grokking.watched_events(members)}
    found = [e for e, split in about.items() if split not in (None, "depth")]
    found = [event for event in found if not splits or about[event] in splits]
    return found[-1] if found else None


def event_name(event: str) -> str:
    """Names a phase in words: `ID generalized` of `id_generalized`."""
    return " ".join(SPLIT_NAMES.get(word, word) for word in event.split("_"))


def split_name(members: Sequence[Run], watched: str) -> str:
    """Names what a phase is about, as of `grokking.watched`: `ID, hops=2 (8 loops)`.

    Depth is named with the loops at which it is judged, R unless they are given.
    """
    group, loops = phases.rows_and_loops(watched)
    split, _, tag = group.partition("[")
    name = ", ".join([SPLIT_NAMES[split], *([tag[:-1]] if tag else [])])
    if split == "depth" and loops is None:
        return f"{name} ({_depth_loops(members)})"
    return name if loops is None else f"{name} ({wording.count(loops, 'loop')})"


def _depth_loops(members: Sequence[Run]) -> str:
    found = runs.values_of(members, "phases.depth_loops")
    return " or ".join("R" if n is None else wording.count(n, "loop") for n in found)


def styles_of(watched: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns how lines of accuracies look: a split's color, dashes for its parts."""
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
    own = grokking.watched_events(members)
    median = grokking.median_run(members, own[-1]) if own else None
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
            if event not in own:  # Of a run without evaluations all are known.
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
    between: str = "\n",
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
        f"{median}{between}{times.reached}/{times.runs}",
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
    shades = ScalarMappable(norm, _palette())
    bar = page.add_scale(figure, panel, shades, "optimizer updates")
    bar.locator = ticker.LogLocator(subs=(1, 2, 5))
    bar.formatter = ticker.FuncFormatter(lambda s, _: grokking.format_steps(s))
    bar.minorlocator = ticker.NullLocator()
    bar.update_ticks()


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


def loop_count(members: Sequence[Run]) -> str:
    """Names the training loop count, with its number where no axis tells it.

    It also says so if a phase is about another one.
    """
    shared = runs.LOOPS not in runs.shown_axes(members)
    others = any("@" in text for run in members for text in run.config.phases.further)
    return f"R{f' = {members[0].num_loops}' * shared}{' (or as named)' * others}"


def _chances(members: Sequence[Run]) -> Mapping[str, float]:
    """Returns the chance of each split of the runs' table; empty if they have several.

    It makes the table. It is empty, too, if that is another one than a run was trained
    on, or cannot be made, such as where the file of its task has changed or is gone.
    """
    if len({run.config.task.to_json() for run in members}) > 1:
        return {}
    try:
        table, made = (
            tasks.make_table(members[0].config),
            tasks.hash_of(members[0].config),
        )
        for run in members:
            environment.check_table(run.folder, made, run.config)
    except ValueError:
        return {}
    return table.certificate.chance


def _accuracy_handles(
    members: Sequence[Run], sweep: Sweep, splits: Sequence[str]
) -> list[lines.Line2D]:
    handles = [
        lines.Line2D([], [], lw=2, **style, label=split_name(members, split))
        for split, style in styles_of(splits).items()
    ]
    mark: dict[str, Any] = {"color": page.INK, "markersize": 4.5}
    handles += [
        lines.Line2D([], [], marker="o", mfc="white", **mark, label="onset"),
        lines.Line2D([], [], marker="o", **mark, label="completed"),
        lines.Line2D([], [], marker=">", mfc="white", **mark, label="not completed"),
    ]
    if any(run.outcome == "failed" for run in members):
        label = "loss not finite"
        handles.append(lines.Line2D([], [], ls="", marker="x", **mark, label=label))
    if sweep.most_runs > 1:
        tick: dict[str, Any] = {"ls": "", "marker": "|", "mew": 1.1, **mark}
        label = f"completed, other {sweep.repeats}s"
        handles.append(lines.Line2D([], [], **tick, label=label))
    return handles


def _left_out_note(sweep: Sweep, placed: Placed) -> list[str]:
    if not placed.left_out:
        return []
    drawn = len(sweep.cells) - placed.left_out
    return [f"The first {drawn} of {len(sweep.cells)} cells; the table has them all."]


def _seeds_note(
    members: Sequence[Run], event: str | None, bold: str = "", thin: str = ""
) -> str:
    """Says which seeds are drawn how; `bold` and `thin` add to what they mark.

    Without an event they are ranked by the last one that their cell has.
    """
    sweep = Sweep.of(members)
    loops = _depth_loops(members)
    depth = "" if loops == "R" else f", depth at {loops}"
    count = loop_count(members)
    note = f"Evaluated at the training loop count {count}{depth}. "
    if sweep.most_runs < 2:
        return note + "One seed."
    of_cells = map(grokking.watched_events, sweep.cells.values())
    asked = {event} if event else {own[-1] for own in of_cells if own}
    about = {grokking.watched(members, each) for each in asked}
    names = [SPLIT_NAMES.get(split) or split_name(members, split) for split in about]
    name = names[0] if len(names) == 1 else "the last phase"
    return (
        f"{note}Bold{bold}: the {sweep.repeats} of the median rank by updates to "
        f"{name}; thin{thin}: the other {sweep.repeats}s."
    )


def task_name(members: Sequence[Run]) -> str:
    """Returns the task of all runs in words, or how many tasks they have."""
    names = runs.values_of(members, "task.name")
    if not names:
        raise ValueError("A sweep has at least one run, got no run.")
    if len(names) > 1:
        return wording.count(len(names), "task")
    name = names[0].rpartition(":")[2].replace("_", " ")
    if name != "modular":
        return name
    given = [run.config.task.kwargs.to_dict() for run in members]
    values = {
        key: {arguments.get(key) for arguments in given}
        for key in ("operation", "modulus")
    }
    known = {key: value for key, (value, *more) in values.items() if not more}
    p = known.get("modulus")
    parts = [known.get("operation"), p and f"p = {p}"]
    return f"{name} ({', '.join(filter(None, parts))})" if any(parts) else name
