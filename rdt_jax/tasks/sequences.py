"""Sequences that ask for one step after another: addition and p-hop induction.

References: Saunshi et al. (2025), arXiv:2502.17416 (n-ary addition, p-hop induction);
Sanford et al. (2024), arXiv:2402.09268 (p-hop induction).
"""

import itertools

import numpy as np

from rdt_jax.tasks import base, limits, oracles, splits

VERSION = 1  # of the tables; a change of their rows is another one

MAX_DIGITS = 9
# Rounds of drawing without a new sequence after which no more are taken to exist.
MAX_ROUNDS = 20


def nary_addition(
    *,
    seed: int,
    num_digits: int,
    max_operands: int,
    max_train_operands: int,
    train_per_count: int,
    heldout_per_count: int,
) -> base.Table:
    """Depth: add more numbers than training ever did.

    A row `d d d + d d d + ... =` has n >= 2 uniform operands, zeros in front included.
    The answer is the sum without zeros in front, its most significant digit first, and
    an end token; it is fed back digit by digit. Held-out rows are `id` where rows of so
    many operands are trained, else `depth`. An atom is a digit in its place (ones,
    tens, ...); a held-out row with one that no training row has is `unused`. The tag is
    `operands`, and A is one more than the digits of the largest sum.

    Differs from the paper: a fixed table of rows instead of fresh ones at every update.

    A sum is right as a whole, so that chance is 1 / the number of different sums in
    training, and less where sums are asked that are not among them. Sums near the
    middle are more frequent; the shortcuts `number_of_operands` and `first_digit` say
    what that gives away.

    An operand has 1 to MAX_DIGITS digits; there are rows of each number of operands
    from 2.
    """
    plan = splits.Plan(
        "count", 2, max_operands, max_train_operands, train_per_count,
        heldout_per_count,
    )  # fmt: skip
    limits.inside(1, MAX_DIGITS, num_digits=num_digits)
    plan.check(smallest=2, takes_first=False)
    plan.check_number(100**num_digits, "rows of two operands")
    operands, is_train = plan.rows()
    rng = np.random.default_rng(seed)
    words = ("<pad>", *"0123456789", "+", "=", "<end>")
    plus, equals, end = (words.index(word) for word in ("+", "=", "<end>"))
    place_values = 10 ** np.arange(num_digits - 1, -1, -1)
    sums = np.zeros(operands.size, np.int64)
    questions = np.zeros((operands.size, max_operands * (num_digits + 1)), np.int32)
    for count in plan.lengths:
        rows = np.flatnonzero(operands == count)
        numbers = splits.draw_distinct(rng, count * [10**num_digits], rows.size)
        sums[rows] = numbers.sum(axis=1)
        question = np.full((rows.size, count, num_digits + 1), plus, np.int32)
        question[:, :, :-1] = 1 + numbers[:, :, None] // place_values % 10
        question[:, -1, -1] = 0
        questions[rows, : count * (num_digits + 1)] = question.reshape(rows.size, -1)
    digits = base.pad([[words.index(digit) for digit in str(total)] for total in sums])
    tokens, positions, targets = base.teacher_forced(questions, digits, equals, end)
    return plan.table(
        tokens,
        positions,
        targets,
        atoms=_digits_used(questions, num_digits),
        lengths=operands,
        trained=is_train,
        vocab=words,
        shortcuts={"number_of_operands": operands, "first_digit": tokens[:, 0]},
    )


def p_hop_induction(
    *,
    seed: int,
    alphabet_size: int,
    length: int,
    min_hops: int,
    max_hops: int,
    max_train_hops: int,
    train_per_hop: int,
    heldout_per_hop: int,
) -> base.Table:
    """Depth: follow more induction hops through a sequence than training ever did.

    A hop goes from a character to the one behind its previous occurrence. A row
    `<hop> ... <hop> c1 ... cT` has one `<hop>` for each hop to make, and asks, at its
    last token, for the character on which they end if the first starts at cT. No
    character follows itself, so no hop stays where it is, and sequences are drawn until
    all hops exist. Held-out rows are `id` where rows of so many hops are trained, else
    `depth`. An atom is a pair of characters, the one that a hop leaves and the one on
    which it ends; a held-out row with one that no training row of several hops has is
    `unused`. A = 1, and the tag is `hops`.

    Differs from the papers: hops are counted out in the row, so that one model can be
    asked for other numbers of them than it was trained on; a fixed table of rows
    instead of fresh ones at every update.

    Chance is 1 / alphabet_size. Who makes the first hop only scores the shortcut
    `one_hop`, and has all that rows of one hop ask for.

    There are at least 3 characters, and a sequence has `length` of them, T, at least
    max_hops + 2.
    """
    plan = splits.Plan(
        "hop", min_hops, max_hops, max_train_hops, train_per_hop, heldout_per_hop
    )
    limits.at_least(3, alphabet_size=alphabet_size)
    plan.check(smallest=1)
    # A hop leads back by at least one character.
    limits.at_least(max_hops + 2, "max_hops + 2 = ", length=length)
    rng = np.random.default_rng(seed)
    hops, is_train = plan.rows()
    words = ("<pad>", "<hop>", *(f"c{i}" for i in range(alphabet_size)))
    tokens = np.zeros((hops.size, max_hops + length), np.int32)
    atoms = np.full((hops.size, max_hops), -1, np.min_scalar_type(-(alphabet_size**2)))
    targets, one_hop = np.zeros((2, hops.size), np.int32)
    for count in plan.lengths:
        rows = np.flatnonzero(hops == count)
        sequences, visited = _draw_sequences(
            rng, alphabet_size, length, count, rows.size
        )
        tokens[rows, :count] = words.index("<hop>")
        tokens[rows, count : count + length] = 2 + sequences
        atoms[rows, :count] = visited[:, :-1] * alphabet_size + visited[:, 1:]
        targets[rows] = 2 + visited[:, -1]
        one_hop[rows] = visited[:, 1]
    return plan.table(
        tokens, hops + length - 1, targets, atoms, lengths=hops, trained=is_train,
        vocab=words, shortcuts={"one_hop": one_hop},
    )  # fmt: skip


