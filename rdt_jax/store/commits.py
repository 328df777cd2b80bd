"""Commits of a pack, and a workdir with commits that was copied to a disk.

    commits.runs_of(workdir / "packs" / pack)  # run ids of the pack
    commits.adopt(workdir / "packs" / pack, workdir, run_ids, log=print)

A bucket has commits: `checkpoints/<lease>/<step>/` with `checkpoint/`, `runs/` and
`commit.json`, of their SHA-256 (store/bucket_sync.py says why). A disk has the
checkpoints alone, in `checkpoints/<step>/`, and the records in the run folders.
"""

import hashlib
import json
import pathlib
import shutil
from collections.abc import Callable, Iterable, Sequence

from rdt_jax import config as configs
from rdt_jax.store import checkpoint, files, records, run_folder
from rdt_jax.store.bucket import stays_inside

# Of a run, in a commit.
RECORDS = ("metrics.jsonl", "events.jsonl", "timing.jsonl", "environment.json")

_COMMITS = ".commits"  # Behind the number of a lease: no checkpoint of that step.


def runs_of(pack: pathlib.Path) -> list[str]:
    """Returns the run ids of a pack that has a checkpoint; `pack` is its folder.

    ValueError if the file that names them is damaged.
    """
    path = pack / "runs.json"
    if path.exists():
        runs = files.read_json(path, list)
    else:
        path = next((pack / "checkpoints").glob("*/*/commit.json"))
        runs = runs_in(files.read_json(path))
    configs.check_run_ids(runs, path)
    return runs


def runs_in(names: Iterable[str]) -> list[str]:
    """Returns the runs of a commit by the names of its files."""
    parts = [name.split("/") for name in names]
    return sorted({part[1] for part in parts if part[0] == "runs"})


def read(
    proof: bytes, runs: Sequence[str], read_file: Callable[[str], bytes]
) -> dict[str, bytes]:
    """Returns the files of a commit by their names in its commit.json, `proof`.

    ValueError if that names a file which no commit of these runs has, or one is
    damaged.
    """
    hashes = json.loads(proof)
    ours = {f"runs/{run}/{name}" for run in runs for name in RECORDS}
    for name in set(hashes) - ours:
        if not (name.startswith("checkpoint/") and stays_inside(name)):
            raise ValueError(
                f"commit.json names {name!r}, which is no file of a commit"
            )
    contents = {}
    for name, expected in hashes.items():
        contents[name] = read_file(name)
        if hashlib.sha256(contents[name]).hexdigest() != expected:
            raise ValueError(f"{name} is not what commit.json says")
    return contents


def adopt(
    pack: pathlib.Path,
    workdir: pathlib.Path,
    runs: Sequence[str],
    log: Callable[[str], None],
) -> None:
    """Makes the newest commit of a pack its newest checkpoint, with its records.

    A kill at any moment leaves what the next call goes on with. `log` receives one-line
    messages about commits that are damaged.
    """
    folder = pack / "checkpoints"
    for path in checkpoint.folders(folder):
        if any(path.glob("*/commit.json")):
            path.rename(path.with_name(path.name + _COMMITS))
    of_leases = checkpoint.folders(folder, _COMMITS)
    commits = [
        (int(path.name.removesuffix(_COMMITS)), int(proof.parent.name), proof)
        for path in of_leases
        for proof in path.glob("*/commit.json")
    ]
    newest = max(checkpoint.steps_in(folder), default=-1)
    for _, step, proof in sorted(commits, reverse=True):
        if step <= newest:  # It was adopted before.
            break
        read_file = lambda name, at=proof.parent: (at / name).read_bytes()
        try:
            contents = read(proof.read_bytes(), runs, read_file)
        except (OSError, ValueError, AttributeError) as problem:
            aside = checkpoint.set_aside(proof.parent, folder)
            log(
                f"Commit {proof.parent} cannot be used: {problem}. It is set aside as "
                f"{aside}."
            )
            continue
        for run in runs:
            run_folder.reopen(workdir / run)
        for name, content in contents.items():
            kind, _, rest = name.partition("/")
            if kind == "runs":
                files.replace(workdir / rest, content)
        for run in runs:
            records.sync(workdir / run)
        (proof.parent / "checkpoint").rename(folder / str(step))
        break
    if checkpoint.steps_in(folder):
        for path in of_leases:
            shutil.rmtree(path)
