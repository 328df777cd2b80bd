"""Checkpoints that are whole or absent, and proven undamaged when they are read.

A checkpoint is a folder: `state/` by orbax, `extra.json`, and `manifest.json` with the
SHA-256 of every other file. It is written under a temporary name, the manifest last,
put on the disk and renamed. Files that others put there are neither read nor missed.

Rotation is done here: orbax's own, as tried with 0.12.8, removes an old checkpoint
while the new one may not be on the disk, takes any folder that is named by a number for
one of its own, and loads flipped bits.
"""

import errno
import hashlib
import itertools
import json
import os
import pathlib
import re
import shutil
from collections.abc import Callable
from typing import Any

import absl.logging
import chex
import jax
import orbax.checkpoint
from orbax.checkpoint import v1 as ocp

from rdt_jax.store import run_folder

KEEP = 2  # rotating checkpoints of a pack: one to use, one in case it is damaged
_DAMAGED = ".damaged"
_TEMPORARY = ".tmp"


def save(path: pathlib.Path, state: chex.ArrayTree, extra: Any) -> None:
    """Writes arrays and a JSON value as a checkpoint folder, replacing any at `path`.

    It is on disk when this returns. What stood at `path` before gives way only to a
    whole new one: `load_newest` finishes the exchange if it was cut short. OSError if
    the disk refuses.
    """
    absl.logging.set_verbosity(absl.logging.ERROR)  # orbax reports every save.
    temporary = path.with_name(path.name + _TEMPORARY)
    _remove(temporary)
    temporary.mkdir(parents=True)
    _write(temporary.absolute() / "state", state)
    (temporary / "extra.json").write_text(json.dumps(extra))
    (temporary / "manifest.json").write_text(_manifest(_hashes(temporary)))
    for written in [*temporary.rglob("*"), temporary]:
        _sync(written)
    _exchange(temporary, path)
    _sync(path.parent)


def damage(path: pathlib.Path) -> str | None:
    """Says what is wrong with a checkpoint folder.

    It is None if every byte that the manifest names is as it was written.
    """
    try:
        text = (path / "manifest.json").read_text()
        manifest = json.loads(text)
        if not isinstance(manifest, dict) or "extra.json" not in manifest:
            raise ValueError("it is not an object that names extra.json")
    except (OSError, ValueError) as error:
        return f"its manifest cannot be read ({error})"
    try:
        differs = [n for n in manifest if _hash(path / n) != manifest[n]]
    except OSError as error:
        return f"a file cannot be read ({error})"
    if differs:
        return f"{', '.join(sorted(differs))} differs from the manifest"
    if text != _manifest(manifest):  # A byte between its values.
        return "manifest.json is not as it was written"
    return None


def load(
    path: pathlib.Path, abstract: Callable[[Any], chex.ArrayTree]
) -> tuple[Any, Any]:
    """Returns (state, extra) of a checkpoint folder; ValueError if it is damaged.

    `abstract` maps the extra value to the tree of `jax.ShapeDtypeStruct` to fill.
    """
    reason = damage(path)
    if reason is not None:
        raise ValueError(f"Checkpoint {path} is damaged: {reason}.")
    extra = json.loads((path / "extra.json").read_text())
    context = ocp.Context()
    for name, value in _alone().items():
        setattr(context.multiprocessing, name, value)
    with context:
        return ocp.load(path.absolute() / "state", abstract(extra)), extra


def save_rotating(
    folder: pathlib.Path, step: int, state: chex.ArrayTree, extra: Any
) -> None:
    """Writes the checkpoint of `step` and removes all but the newest KEEP."""
    save(folder / str(step), state, extra)
    _tidy(folder)


