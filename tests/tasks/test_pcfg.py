"""PCFG expressions against a stack machine that reads them from their end."""

import collections

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


def _reverse(x):
    return [x[len(x) - 1 - i] for i in range(len(x))]


def _swap(x):
    y = list(x)
    y[0], y[-1] = x[-1], x[0]
    return y


# Name -> (arguments, what it does), restated.
MACHINE = {
    "copy": (1, list),
    "reverse": (1, _reverse),
    "shift": (1, lambda x: [*x[1:], x[0]]),
    "swap_first_last": (1, _swap),
    "repeat": (1, lambda x: 2 * x),
    "echo": (1, lambda x: [*x, x[-1]]),
    "append": (2, lambda x, y: [*x, *y]),
    "prepend": (2, lambda x, y: [*y, *x]),
    "remove_first": (2, lambda x, y: y),
    "remove_second": (2, lambda x, y: x),
}
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


def run(words):
    """Returns the string, the pairs of functions and how many functions there are."""
    stack, string, pairs, count = [], [], [], 0
    for word in reversed(words):
        if word in MACHINE or word == ",":
            if string:
                stack.append((None, string))
                string = []
        if word in MACHINE:
            arity, function = MACHINE[word]
            arguments = [stack.pop() for _ in range(arity)]
            pairs += [(word, inner) for inner, _ in arguments if inner]
            stack.append((word, function(*(value for _, value in arguments))))
            count += 1
        elif word != ",":
            string = [word, *string]
    ((_, result),) = stack
    return result, pairs, count


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
    """Yields (answer, tags, parts) of each row, from the words of the rows."""
    untrained = _untrained(table)
    for words, _, _ in _read(table):
        result, pairs, count = run(words)
        held = sum(pair in untrained for pair in pairs)
        parts = [(pair, side) for pair in pairs for side in ("outer", "inner")]
        tags = {"functions": count, "pairs": held}
        yield (*result, "<end>"), tags, parts or [words[0]]


@pytest.mark.parametrize(("text", "answer"), HAND_WORKED.items())
def test_the_machine_by_hand(text, answer):
    assert run(text.split())[0] == answer.split()


@pytest.mark.parametrize(("text", "answer"), HAND_WORKED.items())
def test_the_functions_by_hand(text, answer):
    name, *rest = text.split()
    if set(rest) & set(pcfg.FUNCTIONS):
        return  # The machine covers what is nested, on real rows.
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
    assert names == set(MACHINE) == set(pcfg.FUNCTIONS)
