"""Nested expressions: arithmetic modulo a number, Boolean formulas, ListOps.

A row is an expression and `=`, where the answer is read: its value. Its depth is that
of its nesting (rdt_jax/tasks/nesting.py).
"""

import re
import statistics
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from rdt_jax.tasks import base, depths, limits, nesting, oracles

VERSION = 1  # of the tables; a change of their rows is another one

ARITHMETIC: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
}
# Values in {0, 1}; `not` ignores its second argument.
BOOLEAN: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "not": lambda a, b: 1 - a,
}
# From digits [n, A], of which each row uses its first `counts` [n], to digits [n].
LISTOPS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "MAX": lambda digits, counts: np.where(_used(digits, counts), digits, -1).max(1),
    "MIN": lambda digits, counts: np.where(_used(digits, counts), digits, 10).min(1),
    "MED": lambda digits, counts: _median(digits, counts),
    "SUM_MOD": lambda digits, counts: (
        np.where(_used(digits, counts), digits, 0).sum(1) % 10
    ),
}


def arithmetic_expression(
    *,
    seed: int,
    modulus: int,
    operators: str,
    min_depth: int,
    max_depth: int,
    max_train_depth: int,
    max_side_depth: int,
    train_per_depth: int,
    heldout_per_depth: int,
) -> base.Table:
    """Evaluates fully bracketed arithmetic expressions modulo a number.

    A row is like `( 3 * ( 4 - 1 ) ) =`, and its answer a residue; A = 1, and the tag is
    `depth`. An atom is an operator with the values of its two arguments. The answers
    are equally frequent at every depth, but for a remainder: chance is 1 / modulus. The
    shortcut `outermost` sees what stands in the outermost brackets and in no other.

    `modulus` is at least 2, `operators` are words of ARITHMETIC with spaces between,
    and the other arguments are those of `nesting.plan`.

    References: Deletang et al. (2022), arXiv:2207.02098 (modular arithmetic with
    brackets); Csordas et al. (2022), arXiv:2110.07732 (simple arithmetic, split by
    depth). Differs from both: binary operations, all in brackets, no signs.
    """
    plan = nesting.plan(
        min_depth, max_depth, max_train_depth, train_per_depth, heldout_per_depth,
        max_side_depth,
    )  # fmt: skip
    limits.at_least(2, modulus=modulus)
    chosen = chosen_operators(operators, ARITHMETIC)
    return _table(seed, plan, _Arithmetic(modulus, chosen, max_side_depth))


def boolean_expression(
    *,
    seed: int,
    operators: str,
    min_depth: int,
    max_depth: int,
    max_train_depth: int,
    max_side_depth: int,
    train_per_depth: int,
    heldout_per_depth: int,
) -> base.Table:
    """Evaluates fully bracketed Boolean formulas.

    A row is like `( ( not F ) and T ) =`, and its answer T or F; A = 1, and the tag is
    `depth`. An atom is an operator with the values of its arguments and the operator
    around it, if any. T and F are equally frequent at every depth, but for a remainder:
    chance is 1/2. The shortcut `outermost` sees what stands in the outermost brackets
    and in no other: `F and` and `T or` decide whatever is inside.

    `operators` are words of BOOLEAN with spaces between, not `not` alone, and the other
    arguments are those of `nesting.plan`.

    Reference: Chen (2026), arXiv:2603.21676 (the nested Boolean expressions). Differs
    from the paper: the answer is read at the last token, and `xor` may be chosen.
    """
    plan = nesting.plan(
        min_depth, max_depth, max_train_depth, train_per_depth, heldout_per_depth,
        max_side_depth,
    )  # fmt: skip
    chosen = chosen_operators(operators, BOOLEAN)
    must = "have an operator of two arguments"
    limits.require(chosen != ("not",), "operators", must, repr(operators))
    return _table(seed, plan, _Boolean(chosen, max_side_depth))


def listops(
    *,
    seed: int,
    operators: str,
    max_arguments: int,
    min_depth: int,
    max_depth: int,
    max_train_depth: int,
    max_side_depth: int,
    train_per_depth: int,
    heldout_per_depth: int,
) -> base.Table:
    """Evaluates nested lists of operators over digits.

    A row is like `[MAX 2 [MIN 7 4 ] 0 ] =`, and its answer a digit; A = 1, and the tag
    is `depth`. MED is the median rounded down, SUM_MOD the sum modulo 10. An atom is an
    operator with its number of arguments and the operator around it, if any. The digits
    are equally frequent at every depth, but for a remainder: chance is 1/10. What the
    outermost list gives away, which is much, the shortcut `outermost` says: of depth 1
    it is the whole row, and MAX and MIN are bounded by any of their arguments.

    `operators` are words of LISTOPS with spaces between, each with 2 arguments up to
    `max_arguments`, and the other arguments are those of `nesting.plan`.

    References: Nangia and Bowman (2018), arXiv:1804.06028 (the operators); Csordas et
    al. (2022), arXiv:2110.07732 (a split by depth). Differs from both: the answers are
    balanced at each depth, and trees nest along one path.
    """
    plan = nesting.plan(
        min_depth, max_depth, max_train_depth, train_per_depth, heldout_per_depth,
        max_side_depth,
    )  # fmt: skip
    limits.at_least(2, max_arguments=max_arguments)
    chosen = chosen_operators(operators, LISTOPS)
    return _table(seed, plan, _Lists(chosen, max_arguments, max_side_depth))


