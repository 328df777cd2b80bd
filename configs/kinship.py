"""Kinship: does a looped model chain more premises than it practiced?

Presets (`rdt train --config=configs/kinship.py:cpu --workdir=runs`):
  cpu         2 or 3 premises trained, up to 5 asked, at width 64; 5 minutes on one CPU
              core. Nothing is learned: after 3,000 updates train, id and depth .50 (R =
              4, one seed; chance .50), nor with Muon, 6 people and twice the batch, in
              15,000 on an H200. With 24 people and a curriculum from one premise on,
              one premise is learned by 5,000 (id .99), two are not (.53)
  cpu_long    2 to 4 premises trained, up to 7 asked, 40,000 updates
  paper       Chen (2026), arXiv:2603.21676, shuffled kinship chains, as far as known:
              trained on 2 to 5 premises, asked to 9; a fixed R = 8 instead of 1 to 12
              drawn; rows, width, updates and optimizer are those of its graph task
"""

from configs.base import CHEN_2026, LONG_BY_DEPTH, SMOKE_BY_DEPTH
from rdt_jax.named import budget, by_preset, getter, presets

PRESETS = presets(
    task=(
        "kinship",
        {
            "num_people": by_preset(12, paper=20),
            "min_hops": 2,
            "max_hops": by_preset(5, smoke=4, cpu_long=7, paper=9),
            "max_train_hops": by_preset(3, cpu_long=4, paper=5),
            "train_per_hop": by_preset(4_000, smoke=600, paper=3_000),
            "heldout_per_hop": by_preset(400, smoke=100, paper=500),
        },
    ),
    cpu={
        "model.position": "none",  # Deeper rows are longer.
        "recurrence.num_loops": 4,
        "optimizer.learning_rate": 2e-3,
        "optimizer.warmup_steps": 200,
        "batch_size": 64,
        **budget(3_000, every=200, checkpoint=1_000),
    },
    smoke=SMOKE_BY_DEPTH,
    cpu_long=LONG_BY_DEPTH,
    paper=CHEN_2026,
)
get_config = getter(PRESETS)
