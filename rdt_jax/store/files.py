"""Files that a reader sees whole, old or new, also after the machine lost its power."""

import json
import os
import pathlib
import platform
import re
from typing import Any

from rdt_jax import config as configs

read_json = configs.read_json  # Configs are read by it, in a layer below.


def write_text(path: pathlib.Path, text: str) -> None:
    """Replaces the text of a file."""
    replace(path, text.encode())


def replace(path: pathlib.Path, content: bytes) -> None:
    """Replaces the content of a file."""
    temporary = temporary_of(path)
    _write_durably(temporary, content)
    temporary.replace(path)


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a JSON file atomically."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_first(path: pathlib.Path, text: str) -> None:
    """Writes a file unless another process has just done so.

    That one may hold a lock on it, which replacing the file would break.
    """
    temporary = temporary_of(path)
    _write_durably(temporary, text.encode())
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:  # A file system without links.
        temporary.replace(path)
    temporary.unlink(missing_ok=True)


def tidy(folder: pathlib.Path) -> None:
    """Removes temporary files of `write_text` whose process on this machine is gone."""
    name = re.compile(rf"\..*\.{re.escape(platform.node())}\.([0-9]+)\.tmp")
    for path in folder.glob(".*.tmp"):
        process = name.fullmatch(path.name)
        is_file = path.is_file() or path.is_symlink()
        if process and is_file and not _is_another_alive(int(process[1])):
            path.unlink(missing_ok=True)


def _write_durably(path: pathlib.Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def temporary_of(path: pathlib.Path) -> pathlib.Path:
    """Returns the name under which this process writes a file first."""
    return path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.tmp")


def _is_another_alive(process: int) -> bool:
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # It is another user's.
        return True
    return True
