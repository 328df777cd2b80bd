"""How deep a curriculum got, and after how many updates.

Reference: Kohli et al. (2026), arXiv:2604.07822, Section 6.1: the most hops that a run
passes are its learnable recursion depth.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from rdt_jax.analysis import depth
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.runs import Run
from rdt_jax.models import loop
from rdt_jax.training import phases

# The config keys that say how many loops an update takes.
RECURRENCE = tuple(
    f"recurrence.{key}" for key in ("sampling", "num_loops", "max_loops")
)


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a run passed.

    Attributes:
      run_id: of the run.
      passed: hops -> updates after which their stage was over, ascending; a stage that
        was learned before it began is over when the one before it is.
      deepest: hops of the last stage that there is.
      last_step: updates at the last evaluation; what has not passed had not by then.
      outcome: as `Run.outcome`.
    """

    run_id: str
    passed: Mapping[int, int]
    deepest: int
    last_step: int
    outcome: run_folders.Outcome

    @property
    def learned(self) -> int | None:
        """The learnable recursion depth within the budget; None if no stage passed."""
        return max(self.passed, default=None)

    @property
    def is_bounded(self) -> bool:
        """Whether there were deeper stages: if not, more could have been learned."""
        return self.learned != self.deepest


def progress(run: Run) -> Progress:
    """Reads the stages that a run passed off its events.

    Raises:
      ValueError: if the run has no curriculum.
    """
    if run.config.curriculum.by is None:
        raise ValueError(
            f"Run {run.run_id} has no curriculum (curriculum.by is none), so there "
            "are no stages that it could pass."
        )
    completed: dict[int, int] = {}
    for row in run.events:
        if row["event"] == phases.HOP_LEARNED and row["kind"] == "completed":
            completed.setdefault(row["hops"], row["step"])
    stages = _stages(run)
    passed: dict[int, int] = {}
    step = 0
    for hops in stages:
        if hops not in completed:
            break
        step = max(step, completed[hops])
        passed[hops] = step
    return Progress(
        run_id=run.run_id,
        passed=passed,
        deepest=stages[-1],
        last_step=run.last_step or 0,
        outcome=run.outcome,
    )


def common_stage(runs: Sequence[Run]) -> tuple[int, list[Run]] | None:
    """Returns the deepest stage at which runs of two loop counts can be compared.

    It is one that recurrences of different largest loop counts passed in all of their
    runs. Their parameters have then been trained on the same rows, so what they do with
    more hops can be compared (Kohli et al., Figure 7).

    Returns:
      Its hops, and all runs of the recurrences that passed it; None if there is none.
    """
    groups = list(by_recurrence(runs).values())
    passed = [min(progress(run).learned or 0 for run in members) for members in groups]
    for hops in sorted({least for least in passed if least}, reverse=True):
        able = [
            members
            for members, least in zip(groups, passed, strict=True)
            if least >= hops
        ]
        if len({depth.most_loops(members[0].config) for members in able}) > 1:
            return hops, [run for members in able for run in members]
    return None


def by_recurrence(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Groups runs by how the loops of training are drawn.

    Returns:
      A name such as `R = 5`, or `R drawn from 2 to 8`, -> its runs by ascending seed;
      fixed loop counts first, then by ascending most loops.

    Raises:
      ValueError: if runs of a group differ in more than their seed.
    """
    found: dict[str, list[Run]] = {}
    for members in run_folders.group(runs, RECURRENCE).values():
        found[name_of(members[0])] = members
    return dict(sorted(found.items(), key=lambda item: _rank(item[1][0])))


def name_of(run: Run) -> str:
    """Says how the loops of a run's updates are drawn."""
    recurrence = run.config.recurrence
    if recurrence.sampling == "fixed":
        return f"R = {recurrence.num_loops}"
    counts = np.flatnonzero(loop.loop_distribution(recurrence))
    return f"R drawn from {counts.min()} to {counts.max()}"


def is_fixed(run: Run) -> bool:
    """Says whether all updates of a run take the same number of loops."""
    return run.config.recurrence.sampling == "fixed"


def median_run(runs: Sequence[Run]) -> Run:
    """Picks the run of the median rank by hops learned, to be drawn for the others.

    Of runs that learned as many hops the sooner ranks higher; of an even number the
    higher of the middle two is picked.

    Raises:
      ValueError: if there is no run.
    """
    if not runs:
        raise ValueError("A median run needs at least one run, got none.")

    def rank(run: Run) -> tuple[int, int]:
        found = progress(run)
        learned = found.learned or 1
        return learned, -found.passed.get(learned, 0)

    return sorted(runs, key=rank)[len(runs) // 2]


def _rank(run: Run) -> tuple[bool, int, int]:
    return not is_fixed(run), depth.most_loops(run.config), run.num_loops


def _stages(run: Run) -> list[int]:
    """Returns the numbers of hops that are trained stage by stage, ascending."""
    prefix = f"id/accuracy@{run.num_loops}[{run.config.curriculum.by}="
    start = run.config.curriculum.start
    found = {
        int(name.removeprefix(prefix).removesuffix("]"))
        for row in run.metrics[:1]
        for name in row
        if name.startswith(prefix)
    }
    return sorted(hops for hops in found if hops >= start) or [start]
