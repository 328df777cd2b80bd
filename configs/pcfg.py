"""PCFG SET: does a looped model nest string functions in ways it never saw?

Presets (`rdt train --config=configs/pcfg.py:cpu --workdir=runs`):
  cpu         untrained pairs of functions, width 64. By 2,250 updates id .63, ood .59
              and mixed .45 (R = 4, one seed; whole answers), in 9 minutes on one core
  cpu_long    hours; the same with more functions, to the end of its budget
  paper       the functions and the split by productivity (train up to 8 functions) of
              Hupkes et al. (2020), arXiv:1908.08351; rows, numbers of rows and symbols
              are ours, the model and optimizer those of Kohli et al. (2026),
              arXiv:2604.07822, Section 5; what is released is data
"""

from configs.base import CPU_BY_DEPTH, KOHLI_2026_ROWS, LONG, SMOKE_OF_LONG_ROWS
from rdt_jax.named import budget, by_preset, getter, presets

PRESETS = presets(
    task=(
        "pcfg",
        {
            "splitting": by_preset("systematicity", paper="productivity"),
            "num_symbols": by_preset(20, paper=500),
            "max_functions": by_preset(4, cpu_long=6, paper=12),
            "max_train_functions": by_preset(4, cpu_long=6, paper=8),
            # Tokens of a question, and of an answer
            "max_length": by_preset(16, cpu_long=32, paper=80),
            "train_rows": by_preset(8_000, smoke=1_000, cpu_long=50_000, paper=40_000),
            "heldout_rows": by_preset(500, smoke=50, paper=5_000),  # of each split
            # Of the 100 pairs of functions
            "num_heldout_pairs": by_preset(10, paper=0),
        },
    ),
    cpu={
        **CPU_BY_DEPTH,
        "model.position": by_preset("none", paper="learned"),  # Deeper rows are longer.
        "batch_size": 64,
        "evaluation.train_rows": by_preset(500, smoke=100),
        **budget(2_250, every=250, checkpoint=750),
    },
    smoke={
        **SMOKE_OF_LONG_ROWS,
        "recurrence.num_loops": 2,
    },
    cpu_long=LONG | budget(100_000, every=1_000, checkpoint=5_000),
    paper={
        **KOHLI_2026_ROWS,
        "model.remat": "full",
    },
)
get_config = getter(PRESETS)
