"""Does looping let a transformer combine facts it never combined, and how soon?

Question: how do loop depth R and weight decay decide whether and when a transformer
memorizes two-hop facts, generalizes to new combinations of practiced facts (ID), and
generalizes to facts that it never combined (OOD)?

Prediction (Kohli et al. 2026, arXiv:2604.07822, Figure 3): without loops OOD accuracy
stays near chance, also with as many operations; with loops it rises after ID has, and
sooner with more loops. Weight decay is ours: in grokking it decides how long
generalization lags behind memorization.
"""

from experiments.depth_by_decay import claims as judging
from experiments.depth_by_decay import summary as sentences
from rdt_jax.analysis.runs import BLOCKS, LOOPS, WEIGHT_DECAY
from rdt_jax.sweep import spec

CONFIG = "configs/knowledge_composition.py"

claims = judging.claims
summary = sentences.summary


def models(*models: tuple[int, int]) -> list[spec.Overrides]:
    """Returns models of so many loops, and blocks in a loop."""
    return [{LOOPS: loops, BLOCKS: blocks} for loops, blocks in models]


GRAPHS = spec.grid("task.seed", 0, 1)
DECAYS = spec.grid(WEIGHT_DECAY, 0.03, 0.1, 0.3)
_PAPER = (spec.grid(LOOPS, 1, 2, 4, 8), spec.seeds(3))
SWEEPS = {
    "smoke": (
        spec.grid(LOOPS, 1, 2),
        spec.grid(WEIGHT_DECAY, 0.1),
        spec.seeds(1),
    ),
    "cpu": (
        # The last has no loops and as many operations as the second.
        models((1, 2), (2, 2), (4, 2), (1, 4)),
        spec.grid(WEIGHT_DECAY, 0.03, 0.1),
        spec.seeds(1),
    ),
    "cpu_long": (
        models((1, 2), (2, 2), (4, 2), (8, 2), (1, 4)),
        DECAYS,
        GRAPHS,
        spec.seeds(2),
    ),
    "paper": _PAPER,  # at the weight decay of the config
    "paper_code": _PAPER,
}
sweep = spec.by_preset(SWEEPS)
