"""Addition of many numbers: does a looped model add more of them than in training?

Presets:
  smoke       seconds; the whole path, no science
  cpu         up to 4 operands of 1 digit, asked up to 6, width 64; about 3 minutes on
              one core. At 2,750 of 3,000 updates train 1.00, id .45, depth .00 (R = 4,
              one seed)
  cpu_long    hours; up to 6 operands of 3 digits, asked up to 10
  paper       Saunshi et al. (2025), arXiv:2502.17416, n-ary addition: 2 to 32 operands
              of 3 digits, one block of width 256 looped 12 times, 200,000 updates of
              1,024 rows. They draw fresh rows at every update, here 7,000 of each
              number of operands are fixed; they use Adafactor and name no rate, here
              it is AdamW; no code was found

    rdt train --config=configs/nary_addition.py:cpu --workdir=runs
"""

from configs.base import LONG, SAUNSHI_2025, SMOKE
from rdt_jax.named import budget, getter, presets

PRESETS = presets(
    task=(
        "nary_addition",
        {
            "num_digits": 1,
            "max_operands": 6,
            "max_train_operands": 4,
            "train_per_count": 80,  # of the 100 rows of two operands
            "heldout_per_count": 20,
        },
    ),
    cpu={
        "recurrence.num_loops": 4,
        "optimizer.learning_rate": 3e-3,
        "batch_size": 64,
        **budget(3_000, every=250, checkpoint=1_000),
    },
    smoke={
        **SMOKE,
        "task.kwargs.max_operands": 4,
        "task.kwargs.max_train_operands": 3,
    },
    cpu_long={
        **LONG,
        "task.kwargs.num_digits": 3,
        "task.kwargs.max_operands": 10,
        "task.kwargs.max_train_operands": 6,
        "task.kwargs.train_per_count": 10_000,
        "task.kwargs.heldout_per_count": 500,
        "batch_size": 128,
        **budget(100_000, every=250, checkpoint=5_000),
    },
    paper={
        **SAUNSHI_2025,
        "task.kwargs.num_digits": 3,
        "task.kwargs.max_operands": 32,
        "task.kwargs.max_train_operands": 32,
        "task.kwargs.train_per_count": 7_000,
        "task.kwargs.heldout_per_count": 250,
        "recurrence.num_loops": 12,
    },
)
get_config = getter(PRESETS)
