"""Growing and reducing nested words, by hand."""

import numpy as np
import pytest

from rdt_jax.tasks import nesting

# Tokens: 1 and 2 are leaves, 3 and 4 open, 5 closes both, 6 stands at the end.
BRACKETS = {3: 5, 4: 5}


def _evaluate(symbols, start, end, around):
    """The value is 1 for one argument, 2 for more; an atom is 10 around + opening."""
    assert (symbols[start] > 2).all()
    values = np.where(end - start == 2, 1, 2)
    return values, 10 * around + symbols[start]


def _reduce(*rows):
    width = max(map(len, rows))
    tokens = np.array([[*row, *(width - len(row)) * [0]] for row in rows], np.int32)
    return nesting.reduce(tokens, BRACKETS, _evaluate)


def test_reduce_by_hand():
    values, atoms, depth = _reduce(
        [3, 1, 5, 6],
        [4, 3, 1, 2, 5, 4, 1, 5, 5, 6],
        [2, 6],
        [3, 4, 3, 1, 5, 5, 1, 5, 6],
    )
    assert values.tolist() == [1, 2, 2, 2]
    assert depth.tolist() == [1, 2, 0, 3]
    assert [sorted(a for a in row if a >= 0) for row in atoms.tolist()] == [
        [3], [4, 43, 44], [], [3, 34, 43],
    ]  # fmt: skip


def test_brackets_that_do_not_fit():
    brackets = {1: 3, 2: 4}  # ( ) and [ ]
    nothing = lambda symbols, start, end, around: (0 * start, symbols[start])
    rows = np.array(
        [
            [1, 2, 4, 3, 5, 0, 0, 0],  # ( [ ] ) : gone after two rounds
            [1, 2, 4, 4, 5, 0, 0, 0],  # ( [ ] ] : faces after one, seen in the second
            [1, 4, 2, 1, 3, 4, 5, 0],  # ( ] [ ( ) ] : seen in the first
        ],
        np.int32,
    )
    left, atoms, depth = nesting.reduce(rows, brackets, nothing)
    assert left.tolist() == [5, 0, 0]
    assert depth.tolist() == [2, 2, 1]
    assert [sorted(a for a in row if a >= 0) for row in atoms.tolist()] == [
        [1, 2], [2], [1],
    ]  # fmt: skip


def test_outermost_sees_the_outermost_brackets_only():
    same = [[3, 1, 4, 1, 5, 5, 6], [3, 1, 4, 2, 5, 5, 6], [3, 1, 3, 1, 5, 5, 6]]
    other = [[4, 1, 4, 1, 5, 5, 6], [3, 2, 4, 1, 5, 5, 6], [3, 4, 1, 5, 1, 5, 6]]
    seen = nesting.outermost(np.array(same + other, np.int32), BRACKETS)
    assert len(set(seen[:3].tolist())) == 1
    assert len(set(seen.tolist())) == 4


@pytest.mark.parametrize("side", [0, 1, 3])
def test_grown_words_have_their_depth(side):
    def expand(rng, depth, count):
        counts = rng.integers(1, 4, count)
        inside = nesting.arguments(rng, depth, counts, np.array([1, 2]), side)
        assert inside.shape == (count, counts.max())
        assert ((inside != 0).sum(axis=1) == counts).all()
        assert inside.min() == 1 - depth or depth == 1
        others = np.sort(inside, axis=1)[:, 1:]  # All but the deepest.
        assert (others >= -min(side, depth - 1)).all()
        opened = rng.integers(3, 5, count)
        return np.column_stack([opened, inside, np.full(count, 5)])

    rng = np.random.default_rng(1)
    wanted = np.repeat(np.arange(1, 6), 40)
    start = np.stack([-wanted, np.full(wanted.size, 6)], axis=1)
    tokens = nesting.grow(rng, start, expand)
    assert tokens.dtype == np.int32
    used = tokens != 0
    assert (used[:, 1:] <= used[:, :-1]).all()
    levels = np.isin(tokens, (3, 4)).astype(int) - (tokens == 5)
    np.testing.assert_array_equal(np.cumsum(levels, axis=1).max(axis=1), wanted)
    np.testing.assert_array_equal(levels.sum(axis=1), 0)
