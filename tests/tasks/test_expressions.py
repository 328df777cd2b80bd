"""Expressions against Python's own parser, operators and statistics."""

import ast
import statistics

import numpy as np
import pytest

from rdt_jax.tasks import expressions
from tests.tasks import by_depth

PLAN = {
    "min_depth": 2,
    "max_depth": 5,
    "max_train_depth": 3,
    "max_side_depth": 1,
    "train_per_depth": 150,
    "heldout_per_depth": 47,
}
SYMBOLS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.BitXor: "xor", ast.And: "and",
    ast.Or: "or", ast.Not: "not",
}  # fmt: skip


def _solve_python(words, modulus):
    """Solves a row by Python's parser; `modulus` None for truth values."""
    assert words[-1] == "="
    text = " ".join(words[:-1])
    if modulus is None:
        text = text.replace("T", "True").replace("F", "False").replace("xor", "^")
    atoms = []

    def visit(node, around):
        if isinstance(node, ast.Constant):
            return node.value, 0
        if isinstance(node, ast.UnaryOp):
            operator, parts = node.op, [node.operand]
        elif isinstance(node, ast.BoolOp):
            operator, parts = node.op, node.values
        else:
            operator, parts = node.op, [node.left, node.right]
        word = SYMBOLS[type(operator)]
        assert len(parts) == 1 + (word != "not")
        values, depths = zip(*(visit(part, word) for part in parts), strict=True)
        if modulus is None:
            atoms.append((around, word, *values))
        else:
            atoms.append((word, *values))
        return _value(node, modulus), 1 + max(depths)

    value, depth = visit(ast.parse(text, mode="eval").body, None)
    assert value == (eval(text) if modulus is None else eval(text) % modulus)
    return ("FT"[value] if modulus is None else str(value)), depth, atoms


def _value(node, modulus):
    value = eval(ast.unparse(node))
    return value if modulus is None else value % modulus


def _solve_listops(words):
    assert words[-1] == "="
    atoms, rest = [], list(reversed(words[:-1]))

    def visit(around):
        word = rest.pop()
        if word.isdigit():
            return int(word), 0
        digits, depths = [], []
        while rest[-1] != "]":
            digit, depth = visit(word)
            digits.append(digit)
            depths.append(depth)
        rest.pop()
        atoms.append((around, word, len(digits)))
        function = {
            "[MAX": max,
            "[MIN": min,
            "[MED": lambda values: int(statistics.median(values)),
            "[SUM_MOD": lambda values: int(str(sum(values))[-1]),
        }[word]
        return function(digits), 1 + max(depths)

    value, depth = visit(None)
    assert not rest
    return str(value), depth, atoms


def restate_arithmetic_expression(table):
    modulus = sum(word.isdigit() for word in table.vocab)
    solve = lambda words: _solve_python(words, modulus)
    return by_depth.restate(table, solve, "depth")


def restate_boolean_expression(table):
    return by_depth.restate(table, lambda words: _solve_python(words, None), "depth")


def restate_listops(table):
    return by_depth.restate(table, _solve_listops, "depth")


def _boolean(seed=3, **changes):
    kwargs = {"operators": "and or not xor", **PLAN}
    return expressions.boolean_expression(seed=seed, **kwargs | changes)


@pytest.mark.parametrize(
    ("operator", "digits", "value"),
    [
        ("MED", [1, 2], 1),
        ("MED", [9, 0, 4, 7], 5),
        ("MED", [3, 3, 8], 3),
        ("MAX", [0, 9, 4], 9),
        ("MIN", [9, 9, 8], 8),
        ("SUM_MOD", [9, 9, 9], 7),
    ],
)
def test_list_operators_by_hand(operator, digits, value):
    # What stands behind a row's own digits does not count.
    for behind in (0, 9):
        row = np.array([[*digits, behind, behind]])
        assert expressions.LISTOPS[operator](row, np.array([len(digits)])) == value


def outermost(table):
    """Returns what stands in the outermost brackets of each row and in no other."""
    for words in by_depth.sentences(table):
        level, kept = 0, []
        for word in words:
            level += (word == "(") - (word == ")")
            if level <= 1:
                kept.append(word)
        yield tuple(kept)


SHORTCUTS = {
    ("arithmetic_expression", "outermost"): outermost,
    ("boolean_expression", "outermost"): outermost,
}