def chosen_operators(operators: str, table: Mapping[str, Callable]) -> tuple[str, ...]:
    """Returns the words of a `task.kwargs.operators`; ValueError if one is unknown."""
    words = tuple(operators.split())
    fits = 0 < len(set(words)) == len(words) and set(words) <= set(table)
    must = f"be one or more different words of {', '.join(table)} with spaces between"
    limits.require(fits, "operators", must, repr(operators))
    return words


class _Arithmetic(NamedTuple):
    modulus: int
    operators: tuple[str, ...]
    max_side_depth: int

    @property
    def words(self) -> tuple[str, ...]:
        return "<pad>", *map(str, range(self.modulus)), *self.operators, "(", ")", "="

    @property
    def answers(self) -> np.ndarray:
        return 1 + np.arange(self.modulus)

    @property
    def brackets(self) -> dict[int, int]:
        return {self.words.index("("): self.words.index(")")}

    def expand(self, rng, depth, count) -> np.ndarray:
        left, right = nesting.arguments(
            rng, depth, np.full(count, 2), self.answers, self.max_side_depth
        ).T
        operator = 1 + self.modulus + rng.integers(0, len(self.operators), count)
        opened, closed = (np.full(count, self.words.index(word)) for word in "()")
        return np.stack([opened, left, operator, right, closed], axis=1)

    def evaluate(self, symbols, start, end, around):
        a, operator, b = (symbols[start + offset] for offset in (1, 2, 3))
        a, operator, b = a - 1, operator - 1 - self.modulus, b - 1
        values = np.choose(
            operator, [ARITHMETIC[word](a, b) for word in self.operators]
        )
        atoms = (operator * self.modulus + a) * self.modulus + b
        return 1 + values % self.modulus, atoms


class _Boolean(NamedTuple):
    operators: tuple[str, ...]
    max_side_depth: int

    @property
    def words(self) -> tuple[str, ...]:
        return "<pad>", "F", "T", *self.operators, "(", ")", "="

    @property
    def answers(self) -> np.ndarray:
        return np.array([1, 2])

    @property
    def brackets(self) -> dict[int, int]:
        return {self.words.index("("): self.words.index(")")}

    def expand(self, rng, depth, count) -> np.ndarray:
        operator = 3 + rng.integers(0, len(self.operators), count)
        negation = self.words.index("not") if "not" in self.operators else -1
        unary = operator == negation
        left, right = nesting.arguments(
            rng, depth, np.where(unary, 1, 2), self.answers, self.max_side_depth
        ).T
        before, between = np.where(unary, operator, 0), np.where(unary, 0, operator)
        opened, closed = (np.full(count, self.words.index(word)) for word in "()")
        return np.stack([opened, before, left, between, right, closed], axis=1)

    def evaluate(self, symbols, start, end, around):
        kinds, unary = len(self.operators), end - start == 3
        operator = np.where(unary, symbols[start + 1], symbols[start + 2]) - 3
        a = np.where(unary, symbols[start + 2], symbols[start + 1]) - 1
        b = np.where(unary, 0, symbols[end - 1] - 1)
        values = np.choose(operator, [BOOLEAN[word](a, b) for word in self.operators])
        # The operator around stands before the bracket or behind it; around the
        # outermost bracket, `=` stands for none.
        before, behind = symbols[start - 1] - 3, symbols[end + 1] - 3
        outer = np.where((before >= 0) & (before < kinds), before, behind)
        return 1 + values, ((outer * kinds + operator) * 2 + a) * 2 + b


