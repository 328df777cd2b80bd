"""Tasks that are a function in a file of the user's: `reverse.py:reverse`.

The function yields rows (tasks/words.py), or returns a table and is annotated so. A
function beside it, named like it with `_oracle` behind, is its oracle, as in
tasks/oracles.py.
"""

import functools
import hashlib
import os
import pathlib
from collections.abc import Callable

from rdt_jax import config as configs
from rdt_jax.tasks import base, installed, oracles, words

_ORACLE = "_oracle"


def is_file(name: str) -> bool:
    """Says whether a name of a task is that of a function in a file."""
    return ":" in name or name.endswith(".py")


def normalized(name: str) -> str:
    """Returns the name with its path from the working directory, if it is below that.

    So the name in a config, and with it the run, does not depend on how it was typed.
    """
    path, function = _parts(name)
    path, here = os.path.abspath(path), os.getcwd()
    inside = os.path.commonpath([path, here]) == here
    return f"{os.path.relpath(path) if inside else path}:{function}"


def stamp(name: str) -> str:
    """Returns a SHA-256 of the file of a task; empty if it is in none."""
    path = pathlib.Path(_parts(name)[0])
    is_there = is_file(name) and path.is_file()
    return hashlib.sha256(path.read_bytes()).hexdigest() if is_there else ""


def load(name: str) -> Callable[..., base.Table]:
    """Returns the function of a task; it is read again if its file has changed.

    ValueError if the file does not exist, cannot be imported or has no such function,
    whose choices are then listed.
    """
    path, function = _parts(name)
    return _load(os.path.abspath(path), function, stamp(name))[0]


def oracle(name: str) -> oracles.Oracle | None:
    """Returns the oracle of a task; None if its file has none."""
    path, function = _parts(name)
    return _load(os.path.abspath(path), function, stamp(name))[1]


def _parts(name: str) -> tuple[str, str]:
    """Returns path and function of a name; no function if none is given."""
    path, _, function = name.rpartition(":")
    return (path, function) if path and "/" not in function else (name, "")


@functools.lru_cache(maxsize=16)
def _load(
    path: str, name: str, stamp: str
) -> tuple[Callable[..., base.Table], oracles.Oracle | None]:
    if not stamp:
        raise ValueError(
            f"No task file {path}: a task is named by its path from the working "
            f"directory, which is {os.getcwd()}."
        )
    functions = configs.functions_of(configs.load_module(pathlib.Path(path), "task"))
    if name not in functions:
        choices = [k for k in functions if k[0] != "_" and not k.endswith(_ORACLE)]
        raise ValueError(
            f"A task in a file is FILE.py:FUNCTION, and {path} has no function "
            f"{name!r}; choose from {', '.join(choices) or 'none, it has no function'}."
        )
    function = words.task(functions[name])
    must = f"{name} must yield rows, or return a Table and be annotated so"
    is_table = lambda value, **_: isinstance(value, base.Table)
    return installed.guarded(function, must, is_table), oracles.beside(functions[name])
