"""Modular tables against their definitions in Python integers, pair by pair."""

import itertools

import pytest

from rdt_jax import tasks
from rdt_jax.tasks import modular

# Operation -> whether c is the answer to (a, b); a quotient is what b must be times.
DEFINITIONS = {
    "add": lambda a, b, c, p: (c - a - b) % p == 0,
    "subtract": lambda a, b, c, p: (c + b - a) % p == 0,
    "divide": lambda a, b, c, p: b != 0 and (c * b - a) % p == 0,
    "divide_if_odd_else_subtract": lambda a, b, c, p: (
        ((c * b - a) if b % 2 else (c + b - a)) % p == 0
    ),
    "a2_b2": lambda a, b, c, p: c == (a * a + b * b) % p,
    "a2_ab_b2": lambda a, b, c, p: c == (a * a + a * b + b * b) % p,
    "a2_ab_b2_a": lambda a, b, c, p: c == (a * a + a * b + b * b + a) % p,
    "a3_ab": lambda a, b, c, p: c == (a * a * a + a * b) % p,
    "a3_ab2_b": lambda a, b, c, p: c == (a * a * a + a * b * b + b) % p,
}
MODULUS = 13


def _make(seed=5, **changes):
    kwargs = {"operation": "add", "modulus": MODULUS, "train_fraction": 0.4}
    return modular.modular(seed=seed, **kwargs | changes)


def _read(table):
    """Yields (a, b, answer, split) of each row; checks the words between them."""
    for index, tokens in enumerate(table.tokens.tolist()):
        a, operation, b, equals = (table.vocab[token] for token in tokens)
        assert operation in modular.OPERATIONS
        assert equals == "="
        assert table.vocab[tokens[table.answer_positions[index, 0]]] == "="
        answer = int(table.vocab[table.targets[index, 0]])
        yield int(a), int(b), answer, tasks.SPLITS[table.split[index]]


def restate(table):
    """Yields (answer, tags, parts) of each row, for the battery."""
    operation, modulus = table.vocab[-2], len(table.vocab) - 3
    for a, b, answer, _ in _read(table):
        assert DEFINITIONS[operation](a, b, answer, modulus)
        yield (str(answer),), {}, [("first", a), ("second", b)]


@pytest.mark.parametrize("operation", DEFINITIONS)
def test_every_pair_stands_there_once(operation):
    table = _make(operation=operation)
    divisors = range(1 if operation == "divide" else 0, MODULUS)
    pairs = [(a, b) for a, b, *_ in _read(table)]
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
