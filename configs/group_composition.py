"""Products in a group: does a looped model multiply longer words than in training?

Presets:
  smoke       seconds; the whole path, no science
  cpu         words of 3 or 4 of the 24 elements of S4, asked up to 6, at width 64.
              By 8,000 updates id .78 and depth .14 (R = 4, one seed, on an H200;
              chance .04), in about 11 minutes on one CPU core, where 4,250 took 6
  cpu_long    hours; S5, words of up to 8 elements, asked up to 16
  paper       the same task at the size of Saunshi et al. (2025), arXiv:2502.17416,
              synthetic tasks: one block of width 256 looped. They prove that
              ceil(log2 n) loops multiply n elements and report no run of it; they use
              Adafactor and name no rate, here it is AdamW; no code was found

    rdt train --config=configs/group_composition.py:cpu --workdir=runs
"""

from configs.base import LONG, SAUNSHI_2025, SMOKE
from rdt_jax.named import budget, getter, presets

PRESETS = presets(
    task=(
        "group_composition",
        {
            "family": "symmetric",
            "degree": 4,  # points permuted
            "min_length": 3,  # elements; of two there are only 576 words
            "max_length": 6,
            "max_train_length": 4,
            "train_per_length": 10_000,  # of the 13,824 words of three
            "heldout_per_length": 500,
        },
    ),
    cpu={
        "model.position": "none",
        "model.remat": "none",  # Of so few loops all is kept: a tenth faster.
        "recurrence.num_loops": 4,
        "optimizer.name": "muon",
        "optimizer.learning_rate": 2e-3,
        "batch_size": 128,
        **budget(8_000, every=500, checkpoint=1_000),
    },
    smoke={
        **SMOKE,
        "task.kwargs.family": "cyclic",
        "task.kwargs.degree": 5,
        "task.kwargs.min_length": 2,
        "task.kwargs.max_length": 4,
        "task.kwargs.max_train_length": 3,
        "task.kwargs.train_per_length": 20,
        "task.kwargs.heldout_per_length": 5,
        "batch_size": 40,
    },
    cpu_long={
        **LONG,
        "task.kwargs.degree": 5,
        "task.kwargs.min_length": 2,
        "task.kwargs.max_length": 16,
        "task.kwargs.max_train_length": 8,
        "task.kwargs.train_per_length": 12_000,
        "recurrence.num_loops": 6,
        **budget(100_000, every=500, checkpoint=5_000),
    },
    paper={
        **SAUNSHI_2025,
        "task.kwargs.degree": 5,
        "task.kwargs.min_length": 2,
        "task.kwargs.max_length": 32,
        "task.kwargs.max_train_length": 16,
        "task.kwargs.train_per_length": 13_000,  # of the 14,400 words of two
        "task.kwargs.heldout_per_length": 1_000,
        "model.remat": "full",
        "recurrence.num_loops": 6,
        "optimizer.name": "adamw",
    },
)
get_config = getter(PRESETS)
