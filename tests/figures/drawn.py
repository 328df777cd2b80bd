"""What figures and tables say to who reads them."""

from typing import Any

from rich.console import Console


def texts(thing: Any) -> list[str]:
    """Returns the texts of a figure, a panel or a legend."""
    return [text.get_text() for text in thing.texts]


def legend(figure: Any) -> list[str]:
    """Returns what the legend of a figure names."""
    return texts(figure.legends[0])


def lines_of(*tables: Any, width: int = 80) -> list[str]:
    """Returns the lines of tables as they are printed."""
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        for table in tables:
            console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def words_of(*tables: Any, width: int = 80) -> list[str]:
    """Returns the same with single spaces between words."""
    return [" ".join(line.split()) for line in lines_of(*tables, width=width)]
