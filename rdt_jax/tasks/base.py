"""A task's table: rows, where their answers are read, their split, and the proof."""

import dataclasses
from collections.abc import Mapping

import numpy as np

# The parts of a table; `Table.split` holds indices into this tuple.
#   train   trained on            id     new combinations of practiced parts
#   ood     no part practiced     mixed  some parts practiced (by pattern, no headline)
#   depth   longer than trained   unused in no part
SPLITS = ("train", "id", "ood", "depth", "mixed", "unused")
NO_TARGET = -1


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What a split proves, counted from the rows and not from how they were made.

    Attributes:
      rows: number of rows per split; `train_epoch` counts repeats.
      overlap: pairs of splits ("train/id") -> rows with equal tokens in both; all 0.
      atoms: number of atoms, of those practiced (used by a composed training row),
        and of those never composed in training.
      impure: split -> rows that break its definition (an `id` row with an atom that
        was never practiced, an `ood` row with one that was, a `depth` row that has
        an atom never practiced or is no longer than the longest train row); all 0.
      chance: split -> accuracy of a uniform guess among the answers of training.
      majority: split -> accuracy of the most frequent answer of a training epoch.
      last_token: split -> accuracy of the most frequent answer of a training epoch
        given the last token of the row.
      shortcuts: name -> split -> accuracy of the most frequent answer of a training
        epoch given the little of the row that this shortcut looks at.
      held_out: what the model never saw, in words.
    """

    rows: Mapping[str, int]
    overlap: Mapping[str, int]
    atoms: Mapping[str, int]
    impure: Mapping[str, int]
    chance: Mapping[str, float]
    majority: Mapping[str, float]
    last_token: Mapping[str, float]
    shortcuts: Mapping[str, Mapping[str, float]]
    held_out: str


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """All rows of a task. N rows, T tokens, A answers in a row.

    Attributes:
      tokens: int32 [N, T]; 0 is padding in every task, and rows end in it.
      answer_positions: int32 [N, A], where the logits are read; 0 where none.
      targets: int32 [N, A], the answers; NO_TARGET where none.
      split: int8 [N], indices into SPLITS.
      repeats: int32 [N], how often a train row stands in an epoch; rows are distinct.
      tags: name -> int32 [N], what accuracy is broken down by (hops, pattern).
      tag_names: tag -> the words for its values, where they have words.
      vocab: the words of tokens 0 .. V - 1.
      certificate: what the split proves.
    """

    tokens: np.ndarray
    answer_positions: np.ndarray
    targets: np.ndarray
    split: np.ndarray
    repeats: np.ndarray
    tags: Mapping[str, np.ndarray]
    tag_names: Mapping[str, tuple[str, ...]]
    vocab: tuple[str, ...]
    certificate: Certificate

    def __post_init__(self):
        rows, length = self.tokens.shape
        if self.targets.shape != self.answer_positions.shape or (
            len(self.targets) != rows
        ):
            raise ValueError("targets and answer_positions must be [N, A].")
        for name in ("split", "repeats"):
            if getattr(self, name).shape != (rows,):
                raise ValueError(f"{name} must be [N].")
        if self.tokens.min() < 0 or self.tokens.max() >= len(self.vocab):
            raise ValueError("tokens must lie in the vocabulary.")
        if self.answer_positions.max() >= length:
            raise ValueError("answer_positions must lie in the row.")
        fields = (getattr(self, field.name) for field in dataclasses.fields(self))
        for array in (*fields, *self.tags.values()):
            if isinstance(array, np.ndarray):
                array.flags.writeable = False

    def rows_of(self, split: str) -> np.ndarray:
        """Returns the sorted row indices of a split, int64 [n]."""
        return np.flatnonzero(self.split == SPLITS.index(split))


def certify(
    tokens: np.ndarray,
    targets: np.ndarray,
    split: np.ndarray,
    repeats: np.ndarray,
    atoms: np.ndarray,
    held_out: str,
    *,
    lengths: np.ndarray | None = None,
    shortcuts: Mapping[str, np.ndarray] | None = None,
) -> Certificate:
    """Counts what a split proves.

    Args:
      tokens: int32 [N, T].
      targets: int32 [N, A].
      split: int8 [N].
      repeats: int32 [N].
      atoms: int [N, K], the parts that each row needs, -1 where it needs fewer; a row
        of one part is that part itself, a row of more composes them. A part that is
        needed twice counts twice.
      held_out: what the model never saw, in words.
      lengths: int [N], how long each row is, read off the rows (steps one after
        another, where a row also needs parts side by side); None: its number of atoms.
      shortcuts: name -> int [N], what a guesser sees instead of the row.
    """
    parts = {name: split == SPLITS.index(name) for name in SPLITS}
    names = [name for name in SPLITS if parts[name].any()]
    # Atom by atom, since rows can be many and wide; index -1 is the last of the marks.
    marks = int(atoms.max()) + 2
    counts = sum((atom >= 0).astype(np.int32) for atom in atoms.T)  # [N]
    exists, practiced = np.zeros(marks, bool), np.zeros(marks, bool)
    for atom in atoms.T:
        exists[atom] = True
        practiced[atom[parts["train"] & (counts > 1)]] = True
    exists[-1] = practiced[-1] = False
    known = sum(practiced[atom].astype(np.int32) for atom in atoms.T)  # [N]
    impure = {
        "id": int((parts["id"] & (counts > 1) & (known < counts)).sum()),
        "ood": int((parts["ood"] & (counts > 1) & (known > 0)).sum()),
    }
    if "depth" in names:
        lengths = counts if lengths is None else lengths
        broken = (known < counts) | (lengths <= lengths[parts["train"]].max())
        impure["depth"] = int((parts["depth"] & broken).sum())
    keys = _repeated_rows(tokens, parts)
    return Certificate(
        rows={name: int(parts[name].sum()) for name in names}
        | {"train_epoch": int(repeats[parts["train"]].sum())},
        overlap={
            f"{a}/{b}": len(keys[a] & keys[b])
            for i, a in enumerate(names)
            for b in names[i + 1 :]
        },
        atoms={
            "all": int(exists.sum()),
            "practiced": int(practiced.sum()),
            "never_composed": int((exists & ~practiced).sum()),
        },
        impure=impure,
        held_out=held_out,
        **_baselines(tokens, targets, parts, repeats, shortcuts or {}),
    )


def row_hashes(tokens: np.ndarray) -> np.ndarray:
    """Hashes each row of [N, T], uint64 [N]; padding at a row's end changes nothing."""
    hashes = np.zeros(len(tokens), np.uint64)
    power = np.ones(1, np.uint64)
    for column in tokens.T:
        hashes += column.astype(np.uint64) * power
        power *= np.uint64(0x9E3779B97F4A7C15)  # Wraps around.
    return hashes


