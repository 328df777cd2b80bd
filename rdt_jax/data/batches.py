"""Which rows an update trains on: a pure function of the data key and the step.

Every epoch shuffles its rows by one permutation, drawn from the data key and the number
of the epoch. A program that trains holds the order of the epoch it is in and draws the
next one where a batch reaches the epoch's end; on resume it draws that of its step.
"""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from rdt_jax.tasks import Table

_BUCKET_GROWTH = 1.2  # A row is padded to at most so many times its length.


class Place(NamedTuple):
    """The place in the run's epochs at which a batch begins."""

    epoch: jax.Array  # int32 scalar, epochs that are over
    position: jax.Array  # int32 scalar, rows of this epoch that were used


def epoch_rows(table: Table, by: str | None = None) -> np.ndarray:
    """Returns the train rows of one epoch, repeats spelled out, int32 [M].

    They come in the order of the tag `by`, so that the rows up to a value of it are the
    first ones; None for the order of the table.
    """
    rows = table.rows_of("train")
    if by is not None:
        rows = rows[np.argsort(table.tags[by][rows], kind="stable")]
    return np.repeat(rows, table.repeats[rows]).astype(np.int32)


def lengths_of(table: Table) -> np.ndarray:
    """Returns how many tokens of each row a model must see, int [N].

    These reach to the last token and to the last position that an answer is read at.
    """
    lengths = 1 + table.answer_positions.max(axis=1)
    for index, column in enumerate(table.tokens.T):  # Rows can be many and wide.
        lengths[column != 0] = np.maximum(lengths, index + 1)[column != 0]
    return lengths


def bucket_lengths(lengths: Iterable[int]) -> dict[int, int]:
    """Assigns row lengths to few static lengths: length -> that of its bucket."""
    buckets: dict[int, int] = {}
    group: list[int] = []
    for length in sorted({int(n) for n in lengths}):
        if group and length > _BUCKET_GROWTH * group[0]:
            group = []
        group.append(length)
        buckets |= dict.fromkeys(group, length)
    return buckets


def problems(config: ml_collections.ConfigDict, table: Table) -> list[str]:
    """Lists why batches of `config.batch_size` cannot be drawn from `table`."""
    rows, batch = epoch_rows(table).size, config.batch_size
    if not 1 <= batch <= rows:
        return [f"batch_size must be in [1, {rows} train rows], got {batch}."]
    if rows * batch >= 2**31:
        return [f"batch_size ({batch}) times train rows ({rows}) must be below 2**31."]
    return []


def place_of(step: jax.Array, num_rows: int | jax.Array, batch_size: int) -> Place:
    """Returns the place at which the batch of `step`, int32 updates so far, begins.

    A batch may hold the end of one epoch and the start of the next: no row is dropped.
    An epoch has `num_rows`, at least B, with num_rows * B < 2**31.
    """
    # step * B may exceed int32, so whole cycles (`num_rows` steps, B epochs) come off.
    cycle, step_in_cycle = step // num_rows, step % num_rows
    first = step_in_cycle * batch_size
    return Place(cycle * batch_size + first // num_rows, first % num_rows)


def epoch_order(
    key: jax.Array, epoch: jax.Array, num_rows: int | jax.Array, length: int
) -> jax.Array:
    """Returns the order of an epoch, int32 [M]: its first `num_rows` are the rows.

    The run's data key is only folded with the epoch; `length` is M, and `num_rows` at
    most that, traced where stages differ.
    """
    bits = jax.random.bits(jax.random.fold_in(key, epoch), (length,), jnp.uint32)
    is_row = jnp.arange(length) < num_rows
    # The sort is stable, so that the rows come first also where bits are the largest.
    order = jnp.argsort(jnp.where(is_row, bits, jnp.uint32(2**32 - 1)), stable=True)
    return order.astype(jnp.int32)


def batch_indices(
    order: jax.Array,
    next_order: jax.Array,
    position: jax.Array,
    num_rows: int | jax.Array,
    batch_size: int,
) -> jax.Array:
    """Returns the rows of a batch from `position` on, int32 [B].

    `order` int32 [M] is of the epoch in which the batch begins, `next_order` of the
    epoch after it, which is read only where the batch reaches beyond.
    """
    positions = position + jnp.arange(batch_size)
    wraps = positions >= num_rows
    inside = jnp.where(wraps, positions - num_rows, positions)
    return jnp.where(wraps, next_order[inside], order[inside])
