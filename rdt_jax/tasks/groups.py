"""Finite groups: the product of a word of elements, and operations on two of them.

References: Power et al. (2022), arXiv:2201.02177, Appendix A.1.1 (operations in S5);
Saunshi et al. (2025), arXiv:2502.17416 (composition of n group elements).

Permutations are written as images, and a product `a b` does b first. The code of Power
et al. (openai/grok, grok/data.py) does a first: its `s5` of (a, b) is `ab` of (b, a),
its `s5conj`, which is a^-1 b a here, is `ab_inverse_a` of (a^-1, b), and its `s5aba` is
`aba` of the same pair.
"""

import itertools
from collections.abc import Callable, Mapping

import numpy as np

from rdt_jax import wording
from rdt_jax.tasks import base, modular, splits

VERSION = 1  # of the tables; a change of their rows is another one

MAX_ORDER = 1_000
# Family -> least degree.
FAMILIES: Mapping[str, int] = {
    "symmetric": 2,
    "alternating": 3,
    "dihedral": 3,
    "cyclic": 2,
}
# Name -> function from the multiplication table [G, G], the inverses [G] and elements
# a, b to the answers.
OPERATIONS: Mapping[str, Callable[..., np.ndarray]] = {
    "ab": lambda times, inverse, a, b: times[a, b],
    "ab_inverse_a": lambda times, inverse, a, b: times[times[a, b], inverse[a]],
    "aba": lambda times, inverse, a, b: times[times[a, b], a],
}