def _repeated_rows(tokens, parts) -> dict[str, set[bytes]]:
    # Only rows that share their hash with another row can be equal to one: few or none.
    hashes = row_hashes(tokens)
    ordered = np.sort(hashes)
    candidate = np.isin(hashes, ordered[1:][ordered[1:] == ordered[:-1]])
    return {
        name: {row.tobytes() for row in tokens[mask & candidate]}
        for name, mask in parts.items()
    }


def _baselines(tokens, targets, parts, repeats, shortcuts) -> dict[str, dict]:
    # Judged on the first answer: sequence answers are never right by luck alone.
    train, first = parts["train"], targets[:, 0]
    answers = np.unique(first[train])
    majority = np.bincount(first[train], weights=repeats[train]).argmax()
    last = tokens[:, 0]
    for column in tokens.T:
        last = np.where(column != 0, column, last)
    scored = {name: mask for name, mask in parts.items() if mask.any()}

    def accuracies(guesses):
        return {n: float((first == guesses)[m].mean()) for n, m in scored.items()}

    def given(seen):
        return accuracies(_best_guesses(seen, first, train, repeats, majority))

    return {
        "chance": {
            n: float(np.isin(first[m], answers).mean()) / answers.size
            for n, m in scored.items()
        },
        "majority": accuracies(majority),
        "last_token": given(last),
        "shortcuts": {name: given(seen) for name, seen in shortcuts.items()},
    }


def _best_guesses(seen, first, train, repeats, majority) -> np.ndarray:
    """Returns the most frequent answer of training given `seen`, [N]."""
    _, codes = np.unique(seen, return_inverse=True)
    width = int(first.max()) + 1
    keys = codes[train] * width + first[train]
    keys, inverse = np.unique(keys, return_inverse=True)
    counts = np.bincount(inverse, weights=repeats[train])
    values, answers = np.divmod(keys, width)
    order = np.lexsort([-answers, counts])  # The last one written stays.
    guesses = np.full(codes.max() + 1, majority)
    guesses[values[order]] = answers[order]
    return guesses[codes]
