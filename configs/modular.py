"""Grokking of modular arithmetic: when does the rest of the table come out right?

Presets (`rdt train --config=configs/modular.py:cpu --workdir=runs`):
  cpu         addition mod 31 at width 64, one block looped twice; .7 minutes on one
              core. At 340 updates, where the run ends, train 1.00, id 1.00 (R = 2).
              Of 20 seeds all memorize within 320 updates and 19 generalize within
              1,000, half of them within 340 (experiments/packing)
  cpu_long    addition mod 97 at width 128, half of the pairs, 10,000 updates. At R = 1
              and 700 updates train 1.00, id 1.00 (one seed, R = 2 was not run)
  paper       Power et al. (2022), arXiv:2201.02177, Appendix A.1: division mod 97 and
              a transformer without loops. The paper names no initial scale of the
              embedding tables; the base default is kept.
  paper_code  as `paper`, with the released code's default of no weight decay
"""

from configs.base import CPU_OF_A_TABLE, LONG, POWER_2022
from rdt_jax.named import Overrides, budget, by_preset, getter, presets

_PAPER: Overrides = {
    **POWER_2022,
    "task.kwargs.operation": "divide",
    "task.kwargs.modulus": 97,
    "task.kwargs.train_fraction": 0.5,
}
PRESETS = presets(
    task=(
        "modular",
        {
            "operation": "add",
            "modulus": by_preset(31, smoke=11, cpu_long=97),  # residues
            "train_fraction": by_preset(0.6, cpu_long=0.5),  # of all pairs
        },
    ),
    cpu={
        **CPU_OF_A_TABLE,
        "model.remat": "none",
        **budget(1_000, every=20, checkpoint=200),
    },
    smoke={
        "model.width": 32,
        "batch_size": 32,
        **budget(300, every=20, checkpoint=100),
    },
    cpu_long={
        **LONG,
        # At width 64, rate 2e-3 and batch 256 train accuracy was .36 after 8,000
        # updates.
        "model.width": 128,
        "optimizer.learning_rate": 1e-3,
        "batch_size": 512,
        **budget(10_000, every=100, checkpoint=2_000),
    },
    paper=_PAPER,
    paper_code=_PAPER | {"optimizer.weight_decay": 0.0},
)
get_config = getter(PRESETS)
