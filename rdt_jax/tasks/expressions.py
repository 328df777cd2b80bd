"""Nested expressions: arithmetic modulo a number, Boolean formulas, ListOps.

A row is an expression and `=`, where the answer is read: its value. Its depth is that
of its nesting (rdt_jax/tasks/nesting.py).
"""

from collections.abc import Callable, Mapping

import numpy as np

from rdt_jax.tasks import base, depths, nesting

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

    A row is like `( 3 * ( 4 - 1 ) ) =`, and its answer a residue. An atom is an
    operator with the values of its two arguments.

    The answers are equally frequent at every depth, but for a remainder: chance is
    1 / modulus. What the outermost brackets give away, the shortcut `outermost` says.

    References: Deletang et al. (2022), arXiv:2207.02098 (modular arithmetic with
    brackets); Csordas et al. (2022), arXiv:2110.07732 (simple arithmetic, split by
    depth). Differs from both: binary operations, all in brackets, no signs.

    Args:
      seed: of the rows.
      modulus: number of residues, at least 2.
      operators: words of ARITHMETIC with spaces between.
      min_depth: nesting of the shallowest rows, at least 1.
      max_depth: nesting of the deepest rows.
      max_train_depth: nesting of the deepest train rows; held-out rows are `id` up to
        it and `depth` beyond.
      max_side_depth: largest depth of an argument beside the path of full depth.
      train_per_depth: train rows of each depth, the answers balanced.
      heldout_per_depth: held-out rows of each depth, the answers balanced.

    Returns:
      A table with A = 1 and the tag `depth`. The shortcut `outermost` sees what stands
      in the outermost brackets and in no other.

    Raises:
      ValueError: if an argument is out of range, or there are not so many rows.
    """
    plan = depths.Plan(
        "depth", min_depth, max_depth, max_train_depth, train_per_depth,
        heldout_per_depth,
    )  # fmt: skip
    depths.check(plan, smallest=1)
    nesting.check_side(max_side_depth)
    if modulus < 2:
        raise ValueError(f"task.kwargs.modulus must be at least 2, got {modulus}.")
    chosen = chosen_operators(operators, ARITHMETIC)
    words = ("<pad>", *(str(a) for a in range(modulus)), *chosen, "(", ")", "=")
    leaves = 1 + np.arange(modulus)
    opening, closing = words.index("("), words.index(")")

    def expand(rng, depth, count):
        arguments = nesting.arguments(
            rng, depth, np.full(count, 2), leaves, max_side_depth
        )  # [count, 2]
        operator = 1 + modulus + rng.integers(0, len(chosen), count)
        opened, closed = np.full(count, opening), np.full(count, closing)
        left, right = arguments.T
        return np.stack([opened, left, operator, right, closed], axis=1)

    def evaluate(symbols, start, end, around):
        a, operator, b = (symbols[start + offset] for offset in (1, 2, 3))
        a, operator, b = a - 1, operator - 1 - modulus, b - 1
        values = np.choose(operator, [ARITHMETIC[word](a, b) for word in chosen])
        return 1 + values % modulus, (operator * modulus + a) * modulus + b

    return _table(seed, plan, words, leaves, {opening: closing}, expand, evaluate)


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

    A row is like `( ( not F ) and T ) =`, and its answer T or F. An atom is an operator
    with the values of its arguments and the operator around it, if any.

    T and F are equally frequent at every depth, but for a remainder: chance is 1/2.
    What the outermost brackets give away, the shortcut `outermost` says: `F and` and
    `T or` decide whatever is inside.

    Reference: Chen (2026), arXiv:2603.21676 (the nested Boolean expressions). Differs
    from the paper: the answer is read at the last token, and `xor` may be chosen.

    Args:
      seed: of the rows.
      operators: words of BOOLEAN with spaces between, not `not` alone.
      min_depth: nesting of the shallowest rows, at least 1.
      max_depth: nesting of the deepest rows.
      max_train_depth: nesting of the deepest train rows; held-out rows are `id` up to
        it and `depth` beyond.
      max_side_depth: largest depth of an argument beside the path of full depth.
      train_per_depth: train rows of each depth, the answers balanced.
      heldout_per_depth: held-out rows of each depth, the answers balanced.

    Returns:
      A table with A = 1 and the tag `depth`. The shortcut `outermost` sees what stands
      in the outermost brackets and in no other.

    Raises:
      ValueError: if an argument is out of range, or there are not so many rows.
    """
    plan = depths.Plan(
        "depth", min_depth, max_depth, max_train_depth, train_per_depth,
        heldout_per_depth,
    )  # fmt: skip
    depths.check(plan, smallest=1)
    nesting.check_side(max_side_depth)
    chosen = chosen_operators(operators, BOOLEAN)
    if chosen == ("not",):
        raise ValueError(
            "task.kwargs.operators must have an operator of two arguments, got 'not'."
        )
    words = ("<pad>", "F", "T", *chosen, "(", ")", "=")
    leaves = np.array([1, 2])
    opening, closing = words.index("("), words.index(")")
    negation = words.index("not") if "not" in words else -1
    kinds = len(chosen)

    def expand(rng, depth, count):
        operator = 3 + rng.integers(0, kinds, count)
        unary = operator == negation
        left, right = nesting.arguments(
            rng, depth, np.where(unary, 1, 2), leaves, max_side_depth
        ).T
        before, between = np.where(unary, operator, 0), np.where(unary, 0, operator)
        opened, closed = np.full(count, opening), np.full(count, closing)
        return np.stack([opened, before, left, between, right, closed], axis=1)

    def evaluate(symbols, start, end, around):
        unary = end - start == 3
        operator = np.where(unary, symbols[start + 1], symbols[start + 2]) - 3
        a = np.where(unary, symbols[start + 2], symbols[start + 1]) - 1
        b = np.where(unary, 0, symbols[end - 1] - 1)
        values = np.choose(operator, [BOOLEAN[word](a, b) for word in chosen])
        # The operator around stands before the bracket or behind it; around the
        # outermost bracket, `=` stands for none.
        before, behind = symbols[start - 1] - 3, symbols[end + 1] - 3
        outer = np.where((before >= 0) & (before < kinds), before, behind)
        return 1 + values, ((outer * kinds + operator) * 2 + a) * 2 + b

    return _table(seed, plan, words, leaves, {opening: closing}, expand, evaluate)


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

    A row is like `[MAX 2 [MIN 7 4 ] 0 ] =`, and its answer a digit. MED is the median
    rounded down, SUM_MOD the sum modulo 10. An atom is an operator with its number of
    arguments and the operator around it, if any.

    The digits are equally frequent at every depth, but for a remainder: chance is 1/10.
    What the outermost list gives away, which is much, the shortcut `outermost` says: of
    depth 1 it is the whole row, and MAX and MIN are bounded by any of their arguments.

    References: Nangia and Bowman (2018), arXiv:1804.06028 (the operators); Csordas et
    al. (2022), arXiv:2110.07732 (a split by depth). Differs from both: the answers are
    balanced at each depth, and trees nest along one path.

    Args:
      seed: of the rows.
      operators: words of LISTOPS with spaces between.
      max_arguments: of an operator; each has 2 up to so many.
      min_depth: nesting of the shallowest rows, at least 1.
      max_depth: nesting of the deepest rows.
      max_train_depth: nesting of the deepest train rows; held-out rows are `id` up to
        it and `depth` beyond.
      max_side_depth: largest depth of an argument beside the path of full depth.
      train_per_depth: train rows of each depth, the answers balanced.
      heldout_per_depth: held-out rows of each depth, the answers balanced.

    Returns:
      A table with A = 1 and the tag `depth`. The shortcut `outermost` sees what stands
      in the outermost brackets and in no other.

    Raises:
      ValueError: if an argument is out of range, or there are not so many rows.
    """
    plan = depths.Plan(
        "depth", min_depth, max_depth, max_train_depth, train_per_depth,
        heldout_per_depth,
    )  # fmt: skip
    depths.check(plan, smallest=1)
    nesting.check_side(max_side_depth)
    if max_arguments < 2:
        raise ValueError(
            f"task.kwargs.max_arguments must be at least 2, got {max_arguments}."
        )
    chosen = chosen_operators(operators, LISTOPS)
    words = ("<pad>", *"0123456789", *(f"[{word}" for word in chosen), "]", "=")
    leaves = 1 + np.arange(10)
    closing, kinds = words.index("]"), len(chosen)
    places = np.arange(max_arguments)

    def expand(rng, depth, count):
        operator = 11 + rng.integers(0, kinds, count)
        counts = rng.integers(2, max_arguments + 1, count)
        arguments = nesting.arguments(rng, depth, counts, leaves, max_side_depth)
        return np.column_stack([operator, arguments, np.full(count, closing)])

    def evaluate(symbols, start, end, around):
        counts = end - start - 1
        at = np.minimum(start[:, None] + 1 + places, symbols.size - 1)
        digits = symbols[at] - 1  # [n, A], only the first of each row its own.
        operator = symbols[start] - 11
        values = np.zeros(start.size, np.int64)
        for kind, word in enumerate(chosen):
            mine = operator == kind
            values[mine] = LISTOPS[word](digits[mine], counts[mine])
        outer = np.where(around > 0, around - 11, kinds)
        atoms = (outer * kinds + operator) * (max_arguments + 1) + counts
        return 1 + values, atoms

    brackets = {11 + kind: closing for kind in range(kinds)}
    return _table(seed, plan, words, leaves, brackets, expand, evaluate)


def chosen_operators(operators: str, table: Mapping[str, Callable]) -> tuple[str, ...]:
    """Returns the words of a `task.kwargs.operators`.

    Raises:
      ValueError: if a word is not in the table or stands twice, or there is none.
    """
    words = tuple(operators.split())
    if not words or len(set(words)) < len(words) or not set(words) <= set(table):
        raise ValueError(
            "task.kwargs.operators must be one or more different words of "
            f"{', '.join(table)} with spaces between, got {operators!r}."
        )
    return words


def _table(seed, plan, words, leaves, brackets, expand, evaluate) -> base.Table:
    question = len(words) - 1

    def draw(rng, depth, count):
        start = np.tile(np.array([-depth, question]), (count, 1))
        return nesting.grow(rng, start, expand)

    def read(tokens):
        return depths.Reading(*nesting.reduce(tokens, brackets, evaluate))

    return depths.make_table(
        np.random.default_rng(seed), plan, draw, read, vocab=words, answers=leaves,
        shortcuts=lambda tokens: {"outermost": nesting.outermost(tokens, brackets)},
    )  # fmt: skip


def _used(digits, counts) -> np.ndarray:
    return np.arange(digits.shape[1]) < counts[:, None]


def _median(digits, counts) -> np.ndarray:
    ordered = np.sort(np.where(_used(digits, counts), digits, 10), axis=1)
    rows = np.arange(counts.size)
    return (ordered[rows, (counts - 1) // 2] + ordered[rows, counts // 2]) // 2
