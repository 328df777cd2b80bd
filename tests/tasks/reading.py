"""Reads a table's rows back as words, for the oracles of the tests."""

from collections.abc import Iterator

from rdt_jax import tasks
from rdt_jax.tasks import base


def read(table: tasks.Table) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], str]]:
    """Yields (words of the question, words of the answer, split) of each row.

    The question ends where the first answer is read; its answer token is left out.
    Answers that are fed back must stand behind the question, each where the one after
    it is read.
    """
    for index, row in enumerate(table.tokens.tolist()):
        given = int((table.targets[index] != base.NO_TARGET).sum())
        targets = table.targets[index, :given].tolist()
        positions = table.answer_positions[index, :given].tolist()
        first = positions[0]
        assert positions == list(range(first, first + given))
        assert row[first + 1 : first + given] == targets[:-1]
        assert not any(row[first + given :])
        question = [table.vocab[token] for token in row[: first + 1] if token != 0]
        if question[-1] == "<a>":
            question.pop()
        answer = tuple(table.vocab[token] for token in targets)
        yield tuple(question), answer, tasks.SPLITS[table.split[index]]
