"""Lookup tables against dicts read off the one-function rows, row by row."""

import collections
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    """Yields (answer, tags, parts) of each row, from the words of the rows."""
    rows = list(_read(table))
    number = re.search(r"their one of (\d+) groups", table.certificate.held_out)
    groups = int(number[1]) if number else 1
    lookup = {(s, f[0]): a for s, f, a, _ in rows if len(f) == 1}
    for symbol, functions, _, _ in rows:
        at = symbol
        for function in functions:
            at = lookup[at, function]
        pairs = list(zip(functions, functions[1:], strict=False))
        group = {function: int(function[1:]) % groups for function in functions}
        crossed = sum(group[a] != group[b] for a, b in pairs)
        links = [(a, "then", group[b]) for a, b in pairs]
        links += [(group[a], "then", b) for a, b in pairs]
        tags = {"functions": len(functions), "crossings": crossed}
        yield (at,), tags, links or [functions[0]]


def _verify(table, kwargs):
    """Checks every row, split and tag; returns how many compositions are where."""
    rows = list(_read(table))
    restated = list(restate(table))
    assert [(answer,) for *_, answer, _ in rows] == [answer for answer, *_ in restated]
    for name, tag in table.tags.items():
        assert tag.tolist() == [tags[name] for _, tags, _ in restated]
    symbols = {f"{i:03b}" for i in range(8)}
    alone = collections.defaultdict(set)
    for symbol, functions, answer, _ in rows:
        if len(functions) == 1:
            alone[functions[0]].add((symbol, answer))
    assert set(alone) == {f"f{i}" for i in range(kwargs["num_functions"])}
    for table_of in alone.values():  # A bijection.
        assert {symbol for symbol, _ in table_of} == symbols
        assert {answer for _, answer in table_of} == symbols
    practiced = {
        link
        for (*_, split), (_, tags, links) in zip(rows, restated, strict=True)
        if split == "train" and tags["functions"] > 1
        for link in links
    }
    compositions = collections.defaultdict(set)
    for (symbol, functions, _, split), (_, tags, links) in zip(
        rows, restated, strict=True
    ):
        compositions[functions].add((symbol, split))
        known = practiced.intersection(links)
        longer = len(functions) > kwargs["max_train_functions"]
        if tags["crossings"]:
            assert not longer
            if tags["crossings"] == len(functions) - 1:
                assert (split, known) == ("ood", set())
            else:
                assert split == ("mixed" if known else "unused")
        elif split == "train":
            assert not longer
        else:
            heldout = "depth" if longer else "id"
            assert split == (heldout if practiced.issuperset(links) else "unused")
    found = collections.Counter()
    for functions, where in compositions.items():
        (split,) = {split for _, split in where}  # On all symbols, in one split.
        assert {symbol for symbol, _ in where} == symbols
        found[len(functions), split] += 1
    assert not any(table.certificate.impure.values())
    return found


@pytest.mark.parametrize("kwargs", [CTL, GROUPS], ids=["ctl", "groups"])
def test_rows_splits_and_tags(kwargs):
    found = _verify(_make(**kwargs), kwargs)
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
    found = _verify(_make(**kwargs), kwargs)
    assert (found[2, "train"], found[2, "id"]) == (63, 1)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_splits_hold_over_the_parameters(data):
    groups = data.draw(st.integers(1, 3))
    size = data.draw(st.integers(2, 4))
    longest_train = data.draw(st.integers(2, 4))
    train = data.draw(st.integers(1, groups * size**2 - 1))
    kwargs = {
        "num_functions": groups * size,
        "num_groups": groups,
        "max_functions": longest_train + data.draw(st.integers(0, 2)),
        "max_train_functions": longest_train,
        "train_per_length": train,
        "heldout_per_length": data.draw(st.integers(1, groups * size**2 - train)),
    }
    try:
        table = _make(data.draw(st.integers(0, 99)), **kwargs)
    except ValueError as error:
        assert "must be so large that some held-out" in str(error)
        return
    _verify(table, kwargs)


def test_few_train_rows_leave_rows_unused():
    kwargs = CTL | {"train_per_length": 2}
    found = _verify(_make(**kwargs), kwargs)
    assert any(split == "unused" for _, split in found)
