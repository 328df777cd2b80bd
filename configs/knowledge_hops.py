"""Composition of facts at more hops: when does a model need more loops?

Presets (`rdt train --config=configs/knowledge_hops.py:cpu --workdir=runs`):
  cpu         the graph of configs/knowledge_composition.py, asked for two and three
              hops
  cpu_long    the same run
"""

from ml_collections import config_dict

from configs.base import LONG, SMOKE
from rdt_jax.named import budget, by_preset, getter, presets

PRESETS = presets(
    task=(
        "knowledge_hops",
        {
            "num_entities": by_preset(50, smoke=20),
            "num_relations": by_preset(10, smoke=5),
            "out_degree": by_preset(10, smoke=5),
            "ood_share": by_preset(0.2, smoke=0.4),  # of the facts
            "max_hops": 3,
            "phi": by_preset(7.2, smoke=2.0),  # training rows per hop and ID fact
            "atomic_repeats": 6,  # of each fact in an epoch
            "max_heldout": config_dict.FieldReference(500),  # in id and ood, per hop
            "answer_at": "last",
        },
    ),
    cpu={
        "model.remat": "none",  # Of so few loops all is kept: a tenth faster.
        "model.branch_scale": "loops",
        "optimizer.learning_rate": 5e-3,
        "optimizer.schedule": "cosine",
        "optimizer.final_fraction": 0.0,
        "loss.label_smoothing": 0.1,
        "recurrence.num_loops": by_preset(4, smoke=2),
        "phases.further": (
            "id_2_hops: id[hops=2] >= 0.95",
            "id_3_hops: id[hops=3] >= 0.95",
            "ood_2_hops: ood[hops=2] >= 0.5",
            "ood_3_hops: ood[hops=3] >= 0.5",
        ),
        "batch_size": by_preset(128, smoke=64),
        "evaluation.batch_size": 256,  # Fits a cache.
        **LONG,
        **budget(10_000, every=100, checkpoint=5_000),
    },
    smoke=SMOKE,
    cpu_long={},
)
get_config = getter(PRESETS)