def load_newest(
    folder: pathlib.Path,
    abstract: Callable[[Any], chex.ArrayTree],
    log: Callable[[str], None],
    misfit: Callable[[Any], str | None] = lambda extra: None,
) -> tuple[Any, Any] | None:
    """Returns (state, extra) of the newest checkpoint of a pack that can be used.

    It is None if there is none. One that cannot be used is reported and set aside under
    another name, and the one before it is used. What a killed save left behind is
    finished if it is whole, else removed. `abstract` is as of `load`; `misfit` maps the
    extra value to the reason why it cannot be used, or to None.
    """
    for unfinished in _unfinished(folder):
        if damage(unfinished) is None:  # Whole: all but its rename had been done.
            _exchange(unfinished, unfinished.with_suffix(""))
    for step in reversed(steps_in(folder)):
        path = folder / str(step)
        problem = damage(path)
        what = f"is damaged: {problem}"
        if problem is None:
            problem = misfit(json.loads((path / "extra.json").read_text()))
            what = f"cannot be used: {problem}"
        if problem is None:
            _tidy(folder)
            return load(path, abstract)
        log(f"Checkpoint {path} {what}. It is set aside as {set_aside(path)}.")
    return None


def set_aside(path: pathlib.Path, into: pathlib.Path | None = None) -> pathlib.Path:
    """Gives a damaged folder a name that no other one has, where it is or in `into`."""
    aside = (into or path.parent) / (path.name + _DAMAGED)
    for number in itertools.count(2):
        if not os.path.lexists(aside):
            break
        aside = aside.with_name(f"{path.name}.{number}{_DAMAGED}")
    return path.rename(aside)


def shapes_of(tree: chex.ArrayTree) -> chex.ArrayTree:
    """Returns the tree of shapes, dtypes and shardings that `load` fills."""
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
    )


def steps_in(folder: pathlib.Path) -> list[int]:
    """Returns the steps of the checkpoints in a folder, ascending."""
    return sorted(int(p.name) for p in folders(folder) if run_folder.is_parameters(p))


def folders(folder: pathlib.Path, end: str = "") -> list[pathlib.Path]:
    """Returns the folders that are named by a number and then `end`.

    Nothing else there is of this module: files, links, and other names.
    """
    name = re.compile(rf"(0|[1-9][0-9]*){re.escape(end)}")
    return [
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if name.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    ]


def _write(path: pathlib.Path, state: chex.ArrayTree) -> None:
    """Writes arrays by orbax, in this process alone: the leader of several.

    `ocp.save` would ask all processes for their path, also where one is active.
    """
    alone = orbax.checkpoint.options.MultiprocessingOptions(**_alone())
    arrays = orbax.checkpoint.PyTreeCheckpointHandler(multiprocessing_options=alone)
    handler = orbax.checkpoint.CompositeCheckpointHandler(
        composite_options=orbax.checkpoint.CompositeOptions(
            multiprocessing_options=alone
        ),
        state=arrays,
    )
    saved = orbax.checkpoint.args.PyTreeSave(state)
    with orbax.checkpoint.Checkpointer(handler, multiprocessing_options=alone) as saver:
        saver.save(path, orbax.checkpoint.args.Composite(state=saved))


def _alone() -> dict[str, Any]:
    """Returns the options by which orbax waits for no other process of a job."""
    me = jax.process_index()
    return {
        "primary_host": me,
        "active_processes": {me},
        "barrier_sync_key_prefix": str(me),
    }


def _manifest(hashes: dict[str, str | None]) -> str:
    return json.dumps(hashes, indent=1)


def _hashes(folder: pathlib.Path) -> dict[str, str | None]:
    return {
        str(path.relative_to(folder)): _hash(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / "manifest.json"
    }


def _hash(path: pathlib.Path) -> str | None:
    """Returns the SHA-256 of a file; None if there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _exchange(temporary: pathlib.Path, path: pathlib.Path) -> None:
    _remove(path)
    temporary.rename(path)


def _remove(path: pathlib.Path) -> None:
    """Removes a folder of ours; a link in its place goes, not what it leads to."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


def _tidy(folder: pathlib.Path) -> None:
    for unfinished in _unfinished(folder):
        shutil.rmtree(unfinished)
    for old in steps_in(folder)[:-KEEP]:
        shutil.rmtree(folder / str(old))


def _unfinished(folder: pathlib.Path) -> list[pathlib.Path]:
    return [p for p in folders(folder, _TEMPORARY) if run_folder.is_parameters(p)]


def _sync(path: pathlib.Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # Some file systems have no such thing for folders.
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
