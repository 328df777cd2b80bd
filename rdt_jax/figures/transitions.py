"""Tables of what changed at the phase transitions of a run."""

from collections.abc import Sequence

from rich.table import Table

from rdt_jax.analysis import stored
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import summaries, terminal


def tables(run: Run, what: Sequence[str]) -> list[Table]:
    """Builds a table per transition: each number before it and after it, by update.

    Stored analyses that did not apply have no rows.
    """
    return [_table(run, what, transition) for transition in stored.transitions(run)]


def _table(run: Run, what: Sequence[str], transition: stored.Transition) -> Table:
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
            entries = map(summaries.written, (value, now))
            table.add_row(name, key, *entries, change)
    return table
