"""Which recipes bring generalization forward, against an AdamW that was tuned as well?

Question: where AdamW generalizes modular addition long after it has memorized it, does
any of the recipes that are said to speed up grokking need fewer updates to ID
generalization, if every recipe, AdamW included, may choose its learning rate and weight
decay from one and the same grid?

Prediction: less than published. The papers compare with an AdamW whose weight decay is
small or none; a tuned one is faster, and most of what a recipe gains is in the grid.

How cells are chosen and compared is in cells.py. The grid's decays are those at which a
tuned AdamW is late: with more, such as 1 at rate 2e-3 mod 97, no delay is left.
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
    SELECT,
)
from rdt_jax.analysis import grokking, statistics
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import LEVEL
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import comparison, terminal
from rdt_jax.figures.words import task_name
from rdt_jax.sweep import spec

CONFIG = "configs/modular.py"

claims = judging.claims


def trials_of(
    names: Sequence[str],
    rates: Sequence[float],
    decays: Sequence[float],
    tuned: Mapping[str, tuple[float, float]],
    compared: Mapping[str, Sequence[int]],
) -> list[dict[str, Any]]:
    """Every cell with the pairs SELECT, and the tuned one with those that compare."""
    trials = []
    for name in names:
        keys = cells.overrides_of(name)
        for rate, decay in itertools.product(rates, decays):
            others = compared[name] if tuned.get(name) == (rate, decay) else ()
            cell = keys | {RATE: rate, DECAY: decay}
            pairs = [{"seed": n, "task.seed": n} for n in (*SELECT, *others)]
            trials += [cell | pair for pair in pairs]
    return trials


# preset -> the cell of each recipe that the pairs SELECT chose. Without a recipe here
# only its cells are trained; the table then says which is the best one.
TUNED: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "cpu": {
        BASELINE: (8e-3, 0.3),
        "muon": (8e-3, 0.3),
        "grokfast_ema": (8e-3, 0.3),
        "grokfast_ma": (2e-3, 0.3),
        "orthogonal": (8e-3, 0.3),
        "stablemax": (4e-3, 0.3),
        "constant_norm": (8e-3, 0.1),
    },
    "cpu_long": {},
}
# Seeds of the pairs that compare. One group is compared with all others, so it is the
# larger one.
PAIRS = dict.fromkeys(NAMES, range(32, 38)) | {BASELINE: range(32, 42)}
_SMOKE = (BASELINE, "muon")
_ALONE = {
    "recurrence.num_loops": 1,
    "num_steps": 2_000,
    "checkpoint_every_steps": 2_000,
}

SWEEPS = {
    "smoke": (
        trials_of(
            _SMOKE,
            (2e-3,),
            (0.1, 1.0),
            dict.fromkeys(_SMOKE, (2e-3, 1.0)),
            dict.fromkeys(_SMOKE, (32, 33)),
        ),
    ),
    "cpu": (
        trials_of(NAMES, (2e-3, 4e-3, 8e-3), (0.1, 0.3), TUNED["cpu"], PAIRS),
        [_ALONE],
    ),
    "cpu_long": (
        trials_of(
            NAMES, (5e-4, 1e-3, 2e-3, 4e-3), (0.25, 0.5), TUNED["cpu_long"], PAIRS
        ),
        [
            _ALONE
            | {
                "task.kwargs.train_fraction": 0.3,
                "eval_every_steps": 50,
                "stop_after_phases": True,
            }
        ],
    ),
}
sweep = spec.by_preset(SWEEPS)


def table(runs: Sequence[Run]) -> Table:
    """Builds the table of the best cells; ValueError if there is no run."""
    budget = run_folders.shared_value(runs, "num_steps")
    best = cells.best_cells(runs)
    tests = cells.after_holm(cells.compare(best))
    found = terminal.table(
        "Updates to ID generalization, every recipe at its best cell",
        caption=_caption(runs, budget),
    )
    for heading in ("recipe", "rate", "decay", "chosen", "memorized", "median",
                    "interval", "n/N", "later", "p"):  # fmt: skip
        first = heading == "recipe"
        found.add_column(heading, justify="left" if first else "right", no_wrap=first)
    for name, cell in best.items():
        memorized = median = interval = "..."
        if cell.times.size:
            memorized = _steps(float(np.median(cell.memorized)), budget)
            low_high = statistics.median_interval(cell.times)
            median = _steps(low_high.median, budget)
            interval = "-"
            if not np.isnan(low_high.low):
                interval = " - ".join(_steps(x, budget) for x in low_high[1:])
        test, arrived = tests.get(name), np.isfinite(cell.times).sum()
        chosen = _steps(float(np.median(cell.chosen)), budget) + "*" * (not cell.again)
        count = f"{arrived}/{cell.times.size}"
        entries = (chosen, memorized, median, interval, count)
        found.add_row(
            name,
            f"{cell.rate:g}",
            f"{cell.decay:g}",
            *(5 * ["..."] if cell.unfinished else entries),
            "" if test is None else f"{test.later:.2f}",
            "" if test is None else f"{test.p_value:.3f}",
        )
    return found


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws the seeds that compare, of recipes that are over; nothing if none is."""
    budget = run_folders.shared_value(runs, "num_steps")
    best = {
        name: cell
        for name, cell in cells.best_cells(runs).items()
        if cell.times.size and not cell.unfinished
    }
    if not best:
        return {}
    tests = cells.after_holm(cells.compare(best))
    label = {n: f"{n} ({c.rate:g}, {c.decay:g})" for n, c in best.items()}
    return {
        "times": comparison.times_by_group(
            {label[name]: cell.times for name, cell in best.items()},
            budget=budget,
            title=_finding(tests),
            line=f"{task_name(runs)}; best (rate, decay) of one grid; p: "
            "against AdamW, after Holm",
            notes=(
                f"R = {run_folders.shared_value(runs, 'recurrence.num_loops')}. Pairs "
                f"of split and seed other than {_list(SELECT)}, which chose the cells.",
            ),
            event="ID generalized",
            told={label[n]: f"p = {test.p_value:.2g}" for n, test in tests.items()},
        )
    }


