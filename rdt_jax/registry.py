"""Tables of named things: one lookup, one error message."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def lookup(kind: str, table: Mapping[str, T], name: str) -> T:
    """Returns `table[name]`; an unknown name raises ValueError with the choices."""
    if name not in table:
        choices = ", ".join(sorted(table))
        raise ValueError(f"Unknown {kind} {name!r}; choose from {choices}.")
    return table[name]
