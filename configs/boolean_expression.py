"""Boolean formulas: does a looped model evaluate deeper nesting than it practiced?

The certificate's shortcut `outermost` says how far the outermost operator alone goes.

Presets:
  smoke       seconds; the whole path, no science
  cpu         formulas along one path, nesting 4 to 6 trained, 8 asked, at width 64.
              By 2,000 updates id .96 and depth .88 (R = 4, one seed; chance .50, the
              outermost operator alone .71 and .66), in 7 minutes on one CPU core
  cpu_long    nesting 3 to 6 trained, 10 asked, on both sides, 40,000 updates
  paper       Chen (2026), arXiv:2603.21676, nested Boolean expressions, as far as
              known: trained to depth 8, asked to 14. Depths 1 and 2 are left out,
              since they have too few formulas; a fixed R = 8 instead of 4 to 16
              drawn; rows, updates and optimizer are those of its graph task

    rdt train --config=configs/boolean_expression.py:cpu --workdir=runs
"""

from configs.base import CHEN_2026, CPU_BY_DEPTH, LONG_BY_DEPTH, SMOKE_BY_DEPTH
from rdt_jax.named import budget, getter, presets

PRESETS = presets(
    task=(
        "boolean_expression",
        {
            "operators": "and or not",
            "min_depth": 4,
            "max_depth": 8,
            "max_train_depth": 6,
            "max_side_depth": 0,  # of arguments beside the deepest
            "train_per_depth": 2_000,
            "heldout_per_depth": 200,
        },
    ),
    cpu={
        **CPU_BY_DEPTH,
        "model.position": "none",  # Deeper rows are longer.
        "batch_size": 64,
        **budget(2_000, every=250, checkpoint=500),
    },
    smoke={
        **SMOKE_BY_DEPTH,
        "task.kwargs.min_depth": 3,
        "task.kwargs.max_depth": 5,
        "task.kwargs.max_train_depth": 4,
        "task.kwargs.max_side_depth": 1,
        "task.kwargs.train_per_depth": 400,
        "task.kwargs.heldout_per_depth": 100,
    },
    cpu_long={
        **LONG_BY_DEPTH,
        "task.kwargs.min_depth": 3,
        "task.kwargs.max_depth": 10,
        "task.kwargs.max_side_depth": 1,
        "task.kwargs.train_per_depth": 3_000,
        "task.kwargs.heldout_per_depth": 400,
    },
    paper={
        **CHEN_2026,
        "task.kwargs.min_depth": 3,
        "task.kwargs.max_depth": 14,
        "task.kwargs.max_train_depth": 8,
        "task.kwargs.max_side_depth": 2,
        "task.kwargs.heldout_per_depth": 500,
        "model.width": 256,
        "model.num_heads": 8,
        "model.mlp_ratio": 4,
    },
)
get_config = getter(PRESETS)
