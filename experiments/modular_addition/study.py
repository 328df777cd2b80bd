"""When is modular addition understood, and what changes inside when it is?

Question: does a transformer generalize long after it has memorized; how does the time
to generalize depend on the share of pairs that it sees and on weight decay; and do the
frequencies by which it adds grow before the held-out accuracy shows it?

Prediction (Power et al. 2022; Nanda et al. 2023; Liu et al. 2022, Omnigrok): it
generalizes late, sooner with more data, in a time inversely proportional to weight
decay and never without; the loss of its key frequencies alone falls before that of the
whole network.

The base cell, at R = 1 and looped, is trained to the end of its budget and keeps its
parameters at snapshots; every other cell differs from it at R = 1 in one number, and
its runs end once they have generalized.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from experiments.modular_addition import cells
from experiments.modular_addition import claims as judged
from experiments.modular_addition import drawing as pictures
from experiments.modular_addition.cells import DECAY, FRACTION, GENERALIZED, MEMORIZED
from rdt_jax.analysis import grokking, stages
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.runs import LOOPS, Run
from rdt_jax.figures import curves, terminal, words
from rdt_jax.sweep import spec

CONFIG = "configs/modular.py"
ANALYSES: Mapping[str, tuple[str, ...]] = {
    "progress": ("run",), "answers": stages.KINDS,
}  # fmt: skip

# Nanda et al.'s run, as far as this skeleton has it: see the README for what differs.
_NANDA: Mapping[str, Any] = {
    "task.kwargs.operation": "add",
    "task.kwargs.modulus": 113,
    "model.preset": "custom",
    "model.core_blocks": 1,
    "model.feedforward": "relu",
    "model.readout": "untied",
    "optimizer.learning_rate": 1e-3,
}
FIRST_PAIR = 20  # seed and task.seed; 0 to 19 and 100 have been looked at


def _spread(last: int, every: int, count: int) -> tuple[int, ...]:
    """About `count` evaluations, evenly spaced in the logarithm of the step, and 0."""
    spaced = np.geomspace(every, last, count) / every
    return (0, *sorted({int(round(step)) * every for step in spaced}))


def _cells(
    *,
    base: tuple[float, float],
    loops: Sequence[int],
    decays: Mapping[float, int],
    fractions: Sequence[float],
    snapshots: Sequence[int],
    full_batch_of: int | None = None,
    **fixed: Any,
) -> list[dict[str, Any]]:
    """Lists the cells: the base cell by loop count, then those that differ from it.

    Args:
      base: fraction and decay of the base cell, whose budget the last snapshot is.
      loops: R of its runs; all others have R = 1.
      decays: budgets in updates by weight decay, of the cells that differ in that; the
        one without decay keeps its parameters when the base cell does.
      fractions: shares of data of the cells that differ from it in that.
      snapshots: evaluations at which the base cell keeps its parameters.
      full_batch_of: pairs of the table, if a batch is to have all that are trained.
      **fixed: further keys of all trials.
    """
    fraction, decay = base

    def of(fraction: float, decay: float, loops: int, budget: int) -> dict[str, Any]:
        cell = {FRACTION: fraction, DECAY: decay, LOOPS: loops, "num_steps": budget}
        if full_batch_of is not None:
            cell["batch_size"] = round(fraction * full_batch_of)
        return cell

    budget, kept = snapshots[-1], {"snapshot_steps": tuple(snapshots)}
    whole = {"stop_after_phases": False} | kept
    followed = [of(fraction, decay, count, budget) | whole for count in loops]
    alone = [
        of(fraction, value, 1, longer) | (kept if value == 0 else {})
        for value, longer in decays.items()
    ]
    alone += [of(value, decay, 1, budget) for value in fractions]
    return [{"stop_after_phases": True} | fixed | cell for cell in followed + alone]


def _pairs(count: int) -> list[spec.Overrides]:
    """A split and a seed each: no result before these claims' rules had any of them."""
    numbers = range(FIRST_PAIR, FIRST_PAIR + count)
    return spec.zipped(**{"task.seed": numbers, "seed": numbers})


