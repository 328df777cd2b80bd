"""Bracket words against a stack, and against counting."""

import collections

import pytest

from rdt_jax.tasks import dyck
from tests.tasks import by_depth

KWARGS = {
    "num_kinds": 3,
    "min_depth": 2,
    "max_depth": 5,
    "max_train_depth": 3,
    "max_side_depth": 1,
    "train_per_depth": 150,
    "heldout_per_depth": 40,
}
PAIRS = dict(pair.split() for pair in dyck.BRACKETS)


def _make(seed=3, **changes):
    return dyck.dyck(seed=seed, **KWARGS | changes)


def _solve(words):
    """Matches brackets by shape with a stack; kinds are compared afterwards."""
    assert words[-1] == "?"
    stack, pairs = [], []  # Open: [opening, height of what is inside, its pairs].
    for word in words[:-1]:
        if word in PAIRS:
            stack.append([word, 0, []])
            continue
        opening, inside, below = stack.pop()
        around = stack[-1][0] if stack else None
        pair = (1 + inside, PAIRS[opening] == word, (around, opening), below)
        (stack[-1][2] if stack else pairs).append(pair)
        if stack:
            stack[-1][1] = max(stack[-1][1], 1 + inside)
    assert not stack

    def everything(some):
        for pair in some:
            yield pair
            yield from everything(pair[3])

    found = list(everything(pairs))
    wrong = [height for height, fits, _, _ in found if not fits]
    depth = min(wrong, default=max(height for height, *_ in found))
    atoms = [atom for height, fits, atom, _ in found if fits and height <= depth]
    return "no" if wrong else "yes", depth, atoms


def restate(table):
    return by_depth.restate(table, _solve, "depth")


@pytest.mark.parametrize(
    ("word", "answer", "depth"),
    [
        ("( ) [ ( ) ]", "yes", 2),
        ("( ) [ ( ) )", "no", 2),
        ("( ( ) ] [ ( ) )", "no", 2),
        ("( [ ) ]", "no", 1),
    ],
)
def test_the_stack_by_hand(word, answer, depth):
    assert _solve([*word.split(), "?"])[:2] == (answer, depth)


def test_a_pair_of_rows_differs_in_two_closing_brackets_of_one_height():
    table = _make()
    for well, ill in by_depth.twins(table):
        places = (well != ill).nonzero()[0]
        assert places.size == 2
        words = [table.vocab[well[place]] for place in places]
        assert set(words) <= set(PAIRS.values())
        assert words[0] != words[1]
        assert collections.Counter(well) == collections.Counter(ill)


def test_neither_end_nor_counts_tell_the_answer():
    shortcuts = _make().certificate.shortcuts
    for name in ("ends", "surplus"):
        for split in ("train", "id", "depth"):
            assert shortcuts[name][split] == 0.5, (name, split)


def test_vocabulary():
    words = ("<pad>", "(", "[", "{", ")", "]", "}", "?", "no", "yes")
    assert _make().vocab == words
