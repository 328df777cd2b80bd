"""Batch order: every epoch a fair permutation, and no row lost between two."""

import collections
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax.data import batches

LAST = 2**31 - 1  # The largest step of an int32.

# 0.1 % points of the chi-square distribution, by degrees of freedom.
CHI_SQUARE = {16: 39.25, 119: 173.6, 271: 347.2}


@functools.partial(jax.jit, static_argnames=("num_rows", "batch_size"))
def _batches(key, steps, *, num_rows, batch_size):
    """Positions of many steps, [steps, B], each drawn by itself."""

    def draw(step):
        place = batches.place_of(step, num_rows, batch_size)
        orders = [
            batches.epoch_order(key, place.epoch + n, num_rows, num_rows)
            for n in (0, 1)
        ]
        return batches.batch_indices(*orders, place.position, num_rows, batch_size)

    return jax.lax.map(draw, steps)


def _stream(key, num_steps, size, batch_size):
    steps = jnp.arange(num_steps)
    drawn = _batches(key, steps, num_rows=size, batch_size=batch_size)
    return np.asarray(drawn).reshape(-1)


def _order(seed, epoch, size):
    return np.asarray(batches.epoch_order(jax.random.key(seed), epoch, size, size))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 17, 100, 997, 4096])
def test_every_epoch_is_another_permutation(size):
    epochs = np.array([_order(seed, e, size) for seed in (1, 2) for e in range(3)])
    assert epochs.dtype == np.int32
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(size), (6, 1)))
    if size >= 17:
        orders = {row.tobytes() for row in (*epochs, np.arange(size, dtype=np.int32))}
        assert len(orders) == 7


@pytest.mark.parametrize(("size", "batch"), [(2, 1), (5, 3), (5, 5), (17, 5), (100, 7)])
def test_batches_are_the_epochs_one_after_another(size, batch):
    """No row is dropped where a batch straddles two epochs, whatever its size."""
    stream = _stream(jax.random.key(3), 3 * size, size, batch)
    expected = np.concatenate([_order(3, epoch, size) for epoch in range(3 * batch)])
    np.testing.assert_array_equal(stream, expected)


@pytest.mark.parametrize(
    ("size", "batch"), [(17, 5), (997, 64), (5880, 128), (313_600, 512)]
)
def test_large_steps_do_not_overflow(size, batch):
    for step in (LAST, LAST - 1, 2**30 + 7, 6_000_000):
        place = batches.place_of(jnp.int32(step), size, batch)
        # In Python integers, which have no bound; the epoch may wrap as a key may.
        assert (int(place.epoch), int(place.position)) == divmod(step * batch, size)


def test_a_part_of_the_rows_is_ordered_by_itself():
    """A stage's rows come first, in any order of theirs; the others wait behind."""
    draw = lambda epoch: batches.epoch_order(jax.random.key(4), epoch, jnp.int32(5), 17)
    first = np.asarray(jax.jit(jax.vmap(draw))(jnp.arange(6000)))[:, :5]
    np.testing.assert_array_equal(np.sort(first), np.tile(np.arange(5), (6000, 1)))
    _, counts = np.unique(first, axis=0, return_counts=True)
    assert len(counts) == 120
    assert _chi_square(counts, 50) < CHI_SQUARE[119]


def _chi_square(counts, expected):
    return float(((np.asarray(counts) - expected) ** 2 / expected).sum())


@pytest.fixture(scope="module")
def epochs():
    """Many epochs of 17 rows, a multiple of 17 * 16."""
    draw = lambda epoch: batches.epoch_order(jax.random.key(7), epoch, 17, 17)
    return np.asarray(jax.jit(jax.vmap(draw))(jnp.arange(5440)))


def test_every_row_stands_everywhere_equally_often(epochs):
    for place in (0, 1, 8, 16):
        counts = np.bincount(epochs[:, place], minlength=17)
        assert _chi_square(counts, 320) < CHI_SQUARE[16], place
    for row in (0, 9, 16):
        counts = np.bincount((epochs == row).argmax(axis=1), minlength=17)
        assert _chi_square(counts, 320) < CHI_SQUARE[16], row


