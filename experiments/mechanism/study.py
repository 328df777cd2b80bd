"""What happens inside when a looped transformer begins to combine unseen facts?

Question: where on its way does a model hold the entity in the middle of a two-hop
question, which states decide the answer, which attention it needs, and what of this
changes when it memorizes, generalizes to new combinations of practiced facts (ID), and
to facts that it never combined (OOD)? How do loops differ from as many blocks of their
own?

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
    ("lens", "patching", "knockout", "geometry", "answers"), stages.KINDS
)


def _models(*models: tuple[int, int], **fixed: Any) -> list[dict[str, Any]]:
    return [{LOOPS: loops, BLOCKS: blocks} | fixed for loops, blocks in models]


_DECAY = spec.grid(WEIGHT_DECAY, 0.1)
_GRAPHS = spec.product(spec.grid("task.seed", 0, 1), spec.seeds(2))
_PAIRS = spec.zipped(**{"task.seed": (0, 1), "seed": (0, 1)})
# Read at a pad behind r1, facts alone bring no bridge there. Of phi 3, 4.5 and 5.5,
# tried at one seed and judged by train and ID, the last is where ID completes in the
# budget, 3,000 updates after train.
_PAD = {"task.kwargs.answer_at": "pad", "task.kwargs.phi": 5.5}
_PAPER = (_models((2, 4), (1, 8)), spec.seeds(3))
_READ_AT_PAD = spec.product(_models((2, 2), **_PAD), _DECAY, _PAIRS)
# Those that are read at the last word are runs of depth_by_decay as well.
_READ_LAST = spec.product(
    _models((2, 2), (4, 2), (8, 2), (1, 2), (1, 4)), _DECAY, _GRAPHS
)
SWEEPS = {
    "smoke": (_models((2, 2), (1, 4)), _DECAY, spec.seeds(1)),
    "cpu": (
        spec.product(_models((2, 2), (1, 4)), _DECAY, _GRAPHS) + _READ_AT_PAD,
    ),
    "cpu_long": (
        _READ_LAST
        + _READ_AT_PAD
        + spec.product(_models((1, 4), **_PAD), _DECAY, _PAIRS),
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
        "knockout": drawing.knockout(runs),
        "geometry": drawing.geometry(runs),
    }
