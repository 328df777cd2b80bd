"""A task's table: rows, where their answers are read, their split, and the proof."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from rdt_jax import config as configs
from rdt_jax import wording

VERSION = 1  # of what tasks make with it; a change of their rows is another one

# The parts of a table; `Table.split` holds indices into this tuple.
#   train   trained on            id     new combinations of practiced parts
#   ood     no part practiced     mixed  some parts practiced (by pattern, no headline)
#   depth   longer than trained   unused in no part
SPLITS = ("train", "id", "ood", "depth", "mixed", "unused")
NO_TARGET = -1
FEW_ROWS = 50  # Accuracies on fewer jump by more than .02 from one row to the next.
# Array of a table -> its axes; all but `split`, of int8, are of int32.
_AXES = {"tokens": "NT", "answer_positions": "NA", "targets": "NA"}


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What a split proves, counted from the rows and not from how they were made.

    Attributes:
      rows: number of rows per split; `train_epoch` counts repeats.
      overlap: pairs of splits ("train/id") -> questions that stand in both; all 0.
      atoms: number of atoms, of those practiced (used by a composed training row),
        and of those never composed in training.
      impure: split -> rows that break its definition (an `id` row with an atom that
        was never practiced, an `ood` row with one that was, a `mixed` row without one
        of each, a `depth` row that has an atom never practiced or is no longer than the
        longest train row); all 0.
      chance: split -> accuracy of a uniform guess among the answers of training; an
        answer of several tokens is one answer, right as a whole.
      majority: split -> accuracy of the most frequent answer of a training epoch.
      last_token: split -> accuracy of the most frequent answer of a training epoch
        given the last token of the question (`questions_of`).
      shortcuts: feature -> split -> accuracy of the most frequent answer of a training
        epoch given that feature of the row alone, which a task names to show what it
        gives away.
      held_out: parts or rows that the model never saw, in words.
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

    @property
    def warnings(self) -> list[str]:
        """What makes the accuracies of a part coarse, in words."""
        return [
            f"{split} has {wording.count(count, 'row')}, fewer than {FEW_ROWS}: one of "
            f"them is {1 / count:.2g} of its accuracy"
            for split, count in self.rows.items()
            if split in SPLITS[:-1] and count < FEW_ROWS
        ]


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
      certificate: proof of the split.
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
        _check_arrays(
            tokens=self.tokens,
            answer_positions=self.answer_positions,
            targets=self.targets,
            split=self.split,
            repeats=self.repeats,
            **{f"tag {name}": values for name, values in self.tags.items()},
        )
        problems = []
        if not self.tokens.max() < len(self.vocab):
            problems.append("tokens must lie in the vocabulary.")
        if not self.targets.max() < len(self.vocab):
            problems.append("targets must lie in the vocabulary.")
        are_words = all(isinstance(word, str) and word for word in self.vocab)
        if not are_words or len(set(self.vocab)) < len(self.vocab):
            problems.append(
                "the words of the vocabulary must be distinct and not empty."
            )
        for name, words in self.tag_names.items():
            values = self.tags.get(name, np.array(-1))
            if not 0 <= values.min() <= values.max() < len(words):
                problems.append(f"tag {name} has values without a word, or none.")
        if not isinstance(self.certificate, Certificate):
            problems.append("certificate must be what `certify` returns.")
        configs.raise_problems(problems, "table")
        fields = (getattr(self, field.name) for field in dataclasses.fields(self))
        for array in (*fields, *self.tags.values()):
            if isinstance(array, np.ndarray):
                array.flags.writeable = False

    def rows_of(self, split: str) -> np.ndarray:
        """Returns the sorted rows of a split, int64 [n]; ValueError if unknown."""
        if split not in SPLITS:
            raise ValueError(
                f"Unknown split {split!r}; choose from {', '.join(SPLITS)}."
            )
        return np.flatnonzero(self.split == SPLITS.index(split))


def uniform(rng: np.random.Generator) -> Iterator[float]:
    """Yields numbers in [0, 1), drawn many at a time: ten times as fast as one by one.

    Nothing else draws from `rng` afterwards.
    """
    while True:
        yield from rng.random(2**14).tolist()


def pad(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Returns rows of tokens as int32 [N, T], padded with 0 to the longest."""
    lengths = np.array([len(row) for row in rows])
    padded = np.zeros((len(rows), lengths.max()), np.int32)
    flat = np.fromiter(itertools.chain.from_iterable(rows), np.int32)
    padded[np.arange(lengths.max()) < lengths[:, None]] = flat
    return padded


