"""Distinct draws, rows counted out by length, and the split of a row by its parts."""

import collections

import numpy as np
import pytest

from rdt_jax import tasks
from rdt_jax.tasks import splits

# Rows are numbered and chosen, or drawn until they are distinct.


@pytest.fixture(params=["chosen", "drawn"])
def road(request, monkeypatch):
    if request.param == "drawn":
        monkeypatch.setattr(splits, "LARGEST_CHOICE", 0)


def test_all_rows_can_be_asked_for(road):
    rows = splits.draw_distinct(np.random.default_rng(0), (5, 3, 2), 30)
    possible = {(a, b, c) for a in range(5) for b in range(3) for c in range(2)}
    assert {tuple(row) for row in rows.tolist()} == possible
    assert rows.shape == (30, 3)


def test_rows_are_uniform_in_any_place(road):
    # Chi-squared with 44 degrees of freedom: above 91 in 4 of 100,000 cases.
    rng = np.random.default_rng(0)
    draws = np.stack([splits.draw_distinct(rng, (5, 3, 3), 7) for _ in range(4_000)])
    for place in (0, 3, 6):  # Not only the set: the first of them are trained.
        rows = collections.Counter(map(tuple, draws[:, place].tolist()))
        expected = 4_000 / 45
        seen = [rows[a, b, c] for a in range(5) for b in range(3) for c in range(3)]
        assert sum((count - expected) ** 2 / expected for count in seen) < 91


@pytest.mark.parametrize(("first", "others"), [(2, 61), (3, 61), (3, 200)])
def test_rows_beyond_64_bits_are_drawn(first, others):
    sizes = (first, *others * [2])
    rows = splits.draw_distinct(np.random.default_rng(0), sizes, 500)
    assert rows.shape == (500, 1 + others)
    assert len({tuple(row) for row in rows.tolist()}) == 500
    assert rows.min() == 0
    assert (rows.max(axis=0) == [first - 1, *others * [1]]).all()


def test_rows_are_counted_out_by_length():
    length, trained = splits.Plan("length", 2, 4, 3, train=2, heldout=1).rows()
    assert length.tolist() == [2, 2, 2, 3, 3, 3, 4]
    assert trained.tolist() == [True, True, False, True, True, False, False]
    assert (length.dtype, trained.dtype) == (np.int32, bool)


def test_each_row_is_split_by_what_it_needs():
    rows = [  # Parts, trained, longer, split
        ([0, 1, -1], True, False, "train"),
        ([2, -1, -1], True, False, "train"),  # Composes nothing.
        ([1, 0, -1], False, False, "id"),
        ([1, 2, -1], False, False, "unused"),
        ([3, -1, -1], False, False, "id"),  # Asks for one part alone.
        ([0, 1, 1], False, True, "depth"),
        ([0, 1, 2], False, True, "unused"),
    ]
    atoms, trained, longer, names = zip(*rows, strict=True)
    split = splits.assign(np.array(atoms), np.array(trained), np.array(longer))
    assert [tasks.SPLITS[index] for index in split] == list(names)
    assert split.dtype == np.int8


def test_a_row_mixes_practiced_parts_with_others():
    rows = [  # Parts, trained, mixes
        ([0, 1, -1], True, False),
        ([2, -1, -1], True, False),  # Composes nothing, so that 2 is not practiced.
        ([1, 2, -1], False, True),
        ([1, 0, 0], False, False),
        ([2, 3, -1], False, False),
    ]
    atoms, trained, expected = zip(*rows, strict=True)
    split = np.where(trained, 0, 1).astype(np.int8)
    assert splits.mixes(np.array(atoms), split).tolist() == list(expected)


def test_a_held_out_split_without_rows_is_refused():
    split = np.array([0, 0, 1, 5], np.int8)
    splits.check_heldout(split, ("id",), "phi", 0.5)
    with pytest.raises(
        ValueError,
        match=r"^task\.kwargs\.phi must be so large that some held-out depth row asks "
        r"for practiced parts only, got 0\.5\.$",
    ):
        splits.check_heldout(split, ("id", "depth"), "phi", 0.5)
