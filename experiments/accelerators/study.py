"""Which recipes bring generalization forward, against an AdamW that was tuned as well?

Question: on modular addition, does any of the recipes that are said to speed up
grokking, or of the usual ones that are not, need fewer updates to ID generalization
than AdamW, if every recipe, AdamW included, may choose its learning rate and weight
decay from one and the same grid?

Prediction: less than published. The papers compare with an AdamW whose weight decay is
small or none; a tuned one is faster, and most of what a recipe gains is in the grid.

The seeds SELECT train every cell of the grid and choose the best one of a recipe; other
seeds train that cell only and compare it with AdamW's: the best of several cells looks
better than it is on the seeds that chose it.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from rdt_jax import registry
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import grokking, statistics
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import comparison
from rdt_jax.figures.grokking import task_name
from rdt_jax.training import recipes

CONFIG = "configs/modular.py"

RATE, DECAY = "optimizer.learning_rate", "optimizer.weight_decay"
MEMORIZED, GENERALIZED = "memorized", "id_generalized"
LEVEL = 0.05  # of a test, after Holm's correction
FEWEST = 5  # seeds that can tell what happens on most
SELECT = (0, 1)  # seeds that choose the cell; all others compare

BASELINE = "adamw"
# What every trial says, so that a run tells its recipe.
OFF: Mapping[str, Any] = {
    "optimizer.name": "adamw",
    "gradient.filter": "none",
    "gradient.orthogonal": False,
    "loss.function": "softmax",
    "optimizer.constant_norm": False,
    "gradient.filter_strength": 2.0,
    "gradient.clip_norm": None,
    "loss.dtype": "float32",
    "loss.label_smoothing": 0.0,
    "loss.deep_supervision": 0.0,
    "model.dropout": 0.0,
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
# Recipes without one, compared all the same.
OTHERS = ("lion", "sgd", "clip", "float64_loss", "label_smoothing", "dropout",
          "deep_supervision")  # fmt: skip
NAMES = (BASELINE, *COMPARED, *OTHERS)

# An optimizer whose directions are larger or smaller than AdamW's needs rates to match:
# its rates are multiplied by this and its decays divided, so that the share of a weight
# that an update takes away, rate times decay, is on one grid for all.
SCALE: Mapping[str, float] = {"lion": 0.25, "sgd": 25.0}


def overrides_of(recipe: str) -> dict[str, Any]:
    """Returns all keys that make a recipe of this study, and no other."""
    on = {} if recipe == BASELINE else recipes.RECIPES[recipe].overrides
    return {**OFF, **on}


def cell_of(recipe: str, rate: float, decay: float) -> dict[str, float]:
    """Returns the keys of a cell of the grid, given in AdamW's numbers."""
    scale = SCALE.get(recipe, 1.0)
    return {RATE: rate * scale, DECAY: decay / scale}


def _trials(
    names: Sequence[str],
    rates: Sequence[float],
    decays: Sequence[float],
    tuned: Mapping[str, tuple[float, float]],
    seeds: Mapping[str, Sequence[int]],
    **fixed: Any,
) -> list[dict[str, Any]]:
    """Every cell with the seeds SELECT, and the tuned one with those that compare."""
    trials = []
    for name in names:
        keys = overrides_of(name) | fixed
        for rate, decay in itertools.product(rates, decays):
            others = seeds[name] if tuned.get(name) == (rate, decay) else ()
            cell = keys | cell_of(name, rate, decay)
            trials += [cell | {"seed": seed} for seed in (*SELECT, *others)]
    return trials


# The cell of each recipe that the seeds SELECT chose, in AdamW's numbers.
TUNED: Mapping[str, tuple[float, float]] = {
    "adamw": (2e-3, 1.0),
    "muon": (2e-3, 1.0),
    "grokfast_ema": (5e-4, 1.0),
    "grokfast_ma": (2e-3, 1.0),
    "orthogonal": (2e-3, 0.1),
    "stablemax": (2e-3, 1.0),
    "constant_norm": (5e-4, 0.1),
    "lion": (2e-3, 1.0),
    "sgd": (2e-3, 0.1),
    "clip": (2e-3, 1.0),
    "float64_loss": (2e-3, 1.0),
    "label_smoothing": (2e-3, 1.0),
    "dropout": (2e-3, 1.0),
    "deep_supervision": (2e-3, 1.0),
}
# One group is compared with all others, so it is the larger one.
SEEDS = dict.fromkeys(NAMES, range(2, 8)) | {BASELINE: range(2, 14)}
_SMOKE = (BASELINE, "muon", "lion")

