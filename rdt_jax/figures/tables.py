"""Tables for the terminal.

rich.print(tables.updates_to_phases(runs))  # a row per cell of any sweep
"""

import re
import statistics
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from rdt_jax import wording
from rdt_jax.analysis import grokking, runs
from rdt_jax.analysis.grokking import Cell
from rdt_jax.analysis.runs import BLOCKS, LOOPS, WEIGHT_DECAY, Run
from rdt_jax.figures import terminal
from rdt_jax.figures.cells import Sweep, folded
from rdt_jax.figures.words import (
    end_note,
    event_name,
    last_event,
    level_name,
    loop_count,
    split_name,
    task_name,
)
from rdt_jax.training import phases

_WIDTH = 80  # of the table, in characters
_LEAST = 14  # of the axes and the two spaces behind them

_AXES = {
    LOOPS: "how often a pass runs the same layers",
    BLOCKS: "number of these layers (blocks)",
    WEIGHT_DECAY: "weight decay",
}
# What the rows of a split ask, for who reads a table before the pages on splits.
_ASKED = {
    "train": "trained rows",
    "id": "new combinations of practiced parts",
    "ood": "combinations of parts never combined in training",
    "depth": "rows that are longer than any trained one",
    "mixed": "combinations of a practiced part with one never combined in training",
}

Column = tuple[str, Sequence[str | Text]]  # heading and entries


def updates_to_phases(members: Sequence[Run]) -> Table:
    """Builds the table of any sweep: one row per cell, by the axes of `shown_axes`.

    It has the updates to each phase, and the accuracy at the end, on the split of the
    last phase at R, on depth, and on the mixed patterns (its median alone). With
    several seeds an entry is `median n/N` over `first-last`, which is left out where
    the first is not known. A lower bound is marked by `>`, and dim where it stands for
    the median; `...` stands for what unfinished runs leave open. Each column has a line
    in the caption. It fits 80 columns; axes that would be too wide beside each other
    share one. Where blocks of the core differ as loops do, both are one column of
    models: `1 x 4`. ValueError if there is no run.
    """
    task, sweep = task_name(members).partition(" (")[0], Sweep.of(members)
    cells = grokking.cells(members, sweep.keys)
    events = grokking.watched_events(members)
    last = last_event(members)
    ends = [] if last is None else [phases.BUILT_IN[last]]
    if any("depth" in cell.final for cell in cells):
        ends.append("depth")
    mixed = any(group in cell.final for cell in cells for group in grokking.MIXED)
    columns: list[Column] = []
    for event in events:
        name = split_name(members, grokking.watched(members, event))
        words = event_name(event)
        verb = words.split()[-1] if event in phases.BUILT_IN else words
        heading = f"{verb}\n{name} >= {level_name(members, event)}"
        columns.append((heading, [_times_entry(cell, event) for cell in cells]))
    for split in ends:
        heading = f"{split_name(members, split)}\nat the end"
        columns.append((heading, [_accuracy_entry(cell, split) for cell in cells]))
    for tag in filter(None, runs.values_of(members, "curriculum.by")):
        entries = list(map(_learned_entry, sweep.cells.values(), cells))
        columns.append((f"{tag}\nlearned", entries))
    if mixed:
        columns.append(("mixed\nat the end", list(map(_mixed_entry, cells))))
    is_wide = _width(columns) > _WIDTH - _LEAST
    if is_wide and not phases.BUILT_IN.keys() >= set(events):
        columns = [(_narrowed(heading), entries) for heading, entries in columns]
    axes = _axes(sweep, _WIDTH - _width(columns))
    table = terminal.table(
        f"Updates to each phase: {task}",
        [heading for heading, _ in axes + columns],
        words=[heading for heading, texts in axes if not _are_numbers(texts)],
        caption=Text("\n".join(_caption(members, sweep, cells, ends, mixed))),
    )
    rows = zip(*(entries for _, entries in axes + columns), strict=True)
    has_parts = len(cells) > len(sweep.first) or sweep.keys == (LOOPS, WEIGHT_DECAY)
    firsts = [values[: 1 + _names_models(sweep)] for values in sweep.cells]
    for row, first, after in zip(rows, firsts, [*firsts[1:], None], strict=True):
        table.add_row(*row, end_section=has_parts and after not in (None, first))
    return table


def _narrowed(heading: str) -> str:
    """Breaks a heading between its words, and in the longest ones."""
    for word in ("general-ized", "memo-rized"):
        heading = heading.replace(word.replace("-", ""), word.replace("-", "-\n"))
    return re.sub(r"(?<=\w=)| (?![\d.]+$)", "\n", heading)


def _names_models(sweep: Sweep) -> bool:
    """Says whether the first two axes together are the model: loops and blocks."""
    return sweep.keys[:2] == (LOOPS, BLOCKS)


