"""Run folders of models that were trained elsewhere."""

import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_collections

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.models import import_ltg, presets
from rdt_jax.store import checkpoint, environment, files, records, run_folder


def write_run(
    workdir: pathlib.Path,
    config: ml_collections.ConfigDict,
    overrides: configs.Overrides,
    imported: import_ltg.Imported,
    *,
    num_loops: int,
    step: int,
    source: pathlib.Path,
) -> pathlib.Path:
    """Writes a run that is done, its parameters pinned as `final-after-<step>`.

    Where the config names the folder of its rows (`task.kwargs.path`), these must fit
    the parameters, and positions that no row has are left out. The pin's extra value
    has `vocab_size` and `max_length`, which else only the rows would tell, and the name
    and hash of the file that it came from.

    The config says what the checkpoint does not tell; `overrides` are what the user
    sets. It was trained with R = `num_loops`, for `step` updates, 0 if that is not
    known.

    Raises:
      ValueError: if an override contradicts the checkpoint, the resolved config or its
        rows do not fit, or the folder holds another run of the same config.
    """
    resolved = _resolve(config, overrides, imported, num_loops, step)
    params, max_length = dict(imported.params), imported.max_length
    if "path" not in resolved.task.kwargs or resolved.task.kwargs.path is not None:
        max_length = _fitting_length(resolved, imported)
        if "position" in params:
            params["position"] = params["position"][:max_length]
    folder = workdir / configs.run_id(resolved)
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    origin = {"file": source.name, "sha256": digest}
    pin = folder / "transitions" / f"final-after-{step}"
    run_folder.create(folder, resolved)
    if (pin / "extra.json").exists():
        if files.read_json(pin / "extra.json").get("source") != origin:
            raise ValueError(
                f"{folder} holds another checkpoint with the same config; give its "
                "--step or another OUT."
            )
    elif run_folder.read_status(folder)["state"] != "pending":
        raise ValueError(f"{folder} holds a run that was trained; give another OUT.")
    extra = {
        "step": step,
        "event": "final",
        "vocab_size": imported.vocab_size,
        "max_length": max_length,
        "source": origin,
    }
    checkpoint.save(pin, params, extra)
    packing = {"pack": None, "lane": None, "lanes": 1, "shapes": [[step, 1]]}
    now = environment.segment(resolved, step)
    environment.write(folder, packing | {"source": origin}, now, True, lambda _: None)
    status = {
        "state": "done",
        "reason": "imported",
        "step": step,
        "pack": None,
        "lane": None,
        "num_steps": resolved.num_steps,
        "updates_per_second": None,
        "phase": "start",
        "accuracy": {},
        "records": records.proof(folder),
    }
    files.write_json(folder / "status.json", status)
    return folder


def _resolve(
    config: ml_collections.ConfigDict,
    overrides: Mapping[str, Any],
    imported: import_ltg.Imported,
    num_loops: int,
    step: int,
) -> ml_collections.ConfigDict:
    if step < 0:
        raise ValueError(f"--step must be at least 0, got {step}.")
    if num_loops < 1:
        raise ValueError(f"--num-loops must be at least 1, got {num_loops}.")
    told: dict[str, Any] = imported.keys | {"recurrence.num_loops": num_loops}
    configs.raise_problems(
        [
            f"{key} is {told[key]!r} by the checkpoint and its options; it cannot be "
            f"set to {value!r}."
            for key, value in overrides.items()
            if key in told and told[key] != value
        ]
    )
    every = max(step, 1)
    likely: dict[str, Any] = {
        "num_steps": every,
        "eval_every_steps": every,
        "checkpoint_every_steps": every,
        "optimizer.warmup_steps": min(config.optimizer.warmup_steps, every),
        "model.dtype": "float32",  # Of the parameters; theirs was mixed.
    }
    asked = configs.override(config, dict(overrides))
    if asked.task.name == "ltg_folder" and asked.task.kwargs.answer_at == "pad":
        likely["task.kwargs.row_length"] = imported.row_length
    resolved = configs.override(config, likely | dict(overrides) | told)
    configs.raise_problems(presets.problems(resolved))
    return resolved


def _fitting_length(
    config: ml_collections.ConfigDict, imported: import_ltg.Imported
) -> int:
    """Returns T of the task's rows, which must fit the parameters."""
    problems = tasks.problems(config)
    configs.raise_problems(problems)
    table = tasks.make_table(config)
    length = table.tokens.shape[1]
    if len(table.vocab) != imported.vocab_size:
        problems.append(
            f"task must have the {imported.vocab_size} words of the checkpoint, "
            f"padding included, got {len(table.vocab)}."
        )
    if imported.max_length is not None and length > imported.max_length:
        problems.append(
            f"task must have rows of at most {imported.max_length} tokens, the "
            f"checkpoint's positions, got {length}."
        )
    configs.raise_problems(problems)
    return length
