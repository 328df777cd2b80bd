"""Arithmetic graphs: does a looped model solve deeper equations than it practiced?

Presets:
  smoke       seconds; the whole path, no science
  cpu         5 equations, depth up to 2 trained, 3 asked, at width 64. By 1,500
              updates id .44 and depth .34 (R = 4, one seed; chance .14, operators
              alone .19), in 5 minutes on one CPU core; more updates memorize: after
              15,000 of twice the batch train is .96 and id .38
  cpu_long    9 equations, depth up to 3 trained, 6 asked, 40,000 updates
  paper       Altabaa et al. (2025), arXiv:2510.14095, sums modulo 23 of up to 3
              arguments: 50,000 rows of depth up to 6 and 32 nodes, as in theirs.
              Asked to depth 26 among 32 nodes, not 36 among 128; one node is asked;
              a fixed R = 8, without their supervision of every loop; learned positions

    rdt train --config=configs/dag_arithmetic.py:cpu --workdir=runs
"""

from configs.base import CPU_BY_DEPTH, LONG, LONG_BY_DEPTH, SMOKE_BY_DEPTH
from rdt_jax.named import budget, getter, presets

PRESETS = presets(
    task=(
        "dag_arithmetic",
        {
            "modulus": 7,
            "operators": "+ *",
            "num_nodes": 5,  # equations in a row
            "num_leaves": 2,
            "max_arguments": 2,
            "min_depth": 1,
            "max_depth": 3,
            "max_train_depth": 2,
            "train_per_depth": 6_000,
            "heldout_per_depth": 350,
        },
    ),
    cpu={
        **CPU_BY_DEPTH,
        "batch_size": 64,
        **budget(1_500, every=250, checkpoint=500),
    },
    smoke={
        **SMOKE_BY_DEPTH,
        "task.kwargs.train_per_depth": 700,
        "task.kwargs.heldout_per_depth": 70,
    },
    cpu_long={
        **LONG_BY_DEPTH,
        "task.kwargs.num_nodes": 9,
        "task.kwargs.num_leaves": 3,
        "task.kwargs.max_depth": 6,
        "task.kwargs.max_train_depth": 3,
    },
    paper={
        **LONG,
        "task.kwargs.modulus": 23,
        "task.kwargs.operators": "+",
        "task.kwargs.num_nodes": 32,
        "task.kwargs.num_leaves": 6,
        "task.kwargs.max_arguments": 3,
        "task.kwargs.max_depth": 26,
        "task.kwargs.max_train_depth": 6,
        "task.kwargs.train_per_depth": 8_333,
        "task.kwargs.heldout_per_depth": 500,
        "model.width": 384,
        "model.num_heads": 16,
        "model.core_blocks": 4,
        "model.dropout": 0.1,
        "model.remat": "full",
        "recurrence.num_loops": 8,
        "optimizer.name": "adamw",
        "optimizer.learning_rate": 1e-3,
        "optimizer.weight_decay": 0.01,
        "batch_size": 32,
        **budget(156_000, every=1_000, checkpoint=4_000),  # 100 epochs
    },
)
get_config = getter(PRESETS)
