"""The run folder: what is written while a run trains, and how it is read back.

metrics.jsonl has one row per evaluation: `step`, then `split/quantity@r` for loop count
r, with `[tag=value]` appended for a breakdown. events.jsonl has one row per phase
change. Neither holds a clock value; timing.jsonl does.

A kill may tear the last line of a .jsonl file and leave a temporary file behind; the
next `truncate` removes both. A run that is over says in its status what metrics and
events were then (`proof`); from then on any other content is damage.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import ml_collections

from rdt_jax import config as configs
from rdt_jax import wording

# Event -> the split whose accuracy it is about.
EVENTS = {
    "memorized": "train",
    "id_generalized": "id",
    "ood_generalized": "ood",
    "depth_generalized": "depth",  # awaited only where it has a threshold
}
HOP_LEARNED = "hop_learned"  # of a stage of the curriculum
KINDS = ("onset", "completed", "lost")

STATES = ("pending", "running", "preempted", "done", "failed")
# Of a planned run without a folder, or with one that cannot be read; never written.
LOST = ("missing", "unreadable")
REASONS = ("phases_passed", "budget", "imported", "nan", "oom", "preempted", "error")

_PIN = re.compile(r"(\w+)-(?:before|after|at)-([0-9]+)")
_PARAMETERS = {"manifest", "extra", "state"}  # names without their endings
_COUNTED = ("metrics.jsonl", "events.jsonl")
_ROWS = (*_COUNTED, "timing.jsonl")
_PENDING = {"state": "pending", "reason": None, "step": 0, "pack": None, "lane": None}
_OF_NOW = ("phase", "accuracy")  # of the newest evaluation
# What status.json may say; it has at least the keys of _PENDING.
_STATUS: Mapping[str, Callable[[Any], bool]] = {
    "state": lambda value: value in STATES,
    "reason": lambda value: value is None or value in REASONS,
    "step": lambda value: _is_count(value),
    "pack": lambda value: value is None or configs.is_run_id(value),
    "lane": lambda value: value is None or _is_count(value),
    "saved": lambda value: _is_count(value),
    "evaluated": lambda value: value == -1 or _is_count(value),
    "num_steps": lambda value: _is_count(value) and value > 0,
    "updates_per_second": lambda value: value is None or _is_number(value),
    "phase": lambda value: isinstance(value, str),
    "accuracy": lambda value: (
        isinstance(value, dict) and all(map(_is_number, value.values()))
    ),
    "records": lambda value: (
        isinstance(value, dict)
        and value.keys() == set(_COUNTED)
        and all(
            isinstance(each, dict) and _is_count(each.get("rows"))
            for each in value.values()
        )
    ),
}
_KEYS = {  # of the rows of a file
    "metrics.jsonl": {"step"},
    "events.jsonl": {
        "step", "event", "kind", "hops", "split", "loops", "onset", "completed",
        "threshold", "value", "occurrence",
    },
    "timing.jsonl": {"step"},
}  # fmt: skip
_FOLDERS = ("analysis", "figures", "tensorboard", "transitions")


class Records(NamedTuple):
    """What a run folder holds, checked."""

    config: ml_collections.ConfigDict
    status: dict[str, Any]
    metrics: list[dict[str, Any]]
    events: list[dict[str, Any]]


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
        write_json(folder / "status.json", _PENDING)
        _write_first(folder / "config.json", configs.to_json(config))
    configs.read_run(folder)


def check_version(workdir: pathlib.Path) -> None:
    """Raises ValueError if the runs of a workdir have names of before version 0.2."""
    for path in workdir.glob("*/config.json"):
        if not configs.is_run_id(path.parent.name):
            continue
        with contextlib.suppress(ValueError, OSError):  # Of a damaged run.
            config = configs.read_run(path.parent)
            break
    else:
        return
    if configs.run_id(config) != path.parent.name:
        raise ValueError(
            f"The runs in {workdir} were trained by a version before 0.2, which drew "
            "other batches and named runs in another way. They can be read, and not be "
            "gone on with: train in another --workdir."
        )


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file so that a reader sees the old or the new content, whole.

    That holds also after the machine has lost its power.
    """
    temporary = _temporary(path)
    _write_durably(temporary, text.encode())
    temporary.replace(path)


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a JSON file atomically."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: pathlib.Path, kind: type = dict) -> Any:
    """Reads a JSON file; as `config.read_json`, which a lower layer needs."""
    return configs.read_json(path, kind)


