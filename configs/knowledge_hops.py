"""Composition of facts at more hops: when does a model need more loops?

Presets (`rdt train --config=configs/knowledge_hops.py:cpu --workdir=runs`):
  cpu         the graph of configs/knowledge_composition.py, asked for two and three
              hops
  cpu_long    the same run
"""

from configs import knowledge_composition
from configs.base import SMOKE
from rdt_jax.named import by_preset, getter, presets

PRESETS = presets(
    task=(
        "knowledge_hops",
        {
            **knowledge_composition.GRAPH,
            "ood_share": by_preset(0.2, smoke=0.4),  # of the facts
            "max_hops": 3,
            "phi": by_preset(7.2, smoke=2.0),  # training rows per hop and ID fact
        },
    ),
    cpu={
        **knowledge_composition.CPU,
        "model.branch_scale": "loops",
        "optimizer.schedule": "cosine",
        "optimizer.final_fraction": 0.0,
        "recurrence.num_loops": by_preset(4, smoke=2),
        "phases.further": (
            "id_2_hops: id[hops=2] >= 0.95",
            "id_3_hops: id[hops=3] >= 0.95",
            "ood_2_hops: ood[hops=2] >= 0.5",
            "ood_3_hops: ood[hops=3] >= 0.5",
        ),
    },
    smoke=SMOKE,
    cpu_long={},
)
get_config = getter(PRESETS)
