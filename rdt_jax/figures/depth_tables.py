"""Tables for the terminal: hops learned, answered, unlearned, and loops taken."""

from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.table import Table

from rdt_jax.analysis import scaling
from rdt_jax.analysis.curriculum import Progress
from rdt_jax.analysis.grokking import format_steps


class Stages(NamedTuple):
    """A row: what one run learned, and reaches.

    Attributes:
      name: how its loops are drawn.
      seed: of the run.
      progress: of the run.
      reach: most hops answered with the best loops when the last stage was passed;
        None where that was not measured.
    """

    name: str
    seed: int
    progress: Progress
    reach: int | None


def stages(rows: Sequence[Stages], *, task: str) -> Table:
    """Builds the table of a curriculum: one row per run.

    Raises:
      ValueError: if there is no run.
    """
    table = _table(
        f"Hops learned: {task}",
        "Updates until two hops, and until the most, were learned; > marks the last "
        "stage there is. Answered: the most hops with accuracy at least "
        f"{scaling.ANSWERED} after the loops that serve best, and as a multiple of "
        "those learned. ... marks a run that is not finished.",
        rows,
    )
    for name in ("loops", "seed", "learned", "to 2 hops", "to the most", "answered"):
        table.add_column(name, justify="left" if name == "loops" else "right")
    for row in rows:
        found = row.progress
        open_end = "..." if found.outcome == "unfinished" else ""
        learned = found.learned
        if learned is None:
            after = f"> {format_steps(found.last_step)}{open_end}"
            table.add_row(row.name, str(row.seed), f"none{open_end}", after, "", "")
            continue
        mark = "" if found.is_bounded else "> "
        reach = "" if row.reach is None else f"{row.reach} ({row.reach / learned:.2f}x)"
        table.add_row(
            row.name,
            str(row.seed),
            f"{mark}{learned}{open_end}",
            format_steps(found.passed[min(found.passed)]),
            format_steps(found.passed[learned]),
            reach,
        )
    return table


class Decline(NamedTuple):
    """A row: what further loops destroy in one run.

    Attributes:
      name: how its loops are drawn.
      seed: of the run.
      hops: of the questions.
      first_hit: mean first loop with the right answer, over rows that have one.
      peak_loop: loop at which the mean margin is highest.
      peak: mean margin there.
      drop: of the margin, from there to the last loop.
      error: standard error of the drop.
    """

    name: str
    seed: int
    hops: int
    first_hit: float
    peak_loop: int
    peak: float
    drop: float
    error: float


def declines(rows: Sequence[Decline], *, task: str, last: int) -> Table:
    """Builds the table of overthinking: one row per run and number of hops.

    Args:
      rows: at least one.
      task: its name.
      last: the last loop that was measured.

    Raises:
      ValueError: if there is no row.
    """
    table = _table(
        f"Mean logit margin by loops: {task}",
        f"Drop: from the peak to loop {last}, +- its standard error over rows; the "
        "peak is chosen on every other row and scored on the rest.",
        rows,
    )
    for name in ("loops", "seed", "hops", "first hit", "peak at", "peak", "drop"):
        table.add_column(name, justify="left" if name == "loops" else "right")
    for row in rows:
        table.add_row(
            row.name,
            str(row.seed),
            str(row.hops),
            f"{row.first_hit:.1f}",
            str(row.peak_loop),
            f"{row.peak:.1f}",
            f"{row.drop:.1f} +- {row.error:.1f}",
        )
    return table


class Stop(NamedTuple):
    """A row: what one rule makes of one run and number of hops.

    Attributes:
      name: how its loops are drawn.
      seed: of the run.
      hops: of the questions.
      values: name of a rule -> (mean loops, accuracy).
    """

    name: str
    seed: int
    hops: int
    values: dict[str, tuple[float, float]]


def stops(rows: Sequence[Stop], *, task: str, note: str) -> Table:
    """Builds the table of halting: one row per run and number of hops.

    Args:
      rows: at least one, all with the same rules.
      task: its name.
      note: the thresholds.

    Raises:
      ValueError: if there is no row.
    """
    table = _table(f"Loops taken / accuracy by rule: {task}", note, rows)
    for name in ("loops", "seed", "hops", *rows[0].values):
        table.add_column(name, justify="left" if name == "loops" else "right")
    for row in rows:
        entries = [f"{loops:.1f} / {score:.2f}" for loops, score in row.values.values()]
        table.add_row(row.name, str(row.seed), str(row.hops), *entries)
    return table


def _table(title: str, caption: str, rows: Sequence[object]) -> Table:
    if not rows:
        raise ValueError("A table needs at least one row, got none.")
    return Table(
        title=title,
        caption=caption,
        caption_justify="left",
        title_style="bold",
        caption_style="dim",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
