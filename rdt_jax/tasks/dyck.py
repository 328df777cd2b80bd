"""Bracket words of several kinds: are they well-formed?

Reference: Jerad et al. (2026), arXiv:2601.01754 (context-free recognition with looped
transformers). Our own sampling.
"""

import numpy as np

from rdt_jax.tasks import base, depths, nesting

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

    Yes and no are equally frequent at every depth: chance is 1/2, and neither the first
    and the last bracket (`ends`) nor the numbers of brackets (`surplus`) give more.

    Args:
      seed: of the rows.
      num_kinds: kinds of brackets, from 2 to len(BRACKETS).
      min_depth: height of the shallowest words, at least 1.
      max_depth: height of the deepest words.
      max_train_depth: height of the deepest train words; held-out rows are `id` up to
        it and `depth` beyond.
      max_side_depth: largest height of a word beside the path of full height.
      train_per_depth: train rows of each height, half of them well-formed.
      heldout_per_depth: held-out rows of each height, half of them well-formed.

    Returns:
      A table with A = 1 and the tag `depth`: rounds of cancelling innermost pairs
      until the word is gone or the exchanged brackets face one another. The shortcut
      `ends` sees the first and the last bracket, `surplus` how many more brackets are
      opened than closed, of each kind.

    Raises:
      ValueError: if an argument is out of range, or there are not so many rows.
    """
    plan = depths.Plan(
        "depth", min_depth, max_depth, max_train_depth, train_per_depth,
        heldout_per_depth,
    )  # fmt: skip
    depths.check(plan, smallest=1, group=2)
    if not 2 <= num_kinds <= len(BRACKETS):
        raise ValueError(
            f"task.kwargs.num_kinds must be in [2, {len(BRACKETS)}], got {num_kinds}."
        )
    nesting.check_side(max_side_depth)
    pairs = [pair.split() for pair in BRACKETS[:num_kinds]]
    words = ("<pad>", *(a for a, _ in pairs), *(b for _, b in pairs), "?", "no", "yes")
    question, no, yes = len(words) - 3, len(words) - 2, len(words) - 1
    marks = len(words) + np.arange(2)  # The two closing brackets, until they are known.

    def expand(rng, depth, count):
        kind = 1 + rng.integers(0, num_kinds, count)
        inside = nesting.arguments(
            rng, depth, rng.integers(1, 4, count), np.zeros(1, np.int64), max_side_depth
        )
        return np.column_stack([kind, inside, kind + num_kinds])

    def draw(rng, depth, count):
        count //= 2
        highest = max(1, min(max_side_depth, depth))
        first = rng.integers(0, num_kinds, count)
        second = (first + rng.integers(1, num_kinds, count)) % num_kinds
        before, behind = -rng.integers(1, highest + 1, (2, count))
        between = -rng.integers(0, 2, count)
        inside = np.full(count, 1 - depth)
        mark, other_mark = (np.full(count, mark) for mark in marks)
        start = np.stack(
            [before, 1 + first, inside, mark, between, 1 + second, inside, other_mark,
             behind, np.full(count, question)],
            axis=1,
        )  # fmt: skip
        rows = np.repeat(nesting.grow(rng, start, expand), 2, axis=0)
        closing = 1 + num_kinds + np.stack([first, second, second, first], axis=1)
        closing = closing.reshape(-1, 2)  # As it should be, and exchanged.
        for place, closed in enumerate(closing.T):
            rows = np.where(rows == marks[place], closed[:, None], rows)
        return rows

    def evaluate(symbols, start, end, around):
        return np.zeros(start.size, np.int64), around * num_kinds + symbols[start] - 1

    brackets = {1 + kind: 1 + num_kinds + kind for kind in range(num_kinds)}

    def read(tokens):
        left, atoms, depth = nesting.reduce(tokens, brackets, evaluate)
        return depths.Reading(np.where(left == question, yes, no), atoms, depth)

    def shortcuts(tokens):
        last = np.take_along_axis(tokens, (tokens != 0).sum(1)[:, None] - 2, axis=1)
        surplus = [
            (tokens == opened).sum(1) - (tokens == closed).sum(1)
            for opened, closed in brackets.items()
        ]
        return {
            "ends": tokens[:, 0] * len(words) + last[:, 0],
            "surplus": base.row_hashes(np.stack(surplus, axis=1)),
        }

    return depths.make_table(
        np.random.default_rng(seed), plan, draw, read, vocab=words,
        answers=np.array([no, yes]), shortcuts=shortcuts, group=2,
    )  # fmt: skip
