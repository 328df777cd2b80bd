"""Groups: what their elements do to points, and the published tables."""

import collections
import itertools

import numpy as np
import pytest

from rdt_jax.tasks import groups
from tests.tasks.reading import read

WORDS = {
    "family": "symmetric",
    "degree": 4,
    "min_length": 2,
    "max_length": 5,
    "max_train_length": 3,
    "train_per_length": 211,
    "heldout_per_length": 31,
}
TABLE = {
    "family": "symmetric",
    "degree": 4,
    "operation": "ab",
    "train_fraction": 0.5,
}
ORDERS = {("symmetric", 4): 24, ("alternating", 5): 60, ("dihedral", 7): 14}
ORDERS |= {("cyclic", 12): 12, ("symmetric", 2): 2, ("alternating", 3): 3}
ORDERS |= {("dihedral", 3): 6, ("cyclic", 2): 2, ("alternating", 4): 12}


def _make(seed=5, **changes):
    return groups.group_composition(seed=seed, **WORDS | changes)


def _act(word, degree):
    """Returns what an element does to `degree` points, as a tuple of their images."""
    if word[0] == "r":  # Turns a polygon.
        return tuple((i + int(word[1:])) % degree for i in range(degree))
    if word[0] == "s":  # Turns it after a reflection.
        return tuple((int(word[1:]) - i) % degree for i in range(degree))
    if len(word) == degree and sorted(word) == [str(i) for i in range(degree)]:
        return tuple(int(image) for image in word)
    return tuple((i + int(word)) % degree for i in range(degree))


def _product(*factors):
    """Does the last first."""
    points = range(len(factors[0]))
    for factor in reversed(factors):
        points = [factor[point] for point in points]
    return tuple(points)


def restate_group_composition(table):
    """Yields (tags, parts) of each row, for the battery."""
    for (*word, equals), *_ in read(table):
        assert equals == "="
        yield {"length": len(word)}, word


def restate_group_operation(table):
    """Yields (tags, parts) of each row, for the battery."""
    for (first, operation, second, equals), *_ in read(table):
        assert operation in groups.OPERATIONS and equals == "="
        yield {}, [("first", first), ("second", second)]


@pytest.mark.parametrize(("family", "degree"), ORDERS)
def test_a_family_has_its_elements(family, degree):
    table = groups.group_operation(
        seed=5, **TABLE | {"family": family, "degree": degree, "train_fraction": 0.7}
    )
    elements = table.vocab[1:-2]
    acts = {_act(word, degree) for word in elements}
    assert len(elements) == ORDERS[family, degree]
    assert len(acts) == len(elements)
    assert _act(elements[0], degree) == tuple(range(degree))
    if family == "symmetric":
        assert acts == set(itertools.permutations(range(degree)))
    if family == "alternating":  # Products of two swaps make all even permutations.
        swaps = [p for p in itertools.permutations(range(degree)) if _moved(p) == 2]
        even = {tuple(range(degree))}
        for _ in range(degree):
            even |= {_product(p, a, b) for p in even for a in swaps for b in swaps}
        assert acts == even


def _moved(permutation):
    return sum(point != image for point, image in enumerate(permutation))


# What the code of Power et al. answers to images a and b (its products do their left
# factor first), and by which operation and operands ours does.
THEIRS = {
    "s5": (lambda a, b: b[a], "ab", lambda a, b: (b, a)),
    "s5conj": (
        lambda a, b: np.argsort(a)[b[a]],
        "ab_inverse_a",
        lambda a, b: (np.argsort(a), b),
    ),
    "s5aba": (lambda a, b: a[b[a]], "aba", lambda a, b: (a, b)),
}


@pytest.mark.parametrize("name", THEIRS)
def test_the_tables_of_power_et_al_are_ours_by_other_operands(name):
    theirs, operation, operands = THEIRS[name]
    table = groups.group_operation(
        seed=0, family="symmetric", degree=4, operation=operation, train_fraction=0.5
    )
    word = lambda image: "".join(map(str, image))
    ours = {(q[0], q[2]): answer for q, (answer,), *_ in read(table)}
    images = [np.array(image) for image in itertools.permutations(range(4))]
    same = 0
    for a, b in itertools.product(images, repeat=2):
        answer = word(theirs(a, b))
        assert ours[tuple(map(word, operands(a, b)))] == answer
        same += ours[word(a), word(b)] == answer
    # By the same operands only where they commute, but for the last.
    assert (same == len(ours)) == (name == "s5aba")


def test_words_are_drawn_uniformly():
    # Chi-squared with 23 degrees of freedom: above 58 in 1 of 10,000 cases.
    table = _make(train_per_length=500)
    for place in range(5):
        elements = [q[place] for q, *_ in read(table) if len(q) == 6]
        counts = collections.Counter(elements)
        expected = 31 / 24
        assert (
            sum((counts[w] - expected) ** 2 / expected for w in table.vocab[1:25]) < 58
        )
