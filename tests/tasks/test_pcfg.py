"""PCFG expressions: functions by hand, and which stand inside which."""

import collections
import itertools

import numpy as np
import pytest

from rdt_jax.tasks import pcfg
from tests.tasks.reading import read

RANDOM = {
    "splitting": "random",
    "num_symbols": 7,
    "max_functions": 4,
    "max_train_functions": 4,
    "max_length": 19,
    "train_rows": 607,
    "heldout_rows": 101,
    "num_heldout_pairs": 0,
}
SYSTEMATICITY = RANDOM | {"splitting": "systematicity", "num_heldout_pairs": 9}
PRODUCTIVITY = RANDOM | {"splitting": "productivity", "max_functions": 6}


HAND_WORKED = {
    "copy A B C": "A B C",
    "reverse A B C": "C B A",
    "shift A B C": "B C A",
    "swap_first_last A B C D": "D B C A",
    "swap_first_last A": "A",
    "repeat A B": "A B A B",
    "echo A B": "A B B",
    "append A B , C": "A B C",
    "prepend A B , C": "C A B",
    "remove_first A B , C": "C",
    "remove_second A B , C": "A B",
    "append swap_first_last A B C , repeat D": "C B A D D",
    "prepend remove_second A , B , echo append C , D": "C D D A",
    "remove_first append A , B , reverse shift C D E": "C E D",
}


def _pairs(words):
    """Returns the pairs of functions, one right inside another."""
    pairs, outermost = [], []  # The second is a stack, of the arguments behind.
    for before, word in itertools.pairwise(["", *words, ""][::-1]):
        if word in pcfg.FUNCTIONS:
            inside = [outermost.pop() for _ in range(1 + (word in pcfg.BINARY))]
            pairs += [(word, function) for function in inside if function]
            outermost.append(word)
        elif word not in ("", ",") and before in ("", ","):
            outermost.append(None)  # A string, from its end.
    return pairs


def _make(seed=5, **changes):
    return pcfg.pcfg(seed=seed, **RANDOM | changes)


def _read(table):
    """Yields (words, answer, split) of each row."""
    for (*words, separator), (*answer, end), split in read(table):
        assert (separator, end) == ("<sep>", "<end>")
        yield words, answer, split


def _untrained(table):
    """Returns the pairs of functions that the certificate names."""
    text = table.certificate.held_out.removesuffix(".").partition(": ")[2]
    return {tuple(pair.split(" to ")) for pair in text.split(", ") if pair}


def restate(table):
    """Yields (tags, parts) of each row, from the words of the rows."""
    untrained = _untrained(table)
    for words, _, _ in _read(table):
        pairs = _pairs(words)
        held = sum(pair in untrained for pair in pairs)
        parts = [(pair, side) for pair in pairs for side in ("outer", "inner")]
        yield {"functions": 1 + len(pairs), "pairs": held}, parts or [words[0]]


@pytest.mark.parametrize(("text", "answer"), HAND_WORKED.items())
def test_the_oracle_by_hand(text, answer):
    assert pcfg.pcfg_oracle(text.split()) == answer.split()


@pytest.mark.parametrize(("text", "answer"), HAND_WORKED.items())
def test_the_functions_by_hand(text, answer):
    name, *rest = text.split()
    if set(rest) & set(pcfg.FUNCTIONS):
        return  # The oracle covers what is nested, on real rows.
    arguments = [part.split() for part in " ".join(rest).split(" , ")]
    function = (pcfg.UNARY | pcfg.BINARY)[name]
    assert function(*arguments) == answer.split()


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        (RANDOM, {"train", "id"}),
        (SYSTEMATICITY, {"train", "id", "ood", "mixed"}),
        (PRODUCTIVITY, {"train", "id", "depth"}),
    ],
    ids=["random", "systematicity", "productivity"],
)
def test_rows_splits_and_tags(kwargs, expected):
    table = _make(**kwargs)
    rows = list(_read(table))
    found = collections.Counter(split for *_, split in rows)
    assert max(len(part) for row in rows for part in row[:2]) <= kwargs["max_length"]
    longer = table.tags["functions"] > kwargs["max_train_functions"]
    assert set(np.flatnonzero(longer)) >= set(table.rows_of("depth").tolist())
    assert len(_untrained(table)) == (kwargs["num_heldout_pairs"] or 0)
    assert set(found) - {"unused"} == expected
    assert found["train"] == 607
    assert found["ood"] == (101 if "ood" in expected else 0)
    assert found["mixed"] == (101 if "mixed" in expected else 0)
    assert found.total() == 607 + (len(expected) - 1) * 101
    functions = collections.Counter(table.tags["functions"].tolist())
    assert set(functions) == set(range(1, kwargs["max_functions"] + 1))
    names = {table.vocab[token] for token in table.tokens[:, 0]}
    assert names == set(pcfg.FUNCTIONS)
