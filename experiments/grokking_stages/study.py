"""Which stages does grokking have with loops, in which order, and at what cost?

Question: do train, ID and OOD accuracy complete in this order, with which delays, and
what does it take in updates, operations and time, by loop depth R?

Prediction (Kohli et al. 2026, arXiv:2604.07822, Section 5.2 and Figure 3): with loops
OOD completes last, long after memorization, starts to rise while ID still rises, and
settles near .75, not at 1.

All runs are those of depth_by_decay with its two blocks: none is trained for this
study. Whether OOD needs loops, and by when it comes, is judged there.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure
from rich.table import Table

from experiments.depth_by_decay.claims import OOD
from experiments.depth_by_decay.study import DECAYS, GRAPHS, models
from experiments.grokking_stages import claims as judging
from experiments.grokking_stages import costs, drawing
from rdt_jax.analysis import grokking, runs
from rdt_jax.analysis.runs import LOOPS, WEIGHT_DECAY, Run
from rdt_jax.sweep import spec

CONFIG = "configs/knowledge_composition.py"

claims = judging.claims

_PAPER = (spec.grid(LOOPS, 1, 2, 4), spec.seeds(3))
SWEEPS = {
    "smoke": (
        spec.grid(LOOPS, 1, 2),
        spec.grid(WEIGHT_DECAY, 0.1),
        spec.seeds(1),
    ),
    "cpu": (
        models((1, 2), (2, 2), (4, 2)),
        spec.grid(WEIGHT_DECAY, 0.03, 0.1),
        spec.seeds(1),
    ),
    "cpu_long": (models((1, 2), (2, 2), (4, 2), (8, 2)), DECAYS, GRAPHS, spec.seeds(2)),
    "paper": _PAPER,  # at the weight decay of the config
}
sweep = spec.by_preset(SWEEPS)


def table(members: Sequence[Run]) -> Table:
    """Builds the table of the study: what each stage took, a row per loop depth."""
    return costs.table(members)


def figures(members: Sequence[Run]) -> dict[str, Figure]:
    """Draws the weight decay at which most runs complete OOD; ValueError without runs.

    Of several it is the least.
    """
    by_decay = {
        decay: [run for run in members if run.config.optimizer.weight_decay == decay]
        for decay in runs.values_of(members, WEIGHT_DECAY)
    }
    shown = max(
        by_decay.values(), key=lambda own: len(grokking.arrived(own, OOD)), default=[]
    )
    return {"stages": drawing.stages(shown), "arrivals": drawing.arrivals(shown)}
