"""Boolean formulas: does a looped model evaluate deeper nesting than it practiced?

The certificate's shortcut `outermost` says how far the outermost operator alone goes.

Presets (`rdt train --config=configs/boolean_expression.py:cpu --workdir=runs`):
  cpu         formulas along one path, nesting 4 to 6 trained, 8 asked, at width 64.
              By 2,000 updates id .96 and depth .88 (R = 4, one seed; chance .50, the
              outermost operator alone .71 and .66), in 7 minutes on one CPU core
  cpu_long    nesting 3 to 6 trained, 10 asked, on both sides, 40,000 updates
  paper       Chen (2026), arXiv:2603.21676, nested Boolean expressions, as far as
              known: trained to depth 8, asked to 14. Depths 1 and 2 are left out,
              since they have too few formulas; a fixed R = 8 instead of 4 to 16
              drawn; rows, updates and optimizer are those of its graph task
"""

from configs.base import CHEN_2026, CPU_BY_DEPTH, LONG_BY_DEPTH, SMOKE_BY_DEPTH
from rdt_jax.named import budget, by_preset, getter, presets

PRESETS = presets(
    task=(
        "boolean_expression",
        {
            "operators": "and or not",
            "min_depth": by_preset(4, smoke=3, cpu_long=3, paper=3),
            "max_depth": by_preset(8, smoke=5, cpu_long=10, paper=14),
            "max_train_depth": by_preset(6, smoke=4, paper=8),
            # Of arguments beside the deepest
            "max_side_depth": by_preset(0, smoke=1, cpu_long=1, paper=2),
            "train_per_depth": by_preset(2_000, smoke=400, cpu_long=3_000),
            "heldout_per_depth": by_preset(200, smoke=100, cpu_long=400, paper=500),
        },
    ),
    cpu={
        **CPU_BY_DEPTH,
        "model.position": "none",  # Deeper rows are longer.
        "batch_size": 64,
        **budget(2_000, every=250, checkpoint=500),
    },
    smoke=SMOKE_BY_DEPTH,
    cpu_long=LONG_BY_DEPTH,
    paper={
        **CHEN_2026,
        "model.width": 256,
        "model.num_heads": 8,
        "model.mlp_ratio": 4,
    },
)
get_config = getter(PRESETS)
