"""Planning: does a looped model see further ahead than it practiced?

A guess among the successors of the source is right once in `num_paths` times.

Presets (`rdt train --config=configs/graph_next_step.py:cpu --workdir=runs`):
  cpu         7 edges, up to 2 hops trained, 3 asked, at width 64. By 2,000 updates
              (R = 4, one seed) one hop is right, which is to repeat the target, and two
              hops in .5, a guess among the successors: id .76, depth .25; 5 minutes
              on one CPU core. 15,000 updates of twice the batch are no better (.76)
  cpu_long    16 edges, up to 3 hops trained, 6 asked, 40,000 updates
  paper       Bachmann and Nagarajan (2024), arXiv:2403.06963, ask for the whole way in
              such graphs; sizes are our own, with the model of Chen (2026),
              arXiv:2603.21676, directed reachability, at R = 8
"""

from configs.base import CHEN_2026, CPU_BY_DEPTH, LONG_BY_DEPTH, SMOKE_BY_DEPTH
from rdt_jax.named import budget, by_preset, getter, presets

PRESETS = presets(
    task=(
        "graph_next_step",
        {
            "num_nodes": by_preset(9, smoke=10, cpu_long=16, paper=28),
            # All paths and distractors
            "num_edges": by_preset(7, smoke=8, cpu_long=16, paper=32),
            "num_paths": 2,  # that leave the source
            "min_hops": 1,
            "max_hops": by_preset(3, cpu_long=6, paper=12),
            "max_train_hops": by_preset(2, cpu_long=3, paper=5),
            "train_per_hop": by_preset(6_000, smoke=600, paper=10_000),
            "heldout_per_hop": by_preset(400, smoke=100, paper=500),
        },
    ),
    cpu={
        **CPU_BY_DEPTH,
        "batch_size": 64,
        **budget(2_000, every=250, checkpoint=500),
    },
    smoke=SMOKE_BY_DEPTH,
    cpu_long=LONG_BY_DEPTH,
    paper=CHEN_2026,
)
get_config = getter(PRESETS)
