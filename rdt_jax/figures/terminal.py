"""The look of all tables in the terminal.

    from rdt_jax.figures import terminal

    table = terminal.table("Updates", ("R", "updates"), caption="Of one seed.")
    table.add_row("2", "1.2k")

Words stand at the left of a column, numbers at its right.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text


def table(
    title: str,
    headings: Sequence[str] = (),
    rows: Iterable[Sequence[str | Text]] = (),
    *,
    caption: str | Text = "",
    words: Collection[str] = (),
    **options: Any,
) -> Table:
    """Builds a table of one look.

    Args:
      words: headings of the columns that hold words, at the left; numbers are at the
        right.
      **options: of rich's Table, instead of those of the look.
    """
    look: dict[str, Any] = {
        "title_style": "bold",
        "caption_style": "dim",
        "caption_justify": "left",
        "box": box.SIMPLE_HEAD,
        "show_edge": False,
        "padding": (0, 1, 0, 0),  # What is wider breaks entries at 80 columns.
    }
    built = Table(title=title, caption=caption or None, **look | options)
    for heading in headings:
        built.add_column(heading, justify="left" if heading in words else "right")
    for row in rows:
        built.add_row(*row)
    return built
