"""The records of a run: the rows that it writes while it trains, and their checks.

    records.append(folder / "metrics.jsonl", {"step": 100, "train/loss@4": 0.5})
    run = records.read(folder)  # config, status, metrics, events; all checked
    records.truncate(folder, 100)  # what a killed process left behind step 100

metrics.jsonl has one row per evaluation: `step`, then `split/quantity@r` for loop count
r, with `[tag=value]` appended for a breakdown; events.jsonl one per phase change. Only
timing.jsonl holds clock values. A run that is over says in its status what metrics and
events were then (`proof`); from then on any other content is damage.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import ml_collections

from rdt_jax import config as configs
from rdt_jax import wording
from rdt_jax.events import HOP_LEARNED, declared
from rdt_jax.store import files, run_folder
from rdt_jax.store.run_folder import COUNTED, PENDING, ROWS, is_count, is_number

KINDS = ("onset", "completed", "lost")

_PART = 1 << 16  # bytes at the end of a file that `last_rows` reads first

_KEYS = {  # of the rows of a file
    "metrics.jsonl": {"step"},
    "events.jsonl": {
        "step", "event", "kind", "hops", "split", "loops", "onset", "completed",
        "threshold", "value", "occurrence",
    },
    "timing.jsonl": {"step"},
}  # fmt: skip


class Records(NamedTuple):
    """What a run folder holds, checked."""

    config: ml_collections.ConfigDict
    status: dict[str, Any]
    metrics: list[dict[str, Any]]
    events: list[dict[str, Any]]


def read(folder: pathlib.Path) -> Records:
    """Reads a run folder.

    A damaged last line of a run that is not over is no row: going on repairs it.
    ValueError, with file and line, if it is none, its config does not hash to its name,
    or a record is damaged or contradicts another.
    """
    config, status = configs.read_run(folder), run_folder.read_status(folder)
    rows = {name: read_rows(folder / name) for name in COUNTED}
    for problem in _contradictions(folder, config, status, rows):
        raise ValueError(f"{problem}.{_advice(folder)}")
    return Records(config, status, *rows.values())


def planned_status(
    folder: pathlib.Path, in_full: bool = False, budget: int | None = None
) -> dict[str, Any]:
    """Returns the status of a run that a plan names, one of LOST included.

    With `in_full` all its records are read: a run is unreadable if any of them is
    damaged. `budget` is as of `read_status`.
    """
    if not (folder / "config.json").exists():
        return PENDING | {"state": "missing", "message": f"no run folder {folder}"}
    try:
        if in_full:
            check_readable(folder)
        return run_folder.read_status(folder, budget)
    except (ValueError, OSError) as error:
        message = f"run {folder.name}: {error}"
        return PENDING | {"state": "unreadable", "message": message}


def append(path: pathlib.Path, row: Mapping[str, Any]) -> None:
    """Adds one row to a .jsonl file; it outlives this process when this returns."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def sync(folder: pathlib.Path) -> None:
    """Returns once all rows of a run are on the disk, where they outlive the machine.

    That takes some milliseconds for each file: a checkpoint needs it, not every row.
    """
    for name in ROWS:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())


def read_rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """Reads the rows of a .jsonl file; a damaged last line is not a row.

    ValueError, with file and line, if any other line is not a row, or if a row has no
    place there: its step does not come after the one before, a key is missing, a value
    is NaN.
    """
    return [row for _, row in _whole_lines(path)]


def last_rows(path: pathlib.Path, number: int, up_to: int) -> list[dict[str, Any]]:
    """Reads at most so many last rows of metrics.jsonl, those up to a step.

    No more of the file is read than needed. A last line that is cut short is not a row;
    ValueError if one of them, or a later one, is damaged.
    """
    size, part = path.stat().st_size, 0
    rows: list[dict[str, Any]] = []
    while len(rows) < number and part < size:
        part = min(max(_PART, 8 * part), size)
        with path.open("rb") as file:
            file.seek(size - part)
            lines = file.read(part).split(b"\n")[int(part < size) : -1]
        rows = []
        for line in reversed(lines):
            try:
                row = json.loads(line)
                rows += [row] if row["step"] <= up_to else []
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(f"{path} is damaged: {error}.") from error
            if len(rows) == number:
                break
    return rows[::-1]


