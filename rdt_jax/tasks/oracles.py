"""Answers worked out a second time, from the words of the rows, for `rdt tasks check`.

An oracle uses no code of its task, and another way where there is one. In the file of
the task `scan` it is `scan_oracle`, a function from the words of a question to those of
its answer, which may take the table as well:

    def scan_oracle(question: list[str], table: Table) -> list[str]:
"""

import functools
import inspect
import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rdt_jax.tasks import identity, installed, rows
from rdt_jax.tasks.base import Table

# From a table and some of its rows to their answers; what packages offer.
Oracle = Callable[[Table, Sequence[int]], list[list[str]]]
UNKNOWN = "?"  # The answer where the words do not give one.
ARITHMETIC: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}


def beside(function: Callable[..., Any]) -> Oracle | None:
    """Returns the oracle of a task whose file has one, `<task>_oracle`, or None.

    One of a user's file says where it raises, or returns no words.
    """
    name = f"{function.__name__}_oracle"
    answer = vars(sys.modules[function.__module__]).get(name)
    if answer is None or identity.is_own(function):
        return of_words(answer) if answer else None
    must = f"{name} must return the words of an answer, a list"
    return installed.guarded(of_words(answer), must, are_answers)


def of_words(answer: Callable[..., list[str]]) -> Oracle:
    """Makes an oracle of a function from the words of a question to its answer."""
    takes_table = len(inspect.signature(answer).parameters) > 1

    @functools.wraps(answer)
    def oracle(table: Table, chosen: Sequence[int]) -> list[list[str]]:
        more = (table,) if takes_table else ()
        return [answer(rows.decode(table, row)[0], *more) for row in chosen]

    return oracle


def are_answers(value: object, table: Table, chosen: Sequence[int]) -> bool:
    """Says whether a value is what an oracle must return, for as many rows."""
    return (
        isinstance(value, list)
        and len(value) == len(chosen)
        and all(isinstance(answer, list) for answer in value)
        and all(isinstance(word, str) for answer in value for word in answer)
    )


def follow_relations(question: list[str], table: Table) -> list[str]:
    """Looks up hop after hop among the facts that the shortest rows state."""
    facts, (at, *relations) = stated_facts(table), question
    for relation in relations:
        at = facts.get((at, relation), UNKNOWN)
    return [at]


@functools.lru_cache(maxsize=1)
def stated_facts(table: Table) -> dict[tuple[str, str], str]:
    """Returns the facts that rows of two words state: (subject, relation) -> object."""
    facts = {}
    for row in range(len(table.tokens)):
        asked, answer = rows.decode(table, row)
        if len(asked) == 2:
            facts[asked[0], asked[1]] = answer[0]
    return facts


def premises(words: list[str]) -> list[tuple[str, str, str]]:
    """Returns the words in threes."""
    return list(zip(words[::3], words[1::3], words[2::3], strict=True))


def reached(edges: list[tuple[str, str]], start: str) -> set[str]:
    """Returns the start and all that edges lead to from it."""
    found: set[str] = set()
    new = {start}
    while new:
        found |= new
        new = {head for tail, head in edges if tail in found} - found
    return found
