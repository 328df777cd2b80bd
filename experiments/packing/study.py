"""Do runs that train in a pack generalize at other times than runs that train alone?

Question: does a run arrive at ID generalization at another time as the lane of a
vmapped pack than alone?

Prediction: no. Both do the same arithmetic on the same batches, but round differently,
so that two trajectories of one seed drift apart; rounding prefers neither side.

    rdt sweep experiments/packing --preset=cpu --lanes=20 --workdir=runs

trains each seed twice, in one pack with the others and alone. A run alone writes its
checkpoints at intervals of its own, so it shares no program with another; no update
depends on them. One split (`task.seed`), since the lanes of a pack have one table.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table
from scipy import stats

from experiments.modular_addition.cells import GENERALIZED, times
from rdt_jax import wording
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import grokking, statistics
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import comparison, terminal
from rdt_jax.figures.words import event_name, task_name
from rdt_jax.store import files
from rdt_jax.sweep import spec

CONFIG = "configs/modular.py"

LEVEL = 0.05  # of a test
ALONE, PACKED = "alone", "in packs"


def _twice(count: int, budget: int, every: int) -> list[spec.Overrides]:
    """Seeds as lanes of one pack, then each alone, with a checkpoint beyond its end."""
    alone = [
        {"seed": seed, "checkpoint_every_steps": budget + every * (1 + seed)}
        for seed in range(count)
    ]
    return spec.seeds(count) + alone


SWEEPS = {"smoke": (_twice(3, 300, 20),), "cpu": (_twice(20, 1_000, 20),)}
sweep = spec.by_preset(SWEEPS)


def sides(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Returns the runs alone and those in packs, by ascending seed.

    Of a seed that a plan has on one side only there is no pair, and no run here.
    """
    found: dict[str, dict[int, Run]] = {ALONE: {}, PACKED: {}}
    for run in runs:
        is_alone = run.config.checkpoint_every_steps > run.config.num_steps
        found[ALONE if is_alone else PACKED][run.config.seed] = run
    seeds = sorted(found[ALONE].keys() & found[PACKED].keys())
    return {name: [members[s] for s in seeds] for name, members in found.items()}


def table(runs: Sequence[Run]) -> Table:
    """Builds a table of both ways to train; ValueError if there is no run."""
    budget = run_folders.shared_value(runs, "num_steps")
    rows = []
    for name, members in sides(runs).items():
        found = times(members, GENERALIZED)
        interval = [np.nan] * 3
        if found.size and not run_folders.unfinished(members):
            interval = list(statistics.median_interval(found))
        rows.append(
            (
                name,
                ", ".join(map(str, _lanes(members))),
                *(_steps(step, budget) for step in interval),
                f"{np.isfinite(found).sum()}/{found.size}",
            )
        )
    return terminal.table(
        f"Updates to {event_name(GENERALIZED)}, of the same seeds",
        ("trained", "lanes", "median", "from", "to", "n/N"),
        rows,
        caption="from, to: 95% interval of the median; n/N: runs that arrived.",
    )


def summary(runs: Sequence[Run]) -> list[str]:
    """Says how often the two times of a seed differ."""
    return [f"{_finding(*_times(runs).values())}."]


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws both distributions and the pairs; ValueError if there is no pair."""
    found = _times(runs)
    return {
        "times": comparison.paired_times(
            found,
            budget=run_folders.shared_value(runs, "num_steps"),
            title=_finding(*found.values()),
            line=task_name(runs),
            notes=(),
            event=event_name(GENERALIZED),
        )
    }


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges whether the median shift of a seed's time lies below one evaluation.

    A shift is the time in the pack less that alone; where one of both is censored only
    its sign is known, and where both are, nothing, which counts against the claim. It
    holds if two one-sided sign tests refute a median shift of one evaluation or more,
    later and sooner; it fails if a sign test refutes one below that.
    """
    found = sides(runs)
    alone, packed = _times(runs).values()
    with np.errstate(invalid="ignore"):  # Two censored times have no difference.
        shifts = packed - alone
    every = max((run.config.eval_every_steps for run in runs), default=0)
    p_of = lambda right: (
        stats.binomtest(
            int(right.sum()), max(1, right.size), alternative="greater"
        ).pvalue
    )
    same = max(p_of(shifts < every), p_of(shifts > -every))
    other = min(1.0, 2 * min(p_of(shifts >= every), p_of(shifts <= -every)))
    missing = grokking.ends_of(run_folders.unfinished(runs))
    if not shifts.size:
        missing.append("the runs alone and in packs")
    if found[ALONE] and not _trained_as_named(found):
        missing.append("packs of several runs, and runs alone: --lanes of `rdt sweep`")
    return [
        judging.judge(
            "A run generalizes at the same time in a pack and alone: the median shift "
            "is below one evaluation.",
            source="this study's prediction",
            expected="rounding prefers neither side",
            measured=(
                f"of {wording.count(shifts.size, 'seed')} {(shifts == 0).sum()} at "
                f"the same evaluation (of {every} updates), {(packed > alone).sum()} "
                f"later in the pack, {(packed < alone).sum()} sooner; arrived "
                f"{np.isfinite(packed).sum()}, alone {np.isfinite(alone).sum()}"
            ),
            holds=bool(same <= other),
            missing=missing,
            runs=found[PACKED],
            test="two one-sided sign tests over pairs",
            p_value=float(min(same, other)) if shifts.size else None,
        )
    ]


def _times(runs: Sequence[Run]) -> dict[str, np.ndarray]:
    """Returns the updates to generalization, alone and in packs, seed by seed."""
    return {name: times(ran, GENERALIZED) for name, ran in sides(runs).items()}


def _finding(alone: np.ndarray, packed: np.ndarray) -> str:
    return (
        f"Of {wording.count(alone.size, 'seed')} {(packed > alone).sum()} generalize "
        f"later in a pack than alone, {(packed < alone).sum()} sooner"
    )


def _lanes(runs: Sequence[Run]) -> list[int]:
    """Returns the distinct numbers of lanes that runs trained with, if it is known."""
    paths = [run.folder / "environment.json" for run in runs]
    found = [files.read_json(path) for path in paths if path.exists()]
    return sorted({environment["lanes"] for environment in found if environment})


def _trained_as_named(found: dict[str, list[Run]]) -> bool:
    return {1} >= {*_lanes(found[ALONE])} and 1 not in _lanes(found[PACKED])


def _steps(steps: float, budget: int) -> str:
    if np.isnan(steps):
        return "..."
    return f"> {budget}" if np.isinf(steps) else f"{steps:g}"
