"""Which rows a table has and which split each is in: disjoint and complete.

Rows are drawn without repeats, counted out by length, and split by what they need.
"""

from collections.abc import Sequence

import numpy as np

from rdt_jax.tasks import base

# Up to so many rows, they are numbered and chosen without replacement; beyond, drawn
# until enough of them are distinct, which then hardly takes a second draw.
LARGEST_CHOICE = 2**62


def draw_distinct(
    rng: np.random.Generator, sizes: Sequence[int], count: int
) -> np.ndarray:
    """Draws distinct rows, uniformly and in random order, int64 [count, K].

    Args:
      rng: consumed.
      sizes: K numbers; column k of a row lies in [0, sizes[k]).
      count: rows, at most the product of `sizes`.
    """
    number = 1
    for size in sizes:
        number *= int(size)
    if number <= LARGEST_CHOICE:
        codes = rng.choice(number, count, replace=False)
        return np.stack(np.unravel_index(codes, tuple(sizes)), axis=1)
    rows = np.empty((0, len(sizes)), np.int64)
    while len(rows) < count:
        more = rng.integers(0, sizes, (count, len(sizes)))
        rows = np.concatenate([rows, more])
        _, first = np.unique(rows, axis=0, return_index=True)
        rows = rows[np.sort(first)]
    return rows[:count]


def rows_by_length(
    lengths: range, longest_train: int, train_rows: int, heldout_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Counts out rows: of each length some to train on and some to hold out.

    Args:
      lengths: in which the rows come.
      longest_train: longer rows are held out only.
      train_rows: of each length up to `longest_train`.
      heldout_rows: of each length.

    Returns:
      The length of each row, int32 [N], ascending, and whether it is trained, bool [N],
      the trained rows of a length first.
    """
    counts = [
        heldout_rows + train_rows * (length <= longest_train) for length in lengths
    ]
    length = np.repeat(np.array(lengths, np.int32), counts)
    place = np.concatenate([np.arange(count) for count in counts])
    return length, (length <= longest_train) & (place < train_rows)


def assign(atoms: np.ndarray, trained: np.ndarray, longer: np.ndarray) -> np.ndarray:
    """Says which split each row is in, int8 [N], indices into SPLITS.

    Trained rows are `train`. Of the others, those that compose parts of which one is
    in no composed training row are `unused`, so that what is held out really asks for
    practiced parts; the rest is `depth` where it is longer than trained, else `id`.

    Args:
      atoms: int [N, K], the parts that each row needs, as `base.certify` takes them.
      trained: bool [N].
      longer: bool [N], whether a row is longer than all trained ones.
    """
    counts = sum((atom >= 0).astype(np.int32) for atom in atoms.T)
    practiced = np.zeros(int(atoms.max()) + 2, bool)
    for atom in atoms.T:
        practiced[atom[trained & (counts > 1)]] = True
    practiced[-1] = True  # Where a row needs no further part.
    split = np.full(len(atoms), base.SPLITS.index("id"), np.int8)
    split[longer] = base.SPLITS.index("depth")
    for atom in atoms.T:
        split[~practiced[atom] & (counts > 1)] = base.SPLITS.index("unused")
    split[trained] = base.SPLITS.index("train")
    return split


def mixes(atoms: np.ndarray, split: np.ndarray) -> np.ndarray:
    """Says which rows need a part that a composed training row has, and one without.

    Args:
      atoms: int [N, K], the parts that each row needs, as `base.certify` takes them.
      split: int8 [N]; only what is `train` counts.

    Returns:
      bool [N].
    """
    counts = sum((atom >= 0).astype(np.int32) for atom in atoms.T)
    practiced = np.zeros(int(atoms.max()) + 2, bool)
    for atom in atoms.T:
        practiced[atom[(split == base.SPLITS.index("train")) & (counts > 1)]] = True
    practiced[-1] = False  # Where a row needs no further part.
    known = sum(practiced[atom].astype(np.int32) for atom in atoms.T)
    return (known > 0) & (known < counts)


def check_heldout(split: np.ndarray, names: Sequence[str], key: str, value: float):
    """Raises ValueError if one of the held-out splits `names` has no row.

    Args:
      split: int8 [N].
      names: of the splits that must have rows.
      key: the argument that is too small where it has none.
      value: of that argument.
    """
    for name in names:
        if not (split == base.SPLITS.index(name)).any():
            raise ValueError(
                f"task.kwargs.{key} must be so large that some held-out {name} row "
                f"asks for practiced parts only, got {value}."
            )
