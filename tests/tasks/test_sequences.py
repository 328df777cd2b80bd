"""Sums against Python integers, hops against searches in a string, row by row."""

import itertools

import numpy as np
import pytest

from rdt_jax.tasks import sequences
from tests.tasks.reading import read

ADDITION = {
    "num_digits": 2,
    "max_operands": 6,
    "max_train_operands": 4,
    "train_per_count": 97,
    "heldout_per_count": 13,
}
HOPS = {
    "alphabet_size": 5,
    "length": 17,
    "min_hops": 1,
    "max_hops": 5,
    "max_train_hops": 3,
    "train_per_hop": 89,
    "heldout_per_hop": 11,
}


def _add(seed=5, **changes):
    return sequences.nary_addition(seed=seed, **ADDITION | changes)


def _hop(seed=5, **changes):
    return sequences.p_hop_induction(seed=seed, **HOPS | changes)


def restate_nary_addition(table):
    """Yields (tags, parts) of each row, for the battery."""
    for question, *_ in read(table):
        text = "".join(question)
        assert text.endswith("=")
        operands = text[:-1].split("+")
        parts = [
            (place, digit)
            for operand in operands
            for place, digit in enumerate(reversed(operand))
        ]
        yield {"operands": len(operands)}, parts


def restate_p_hop_induction(table):
    """Yields (tags, parts) of each row, for the battery."""
    letter = {word: chr(97 + i) for i, word in enumerate(table.vocab[2:])}
    for question, *_ in read(table):
        hops = question.count("<hop>")
        assert question[:hops] == hops * ("<hop>",)
        assert all(a != b for a, b in itertools.pairwise(question[hops:]))
        text = "".join(letter[character] for character in question[hops:])
        at, parts = len(text) - 1, []
        for _ in range(hops):
            found = text.rindex(text[at], 0, at) + 1
            parts.append((text[at], text[found]))
            at = found
        yield {"hops": hops}, parts


# Addition.


def test_operands_have_all_their_digits():
    table = _add(num_digits=3)
    sizes = {len(o) for q, *_ in read(table) for o in "".join(q)[:-1].split("+")}
    assert sizes == {3}
    assert table.vocab == ("<pad>", *"0123456789", "+", "=", "<end>")
    assert table.certificate.atoms["all"] == 30


def test_large_numbers_are_added_exactly():
    table = _add(num_digits=9, max_operands=40, max_train_operands=3)
    for question, (*digits, _), _ in read(table):
        operands = "".join(question)[:-1].split("+")
        assert int("".join(digits)) == sum(map(int, operands))


# Hops.


def test_hops_by_hand():
    # From the last b: behind the b before it stands c, behind the c before that, d;
    # there is no d before that.
    sequence = np.array([["abcd".index(c) for c in "acdbcab"]], np.int8)
    visited = sequences.visit(sequence, alphabet_size=4, hops=3)
    assert visited.tolist() == [["abcd".index(c) for c in "bcd"] + [-1]]


def test_answers_are_balanced():
    # Chi-squared with 4 degrees of freedom: above 24 in 1 of 10,000 cases.
    table = _hop(train_per_hop=1_000, heldout_per_hop=1_000)
    for hops in range(1, 6):
        counts = np.bincount(table.targets[table.tags["hops"] == hops, 0])[2:]
        assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 24


def test_all_sequences_with_so_many_hops_can_be_asked_for():
    small = {"alphabet_size": 3, "length": 5, "min_hops": 2, "max_hops": 2}
    small |= {"max_train_hops": 2, "heldout_per_hop": 1}
    number = _possible(3, 5, 2)
    table = _hop(**small, train_per_hop=number - 1)
    assert len({question for question, *_ in read(table)}) == number
    with pytest.raises(
        ValueError,
        match=r"^task\.kwargs\.train_per_hop \+ task\.kwargs\.heldout_per_hop must be "
        rf"at most the number of sequences with 2 hops: {number + 1} asked, got "
        rf"{number}; choose a longer task\.kwargs\.length\.",
    ):
        _hop(**small, train_per_hop=number)


def _possible(alphabet_size, length, hops):
    """Counts the sequences on which so many hops exist, one by one."""
    found, texts = 0, [""]
    for _ in range(length):
        letters = "abcdefgh"[:alphabet_size]
        texts = [t + c for t in texts for c in letters if not t.endswith(c)]
    for text in texts:
        at = length - 1
        for _ in range(hops):
            at = text.rfind(text[at], 0, at) + 1
            if at == 0:
                break
        else:
            found += 1
    return found