class _Lists(NamedTuple):
    operators: tuple[str, ...]
    max_arguments: int
    max_side_depth: int

    @property
    def words(self) -> tuple[str, ...]:
        opening = (f"[{word}" for word in self.operators)
        return "<pad>", *"0123456789", *opening, "]", "="

    @property
    def answers(self) -> np.ndarray:
        return 1 + np.arange(10)

    @property
    def brackets(self) -> dict[int, int]:
        closing = 11 + len(self.operators)
        return dict.fromkeys(range(11, closing), closing)

    def expand(self, rng, depth, count) -> np.ndarray:
        kinds = len(self.operators)
        operator = 11 + rng.integers(0, kinds, count)
        counts = rng.integers(2, self.max_arguments + 1, count)
        arguments = nesting.arguments(
            rng, depth, counts, self.answers, self.max_side_depth
        )
        return np.column_stack([operator, arguments, np.full(count, 11 + kinds)])

    def evaluate(self, symbols, start, end, around):
        kinds, counts = len(self.operators), end - start - 1
        places = start[:, None] + 1 + np.arange(self.max_arguments)
        digits = symbols[np.minimum(places, symbols.size - 1)] - 1
        operator = symbols[start] - 11  # [n], and of digits [n, A] the first `counts`.
        values = np.zeros(start.size, np.int64)
        for kind, word in enumerate(self.operators):
            mine = operator == kind
            values[mine] = LISTOPS[word](digits[mine], counts[mine])
        outer = np.where(around > 0, around - 11, kinds)
        atoms = (outer * kinds + operator) * (self.max_arguments + 1) + counts
        return 1 + values, atoms


def _table(seed, plan, form) -> base.Table:
    question, brackets = len(form.words) - 1, form.brackets

    def draw(rng, depth, count):
        start = np.tile(np.array([-depth, question]), (count, 1))
        return nesting.grow(rng, start, form.expand)

    def read(tokens):
        return depths.Reading(*nesting.reduce(tokens, brackets, form.evaluate))

    return depths.make_table(
        np.random.default_rng(seed), plan, draw, read, vocab=form.words,
        answers=form.answers,
        shortcuts=lambda tokens: {"outermost": nesting.outermost(tokens, brackets)},
    )  # fmt: skip


def _used(digits, counts) -> np.ndarray:
    return np.arange(digits.shape[1]) < counts[:, None]


def _median(digits, counts) -> np.ndarray:
    ordered = np.sort(np.where(_used(digits, counts), digits, 10), axis=1)
    rows = np.arange(counts.size)
    return (ordered[rows, (counts - 1) // 2] + ordered[rows, counts // 2]) // 2


EXAMPLES = {
    "arithmetic_expression": [
        nesting.EXAMPLE | {"modulus": 5, "operators": "+"},
        {"operators": "-"},
        {"operators": "*"},
    ],
    "boolean_expression": [
        nesting.EXAMPLE | {"min_depth": 3, "operators": "and or not"},
        {"operators": "xor not"},
    ],
    "listops": [
        nesting.EXAMPLE | {"max_arguments": 3, "operators": "MAX MIN MED SUM_MOD"},
        {"max_arguments": 2, "operators": "SUM_MOD", "max_depth": 3},
    ],
}


_LISTS: Mapping[str, Callable[[list[int]], int]] = {
    "MAX": max,
    "MIN": min,
    "MED": lambda digits: int(statistics.median(digits)),
    "SUM_MOD": lambda digits: sum(digits) % 10,
}
_TRUTH = {"and": ("TT",), "or": ("TT", "TF", "FT"), "xor": ("TF", "FT")}


def arithmetic_expression_oracle(question: list[str], table: base.Table) -> list[str]:
    """Writes values for the innermost brackets until one number is left."""
    modulus = sum(word.isdecimal() for word in table.vocab)

    def value(match: re.Match[str]) -> str:
        left, word, right = match.groups()
        return str(oracles.ARITHMETIC[word](int(left), int(right)) % modulus)

    return _reduce(question, r"\( (\d+) (\S) (\d+) \)", value)


def boolean_expression_oracle(question: list[str]) -> list[str]:
    """Looks innermost brackets up in truth tables until one value is left."""

    def value(match: re.Match[str]) -> str:
        negated, left, word, right = match.groups()
        is_true = negated == "F" if negated else left + right in _TRUTH[word]
        return "T" if is_true else "F"

    return _reduce(question, r"\( (?:not ([TF])|([TF]) (\w+) ([TF])) \)", value)


def listops_oracle(question: list[str]) -> list[str]:
    """Writes digits for the innermost lists until one digit is left."""

    def value(match: re.Match[str]) -> str:
        return str(_LISTS[match[1]]([int(digit) for digit in match[2].split()]))

    return _reduce(question, r"\[([A-Z_]+)((?: \d)+) \]", value)


def _reduce(
    question: list[str], innermost: str, value: Callable[[re.Match[str]], str]
) -> list[str]:
    text, count = " ".join(question).removesuffix(" ="), 1
    while count:
        text, count = re.subn(innermost, value, text)
    return [text] if text.isalnum() else [oracles.UNKNOWN]
