"""Bracket words of several kinds: are they well-formed?

Reference: Jerad et al. (2026), arXiv:2601.01754 (context-free recognition with looped
transformers). Our own sampling.
"""

from typing import NamedTuple

import numpy as np

from rdt_jax.tasks import base, depths, limits, nesting

VERSION = 1  # of the tables; a change of their rows is another one

BRACKETS = ("( )", "[ ]", "{ }", "< >", "⟨ ⟩", "« »", "⌈ ⌉", "⌊ ⌋")


def dyck(
    *,
    seed: int,
    num_kinds: int,
    min_depth: int,
    max_depth: int,
    max_train_depth: int,
    max_side_depth: int,
    train_per_depth: int,
    heldout_per_depth: int,
) -> base.Table:
    """Tells well-formed words of several kinds of brackets from ill-formed ones.

    Well-formedness is asked, and not the next closing bracket, because recognition is
    what has been studied with looped transformers, and because a word can then be
    broken at a chosen depth. A row is a word and `?`; the answer is yes or no. In the
    word stand two pairs of different kinds and of height d beside one another, each
    with a well-formed word of height d - 1 inside, and short words before, between and
    behind. Of each such word there are two rows: in the second, the two pairs have
    exchanged their closing brackets, so that both rows have the same tokens, the same
    number of brackets of each kind and the same shape, and only cancelling innermost
    pairs d - 1 times uncovers the difference.

    An atom is a bracket pair with the kind of the opening bracket around it, if any.
    A = 1, and the tag `depth` counts rounds of cancelling innermost pairs until the
    word is gone or the exchanged brackets face one another. Yes and no are equally
    frequent at every depth: chance is 1/2, and neither the shortcut `ends` (the first
    and the last bracket) nor `surplus` (how many more brackets of each kind are opened
    than closed) gives more.

    There are 2 to len(BRACKETS) kinds; the other arguments are those of `nesting.plan`,
    of the height of words, with as many train and held-out rows of either answer.
    """
    limits.inside(2, len(BRACKETS), num_kinds=num_kinds)
    plan = nesting.plan(
        min_depth, max_depth, max_train_depth, train_per_depth, heldout_per_depth,
        max_side_depth, group=2,
    )  # fmt: skip
    form = _Form(num_kinds, max_side_depth)
    return depths.make_table(
        np.random.default_rng(seed), plan, form.draw, form.read, vocab=form.words,
        answers=form.answers, shortcuts=form.shortcuts, group=2,
    )  # fmt: skip


class _Form(NamedTuple):
    """What rows are made of."""

    num_kinds: int
    max_side_depth: int

    @property
    def words(self) -> tuple[str, ...]:
        """Opening brackets of all kinds, then closing ones, then the question."""
        opening, closing = zip(
            *(pair.split() for pair in BRACKETS[: self.num_kinds]), strict=True
        )
        return "<pad>", *opening, *closing, "?", "no", "yes"

    @property
    def question(self) -> int:
        """The token of the question mark."""
        return 1 + 2 * self.num_kinds

    @property
    def answers(self) -> np.ndarray:
        """The tokens of no and yes."""
        return self.question + np.array([1, 2])

    @property
    def brackets(self) -> dict[int, int]:
        """Maps opening tokens to closing ones."""
        return {1 + kind: 1 + self.num_kinds + kind for kind in range(self.num_kinds)}

    def draw(self, rng, depth, count) -> np.ndarray:
        """Draws pairs of rows of one height, int32 [count, T]."""
        count //= 2
        highest = max(1, min(self.max_side_depth, depth))
        first = rng.integers(0, self.num_kinds, count)
        second = (first + rng.integers(1, self.num_kinds, count)) % self.num_kinds
        before, behind = -rng.integers(1, highest + 1, (2, count))
        between = -rng.integers(0, 2, count)
        inside = np.full(count, 1 - depth)
        # The two closing brackets stand for themselves until they are known.
        marks = self.question + np.array([3, 4])
        mark, other_mark = (np.full(count, mark) for mark in marks)
        start = np.stack(
            [before, 1 + first, inside, mark, between, 1 + second, inside, other_mark,
             behind, np.full(count, self.question)],
            axis=1,
        )  # fmt: skip
        rows = np.repeat(nesting.grow(rng, start, self._expand), 2, axis=0)
        closing = np.stack([first, second, second, first], axis=1)
        closing = 1 + self.num_kinds + closing.reshape(-1, 2)  # Then exchanged.
        for place, closed in enumerate(closing.T):
            rows = np.where(rows == marks[place], closed[:, None], rows)
        return rows

    def _expand(self, rng, depth, count) -> np.ndarray:
        kind = 1 + rng.integers(0, self.num_kinds, count)
        counts, nothing = rng.integers(1, 4, count), np.zeros(1, np.int64)
        inside = nesting.arguments(rng, depth, counts, nothing, self.max_side_depth)
        return np.column_stack([kind, inside, kind + self.num_kinds])

    def read(self, tokens) -> depths.Reading:
        """Cancels innermost pairs until none is left, or two face that do not fit."""
        no, yes = self.answers
        last, atoms, depth = nesting.reduce(tokens, self.brackets, self._evaluate)
        return depths.Reading(np.where(last == self.question, yes, no), atoms, depth)

    def _evaluate(self, symbols, start, end, around):
        atoms = around * self.num_kinds + symbols[start] - 1
        return np.zeros(start.size, np.int64), atoms

    def shortcuts(self, tokens) -> dict[str, np.ndarray]:
        """Returns the ends of each row, and how many more brackets open than close."""
        last = np.take_along_axis(tokens, (tokens != 0).sum(1)[:, None] - 2, axis=1)
        surplus = [
            (tokens == opened).sum(1) - (tokens == closed).sum(1)
            for opened, closed in self.brackets.items()
        ]
        return {
            "ends": tokens[:, 0] * len(self.words) + last[:, 0],
            "surplus": base.row_hashes(np.stack(surplus, axis=1)),
        }


EXAMPLES = {
    "dyck": [
        nesting.EXAMPLE
        | {"num_kinds": 3, "train_per_depth": 62, "heldout_per_depth": 14},
        {"num_kinds": 2, "max_depth": 3},
    ]
}


_CLOSING = dict(zip("([{<⟨«⌈⌊", ")]}>⟩»⌉⌋", strict=True))


def dyck_oracle(question: list[str]) -> list[str]:
    """Keeps a stack of the closing brackets that are still to come."""
    due: list[str] = []
    for word in question[:-1]:
        if word in _CLOSING:
            due.append(_CLOSING[word])
        elif not due or due.pop() != word:
            return ["no"]
    return ["no" if due else "yes"]
