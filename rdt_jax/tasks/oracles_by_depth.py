"""Oracles of the tasks split by depth: nesting, equations, graphs, kinship and orders.

Each takes the words of a question and returns those of its answer, UNKNOWN where the
words do not give one. Where residues matter, their number comes first.
"""

import operator
import re
import statistics
from collections.abc import Callable, Mapping

UNKNOWN = "?"
_ARITHMETIC: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}
_LISTS: Mapping[str, Callable[[list[int]], int]] = {
    "MAX": max,
    "MIN": min,
    "MED": lambda digits: int(statistics.median(digits)),
    "SUM_MOD": lambda digits: sum(digits) % 10,
}
_TRUTH = {"and": ("TT",), "or": ("TT", "TF", "FT"), "xor": ("TF", "FT")}
_CLOSING = dict(zip("([{<⟨«⌈⌊", ")]}>⟩»⌉⌋", strict=True))
Pairs = list[tuple[str, str]]


def reduce_arithmetic(modulus: int, question: list[str]) -> list[str]:
    """Writes values for the innermost brackets until one number is left."""

    def value(match: re.Match[str]) -> str:
        left, word, right = match.groups()
        return str(_ARITHMETIC[word](int(left), int(right)) % modulus)

    return _reduce(question, r"\( (\d+) (\S) (\d+) \)", value)


def reduce_formula(question: list[str]) -> list[str]:
    """Looks innermost brackets up in truth tables until one value is left."""

    def value(match: re.Match[str]) -> str:
        negated, left, word, right = match.groups()
        is_true = negated == "F" if negated else left + right in _TRUTH[word]
        return "T" if is_true else "F"

    return _reduce(question, r"\( (?:not ([TF])|([TF]) (\w+) ([TF])) \)", value)


def reduce_lists(question: list[str]) -> list[str]:
    """Writes digits for the innermost lists until one digit is left."""

    def value(match: re.Match[str]) -> str:
        return str(_LISTS[match[1]]([int(digit) for digit in match[2].split()]))

    return _reduce(question, r"\[([A-Z_]+)((?: \d)+) \]", value)


def match_brackets(question: list[str]) -> list[str]:
    """Keeps a stack of the closing brackets that are still to come."""
    due: list[str] = []
    for word in question[:-1]:
        if word in _CLOSING:
            due.append(_CLOSING[word])
        elif not due or due.pop() != word:
            return ["no"]
    return ["no" if due else "yes"]


def solve_equations(modulus: int, question: list[str]) -> list[str]:
    """Solves whatever equation has its arguments known until the asked one is."""
    *lines, asked = " ".join(question).split(" ; ")
    open_ = {line.split()[0]: line.split()[2:] for line in lines}
    known: dict[str, int] = {}
    while open_:
        ready = [
            name
            for name, right in open_.items()
            if all(word in known or word.isdecimal() for word in right[::2])
        ]
        if not ready:
            return [UNKNOWN]
        for name in ready:
            right = open_.pop(name)
            values = [int(known.get(word, word)) for word in right[::2]]
            total = values[0]
            for word, value in zip(right[1::2], values[1:], strict=True):
                total = _ARITHMETIC[word](total, value)
            known[name] = total % modulus
    return [str(known.get(asked.removeprefix("? "), UNKNOWN))]


def reach(question: list[str]) -> list[str]:
    """Collects all that the edges lead to from the source."""
    edges, (source, target) = _edges(question)
    return ["yes" if target in _reached(edges, source) else "no"]


def step_towards(question: list[str]) -> list[str]:
    """Goes back from the target, and finds the one successor met on the way."""
    edges, (source, target) = _edges(question)
    before = _reached([(head, tail) for tail, head in edges], target)
    steps = [head for tail, head in edges if tail == source and head in before]
    return steps if len(steps) == 1 else [UNKNOWN]


def count_generations(question: list[str]) -> list[str]:
    """Gives all people a generation, from the first asked one on."""
    first, last, claim = question[-3:]
    premises = _premises(question[:-4])
    generation = {first: 0}  # Larger is older.
    for _ in premises:  # Each time one more at least, if there is one to find.
        for one, word, other in premises:
            older = {"parent": 1, "child": -1}[word]
            if one in generation:
                generation.setdefault(other, generation[one] - older)
            elif other in generation:
                generation[one] = generation[other] + older
    if last not in generation:
        return [UNKNOWN]
    return ["yes" if -generation[last] == int(claim) else "no"]


def compare_items(question: list[str]) -> list[str]:
    """Collects all that is below the first item, and all that is below the last."""
    first, last = question[-2:]
    below = [
        (one, other) if word == ">" else (other, one)
        for one, word, other in _premises(question[:-3])
    ]
    is_above = last in _reached(below, first)
    if is_above == (first in _reached(below, last)):
        return [UNKNOWN]
    return ["yes" if is_above else "no"]


def _reduce(
    question: list[str], innermost: str, value: Callable[[re.Match[str]], str]
) -> list[str]:
    text, count = " ".join(question).removesuffix(" ="), 1
    while count:
        text, count = re.subn(innermost, value, text)
    return [text] if text.isalnum() else [UNKNOWN]


def _premises(words: list[str]) -> list[tuple[str, str, str]]:
    return list(zip(words[::3], words[1::3], words[2::3], strict=True))


def _edges(question: list[str]) -> tuple[Pairs, list[str]]:
    """Returns the edges from tail to head, and the source with the target."""
    return [(a, b) for a, _, b in _premises(question[:-3])], question[-2:]


def _reached(edges: Pairs, start: str) -> set[str]:
    """Returns the start and all that edges lead to from it."""
    reached: set[str] = set()
    new = {start}
    while new:
        reached |= new
        new = {head for tail, head in edges if tail in reached} - reached
    return reached
