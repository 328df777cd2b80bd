"""Recipes, their best cells of one grid, and how these compare with AdamW's.

The pairs SELECT of a split and a seed train every cell of the grid and choose the best
one of a recipe; other pairs train that cell only and compare it with AdamW's: the best
of several cells looks better than it is on the pairs that chose it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.modular_addition.cells import GENERALIZED, MEMORIZED, times
from rdt_jax.analysis import grokking, statistics
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.runs import Run
from rdt_jax.training import recipes

RATE, DECAY = "optimizer.learning_rate", "optimizer.weight_decay"
SELECT = (30, 31)  # seeds of the pairs that choose the cell; all others compare

BASELINE = "adamw"
# What every trial says, so that a run tells its recipe.
OFF: Mapping[str, Any] = {
    "optimizer.name": "adamw",
    "gradient.filter": "none",
    "gradient.orthogonal": False,
    "loss.function": "softmax",
    "optimizer.constant_norm": False,
    "gradient.filter_strength": 2.0,
}
# Recipes with a published claim on when models generalize -> what the source reports.
COMPARED: Mapping[str, str] = {
    "muon": "95% of validation after 103 epochs instead of 153, means over tasks",
    "grokfast_ema": "95% of validation after 910 iterations instead of 39,890",
    "grokfast_ma": "95% of validation after 790 iterations instead of 39,890",
    "orthogonal": "generalization without the delay",
    "stablemax": "generalization without weight decay, where softmax shows none",
    "constant_norm": "train and test curves that nearly coincide",
}
NAMES = (BASELINE, *COMPARED)


def overrides_of(recipe: str) -> dict[str, Any]:
    """Returns all keys that make a recipe of this study, and no other."""
    on = {} if recipe == BASELINE else recipes.RECIPES[recipe].overrides
    return {**OFF, **on}


@dataclasses.dataclass(frozen=True, eq=False)
class Best:
    """The best cell of a recipe, and how it did on the seeds that did not choose it."""

    rate: float
    decay: float
    # Updates to GENERALIZED of the seeds that chose it, [N], and of the others, [M];
    # inf where censored.
    chosen: np.ndarray
    times: np.ndarray
    memorized: np.ndarray  # [M], updates to MEMORIZED of these
    again: bool  # whether the seeds SELECT of these runs choose it among all cells
    unfinished: int  # the recipe's runs, in all cells, that may still train


def recipe_of(run: Run) -> str:
    """Names the recipe of a run; ValueError if it has none of this study."""
    for name in NAMES:
        keys = overrides_of(name).items()
        if all(run_folders.value_of(run, key) == value for key, value in keys):
            return name
    raise ValueError(f"Run {run.run_id} has no recipe of experiments/accelerators.")


def best_cells(runs: Sequence[Run]) -> dict[str, Best]:
    """Chooses the cell of each recipe that has runs, in the order of the study.

    The best cell has the least median over the seeds SELECT, censored runs counting as
    last; cells without a median are ranked by how many seeds arrived, then by their
    mean final accuracy, then by the order of the grid. Where other seeds have been
    trained in some cells only, it is one of these.
    """
    found = {}
    for recipe in NAMES:
        members = [run for run in runs if recipe_of(run) == recipe]
        cells = run_folders.group(members, (RATE, DECAY))
        cells = {key: cell for key, cell in cells.items() if seeds(cell, True)}
        if not cells:
            continue
        ranks = {key: _rank(seeds(cell, True)) for key, cell in cells.items()}
        compared = [key for key, cell in cells.items() if seeds(cell, False)]
        rate, decay = min(compared or cells, key=ranks.__getitem__)
        others = seeds(cells[rate, decay], False)
        found[recipe] = Best(
            rate=rate,
            decay=decay,
            chosen=times(seeds(cells[rate, decay], True), GENERALIZED),
            times=times(others, GENERALIZED),
            memorized=times(others, MEMORIZED),
            again=(rate, decay) == min(cells, key=ranks.__getitem__),
            unfinished=len(run_folders.unfinished(members)),
        )
    return found


def compare(best: Mapping[str, Best]) -> dict[str, statistics.Comparison]:
    """Compares the updates to GENERALIZED at every recipe's best cell with AdamW's.

    p-values are before any correction. Recipes that have unfinished runs or lack two
    pairs to compare are left out.
    """
    ready = {n for n, b in best.items() if b.times.size >= 2 and not b.unfinished}
    if BASELINE not in ready:
        return {}
    return {
        name: statistics.rank_sum(best[BASELINE].times, best[name].times, seed=0)
        for name in COMPARED
        if name in ready
    }


def after_holm(
    tests: Mapping[str, statistics.Comparison],
) -> dict[str, statistics.Comparison]:
    """Returns tests with p-values after Holm over COMPARED.

    A recipe that waits for runs counts as a test with p = 1, since what is missing must
    not make a verdict easier.
    """
    left = [1.0] * (len(COMPARED) - len(tests))
    raised = statistics.holm([*(test.p_value for test in tests.values()), *left])
    return {
        name: test._replace(p_value=p_value)
        for (name, test), p_value in zip(tests.items(), raised, strict=False)
    }


def seeds(cell: Sequence[Run], choosing: bool) -> list[Run]:
    """Returns the runs whose seeds choose a cell, or those that compare."""
    return [run for run in cell if (run.config.seed in SELECT) == choosing]


def _rank(runs: Sequence[Run]) -> tuple[float, int, float]:
    known = times(runs, GENERALIZED)
    final = [
        float(grokking.smooth(run_folders.accuracy(run, "id").values)[-1])
        for run in runs
        if run_folders.has_group(run, "id")
    ]
    accuracy = float(np.mean(final)) if final else 0.0
    return float(np.median(known)), int(np.isinf(known).sum()), -accuracy
