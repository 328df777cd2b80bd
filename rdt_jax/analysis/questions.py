"""The two-hop questions of a table that analyses look at: a fixed sample, with bridges.

A question `h r1 r2` asks for the tail of (b, r2), where the *bridge* b is the tail of
(h, r1). The row never names the bridge; the one-hop rows of the table do.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from rdt_jax import tasks

# Two-hop rows that were trained; new ones of practiced facts; of facts never composed.
GROUPS = ("train", "id", "ood")
HEAD, FIRST, SECOND = 0, 1, 2  # positions of h, r1, r2
TOKENS = ("h", "r1", "r2", "answer")  # what stands at positions 0 .. 3


class Questions(NamedTuple):
    """N two-hop rows of a table."""

    # int32 [N, T], from `h r1 r2`, up to where the last answer is read.
    tokens: np.ndarray
    answer_positions: np.ndarray  # int32 [N, 1]
    bridges: np.ndarray  # int32 [N], the token of the entity in the middle
    targets: np.ndarray  # int32 [N]
    group: np.ndarray  # int64 [N], index into GROUPS


def facts(table: tasks.Table) -> np.ndarray:
    """Returns the tail of every (head, relation), int32 [V, V] by tokens, -1 for none.

    Raises:
      ValueError: if the table does not say which of its rows are of one hop.
    """
    hops = table.tags.get("hops")
    if hops is None or not {1, 2} <= set(np.unique(hops).tolist()):
        raise ValueError(
            "this analysis asks two-hop questions and needs a task with rows of one "
            "and of two hops (knowledge_composition, knowledge_depth), got a table "
            f"with tags {', '.join(table.tags) or 'of no name'}."
        )
    tails = np.full(2 * [len(table.vocab)], -1, np.int32)
    rows = np.flatnonzero(hops == 1)
    head, relation = table.tokens[rows, : FIRST + 1].T
    tails[head, relation] = table.targets[rows, 0]
    return tails


def sample(table: tasks.Table, per_group: int) -> Questions:
    """Returns the first `per_group` two-hop rows of each group by a fixed permutation.

    A group that the table lacks has no rows.

    Raises:
      ValueError: as `facts`.
    """
    tails = facts(table)
    chosen, group = [], []
    for index, name in enumerate(GROUPS):
        rows = table.rows_of(name)
        rows = rows[table.tags["hops"][rows] == 2]
        rows = np.random.default_rng(index).permutation(rows)[:per_group]
        chosen.append(rows)
        group.append(np.full(rows.size, index))
    rows = np.concatenate(chosen)
    # What follows the answer's position is padding, which no state before it sees.
    length = table.answer_positions[rows, 0].max(initial=SECOND) + 1
    tokens = table.tokens[rows, :length]
    return Questions(
        tokens=tokens,
        answer_positions=table.answer_positions[rows, :1],
        bridges=tails[tokens[:, HEAD], tokens[:, FIRST]],
        targets=table.targets[rows, 0],
        group=np.concatenate(group),
    )


def entities(table: tasks.Table) -> np.ndarray:
    """Returns the heads and tails of facts, int64 [entities]; ValueError as `facts`."""
    tails = facts(table)
    heads = np.flatnonzero((tails >= 0).any(axis=1))
    return np.union1d(heads, tails[tails >= 0])


def count(group: np.ndarray) -> np.ndarray:
    """Returns how many questions each group has, int64 [G]."""
    return np.bincount(group, minlength=len(GROUPS))


def average(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Averages [N, ...] over the rows of each group, float64 [G, ...]; NaN for none."""
    means = np.full((len(GROUPS), *values.shape[1:]), np.nan)
    for index in np.unique(group):
        means[index] = values[group == index].mean(axis=0, dtype=np.float64)
    return means


def in_chunks(function: Callable[..., Any], size: int, *arrays: np.ndarray) -> Any:
    """Applies a jitted function to rows, `size` at a time and always as many.

    So one program serves any number of rows, and memory does not grow with them. The
    function takes arrays [size, ...] and returns a pytree of such; of N rows, at least
    1, the result has numpy leaves [N, ...].
    """
    total = len(arrays[0])
    size = min(size, total)
    parts = []
    for start in range(0, total, size):
        # The last chunk is filled with its first rows again.
        rows = start + np.arange(size)
        rows = np.where(rows < total, rows, start)
        part = jax.device_get(function(*(array[rows] for array in arrays)))
        count = min(size, total - start)
        parts.append(jax.tree.map(lambda x, count=count: x[:count], part))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
