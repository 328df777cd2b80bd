"""Sentences to logical forms: does a looped model use words where it never saw them?

Presets (`rdt train --config=configs/cogs.py:cpu --workdir=runs`):
  cpu         nesting up to 2 trained, 4 asked, width 64. By 2,000 updates id .96,
              ood .46 and depth .00 (R = 2, one seed), in 8 minutes on one CPU core
  cpu_long    hours; more sentences, to the end of its budget
  paper       the numbers of sentences of Kim and Linzen (2020), arXiv:2010.05465:
              24,000 and those of the cases to train, 3,000 held out, 1,000 of each of
              21 cases; sentences and depths are ours, the model and optimizer those
              of Kohli et al. (2026), arXiv:2604.07822, Section 5; what is
              released is data
"""

from configs.base import KOHLI_2026_ROWS, LONG, SMOKE_OF_LONG_ROWS
from rdt_jax.named import budget, by_preset, getter, presets

PRESETS = presets(
    task=(
        "cogs",
        {
            "train_rows": by_preset(4_000, smoke=1_000, cpu_long=24_000, paper=24_000),
            "id_rows": by_preset(500, smoke=100, cpu_long=1_000, paper=3_000),
            "rows_per_case": by_preset(50, smoke=10, cpu_long=100, paper=1_000),
            # Training sentences with the word of a case
            "exposures": by_preset(30, paper=100),
            "max_train_depth": 2,
            "max_depth": by_preset(4, smoke=3, paper=12),
        },
    ),
    cpu={
        "recurrence.num_loops": by_preset(2, paper=4),
        "optimizer.learning_rate": 2e-3,
        "optimizer.warmup_steps": 200,
        "batch_size": 64,
        "evaluation.train_rows": by_preset(500, smoke=100),
        **budget(2_000, every=500, checkpoint=500),
    },
    smoke=SMOKE_OF_LONG_ROWS,
    cpu_long=LONG | budget(100_000, every=1_000, checkpoint=5_000),
    paper=KOHLI_2026_ROWS,
)
get_config = getter(PRESETS)
