"""What makes two tables the same: their arrays, and the code they are made from."""

import functools
import hashlib
import inspect
import json
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rdt_jax.tasks.base import Table

ARRAYS = ("tokens", "answer_positions", "targets", "split", "repeats")


def hash_arrays(table: Table) -> str:
    """Returns the SHA-256 of a table's arrays, tags and words; not of its certificate.

    Two tables with equal hashes train equal models.
    """
    arrays = {name: getattr(table, name) for name in ARRAYS}
    arrays |= {f"tags/{name}": values for name, values in table.tags.items()}
    digest = hashlib.sha256()
    digest.update(json.dumps([table.vocab, dict(table.tag_names)]).encode())
    for name, values in arrays.items():
        little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        digest.update(f"{name} {values.dtype.str[1:]} {values.shape}".encode())
        digest.update(little.data)
    return digest.hexdigest()


def hash_code(function: Callable[..., Table], kwargs: Mapping[str, Any]) -> str:
    """Returns a SHA-256 that changes whenever a task may make another table.

    It covers the VERSION of a task's module of this package, or every file of another
    package (or the file) that `function` is from, with the VERSION of every module in
    `rdt_jax.tasks` that it may build on; the version of numpy, whose generators may
    change with it; and the file, or files of the folder, that an argument named `path`
    points to.
    """
    module = sys.modules[inspect.unwrap(function).__module__]
    paths: list[pathlib.Path] = []
    digest = hashlib.sha256(np.__version__.encode())
    if is_own(function):
        digest.update(f"{module.__name__} {module.VERSION}".encode())
    else:
        paths += sources(module.__name__)
        digest.update(json.dumps(_versions()).encode())
    if "path" in kwargs and kwargs["path"] is not None:
        path = pathlib.Path(kwargs["path"])
        paths += [path] if path.is_file() else _files(path)
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)} ".encode() + content)
    return digest.hexdigest()


def is_own(function: Callable[..., Any]) -> bool:
    """Says whether a function is of this package, and not of a user's."""
    return inspect.unwrap(function).__module__.startswith("rdt_jax.")


def _versions() -> dict[str, int]:
    """Returns the VERSION of each module of tasks, and of helpers of tasks, by name."""
    return {
        name: module.VERSION
        for name, module in sorted(sys.modules.items())
        if name.startswith("rdt_jax.tasks.") and hasattr(module, "VERSION")
    }


@functools.cache
def sources(module: str) -> tuple[pathlib.Path, ...]:
    """Returns the files of the user's package, or the file, that a module is from."""
    top = inspect.getsourcefile(sys.modules[module.partition(".")[0]])
    path = pathlib.Path(top or inspect.getfile(sys.modules[module]))
    return tuple(_files(path.parent)) if path.name == "__init__.py" else (path,)


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
