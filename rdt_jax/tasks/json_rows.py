"""Rows from a file: a JSON object per line, as `rdt tasks export` writes them.

    {"input": "a b c", "output": "c b a", "size": 3}

`rdt train --task=rows --config.task.kwargs.path=FILE` trains on them.
"""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

from rdt_jax.tasks import base, limits, splits, words

VERSION = 1  # of the tables; a change of their rows is another one

_KEYS = ("input", "output", "split", "parts", "size", "repeats", "tags")
_NEEDED = ("input", "output")


def rows(
    *,
    seed: int,
    path: str,
    heldout: float = 0.2,
    heldout_parts: float = 0.0,
    heldout_pairs: float = 0.0,
    max_train_size: int | None = None,
) -> base.Table:
    """Rows of your own, from a file with a JSON object per line.

    An object has `input` and `output`, which are words: a string, split at its spaces,
    or a list. It may have `split`, `parts` (words or a list), `size`, `repeats` and
    `tags` (an object of ints or words), as `words.Row` says. Rows that say no split are
    split as `splits.Rule` says; a row that comes again is repeated. Of a file without
    parts the certificate says nothing of them.

    Args:
      seed: of the split.
      path: of the file, in UTF-8.
      heldout: this and the next three as `splits.Rule` takes them.
      heldout_parts: as `heldout`.
      heldout_pairs: as `heldout`.
      max_train_size: as `heldout`.

    Raises:
      ValueError: if the file is missing, or a line malformed; the message names both.
    """
    file = pathlib.Path(path)
    limits.require(file.is_file(), "path", "be a file with a JSON row per line", path)
    found = dict(_read(file))
    numbers = list(found)
    rule = splits.Rule(seed, heldout, heldout_parts, heldout_pairs, max_train_size)
    name_of = lambda index: f"line {numbers[index]} of {path}"
    return words.make_table(found.values(), rule, name_of)


def _read(file: pathlib.Path) -> Iterator[tuple[int, words.Row]]:
    """Yields the rows of a file with the numbers of their lines, from 1."""
    text = file.read_bytes()
    for number, line in enumerate(text.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, _row(json.loads(line.decode()))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file} line {number}: {error}") from error


def _row(values: Any) -> words.Row:
    if not isinstance(values, dict):
        raise ValueError(f"A row must be a JSON object, got {values!r}.")
    for name in _NEEDED:
        if name not in values:
            raise ValueError(f"A row must have {' and '.join(_NEEDED)}, got no {name}.")
    for name in values:
        if name not in _KEYS:
            raise ValueError(f"Unknown key {name!r}; choose from {', '.join(_KEYS)}.")
    if isinstance(values.get("parts"), list):
        parts = [tuple(p) if isinstance(p, list) else p for p in values["parts"]]
        values = values | {"parts": parts}
    return words.Row(**values)


EXAMPLES = {"rows": [{"path": "sums"}]}
