"""Answers worked out a second time, from the words of the rows, for `rdt tasks check`.

An oracle takes a table and some of its rows and returns the answer of each as words. It
uses no code of its task, and another way where there is one.
"""

from collections.abc import Callable, Mapping, Sequence

from rdt_jax.tasks import rows
from rdt_jax.tasks.base import Table

Oracle = Callable[[Table, Sequence[int]], list[list[str]]]


def follow_relations(table: Table, chosen: Sequence[int]) -> list[list[str]]:
    """Looks up hop after hop among the facts that the one-hop rows state."""
    facts = {}
    for row in range(len(table.tokens)):
        asked, answer = rows.decode(table, row)
        if len(asked) == 2:
            facts[tuple(asked)] = answer[0]
    answers = []
    for row in chosen:
        at, *relations = rows.decode(table, row)[0]
        for relation in relations:
            at = facts.get((at, relation), "?")
        answers.append([at])
    return answers


def modular(table: Table, chosen: Sequence[int]) -> list[list[str]]:
    """Tries every residue until one solves the equation."""
    residues = [word for word in table.vocab if word.isdecimal()]
    solves: dict[str, Callable[[int, int, int], int]] = {  # a, b, answer -> 0 mod p
        "add": lambda a, b, c: c - a - b,
        "subtract": lambda a, b, c: c + b - a,
        "divide": lambda a, b, c: c * b - a,
        "divide_if_odd_else_subtract": lambda a, b, c: (
            c * b - a if b % 2 else c + b - a
        ),
        "a2_b2": lambda a, b, c: c - a**2 - b**2,
        "a2_ab_b2": lambda a, b, c: c - a**2 - a * b - b**2,
        "a2_ab_b2_a": lambda a, b, c: c - a**2 - a * b - b**2 - a,
        "a3_ab": lambda a, b, c: c - a**3 - a * b,
        "a3_ab2_b": lambda a, b, c: c - a**3 - a * b**2 - b,
    }
    answers = []
    for row in chosen:
        a, operation, b, _ = rows.decode(table, row)[0]
        is_zero = solves[operation]
        found = (
            c for c in residues if is_zero(int(a), int(b), int(c)) % len(residues) == 0
        )
        answers.append([next(found, "?")])
    return answers


# Task -> its oracle; ORACLES in rdt_jax/tasks adds those of installed packages.
BUILT_IN: Mapping[str, Oracle] = {
    "knowledge_composition": follow_relations,
    "knowledge_depth": follow_relations,
    "modular": modular,
}
