"""The checkpoints that stand for the stages of a grokking run, and what they hold.

Reference: Kohli et al. (2026), arXiv:2604.07822, Figure 4: one checkpoint when training
is memorized, one when ID generalizes, one when OOD does.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from rdt_jax.analysis import stored
from rdt_jax.analysis.runs import Run

# stage -> the kinds of checkpoint that stand for it, the first that a run has.
STAGES = {
    "memorized": ("memorized-after",),
    "id": ("id_generalized-after",),
    "end": ("ood_generalized-after", "final"),
}
NAMES = {
    "memorized": "memorized",
    "id": "ID generalized",
    "end": "OOD, or the end",
}
KINDS = tuple(dict.fromkeys(kind for kinds in STAGES.values() for kind in kinds))


class Seen(NamedTuple):
    """One stored analysis of one run.

    Attributes:
      run: the run.
      checkpoint: its name.
      result: of the measure.
    """

    run: Run
    checkpoint: str
    result: Any

    @property
    def generalized(self) -> bool:
        """Whether the checkpoint is one at which OOD had completed."""
        return self.checkpoint.startswith("ood_generalized-after")


def checkpoint_of(run: Run, stage: str) -> str | None:
    """Returns the checkpoint that stands for a stage of a run, or None."""
    for kind in STAGES[stage]:
        found = stored.of_kind(run, kind)
        if found:
            return found[0]
    return None


def look(runs: Sequence[Run], what: str, stage: str) -> list[Seen]:
    """Returns a stored analysis of each run that has one at a stage.

    Args:
      runs: of a study.
      what: of `stored.MEASURES`.
      stage: of STAGES.
    """
    found = []
    for run in runs:
        checkpoint = checkpoint_of(run, stage)
        if checkpoint is None:
            continue
        result = stored.load(run, what, checkpoint)
        if result is not None:
            found.append(Seen(run, checkpoint, result))
    return found


def models(runs: Sequence[Run]) -> dict[tuple[int, int], list[Run]]:
    """Groups runs by (loops, blocks of the core), feed-forward models last."""
    found: dict[tuple[int, int], list[Run]] = {}
    for run in runs:
        shape = (run.num_loops, run.config.model.core_blocks)
        found.setdefault(shape, []).append(run)
    order = lambda shape: (shape[0] == 1, shape)
    return {shape: found[shape] for shape in sorted(found, key=order)}


def model_name(loops: int, blocks: int) -> str:
    """Says how often how many blocks are run: `4 x 2 blocks` for four loops."""
    return f"{loops} x {blocks} blocks"


def step_of(seen: Seen) -> int:
    """Returns after how many updates the checkpoint was kept."""
    if seen.checkpoint == "final":
        return int(seen.run.status["step"])
    return int(seen.checkpoint.rpartition("-")[2])
