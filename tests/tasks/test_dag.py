"""Equations against a recursive solver in Python integers."""

import collections
import functools

import pytest

from rdt_jax.tasks import dag
from tests.tasks import by_depth

KWARGS = {
    "modulus": 5,
    "operators": "+ - *",
    "num_nodes": 9,
    "num_leaves": 3,
    "max_arguments": 3,
    "min_depth": 1,
    "max_depth": 5,
    "max_train_depth": 3,
    "train_per_depth": 120,
    "heldout_per_depth": 22,
}
APPLY = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}


def _make(seed=3, **changes):
    return dag.dag_arithmetic(seed=seed, **KWARGS | changes)


def _equations(words):
    *lines, question = " ".join(words).split(" ; ")
    mark, asked = question.split()
    assert mark == "?"
    equations = {}
    for line in lines:
        name, right = line.split(" = ")
        assert name not in equations
        equations[name] = right.split()
    return equations, asked


def _solver(modulus):
    def solve(words):
        equations, asked = _equations(words)
        atoms, reached = [], set()

        @functools.cache
        def visit(name):
            reached.add(name)
            right = equations[name]
            if right[0].isdigit():
                assert len(right) == 1
                return int(right[0]), 0
            values, depths = zip(*map(visit, right[::2]), strict=True)
            result = values[0]
            if len(values) == 1:
                atoms.append(("copy", result))
            for operator, value in zip(right[1::2], values[1:], strict=True):
                atoms.append((operator, result, value))
                result = APPLY[operator](result, value) % modulus
            return result, 1 + max(depths)

        value, depth = visit(asked)
        needed = list(atoms)
        assert max(visit(name)[1] for name in equations) == depth  # None is deeper.
        return str(value), depth, needed

    return solve


def restate(table):
    modulus = sum(word.isdigit() for word in table.vocab)
    return by_depth.restate(table, _solver(modulus), "depth")


def test_the_solver_by_hand():
    words = "x1 = x0 * x2 - x0 ; x2 = x0 ; x3 = x1 ; x0 = 4 ; ? x1".split()
    with pytest.raises(AssertionError):  # x3 is deeper than what is asked.
        _solver(5)(words)
    answer, depth, atoms = _solver(5)([*words[:-1], "x3"])
    assert (answer, depth) == ("2", 3)
    assert set(atoms) == {("*", 4, 4), ("-", 1, 4), ("copy", 4), ("copy", 2)}


def test_names_and_places_are_random():
    table = _make(train_per_depth=400)
    asked, position = collections.Counter(), collections.Counter()
    for words in by_depth.sentences(table):
        equations, name = _equations(words)
        assert sum(right[0].isdigit() for right in equations.values()) == 3
        assert max(len(right) for right in equations.values()) <= 5  # 3 arguments.
        asked[name] += 1
        position[list(equations).index(name)] += 1
    for count in (asked, position):
        assert len(count) == 9
        assert max(count.values()) < 1.5 * min(count.values())
