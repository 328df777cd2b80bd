"""What a run ran on: versions, devices, threads, commit, its place in a pack."""

import importlib.metadata
import pathlib
import platform
import subprocess
from collections.abc import Callable
from typing import Any

import jax

from rdt_jax import machine
from rdt_jax.training import records

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "rdt_jax")

_BITS = ("versions", "devices", "processes", "threads")


def write(
    folder: pathlib.Path, packing: dict[str, Any], report: Callable[[str], None]
) -> None:
    """Writes environment.json of a run folder.

    Args:
      folder: of the run.
      packing: `pack` (its pack_id), `lane` (the run's place in it), `shapes` (step and
        number of lanes at the start and after each re-forming), `exact` and `mesh`
        (devices along each of its axes).
      report: told when the run goes on under something else than it began with, so
        that its numbers are no longer those of an undisturbed run, bit by bit.
    """
    path = folder / "environment.json"
    before = records.read_json(path)
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    now = {
        "versions": versions | {"python": platform.python_version()},
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
        "threads": machine.threads(),
        "commit": commit(),
        **packing,
        "lanes": packing["shapes"][0][1],
    }
    changed = [
        key
        for key in (*_BITS, "lanes", "exact", "mesh")
        if key in before and before[key] != now[key]
    ]
    if changed:
        report(
            f"Run {folder.name} goes on under other {', '.join(changed)} than it began "
            "with: from here on its numbers are not bit-identical to an undisturbed "
            "run's."
        )
    if now != before:
        records.write_json(path, now)


def commit() -> str | None:
    """Returns the commit of the code that runs, "+changes" if the tree has any."""
    git = ["git", "-C", str(pathlib.Path(__file__).parent)]
    try:
        name = subprocess.check_output(
            [*git, "rev-parse", "HEAD"], stderr=-3, text=True
        )
        dirty = subprocess.call([*git, "diff", "--quiet", "HEAD"], stderr=-3)
    except (OSError, subprocess.CalledProcessError):
        return None  # Installed from a package, without its history.
    return name.strip() + ("+changes" if dirty else "")
