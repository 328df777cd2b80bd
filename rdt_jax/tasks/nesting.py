"""Nested words in brackets: growing them to a depth, and reducing them round by round.

The depth of a word is its nesting, which is the number of rounds in which all innermost
brackets at once are replaced by their values. A word of depth d nests along one path;
what stands beside the path is a leaf or a word of depth up to `max_side_depth`, so that
words stay short.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rdt_jax.tasks import base, depths, limits

VERSION = 1  # of what tasks make with it; a change of their rows is another one
# Small arguments of a task of nested words, which tests make tables of.
EXAMPLE: dict[str, Any] = {
    "min_depth": 2, "max_depth": 4, "max_train_depth": 3, "max_side_depth": 1,
    "train_per_depth": 61, "heldout_per_depth": 13,
}  # fmt: skip


def plan(
    min_depth: int,
    max_depth: int,
    max_train_depth: int,
    train_per_depth: int,
    heldout_per_depth: int,
    max_side_depth: int,
    group: int = 1,
) -> depths.Plan:
    """Makes the plan of a task of nested words; ValueError if an argument is wrong.

    Args:
      min_depth: nesting of the shallowest rows, at least 1.
      max_depth: nesting of the deepest rows.
      max_train_depth: nesting of the deepest train rows; held-out rows are `id` up to
        it and `depth` beyond.
      train_per_depth: train rows of each depth, the answers balanced.
      heldout_per_depth: held-out rows of each depth, the answers balanced.
      max_side_depth: largest depth of a word beside the path of full depth.
      group: rows that stand together.
    """
    made = depths.Plan(
        "depth", min_depth, max_depth, max_train_depth, train_per_depth,
        heldout_per_depth,
    )  # fmt: skip
    made.check(smallest=1, group=group)
    limits.at_least(0, max_side_depth=max_side_depth)
    return made


def arguments(
    rng: np.random.Generator,
    depth: int,
    counts: np.ndarray,
    leaves: np.ndarray,
    max_side_depth: int,
) -> np.ndarray:
    """Draws what stands inside brackets of a depth, as symbols for `grow`.

    There are `counts` int [n] arguments in each: one with a depth of `depth - 1`, the
    others of `max_side_depth` at the most. `leaves` are the tokens of depth 0, of which
    0 stands for nothing. Returns int64 [n, counts.max()], 0 where a row has fewer.
    """
    shape = counts.size, counts.max()
    nested = rng.integers(0, min(max_side_depth, depth - 1) + 1, shape)
    nested[np.arange(counts.size), rng.integers(0, counts)] = depth - 1
    symbols = np.where(nested > 0, -nested, rng.choice(leaves, shape))
    symbols[np.arange(shape[1]) >= counts[:, None]] = 0
    return symbols


def grow(
    rng: np.random.Generator,
    start: np.ndarray,
    expand: Callable[[np.random.Generator, int, int], np.ndarray],
) -> np.ndarray:
    """Replaces every nested word that is only announced, until none is left.

    Of the symbols `start` int [n, W], a positive one is a token, -d a word of depth d
    that is still to be drawn, 0 nothing. `expand` maps (rng, d, m) to the symbols of m
    words of depth d, int [m, W] for any W; what is announced in them is less deep than
    d. Returns int32 [n, T], each row followed by zeros.
    """
    symbols, rows = start.ravel(), np.repeat(np.arange(len(start)), start.shape[1])
    for depth in range(-int(start.min()), 0, -1):
        announced = symbols == -depth
        if not announced.any():
            continue
        words = expand(rng, depth, int(announced.sum()))
        sizes = np.where(announced, words.shape[1], 1)
        inside = np.repeat(announced, sizes)
        symbols, rows = np.repeat(symbols, sizes), np.repeat(rows, sizes)
        symbols[inside] = words.ravel()
        symbols, rows = symbols[symbols != 0], rows[symbols != 0]
    return depths.padded(symbols[symbols > 0], rows[symbols > 0], len(start))


def reduce(
    tokens: np.ndarray,
    brackets: Mapping[int, int],
    evaluate: Callable[..., tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Replaces all innermost brackets of int32 [N, T] by their values, round by round.

    `brackets` maps an opening token to the closing one that fits, and each row opens as
    many as it closes. `evaluate` maps (symbols [M], start [m], end [m], around [m]) to
    the value tokens and the atoms of the innermost brackets, int [m] each. They reach
    from `start` to `end` among the symbols of all rows; `around` has the opening token
    around each, 0 for none. The value 0 is nothing.

    Returns the first token that is left of each row [N], 0 for a row in which brackets
    that do not fit came to face one another; the atoms of each row [N, K]; its depth
    [N], the number of rounds up to its value, or up to those brackets facing.
    """
    num_rows = len(tokens)
    rows, columns = np.nonzero(tokens)
    symbols = tokens[rows, columns].astype(np.int64)
    closing = np.zeros(tokens.max() + 1, np.int64)
    closing[list(brackets)] = list(brackets.values())
    kind = np.zeros(closing.size, np.int8)  # 1 opens, -1 closes
    kind[list(brackets)], kind[list(brackets.values())] = 1, -1
    around = _around(symbols, kind)
    depth = np.zeros(num_rows, np.int64)
    is_broken = np.zeros(num_rows, bool)
    found_rows, found_atoms = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    while True:
        at = np.flatnonzero(kind[symbols])
        opened = kind[symbols[at]] == 1
        inner = np.flatnonzero(opened[:-1] & ~opened[1:])
        start, end = at[inner], at[inner + 1]
        if not start.size:
            break
        depth[np.unique(rows[start])] += 1
        fits = closing[symbols[start]] == symbols[end]
        is_broken[rows[start[~fits]]] = True
        start, end = start[fits], end[fits]
        values, atoms = evaluate(symbols, start, end, around[start])
        found_rows.append(rows[start])
        found_atoms.append(atoms)
        inside = np.zeros(symbols.size + 1, np.int8)
        inside[start] += 1
        inside[end + 1] -= 1
        symbols[start] = values
        keep = np.cumsum(inside[:-1]) == 0
        keep[start] = values != 0
        keep &= ~is_broken[rows]
        symbols, rows, around = symbols[keep], rows[keep], around[keep]
    results = np.zeros(num_rows, np.int64)
    results[rows[::-1]] = symbols[::-1]  # The first is written last.
    order = np.argsort(np.concatenate(found_rows), kind="stable")
    atoms = np.concatenate(found_atoms)[order]
    table = depths.padded(atoms + 1, np.concatenate(found_rows)[order], num_rows) - 1
    return results, table, depth


def outermost(tokens: np.ndarray, brackets: Mapping[int, int]) -> np.ndarray:
    """Hashes what stands in the outermost brackets of a row and in no other, [N]."""
    change = np.zeros(tokens.max() + 1, np.int64)
    change[list(brackets)], change[list(brackets.values())] = 1, -1
    shallow = (np.cumsum(change[tokens], axis=1) <= 1) & (tokens != 0)
    rows, columns = np.nonzero(shallow)
    return base.row_hashes(depths.padded(tokens[rows, columns], rows, len(tokens)))


def _around(symbols, kind) -> np.ndarray:
    """Returns the opening token around each opening token, 0 elsewhere, [M]."""
    around = np.zeros(symbols.size, np.int64)
    level = np.cumsum(kind[symbols], dtype=np.int64)
    opened = kind[symbols] == 1
    outer = np.flatnonzero(opened & (level == 1))
    for depth in range(2, int(level.max(initial=0)) + 1):
        inner = np.flatnonzero(opened & (level == depth))
        around[inner] = symbols[outer[np.searchsorted(outer, inner) - 1]]
        outer = inner
    return around
