"""The median updates to each phase, by the cells of any sweep.

diagram.phase_diagram(runs).savefig("phases.png")
"""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import axes, colors, patches, ticker
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from rdt_jax.analysis import grokking
from rdt_jax.analysis.grokking import Cell
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import page, palette, words
from rdt_jax.figures.cells import Sweep
from rdt_jax.figures.curves import left_out_note

_MOST_WIDE, _MOST_ROWS = 14, 60
_MOST_TICKS = 7  # of the scale of updates


def phase_diagram(members: Sequence[Run]) -> Figure:
    """Draws the median updates to each phase by cell, their spread, and what else ends.

    Two axes span a grid, one a strip; of more, or of cells that fill less than half of
    a grid, there is a list. A note says how many cells the page has no room for.
    ValueError if there is no run.
    """
    task, sweep = words.task_name(members), Sweep.of(members)
    cells = grokking.cells(members, sweep.keys)
    by_values = {tuple(cell.values.values()): cell for cell in cells}
    events = grokking.watched_events(members)
    placed = sweep.diagram(columns=_MOST_WIDE, most=_MOST_ROWS)
    (columns,) = placed.titles
    left = 0.3 + max(0.32, *map(page.text_width, placed.sides))
    entry = 1.35 if placed.is_list else 0.56  # inches that an entry needs
    is_wide = len(events) * (len(columns) * entry + 0.18) > page.WIDTH - left - 0.85
    over = f"median of {sweep.repetitions}" if sweep.most_runs > 1 else "one seed"
    handles = [_legend_patch("median beyond the budget (>)", "#f0f0f0", "////")]
    if any(cell.unfinished for cell in cells):
        handles.append(_legend_patch("not known yet: unfinished runs (...)", "white"))
    figure, panels = page.make(
        len(events) if is_wide else 1,
        1 if is_wide else len(events),
        title=_finding(members, sweep, cells, events),
        line=f"{task}; {over}; n/N: runs in which the phase "
        "completed; hatched: accuracy at the end",
        notes=(
            f"At the training loop count {words.loop_count(members)}. Below a median: "
            "the first and the last run.",
            words.phases_note(members, events, ends=False),
            *left_out_note(sweep, placed),
        ),
        handles=handles,
        label="" if placed.is_list else " ".join(map(sweep.axis_title, sweep.keys[1:])),
        height=max(1.0, (0.27 if placed.is_list else 0.58) * len(placed.rows)),
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
                    group = grokking.watched(members, event)
                    place = panel, column, row
                    _draw_cell(*place, cell, event, group, norm, between)
        panel.set_xlim(-0.5, len(columns) - 0.5)
        ends = (-0.5, len(placed.rows) - 0.5)
        panel.set_ylim(*(ends[::-1] if placed.is_list else ends))
        panel.set_xticks(range(len(columns)), columns)
        panel.set_yticks(range(len(placed.rows)), placed.sides)
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
        panel.set_title(words.event_name(event), fontsize=page.TEXT)
    if not placed.is_list:
        panels[0][0].set_ylabel(sweep.axis_title(sweep.keys[0]), fontsize=page.TEXT)
    if not all(t.median.beyond for cell in cells for t in cell.times.values()):
        _draw_colorbar(figure, panels[0][-1], norm)
    return figure


def _finding(
    members: Sequence[Run], sweep: Sweep, cells: Sequence[Cell], events: Sequence[str]
) -> str:
    """Says in which cell the last phase completed first, and after how many updates."""
    if not events:
        return "No phase is awaited in these runs"
    last = events[-1]
    name = words.phase_name(members, last)
    known = [c for c in cells if last in c.times and not c.times[last].median.beyond]
    reached = words.reached({"": members}, last)
    if not known:
        return f"{name} has no median within the budget: completed in {reached}"
    best = min(known, key=lambda cell: cell.times[last].median.steps)
    first = f"soonest at {sweep.label(tuple(best.values.values()))}, "
    when = f"{first * (len(cells) > 1)}after {best.times[last].median} updates"
    return f"{name} completes {when}; it does in {reached}"


def _draw_cell(
    panel: axes.Axes,
    column: int,
    row: int,
    cell: Cell,
    event: str,
    group: str,
    norm: colors.Normalize,
    between: str = "\n",
) -> None:
    times = cell.times[event]
    median, face, edge, hatch = str(times.median), "#f0f0f0", "#c4c4c4", "////"
    # What a median does not say: how far runs spread, or what they reached without it.
    is_spread = not times.low.beyond and times.low != times.high
    more = f"{times.low}-{times.high}".replace(" ", "") if is_spread else ""
    if not times.median.beyond:
        face = edge = colors.to_hex(_palette()(norm(max(1.0, times.median.steps))))
        hatch = ""
    elif cell.unfinished:
        median, face, edge, hatch, more = "...", "white", page.RULE, "", ""
    elif group in cell.final:
        more = f"ends {cell.final[group].median:.2f}"
    style: dict[str, Any] = {"fc": face, "ec": edge, "lw": 0.8, "hatch": hatch}
    corner = (column - 0.48, row - 0.46)
    panel.add_patch(patches.Rectangle(corner, 0.96, 0.92, **style))
    halo = {"boxstyle": "round,pad=0.12", "fc": face, "ec": "none"}
    panel.text(
        column,
        row,
        between.join(filter(None, (median, f"{times.reached}/{times.runs}", more))),
        ha="center",
        va="center",
        fontsize=page.SMALL - 0.5,
        color=palette.ink_on(face),
        linespacing=1.1,
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
    near = [n * 10**d for d in range(8) for n in (1, 1.5, 2, 3, 4, 5, 7)]
    ticks = [step for step in near if norm.vmin <= step <= norm.vmax]
    if len(ticks) > _MOST_TICKS:
        ticks = [step for step in ticks if f"{step:e}"[:3] in ("1.0", "2.0", "5.0")]
    bar.locator = ticker.FixedLocator(ticks)
    bar.formatter = ticker.FuncFormatter(lambda s, _: grokking.format_steps(s))
    bar.minorlocator = ticker.NullLocator()
    bar.update_ticks()


def _palette() -> colors.Colormap:
    """Light is early; the ends of viridis, on which no text reads, stay unused."""
    viridis = matplotlib.colormaps["viridis_r"]
    return colors.ListedColormap(viridis(np.linspace(0.04, 0.92, 256)))
