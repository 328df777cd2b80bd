"""Reachability: does a looped model follow edges for more hops than it practiced?

Presets (`rdt train --config=configs/graph_reachability.py:cpu --workdir=runs`):
  cpu         6 edges, up to 2 hops trained, 3 asked, at width 64; 4 minutes on one CPU
              core. Nothing is learned: after 2,500 updates train .47, id .50, depth .50
              (R = 4, one seed; chance .50). After 12,000 of twice the batch on an H200
              it is the same, one hop included
  cpu_long    16 edges, up to 3 hops trained, 6 asked, 40,000 updates
  paper       Chen (2026), arXiv:2603.21676, directed reachability: 12,000 rows of 1
              to 5 hops, asked to 12. The graph is given in tokens, and has 28 nodes
              at any hops; a fixed R = 8 instead of 5 to 8 drawn
"""

from configs.base import CHEN_2026, CPU_BY_DEPTH, LONG_BY_DEPTH, SMOKE_BY_DEPTH
from rdt_jax.named import budget, by_preset, getter, presets

PRESETS = presets(
    task=(
        "graph_reachability",
        {
            "num_nodes": by_preset(10, cpu_long=16, paper=28),
            # Two paths and distractors, if any
            "num_edges": by_preset(6, smoke=8, cpu_long=16, paper=32),
            "min_hops": 1,
            "max_hops": by_preset(3, cpu_long=6, paper=12),
            "max_train_hops": by_preset(2, cpu_long=3, paper=5),
            "train_per_hop": by_preset(20_000, smoke=600, paper=2_400),
            "heldout_per_hop": by_preset(400, smoke=100, paper=500),
        },
    ),
    cpu={
        **CPU_BY_DEPTH,
        "batch_size": 64,
        **budget(2_500, every=250, checkpoint=500),
    },
    smoke=SMOKE_BY_DEPTH,
    cpu_long=LONG_BY_DEPTH,
    paper=CHEN_2026,
)
get_config = getter(PRESETS)
