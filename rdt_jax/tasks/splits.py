"""Which rows a table has and which split each is in: disjoint and complete.

Rows are drawn without repeats, counted out by length, and split by what they need.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rdt_jax import wording
from rdt_jax.tasks import base, limits

VERSION = 1  # of what tasks make with it; a change of their rows is another one

# Up to so many rows, they are numbered and chosen without replacement; beyond, drawn
# until enough of them are distinct, which then hardly takes a second draw.
LARGEST_CHOICE = 2**62
# Unit of a plan -> its word in min_, max_ and max_train_, which is the tag, and in
# sentences.
MANY = {"depth": "depth", "hop": "hops", "length": "length", "count": "operands"}
_SHARES = ("heldout", "heldout_parts", "heldout_pairs")  # arguments of a Rule
EACH = {"hop": "number of hops", "count": "number of operands"}


class Plan(NamedTuple):
    """How many rows of which length; the fields are arguments of every such task."""

    unit: str  # word for it in the arguments: depth, hop, length, count
    first: int  # min_..: the smallest length
    last: int  # max_..: the largest length; beyond `trained`, held-out rows are `depth`
    trained: int  # max_train_..: that of train rows; up to it, held-out rows are `id`
    train: int  # train_per_..: train rows of each trained length
    heldout: int  # heldout_per_..: held-out rows of each length

    @property
    def many(self) -> str:
        """The name of the length, in the arguments and as a tag."""
        return MANY[self.unit]

    @property
    def lengths(self) -> range:
        """The lengths of the rows."""
        return range(self.first, self.last + 1)

    @property
    def held_out(self) -> str:
        """What the model never saw, in words."""
        return (
            f"{wording.count(self.heldout, 'row')} of each "
            f"{EACH.get(self.unit, self.unit)} from {self.first} to {self.last}; "
            f"training has {wording.count(self.train, 'other')} of each up to "
            f"{self.trained}."
        )

    def check(self, smallest: int, *, group: int = 1, takes_first: bool = True) -> None:
        """Raises ValueError unless `smallest <= first <= trained <= last`.

        Numbers of rows must be multiples of `group`, rows that stand together.
        `takes_first` says whether the task has an argument for `first`.
        """
        why = f"min_{self.many} = " if takes_first else ""
        limits.at_least(smallest, **{f"min_{self.many}": self.first})
        limits.at_least(self.first, why, **{f"max_{self.many}": self.last})
        fits = self.first <= self.trained <= self.last
        must = f"be in [{why}{self.first}, max_{self.many} = {self.last}]"
        limits.require(fits, f"max_train_{self.many}", must, self.trained)
        wanted = "at least 1" if group == 1 else f"a positive multiple of {group}"
        for name, rows in (("train", self.train), ("heldout", self.heldout)):
            fits = rows >= 1 and rows % group == 0
            limits.require(fits, f"{name}_per_{self.unit}", f"be {wanted}", rows)

    def check_number(self, most: int, what: str) -> None:
        """Raises ValueError if the shortest rows are more than `most`, all `what`."""
        key = f"train_per_{self.unit} + task.kwargs.heldout_per_{self.unit}"
        must = f"be at most {most}, the number of {what}"
        rows = f"{self.train} + {self.heldout}"
        limits.require(self.train + self.heldout <= most, key, must, rows)

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Counts out rows: of each length some to train on and some to hold out.

        Returns the length of each row, int32 [N], ascending, and whether it is trained,
        bool [N], the trained rows of a length first.
        """
        counts = [
            self.heldout + self.train * (length <= self.trained)
            for length in self.lengths
        ]
        length = np.repeat(np.array(self.lengths, np.int32), counts)
        place = np.concatenate([np.arange(count) for count in counts])
        return length, (length <= self.trained) & (place < self.train)

    def table(
        self,
        tokens: np.ndarray,
        answer_positions: np.ndarray,
        targets: np.ndarray,
        atoms: np.ndarray,
        *,
        lengths: np.ndarray,
        trained: np.ndarray,
        vocab: Sequence[str],
        shortcuts: Mapping[str, np.ndarray],
    ) -> base.Table:
        """Makes the table of rows that were counted out by `rows`, of `lengths` [N].

        Arrays are as `base.certified` takes them. ValueError if training, of the rows
        `trained` bool [N], is too small for any held-out row.
        """
        split = assign(atoms, trained, lengths > self.trained)
        names = ("id", "depth") if self.last > self.trained else ("id",)
        check_heldout(split, names, f"train_per_{self.unit}", self.train)
        return base.certified(
            tokens, answer_positions, targets, split, atoms=atoms, vocab=vocab,
            held_out=self.held_out, tags={self.many: lengths}, shortcuts=shortcuts,
        )  # fmt: skip


