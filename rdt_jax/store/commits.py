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

    Raises:
      ValueError: if the file that names them is damaged.
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


def check_names(names: Iterable[str], runs: Sequence[str]) -> None:
    """Raises ValueError if a commit.json names a file that no commit has.

    Args:
      names: file names in the commit.json.
      runs: run ids of the pack.
    """
    ours = {f"runs/{run}/{name}" for run in runs for name in RECORDS}
    for name in set(names) - ours:
        if not (name.startswith("checkpoint/") and stays_inside(name)):
            raise ValueError(
                f"commit.json names {name!r}, which is no file of a commit"
            )


def adopt(
    pack: pathlib.Path,
    workdir: pathlib.Path,
    runs: Sequence[str],
    log: Callable[[str], None],
) -> None:
    """Makes the newest commit of a pack its newest checkpoint, with its records.

    A kill at any moment leaves what the next call goes on with.

    Args:
      pack: folder of the pack.
      workdir: folder of its runs.
      runs: run ids of the pack.
      log: receives one-line messages about commits that are damaged.
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
        if problem := _damage(proof, runs):
            aside = checkpoint.set_aside(proof.parent, folder)
            log(
                f"Commit {proof.parent} cannot be used: {problem}. It is set aside as "
                f"{aside}."
            )
            continue
        for run in runs:
            run_folder.reopen(workdir / run)
        for name in json.loads(proof.read_text()):
            kind, _, rest = name.partition("/")
            if kind == "runs":
                text = (proof.parent / name).read_text()
                files.write_text(workdir / rest, text)
        for run in runs:
            records.sync(workdir / run)
        (proof.parent / "checkpoint").rename(folder / str(step))
        break
    if checkpoint.steps_in(folder):
        for path in of_leases:
            shutil.rmtree(path)


def _damage(proof: pathlib.Path, runs: Sequence[str]) -> str | None:
    """Says what is wrong with the commit of a commit.json; None if nothing is."""
    try:
        hashes = json.loads(proof.read_text())
        check_names(hashes, runs)
        for name, expected in hashes.items():
            content = (proof.parent / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != expected:
                return f"{name} is not what commit.json says"
    except (OSError, ValueError, AttributeError) as error:
        return str(error)
    return None