def test_neighbours_in_an_epoch_are_equally_often_any_two_rows(epochs):
    pairs = collections.Counter(map(tuple, epochs[:, 4:6].tolist()))
    assert len(pairs) == 17 * 16
    assert _chi_square(list(pairs.values()), 20) < CHI_SQUARE[271]


def test_one_epoch_says_nothing_of_the_next(epochs):
    same = (epochs[1:] == epochs[:-1]).sum(axis=1)  # One on average, as for any two.
    assert same.mean() == pytest.approx(1.0, abs=4 / len(same) ** 0.5)


def test_lanes_draw_what_they_draw_alone():
    keys = jax.random.split(jax.random.key(8), 3)
    steps = jnp.array([2, 3])
    draw = functools.partial(_batches, num_rows=23, batch_size=7)
    together = jax.vmap(draw, in_axes=(0, None))(keys, steps)
    alone = [draw(key, steps) for key in keys]
    np.testing.assert_array_equal(together, alone)
    assert len({row.tobytes() for row in np.asarray(together)}) == 3


def test_an_epoch_spells_repeats_out(tiny_table):
    rows = batches.epoch_rows(tiny_table)
    assert rows.dtype == np.int32
    counts = collections.Counter(rows.tolist())
    expected = {
        row: int(tiny_table.repeats[row])
        for row, split in enumerate(tiny_table.split)
        if split == 0
    }
    assert counts == expected
    assert set(expected.values()) == {1, 2}
    assert rows.size == tiny_table.certificate.rows["train_epoch"]


@pytest.mark.parametrize("extra", [0, 1, -10_000])
def test_problems_with_the_batch_size(tiny_config, tiny_table, extra):
    rows = batches.epoch_rows(tiny_table).size
    size = max(rows + extra, 0)
    config = configs.override(tiny_config, {"batch_size": size})
    message = f"batch_size must be in [1, {rows} train rows], got {size}."
    wanted = [] if extra == 0 else [message]
    assert batches.problems(config, tiny_table) == wanted


def test_problems_with_a_product_that_overflows(tiny_config, tiny_table):
    repeats = np.ones_like(tiny_table.repeats)
    first, others = tiny_table.rows_of("train")[0], tiny_table.rows_of("train").size - 1
    repeats[first] = 2**16 - others
    table = dataclasses.replace(tiny_table, repeats=repeats)
    with_size = lambda size: configs.override(tiny_config, {"batch_size": size})
    assert batches.problems(with_size(2**15 - 1), table) == []
    assert batches.problems(with_size(2**15), table) == [
        "batch_size (32768) times train rows (65536) must be below 2**31."
    ]


def test_rows_of_one_tag_keep_the_order_of_the_table(tiny_table):
    """So that an epoch does not depend on how numpy sorts."""
    rows = tiny_table.rows_of("train")
    places = (7 * np.arange(tiny_table.split.size, dtype=np.int32)) % 3
    table = dataclasses.replace(tiny_table, tags={"place": places}, tag_names={})
    expected = [int(row) for place in range(3) for row in rows if places[row] == place]
    assert rows.size > 64, "few rows are sorted stably by any way"
    found = batches.epoch_rows(table, "place").tolist()
    assert list(dict.fromkeys(found)) == expected


def test_a_row_is_as_long_as_its_last_token_or_answer(tiny_table):
    width = tiny_table.tokens.shape[1]
    tokens = np.zeros((3, width), np.int32)
    answers = np.zeros((3, 2), np.int32)
    tokens[0, :2], answers[0] = 5, (1, 0)  # Both end at once.
    tokens[1, :3], answers[1] = 5, (0, 1)  # The answer is read before the end,
    tokens[2, :1], answers[2] = 5, (2, 1)  # and after it.
    first = {name: getattr(tiny_table, name)[:3] for name in ("split", "repeats")}
    table = dataclasses.replace(
        tiny_table, tokens=tokens, answer_positions=answers,
        targets=np.ones_like(answers), tags={}, tag_names={}, **first,
    )  # fmt: skip
    assert batches.lengths_of(table).tolist() == [2, 3, 3]
