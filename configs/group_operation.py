"""Grokking of a group's table: when do the products never shown come out right?

Presets (`rdt train --config=configs/group_operation.py:cpu --workdir=runs`):
  cpu         symmetries of the 15-gon (30 elements) at width 64, one block looped
              twice; 1.4 minutes on one core. At 4,000 updates train .99, id .90
              (medians of the last 5 evaluations, R = 2, one seed; chance .03). With S4
              instead, id ended at .09 where .6 of the pairs were trained (5,000
              updates, rate 3e-3) and at .04 where .8 were (4,000 updates, rate 1e-3),
              train at .99 and 1.00
  cpu_long    hours; products in S5
  paper       Power et al. (2022), arXiv:2201.02177, Appendix A.1: products in S5, a
              transformer without loops. The paper names no initial scale of the
              embedding tables; the base default is kept. Their code composes the
              other way: tasks/groups.py says which operation is which
  paper_code  as `paper`, with the released code's default of no weight decay
"""

from configs.base import CPU_OF_A_TABLE, LONG, POWER_2022
from rdt_jax.named import Overrides, budget, by_preset, getter, presets

_S5: Overrides = {
    "task.kwargs.family": "symmetric",
    "task.kwargs.degree": 5,
    "task.kwargs.train_fraction": 0.5,
}
_PAPER = POWER_2022 | _S5
PRESETS = presets(
    task=(
        "group_operation",
        {
            "family": "dihedral",
            # Corners; of `symmetric`, points permuted
            "degree": by_preset(15, smoke=5),
            "operation": "ab",
            "train_fraction": 0.7,  # of all pairs
        },
    ),
    cpu={
        **CPU_OF_A_TABLE,
        "batch_size": by_preset(128, smoke=32),
        **budget(4_000, every=100, checkpoint=500),
    },
    smoke={
        "model.width": 32,
        **budget(300, every=100, checkpoint=100),
    },
    cpu_long=LONG | _S5 | budget(50_000, every=100, checkpoint=5_000),
    paper=_PAPER,
    paper_code=_PAPER | {"optimizer.weight_decay": 0.0},
)
get_config = getter(PRESETS)
