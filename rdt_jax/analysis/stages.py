"""The checkpoints that stand for the stages of a grokking run, and what they hold.

Reference: Kohli et al. (2026), arXiv:2604.07822, Figure 4: one checkpoint when training
is memorized, one when ID generalizes, one when OOD does.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rdt_jax import wording
from rdt_jax.analysis import grokking, stored
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
# stage -> the event whose completion brings a run there.
EVENTS = {
    "memorized": "memorized",
    "id": "id_generalized",
    "end": "ood_generalized",
}
KINDS = tuple(dict.fromkeys(kind for kinds in STAGES.values() for kind in kinds))


class Seen(NamedTuple):
    """One stored analysis of one run."""

    run: Run
    checkpoint: str
    result: Any

    @property
    def generalized(self) -> bool:
        """Whether the checkpoint is one at which OOD had completed."""
        return self.checkpoint.startswith("ood_generalized-after")


class Sample(NamedTuple):
    """The runs that a statement is about, and the analyses that there are of them."""

    what: str  # name of `stored.MEASURES`
    seen: list[Seen]  # result of each run of `due` that has one
    due: list[Run]  # the runs that came to where the statement looks, analyzed or not
    awaited: list[Run]  # unfinished runs that may still come there

    @property
    def unknown(self) -> int:
        """Number of runs that the statement is or may be about, without an analysis."""
        return len(self.due) + len(self.awaited) - len(self.seen)


def checkpoint_of(run: Run, stage: str) -> str | None:
    """Returns the checkpoint that stands for a stage of a run, or None.

    The stage may also be a kind of checkpoint, such as `final`.
    """
    kinds = STAGES.get(stage, (stage,))
    names = (name for kind in kinds for name in stored.of_kind(run, kind))
    return next(names, None)


def look(runs: Sequence[Run], what: str, stage: str) -> list[Seen]:
    """Returns a stored analysis of each run that has one at a stage."""
    results = []
    for run in runs:
        checkpoint = checkpoint_of(run, stage)
        result = checkpoint and stored.load(run, what, checkpoint)
        if checkpoint and result is not None:
            results.append(Seen(run, checkpoint, result))
    return results


def sample(runs: Sequence[Run], what: str, stage: str) -> Sample:
    """Returns the runs in which the event of a stage completed, as they were then.

    A run that only came to its end is not at the stage `end` here.
    """
    due = grokking.arrived(runs, EVENTS[stage])
    then = STAGES[stage][0]
    return Sample(
        what=what,
        seen=[s for s in look(due, what, stage) if s.checkpoint.startswith(then)],
        due=due,
        awaited=grokking.awaited(runs, EVENTS[stage]),
    )


def of_runs(sample: Sample, is_one: Callable[[Run], bool]) -> Sample:
    """Returns the part of a sample whose runs pass a test."""
    return sample._replace(
        seen=[s for s in sample.seen if is_one(s.run)],
        due=[run for run in sample.due if is_one(run)],
        awaited=[run for run in sample.awaited if is_one(run)],
    )


def note(*samples: Sample) -> str:
    """Writes how many runs were measured, to follow other numbers; empty if all."""
    unknown = sum(each.unknown for each in samples)
    seen = sum(len(each.seen) for each in samples)
    due = wording.count(seen + unknown, "run")
    return f"; {seen} of {due} measured" if unknown else ""


def missing(sample: Sample, otherwise: str, which: str = "") -> list[str]:
    """Lists what a verdict on all runs of a sample waits for.

    Args:
      otherwise: reason to wait if no run came or may come there.
      which: words for what the runs have in common, such as `without loops`.
    """
    lacking = len(sample.due) - len(sample.seen)
    named = []
    if lacking:
        number = wording.count(lacking, "run")
        named.append(f"the {sample.what} of {number} {which}".rstrip())
    named += grokking.ends_of(sample.awaited, which)
    return named if sample.seen or named else [otherwise]


def models(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Groups runs by the name of their model, feed-forward models last."""
    order = lambda run: (run.num_loops == 1, run.num_loops, *_shape(run))
    found: dict[str, list[Run]] = {}
    for run in sorted(runs, key=order):
        found.setdefault(model_name(run), []).append(run)
    return found


def model_name(run: Run) -> str:
    """Says how often how many blocks run, `4 x 2 blocks`, and what is read at a pad."""
    blocks, reads_pad = _shape(run)
    return f"{run.num_loops} x {wording.count(blocks, 'block')}" + ", pad" * reads_pad


def _shape(run: Run) -> tuple[int, bool]:
    reads_pad = ("answer_at", "pad") in run.config.task.kwargs.items()
    return run.config.model.core_blocks, reads_pad


def step_of(seen: Seen) -> int:
    """Returns after how many updates the checkpoint was kept."""
    if seen.checkpoint == "final":
        return int(seen.run.status["step"])
    return int(seen.checkpoint.rpartition("-")[2])