class Rule(NamedTuple):
    """How rows that do not say it are split; arguments of tasks from words."""

    seed: int  # seed of what is drawn
    # Share of the rows that could be trained that are `id`, in [0, 1).
    heldout: float = 0.2
    # Share of the parts that are combined in no train row, in [0, 1). Rows that combine
    # only such parts are `ood`, those that combine both kinds are `mixed`.
    heldout_parts: float = 0.0
    # Share of the pairs of parts that stand together in no train row, in [0, 1),
    # instead of `heldout`; rows with one are `id`.
    heldout_pairs: float = 0.0
    # Largest size of a train row; larger ones are `depth`.
    max_train_size: int | None = None

    def assign(
        self, atoms: np.ndarray, sizes: np.ndarray, given: np.ndarray
    ) -> np.ndarray:
        """Says which split each row is in, int8 [N], indices into SPLITS.

        A row of one part is trained where others combine parts. A held-out row of `id`
        or `depth` is `unused` if it needs a part that no train row combines. ValueError
        if an argument is out of range, does nothing, or leaves a split of its own
        without a row.

        Args:
          atoms: int [N, K], the parts of each row, as `base.certify` takes them.
          sizes: int [N].
          given: int8 [N], the split of a row that says it, else -1.
        """
        shares = {name: getattr(self, name) for name in _SHARES}
        limits.share(False, **shares)
        free = given < 0
        for name, value in self._asdict().items():
            unused = name == "seed" or value in (0, None, self._field_defaults[name])
            must = "be left out where every row says its split"
            limits.require(bool(free.any()) or unused, name, must, value)
        fits = self.heldout == 0 or self.heldout_pairs == 0
        must = "be 0 with heldout_pairs, since both make rows `id`"
        limits.require(fits, "heldout", must, self.heldout)
        rng = np.random.default_rng(self.seed)
        counts = (atoms >= 0).sum(axis=1)
        composed = free & (counts > 1)
        longer = np.zeros(len(atoms), bool)
        if self.max_train_size is not None:
            longer = free & (sizes > self.max_train_size)
        withheld = _drawn(rng, self.heldout_parts, atoms[composed], "heldout_parts")
        new = (
            np.isin(atoms, withheld).sum(axis=1) * composed
        )  # [N], such parts in a row
        pairs = _pairs(atoms) if self.heldout_pairs else atoms[:, :0]
        fits = composed & ~longer & (new == 0)
        apart = _drawn(rng, self.heldout_pairs, pairs[fits], "heldout_pairs")
        trained = free & ~longer & (new == 0) & ~np.isin(pairs, apart).any(axis=1)
        choice = np.flatnonzero(trained & (composed if composed.any() else free))
        trained[rng.permutation(choice)[: round(self.heldout * choice.size)]] = False
        split = assign(atoms, trained | (given == base.SPLITS.index("train")), longer)
        split[(new > 0) & (new == counts) & ~longer] = base.SPLITS.index("ood")
        partly = (new > 0) & (new < counts) & ~longer
        split[partly & mixes(atoms, split)] = base.SPLITS.index("mixed")
        split = np.where(free, split, given).astype(np.int8)
        asked = {  # Split -> the argument that says whether it has rows.
            "train": "max_train_size" if longer[free].all() else "heldout",
            "id": "heldout_pairs" if self.heldout_pairs else "heldout",
            "ood": "heldout_parts",
            "depth": "max_train_size",
        }
        for name, key in asked.items():
            value = getattr(self, key)
            is_asked = free.any() and (name == "train" or value not in (0, None))
            there = bool((split == base.SPLITS.index(name)).any())
            must = f"leave {name} rows, of parts that train rows combine"
            limits.require(there or not is_asked, key, must, value)
        return split

    @property
    def held_out(self) -> str:
        """What the model never saw, in words, of rows that do not say it."""
        said = {
            "heldout": "a random {:g} of the rows",
            "heldout_parts": "combinations of a random {:g} of the parts",
            "heldout_pairs": "a random {:g} of the pairs of parts",
            "max_train_size": "rows of a size above {}",
        }
        values = {name: getattr(self, name) for name in said}
        parts = [said[name].format(value) for name, value in values.items() if value]
        return f"{'; '.join(parts) or 'Nothing'}.".capitalize()


