"""ListOps: does a looped model evaluate deeper lists than it practiced?

Presets:
  smoke       seconds; the whole path, no science
  cpu         up to 3 lists along one path trained, 5 asked, at width 64. By 3,000
              updates id .64 and depth .53 (R = 4, one seed; the outermost operator
              alone gives .31 and .42), in 7 minutes on one CPU core
  cpu_long    up to 4 nested lists on both sides trained, 6 asked, 40,000 updates
  paper       up to 5 arguments and depth 20, Nangia and Bowman (2018),
              arXiv:1804.06028, as in their released generator; split by depth, rows
              and model are our own, since theirs is no transformer

    rdt train --config=configs/listops.py:cpu --workdir=runs
"""

from configs.base import CPU_BY_DEPTH, LONG_BY_DEPTH, OWN_BY_DEPTH, SMOKE_BY_DEPTH
from rdt_jax.named import budget, getter, presets

PRESETS = presets(
    task=(
        "listops",
        {
            "operators": "MAX MIN MED SUM_MOD",
            "max_arguments": 3,
            "min_depth": 1,
            "max_depth": 5,
            "max_train_depth": 3,
            "max_side_depth": 0,  # of arguments beside the deepest
            "train_per_depth": 3_000,
            "heldout_per_depth": 300,
        },
    ),
    cpu={
        **CPU_BY_DEPTH,
        "model.position": "none",  # Deeper rows are longer.
        "batch_size": 64,
        **budget(3_000, every=250, checkpoint=500),
    },
    smoke={
        **SMOKE_BY_DEPTH,
        "task.kwargs.max_depth": 4,
        "task.kwargs.train_per_depth": 400,
        "task.kwargs.heldout_per_depth": 100,
    },
    cpu_long={
        **LONG_BY_DEPTH,
        "task.kwargs.max_depth": 6,
        "task.kwargs.max_train_depth": 4,
        "task.kwargs.max_side_depth": 1,
    },
    paper={
        **OWN_BY_DEPTH,
        "task.kwargs.max_arguments": 5,
        "task.kwargs.max_depth": 20,
        "task.kwargs.max_train_depth": 10,
        "task.kwargs.max_side_depth": 1,
        "task.kwargs.train_per_depth": 9_000,
        "task.kwargs.heldout_per_depth": 500,
        "batch_size": 128,
    },
)
get_config = getter(PRESETS)
