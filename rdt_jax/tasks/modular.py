"""Modular arithmetic: fill in the table of a binary operation on residues.

Reference: Power et al. (2022), arXiv:2201.02177, Appendix A.1.1; its compositions in
the symmetric group S5 are in groups.py.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rdt_jax.tasks import base, limits, splits

VERSION = 1  # of the tables; a change of their rows is another one

# Name -> function from int64 residues a, b and the modulus to an integer congruent to
# the answer. a ranges over all residues; b does, except as a divisor.
OPERATIONS: Mapping[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "add": lambda a, b, modulus: a + b,
    "subtract": lambda a, b, modulus: a - b,
    "divide": lambda a, b, modulus: a * _inverses(modulus)[b],
    "divide_if_odd_else_subtract": lambda a, b, modulus: np.where(
        b % 2 == 1, a * _inverses(modulus)[b], a - b
    ),
    "a2_b2": lambda a, b, modulus: a**2 + b**2,
    "a2_ab_b2": lambda a, b, modulus: a**2 + a * b + b**2,
    "a2_ab_b2_a": lambda a, b, modulus: a**2 + a * b + b**2 + a,
    "a3_ab": lambda a, b, modulus: a**3 + a * b,
    "a3_ab2_b": lambda a, b, modulus: a**3 + a * b**2 + b,
}
DIVIDING = ("divide", "divide_if_odd_else_subtract")
MOST_RESIDUES = 4_096  # 16.8 M rows


def modular(
    *, seed: int, operation: str, modulus: int, train_fraction: float
) -> base.Table:
    """Grokking: complete the table of an operation from a random part of it.

    Every pair of residues (a, b) is a row `a op b =` of T = 4 tokens, and its answer
    is read at the `=` token, A = 1. A random share of the pairs is trained, the rest is
    `id`. The two positions share their residue tokens; an atom is a residue in a
    position.

    Differs from the paper: an untrained row with an operand that no training row has
    in that position is `unused`, so that `id` really asks for practiced parts.

    Chance is 1 / modulus. One operand of a sum or a difference leaves all residues
    equally frequent; what it gives away of other operations, the shortcuts
    `first_operand` and `second_operand` say.

    `operation` is a name of OPERATIONS: sums, quotients, or a polynomial by its terms
    (`a3_ab2_b` is a^3 + a b^2 + b). `modulus` is a prime if the operation divides.
    """
    limits.one_of(OPERATIONS, operation=operation)
    why = ", since all pairs of residues are rows"
    limits.inside(2, MOST_RESIDUES, why, modulus=modulus)
    divisors = range(2, int(modulus**0.5) + 1)
    can_divide = operation not in DIVIDING or all(modulus % d for d in divisors)
    limits.require(can_divide, "modulus", f"be a prime for {operation!r}", modulus)
    a, b = np.divmod(np.arange(modulus**2), modulus)
    if operation == "divide":
        a, b = a[b != 0], b[b != 0]
    answers = OPERATIONS[operation](a, b, modulus) % modulus

    residues = [str(residue) for residue in range(modulus)]
    pairs = np.stack([a, b], axis=1)
    return complete_table(pairs, answers, residues, operation, train_fraction, seed)


def complete_table(
    pairs: np.ndarray,
    answers: np.ndarray,
    elements: Sequence[str],
    operation: str,
    train_fraction: float,
    seed: int,
) -> base.Table:
    """Makes the rows `a op b =` of a binary operation, split as `modular` says.

    The operands int [N, 2] and the answers int [N] are indices of `elements`, which are
    words, as `operation` is. ValueError if `train_fraction` is out of range or leaves a
    split empty.
    """
    limits.share(True, train_fraction=train_fraction)
    num_rows = len(pairs)
    num_train = round(train_fraction * num_rows)
    limits.require(
        1 <= num_train < num_rows,
        "train_fraction",
        f"train at least one of the {num_rows} pairs and leave at least one untrained",
        train_fraction,
    )
    words = ("<pad>", *elements, operation, "=")
    tokens = np.empty((num_rows, 4), np.int32)
    tokens[:, [0, 2]] = 1 + pairs
    tokens[:, 1] = words.index(operation)
    tokens[:, 3] = words.index("=")
    atoms = tokens[:, [0, 2]] - 1 + np.array([0, len(elements)])
    is_train = np.zeros(num_rows, bool)
    is_train[np.random.default_rng(seed).permutation(num_rows)[:num_train]] = True
    split = splits.assign(atoms, is_train, longer=np.zeros(num_rows, bool))
    splits.check_heldout(split, ("id",), "train_fraction", train_fraction)
    return base.certified(
        tokens,
        np.full(num_rows, 3),
        1 + answers,
        split,
        atoms=atoms,
        held_out=f"{num_rows - num_train} of the {num_rows} pairs.",
        vocab=words,
        shortcuts={"first_operand": tokens[:, 0], "second_operand": tokens[:, 2]},
    )


def _inverses(modulus) -> np.ndarray:
    """Returns the inverse of every residue, int64 [modulus], and 0 for 0."""
    return np.array([0, *(pow(b, -1, modulus) for b in range(1, modulus))])


EXAMPLES = {
    "modular": [
        {"operation": operation, "modulus": 7, "train_fraction": 0.4}
        for operation in OPERATIONS
    ]
}


def modular_oracle(question: list[str], table: base.Table) -> list[str]:
    """Tries every residue until one solves the equation."""
    solves: dict[str, Callable[[int, int, int], int]] = {  # a, b, answer -> 0 mod p
        "add": lambda a, b, c: c - a - b,
        "subtract": lambda a, b, c: c + b - a,
        "divide": lambda a, b, c: c * b - a,
        "divide_if_odd_else_subtract": lambda a, b, c: (
            c * b - a if b % 2 else c + b - a
        ),
        "a2_b2": lambda a, b, c: c - a**2 - b**2,
        "a2_ab_b2": lambda a, b, c: c - a**2 - a * b - b**2,
        "a2_ab_b2_a": lambda a, b, c: c - a**2 - a * b - b**2 - a,
        "a3_ab": lambda a, b, c: c - a**3 - a * b,
        "a3_ab2_b": lambda a, b, c: c - a**3 - a * b**2 - b,
    }
    residues = [word for word in table.vocab if word.isdecimal()]
    a, operation, b, _ = question
    rest = functools.partial(solves[operation], int(a), int(b))
    return [c for c in residues if rest(int(c)) % len(residues) == 0]
