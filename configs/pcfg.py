"""PCFG SET: does a looped model nest string functions in ways it never saw?

Presets:
  smoke       seconds; the whole path, no science
  cpu         untrained pairs of functions, width 64. By 2,250 updates id .63, ood .59
              and mixed .45 (R = 4, one seed; whole answers), in 9 minutes on one core
  cpu_long    hours; the same with more functions, to the end of its budget
  paper       the functions and the split by productivity (train up to 8 functions) of
              Hupkes et al. (2020), arXiv:1908.08351; rows, numbers of rows and symbols
              are ours, the model and optimizer those of Kohli et al. (2026),
              arXiv:2604.07822, Section 5; what is released is data

    rdt train --config=configs/pcfg.py:cpu --workdir=runs
"""

from configs.base import KOHLI_2026_ROWS, LONG, SMOKE_OF_LONG_ROWS
from rdt_jax.named import budget, getter, presets

PRESETS = presets(
    task=(
        "pcfg",
        {
            "splitting": "systematicity",
            "num_symbols": 20,
            "max_functions": 4,
            "max_train_functions": 4,
            "max_length": 16,  # tokens of a question, and of an answer
            "train_rows": 8_000,
            "heldout_rows": 500,  # of each split
            "num_heldout_pairs": 10,  # of the 100 pairs of functions
        },
    ),
    cpu={
        "model.position": "none",  # Deeper rows are longer.
        "model.remat": "none",  # Of so few loops all is kept: a tenth faster.
        "recurrence.num_loops": 4,
        "optimizer.name": "muon",
        "optimizer.learning_rate": 2e-3,
        "optimizer.warmup_steps": 200,
        "batch_size": 64,
        "evaluation.train_rows": 500,
        **budget(2_250, every=250, checkpoint=750),
    },
    smoke={
        **SMOKE_OF_LONG_ROWS,
        "task.kwargs.train_rows": 1_000,
        "task.kwargs.heldout_rows": 50,
        "recurrence.num_loops": 2,
        "evaluation.train_rows": 100,
    },
    cpu_long={
        **LONG,
        "task.kwargs.max_functions": 6,
        "task.kwargs.max_train_functions": 6,
        "task.kwargs.max_length": 32,
        "task.kwargs.train_rows": 50_000,
        **budget(100_000, every=1_000, checkpoint=5_000),
    },
    paper={
        **KOHLI_2026_ROWS,
        "task.kwargs.splitting": "productivity",
        "task.kwargs.num_symbols": 500,
        "task.kwargs.max_functions": 12,
        "task.kwargs.max_train_functions": 8,
        "task.kwargs.max_length": 80,
        "task.kwargs.train_rows": 40_000,
        "task.kwargs.heldout_rows": 5_000,
        "task.kwargs.num_heldout_pairs": 0,
        "model.position": "learned",
        "model.remat": "full",
    },
)
get_config = getter(PRESETS)
