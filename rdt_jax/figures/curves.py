"""Accuracy over the updates of training, by the cells of any sweep.

    curves.accuracy(runs).savefig("accuracy.png")   # a panel per cell
    curves.split_by_axis(runs)                      # a line per value of the first axis

Step axes are logarithmic and start at the first evaluation after step 0, which is
therefore not shown. A bold line is the median of the runs that repeat each other, its
band says how far they spread (analysis/bands.py). Both figures raise ValueError if
there is no run.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import axes, lines
from matplotlib.figure import Figure

from rdt_jax.analysis import bands, grokking, runs
from rdt_jax.analysis.bands import Band
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import page, palette, words
from rdt_jax.figures.cells import Placed, Sweep, folded
from rdt_jax.training import phases

_MOST_COLUMNS, _MOST_PANELS = 6, 60  # of a page of accuracies
_BARS = (1.33, 1.13)  # heights of the first and last of three phases, above accuracy 1
_END: Mapping[str, Any] = {"marker": "|", "ms": 7, "mew": 1.4}  # before the budget


def accuracy(
    members: Sequence[Run], chances: Mapping[str, float] | None = None
) -> Figure:
    """Draws accuracy by split, one panel per cell: in a grid where there are two axes.

    Splits are train, ID, OOD and depth, as far as the task has them, and what further
    phases are about: dashed lines are of a part of a split, or at other loop counts.

    The strip above a panel shows the phases of one run, that of the median rank, as
    bars from onset to completion, in phase order from the top, and the completions of
    the other seeds as ticks. A note says how many cells the page has no room for.

    Args:
      chances: accuracy of a guess by split; that of the last phase is drawn.
    """
    task, sweep = words.task_name(members), Sweep.of(members)
    placed = sweep.panels(columns=_MOST_COLUMNS, most=_MOST_PANELS)
    events = grokking.watched_events(members)
    splits = grokking.drawn_splits(members)
    last = words.last_event(members, chances or ())
    level = chances[phases.BUILT_IN[last]] if chances and last else None
    titles = [[folded(t, 25) for t in row] for row in placed.titles]
    sides = [folded(text, 20) for text in placed.sides]
    lines_of = lambda texts: max((text.count("\n") + 1 for text in texts), default=1)
    most_lines = lines_of(text for row in titles for text in row)
    figure, panels = page.make(
        len(placed.rows),
        len(placed.rows[0]),
        title=_finding(members, events),
        line=f"{task}; {bands.said(sweep.most_runs)}",
        notes=(
            _bars_note(members),
            words.phases_note(members, events),
            *left_out_note(sweep, placed),
        ),
        handles=_accuracy_handles(members, sweep, splits, level),
        label=page.STEP_LABEL,
        right=0.2 + 0.15 * lines_of(sides),
        gap=0.14 if len(placed.rows[0]) < 4 else 0.3,
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
            if level is not None:
                page.draw_chance(panel, level, "")
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
    """Draws the accuracy of one phase, the first axis by lines, others by panels."""
    task, sweep = words.task_name(members), Sweep.of(members)
    name = words.split_name(members, grokking.watched(members, event))
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
    handles.append(lines.Line2D([], [], ls="", **dot, label="completed (median)"))
    handles += _end_handle(members)
    columns = min(len(sweep.rest), 2)
    figure, panels = page.make(
        -(-len(sweep.rest) // columns),
        columns,
        title=f"{name} completes in {words.reached(sweep.by_first, event)}",
        line=f"{task}; {bands.said(sweep.most_runs)}",
        notes=(
            _loops_note(members),
            *(
                [words.phases_note(members, [event])]
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
            draw_cell(panel, cell, event, styles[value])
    for row in panels:
        row[0].set_ylabel(f"{name} accuracy", fontsize=page.TEXT)
    page.hide_rest(panels, len(sweep.rest))
    return figure


def draw(
    panel: axes.Axes,
    members: Sequence[Run],
    group: str,
    *,
    over: float = 3,
    across: Callable[[np.ndarray], np.ndarray] = lambda steps: steps,
    **look: Any,
) -> Band | None:
    """Draws the accuracy of runs that repeat each other, after step 0, and returns it.

    The median is bold and ends where the first of them does, with a mark if that is
    before the budget; what goes on behind is thin, a line for each run. A run that is
    alone is drawn as evaluated, too.

    Args:
      over: the z-order of the median.
      across: maps steps to what the horizontal axis counts.
      **look: color and line style of matplotlib.
    """
    band = bands.of(members, group)
    if band is None:
        return None
    kept = band.steps > 0
    steps = band.steps[kept]
    thin: dict[str, Any] = {**look, "lw": 0.8, "alpha": 0.55, "zorder": over - 0.5}
    evaluated = [run for run in members if runs.has_group(run, group)]
    if len(evaluated) == 1:
        raw = runs.accuracy(evaluated[0], group)
        panel.plot(across(raw.steps[raw.steps > 0]), raw.values[raw.steps > 0], **thin)
    else:
        style = {"color": look["color"], "alpha": 0.18, "lw": 0, "zorder": over - 1}
        panel.fill_between(across(steps), band.low[kept], band.high[kept], **style)
    panel.plot(across(steps), band.median[kept], **look, lw=1.8, zorder=over)
    for rest in band.rest:
        panel.plot(across(rest.steps), rest.values, **thin)
    mark: dict[str, Any] = {"color": look["color"], "zorder": over}
    is_over = all(run.outcome == "over" for run in evaluated)
    if steps.size and is_over and steps[-1] < max(r.config.num_steps for r in members):
        panel.plot(across(steps[-1:]), band.median[kept][-1:], **mark, **_END)
    for run in evaluated:
        if run.outcome == "failed":
            broken = bands.smoothed(run, group)
            panel.plot(across(broken.steps), broken.values, **thin)
            panel.plot(across(broken.steps[-1:]), broken.values[-1:], "x", ms=5, **mark)
    return band


def left_out_note(sweep: Sweep, placed: Placed) -> list[str]:
    """Says how many cells are drawn; nothing where it is all of them."""
    if not placed.left_out:
        return []
    drawn = len(sweep.cells) - placed.left_out
    return [f"The first {drawn} of {len(sweep.cells)} cells; the table has them all."]


def _finding(members: Sequence[Run], events: Sequence[str]) -> str:
    """Says in how many runs each phase completed, the last by the first axis."""
    if not events:
        return "No phase is awaited in these runs"
    *before, last = events
    counts: dict[str, list[str]] = {}  # such as "all" -> train, ID
    for event in before:
        count = words.reached({"": members}, event).replace(" runs", "")
        is_all = len(grokking.arrived(members, event)) == len(members)
        count = "all" if is_all else count
        counts.setdefault(count, []).append(words.phase_name(members, event))
    others = [f"{' and '.join(names)} in {count}" for count, names in counts.items()]
    reached = words.reached(Sweep.of(members).by_first, last)
    found = f"{words.phase_name(members, last)} completes in {reached}"
    return f"{found}; {', '.join(others)}" if others else found


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
    styles = palette.of_groups(splits)
    between = (_BARS[0] - _BARS[1]) / max(2, len(events) - 1)
    for order, (split, style) in enumerate(styles.items()):
        draw(panel, members, split, over=4 + 0.1 * order, **style)
    for run in members:
        for event, phase in grokking.grok_times(run).phases.items():
            if event not in own:  # Of a run without evaluations all are known.
                continue
            style = styles[grokking.watched(members, event)]
            height = _BARS[0] - events.index(event) * between
            if run is median:
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


def draw_cell(
    panel: axes.Axes,
    members: Sequence[Run],
    event: str,
    style: palette.Style,
    across: Callable[[np.ndarray], np.ndarray] = lambda steps: steps,
) -> None:
    """Draws the accuracy of one phase, and where the median run completed it.

    `across` is as of `draw`.
    """
    group = grokking.watched(members, event)
    band = draw(panel, members, group, across=across, color=style.color, ls=style.dash)
    if band is None:
        return
    times = [grokking.completion(grokking.grok_times(run), event) for run in members]
    median = grokking.median(times)
    if not median.beyond:
        at = np.array([median.steps])
        height = np.interp(at, band.steps, band.median)
        dot: dict[str, Any] = {"color": style.color, "mec": "white", "mew": 0.8}
        panel.plot(across(at), height, "o", ms=6.0, zorder=6, **dot)


def _step_range(members: Sequence[Run]) -> tuple[int, int]:
    first = min(run.config.eval_every_steps for run in members)
    return first, max(run.config.num_steps for run in members)


def _end_handle(members: Sequence[Run]) -> list[lines.Line2D]:
    """Returns what the legend says of lines that end early; empty where none does."""
    early = [
        run
        for run in members
        if run.outcome == "over" and (run.last_step or 0) < run.config.num_steps
    ]
    style: dict[str, Any] = {"color": page.INK, **_END}
    return [lines.Line2D([], [], **style, label="runs end")] if early else []


def _accuracy_handles(
    members: Sequence[Run], sweep: Sweep, splits: Sequence[str], chance: float | None
) -> list[lines.Line2D]:
    handles = [
        lines.Line2D([], [], lw=2, **style, label=words.split_name(members, split))
        for split, style in palette.of_groups(splits).items()
    ]
    if chance is not None:
        label = f"chance ({chance:.2f})"
        handles.append(lines.Line2D([], [], color=page.RULE, lw=1.6, label=label))
    mark: dict[str, Any] = {"color": page.INK, "markersize": 4.5}
    handles += [
        lines.Line2D([], [], marker="o", mfc="white", **mark, label="onset"),
        lines.Line2D([], [], marker="o", **mark, label="completed"),
        lines.Line2D([], [], marker=">", mfc="white", **mark, label="not completed"),
        *_end_handle(members),
    ]
    if any(run.outcome == "failed" for run in members):
        label = "loss not finite"
        handles.append(lines.Line2D([], [], ls="", marker="x", **mark, label=label))
    if sweep.most_runs > 1:
        tick: dict[str, Any] = {"ls": "", "marker": "|", "mew": 1.1, **mark}
        label = f"completed, other {sweep.repeats}s"
        handles.append(lines.Line2D([], [], **tick, label=label))
    return handles


def _loops_note(members: Sequence[Run]) -> str:
    """Says at which loop counts runs are evaluated."""
    loops = words.depth_loops(members)
    depth = "" if loops == "R" else f", depth at {loops}"
    return f"Evaluated at the training loop count {words.loop_count(members)}{depth}."


def _bars_note(members: Sequence[Run]) -> str:
    """Says of which run the bars are; ranked by the last phase that its cell has."""
    sweep, note = Sweep.of(members), _loops_note(members)
    if sweep.most_runs < 2:
        return note + " One seed."
    of_cells = map(grokking.watched_events, sweep.cells.values())
    about = {grokking.watched(members, own[-1]) for own in of_cells if own}
    names = [
        words.SPLIT_NAMES.get(split) or words.split_name(members, split)
        for split in about
    ]
    name = names[0] if len(names) == 1 else "the last phase"
    return (
        f"{note} Bars: the {sweep.repeats} of the median rank by updates to {name}; "
        f"ticks: the other {sweep.repeats}s."
    )