def group_composition(
    *,
    seed: int,
    family: str,
    degree: int,
    min_length: int,
    max_length: int,
    max_train_length: int,
    train_per_length: int,
    heldout_per_length: int,
) -> base.Table:
    """Depth: multiply longer words than training ever did.

    A row `g1 ... gk =` is a uniform word of k elements, and its product is read at
    the `=` token. Held-out words are `id` where words of their length are trained, else
    `depth`; an atom is an element, wherever in the word it stands. A held-out word with
    an element that no training word has is `unused`.

    Chance is 1 / the number of elements of the group. A word without one of its
    elements leaves all products equally likely, so that the shortcuts `first_element`
    and `last_element` score as much but for the sampling of words.

    Args:
      seed: of the words.
      family: a name of FAMILIES: all permutations, the even ones, the symmetries of a
        regular polygon, residues under addition.
      degree: number of points permuted, of corners, or of residues.
      min_length: elements of the shortest words, at least 2.
      max_length: elements of the longest words.
      max_train_length: elements of the longest train words, in [min_length,
        max_length].
      train_per_length: train words of each length.
      heldout_per_length: held-out words of each length.

    Returns:
      A table with A = 1 and the tag `length`.

    Raises:
      ValueError: if an argument is out of range, there are not so many shortest
        words, or training is too small for any held-out word.
    """
    elements, times = _group(family, degree)
    _check_words(
        len(elements), min_length, max_length, max_train_length, train_per_length,
        heldout_per_length,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    lengths, is_train = splits.rows_by_length(
        range(min_length, max_length + 1), max_train_length, train_per_length,
        heldout_per_length,
    )  # fmt: skip
    tokens = np.zeros((lengths.size, max_length + 1), np.int32)
    targets = np.zeros((lengths.size, 1), np.int32)
    for length in range(min_length, max_length + 1):
        rows = np.flatnonzero(lengths == length)
        drawn = splits.draw_distinct(rng, length * [len(elements)], rows.size)
        product = drawn[:, 0]
        for element in drawn.T[1:]:
            product = times[product, element]
        tokens[rows, :length] = 1 + drawn
        targets[rows, 0] = 1 + product
    equals = 1 + len(elements)
    all_rows = np.arange(lengths.size)
    tokens[all_rows, lengths] = equals

    atoms = np.where(tokens < equals, tokens - 1, -1)
    split = splits.assign(atoms, is_train, lengths > max_train_length)
    heldout = ("id", "depth") if max_length > max_train_length else ("id",)
    splits.check_heldout(split, heldout, "train_per_length", train_per_length)
    repeats = np.ones(lengths.size, np.int32)
    positions = lengths[:, None].astype(np.int32)
    certificate = base.certify(
        tokens,
        positions,
        targets,
        split,
        repeats,
        atoms=atoms,
        held_out=(
            f"{wording.count(heldout_per_length, 'word')} of each length from "
            f"{min_length} to {max_length}; training has words of up to "
            f"{max_train_length} elements."
        ),
        shortcuts={
            "first_element": tokens[:, 0],
            "last_element": tokens[all_rows, lengths - 1],
        },
    )
    return base.Table(
        tokens=tokens,
        answer_positions=positions,
        targets=targets,
        split=split,
        repeats=repeats,
        tags={"length": lengths},
        tag_names={},
        vocab=("<pad>", *elements, "="),
        certificate=certificate,
    )


def group_operation(
    *, seed: int, family: str, degree: int, operation: str, train_fraction: float
) -> base.Table:
    """Grokking: complete the table of an operation on two elements of a group.

    Every pair of elements is a row `a op b =`, split as `modular.modular` splits pairs
    of residues.

    Chance is 1 / the number of elements of the group. The first operand alone leaves
    all of them equally frequent, and so does the second in `ab`; what it gives away of
    other operations, the shortcut `second_operand` says.

    Args:
      seed: of the split.
      family: a name of FAMILIES.
      degree: number of points permuted, of corners, or of residues.
      operation: a name of OPERATIONS: the product ab, a conjugated (a b a^-1), or aba.
      train_fraction: share of the pairs that is trained.

    Returns:
      A table with A = 1 and without tags.

    Raises:
      ValueError: if an argument is out of range, or the share leaves a split empty.
    """
    if operation not in OPERATIONS:
        raise ValueError(
            f"task.kwargs.operation must be one of {', '.join(OPERATIONS)}, "
            f"got {operation!r}."
        )
    elements, times = _group(family, degree)
    pairs = np.indices(times.shape).reshape(2, -1).T
    inverse = np.argmax(times == 0, axis=1)  # Element 0 is the identity.
    answers = OPERATIONS[operation](times, inverse, *pairs.T)
    return modular.complete_table(
        pairs, answers, elements, operation, train_fraction, seed
    )


def _group(family, degree) -> tuple[list[str], np.ndarray]:
    """Returns the words of the elements, the identity first, and the table [G, G]."""
    if family not in FAMILIES:
        raise ValueError(
            f"task.kwargs.family must be one of {', '.join(FAMILIES)}, got {family!r}."
        )
    least, order = FAMILIES[family], 1
    if family == "cyclic":
        order = degree
    elif family == "dihedral":
        order = 2 * degree
    else:
        for factor in range(2 if family == "symmetric" else 3, degree + 1):
            order *= factor
            if order > MAX_ORDER:
                break
    if degree < least or order > MAX_ORDER:
        raise ValueError(
            f"task.kwargs.degree must be at least {least} for {family!r} and give at "
            f"most {MAX_ORDER} elements, got {degree}."
        )
    if family in ("symmetric", "alternating"):
        return _permutations(degree, even_only=family == "alternating")
    index = np.arange(order)
    if family == "cyclic":
        return [str(i) for i in index], (index[:, None] + index[None, :]) % order
    # Element i turns by i % degree corners, after a reflection if i >= degree.
    turn, flips = index % degree, index >= degree
    turns = (turn[:, None] + np.where(flips, -1, 1)[:, None] * turn[None, :]) % degree
    times = turns + degree * (flips[:, None] ^ flips[None, :])
    return [f"r{i}" for i in range(degree)] + [f"s{i}" for i in range(degree)], times


def _permutations(degree, even_only) -> tuple[list[str], np.ndarray]:
    images = np.array(list(itertools.permutations(range(degree))))  # [G, degree]
    first, second = np.triu_indices(degree, 1)
    inversions = (images[:, first] > images[:, second]).sum(axis=1)
    if even_only:
        images = images[inversions % 2 == 0]
    powers = degree ** np.arange(degree)
    index = np.zeros(degree**degree, np.int64)
    index[images @ powers] = np.arange(len(images))
    products = images[:, images]  # [G, G, degree]: a after b
    times = index[products @ powers]
    return ["".join(map(str, image)) for image in images], times


def _check_words(order, shortest, longest, longest_train, train, heldout):
    if shortest < 2:
        raise ValueError(f"task.kwargs.min_length must be at least 2, got {shortest}.")
    if longest < shortest:
        raise ValueError(
            "task.kwargs.max_length must be at least min_length = "
            f"{shortest}, got {longest}."
        )
    if not shortest <= longest_train <= longest:
        raise ValueError(
            "task.kwargs.max_train_length must be in [min_length, max_length] = "
            f"[{shortest}, {longest}], got {longest_train}."
        )
    for name, rows in (("train_per_length", train), ("heldout_per_length", heldout)):
        if rows < 1:
            raise ValueError(f"task.kwargs.{name} must be at least 1, got {rows}.")
    if train + heldout > order**shortest:  # Each element multiplies the words.
        raise ValueError(
            "task.kwargs.train_per_length + task.kwargs.heldout_per_length must be at "
            f"most {order**shortest}, the number of words of {shortest} elements, "
            f"got {train} + {heldout}."
        )
