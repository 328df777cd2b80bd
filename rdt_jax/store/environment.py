"""What a run ran on: code, files of the user, versions, devices, JAX settings.

    now = environment.segment(config, step)  # what this process trains with
    environment.write(folder, packing, now, begins=step == 0, log=print)
    [s["commit"] for s in environment.read(folder)["segments"]]

environment.json has the run's place in its pack and a history, `segments`: one entry
for each stretch of updates that one environment made, in their order. A run that goes
on in the environment that it began with has one entry, however often it was stopped.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import inspect
import itertools
import json
import os
import pathlib
import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import ml_collections

from rdt_jax import machine, tasks
from rdt_jax.store import files, run_folder
from rdt_jax.tasks import identity

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
_EXPORTED = "$Format:%H$"  # `git archive` puts the commit here (.gitattributes).
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "rdt_jax")

# What changes numbers beside the config and is not `pinned`.
_SETTINGS = (
    "jax_allow_f16_reductions", "jax_cpu_collectives_implementation",
    "jax_default_device", "jax_default_matmul_precision", "jax_disable_jit",
    "jax_disable_most_optimizations", "jax_enable_pgle", "jax_enable_x64",
    "jax_exec_time_optimization_effort", "jax_memory_fitting_effort",
    "jax_memory_fitting_level", "jax_numpy_dtype_promotion", "jax_optimization_level",
    "jax_random_seed_offset", "jax_softmax_custom_jvp", "jax_use_direct_linearize",
    "jax_use_shardy_partitioner",
)  # fmt: skip
_VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE")

# One entry of the history, a JSON object: step (from which on), commit and code (of
# this package), versions (name -> version), devices (their kinds), processes, threads,
# settings (name -> value), task (files of the user's own), and conditions of training.
Segment = dict[str, Any]


def segment(config: ml_collections.ConfigDict, step: int, **conditions: Any) -> Segment:
    """Returns what this process trains with, from a step on.

    Files of the user's own task are in it; `conditions` are further entries, such as
    `exact` and `mesh`.
    """
    import jax  # Figures, which read this file, are drawn without.

    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    settings = jax.config.values  # Not every version of JAX has every one.
    values = {name: settings.get(name) for name in _SETTINGS}
    values |= {name: os.environ.get(name) for name in _VARIABLES}
    entry = {
        "step": step,
        "commit": commit(),
        "code": _code(),
        "versions": versions | {"python": platform.python_version()},
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
        "threads": machine.threads(),
        "settings": json.loads(json.dumps(values, default=str)),
        **conditions,
    }
    module = inspect.unwrap(tasks.lookup(config.task.name)).__module__
    if not module.startswith("rdt_jax."):
        entry["task"] = of_files(
            p for p in identity.sources(module) if p.suffix == ".py"
        )
    return entry


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Draws the same random numbers in its context, whatever JAX is told of them.

    So `JAX_DEFAULT_PRNG_IMPL` and `JAX_THREEFRY_PARTITIONABLE` change no run.
    """
    import jax

    with jax.default_prng_impl("threefry2x32"), jax.threefry_partitionable(True):
        yield


def write(
    folder: pathlib.Path,
    packing: Mapping[str, Any],
    now: Segment,
    begins: bool,
    log: Callable[[str], None],
) -> None:
    """Writes environment.json of a run folder.

    `packing` is the place of the run in its pack: `pack` (its name), `lane` (the run's
    place in it), `lanes` (how many it began with), `shapes` (step and number of lanes
    at the start and after each re-forming) and `table` (hash of the arrays that it
    trains on). A run that begins has no history. If one goes on in another environment
    than before, which is logged, its numbers may differ from those of an undisturbed
    run.
    """
    segments: list[Segment] = [] if begins else read(folder)["segments"]
    # What came after the step that the run goes on from is lost.
    segments = [s for s in segments if s["step"] < now["step"]] or segments[:1]
    changes = []
    if segments:  # Of what an older version did not write, nothing is known.
        before = {key: segments[-1].get(key, value) for key, value in now.items()}
        changes = _changes(before, now)
    if changes:
        log(
            f"Run {folder.name} goes on from step {now['step']} in another environment "
            "than before, so its numbers may differ from an undisturbed run's: "
            f"{'; '.join(changes)}."
        )
    if changes or not segments:
        segments = [*segments, dict(now)]
    content = {**packing, "segments": segments}
    path = folder / "environment.json"
    if not path.exists() or files.read_json(path) != content:
        files.write_json(path, content)


