"""Rows drawn depth by depth: distinct, with balanced answers, split by depth.

A task brings a generator of random rows of one depth and an oracle that reads rows;
answers, atoms and depths are always the oracle's, never the generator's.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rdt_jax.tasks import base, limits
from rdt_jax.tasks.splits import Plan

VERSION = 1  # of what tasks make with it; a change of their rows is another one

LARGEST_DRAW = 16_384  # rows drawn and read at a time, which bounds the memory
SMALLEST_DRAW = 256
# So many draws in a row without a new row of use: what is missing does not exist, or
# hardly.
PATIENCE = 100
# Small arguments of a task of hops, which tests make tables of.
EXAMPLE = {
    "min_hops": 1, "max_hops": 4, "max_train_hops": 3, "train_per_hop": 130,
    "heldout_per_hop": 14,
}  # fmt: skip


class Reading(NamedTuple):
    """What an oracle reads off n rows."""

    answers: np.ndarray  # int [n], tokens
    # int [n, K], the parts that each row needs, -1 where it needs fewer.
    atoms: np.ndarray
    depth: np.ndarray  # int [n]


def make_table(
    rng: np.random.Generator,
    plan: Plan,
    draw: Callable[[np.random.Generator, int, int], np.ndarray],
    read: Callable[[np.ndarray], Reading],
    *,
    vocab: Sequence[str],
    answers: np.ndarray,
    shortcuts: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    group: int = 1,
) -> base.Table:
    """Makes a table whose answers are read at the last token of each row.

    The train rows of all depths come first, since held-out rows are drawn such that
    each of their atoms is practiced: it is in a train row of more than one atom. Among
    the train rows of a depth, and among its held-out rows, each answer stands equally
    often, but for a remainder of one row for some answers. ValueError if there are not
    so many rows.

    Args:
      rng: generator, consumed.
      plan: the depths and their rows.
      draw: function from (rng, depth, count) to int32 [count, T] rows of that depth for
        any T; each `group` of neighboring rows stands or falls together.
      read: reader of int32 [n, T] rows, the oracle.
      vocab: the words.
      answers: int [A], the tokens that may be answers.
      shortcuts: function from int32 [N, T] rows to what guessers see of them
        (`base.certify`).
      group: number of rows that stand together, each answer equally often among them.
    """
    parts: dict[tuple[str, int], tuple[np.ndarray, Reading]] = {}
    seen = dict.fromkeys(plan.lengths, np.zeros(0, np.uint64))
    practiced = None
    for name, last in (("train", plan.trained), ("heldout", plan.last)):
        rows = plan.train if name == "train" else plan.heldout
        for depth in range(plan.first, last + 1):
            quota = rows // answers.size + (
                rng.permutation(answers.size) < rows % answers.size
            )
            part, missing = _fill(
                rng, lambda rng, n, d=depth: draw(rng, d, n), read, answers, quota,
                seen[depth], practiced, group,
            )  # fmt: skip
            if missing.any():
                worst = missing.argmax()
                practice = "" if name == "train" else " of practiced parts only"
                raise ValueError(
                    f"task.kwargs.{name}_per_{plan.unit} must be at most what there "
                    f"is: only {quota[worst] - missing[worst]} new rows{practice} of "
                    f"the {quota[worst]} of {plan.unit} {depth} with the answer "
                    f"{vocab[answers[worst]]!r} were found, got {rows}."
                )
            parts[name, depth] = part
            seen[depth] = base.row_hashes(part[0])
        if practiced is None:
            practiced = _practiced([reading for _, reading in parts.values()])
            limits.require(
                practiced.size > 1,
                f"max_train_{plan.many}",
                "be so large that training composes parts: no train row has more than "
                "one",
                plan.trained,
            )
    return _assemble(plan, parts, vocab, shortcuts)


def padded(values: np.ndarray, rows: np.ndarray, num_rows: int) -> np.ndarray:
    """Lays out ragged rows, [num_rows, T] with 0 behind the end of each.

    `values` int [M] are those of all rows, one row after the other, and `rows`
    ascending int [M] the row of each.
    """
    lengths = np.bincount(rows, minlength=num_rows)
    columns = np.arange(rows.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    table = np.zeros((num_rows, lengths.max(initial=1)), np.int32)
    table[rows, columns] = values
    return table


def _fill(rng, draw, read, answers, quota, seen, practiced, group):
    """Returns ((tokens, reading), missing [A]): rows until every quota is filled."""
    missing, tokens, readings, patience = quota.copy(), [], [], PATIENCE
    while missing.any() and patience:
        count = int(np.clip(missing.max() * missing.size, SMALLEST_DRAW, LARGEST_DRAW))
        drawn = draw(rng, count - count % group)
        hashes = base.row_hashes(drawn)
        _, first = np.unique(hashes, return_index=True)
        good = ~np.isin(hashes, seen)
        good &= np.isin(np.arange(good.size), first)
        reading = read(drawn)
        if practiced is not None:
            good &= np.isin(reading.atoms, practiced).all(axis=1)
        good = np.repeat(good.reshape(-1, group).all(axis=1), group)
        taken = np.zeros(good.size, bool)
        for place in np.flatnonzero(missing):
            which = np.flatnonzero(good & (reading.answers == answers[place]))
            taken[which[: missing[place]]] = True
            missing[place] -= min(missing[place], which.size)
        patience = PATIENCE if taken.any() else patience - 1
        tokens.append(drawn[taken])
        readings.append(Reading(*(array[taken] for array in reading)))
        seen = np.concatenate([seen, hashes[taken]])
    return (_stack(tokens, 0), _joined(readings)), missing


def _practiced(readings) -> np.ndarray:
    """Returns the atoms of rows with more than one, and the mark for no atom."""
    atoms = [np.array([-1])]
    for reading in readings:
        composed = (reading.atoms >= 0).sum(axis=1) > 1
        atoms.append(np.unique(reading.atoms[composed]))
    return np.unique(np.concatenate(atoms))


def _assemble(plan, parts, vocab, shortcuts) -> base.Table:
    ordered = sorted(parts, key=lambda part: (part[1], part[0] != "train"))
    tokens = _stack([parts[part][0] for part in ordered], 0)
    tokens = tokens[:, tokens.any(axis=0)]  # Padding ends where the longest row does.
    reading = _joined([parts[part][1] for part in ordered])
    kinds = [
        "train" if name == "train" else "id" if depth <= plan.trained else "depth"
        for name, depth in ordered
    ]
    split = np.repeat(
        np.array([base.SPLITS.index(kind) for kind in kinds], np.int8),
        [len(parts[part][0]) for part in ordered],
    )
    return base.certified(
        tokens,
        (tokens != 0).sum(axis=1) - 1,
        reading.answers,
        split,
        atoms=reading.atoms,
        held_out=plan.held_out,
        vocab=vocab,
        tags={plan.many: reading.depth},
        lengths=reading.depth,
        shortcuts=shortcuts(tokens),
    )


def _joined(readings) -> Reading:
    return Reading(
        np.concatenate([reading.answers for reading in readings]),
        _stack([reading.atoms for reading in readings], -1),
        np.concatenate([reading.depth for reading in readings]),
    )


def _stack(arrays, fill) -> np.ndarray:
    """Puts [n, K] arrays of any K below one another, [N, K], filled up with `fill`."""
    shape = sum(len(array) for array in arrays), max(a.shape[1] for a in arrays)
    stacked = np.full(shape, fill, np.int32)
    at = 0
    for array in arrays:
        stacked[at : at + len(array), : array.shape[1]] = array
        at += len(array)
    return stacked
