"""Rows of tables drawn by depth, read back as words for a task's slow oracle."""

import numpy as np


def sentences(table):
    """The words of each row, padding left out."""
    for row in table.tokens:
        yield [table.vocab[token] for token in row if token]


def restate(table, solve, tag):
    """Yields (tags, parts) of each row, for the battery."""
    for words in sentences(table):
        _, depth, atoms = solve(words)
        yield {tag: depth}, atoms


def twins(table):
    """The tokens of each pair of rows that stand together; one is yes and one no."""
    answers = table.targets[:, 0].reshape(-1, 2)
    assert (answers[:, 0] != answers[:, 1]).all()
    np.testing.assert_array_equal(table.split[::2], table.split[1::2])
    return list(zip(table.tokens[::2], table.tokens[1::2], strict=True))
