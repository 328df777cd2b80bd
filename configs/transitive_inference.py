"""Transitive inference: does a looped model chain more comparisons than it practiced?

Presets (`rdt train --config=configs/transitive_inference.py:cpu --workdir=runs`):
  cpu         10 items, up to 2 hops trained, 3 asked, at width 64; 4 minutes on one CPU
              core. Nothing is learned: after 1,500 updates id .50 and depth .50 (R = 4,
              one seed; chance .50). After 12,000 of twice the batch on an H200 it is
              the same, also if one hop is trained first; of 6,000 rows of each hop
              instead of 30,000 train reaches .98 by 15,000, and id .47
  cpu_long    16 items, up to 3 hops trained, 5 asked, 40,000 updates
  paper       Geerts et al. (2025), arXiv:2506.04289, ask it of transformers without a
              split by distance; sizes are our own, with the model of
              Chen (2026), arXiv:2603.21676, directed reachability, at R = 8
"""

from configs.base import CHEN_2026, CPU_BY_DEPTH, LONG_BY_DEPTH, SMOKE_BY_DEPTH
from rdt_jax.named import budget, by_preset, getter, presets

PRESETS = presets(
    task=(
        "transitive_inference",
        {
            "num_items": by_preset(10, cpu_long=16, paper=31),
            "min_hops": 1,
            "max_hops": by_preset(3, cpu_long=5, paper=10),
            "max_train_hops": by_preset(2, cpu_long=3, paper=5),
            "train_per_hop": by_preset(30_000, smoke=600, paper=10_000),
            "heldout_per_hop": by_preset(400, smoke=100, paper=500),
        },
    ),
    cpu={
        **CPU_BY_DEPTH,
        "batch_size": 64,
        **budget(1_500, every=250, checkpoint=500),
    },
    smoke=SMOKE_BY_DEPTH,
    cpu_long=LONG_BY_DEPTH,
    paper=CHEN_2026,
)
get_config = getter(PRESETS)
