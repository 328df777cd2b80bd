"""Bracket words against a stack, and against counting."""

import collections

import hypothesis
import pytest
from hypothesis import strategies as st

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


def _check(make, kwargs):
    return by_depth.check(
        make, _solve, "depth", kwargs["min_depth"], kwargs["max_depth"],
        kwargs["max_train_depth"], kwargs["train_per_depth"],
        kwargs["heldout_per_depth"], ("no", "yes"),
    )  # fmt: skip


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


def test_words_are_judged_as_by_a_stack():
    _check(_make, KWARGS)


@hypothesis.settings(max_examples=12, deadline=None, database=None, derandomize=True)
@hypothesis.given(
    st.fixed_dictionaries(
        {
            "num_kinds": st.integers(2, 8),
            "min_depth": st.integers(2, 3),
            "max_train_depth": st.integers(3, 4),
            "max_depth": st.integers(4, 6),
            "max_side_depth": st.integers(0, 2),
            "train_per_depth": st.integers(30, 40).map(lambda n: 2 * n),
            "heldout_per_depth": st.integers(1, 6).map(lambda n: 2 * n),
        }
    ),
    st.integers(0, 99),
)
def test_any_words(kwargs, seed):
    _check(lambda: _make(seed, **kwargs), kwargs)


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
