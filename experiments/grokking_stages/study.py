"""Does the third stage of grokking need loops, and is it reached sooner with more?

Question: do train, ID and OOD accuracy complete in this order, with which delays, and
what does it take in updates, operations and time, at loop depth R = 1, 2 and 4?

Prediction (Kohli et al. 2026, arXiv:2604.07822, Section 5.2 and Figure 3): OOD never
leaves zero at R = 1; with loops it completes last, long after memorization, starts to
rise while ID still rises, and settles near .75; R = 4 is sooner than R = 2 in updates
and in time.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments.grokking_stages import claims as judging
from experiments.grokking_stages import drawing
from experiments.grokking_stages.claims import LOOPS
from rdt_jax.analysis.runs import Run
from rdt_jax.sweep import spec

CONFIG = "configs/knowledge_composition.py"

claims = judging.claims

DECAY = "optimizer.weight_decay"
_PAPER = (spec.grid(LOOPS, 1, 2, 4), spec.seeds(3))
SWEEPS = {
    "smoke": (spec.grid(LOOPS, 1, 2), spec.grid(DECAY, 0.1), spec.seeds(1)),
    "cpu": (
        spec.grid(LOOPS, 1, 2, 4),
        spec.grid(DECAY, 0.1),
        spec.seeds(3),
    ),
    "cpu_long": (
        spec.grid(LOOPS, 1, 2, 4),
        spec.grid(DECAY, 0.1),
        spec.grid("num_steps", 20_000),
        spec.seeds(5),
    ),
    "paper": _PAPER,  # at the weight decay of the config
}
sweep = spec.by_preset(SWEEPS)


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws the study; ValueError if there is no run."""
    return {"stages": drawing.stages(runs), "arrivals": drawing.arrivals(runs)}
