"""The published claims that a recipe brings generalization forward."""

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.accelerators import cells
from experiments.accelerators.cells import BASELINE, COMPARED, Best
from experiments.modular_addition import cells as modular
from rdt_jax import wording
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import statistics
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.runs import Run
from rdt_jax.training import recipes

LEVEL = 0.05  # of a test, after Holm's correction
FEWEST = 5  # seeds that can tell what happens on most


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges the claims on what has been run so far."""
    best = cells.best_cells(runs)
    tests = cells.compare(best)
    return [
        _baseline_arrives(runs, best),
        *(_is_sooner(name, runs, best, tests) for name in COMPARED),
    ]


def _baseline_arrives(runs: Sequence[Run], best: Mapping[str, Best]) -> Claim:
    """Judges lateness as experiments/modular_addition does.

    Both times are smoothed over several evaluations, so that one a little after the
    other is no delay.
    """
    cell = best.get(BASELINE)
    measured, holds, missing = "no time of adamw", None, ["the runs of adamw"]
    if cell is not None and cell.times.size and not cell.unfinished:
        late = modular.is_late(cell.memorized, cell.times)
        waits = np.isinf(cell.times) & np.isfinite(cell.memorized)
        holds = modular.majority(late[~waits], waits.sum())
        measured = f"{modular.share(late, 'seed')}, {waits.sum()} memorized only"
        missing = ["more seeds"] if late.size < FEWEST else []
        missing += ["a longer budget"] if holds is None else []
    return judging.judge(
        f"Tuned AdamW generalizes only after {modular.LATE} times the updates that it "
        "memorized in, on most seeds: there is a delay.",
        source="Power et al. (2022), arXiv:2201.02177",
        expected="a delay of up to a thousand times the updates to memorization",
        measured=measured,
        holds=holds,
        missing=missing,
        runs=_of(runs, BASELINE),
    )


def _is_sooner(
    name: str,
    runs: Sequence[Run],
    best: Mapping[str, Best],
    tests: Mapping[str, statistics.Comparison],
) -> Claim:
    measured, holds = "no comparison", None
    waiting = [n for n in (BASELINE, name) if n not in best or best[n].unfinished]
    missing = []
    if waiting or name not in tests:
        missing.append(f"the runs of {' and '.join(waiting or (BASELINE, name))}")
    else:
        test, sizes = tests[name], (best[BASELINE].times.size, best[name].times.size)
        measured = (
            f"later than AdamW in {test.later:.2f} of the pairs (0.50: neither), p = "
            f"{test.p_value:.3f} after Holm, {sizes[1]} against "
            f"{wording.count(sizes[0], 'seed')}"
        )
        holds = test.later < 0.5
        if test.p_value > LEVEL:
            missing.append("more seeds")
    return judging.judge(
        f"{name} generalizes in fewer updates than AdamW, both tuned on one grid.",
        source=recipes.RECIPES[name].source,
        expected=COMPARED[name],
        measured=measured,
        holds=holds,
        missing=missing,
        runs=_of(runs, BASELINE, name),
    )


def _of(runs: Sequence[Run], *names: str) -> list[Run]:
    """The runs of these recipes that compare: those of the seeds not in SELECT."""
    return cells.seeds([run for run in runs if cells.recipe_of(run) in names], False)
