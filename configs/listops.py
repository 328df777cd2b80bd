"""ListOps: does a looped model evaluate deeper lists than it practiced?

Presets (`rdt train --config=configs/listops.py:cpu --workdir=runs`):
  cpu         up to 3 lists along one path trained, 5 asked, at width 64. By 3,000
              updates id .64 and depth .53 (R = 4, one seed; the outermost operator
              alone gives .31 and .42), in 7 minutes on one CPU core
  cpu_long    up to 4 nested lists on both sides trained, 6 asked, 40,000 updates
  paper       up to 5 arguments and depth 20, Nangia and Bowman (2018),
              arXiv:1804.06028, as in their released generator; split by depth, rows
              and model are our own, since theirs is no transformer
"""

from configs.base import CPU_BY_DEPTH, LONG_BY_DEPTH, OWN_BY_DEPTH, SMOKE_BY_DEPTH
from rdt_jax.named import budget, by_preset, getter, presets

PRESETS = presets(
    task=(
        "listops",
        {
            "operators": "MAX MIN MED SUM_MOD",
            "max_arguments": by_preset(3, paper=5),
            "min_depth": 1,
            "max_depth": by_preset(5, smoke=4, cpu_long=6, paper=20),
            "max_train_depth": by_preset(3, cpu_long=4, paper=10),
            # Of arguments beside the deepest
            "max_side_depth": by_preset(0, cpu_long=1, paper=1),
            "train_per_depth": by_preset(3_000, smoke=400, paper=9_000),
            "heldout_per_depth": by_preset(300, smoke=100, paper=500),
        },
    ),
    cpu={
        **CPU_BY_DEPTH,
        "model.position": "none",  # Deeper rows are longer.
        "batch_size": by_preset(64, paper=128),
        **budget(3_000, every=250, checkpoint=500),
    },
    smoke=SMOKE_BY_DEPTH,
    cpu_long=LONG_BY_DEPTH,
    paper=OWN_BY_DEPTH,
)
get_config = getter(PRESETS)
