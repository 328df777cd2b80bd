"""Tables of what changed at the phase transitions of a run."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from rdt_jax.analysis import stored
from rdt_jax.analysis.runs import Run


def tables(run: Run, what: Sequence[str]) -> list[Table]:
    """Builds a table per transition: each number before it and after it, by update.

    Args:
      run: whose parameters were kept.
      what: stored analyses; those that did not apply have no rows.
    """
    return [_table(run, what, transition) for transition in stored.transitions(run)]


def _table(run: Run, what: Sequence[str], transition: stored.Transition) -> Table:
    table = Table(
        title=transition.event.replace("_", " "),
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for heading in ("analysis", "quantity"):
        table.add_column(heading)
    for side in transition[1:]:
        table.add_column(f"at {side.rpartition('-')[2]}", justify="right")
    table.add_column("change", justify="right")
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
            table.add_row(name, key, _number(value), _number(now), change)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
