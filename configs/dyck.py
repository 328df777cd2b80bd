"""Bracket words: does a looped model judge deeper words than it practiced?

Presets (`rdt train --config=configs/dyck.py:cpu --workdir=runs`):
  cpu         height 2 or 3 along one path trained, 4 asked, at width 64. By 2,000
              updates id 1.00 and depth .98 (R = 4, one seed, on an H200; chance .50);
              on one CPU core 1,500 took 6 minutes, with id .62, so all take 10. At
              the rate 1e-3 6,000 updates stayed at chance; with learned positions and
              Muon id was 1.00 after 1,000, and depth .51
  cpu_long    height 2 to 4 trained, 7 asked, high words side by side, 40,000 updates
  paper       Jerad et al. (2026), arXiv:2601.01754, ask for recognition by looped
              transformers; heights, rows and model are our own; no released defaults
              are known here
"""

from configs.base import LONG_BY_DEPTH, OWN_BY_DEPTH, SMOKE_BY_DEPTH
from rdt_jax.named import budget, by_preset, getter, presets

PRESETS = presets(
    task=(
        "dyck",
        {
            "num_kinds": 3,
            "min_depth": by_preset(2, paper=3),
            "max_depth": by_preset(4, cpu_long=7, paper=16),
            "max_train_depth": by_preset(3, cpu_long=4, paper=8),
            # Of words beside the highest
            "max_side_depth": by_preset(0, cpu_long=1, paper=1),
            "train_per_depth": by_preset(3_000, smoke=400, paper=8_000),
            "heldout_per_depth": by_preset(400, smoke=100, paper=500),
        },
    ),
    cpu={
        "model.position": "none",  # Deeper rows are longer.
        "model.remat": "none",  # Of so few loops all is kept: a tenth faster.
        "recurrence.num_loops": 4,
        "optimizer.learning_rate": 3e-4,  # At 1e-3 nothing was learned.
        "optimizer.warmup_steps": 200,
        "batch_size": 128,
        **budget(2_500, every=250, checkpoint=500),
    },
    smoke=SMOKE_BY_DEPTH,
    cpu_long=LONG_BY_DEPTH,
    paper=OWN_BY_DEPTH,
)
get_config = getter(PRESETS)