SWEEPS = {
    "smoke": (
        _cells(
            base=(0.6, 1.0),
            loops=(1,),
            decays={0.0: 300, 0.5: 300},
            fractions=(0.7,),
            snapshots=_spread(300, 20, 6),
        ),
        _pairs(1),
    ),
    "cpu": (
        _cells(
            base=(0.6, 1.2),
            loops=(1, 2),
            decays={0.0: 10_000, 0.3: 6_000, 0.6: 6_000},
            fractions=(0.4, 0.5, 0.7, 0.8),
            snapshots=_spread(3_000, 20, 30),
        ),
        _pairs(5),
    ),
    "cpu_long": (
        _cells(
            base=(0.3, 1.0),
            loops=(1,),
            decays={0.0: 40_000, 0.25: 6_000, 0.5: 4_000, 2.0: 3_000},
            fractions=(0.2, 0.25, 0.35, 0.4),
            snapshots=_spread(3_000, 50, 40),
            eval_every_steps=50,
        ),
        _pairs(5),
    ),
    "paper": (
        _cells(
            base=(0.3, 1.0),
            loops=(1, 2, 4),
            decays={0.0: 40_000, 0.3: 40_000, 3.0: 40_000},
            fractions=(0.2, 0.25, 0.35, 0.4, 0.5, 0.6),
            snapshots=_spread(40_000, 100, 60),
            full_batch_of=113**2,
            **_NANDA,
        ),
        _pairs(5),
    ),
}
sweep = spec.by_preset(SWEEPS)


def table(runs: Sequence[Run]) -> Table:
    """Builds the table of all cells; ValueError if there is no run."""
    return terminal.table(
        "Updates to memorize and to generalize: modular addition",
        ("R", "decay", "trained", "memorized", "generalized", "ID at end"),
        [
            (
                str(cell.values[LOOPS]),
                f"{cell.values[DECAY]:g}",
                f"{cell.values[FRACTION]:g}",
                *(_entry(cell, event) for event in (MEMORIZED, GENERALIZED)),
                f"{cell.final['id'].median:.2f}" if "id" in cell.final else "",
            )
            for cell in grokking.cells(runs, (LOOPS, FRACTION, DECAY))
        ],
        caption="median n/N over pairs of split and seed; > marks what lies beyond the "
        "budget, ... what is still training. "
        f"Thresholds: {words.thresholds(runs, (MEMORIZED, GENERALIZED))}.",
    )


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws what has been run; ValueError if there is no run of the base cell."""
    if not cells.base(runs):
        raise ValueError("No run of the base cell yet; `rdt sweep` trains them.")
    followed = [run for run in runs if run.config.snapshot_steps]
    followed = [run for run in followed if run not in cells.controls(runs)]
    by_decay = cells.by_decay(runs)
    without = by_decay.pop(0.0, [])
    found = {
        "accuracy": curves.accuracy(followed),
        "data_fraction": pictures.times_by_value(
            cells.by_fraction(runs), "share of the pairs that is trained", is_log=False
        ),
        "weight_decay": pictures.times_by_value(
            by_decay, "weight decay, log scale", is_log=True, without=without
        ),
    }
    # The run of the median rank at each loop count, if it has been measured.
    medians = [
        grokking.median_run(cells.base(runs, loops), GENERALIZED)
        for loops in run_folders.values_of(followed, LOOPS)
    ]
    if inside := cells.followed([run for run in medians if run is not None]):
        found["progress"] = pictures.progress(inside)
    return found


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges the claims on what has been run so far."""
    followed = [*cells.base(runs), *cells.controls(runs)]
    return judged.judge_all(runs, cells.followed(followed))


def _entry(cell: grokking.Cell, event: str) -> str:
    if event not in cell.times:
        return ""
    times = cell.times[event]
    median = "..." if times.median.beyond and cell.unfinished else str(times.median)
    return f"{median} {times.reached}/{times.runs}"
