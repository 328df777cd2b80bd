"""Knowledge comparison: does a model compare values that it never compared?

Presets (`rdt train --config=configs/knowledge_comparison.py:cpu --workdir=runs`):
  cpu         60 entities and 6 attributes at width 64; about 2 minutes on one core. At
              8,000 updates train .99, id .91, mixed .78, ood .53 (R = 2, one seed)
  cpu_long    the same run to the end of ten times its budget
  paper       Wang et al. (2024), arXiv:2405.15071, Section 4, phi 7.2: eight blocks,
              no loop; their released command trains 1.5 million updates
"""

from ml_collections import config_dict

from configs.base import LONG, SMOKE
from rdt_jax.named import budget, by_preset, getter, presets

PRESETS = presets(
    task=(
        "knowledge_comparison",
        {
            "num_entities": by_preset(60, smoke=20, paper=1_000),
            "num_attributes": by_preset(6, smoke=3, paper=20),
            "num_values": by_preset(10, smoke=5, paper=20),
            "ood_share": 0.1,  # of the entities, for each attribute
            # Trained comparisons per ID fact
            "phi": by_preset(12.0, smoke=5.0, paper=7.2),
            "atomic_repeats": by_preset(4, paper=1),  # of each fact in an epoch
            # Each asked in both orders. None: all.
            "max_heldout_pairs": by_preset(
                config_dict.FieldReference(250), paper=config_dict.FieldReference(1_500)
            ),
            "answer_at": "last",
        },
    ),
    cpu={
        "optimizer.learning_rate": by_preset(3e-3, paper=1e-4),
        "batch_size": by_preset(128, smoke=64, paper=512),
        # One value alone tells three in four labels.
        "phases.ood_generalized": 0.9,
        **budget(8_000, every=250, checkpoint=2_000),
    },
    smoke=SMOKE,
    cpu_long=LONG | {"num_steps": 80_000},
    paper={
        **LONG,
        "model.width": 768,
        "model.num_heads": 12,
        "model.core_blocks": 8,
        "model.output_init": "gpt2",
        "model.dropout": 0.1,
        "model.embedding_dropout": 0.1,
        "recurrence.num_loops": 1,
        "optimizer.b2": 0.999,
        "optimizer.warmup_steps": 2_000,
        **budget(2_000_000, every=1_000, checkpoint=5_000),
    },
)
get_config = getter(PRESETS)
