"""Modular tables: which pairs there are."""

import itertools

import pytest

from rdt_jax.tasks import modular
from tests.tasks.reading import read

MODULUS = 13


def _make(seed=5, **changes):
    kwargs = {"operation": "add", "modulus": MODULUS, "train_fraction": 0.4}
    return modular.modular(seed=seed, **kwargs | changes)


def restate(table):
    """Yields (tags, parts) of each row, for the battery."""
    for (a, operation, b, equals), *_ in read(table):
        assert operation in modular.OPERATIONS and equals == "="
        yield {}, [("first", a), ("second", b)]


@pytest.mark.parametrize("operation", modular.OPERATIONS)
def test_every_pair_stands_there_once(operation):
    table = _make(operation=operation)
    divisors = range(1 if operation == "divide" else 0, MODULUS)
    pairs = [(int(a), int(b)) for (a, _, b, _), *_ in read(table)]
    assert sorted(pairs) == list(itertools.product(range(MODULUS), divisors))
    residues = tuple(str(residue) for residue in range(MODULUS))
    assert table.vocab == ("<pad>", *residues, operation, "=")
    trained = table.certificate.rows["train"]
    assert trained == round(0.4 * len(pairs))
    held_out = f"{len(pairs) - trained} of the {len(pairs)} pairs."
    assert table.certificate.held_out == held_out


@pytest.mark.parametrize("modulus", [3, 5, 97])
def test_division_takes_every_prime(modulus):
    table = _make(operation="divide", modulus=modulus, train_fraction=0.5)
    assert len(table.tokens) == modulus * (modulus - 1)
