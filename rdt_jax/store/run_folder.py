"""The run folder: what lies in it, what its status says, and what budget it has.

    run_folder.create(workdir / run_id, config)  # empty files, state "pending"
    run_folder.read_status(workdir / run_id)["state"]
    run_folder.pins(workdir / run_id)  # folders of parameters -> their steps

What is written into the files of rows while a run trains is in store/records.py.
"""

import contextlib
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections

from rdt_jax import config as configs
from rdt_jax.store import files

STATES = ("pending", "running", "preempted", "done", "failed")
# Of a planned run without a folder, or with one that cannot be read; never written.
LOST = ("missing", "unreadable")
REASONS = ("phases_passed", "budget", "imported", "nan", "oom", "preempted", "error")
COUNTED = ("metrics.jsonl", "events.jsonl")  # Files of rows that a status proves.
ROWS = (*COUNTED, "timing.jsonl")
PENDING = {"state": "pending", "reason": None, "step": 0, "pack": None, "lane": None}

_PIN = re.compile(r"(\w+)-(?:before|after|at)-([0-9]+)")
_PARAMETERS = {"manifest", "extra", "state"}  # names without their endings
_OF_NOW = ("phase", "accuracy")  # of the newest evaluation
# What status.json may say; it has at least the keys of PENDING.
_STATUS: Mapping[str, Callable[[Any], bool]] = {
    "state": lambda value: value in STATES,
    "reason": lambda value: value is None or value in REASONS,
    "step": lambda value: is_count(value),
    "pack": lambda value: value is None or configs.is_run_id(value),
    "lane": lambda value: value is None or is_count(value),
    "saved": lambda value: is_count(value),
    "evaluated": lambda value: value == -1 or is_count(value),
    "num_steps": lambda value: is_count(value) and value > 0,
    "updates_per_second": lambda value: value is None or is_number(value),
    "phase": lambda value: isinstance(value, str),
    "accuracy": lambda value: (
        isinstance(value, dict) and all(map(is_number, value.values()))
    ),
    "records": lambda value: (
        isinstance(value, dict)
        and value.keys() == set(COUNTED)
        and all(
            isinstance(each, dict) and is_count(each.get("rows"))
            for each in value.values()
        )
    ),
}
_FOLDERS = ("analysis", "figures", "tensorboard", "transitions")


def create(folder: pathlib.Path, config: ml_collections.ConfigDict) -> None:
    """Makes a run folder with all its files, empty; an existing one stays as it is.

    ValueError if the folder belongs to another config.
    """
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in _FOLDERS:
            (folder / name).mkdir(exist_ok=True)
        for name in ROWS:
            (folder / name).touch()
        files.write_json(folder / "environment.json", {})
        files.write_json(folder / "status.json", PENDING)
        files.write_first(folder / "config.json", configs.to_json(config))
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


def read_status(folder: pathlib.Path, budget: int | None = None) -> dict[str, Any]:
    """Returns status.json of a run folder; a run without one is pending.

    With a `budget`, the updates that are asked of the run, it is as of `at_budget`.
    ValueError, with the file's name, if it is damaged.
    """
    path = folder / "status.json"
    if not path.exists():
        return dict(PENDING)
    status = files.read_json(path)
    if missing := [key for key in PENDING if key not in status]:
        raise ValueError(f"{path} is damaged: it has no {', '.join(missing)}.")
    for key, is_valid in _STATUS.items():
        if key in status and not is_valid(status[key]):
            raise ValueError(f"{path} is damaged: {key} cannot be {status[key]!r}.")
    return status if budget is None else at_budget(status, budget)


def at_budget(status: Mapping[str, Any], budget: int) -> dict[str, Any]:
    """Returns the status of a run as it is for somebody who asks for `budget` updates.

    an imported run                             its own status
    done with a smaller budget that it spent    preempted: it goes on
    given more, and evaluated at `budget`       done there, whatever came later
    all others                                  its own status
    """
    if status["reason"] == "imported":
        return dict(status)
    asked = {**status}
    if "num_steps" in status:
        asked["num_steps"] = budget
    is_spent = status["state"] == "done" and status["reason"] == "budget"
    if is_spent and status["step"] < budget:
        return asked | {"state": "preempted", "reason": None}
    if not _went_beyond(status, budget):
        return asked
    if _evaluated(status) > budget:  # These tell of later evaluations.
        asked = {k: v for k, v in asked.items() if k not in ("message", *_OF_NOW)}
    return asked | {"state": "done", "reason": "budget", "step": budget}


def _went_beyond(status: Mapping[str, Any], budget: int) -> bool:
    """Says whether a run was given more than `budget` and evaluated at it."""
    if status["state"] == "done" and status["step"] <= budget:
        return False
    given = status.get("num_steps", budget)
    return max(given, status["step"]) > budget and _evaluated(status) >= budget


def _evaluated(status: Mapping[str, Any]) -> int:
    """Returns a step up to which a run has the rows of its evaluations."""
    before = status["step"] - 1
    # A run that broke has no row of the evaluation that saw it.
    return before if status["reason"] == "nan" else status.get("evaluated", before)


def reopen(folder: pathlib.Path) -> None:
    """Lets a run that was over go on: its records are about to be cut or replaced."""
    status = read_status(folder)
    if status["state"] == "done" or "records" in status:
        remaining = {k: v for k, v in status.items() if k not in ("records", "message")}
        files.write_json(
            folder / "status.json", remaining | {"state": "preempted", "reason": None}
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
        files.write_json(folder / "status.json", reopened)
    given = configs.override(config, {"num_steps": budget})
    files.write_text(folder / "config.json", configs.to_json(given))


def read_environment(folder: pathlib.Path) -> dict[str, Any]:
    """Returns environment.json of a run folder, empty if there is none; ValueError."""
    path = folder / "environment.json"
    environment = files.read_json(path) if path.exists() else {}
    segments = environment.get("segments", [])
    if not isinstance(segments, list) or not all(
        isinstance(entry, dict) and is_count(entry.get("step")) for entry in segments
    ):
        raise ValueError(f"{path} is damaged: segments must list objects with a step.")
    return environment


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
    steps_by_pin = {}
    for path in (folder / "transitions").glob("*/manifest.json"):
        pin = path.parent
        if pin.is_symlink() or not (name := _PIN.fullmatch(pin.name)):
            continue
        step = int(name[2])
        told = {"event": name[1], "step": step}
        with contextlib.suppress(OSError, ValueError):  # Damaged, and still a pin.
            extra = files.read_json(pin / "extra.json")
            if isinstance(extra, dict) and extra | told != extra:
                continue
        steps_by_pin[pin] = step
    return steps_by_pin


def unfinished_pins(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the pins of a run that were being written or removed."""
    return [
        path
        for path in (folder / "transitions").glob("*.tmp")
        if _PIN.fullmatch(path.name.removesuffix(".tmp")) and is_parameters(path)
    ]


def is_count(value: Any) -> bool:
    """Says whether a value of a JSON file is an int of at least 0."""
    return type(value) is int and value >= 0


def is_number(value: Any) -> bool:
    """Says whether a value of a JSON file is a number."""
    return type(value) in (int, float)
