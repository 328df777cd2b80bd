"""Tables for the terminal."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from rdt_jax import wording
from rdt_jax.analysis import grokking, runs
from rdt_jax.analysis.grokking import Cell
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import terminal
from rdt_jax.figures.grokking import (
    LOOPS,
    WEIGHT_DECAY,
    end_note,
    event_name,
    level_name,
    split_name,
)
from rdt_jax.training import phases


def updates_to_phases(members: Sequence[Run]) -> Table:
    """Builds the table of a sweep: one row per loop depth and weight decay.

    Args:
      members: runs of one sweep, finished or not.

    Returns:
      Updates to each phase, and the accuracy at the end, on the split of the last phase
      at R, on depth, and on the mixed patterns (its median alone). With several seeds
      an entry is `median n/N` over `first - last`, which is left out where the first is
      not known. A lower bound is marked by `>`, and dim where it stands for the median;
      `...` stands for what unfinished runs leave open. It fits 80 columns.

    Raises:
      ValueError: if there is no run, or if runs differ in more than loop depth, weight
        decay and seed where the table needs them equal.
    """
    task = runs.shared_value(members, "task.name").replace("_", " ")
    events = grokking.watched_events(members)
    cells = grokking.cells(members, (LOOPS, WEIGHT_DECAY))
    known = [phases.BUILT_IN.get(event) for event in events]
    ends = [split for split in known if split not in (None, "depth")][-1:]
    if any("depth" in cell.final for cell in cells):
        ends.append("depth")
    mixed = any(group in cell.final for cell in cells for group in grokking.MIXED)
    headings = ["R", "decay"]
    for event in events:
        name = split_name(members, grokking.watched(members, event))
        verb = event_name(event).split()[-1] if event in phases.BUILT_IN else event
        headings.append(f"{verb}\n{name} >= {level_name(members, event)}")
    headings += [f"{split_name(members, split)}\nat the end" for split in ends]
    headings += ["mixed*\nat the end"] * mixed
    table = terminal.table(
        f"Updates to each phase: {task}",
        headings,
        caption=Text(_caption(members, cells, ends, mixed)),
    )
    for index, cell in enumerate(cells):
        if index and cell.values[LOOPS] != cells[index - 1].values[LOOPS]:
            table.add_section()
        table.add_row(
            str(cell.values[LOOPS]),
            f"{cell.values[WEIGHT_DECAY]:g}",
            *(_times_entry(cell, event) for event in events),
            *(_accuracy_entry(cell, split) for split in ends),
            *([_mixed_entry(cell)] if mixed else []),
        )
    return table


def _times_entry(cell: Cell, event: str) -> Text:
    if event not in cell.times:
        return Text("-", style="dim")
    times = cell.times[event]
    median = "..." if times.median.beyond and cell.unfinished else str(times.median)
    entry = Text(median, style="dim" if times.median.beyond else "")
    if times.runs > 1:
        entry.append(f"  {times.reached}/{times.runs}")
        if not times.low.beyond:
            entry.append(f"\n{times.low} - {times.high}".replace("> ", ">"))
    return entry


def _accuracy_entry(cell: Cell, group: str) -> Text:
    if group not in cell.final or cell.unfinished:
        return Text("...", style="dim")
    final = cell.final[group]
    entry = Text(f"{final.median:.2f}")
    if len(cell.run_ids) > 1:
        entry.append(f"\n{final.low:.2f} - {final.high:.2f}")
    return entry


def _mixed_entry(cell: Cell) -> Text:
    if cell.unfinished:
        return Text("...", style="dim")
    known = [cell.final.get(group) for group in grokking.MIXED]
    return Text("/".join("-" if k is None else f"{k.median:.2f}" for k in known))


def _caption(
    members: Sequence[Run], cells: Sequence[Cell], ends: Sequence[str], mixed: bool
) -> str:
    names = [split_name(members, split) for split in ends] + ["mixed"] * mixed
    shown = " and ".join(names) + f" at the end {'are' if names[1:] else 'is'} "
    budgets = [grokking.format_steps(b) for b in runs.values_of(members, "num_steps")]
    seeds = max(len(cell.run_ids) for cell in cells)
    parts = [
        f"Median over {seeds} seeds, below it first - last, n/N: runs that completed "
        "the phase."
        if seeds > 1
        else "One seed.",
        f"Budget {' or '.join(budgets)} optimizer updates; > marks what lies beyond.",
        f"A phase completes when the median of the last {phases.SMOOTHING} evaluations "
        "at the training loop count R reaches its threshold;",
        f"{shown}that median at a run's end; "
        "*only the first hop practiced/only the second (ID-OOD/OOD-ID)."
        if mixed
        else f"{shown}that median at a run's end.",
    ]
    parts += [note] if (note := end_note(members)) else []
    for cell in cells:
        if cell.failed:
            where = f"R = {cell.values[LOOPS]}, decay {cell.values[WEIGHT_DECAY]:g}"
            total = wording.count(len(cell.run_ids), "run")
            parts.append(f"Loss not finite at {where}: {cell.failed} of {total}.")
    unfinished = sum(cell.unfinished for cell in cells)
    if unfinished:
        parts.append(
            f"... marks {unfinished} of {wording.count(len(members), 'run')}, not yet "
            "finished."
        )
    return " ".join(parts)
