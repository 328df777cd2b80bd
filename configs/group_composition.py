"""Products in a group: does a looped model multiply longer words than in training?

Presets (`rdt train --config=configs/group_composition.py:cpu --workdir=runs`):
  cpu         words of 3 or 4 of the 24 elements of S4, asked up to 6, at width 64.
              By 8,000 updates id .78 and depth .14 (R = 4, one seed, on an H200;
              chance .04), in about 11 minutes on one CPU core, where 4,250 took 6
  cpu_long    hours; S5, words of up to 8 elements, asked up to 16
  paper       the same task at the size of Saunshi et al. (2025), arXiv:2502.17416,
              synthetic tasks: one block of width 256 looped. They prove that
              ceil(log2 n) loops multiply n elements and report no run of it; they use
              Adafactor and name no rate, here it is AdamW; no code was found
"""

from configs.base import LONG, SAUNSHI_2025, SMOKE
from rdt_jax.named import budget, by_preset, getter, presets

PRESETS = presets(
    task=(
        "group_composition",
        {
            "family": by_preset("symmetric", smoke="cyclic"),
            "degree": by_preset(4, smoke=5, cpu_long=5, paper=5),  # points permuted
            "min_length": by_preset(3, smoke=2, cpu_long=2, paper=2),  # elements
            "max_length": by_preset(6, smoke=4, cpu_long=16, paper=32),
            "max_train_length": by_preset(4, smoke=3, cpu_long=8, paper=16),
            # Of the 576 words of two, 13,824 of three; in S5 14,400 of two
            "train_per_length": by_preset(
                10_000, smoke=20, cpu_long=12_000, paper=13_000
            ),
            "heldout_per_length": by_preset(500, smoke=5, paper=1_000),
        },
    ),
    cpu={
        "model.position": "none",
        # Of so few loops all is kept: a tenth faster.
        "model.remat": by_preset("none", paper="full"),
        "recurrence.num_loops": by_preset(4, cpu_long=6, paper=6),
        "optimizer.name": by_preset("muon", paper="adamw"),
        "optimizer.learning_rate": 2e-3,
        "batch_size": by_preset(128, smoke=40),
        **budget(8_000, every=500, checkpoint=1_000),
    },
    smoke=SMOKE,
    cpu_long=LONG | budget(100_000, every=500, checkpoint=5_000),
    paper=SAUNSHI_2025,
)
get_config = getter(PRESETS)
