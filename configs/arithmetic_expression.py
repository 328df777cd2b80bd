"""Nested arithmetic: does a looped model evaluate deeper expressions than it practiced?

Presets (`rdt train --config=configs/arithmetic_expression.py:cpu --workdir=runs`):
  cpu         modulo 7 along one path, nesting 2 to 4 trained, 6 asked, at width 64.
              By 5,000 updates id .44, of nesting 2 most, and depth .16 (R = 4, one
              seed, on an H200; chance .14, the outermost operator alone .21); after
              15,000 id .51 with train at .95. Deeper rows are longer than any trained:
              of their last positions nothing was learned
  cpu_long    nesting of 7 asked, deeper arguments on both sides, 40,000 updates
  paper       modulo 5 with + - *, Deletang et al. (2022), arXiv:2207.02098; depths,
              rows and model are our own, since theirs is no looped transformer and
              their code samples by length and not by depth
"""

from configs.base import CPU_BY_DEPTH, LONG_BY_DEPTH, OWN_BY_DEPTH, SMOKE_BY_DEPTH
from rdt_jax.named import budget, by_preset, getter, presets

PRESETS = presets(
    task=(
        "arithmetic_expression",
        {
            "modulus": by_preset(7, paper=5),
            "operators": "+ - *",
            "min_depth": 2,
            "max_depth": by_preset(6, smoke=4, cpu_long=7, paper=14),
            "max_train_depth": by_preset(4, smoke=3, paper=8),
            # Of arguments beside the deepest
            "max_side_depth": by_preset(0, cpu_long=1, paper=2),
            "train_per_depth": by_preset(3_500, smoke=400, cpu_long=4_000, paper=7_000),
            "heldout_per_depth": by_preset(350, smoke=100, cpu_long=400, paper=500),
        },
    ),
    cpu={
        **CPU_BY_DEPTH,
        "batch_size": 128,
        **budget(5_000, every=500, checkpoint=1_000),
    },
    smoke=SMOKE_BY_DEPTH,
    cpu_long={
        **LONG_BY_DEPTH,
        "model.position": "none",  # Deeper rows are longer.
    },
    paper={
        **OWN_BY_DEPTH,
        "model.position": "none",  # Deeper rows are longer.
    },
)
get_config = getter(PRESETS)