def _axes(sweep: Sweep, room: int) -> list[Column]:
    """Returns a column per axis, or one for all where they are wider than the room."""
    columns: list[Column] = [
        (
            sweep.name(key).replace(" ", "\n"),
            [Text(sweep.written(key, values[index])) for values in sweep.cells],
        )
        for index, key in enumerate(sweep.keys)
    ]
    if _names_models(sweep):
        names = [f"{loops} x {blocks}" for loops, blocks, *_ in sweep.cells]
        columns[:2] = [("R x L", [Text(name) for name in names])]
    room = max(_LEAST, room)
    if _width(columns) <= room:
        return columns
    labels = map(sweep.label, sweep.cells)
    return [("cell", [Text(folded(label, room - 2)) for label in labels])]


def _width(columns: Sequence[Column]) -> int:
    """Returns how wide columns are, with the two spaces between them."""
    lines = lambda column: "\n".join(map(str, [column[0], *column[1]])).split("\n")
    return sum(max(map(len, lines(column))) + 2 for column in columns)


def _are_numbers(texts: Sequence[str | Text]) -> bool:
    return all(re.fullmatch(r"none|[\d.e+-]+", str(text)) for text in texts)


def _times_entry(cell: Cell, event: str) -> Text:
    if event not in cell.times:
        return Text("-", style="dim")
    times = cell.times[event]
    median = "..." if times.median.beyond and cell.unfinished else str(times.median)
    entry = Text(median, style="dim" if times.median.beyond else "")
    if times.runs > 1:
        entry.append(f"  {times.reached}/{times.runs}")
        if times.spread:
            entry.append(f"\n{times.spread}")
    return entry


def _accuracy_entry(cell: Cell, group: str) -> Text:
    if group not in cell.final or cell.unfinished:
        return Text("...", style="dim")
    final = cell.final[group]
    entry = Text(f"{final.median:.2f}")
    if len(cell.run_ids) > 1:
        entry.append(f"\n{final.low:.2f}-{final.high:.2f}")
    return entry


def _learned_entry(members: Sequence[Run], cell: Cell) -> Text:
    """Writes up to how many hops stages of a curriculum were passed, 0 for none."""
    from rdt_jax.analysis import curriculum  # Which imports jax.

    if members[0].config.curriculum.by is None or cell.unfinished:
        return Text("..." if cell.unfinished else "-", style="dim")
    learned = sorted(curriculum.progress(run).learned or 0 for run in members)
    entry = Text(f"{statistics.median(learned):g}")
    if len(learned) > 1:
        entry.append(f"\n{learned[0]} - {learned[-1]}")
    return entry


def _mixed_entry(cell: Cell) -> Text:
    if cell.unfinished:
        return Text("...", style="dim")
    known = [cell.final.get(group) for group in grokking.MIXED]
    return Text("/".join("-" if k is None else f"{k.median:.2f}" for k in known))


def _caption(
    members: Sequence[Run],
    sweep: Sweep,
    cells: Sequence[Cell],
    ends: Sequence[str],
    mixed: bool,
) -> list[str]:
    """Returns a line for each column, then what they have in common."""
    names = dict(zip(sweep.keys, map(sweep.name, sweep.keys), strict=True))
    names |= {BLOCKS: "L"} if _names_models(sweep) else {}
    axes = [f"{name}: {_AXES.get(key, key)}" for key, name in names.items()]
    parts = ["; ".join(axes) + "."]
    for event in grokking.watched_events(members):
        watched = grokking.watched(members, event)
        name, asked = split_name(members, watched), _ASKED[re.split(r"\W", watched)[0]]
        level = level_name(members, event)
        parts.append(
            f"{name} >= {level}: updates until {level} of the {asked} are right."
        )
    parts += [
        f"{split_name(members, s)} at the end: share that is right then." for s in ends
    ]
    if mixed:
        parts.append(
            "mixed at the end: where only the first hop/only the second was practiced "
            "in combinations (ID-OOD/OOD-ID)."
        )
    for tag in filter(None, runs.values_of(members, "curriculum.by")):
        parts.append(f"{tag} learned: those of the last stage that a run has passed.")
    budgets = [grokking.format_steps(b) for b in runs.values_of(members, "num_steps")]
    common = [
        f"Median over {sweep.repetitions}; below it first-last; n/N: runs that got "
        "there."
        if sweep.most_runs > 1
        else "One seed.",
        f"Budget {' or '.join(budgets)} optimizer updates; > marks what lies beyond.",
        f"Shares are medians of the last {phases.SMOOTHING} evaluations, at the "
        f"training loop count {loop_count(members)}.",
        *filter(None, [end_note(members)]),
    ]
    for cell in cells:
        if cell.failed:
            where = sweep.label(tuple(cell.values.values()))
            total = wording.count(len(cell.run_ids), "run")
            common.append(f"Loss not finite at {where}: {cell.failed} of {total}.")
    unfinished = sum(cell.unfinished for cell in cells)
    if unfinished:
        common.append(
            f"... marks {unfinished} of {wording.count(len(members), 'run')}, not yet "
            "finished."
        )
    return [*parts, " ".join(common)]