def _finding(tests: Mapping[str, statistics.Comparison]) -> str:
    """Says which recipes with a published claim are sooner or later than AdamW."""
    if not tests:
        return "No recipe with a published claim is compared with AdamW yet"
    known = {n: t for n, t in tests.items() if t.p_value <= LEVEL}
    told = [
        f"{'sooner' if is_sooner else 'later'}: {', '.join(names)}"
        for is_sooner in (True, False)
        if (names := [n for n, t in known.items() if (t.later < 0.5) == is_sooner])
    ]
    told = told or ["none sooner or later at this number of pairs"]
    return f"Of {len(tests)} recipes against tuned AdamW, {'; '.join(told)}"


def _steps(steps: float, budget: int) -> str:
    if np.isinf(steps):
        return f">{grokking.format_steps(budget)}"
    return grokking.format_steps(steps)


def _list(values: Sequence[int]) -> str:
    return " and ".join(map(str, values))


def _caption(runs: Sequence[Run], budget: int) -> str:
    values = lambda key: ", ".join(f"{x:g}" for x in run_folders.values_of(runs, key))
    return (
        f"One grid for all: rate {values(RATE)}, decay {values(DECAY)}. Pairs of split "
        f"and seed {_list(SELECT)} chose the cell (chosen: their median; *: in these "
        "runs they choose another); medians to memorize and to generalize, 95% "
        "interval, n/N that arrived, and the rank-sum test against AdamW are those of "
        "the other pairs. later: share of comparisons in which the recipe is the later "
        "one (0.50: neither); p after Holm over the recipes. "
        f"Budget {grokking.format_steps(budget)} updates; > marks what lies beyond."
    )