def draw_distinct(
    rng: np.random.Generator, sizes: Sequence[int], count: int
) -> np.ndarray:
    """Draws distinct rows, uniformly and in random order, int64 [count, K].

    Column k of a row lies in [0, sizes[k]); `count` is at most the product of `sizes`.
    The generator is consumed.
    """
    number = 1
    for size in sizes:
        number *= int(size)
    if number <= LARGEST_CHOICE:
        codes = rng.choice(number, count, replace=False)
        return np.stack(np.unravel_index(codes, tuple(sizes)), axis=1)
    return until_distinct(count, lambda: rng.integers(0, sizes, (count, len(sizes))))


def until_distinct(count: int, draw: Callable[[], np.ndarray]) -> np.ndarray:
    """Draws rows [n, K] until `count` of them are distinct, and returns these."""
    rows = draw()
    while True:
        _, first = np.unique(rows, axis=0, return_index=True)
        rows = rows[np.sort(first)]
        if len(rows) >= count:
            return rows[:count]
        rows = np.concatenate([rows, draw()])


def assign(atoms: np.ndarray, trained: np.ndarray, longer: np.ndarray) -> np.ndarray:
    """Says which split each row is in, int8 [N], indices into SPLITS.

    Of rows that are not `trained`, bool [N], those that compose parts of which one is
    in no composed training row are `unused`, so that what is held out really asks for
    practiced parts; the rest is `depth` where it is `longer`, bool [N], than all
    trained ones, else `id`. `atoms` are as `base.certify` takes them.
    """
    counts, practiced = _practiced(atoms, trained)
    practiced[-1] = True  # Where a row needs no further part.
    split = np.full(len(atoms), base.SPLITS.index("id"), np.int8)
    split[longer] = base.SPLITS.index("depth")
    for atom in atoms.T:
        split[~practiced[atom] & (counts > 1)] = base.SPLITS.index("unused")
    split[trained] = base.SPLITS.index("train")
    return split


def of_parts(
    atoms: np.ndarray, parts: np.ndarray, key: str, value: float
) -> np.ndarray:
    """Says which split each row is in, int8 [N], where all were drawn for some part.

    What is drawn for `train`, `id` and `depth` is split as `assign` says; `ood` stays
    what it is; `mixed` is that only if it mixes. `parts` are strings [N]; ValueError
    that the argument `key` is too small where nothing is left of `id` or `depth`.
    """
    split = assign(atoms, parts == "train", parts == "depth")
    names = [name for name in ("id", "depth") if (parts == name).any()]
    check_heldout(split, names, key, value)
    split[parts == "ood"] = base.SPLITS.index("ood")
    split[mixes(atoms, split) & (parts == "mixed")] = base.SPLITS.index("mixed")
    return split


def mixes(atoms: np.ndarray, split: np.ndarray) -> np.ndarray:
    """Says which rows need a part that a composed training row has, and one without.

    Returns bool [N], of `atoms` as `base.certify` takes them and `split` int8 [N].
    """
    counts, practiced = _practiced(atoms, split == base.SPLITS.index("train"))
    practiced[-1] = False  # Where a row needs no further part.
    known = sum(practiced[atom].astype(np.int32) for atom in atoms.T)
    return (known > 0) & (known < counts)


def check_heldout(split: np.ndarray, names: Sequence[str], key: str, value: float):
    """Raises ValueError, about `key`, if one of the splits `names` has no row."""
    for name in names:
        limits.require(
            bool((split == base.SPLITS.index(name)).any()),
            key,
            f"be so large that some held-out {name} row asks for practiced parts only",
            value,
        )


def _drawn(rng, share: float, values: np.ndarray, key: str) -> np.ndarray:
    """Draws a share of the different values that are at least 0."""
    choices = np.unique(values[values >= 0])
    number = round(share * choices.size)
    must = f"choose some of {choices.size} {key.removeprefix('heldout_')} and not all"
    limits.require(share == 0 or 0 < number < choices.size, key, must, share)
    return rng.permutation(choices)[:number]


def _pairs(atoms: np.ndarray) -> np.ndarray:
    """Returns the pairs of different parts of each row, int64 [N, P]; -1 for none."""
    one, other = np.triu_indices(atoms.shape[1], 1)
    low = np.minimum(atoms[:, one], atoms[:, other]).astype(np.int64)
    high = np.maximum(atoms[:, one], atoms[:, other])
    return np.where((low >= 0) & (low < high), low * (atoms.max() + 1) + high, -1)


def _practiced(atoms, trained) -> tuple[np.ndarray, np.ndarray]:
    """Returns the parts of each row [N], and whether a composed one is trained on."""
    counts = sum((atom >= 0).astype(np.int32) for atom in atoms.T)
    practiced = np.zeros(int(atoms.max()) + 2, bool)
    for atom in atoms.T:
        practiced[atom[trained & (counts > 1)]] = True
    return counts, practiced
