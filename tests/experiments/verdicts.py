"""What tests ask of a claim: its verdict, its numbers, and what it waits for.

    ask = verdicts.asked(study.claims, ("late", "law"))
    ask("late", runs, None, "2 5", "longer budget")

Numbers and words may stand among others, so that sentences can be written anew.
"""

import re
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.runs import Run


def asked(judge: Callable[[Sequence[Run]], list[Claim]], names: Sequence[str]):
    """Returns a function that judges runs and checks the claim of a name."""

    def ask(name, runs, *expected):
        claim = dict(zip(names, judge(list(runs)), strict=True))[name]
        check(claim, *expected)
        return claim

    return ask


def check(claim: Claim, holds: bool | None, numbers: str = "", missing: str = ""):
    """Fails unless the claim says so.

    Args:
      claim: one that was judged.
      holds: its verdict.
      numbers: some of those it was measured by, in their order.
      missing: words that stand in what it waits for.
    """
    measured, _, waits = claim.measured.partition("missing: ")
    assert claim.holds is holds, claim
    found = iter(numbers_of(measured))
    assert all(number in found for number in numbers.split()), (numbers, measured)
    assert missing in waits, (missing, claim.measured)
    assert not waits or holds is None, claim


def numbers_of(text: str) -> list[str]:
    """Returns the numbers of a text, in their order."""
    return re.findall(r"\d+(?:\.\d+)?k?", text)


def columns(table: Table) -> dict[str, list[str]]:
    """Returns the cells of a table by the header of their column."""
    return {str(column.header): list(column.cells) for column in table.columns}


def printed(table: Table) -> str:
    """Returns what a terminal of 80 columns shows."""
    console = Console(width=80)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def texts(thing) -> list[str]:
    """Returns what is written on a figure, a panel or a legend."""
    return [text.get_text() for text in thing.texts]
