"""Rows drawn depth by depth: quotas, distinctness, pairs, practiced parts, errors."""

import numpy as np
import pytest

from rdt_jax.tasks import depths

PLAN = depths.Plan("depth", first=1, last=4, trained=3, train=6, heldout=3)
VOCAB = ("<pad>", *"abcdefgh", "x", "?")


def _read(tokens):
    """A toy: a row is d letters and `?`; the answer is its first, its atoms are all."""
    lengths = (tokens != 0).sum(axis=1)
    letters = np.where((tokens == 10) | (tokens == 0), -1, tokens)
    return depths.Reading(tokens[:, 0], letters, lengths - 1)


def _draw(rng, depth, count):
    rows = rng.integers(1, 9, (count, depth + 2))
    rows[:, 0] = np.where(rows[:, 0] > 3, 1, rows[:, 0])  # Mostly `a`.
    rows[:, depth], rows[:, depth + 1] = 10, 0
    return rows.astype(np.int32)


def _make(plan=PLAN, draw=_draw, read=_read, answers=(1, 2, 3), **changes):
    return depths.make_table(
        np.random.default_rng(0), plan, draw, read, vocab=VOCAB,
        answers=np.array(answers), shortcuts=lambda rows: {"first": rows[:, 0]},
        **changes,
    )  # fmt: skip


def _plan(**changes):
    return PLAN._replace(**{"first": 2, **changes})


def test_the_padding_does_not_make_a_row_new():
    def draw(rng, depth, count):
        rows = _draw(rng, depth, count)
        return np.pad(rows, [(0, 0), (0, int(rng.integers(0, 5)))])

    table = _make(_plan(train=12, heldout=6), draw=draw)
    assert len(np.unique(table.tokens, axis=0)) == len(table.tokens)


def test_held_out_rows_have_practiced_parts_only():
    def draw(rng, depth, count):
        rows = _draw(rng, depth, count)
        at = rng.integers(1, depth, count)
        rare = rng.random(count) < 0.2
        rows[np.arange(count)[rare], at[rare]] = 9  # x
        return rows

    table = _make(_plan(train=3, heldout=3, trained=2), draw=draw)
    train = table.tokens[table.rows_of("train")]
    practiced = set(train[train != 0]) - {10}
    held = np.concatenate([table.tokens[table.rows_of(n)] for n in ("id", "depth")])
    assert set(held[held != 0]) - {10} <= practiced
    assert practiced < set(range(1, 10))  # So few train rows leave some out.
    assert table.certificate.impure == {"id": 0, "ood": 0, "depth": 0}


def test_rows_of_a_group_stay_together():
    def draw(rng, depth, count):
        rows = np.repeat(rng.integers(3, 9, (count // 2, depth + 1)), 2, axis=0)
        rows[:, 0] = 1 + np.arange(count) % 2
        rows[:, depth] = 10
        return rows.astype(np.int32)

    table = _make(_plan(train=8, heldout=4), draw=draw, answers=(1, 2), group=2)
    assert (table.tokens[::2, 1:] == table.tokens[1::2, 1:]).all()
    assert (table.targets[::2] == 1).all()
    assert (table.targets[1::2] == 2).all()
    assert (table.split[::2] == table.split[1::2]).all()


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (
            {"first": 1, "train": 4, "heldout": 3},
            r"train_per_depth must be at most what there is: only 1 new rows of the "
            r"2 of depth 1 with the answer '[abc]' were found, got 4\.",
        ),
        (
            {"first": 1, "train": 3, "heldout": 3},
            r"heldout_per_depth must be .* only 0 new rows of practiced parts only "
            r"of the 1 of depth 1 with the answer 'a' were found, got 3\.",
        ),
        (
            {"trained": 1, "first": 1, "train": 3, "heldout": 1},
            r"max_train_depth must be so large that training composes parts: no train "
            r"row has more than one, got 1\.",
        ),
        (
            {"unit": "hop", "train": 500},
            r"kwargs\.train_per_hop must be .* of the 16[67] of hop 2 .*, got 500\.",
        ),
    ],
)
def test_more_rows_than_there_are(plan, message):
    with pytest.raises(ValueError, match=message):
        _make(PLAN._replace(**{"first": 2, **plan}))


def test_padded():
    values, rows = np.array([5, 6, 7, 8]), np.array([0, 0, 2, 2])
    laid = depths.padded(values, rows, 4)
    assert laid.tolist() == [[5, 6], [0, 0], [7, 8], [0, 0]]
    assert depths.padded(values[:0], rows[:0], 2).tolist() == [[0], [0]]
