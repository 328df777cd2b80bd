"""Rows as people read them: decoded to words, and as JSON objects."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from rdt_jax.tasks.base import NO_TARGET, SPLITS, Table

LAYOUT = ("<pad>", "<sep>", "<a>", "<end>")  # how rows are laid out, no words of them


def decode(table: Table, row: int) -> tuple[list[str], list[str]]:
    """Returns the words of a question and of its answer, without those of LAYOUT.

    Answers that follow the question because they are fed back to the model (teacher
    forcing) are no part of it.
    """
    tokens, targets = table.tokens[row], table.targets[row]
    asked = tokens[: np.count_nonzero(tokens)]
    answer = targets[targets != NO_TARGET]
    end = int(table.answer_positions[row, 0]) + 1
    if np.array_equal(asked[end:], answer[: len(asked[end:])]):
        asked = asked[:end]
    return _words(table, asked), _words(table, answer)


def as_json(table: Table) -> Iterator[dict[str, Any]]:
    """Yields every row as a JSON object, in the order of the table.

    Keys: `split`, `repeats`, `input` and `output` (words joined by spaces), and `tags`
    (a word where the tag has words, else an int).
    """
    for row, split in enumerate(table.split):
        asked, answer = decode(table, row)
        yield {
            "split": SPLITS[split],
            "repeats": int(table.repeats[row]),
            "input": " ".join(asked),
            "output": " ".join(answer),
            "tags": tags(table, row),
        }


def tags(table: Table, row: int) -> dict[str, int | str]:
    """Returns the tags of a row, a word where the tag has words."""
    values = {name: int(values[row]) for name, values in table.tags.items()}
    return {
        name: table.tag_names[name][value] if name in table.tag_names else value
        for name, value in values.items()
    }


def _words(table: Table, tokens: np.ndarray) -> list[str]:
    words = [table.vocab[token] for token in tokens]
    return [word for word in words if word not in LAYOUT]
