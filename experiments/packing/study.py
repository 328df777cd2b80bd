"""Do runs that train in a pack generalize at other times than runs that train alone?

Question: is the distribution of updates to ID generalization the same for the lanes of
one vmapped pack and for solo runs of the same seeds?

Prediction: yes. Both do the same arithmetic on the same batches, but round differently,
so that two trajectories of one seed drift apart; rounding prefers neither side.

The sweep is trained twice, in two workdirs, and `compare.py` reads both:

    rdt sweep experiments/packing --preset=cpu --lanes=1 --workdir=runs/solo
    rdt sweep experiments/packing --preset=cpu --lanes=20 --workdir=runs/packed
    python -m experiments.packing.compare runs/solo runs/packed
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.modular_addition.cells import GENERALIZED, MEMORIZED, times
from rdt_jax import wording
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import grokking
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import curves
from rdt_jax.sweep import spec

CONFIG = "configs/modular.py"

SWEEPS = {
    "smoke": (spec.seeds(3),),
    "cpu": (spec.seeds(20),),
}
sweep = spec.by_preset(SWEEPS)


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws one workdir of the study; ValueError if there is no run."""
    return {"accuracy": curves.accuracy(runs)}


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges what one workdir can tell: whether its times can be compared at all."""
    return [_generalization_is_late(runs), _all_arrive(runs)]


def _generalization_is_late(runs: Sequence[Run]) -> Claim:
    memorized, generalized = (times(runs, event) for event in (MEMORIZED, GENERALIZED))
    arrived = np.isfinite(generalized)
    waits = generalized[arrived] - memorized[arrived]
    late = int((waits > 0).sum())
    number = wording.count(len(waits), "run")
    measured = f"in {late} of {number} that generalized ID completed later"
    if late:
        least = grokking.format_steps(waits[waits > 0].min())
        measured += f", by {least} updates or more"
    missing = [] if waits.size else ["a run that generalizes"]
    if late == len(waits):
        missing += grokking.ends_of(grokking.awaited(runs, GENERALIZED))
    return judging.judge(
        "Every run that generalizes has memorized at an earlier evaluation.",
        source="Power et al. (2022), arXiv:2201.02177",
        expected="generalization follows memorization, by up to a thousand times",
        measured=measured,
        holds=late == len(waits),
        missing=missing,
        runs=runs,
    )


def _all_arrive(runs: Sequence[Run]) -> Claim:
    arrived = len(grokking.arrived(runs, GENERALIZED))
    missing = [] if runs else ["runs"]
    if arrived < len(runs):
        missing += grokking.ends_of(run_folders.unfinished(runs))
    return judging.judge(
        "Every seed generalizes within the budget, so that no time is censored.",
        source="this study's design",
        expected="all runs",
        measured=f"ID completed in {arrived} of {wording.count(len(runs), 'run')}",
        holds=arrived == len(runs),
        missing=missing,
        runs=runs,
    )
