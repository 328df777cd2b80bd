"""The published claims that a recipe brings generalization forward.

What is judged is the time to generalize, as the sources report it, and not the delay:
a recipe that memorizes later by as much gains nothing.
"""

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

FEWEST = 5  # pairs of split and seed that can tell what happens in most


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges the claims on what has been run so far."""
    best = cells.best_cells(runs)
    tests = cells.compare(best)
    gate = _baseline_is_late(runs, best)
    return [gate, *(_is_sooner(name, runs, best, tests, gate) for name in COMPARED)]


def _baseline_is_late(runs: Sequence[Run], best: Mapping[str, Best]) -> Claim:
    """Judges lateness as experiments/modular_addition does, in most compared pairs.

    Both times are smoothed over several evaluations, so that one a little after the
    other is no delay. It is the gate of all other claims.
    """
    cell = best.get(BASELINE)
    measured, holds, missing = "no time of adamw", None, ["the runs of adamw"]
    if cell is not None and cell.times.size and not cell.unfinished:
        late = modular.is_late(cell.memorized, cell.times)
        waits = np.isinf(cell.times) & np.isfinite(cell.memorized)
        holds = modular.majority(late[~waits], waits.sum())
        measured = f"{modular.share(late, 'pair')}, {waits.sum()} memorized only"
        missing = ["more pairs"] if late.size < FEWEST else []
        missing += ["a longer budget"] if holds is None else []
    return judging.judge(
        f"Tuned AdamW generalizes only after {modular.LATE} times the updates that it "
        "memorized in, in most pairs of split and seed: there is a delay.",
        source="Power et al. (2022), arXiv:2201.02177",
        expected="a delay of up to a thousand times the updates to memorization",
        measured=measured,
        holds=holds,
        missing=missing,
        runs=_of(runs, BASELINE),
        test="count of runs",
    )


def _is_sooner(
    name: str,
    runs: Sequence[Run],
    best: Mapping[str, Best],
    tests: Mapping[str, statistics.Comparison],
    gate: Claim,
) -> Claim:
    """Judges who generalizes first, at a p that stands after Holm over the recipes.

    Without a delay of AdamW there is nothing to bring forward, and it is not tested. A
    recipe that waits for runs counts as a test with p = 1.
    """
    measured, holds, p_value = "no comparison", None, 1.0
    waiting = [n for n in (BASELINE, name) if n not in best or best[n].unfinished]
    missing = [] if gate.holds else ["a tuned AdamW that is late"]
    if waiting or name not in tests:
        missing.append(f"the runs of {' and '.join(waiting or (BASELINE, name))}")
    else:
        test, sizes = tests[name], (best[BASELINE].times.size, best[name].times.size)
        p_value = test.p_value
        measured = (
            f"later than AdamW in {test.later:.2f} of the comparisons (0.50: neither), "
            f"{sizes[1]} against {wording.count(sizes[0], 'pair')}"
        )
        holds = test.later < 0.5
    return judging.judge(
        f"Where AdamW is late, {name} generalizes in fewer updates, both tuned on one "
        "grid.",
        source=recipes.RECIPES[name].source,
        expected=COMPARED[name],
        measured=measured,
        holds=holds,
        missing=missing,
        runs=_of(runs, BASELINE, name),
        test="rank-sum over runs",
        p_value=p_value,
    )


def _of(runs: Sequence[Run], *names: str) -> list[Run]:
    """The runs of these recipes that compare: those not in SELECT."""
    return cells.seeds([run for run in runs if cells.recipe_of(run) in names], False)