def read(folder: pathlib.Path) -> dict[str, Any]:
    """Reads environment.json of a run folder; a run that never began has no segments.

    A file of a version without a history is read as one segment, of all its entries.
    """
    content = run_folder.read_environment(folder)
    if "segments" in content:
        return content
    return content | {"segments": [{"step": 0} | content] if content else []}


def warnings(segments: Sequence[Segment]) -> list[str]:
    """Says why the numbers of a run may not come out again, by its history."""
    found = []
    for before, now in itertools.pairwise(segments):
        changes = "; ".join(_changes(before, now))
        found.append(f"From step {now['step']} on another environment: {changes}.")
    commits = dict.fromkeys(str(entry.get("commit")) for entry in segments)
    told = {"None": "No commit of its code is known."}
    told |= {c: f"Its code is not that of a commit: {c}." for c in commits if "+" in c}
    return found + [told[commit] for commit in commits if commit in told]


def check_table(
    folder: pathlib.Path, table: str, config: ml_collections.ConfigDict
) -> None:
    """Raises ValueError if a run was trained on another table than its task makes now.

    `table` is the hash of the arrays of that one (`identity.hash_arrays`).
    """
    before = read(folder).get("table", table)  # None was recorded before 0.2.
    if before != table:
        raise ValueError(
            f"Run {folder.name} was trained on another table of {config.task.name} "
            f"(SHA-256 {before[:12]}) than it makes now ({table[:12]}): its code, "
            "its files or numpy have changed. It is not gone on with or measured on "
            "other rows; train it again in another workdir."
        )


@functools.cache
def commit() -> str | None:
    """Returns the commit of this package, "+changes" if its files are not the commit's.

    It ends in "+export" where nothing tells whether they are: in an export of its own
    repository. It is None if the package lies in neither.
    """
    root = _PACKAGE.parent
    try:
        own = 'name = "rdt_jax"' in (root / "pyproject.toml").read_text()
    except OSError:
        own = False
    if own and _git(root, "rev-parse", "--show-toplevel") == str(root):
        return _commit_of(_PACKAGE)
    return None if "$" in _EXPORTED else f"{_EXPORTED}+export"


def of_files(paths: Iterable[pathlib.Path]) -> dict[str, Any]:
    """Returns the commit of files of the user, as `commit`, and each one's SHA-256."""
    paths = sorted(path.resolve() for path in paths)
    whole = pathlib.Path(os.path.commonpath(paths))
    root = whole if whole.is_dir() else whole.parent
    hashes = {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }
    return {"commit": _commit_of(whole), "sha256": hashes}


def _commit_of(path: pathlib.Path) -> str | None:
    folder = path if path.is_dir() else path.parent
    name = _git(folder, "rev-parse", "HEAD")
    if name is None or _git(folder, "check-ignore", path):
        return None  # What a repository ignores, such as a .venv, is none of it.
    changes = _git(folder, "--no-optional-locks", "status", "--porcelain", "--", path)
    return name + ("+changes" if changes else "")


def _git(folder: pathlib.Path, *words: Any) -> str | None:
    """Returns what git says in a folder; None if it fails or is not there."""
    # A hook's variables name the repository of the hook.
    variables = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        said = subprocess.check_output(
            ["git", "-C", str(folder), *map(str, words)],
            stderr=subprocess.DEVNULL, text=True, env=variables,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.strip()


@functools.cache
def _code() -> str:
    """Returns a SHA-256 over the source files of this package, alike in an export."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        content = path.read_bytes().replace(_EXPORTED.encode(), b"")
        digest.update(
            f"{path.relative_to(_PACKAGE)} {len(content)} ".encode() + content
        )
    return digest.hexdigest()


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Lists the entries of a segment, but for its step, that are new or other ones."""
    changes = []
    for key in sorted((before.keys() | now.keys()) - {"step"}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            changes += [f"{key} {change}" for change in _changes(old, new)]
        elif old != new:
            change = f"{key} is {new}, was {old}"
            changes.append(re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28,52}\b", r"\1", change))
    return changes