def teacher_forced(
    questions: np.ndarray, answers: np.ndarray, separator: int, end: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lays out rows whose answer is a sequence: question, separator, answer.

    The first token of the answer is read at the separator, every further one at the
    token before it, and `end`, which stands in no row, at the last. Under a causal mask
    all of them are right exactly when greedy decoding gives the answer.

    The questions are int32 [N, Q] and the answers int32 [N, A - 1], padded with 0 at
    the end. Returns tokens int32 [N, T], answer_positions int32 [N, A], targets int32
    [N, A].
    """
    rows = np.arange(len(questions))
    asked, given = (questions != 0).sum(axis=1), (answers != 0).sum(axis=1)  # [N]
    tokens = np.zeros((rows.size, (asked + 1 + given).max()), np.int32)
    tokens[:, : questions.shape[1]] = questions
    tokens[rows, asked] = separator
    row, place = np.nonzero(answers)
    tokens[row, asked[row] + 1 + place] = answers[row, place]
    targets = np.full((rows.size, answers.shape[1] + 1), NO_TARGET, np.int32)
    targets[row, place] = answers[row, place]
    targets[rows, given] = end
    positions = asked[:, None] + np.arange(targets.shape[1])
    positions[targets == NO_TARGET] = 0
    return tokens, positions.astype(np.int32), targets


def certified(
    tokens: np.ndarray,
    answer_positions: np.ndarray,
    targets: np.ndarray,
    split: np.ndarray,
    *,
    atoms: np.ndarray,
    held_out: str,
    vocab: Sequence[str],
    repeats: np.ndarray | None = None,
    tags: Mapping[str, np.ndarray] | None = None,
    tag_names: Mapping[str, tuple[str, ...]] | None = None,
    lengths: np.ndarray | None = None,
    shortcuts: Mapping[str, np.ndarray] | None = None,
) -> Table:
    """Makes a table with its certificate; ValueError if it refuses the arrays.

    Arguments are as in a Table and as `certify` takes them, but integers may be of any
    type; rows of one answer may have `answer_positions` and `targets` of [N], and None
    stands for rows that are not repeated, and for no tags.
    """
    rows = len(tokens)
    if repeats is None:
        repeats = np.ones(rows, np.int32)
    arrays = (
        tokens,
        answer_positions.reshape(rows, -1).astype(np.int32),
        targets.reshape(rows, -1).astype(np.int32),
        split,
        repeats.astype(np.int32),
    )
    certificate = certify(
        *arrays, atoms, held_out, lengths=lengths, shortcuts=shortcuts
    )
    tags = {name: tag.astype(np.int32) for name, tag in (tags or {}).items()}
    return Table(*arrays, tags, tag_names or {}, tuple(vocab), certificate)


def questions_of(
    tokens: np.ndarray, answer_positions: np.ndarray, targets: np.ndarray
) -> np.ndarray:
    """Returns what rows ask, int32 [N, T]: their tokens, 0 where they are no question.

    No part of it are answers that are fed back behind the first answer's position, what
    follows the last one, and a token that is read for the first answer in every row: a
    separator. The arguments are those of a Table.
    """
    first, last = answer_positions[:, :1], answer_positions.max(axis=1, keepdims=True)
    at = np.arange(tokens.shape[1], dtype=np.int32)  # Rows can be many and wide.
    behind = at - first - 1  # [N, T], which answer would be fed back here.
    answers = np.pad(targets, [(0, 0), (0, 1)], constant_values=NO_TARGET)
    fed = np.take_along_axis(answers, np.clip(behind, 0, targets.shape[1]), axis=1)
    is_fed = ((behind < 0) | (tokens == 0) | (tokens == fed)).all(axis=1)
    asked = (at <= last) & ((behind < 0) | ~is_fed[:, None])
    read = np.take_along_axis(tokens, first, axis=1)
    if (read == read[0]).all():
        asked &= at != first
    return np.where(asked, tokens, 0)


def certify(
    tokens: np.ndarray,
    answer_positions: np.ndarray,
    targets: np.ndarray,
    split: np.ndarray,
    repeats: np.ndarray,
    atoms: np.ndarray,
    held_out: str,
    *,
    lengths: np.ndarray | None = None,
    shortcuts: Mapping[str, np.ndarray] | None = None,
) -> Certificate:
    """Counts what a split proves; ValueError if a table refuses the arrays.

    Args:
      tokens: int32 [N, T], this and the next four as the table has them.
      answer_positions: int32 [N, A].
      targets: int32 [N, A].
      split: int8 [N].
      repeats: int32 [N].
      atoms: int [N, K], the parts that each row needs, -1 where it needs fewer; a row
        of one part is that part itself, a row of more composes them. A part that is
        needed twice counts twice. Where no row has any, nothing is known of them.
      held_out: parts or rows that the model never saw, in words.
      lengths: int [N], how long each row is, read off the rows (steps one after
        another, where a row also needs parts side by side); None: its number of atoms.
      shortcuts: name -> int [N], a feature of the rows whose worth is to be shown.
    """
    _check_arrays(
        tokens=tokens,
        answer_positions=answer_positions,
        targets=targets,
        split=split,
        repeats=repeats,
    )
    parts = {name: split == SPLITS.index(name) for name in SPLITS}
    names = [name for name in SPLITS if parts[name].any()]
    questions = questions_of(tokens, answer_positions, targets)
    keys = _repeated_rows(questions, parts)
    counted, impure = _count_atoms(atoms, parts, lengths)
    last = _last_token(questions)
    return Certificate(
        rows={name: int(parts[name].sum()) for name in names}
        | {"train_epoch": int(repeats[parts["train"]].sum())},
        overlap={
            f"{a}/{b}": len(keys[a] & keys[b])
            for a, b in itertools.combinations(names, 2)
        },
        atoms=counted,
        impure=impure,
        held_out=held_out,
        **_baselines(last, targets, parts, repeats, shortcuts or {}),
    )


def _count_atoms(atoms, parts, lengths) -> tuple[dict[str, int], dict[str, int]]:
    """Returns `atoms` and `impure` of a certificate.

    Atom by atom, since rows can be many and wide; index -1 is the last of the marks.
    """
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
    if parts["mixed"].any():
        pure = ((known == 0) | (known == counts)) & (counts > 0)
        impure["mixed"] = int((parts["mixed"] & pure).sum())
    if parts["depth"].any():
        broken = known < counts
        if lengths is None and counts.any():
            lengths = counts
        if lengths is not None:  # Else nothing is known of them.
            broken |= lengths <= lengths[parts["train"]].max()
        impure["depth"] = int((parts["depth"] & broken).sum())
    counted = {
        "all": int(exists.sum()),
        "practiced": int(practiced.sum()),
        "never_composed": int((exists & ~practiced).sum()),
    }
    return counted, impure


def _check_arrays(**arrays: np.ndarray) -> None:
    """Raises ValueError with what is wrong with the arrays and tags of a table."""
    problems = []
    sizes: dict[str, int] = {}
    for name, array in arrays.items():
        axes = _AXES.get(name, "N")
        shape, dtype = np.shape(array), type(array).__name__
        dtype = str(array.dtype) if isinstance(array, np.ndarray) else dtype
        wanted = "int8" if name == "split" else "int32"
        if len(shape) == len(axes):
            sizes = dict(zip(axes, shape, strict=True)) | sizes
        expected = [sizes.get(axis) for axis in axes]
        if list(shape) != expected or dtype != wanted or not np.size(array):
            shown = ", ".join(f"{a}={sizes[a]}" if sizes.get(a) else a for a in axes)
            problems.append(
                f"{name} must be {wanted} [{shown}], got {dtype} {[*shape]}."
            )
    configs.raise_problems(problems, "table")  # What follows relies on it.
    tokens, positions, targets = (arrays[name] for name in _AXES)
    used, given = tokens != 0, targets != NO_TARGET
    train = arrays["split"] == SPLITS.index("train")
    if tokens.min() < 0:
        problems.append("tokens must lie in the vocabulary.")
    if (used[:, 1:] > used[:, :-1]).any() or not used[:, 0].all():
        problems.append("padding (token 0) must stand at the ends of rows only.")
    if not given[:, 0].all() or (given[:, 1:] > given[:, :-1]).any():
        problems.append(f"a row needs an answer, and none after the first {NO_TARGET}.")
    if (targets[given] < 1).any():
        problems.append("targets must be words, and not padding.")
    if not 0 <= positions.min() <= positions.max() < tokens.shape[1]:
        problems.append("answer_positions must lie in the row.")
    if (positions[~given] != 0).any():
        problems.append("answer_positions must be 0 where there is no answer.")
    if not 0 <= arrays["split"].min() <= arrays["split"].max() < len(SPLITS):
        problems.append(f"split must be indices of {', '.join(SPLITS)}.")
    if not train.any():
        problems.append("there must be train rows.")
    if (arrays["repeats"][train] < 1).any():
        problems.append("repeats must be at least 1 in train rows.")
    configs.raise_problems(problems, "table")


def row_hashes(rows: np.ndarray) -> np.ndarray:
    """Returns a number for every row of [N, T], uint64 [N].

    Zeros at the end of a row change nothing; the number of a row of one is itself.
    """
    hashes = np.zeros(len(rows), np.uint64)
    power = np.ones(1, np.uint64)
    for column in rows.T:
        hashes += column.astype(np.uint64) * power
        power *= np.uint64(0x9E3779B97F4A7C15)  # Wraps around.
    return hashes


def _repeated_rows(rows, parts) -> dict[str, set[bytes]]:
    # Only rows that share their hash with another row can be equal to one: few or none.
    hashes = row_hashes(rows)
    ordered = np.sort(hashes)
    candidate = np.isin(hashes, ordered[1:][ordered[1:] == ordered[:-1]])
    return {
        name: {row.tobytes() for row in rows[mask & candidate]}
        for name, mask in parts.items()
    }


def _last_token(questions) -> np.ndarray:
    last = questions[:, 0]
    for column in questions.T:
        last = np.where(column != 0, column, last)
    return last


def _baselines(last, targets, parts, repeats, shortcuts) -> dict[str, dict]:
    train = parts["train"]
    values, answer = np.unique(row_hashes(targets), return_inverse=True)  # [N]
    majority = np.bincount(answer[train], weights=repeats[train]).argmax()
    scored = {name: mask for name, mask in parts.items() if mask.any()}

    def score(right: np.ndarray) -> dict[str, float]:
        return {name: float(right[mask].mean()) for name, mask in scored.items()}

    def score_feature(feature: np.ndarray) -> dict[str, float]:
        _, of_row = np.unique(feature, return_inverse=True)
        # The pairs that training has, feature by feature, the most frequent first.
        pairs, pair = np.unique(
            of_row[train] * values.size + answer[train], return_inverse=True
        )
        seen, answers = np.divmod(pairs, values.size)
        order = np.lexsort((answers, -np.bincount(pair, weights=repeats[train]), seen))
        known, first = np.unique(seen[order], return_index=True)
        best = np.full(of_row.max() + 1, majority)
        best[known] = answers[order][first]
        return score(answer == best[of_row])

    trained = np.bincount(answer[train], minlength=values.size) > 0
    return {
        "chance": {
            name: share / int(trained.sum())
            for name, share in score(trained[answer]).items()
        },
        "majority": score(answer == majority),
        "last_token": score_feature(last),
        "shortcuts": {name: score_feature(f) for name, f in shortcuts.items()},
    }