def _digits_used(questions, num_digits) -> np.ndarray:
    """Returns the digits of each question in their places, [N, K], off the rows."""
    place = np.arange(questions.shape[1]) % (num_digits + 1)
    is_digit = (questions >= 1) & (questions <= 10)  # Of ten words.
    return np.where(is_digit, 10 * place + questions - 1, -1).astype(np.int8)


def _draw_sequences(
    rng, alphabet_size, length, hops, count
) -> tuple[np.ndarray, np.ndarray]:
    """Returns distinct sequences [count, T] and what they visit [count, 1 + p]."""
    small = np.min_scalar_type(-alphabet_size)
    found: dict[bytes, None] = {}  # A set that keeps its order.
    in_vain = 0
    while len(found) < count:
        number = min(max(count, 1_000), 20_000)
        steps = rng.integers(1, alphabet_size, (number, length), np.int32)
        steps[:, 0] = rng.integers(0, alphabet_size, number)
        drawn = (np.cumsum(steps, axis=1) % alphabet_size).astype(small)
        exists = visit(drawn, alphabet_size, hops)[:, -1] >= 0
        before = len(found)
        found.update((row.tobytes(), None) for row in drawn[exists])
        in_vain = 0 if len(found) > before else in_vain + 1
        if in_vain == MAX_ROUNDS:
            raise ValueError(
                "task.kwargs.train_per_hop + task.kwargs.heldout_per_hop must be at "
                f"most the number of sequences with {hops} hops: {count} asked, "
                f"got {before}; choose a longer task.kwargs.length."
            )
    chosen = b"".join(itertools.islice(found, count))
    sequences = np.frombuffer(chosen, small).reshape(count, length)
    return sequences, visit(sequences, alphabet_size, hops)


def visit(sequences, alphabet_size, hops) -> np.ndarray:
    """Returns the last character and where each hop ends, [n, 1 + p]; -1 where none."""
    length = sequences.shape[1]
    by_place = np.ascontiguousarray(sequences.T).astype(np.int32)  # [T, n]
    rows = np.arange(len(sequences))
    last = np.full((alphabet_size, len(sequences)), -1, np.int32)
    previous = np.empty(by_place.shape, np.int32)
    for place, character in enumerate(by_place):
        previous[place] = last[character, rows]
        last[character, rows] = place
    visited = np.full((len(sequences), 1 + hops), -1, np.int32)
    visited[:, 0] = by_place[-1]
    at = np.full(len(sequences), length - 1)
    exists = np.ones(len(sequences), bool)
    for hop in range(1, 1 + hops):
        exists &= previous[at, rows] >= 0
        at = np.where(exists, previous[at, rows] + 1, at)
        visited[exists, hop] = by_place[at[exists], rows[exists]]
    return visited


EXAMPLES = {
    "nary_addition": [
        {"num_digits": 2, "max_operands": 5, "max_train_operands": 3,
         "train_per_count": 61, "heldout_per_count": 11},
        {"max_operands": 3, "num_digits": 1},
    ],
    "p_hop_induction": [
        {"alphabet_size": 4, "length": 13, "min_hops": 1, "max_hops": 5,
         "max_train_hops": 3, "train_per_hop": 43, "heldout_per_hop": 7},
        {"min_hops": 3, "max_train_hops": 5, "alphabet_size": 3},
    ],
}  # fmt: skip


def nary_addition_oracle(question: list[str]) -> list[str]:
    """Adds the numbers as they are written."""
    numbers = "".join(question).removesuffix("=").split("+")
    return list(str(sum(int(number) for number in numbers)))


def p_hop_induction_oracle(question: list[str]) -> list[str]:
    """Searches back for the character's previous occurrence, once for each `<hop>`."""
    characters = [word for word in question if word != "<hop>"]
    at = len(characters) - 1
    for _ in range(len(question) - len(characters)):
        before = [i for i in range(at) if characters[i] == characters[at]]
        if not before:
            return [oracles.UNKNOWN]
        at = before[-1] + 1
    return [characters[at]]
