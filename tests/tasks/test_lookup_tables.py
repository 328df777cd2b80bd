"""Lookup tables against dicts read off the one-function rows, row by row."""

import collections
import re

import pytest

from rdt_jax.tasks import lookup_tables
from tests.tasks.reading import read

CTL = {
    "num_functions": 8,
    "num_groups": 1,
    "max_functions": 6,
    "max_train_functions": 4,
    "train_per_length": 41,
    "heldout_per_length": 13,
}
GROUPS = CTL | {"num_groups": 2, "train_per_length": 23, "heldout_per_length": 7}


def _make(seed=5, **changes):
    return lookup_tables.lookup_tables(seed=seed, **CTL | changes)


def _read(table):
    """Yields (symbol, functions, answer, split) of each row."""
    for (symbol, *functions), (answer,), split in read(table):
        yield symbol, tuple(functions), answer, split


def restate(table):
    """Yields (tags, parts) of each row, from the words of the rows."""
    number = re.search(r"their one of (\d+) groups", table.certificate.held_out)
    groups = int(number[1]) if number else 1
    for _, functions, *_ in _read(table):
        pairs = list(zip(functions, functions[1:], strict=False))
        group = {function: int(function[1:]) % groups for function in functions}
        crossed = sum(group[a] != group[b] for a, b in pairs)
        links = [(a, "then", group[b]) for a, b in pairs]
        links += [(group[a], "then", b) for a, b in pairs]
        tags = {"functions": len(functions), "crossings": crossed}
        yield tags, links or [functions[0]]


def _counts(table):
    """Returns how many compositions are where; each is on all symbols in one split."""
    rows, symbols = list(_read(table)), {f"{i:03b}" for i in range(8)}
    where = collections.defaultdict(set)
    for symbol, functions, answer, split in rows:
        where[functions].add((symbol, split))
        where[functions, "answers"].add(answer)
    found = collections.Counter()
    for functions in {functions for _, functions, *_ in rows}:
        (split,) = {split for _, split in where[functions]}
        assert {symbol for symbol, _ in where[functions]} == symbols
        assert where[functions, "answers"] == symbols  # A bijection.
        found[len(functions), split] += 1
    return found


@pytest.mark.parametrize("kwargs", [CTL, GROUPS], ids=["ctl", "groups"])
def test_rows_splits_and_tags(kwargs):
    found = _counts(_make(**kwargs))
    train, heldout = kwargs["train_per_length"], kwargs["heldout_per_length"]
    expected = {(1, "train"): 8}
    for length in (2, 3, 4):
        expected |= {(length, "train"): train, (length, "id"): heldout}
        if kwargs is GROUPS:
            expected[length, "ood"] = heldout
        if kwargs is GROUPS and length > 2:
            expected[length, "mixed"] = heldout
    expected |= {(5, "depth"): heldout, (6, "depth"): heldout}
    assert found == expected


def test_a_composition_by_hand():
    table = _make(seed=11)
    rows = {(s, *f): a for s, f, a, _ in _read(table)}
    (symbol, *functions), answer = max(rows.items(), key=lambda row: len(row[0]))
    assert len(functions) == 6
    f, g, h, i, j, k = functions
    one = rows[rows[rows[symbol, f], g], h]
    assert answer == rows[rows[rows[one, i], j], k]


def test_all_compositions_can_be_asked_for():
    kwargs = CTL | {"train_per_length": 63, "heldout_per_length": 1}
    found = _counts(_make(**kwargs))
    assert (found[2, "train"], found[2, "id"]) == (63, 1)


def test_few_train_rows_leave_rows_unused():
    kwargs = CTL | {"train_per_length": 2}
    found = _counts(_make(**kwargs))
    assert any(split == "unused" for _, split in found)