def read_status(folder: pathlib.Path, budget: int | None = None) -> dict[str, Any]:
    """Returns status.json of a run folder; a run without one is pending.

    Args:
      folder: of the run.
      budget: updates that are asked of the run, as in `at_budget`; None for its own.

    Raises:
      ValueError: if it is damaged; it names the file.
    """
    path = folder / "status.json"
    if not path.exists():
        return dict(_PENDING)
    status = read_json(path)
    if missing := [key for key in _PENDING if key not in status]:
        raise ValueError(f"{path} is damaged: it has no {', '.join(missing)}.")
    for key, is_valid in _STATUS.items():
        if key in status and not is_valid(status[key]):
            raise ValueError(f"{path} is damaged: {key} cannot be {status[key]!r}.")
    return status if budget is None else at_budget(status, budget)


def at_budget(status: Mapping[str, Any], budget: int) -> dict[str, Any]:
    """Returns the status of a run as it is for somebody who asks for `budget` updates.

    A run that ended with fewer goes on. One that was given more and was evaluated at
    the budget is over there, whatever became of it since.
    """
    step, reason, is_done = status["step"], status["reason"], status["state"] == "done"
    if reason == "imported":
        return dict(status)
    asked = {"num_steps": budget} if "num_steps" in status else {}
    if is_done and reason == "budget" and step < budget:
        return {**status, "state": "preempted", "reason": None, **asked}
    if is_done and step <= budget:
        return {**status, **asked}
    # A run that broke has no row of the evaluation that saw it.
    evaluated = step - 1 if reason == "nan" else status.get("evaluated", step - 1)
    given_more = step > budget or status.get("num_steps", budget) > budget
    if evaluated < budget or not given_more:
        return {**status, **asked}
    kept = {k: v for k, v in status.items() if k not in ("message", *_OF_NOW)}
    now = {"state": "done", "reason": "budget", "step": budget}
    return {**(kept if evaluated > budget else {**status}), **now, **asked}


def read_environment(folder: pathlib.Path) -> dict[str, Any]:
    """Returns environment.json of a run folder; empty if there is none.

    Raises:
      ValueError: if it is damaged; it names the file.
    """
    path = folder / "environment.json"
    environment = read_json(path) if path.exists() else {}
    segments = environment.get("segments", [])
    if not isinstance(segments, list) or not all(
        isinstance(each, dict) and _is_count(each.get("step")) for each in segments
    ):
        raise ValueError(f"{path} is damaged: segments must list objects with a step.")
    return environment


def planned_status(
    folder: pathlib.Path, in_full: bool = False, budget: int | None = None
) -> dict[str, Any]:
    """Returns the status of a run that a plan names, one of LOST included.

    Args:
      folder: of the run.
      in_full: read all its records: a run is unreadable if any of them is damaged.
      budget: as of `read_status`.
    """
    if not (folder / "config.json").exists():
        return _PENDING | {"state": "missing", "message": f"no run folder {folder}"}
    try:
        if in_full:
            check_readable(folder)
        return read_status(folder, budget)
    except (ValueError, OSError) as error:
        message = f"run {folder.name}: {error}"
        return _PENDING | {"state": "unreadable", "message": message}


