"""Which recipes bring generalization forward, against an AdamW that was tuned as well?

Question: on modular addition, does any of the recipes that are said to speed up
grokking, or of the usual ones that are not, need fewer updates to ID generalization
than AdamW, if every recipe, AdamW included, may choose its learning rate and weight
decay from one and the same grid?

Prediction: less than published. The papers compare with an AdamW whose weight decay is
small or none; a tuned one is faster, and most of what a recipe gains is in the grid.

How cells are chosen and compared is in cells.py.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from experiments.accelerators import cells
from experiments.accelerators import claims as judging
from experiments.accelerators.cells import (
    BASELINE,
    DECAY,
    NAMES,
    RATE,
    SCALE,
    SELECT,
)
from rdt_jax.analysis import grokking, statistics
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import comparison, terminal
from rdt_jax.figures.words import task_name
from rdt_jax.sweep import spec

CONFIG = "configs/modular.py"

claims = judging.claims


def _trials(
    names: Sequence[str],
    rates: Sequence[float],
    decays: Sequence[float],
    tuned: Mapping[str, tuple[float, float]],
    seeds: Mapping[str, Sequence[int]],
) -> list[dict[str, Any]]:
    """Every cell with the seeds SELECT, and the tuned one with those that compare."""
    trials = []
    for name in names:
        keys = cells.overrides_of(name)
        for rate, decay in itertools.product(rates, decays):
            others = seeds[name] if tuned.get(name) == (rate, decay) else ()
            cell = keys | cells.cell_of(name, rate, decay)
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

SWEEPS = {
    "smoke": (
        _trials(
            _SMOKE,
            (2e-3,),
            (0.1, 1.0),
            dict.fromkeys(_SMOKE, (2e-3, 1.0)),
            dict.fromkeys(_SMOKE, (2, 3)),
        ),
    ),
    # Half the batch of configs/modular.py makes twice the updates in the same time. A
    # run takes seconds: one checkpoint is enough.
    "cpu": (
        _trials(NAMES, (5e-4, 2e-3), (0.1, 1.0), TUNED, SEEDS),
        [{"num_steps": 600, "batch_size": 128, "checkpoint_every_steps": 600}],
    ),
}
sweep = spec.by_preset(SWEEPS)


def table(runs: Sequence[Run]) -> Table:
    """Builds the table of the best cells; ValueError if there is no run."""
    budget = run_folders.shared_value(runs, "num_steps")
    best = cells.best_cells(runs)
    tests = cells.compare(best)
    found = terminal.table(
        "Updates to ID generalization, every recipe at its best cell",
        caption=_caption(runs, budget),
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
        chosen = _steps(float(np.median(cell.chosen)), budget) + "*" * (not cell.again)
        entries = (chosen, median, interval, f"{arrived}/{cell.times.size}")
        found.add_row(
            name,
            f"{cell.rate:g}",
            f"{cell.decay:g}",
            *(4 * ["..."] if cell.unfinished else entries),
            "" if test is None else f"{test.later:.2f}",
            "" if test is None else f"{test.p_value:.3f}",
        )
    return found


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws the seeds that compare, of recipes that are over; ValueError if none is."""
    budget = run_folders.shared_value(runs, "num_steps")
    best = {
        name: cell
        for name, cell in cells.best_cells(runs).items()
        if cell.times.size and not cell.unfinished
    }
    if not best:
        raise ValueError("No recipe has all of its runs; `rdt sweep` trains them.")
    tests = cells.compare(best)
    label = {n: f"{n} ({c.rate:g}, {c.decay:g})" for n, c in best.items()}
    return {
        "times": comparison.times_by_group(
            {label[name]: cell.times for name, cell in best.items()},
            budget=budget,
            title=_finding(tests),
            line=f"{task_name(runs)}; best (rate, decay) of one grid; bold: published "
            "claim; p: against AdamW, after Holm",
            notes=(
                f"R = {run_folders.shared_value(runs, 'recurrence.num_loops')}. Seeds "
                f"other than {_list(SELECT)}, which chose the cells of one grid.",
            ),
            event="ID generalized",
            told={label[n]: f"p = {test.p_value:.2g}" for n, test in tests.items()},
            bold=[label[name] for name in best if name in cells.COMPARED],
        )
    }


def _finding(tests: Mapping[str, statistics.Comparison]) -> str:
    """Says which recipes with a published claim are sooner or later than AdamW."""
    judged = {name: test for name, test in tests.items() if name in cells.COMPARED}
    if not judged:
        return "No recipe with a published claim is compared with AdamW yet"
    known = {n: t for n, t in judged.items() if t.p_value <= judging.LEVEL}
    told = [
        f"{'sooner' if is_sooner else 'later'}: {', '.join(names)}"
        for is_sooner in (True, False)
        if (names := [n for n, t in known.items() if (t.later < 0.5) == is_sooner])
    ]
    told = told or ["none sooner or later at this number of seeds"]
    return f"Of {len(judged)} recipes against tuned AdamW, {'; '.join(told)}"


def _steps(steps: float, budget: int) -> str:
    if np.isinf(steps):
        return f">{grokking.format_steps(budget)}"
    return grokking.format_steps(steps)


def _list(values: Sequence[int]) -> str:
    return " and ".join(map(str, values))


def _caption(runs: Sequence[Run], budget: int) -> str:
    plain = [run for run in runs if cells.recipe_of(run) not in SCALE]
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
