"""Modular tables against their definitions in Python integers, pair by pair."""

import collections

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


@pytest.fixture(scope="module", params=DEFINITIONS)
def case(request):
    return request.param, _make(operation=request.param)


def test_every_operation_has_its_definition_here():
    assert set(modular.OPERATIONS) == set(DEFINITIONS)


def test_every_pair_stands_there_once_with_its_answer(case):
    operation, table = case
    holds = DEFINITIONS[operation]
    divisors = range(1 if operation == "divide" else 0, MODULUS)
    possible = {(a, b) for a in range(MODULUS) for b in divisors}
    rows = list(_read(table))
    pairs = collections.Counter((a, b) for a, b, *_ in rows)
    assert pairs == dict.fromkeys(possible, 1)
    for a, b, answer, _ in rows:
        assert 0 <= answer < MODULUS
        assert holds(a, b, answer, MODULUS)
    residues = tuple(str(residue) for residue in range(MODULUS))
    assert table.vocab == ("<pad>", *residues, operation, "=")


@pytest.mark.parametrize("operation", sorted(set(DEFINITIONS) - set(modular.DIVIDING)))
def test_the_modulus_need_be_no_prime_without_division(operation):
    holds = DEFINITIONS[operation]
    rows = list(_read(_make(operation=operation, modulus=12)))
    assert len(rows) == 144
    assert all(holds(a, b, answer, 12) for a, b, answer, _ in rows)


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.4, 0.9])
def test_each_split_is_what_its_name_says(fraction):
    table = _make(train_fraction=fraction)
    rows = list(_read(table))
    train = [(a, b) for a, b, _, split in rows if split == "train"]
    assert len(train) == round(fraction * MODULUS**2)
    first, second = ({pair[side] for pair in train} for side in (0, 1))
    found = collections.Counter()
    for a, b, _, split in rows:
        found[split] += 1
        if split != "train":
            assert split == ("id" if a in first and b in second else "unused")
    assert found["id"] > 0
    assert (found["unused"] > 0) == (fraction <= 0.1)  # Both kinds are tested.
    certificate = table.certificate
    assert certificate.rows == found | {"train_epoch": len(train)}
    assert certificate.atoms == {
        "all": 2 * MODULUS,
        "practiced": len(first) + len(second),
        "never_composed": 2 * MODULUS - len(first) - len(second),
    }
    assert certificate.impure == {"id": 0, "ood": 0}
    assert certificate.held_out.startswith(f"{169 - len(train)} of the 169 pairs")


@pytest.mark.parametrize("modulus", [3, 5, 97])
def test_division_takes_every_prime(modulus):
    table = _make(operation="divide", modulus=modulus, train_fraction=0.5)
    assert len(table.tokens) == modulus * (modulus - 1)