def append(path: pathlib.Path, row: Mapping[str, Any]) -> None:
    """Adds one row to a .jsonl file; it outlives this process when this returns."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def sync(folder: pathlib.Path) -> None:
    """Returns once all rows of a run are on the disk, where they outlive the machine.

    That takes some milliseconds for each file: a checkpoint needs it, not every row.
    """
    for name in _ROWS:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())


def read_rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """Reads the rows of a .jsonl file; a damaged last line is not a row.

    Raises:
      ValueError: if any other line is not a row, or if a row has no place there: its
        step does not come after the one before, a key is missing, a value is NaN. It
        names the file and the line.
    """
    return [row for _, row in _whole_lines(path)]


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


def read(folder: pathlib.Path) -> Records:
    """Reads a run folder.

    A damaged last line of a run that is not over is no row: going on repairs it.

    Raises:
      ValueError: if it is none, if its config does not hash to its name, or if a record
        is damaged or contradicts another; it names the file, and the line of a row.
    """
    config, status = configs.read_run(folder), read_status(folder)
    rows = {name: read_rows(folder / name) for name in _COUNTED}
    for problem in _contradictions(folder, config, status, rows):
        raise ValueError(f"{problem}.{_advice(folder)}")
    return Records(config, status, *rows.values())


def proof(folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Returns rows and SHA-256 of metrics and events, for `records` of a status."""
    found = {}
    for name in _COUNTED:
        content = (folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        found[name] = {"rows": len(content.splitlines()), "sha256": digest}
    return found


def reopen(folder: pathlib.Path) -> None:
    """Lets a run that was over go on: its records are about to be cut or replaced."""
    status = read_status(folder)
    if status["state"] == "done" or "records" in status:
        kept = {k: v for k, v in status.items() if k not in ("records", "message")}
        write_json(
            folder / "status.json", kept | {"state": "preempted", "reason": None}
        )


def set_budget(folder: pathlib.Path, budget: int) -> None:
    """Gives a run its budget when it is about to train; a spent smaller one is over."""
    config = configs.read_run(folder)
    if config.num_steps == budget:
        return
    status = read_status(folder)
    if status["reason"] == "budget" and status["step"] < budget:
        reopen(folder)
        reopened = read_status(folder) | {"num_steps": budget}
        write_json(folder / "status.json", reopened)
    given = configs.override(config, {"num_steps": budget})
    write_text(folder / "config.json", configs.to_json(given))


def count(folder: pathlib.Path) -> dict[str, int]:
    """Returns how many lines metrics and events of a run have, for `missing`."""
    counts = {}
    for path in (folder / name for name in _COUNTED):
        with path.open("rb") as file:
            counts[path.name] = file.read(path.stat().st_size).count(b"\n")
    return counts


def missing(folder: pathlib.Path, step: int, lines: Mapping[str, int]) -> str | None:
    """Says which records of a run have fewer rows up to `step` than they had lines.

    Args:
      folder: of the run.
      step: up to which its records were written when they were counted.
      lines: of `count`.

    Raises:
      ValueError: as `read_rows`.
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
    Only the holder of the run may call it.

    Raises:
      ValueError: as `read_rows`.
    """
    for name in _ROWS:
        path = folder / name
        lines = [line for line, row in _whole_lines(path) if row["step"] <= step]
        # On the disk before it replaces rows that are.
        temporary = _temporary(path)
        _write_durably(temporary, b"".join(lines))
        temporary.replace(path)
    tidy(folder)
    for pin, of in pins(folder).items():
        if of > step:  # A pin that is half removed is no pin, but an unfinished one.
            shutil.rmtree(pin.with_name(pin.name + ".tmp"), ignore_errors=True)
            pin.rename(pin.with_name(pin.name + ".tmp"))
    for path in (folder / "transitions").glob("*.tmp"):
        if _PIN.fullmatch(path.name.removesuffix(".tmp")) and is_parameters(path):
            shutil.rmtree(path)


def is_parameters(path: pathlib.Path) -> bool:
    """Says whether a folder is of a checkpoint or a pin, whole or in part.

    It is empty, or has a file of `checkpoint.save`. Links, and folders of others that
    have such a name, are none.
    """
    if path.is_symlink() or not path.is_dir():
        return False
    # orbax writes `state` under a name with its own ending first.
    names = {inner.name.partition(".")[0] for inner in path.iterdir()}
    return not names or not names.isdisjoint(_PARAMETERS)


def pins(folder: pathlib.Path) -> dict[pathlib.Path, int]:
    """Returns the parameters that a run kept, with their steps, in no order.

    They are the folders in `transitions` that have a manifest and the name
    `<event>-<side>-<step>`. Copies under other names, whose `extra.json` tells another
    event or step, links, and what else others put there are not among them.
    """
    found = {}
    for path in (folder / "transitions").glob("*/manifest.json"):
        pin = path.parent
        if pin.is_symlink() or not (name := _PIN.fullmatch(pin.name)):
            continue
        step = int(name[2])
        told = {"event": name[1], "step": step}
        with contextlib.suppress(OSError, ValueError):  # Damaged, and still a pin.
            extra = read_json(pin / "extra.json")
            if isinstance(extra, dict) and extra | told != extra:
                continue
        found[pin] = step
    return found


def tidy(folder: pathlib.Path) -> None:
    """Removes temporary files of `write_text` whose process on this machine is gone."""
    name = re.compile(rf"\..*\.{re.escape(platform.node())}\.([0-9]+)\.tmp")
    for path in folder.glob(".*.tmp"):
        process = name.fullmatch(path.name)
        is_file = path.is_file() or path.is_symlink()
        if process and is_file and not _is_another_alive(int(process[1])):
            path.unlink(missing_ok=True)


def _whole_lines(path: pathlib.Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Returns each line of a file, with its end, and its row.

    A damaged last line is left out.
    """
    try:
        *lines, torn = path.read_bytes().split(b"\n")
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing.{_advice(path.parent)}") from error
    rows: list[tuple[bytes, dict[str, Any]]] = []
    before: Mapping[str, Any] | None = None
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line.decode())
            if not isinstance(row, dict) or not _is_count(row.get("step")):
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
    now, proven = proof(folder), status.get("records")
    for name in _COUNTED:
        if is_done and now[name]["rows"] != len(rows[name]):
            line = f"{folder / name} line {len(rows[name]) + 1}"
            yield f"{line} is damaged, and the run is done"
        if proven and now[name] != proven[name]:
            yield (
                f"{folder / name} is not as it was when the run ended: "
                f"{wording.count(proven[name]['rows'], 'row')} then, "
                f"{now[name]['rows']} now"
            )
    environment = read_environment(folder)
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
        if pack := read_status(run)["pack"]:
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
    if several and row["event"] not in (*EVENTS, HOP_LEARNED):
        return f"event cannot be {row['event']!r}"
    if several and row["kind"] not in KINDS:
        return f"kind cannot be {row['kind']!r}"
    for key in ("onset", "completed") if several else ():
        at = row[key]
        if not (at is None or (_is_count(at) and at <= row["step"])):
            return f"{key} cannot be {at!r} at step {row['step']}"
    for key, value in row.items():
        if value != value:
            return f"{key} is NaN"
        if name == "metrics.jsonl" and not _is_number(value):
            return f"{key} must be a number, got {value!r}"
        if "/accuracy@" in key and not 0 <= value <= 1:
            return f"{key} must be in [0, 1], got {value}"
    return None


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _write_first(path: pathlib.Path, text: str) -> None:
    """Writes a file unless another process has just done so.

    That one may hold a lock on it, which replacing the file would break.
    """
    temporary = _temporary(path)
    _write_durably(temporary, text.encode())
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:  # A file system without links.
        temporary.replace(path)
    temporary.unlink(missing_ok=True)


def _write_durably(path: pathlib.Path, content: bytes) -> None:
    """Writes a file that is on the disk when this returns."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _temporary(path: pathlib.Path) -> pathlib.Path:
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