SWEEPS: Mapping[str, list[dict[str, Any]]] = {
    "smoke": _trials(
        _SMOKE,
        (2e-3,),
        (0.1, 1.0),
        dict.fromkeys(_SMOKE, (2e-3, 1.0)),
        dict.fromkeys(_SMOKE, (2, 3)),
    ),
    # Half the batch of configs/modular.py makes twice the updates in the same time. A
    # run takes seconds: one checkpoint is enough.
    "cpu": _trials(
        NAMES,
        (5e-4, 2e-3),
        (0.1, 1.0),
        TUNED,
        SEEDS,
        num_steps=600,
        batch_size=128,
        checkpoint_every_steps=600,
    ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Best:
    """The best cell of a recipe, and how it did on the seeds that did not choose it.

    Attributes:
      recipe: its name.
      rate: learning rate of the cell.
      decay: weight decay of the cell.
      chosen: [N], updates to GENERALIZED of the seeds that chose it; inf where
        censored.
      times: [M], likewise of the other seeds.
      memorized: [M], their updates to MEMORIZED.
      again: whether the seeds SELECT of these runs choose it among all cells.
      unfinished: number of the recipe's runs, in all cells, that may still train.
    """

    recipe: str
    rate: float
    decay: float
    chosen: np.ndarray
    times: np.ndarray
    memorized: np.ndarray
    again: bool
    unfinished: int


def sweep(preset: str) -> list[dict[str, Any]]:
    """Returns the overrides of each trial; ValueError lists the presets."""
    return list(registry.lookup("preset", SWEEPS, preset))


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
        cells = {key: cell for key, cell in cells.items() if _seeds(cell, True)}
        if not cells:
            continue
        ranks = {key: _rank(_seeds(cell, True)) for key, cell in cells.items()}
        compared = [key for key, cell in cells.items() if _seeds(cell, False)]
        rate, decay = min(compared or cells, key=ranks.__getitem__)
        others = _seeds(cells[rate, decay], False)
        found[recipe] = Best(
            recipe=recipe,
            rate=rate,
            decay=decay,
            chosen=_times(_seeds(cells[rate, decay], True), GENERALIZED),
            times=_times(others, GENERALIZED),
            memorized=_times(others, MEMORIZED),
            again=(rate, decay) == min(cells, key=ranks.__getitem__),
            unfinished=sum(run.outcome == "unfinished" for run in members),
        )
    return found


def compare(best: Mapping[str, Best]) -> dict[str, statistics.Comparison]:
    """Compares every recipe's best cell with AdamW's.

    p-values are after Holm, those of COMPARED and those of OTHERS apart: the second are
    no claims, and their number is not to hide one. Recipes that have unfinished runs or
    lack two seeds to compare are left out, and counted as tests with p = 1, since what
    is missing must not make a verdict easier.
    """
    ready = {n for n, b in best.items() if b.times.size >= 2 and not b.unfinished}
    if BASELINE not in ready:
        return {}
    first = best[BASELINE].times
    found = {}
    for family in (COMPARED, OTHERS):
        names = [name for name in family if name in ready]
        tests = [statistics.rank_sum(first, best[n].times, seed=0) for n in names]
        left = [1.0] * (len(family) - len(names))
        raised = statistics.holm([*(test.p_value for test in tests), *left])
        for name, test, p_value in zip(names, tests, raised, strict=False):
            found[name] = test._replace(p_value=p_value)
    return found


def table(runs: Sequence[Run]) -> Table:
    """Builds the table of the best cells; ValueError if there is no run."""
    budget = run_folders.shared_value(runs, "num_steps")
    best = best_cells(runs)
    tests = compare(best)
    found = Table(
        title="Updates to ID generalization, every recipe at its best cell",
        caption=_caption(runs, budget),
        caption_justify="left",
        title_style="bold",
        caption_style="dim",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for heading in ("recipe", "rate", "decay", "chosen", "median", "interval",
                    "n/N", "later", "p"):  # fmt: skip
        first = heading == "recipe"
        found.add_column(heading, justify="left" if first else "right", no_wrap=first)
    for name, cell in best.items():
        median = interval = "..."
        if cell.times.size:
            low_high = statistics.median_interval(cell.times)
            median = _steps(low_high.median, budget)
            interval = "-"
            if not np.isnan(low_high.low):
                interval = " - ".join(_steps(x, budget) for x in low_high[1:])
        test, arrived = tests.get(name), np.isfinite(cell.times).sum()
        chosen = _steps(float(np.median(cell.chosen)), budget)
        found.add_row(
            name,
            f"{cell.rate:g}",
            f"{cell.decay:g}",
            "..." if cell.unfinished else chosen + "*" * (not cell.again),
            "..." if cell.unfinished else median,
            "..." if cell.unfinished else interval,
            "..." if cell.unfinished else f"{arrived}/{cell.times.size}",
            "" if test is None else f"{test.later:.2f}",
            "" if test is None else f"{test.p_value:.3f}",
        )
    return found


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws the seeds that compare, of recipes that are over; ValueError if none is."""
    budget = run_folders.shared_value(runs, "num_steps")
    times = {
        f"{name} ({cell.rate:g}, {cell.decay:g})": cell.times
        for name, cell in best_cells(runs).items()
        if cell.times.size and not cell.unfinished
    }
    if not times:
        raise ValueError("No recipe has all of its runs; `rdt sweep` trains them.")
    return {
        "times": comparison.times_by_group(
            times,
            budget=budget,
            title=f"Recipes at their best cell (rate, decay): {task_name(runs)}",
            notes=(
                f"Seeds other than {_list(SELECT)}, which chose the cells of one grid.",
            ),
            event="ID generalized",
        )
    }


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges the claims on what has been run so far."""
    best = best_cells(runs)
    tests = compare(best)
    return [
        _baseline_arrives(runs, best),
        *(_is_sooner(name, runs, best, tests) for name in COMPARED),
    ]


def _baseline_arrives(runs: Sequence[Run], best: Mapping[str, Best]) -> Claim:
    cell = best.get(BASELINE)
    measured, holds, missing = "no time of adamw", None, ["the runs of adamw"]
    if cell is not None and cell.times.size and not cell.unfinished:
        late = np.isfinite(cell.times) & (cell.times > cell.memorized)
        measured = f"in {late.sum()} of {late.size} seeds ID completed after train"
        holds = bool(2 * late.sum() > late.size)
        missing = ["more seeds"] if late.size < FEWEST else []
    return judging.judge(
        "Tuned AdamW generalizes after it memorized, on most seeds: there is a delay.",
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
            f"later than AdamW in {test.later:.2f} of the pairs (0.50: neither), "
            f"p = {test.p_value:.3f} after Holm, {sizes[1]} against {sizes[0]} seeds"
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
    return _seeds([run for run in runs if recipe_of(run) in names], False)


def _seeds(cell: Sequence[Run], choosing: bool) -> list[Run]:
    return [run for run in cell if (run.config.seed in SELECT) == choosing]


def _times(runs: Sequence[Run], event: str) -> np.ndarray:
    found = [grokking.grok_times(run).phases for run in runs]
    steps = [times[event].completed if event in times else None for times in found]
    return np.array([np.inf if step is None else step for step in steps], float)


def _rank(runs: Sequence[Run]) -> tuple[float, int, float]:
    times = _times(runs, GENERALIZED)
    final = [
        float(grokking.smooth(run_folders.accuracy(run, "id").values)[-1])
        for run in runs
        if run_folders.has_group(run, "id")
    ]
    accuracy = float(np.mean(final)) if final else 0.0
    return float(np.median(times)), int(np.isinf(times).sum()), -accuracy


def _steps(steps: float, budget: int) -> str:
    if np.isinf(steps):
        return f">{grokking.format_steps(budget)}"
    return grokking.format_steps(steps)


def _list(values: Sequence[int]) -> str:
    return " and ".join(map(str, values))


def _caption(runs: Sequence[Run], budget: int) -> str:
    plain = [run for run in runs if recipe_of(run) not in SCALE]
    values = lambda key: ", ".join(f"{x:g}" for x in run_folders.values_of(plain, key))
    scaled = ", ".join(f"{name} {scale:g}" for name, scale in SCALE.items())
    return (
        f"One grid for all: rate {values(RATE)}, decay {values(DECAY)} (rates times, "
        f"decays over: {scaled}). Seeds {_list(SELECT)} chose the cell (chosen: "
        "their median; *: in these runs they choose another); median, 95% interval, "
        "n/N that arrived, and the rank-sum test against AdamW are those of the other "
        "seeds. later: share of pairs in which the recipe is the later one (0.50: "
        "neither); p after Holm, of recipes with a claim and of the others apart. "
        f"Budget {grokking.format_steps(budget)} updates; > marks what lies beyond."
    )
