"""Rows from a file: a JSON object per line, as `rdt tasks export` writes them.

    {"input": "a b c", "output": "c b a", "size": 3}

`rdt train --task=rows --config.task.kwargs.path=FILE` trains on them.
"""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

from rdt_jax.tasks import limits
from rdt_jax.tasks.words import Row

VERSION = 1  # of the tables; a change of their rows is another one

_KEYS = ("input", "output", "split", "parts", "size", "repeats", "tags")


def rows(*, path: str) -> Iterator[Row]:
    """Rows of your own, from a file with a JSON object per line.

    An object has `input` and `output`, which are words: a string, split at its spaces,
    or a list. It may have `split`, `parts` (words or a list), `size`, `repeats` and
    `tags` (an object of ints or words), as `words.Row` says. Of a file without parts
    the certificate says nothing of them. `path` is that of the file, in UTF-8; what is
    wrong in it is a ValueError that names file and line.
    """
    file = pathlib.Path(path)
    limits.require(file.is_file(), "path", "be a file with a JSON row per line", path)
    text = file.read_bytes().removeprefix(b"\xef\xbb\xbf")  # A byte-order mark.
    limits.require(bool(text.strip()), "path", "be a file with rows", path)
    for number, line in enumerate(text.split(b"\n"), 1):
        name = f"{file} line {number}"
        if line.strip():
            try:
                row = _row(json.loads(line.decode(), object_pairs_hook=_once), name)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{name}: {error}") from error
            yield row


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = ", ".join(key for key, _ in pairs)
        raise ValueError(f"An object must have each key once, got {keys}.")
    return values


def _row(values: Any, name: str) -> Row:
    if not isinstance(values, dict):
        raise ValueError(
            f"A row must be a JSON object, one per line, got {str(values)[:60]}."
        )
    for key in _KEYS[:2]:
        if key not in values:
            raise ValueError(
                f"A row must have {' and '.join(_KEYS[:2])}, got no {key}."
            )
    for key in values:
        if key not in _KEYS:
            raise ValueError(f"Unknown key {key!r}; choose from {', '.join(_KEYS)}.")
    if isinstance(values.get("parts"), list):
        parts = [tuple(p) if isinstance(p, list) else p for p in values["parts"]]
        values = values | {"parts": parts}
    return Row(**values, name=name)


EXAMPLES = {"rows": [{"path": "sums"}]}
