"""Finite groups: the product of a word of elements, and operations on two of them.

References: Power et al. (2022), arXiv:2201.02177, Appendix A.1.1 (operations in S5);
Saunshi et al. (2025), arXiv:2502.17416 (composition of n group elements).

Permutations are written as images, and a product `a b` does b first. The code of Power
et al. (openai/grok, grok/data.py) does a first: its `s5` of (a, b) is `ab` of (b, a),
its `s5conj`, which is a^-1 b a here, is `ab_inverse_a` of (a^-1, b), and its `s5aba` is
`aba` of the same pair.
"""

import functools
import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np

from rdt_jax.tasks import base, limits, modular, splits

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
    the `=` token; A = 1, and the tag is `length`, at least 2. Held-out words are `id`
    where words of their length are trained, else `depth`; an atom is an element,
    wherever in the word it stands. A held-out word with an element that no training
    word has is `unused`.

    Chance is 1 / the number of elements of the group. A word without one of its
    elements leaves all products equally likely, so that the shortcuts `first_element`
    and `last_element` score as much but for the sampling of words.

    `family` is a name of FAMILIES: all permutations, the even ones, the symmetries of a
    regular polygon, residues under addition; `degree` is the number of points permuted,
    of corners, or of residues.
    """
    plan = splits.Plan(
        "length", min_length, max_length, max_train_length, train_per_length,
        heldout_per_length,
    )  # fmt: skip
    elements, times = _group(family, degree)
    plan.check(smallest=2)
    most = len(elements) ** min_length  # Each element multiplies the words.
    plan.check_number(most, f"words of {min_length} elements")
    rng = np.random.default_rng(seed)
    lengths, is_train = plan.rows()
    tokens = np.zeros((lengths.size, max_length + 1), np.int32)
    targets = np.zeros(lengths.size, np.int32)
    for length in plan.lengths:
        rows = np.flatnonzero(lengths == length)
        drawn = splits.draw_distinct(rng, length * [len(elements)], rows.size)
        product = drawn[:, 0]
        for element in drawn.T[1:]:
            product = times[product, element]
        tokens[rows, :length] = 1 + drawn
        targets[rows] = 1 + product
    equals = 1 + len(elements)
    all_rows = np.arange(lengths.size)
    tokens[all_rows, lengths] = equals
    return plan.table(
        tokens,
        lengths,
        targets,
        atoms=np.where(tokens < equals, tokens - 1, -1),
        lengths=lengths,
        trained=is_train,
        vocab=("<pad>", *elements, "="),
        shortcuts={
            "first_element": tokens[:, 0],
            "last_element": tokens[all_rows, lengths - 1],
        },
    )


def group_operation(
    *, seed: int, family: str, degree: int, operation: str, train_fraction: float
) -> base.Table:
    """Grokking: complete the table of an operation on two elements of a group.

    Every pair of elements is a row `a op b =`, split as `modular.modular` splits pairs
    of residues. Chance is 1 / the number of elements of the group. The first operand
    alone leaves all of them equally frequent, and so does the second in `ab`; what it
    gives away of other operations, the shortcut `second_operand` says.

    `family` and `degree` are those of `group_composition`, `operation` a name of
    OPERATIONS: the product ab, a conjugated (a b a^-1), or aba.
    """
    limits.one_of(OPERATIONS, operation=operation)
    elements, times = _group(family, degree)
    pairs = np.indices(times.shape).reshape(2, -1).T
    inverse = np.argmax(times == 0, axis=1)  # Element 0 is the identity.
    answers = OPERATIONS[operation](times, inverse, *pairs.T)
    return modular.complete_table(
        pairs, answers, elements, operation, train_fraction, seed
    )


def _group(family, degree) -> tuple[list[str], np.ndarray]:
    """Returns the words of the elements, the identity first, and the table [G, G]."""
    limits.one_of(FAMILIES, family=family)
    permutations = math.factorial(min(max(degree, 0), MAX_ORDER))
    orders = {
        "symmetric": permutations,
        "alternating": permutations // 2,
        "dihedral": 2 * degree,
        "cyclic": degree,
    }
    least, order = FAMILIES[family], orders[family]
    must = f"be at least {least} for {family!r} and give at most {MAX_ORDER} elements"
    limits.require(degree >= least and order <= MAX_ORDER, "degree", must, degree)
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


EXAMPLES = {
    "group_composition": [
        {"family": "symmetric", "degree": 4, "min_length": 2, "max_length": 5,
         "max_train_length": 3, "train_per_length": 23, "heldout_per_length": 7},
        {"family": "alternating"},
        {"family": "dihedral", "degree": 5, "max_length": 3},
        {"family": "cyclic", "degree": 11},
    ],
    "group_operation": [
        {"family": family, "degree": 4, "operation": name, "train_fraction": 0.5}
        for family in ("symmetric", "dihedral")
        for name in OPERATIONS
    ],
}  # fmt: skip


def move_points(question: list[str], table: base.Table) -> list[str]:
    """Moves the points that a group acts on, by one element after the other."""
    images = _images(table.vocab)
    factors = [images[word] for word in question if word in images]
    if "aba" in question:
        factors.append(factors[0])
    if "ab_inverse_a" in question:
        factors.append(tuple(map(factors[0].index, range(len(factors[0])))))
    points = list(range(len(factors[0])))
    for factor in reversed(factors):  # The last element moves first.
        points = [factor[point] for point in points]
    return [element for element, moved in images.items() if moved == tuple(points)]


@functools.lru_cache(maxsize=1)
def _images(vocab: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Returns for each element of a group where it moves the points 0, 1, ..."""
    elements = [word for word in vocab if any(map(str.isdigit, word))]
    if elements[0] not in ("0", "r0"):
        return {element: tuple(map(int, element)) for element in elements}
    degree = len(elements) // len(elements[0])  # A reflection, s, for each turn, r.
    order = {
        e: range(degree) if e[0] != "s" else range(0, -degree, -1) for e in elements
    }
    return {
        e: tuple((int(e.strip("rs")) + i) % degree for i in order[e]) for e in elements
    }


group_composition_oracle = group_operation_oracle = move_points
