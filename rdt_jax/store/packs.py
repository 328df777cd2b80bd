"""Whether a run is over, and in which pack one that is not must go on.

Runs train in packs, and what a run needs to go on is in a checkpoint of its pack: once
there is one, it belongs to that pack.
"""

import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any

import ml_collections

from rdt_jax import config as configs
from rdt_jax import wording
from rdt_jax.store import checkpoint, commits, files, leases, records, run_folder


def pack_id(configs_of_pack: Sequence[ml_collections.ConfigDict]) -> str:
    """Names a pack by its runs, in any order."""
    return pack_of([configs.run_id(config) for config in configs_of_pack])


def pack_of(run_ids: Sequence[str]) -> str:
    """Names the pack of these runs, in any order."""
    return hashlib.sha256(",".join(sorted(run_ids)).encode()).hexdigest()[:12]


def if_over(
    workdir: pathlib.Path, names: Sequence[str], pack: str, budget: int | None = None
):
    """Returns the statuses of a pack with nothing to do; None if there is something.

    There is something where a run that spent its own budget is given a larger `budget`.

    Where there is nothing, what a killed process was writing is removed: no training
    would do that any more.

    Raises:
      ValueError: if one of its runs was trained in another pack, or all are over and
        one is damaged.
    """
    statuses = [run_folder.read_status(workdir / name, budget) for name in names]
    if all(is_final(status) for status in statuses):
        for name in names:
            records.check_readable(workdir / name)
            files.tidy(workdir / name)
        return statuses
    for name, status in zip(names, statuses, strict=True):
        _check(workdir, name, status, pack)
    return None


def is_final(status: dict[str, Any]) -> bool:
    """Says whether a run is over: done, or failed in a way that would repeat."""
    return status["state"] == "done" or status.get("reason") == "nan"


def began_in(workdir: pathlib.Path, status: dict[str, Any]) -> list[str]:
    """Returns the run ids of the pack that an unfinished run must go on in.

    It is empty for a run that may go anywhere: it was never checkpointed, or in a pack
    that needed more memory than there is and had several runs.
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

    One that was killed before its first checkpoint does: its status tells of none, and
    its records end where the first would have been.
    """
    folder = workdir / run
    status, rows = (
        run_folder.read_status(folder, budget),
        records.read_rows(folder / "metrics.jsonl"),
    )
    if is_final(status):
        return
    pack = workdir / "packs" / (status["pack"] or pack_of([run]))
    kept = pack / "checkpoints"
    if kept.is_symlink():
        raise ValueError(
            f"{kept} is a link. A pack removes folders there, so it must be a folder "
            "of the workdir itself: move what it leads to here."
        )
    aside = any(p for p in kept.glob("[0-9]*") if not p.name.isdigit())
    if _has_any(kept) or aside:
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


def _check(workdir, run: str, status: dict[str, Any], pack: str) -> None:
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
