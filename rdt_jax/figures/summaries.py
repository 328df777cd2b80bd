"""Tables of stored analyses: of a run, its phase transitions, a sweep by cell."""

import statistics
from collections.abc import Sequence

from rich.table import Table

from rdt_jax.analysis import runs, stored
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import terminal


def of_run(run: Run, what: Sequence[str], kinds: Sequence[str]) -> list[Table]:
    """Builds a table per analysis: each number of its summary at each checkpoint.

    What did not apply, or has no numbers, has no table.
    """
    found = {each: _summaries(run, each, kinds) for each in what}
    return [
        _table(each, ["quantity", *summaries], 1, rows)
        for each, summaries in found.items()
        if (rows := _rows(summaries))
    ]


def of_sweep(
    members: Sequence[Run],
    keys: Sequence[str],
    what: Sequence[str],
    kinds: Sequence[str],
) -> list[Table]:
    """Builds a table per analysis and checkpoint: medians over the runs of each cell.

    A planned run without a number counts among those of its cell.

    Raises:
      ValueError: if runs of a cell differ in more than their seed.
    """
    cells = runs.group(members, keys)
    headings = ["quantity", *(key.rpartition(".")[2] for key in keys)]
    built = []
    for each in what:
        found = {run: _summaries(run, each, kinds) for run in members}
        names = dict.fromkeys(name for summary in found.values() for name in summary)
        for name in names:
            summaries = {run: found[run].get(name, {}) for run in members}
            quantities = dict.fromkeys(q for s in summaries.values() for q in s)
            rows = [
                [quantity, *map(str, cell), *_entries(
                    [summaries[run].get(quantity) for run in repeated]
                )]
                for quantity in quantities
                for cell, repeated in cells.items()
            ]  # fmt: skip
            title = f"{each} at {name}"
            columns = [*headings, "median", "range", "runs"]
            if rows:
                built.append(_table(title, columns, len(headings), rows))
    return built


def of_transitions(run: Run, what: Sequence[str]) -> list[Table]:
    """Builds a table per transition: each number before it and after it, by update.

    Stored analyses that did not apply have no rows.
    """
    return [
        _of_transition(run, what, transition) for transition in stored.transitions(run)
    ]


def _of_transition(
    run: Run, what: Sequence[str], transition: stored.Transition
) -> Table:
    words = ("analysis", "quantity")
    steps = (f"at {side.rpartition('-')[2]}" for side in transition[1:])
    title = transition.event.replace("_", " ")
    table = terminal.table(title, (*words, *steps, "change"), words=words)
    for name in what:
        before, after = (
            stored.read_provenance(run, name, side) for side in transition[1:]
        )
        if before is None or after is None:
            continue
        for key, value in before["summary"].items():
            now = after["summary"][key]
            known = value is not None and now is not None
            change = f"{now - value:+.4g}" if known else "-"
            entries = map(written, (value, now))
            table.add_row(name, key, *entries, change)
    return table


def _summaries(run: Run, what: str, kinds: Sequence[str]):
    """Returns checkpoint -> summary; a kind stands for the only one that it names."""
    found = {}
    for kind in kinds if what not in stored.RUN_MEASURES else [stored.RUN]:
        names = stored.names_of(run, what, [kind])
        for name in names:
            if provenance := stored.read_provenance(run, what, name):
                found[kind if len(names) == 1 else name] = provenance["summary"]
    return found


def _rows(summaries) -> list[list[str]]:
    quantities = dict.fromkeys(q for s in summaries.values() for q in s)
    return [
        [quantity, *(written(s.get(quantity)) for s in summaries.values())]
        for quantity in quantities
    ]


def _entries(values: Sequence[float | None]) -> list[str]:
    """Returns median, range and count of the runs of a cell."""
    numbers = [value for value in values if value is not None]
    count = f"{len(numbers)}/{len(values)}"
    if not numbers:
        return ["-", "-", count]
    extent = " to ".join(written(end) for end in (min(numbers), max(numbers)))
    return [written(statistics.median(numbers)), extent, count]


def _table(
    title: str, columns: Sequence[str], words: int, rows: Sequence[Sequence[str]]
) -> Table:
    table = terminal.table(title)
    for index, heading in enumerate(columns):
        table.add_column(
            heading, justify="left" if index < words else "right", overflow="fold"
        )
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        # A line between quantities where each has several rows.
        ends = after is not None and after[0] != row[0] and words > 1
        table.add_row(*row, end_section=ends)
    return table


def written(value: float | None) -> str:
    """Writes a number of a summary in four digits."""
    return "-" if value is None else f"{value:.4g}"
