"""Addition of many numbers: does a looped model add more of them than in training?

Presets (`rdt train --config=configs/nary_addition.py:cpu --workdir=runs`):
  cpu         up to 4 operands of 1 digit, asked up to 6, width 64; about 3 minutes on
              one core. At 2,750 of 3,000 updates train 1.00, id .45, depth .00 (R = 4,
              one seed)
  cpu_long    hours; up to 6 operands of 3 digits, asked up to 10
  paper       Saunshi et al. (2025), arXiv:2502.17416, n-ary addition: 2 to 32 operands
              of 3 digits, one block of width 256 looped 12 times, 200,000 updates of
              1,024 rows. They draw fresh rows at every update, here 7,000 of each
              number of operands are fixed; they use Adafactor and name no rate, here
              it is AdamW; no code was found
"""

from configs.base import LONG, SAUNSHI_2025, SMOKE
from rdt_jax.named import budget, by_preset, getter, presets

PRESETS = presets(
    task=(
        "nary_addition",
        {
            "num_digits": by_preset(1, cpu_long=3, paper=3),
            "max_operands": by_preset(6, smoke=4, cpu_long=10, paper=32),
            "max_train_operands": by_preset(4, smoke=3, cpu_long=6, paper=32),
            # Of the 100 rows of two operands
            "train_per_count": by_preset(80, cpu_long=10_000, paper=7_000),
            "heldout_per_count": by_preset(20, cpu_long=500, paper=250),
        },
    ),
    cpu={
        "recurrence.num_loops": by_preset(4, paper=12),
        "optimizer.learning_rate": 3e-3,
        "batch_size": by_preset(64, cpu_long=128),
        **budget(3_000, every=250, checkpoint=1_000),
    },
    smoke=SMOKE,
    cpu_long=LONG | budget(100_000, every=250, checkpoint=5_000),
    paper=SAUNSHI_2025,
)
get_config = getter(PRESETS)
