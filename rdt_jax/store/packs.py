"""Names of packs, whether a run is over, and in which pack an unfinished one goes on.

    pack = packs.pack_of(run_ids)  # its folder is workdir / "packs" / pack
    statuses = packs.if_over(workdir, run_ids)  # None: there is something to do
    packs.began_in(workdir, status)  # run ids of the pack that a run began in

What a run needs to go on is in a checkpoint of its pack, so a run belongs to the pack
that has its first checkpoint.
"""

import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any

from rdt_jax import config as configs
from rdt_jax import wording
from rdt_jax.store import checkpoint, commits, files, leases, records, run_folder


def pack_of(run_ids: Sequence[str]) -> str:
    """Names the pack of these runs, in any order."""
    return hashlib.sha256(",".join(sorted(run_ids)).encode()).hexdigest()[:12]


def if_over(
    workdir: pathlib.Path, run_ids: Sequence[str], budget: int | None = None
) -> list[dict[str, Any]] | None:
    """Returns the statuses of the runs of a pack if all are over, else None.

    A run that spent a smaller budget than `budget`, by default its own, is not over. If
    all are, temporary files of killed processes are removed, since nobody will train
    there any more.

    Raises:
      ValueError: if one of its runs was trained in another pack, or all are over and
        one is damaged.
    """
    statuses = [run_folder.read_status(workdir / name, budget) for name in run_ids]
    if all(is_final(status) for status in statuses):
        for name in run_ids:
            records.check_readable(workdir / name)
            files.tidy(workdir / name)
        return statuses
    for name, status in zip(run_ids, statuses, strict=True):
        _check(workdir, name, status, pack_of(run_ids))
    return None


def is_final(status: dict[str, Any]) -> bool:
    """Says whether a run is over: done, or failed in a way that would repeat."""
    return status["state"] == "done" or status.get("reason") == "nan"


def began_in(workdir: pathlib.Path, status: dict[str, Any]) -> list[str]:
    """Returns the run ids of the pack that an unfinished run must go on in.

    The list is empty for a run that may go on in any pack: it has no checkpoint, or its
    pack had several runs and needed more memory than there is.
    """
    if status["pack"] is None:
        return []
    folder = workdir / "packs" / status["pack"]
    if not _has_any(folder / "checkpoints"):
        return []
    runs = commits.runs_of(folder)
    past = leases.history(workdir, status["pack"])
    if len(runs) > 1 and past and past[-1].outcome == "oom":
        return []
    return runs


def check_kept(workdir: pathlib.Path, run: str, budget: int | None = None) -> None:
    """Raises ValueError if a run would begin again, since its checkpoints are gone.

    A run that was killed before its first checkpoint may begin again: its status tells
    of no checkpoint, and its records end before the step of the first.
    """
    folder = workdir / run
    status = run_folder.read_status(folder, budget)
    rows = records.read_rows(folder / "metrics.jsonl")
    if is_final(status):
        return
    pack = workdir / "packs" / (status["pack"] or pack_of([run]))
    checkpoints = pack / "checkpoints"
    if checkpoints.is_symlink():
        raise ValueError(
            f"{checkpoints} is a link. A pack removes folders there, so it must be a "
            "folder of the workdir itself: move what it leads to here."
        )
    aside = any(p for p in checkpoints.glob("[0-9]*") if not p.name.isdigit())
    if _has_any(checkpoints) or aside:
        return
    last = max([status["step"], *(row["step"] for row in rows[-1:])])
    if status.get("saved") or last > configs.read_run(folder).checkpoint_every_steps:
        raise ValueError(
            f"Run {run} is at step {last}, and {pack}/checkpoints has no checkpoint: "
            "it would begin again and replace its records. Bring that folder here as "
            f"well, or remove {folder} to train it again."
        )
    if rows and not (folder / "status.json").exists():
        raise ValueError(
            f"{folder / 'status.json'} is missing, and the run has records up to step "
            f"{last}: it would begin again and replace them. Bring the file back, or "
            f"remove {folder} to train it again."
        )


def _has_any(folder: pathlib.Path) -> bool:
    """Says whether a pack has a checkpoint, as a disk or as a bucket has them."""
    return bool(checkpoint.steps_in(folder)) or any(folder.glob("*/*/commit.json"))


def _check(workdir: pathlib.Path, run: str, status: dict[str, Any], pack: str) -> None:
    """Raises ValueError if a run that is not over cannot go on in a pack."""
    if status["pack"] in (None, pack):
        return
    if is_final(status):
        raise ValueError(
            f"Run {run} is {status['state']}; a pack with other runs, unfinished, "
            "would train it again and replace its records."
        )
    if others := began_in(workdir, status):
        raise ValueError(
            f"Run {run} began in pack {status['pack']} with "
            f"{wording.count(len(others), 'run')} and is at step {status['step']}; in "
            "another pack it would begin anew and replace its records. `rdt sweep` "
            "goes on with the pack as it is."
        )
