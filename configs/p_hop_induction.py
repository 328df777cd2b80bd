"""Induction hops: does a looped model make more of them than it was trained to?

Presets (`rdt train --config=configs/p_hop_induction.py:cpu --workdir=runs`):
  cpu         up to 2 hops in 12 characters, asked up to 4, width 64; about 5 minutes
              on one core. At 10,000 updates train .99, id .99, depth .37 (R = 4, one
              seed; chance .25)
  cpu_long    hours; up to 8 hops in 64 characters, asked up to 12
  paper       Saunshi et al. (2025), arXiv:2502.17416, p-hop induction: 256 characters
              of an alphabet of 4, 16 hops, one block of width 256 looped 6 times,
              200,000 updates of 1,024 rows. They draw fresh rows at every update, here
              100,000 are fixed; rows of up to 18 hops are held out besides; they use
              Adafactor and name no rate, here it is AdamW; no code was found
"""

from configs.base import LONG, SAUNSHI_2025, SMOKE
from rdt_jax.named import budget, by_preset, getter, presets

PRESETS = presets(
    task=(
        "p_hop_induction",
        {
            "alphabet_size": 4,
            "length": by_preset(12, smoke=10, cpu_long=64, paper=256),  # characters
            "min_hops": by_preset(1, paper=16),
            "max_hops": by_preset(4, smoke=3, cpu_long=12, paper=18),
            "max_train_hops": by_preset(2, cpu_long=8, paper=16),
            "train_per_hop": by_preset(
                5_000, smoke=500, cpu_long=20_000, paper=100_000
            ),
            "heldout_per_hop": by_preset(250, smoke=100, cpu_long=500, paper=1_000),
        },
    ),
    cpu={
        "model.core_blocks": 1,
        "recurrence.num_loops": by_preset(4, cpu_long=6, paper=6),
        "optimizer.learning_rate": 3e-3,
        "batch_size": by_preset(64, cpu_long=128),
        **budget(10_000, every=250, checkpoint=1_000),
    },
    smoke=SMOKE,
    cpu_long=LONG | budget(100_000, every=250, checkpoint=5_000),
    paper=SAUNSHI_2025,
)
get_config = getter(PRESETS)
