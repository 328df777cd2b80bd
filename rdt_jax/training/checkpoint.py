"""Checkpoints that are whole or absent, and proven undamaged when they are read.

A checkpoint is a folder: `state/` by orbax, `extra.json`, and `manifest.json` with the
SHA-256 of every other file. It is written under a temporary name and renamed, so a
folder with its final name is complete; the manifest finds what was damaged later.
"""

import hashlib
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import absl.logging
import chex
import jax
from orbax.checkpoint import v1 as ocp

KEEP = 2  # rotating checkpoints of a pack: one to use, one in case it is damaged
_DAMAGED = ".damaged"
_TEMPORARY = ".tmp"


def save(path: pathlib.Path, state: chex.ArrayTree, extra: Any) -> None:
    """Writes arrays and a JSON value as a checkpoint folder, replacing any at `path`.

    Raises:
      OSError: if the disk refuses; what stood at `path` before is then untouched.
    """
    absl.logging.set_verbosity(absl.logging.ERROR)  # orbax reports every save.
    temporary = path.with_name(path.name + _TEMPORARY)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    ocp.save(temporary.absolute() / "state", state)
    (temporary / "extra.json").write_text(json.dumps(extra))
    (temporary / "manifest.json").write_text(json.dumps(_hashes(temporary), indent=1))
    shutil.rmtree(path, ignore_errors=True)
    temporary.rename(path)


def damage(path: pathlib.Path) -> str | None:
    """Says what is wrong with a checkpoint folder; None if every byte is as written."""
    try:
        manifest = json.loads((path / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        return f"its manifest cannot be read ({error})"
    found = _hashes(path)
    if found == manifest:
        return None
    names = sorted(
        name for name in found | manifest if found.get(name) != manifest.get(name)
    )
    return f"{', '.join(names)} differs from the manifest"


def load(path: pathlib.Path, abstract: Callable[[Any], chex.ArrayTree]):
    """Reads a checkpoint folder.

    Args:
      path: of the folder.
      abstract: maps the extra value to the tree of `jax.ShapeDtypeStruct` to fill.

    Returns:
      (state, extra).

    Raises:
      ValueError: if it is damaged.
    """
    reason = damage(path)
    if reason is not None:
        raise ValueError(f"Checkpoint {path} is damaged: {reason}.")
    extra = json.loads((path / "extra.json").read_text())
    return ocp.load(path.absolute() / "state", abstract(extra)), extra


def save_rotating(
    folder: pathlib.Path, step: int, state: chex.ArrayTree, extra: Any
) -> None:
    """Writes the checkpoint of `step` and removes all but the newest KEEP."""
    save(folder / str(step), state, extra)
    for unfinished in folder.glob(f"*{_TEMPORARY}"):  # Of saves that were killed.
        shutil.rmtree(unfinished)
    for old in steps_in(folder)[:-KEEP]:
        shutil.rmtree(folder / str(old))


def load_newest(
    folder: pathlib.Path,
    abstract: Callable[[Any], chex.ArrayTree],
    report: Callable[[str], None],
):
    """Reads the newest undamaged checkpoint of a pack.

    A damaged one is reported and set aside under another name, and the one before it
    is used.

    Returns:
      (state, extra), or None if there is no undamaged checkpoint.
    """
    for step in reversed(steps_in(folder)):
        path = folder / str(step)
        reason = damage(path)
        if reason is None:
            return load(path, abstract)
        aside = path.with_name(path.name + _DAMAGED)
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        report(f"Checkpoint {path} is damaged: {reason}. It is set aside as {aside}.")
    return None


def shapes_of(tree: chex.ArrayTree) -> chex.ArrayTree:
    """Returns the tree of shapes, dtypes and shardings that `load` fills."""
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
    )


def steps_in(folder: pathlib.Path) -> list[int]:
    """Returns the steps of the checkpoints in a folder, ascending."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def _hashes(folder: pathlib.Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
