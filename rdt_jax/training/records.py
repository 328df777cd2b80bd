"""The run folder: what is written while a run trains, and how it is read back.

metrics.jsonl has one row per evaluation: `step`, then `split/quantity@r` for loop count
r, with `[tag=value]` appended for a breakdown. events.jsonl has one row per phase
change. Neither holds a clock value; timing.jsonl does.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_collections

from rdt_jax import config as configs

STATES = ("pending", "running", "preempted", "done", "failed")
REASONS = ("phases_passed", "budget", "nan", "oom", "error")

_ROWS = ("metrics.jsonl", "events.jsonl", "timing.jsonl")
_FOLDERS = ("analysis", "figures", "tensorboard", "transitions")


def create(folder: pathlib.Path, config: ml_collections.ConfigDict) -> None:
    """Makes a run folder with all its files, empty; an existing one stays as it is.

    Raises:
      ValueError: if the folder belongs to another config.
    """
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in _FOLDERS:
            (folder / name).mkdir(exist_ok=True)
        for name in _ROWS:
            (folder / name).touch()
        write_json(folder / "environment.json", {})
        write_json(
            folder / "status.json",
            {"state": "pending", "reason": None, "step": 0, "pack": None, "lane": None},
        )
        write_text(folder / "config.json", configs.to_json(config))
    configs.read_run(folder)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file so that a reader sees the old or the new content, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a JSON file atomically."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: pathlib.Path) -> Any:
    """Reads a JSON file."""
    return json.loads(path.read_text())


def read_status(folder: pathlib.Path) -> dict[str, Any]:
    """Returns status.json of a run folder; a run without one is pending."""
    path = folder / "status.json"
    return read_json(path) if path.exists() else {"state": "pending", "step": 0}


def append(path: pathlib.Path, row: Mapping[str, Any]) -> None:
    """Adds one row to a .jsonl file; it is on disk when this returns."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """Reads the rows of a .jsonl file; a torn last line is not a row.

    Raises:
      ValueError: if any other line is not JSON; it names the file and the line.
    """
    lines = path.read_text(errors="replace").split("\n")
    rows = []
    for number, line in enumerate(lines[:-1], start=1):  # The last has no line end.
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} line {number} is damaged: {error}.") from error
    return rows


def truncate(folder: pathlib.Path, step: int) -> None:
    """Drops the rows of metrics, events and timing that are later than `step`."""
    for name in _ROWS:
        path = folder / name
        kept = [row for row in read_rows(path) if row["step"] <= step]
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