def check(folder: pathlib.Path) -> None:
    """Raises ValueError if a run cannot be trained on in its folder.

    That is: it is unreadable, or what it keeps and removes would be in a folder that is
    not its own.
    """
    check_readable(folder)
    if (folder / "transitions").is_symlink():
        raise ValueError(
            f"{folder / 'transitions'} is a link. A run removes folders there, so it "
            "must be a folder of the run itself: move what it leads to here."
        )


def check_readable(folder: pathlib.Path) -> None:
    """Raises ValueError, with file and line, if a record of a run is damaged."""
    read(folder)
    read_rows(folder / "timing.jsonl")


def proof(folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Returns rows and SHA-256 of metrics and events, for `records` of a status."""
    proofs = {}
    for name in COUNTED:
        content = (folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        proofs[name] = {"rows": len(content.splitlines()), "sha256": digest}
    return proofs


def count(folder: pathlib.Path) -> dict[str, int]:
    """Returns how many lines metrics and events of a run have, for `missing`."""
    counts = {}
    for path in (folder / name for name in COUNTED):
        with path.open("rb") as file:
            counts[path.name] = file.read(path.stat().st_size).count(b"\n")
    return counts


def missing(folder: pathlib.Path, step: int, lines: Mapping[str, int]) -> str | None:
    """Says which records of a run have fewer rows up to `step` than they had lines.

    `lines` are those of `count` when the records were written up to `step`. ValueError
    as `read_rows`.
    """
    for name, before in lines.items():
        now = sum(row["step"] <= step for row in read_rows(folder / name))
        if now < before:
            rows = wording.count(before, "row")
            return f"{folder / name} had {rows} up to it, and has {now}"
    return None


def truncate(folder: pathlib.Path, step: int) -> None:
    """Drops what a killed process left behind its newest checkpoint.

    That is: rows of metrics, events and timing and pins later than `step`, a damaged
    last line, and files and pins that were being written. Every file of rows is
    replaced, also one that loses nothing. What else others put into the folder stays.
    Only the holder of the run may call it. ValueError as `read_rows`.
    """
    for name in ROWS:
        path = folder / name
        lines = [line for line, row in _whole_lines(path) if row["step"] <= step]
        files.replace(path, b"".join(lines))  # On the disk before it replaces rows.
    files.tidy(folder)
    for pin, of in run_folder.pins(folder).items():
        if of > step:  # A pin that is half removed is no pin, but an unfinished one.
            shutil.rmtree(pin.with_name(pin.name + ".tmp"), ignore_errors=True)
            pin.rename(pin.with_name(pin.name + ".tmp"))
    for path in run_folder.unfinished_pins(folder):
        shutil.rmtree(path)


def _whole_lines(path: pathlib.Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Returns each line of a file and its row, without a damaged last line."""
    try:
        *lines, torn = path.read_bytes().split(b"\n")
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing.{_advice(path.parent)}") from error
    rows: list[tuple[bytes, dict[str, Any]]] = []
    before: Mapping[str, Any] | None = None
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line.decode())
            if not isinstance(row, dict) or not is_count(row.get("step")):
                raise ValueError("not an object with a step")
        except (ValueError, RecursionError) as error:
            if number < len(lines) or torn:
                raise ValueError(
                    f"{path} line {number} is damaged: {error}. Only a last line can "
                    f"be repaired.{_advice(path.parent)}"
                ) from error
            break
        if wrong := _misplaced(path.name, row, before):
            raise ValueError(
                f"{path} line {number} is damaged: {wrong}.{_advice(path.parent)}"
            )
        before = row
        rows.append((line + b"\n", row))
    return rows


