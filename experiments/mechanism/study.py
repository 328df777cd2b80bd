"""What happens inside when a looped transformer begins to combine unseen facts?

Question: where on its way does a model hold the entity in the middle of a two-hop
question, which states decide the answer, who attends to whom, and what of this changes
when it memorizes, generalizes to new combinations of practiced facts (ID), and to facts
that it never combined (OOD)? How do loops differ from as many blocks of their own?

Prediction (Kohli et al. 2026, arXiv:2604.07822, Figures 4 and 11): with loops the
bridge can be read off r1 within the first loop, for OOD questions too, and the target
off r2 in the second; without, the OOD bridge comes too late and the OOD target never.
"""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from experiments.mechanism import claims as judging
from experiments.mechanism import drawing
from rdt_jax.analysis import stages
from rdt_jax.analysis.runs import Run
from rdt_jax.sweep import spec

CONFIG = "configs/knowledge_composition.py"

LOOPS = "recurrence.num_loops"
BLOCKS = "model.core_blocks"
WEIGHT_DECAY = "optimizer.weight_decay"
table, claims = drawing.table, judging.claims
ANALYSES = dict.fromkeys(
    ("lens", "patching", "binding", "geometry", "answers"), stages.KINDS
)


def _models(*models: tuple[int, int], **fixed: Any) -> list[dict[str, Any]]:
    return [{LOOPS: loops, BLOCKS: blocks} | fixed for loops, blocks in models]


_DECAY = spec.grid(WEIGHT_DECAY, 0.1)
_PAPER = (_models((2, 4), (1, 8)), spec.seeds(3))
SWEEPS = {
    "smoke": (_models((2, 2), (1, 4)), _DECAY, spec.seeds(1)),
    "cpu": (
        _models((2, 2), (1, 2), (1, 4)), _DECAY, spec.seeds(3),
    ),
    "cpu_long": (
        # Those of two blocks are runs of grokking_stages as well.
        _models((2, 2), (4, 2), (1, 2), (1, 4), (1, 8), num_steps=20_000),
        _DECAY,
        spec.seeds(5),
    ),
    "paper": _PAPER,
    "paper_code": _PAPER,
}  # fmt: skip
sweep = spec.by_preset(SWEEPS)


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws the study; ValueError if there is no run."""
    return {
        "lens": drawing.lens(runs),
        "patching": drawing.patching(runs),
        "attention": drawing.attention(runs),
        "geometry": drawing.geometry(runs),
    }
