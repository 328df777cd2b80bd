"""Arithmetic graphs: does a looped model solve deeper equations than it practiced?

Presets (`rdt train --config=configs/dag_arithmetic.py:cpu --workdir=runs`):
  cpu         5 equations, depth up to 2 trained, 3 asked, at width 64. By 1,500
              updates id .44 and depth .34 (R = 4, one seed; chance .14, operators
              alone .19), in 5 minutes on one CPU core; more updates memorize: after
              15,000 of twice the batch train is .96 and id .38
  cpu_long    9 equations, depth up to 3 trained, 6 asked, 40,000 updates
  paper       Altabaa et al. (2025), arXiv:2510.14095, sums modulo 23 of up to 3
              arguments: 50,000 rows of depth up to 6 and 32 nodes, as in theirs.
              Asked to depth 26 among 32 nodes, not 36 among 128; one node is asked;
              a fixed R = 8, without their supervision of every loop; learned positions
"""

from configs.base import CPU_BY_DEPTH, LONG, LONG_BY_DEPTH, SMOKE_BY_DEPTH
from rdt_jax.named import budget, by_preset, getter, presets

PRESETS = presets(
    task=(
        "dag_arithmetic",
        {
            "modulus": by_preset(7, paper=23),
            "operators": by_preset("+ *", paper="+"),
            "num_nodes": by_preset(5, cpu_long=9, paper=32),  # equations in a row
            "num_leaves": by_preset(2, cpu_long=3, paper=6),
            "max_arguments": by_preset(2, paper=3),
            "min_depth": 1,
            "max_depth": by_preset(3, cpu_long=6, paper=26),
            "max_train_depth": by_preset(2, cpu_long=3, paper=6),
            "train_per_depth": by_preset(6_000, smoke=700, paper=8_333),
            "heldout_per_depth": by_preset(350, smoke=70, paper=500),
        },
    ),
    cpu={
        **CPU_BY_DEPTH,
        "batch_size": by_preset(64, paper=32),
        **budget(1_500, every=250, checkpoint=500),
    },
    smoke=SMOKE_BY_DEPTH,
    cpu_long=LONG_BY_DEPTH,
    paper={
        **LONG,
        "model.width": 384,
        "model.num_heads": 16,
        "model.core_blocks": 4,
        "model.dropout": 0.1,
        "model.remat": "full",
        "recurrence.num_loops": 8,
        "optimizer.name": "adamw",
        "optimizer.learning_rate": 1e-3,
        "optimizer.weight_decay": 0.01,
        **budget(156_000, every=1_000, checkpoint=4_000),  # 100 epochs
    },
)
get_config = getter(PRESETS)