def _contradictions(
    folder: pathlib.Path,
    config: ml_collections.ConfigDict,
    status: Mapping[str, Any],
    rows: Mapping[str, list[dict[str, Any]]],
) -> Iterator[str]:
    """Yields what records of a run cannot say beside its config and its status."""
    budget, step, is_done = config.num_steps, status["step"], status["state"] == "done"
    for name, found in rows.items():
        for number, row in enumerate(found, start=1):
            if row["step"] > budget:
                yield (
                    f"{folder / name} line {number} is damaged: step {row['step']} is "
                    f"beyond the budget of {budget}"
                )
    names = [*(phase.name for phase in declared(config)), HOP_LEARNED]
    for number, row in enumerate(rows["events.jsonl"], start=1):
        if row["event"] not in names:
            yield (
                f"{folder / 'events.jsonl'} line {number} is damaged: event cannot be "
                f"{row['event']!r}"
            )
    now, proven = proof(folder), status.get("records")
    for name in COUNTED:
        if is_done and now[name]["rows"] != len(rows[name]):
            line = f"{folder / name} line {len(rows[name]) + 1}"
            yield f"{line} is damaged, and the run is done"
        if proven and now[name] != proven[name]:
            yield (
                f"{folder / name} is not as it was when the run ended: "
                f"{wording.count(proven[name]['rows'], 'row')} then, "
                f"{now[name]['rows']} now"
            )
    environment = run_folder.read_environment(folder)
    place = [environment.get(key) for key in ("pack", "lane")]
    if proven and (
        not environment.get("segments") or place != [status["pack"], status["lane"]]
    ):
        yield f"{folder / 'environment.json'} is not that of this run"
    if not is_done or status["reason"] == "imported":
        return
    metrics = rows["metrics.jsonl"]
    if not metrics or metrics[-1]["step"] != step:
        last = f"ends at step {metrics[-1]['step']}" if metrics else "has no row"
        yield (
            f"{folder / 'metrics.jsonl'} {last}, and the run is done at step {step} by "
            "its status.json"
        )
    if status["reason"] == "budget" and step != budget:
        yield (
            f"{folder / 'status.json'} is damaged: the budget of {budget} is not spent "
            f"at step {step}"
        )


def _advice(run: pathlib.Path) -> str:
    """Says what to do about a damaged file of a run."""
    folders = str(run)
    with contextlib.suppress(ValueError):
        if pack := run_folder.read_status(run)["pack"]:
            folders += f" and {run.parent / 'packs' / pack}"
    return f" Restore the file from a copy, or remove {folders} to train it again."


def _misplaced(
    name: str, row: Mapping[str, Any], before: Mapping[str, Any] | None
) -> str | None:
    """Says why a row cannot stand in a file after the row `before`."""
    if missing := _KEYS[name] - row.keys():
        return f"it has no {', '.join(sorted(missing))}"
    several = name == "events.jsonl"  # Phases may change together.
    if before is not None and row["step"] < before["step"] + (not several):
        return f"step {row['step']} follows step {before['step']}"
    if several and row == before:
        return "it is the line before once more"
    if several and row["kind"] not in KINDS:
        return f"kind cannot be {row['kind']!r}"
    for key in ("onset", "completed") if several else ():
        at = row[key]
        if not (at is None or (is_count(at) and at <= row["step"])):
            return f"{key} cannot be {at!r} at step {row['step']}"
    for key, value in row.items():
        if value != value:
            return f"{key} is NaN"
        if name == "metrics.jsonl" and not is_number(value):
            return f"{key} must be a number, got {value!r}"
        if "/accuracy@" in key and not 0 <= value <= 1:
            return f"{key} must be in [0, 1], got {value}"
    return None
