"""Table lookup: does a looped model apply more functions in a row than in training?

Presets (`rdt train --config=configs/lookup_tables.py:cpu --workdir=runs`):
  cpu         up to 4 functions trained, 6 asked, width 64; about 4 minutes on one
              core. It memorizes and does not compose: at 4,000 updates train .97, id
              .12, depth .13 (R = 4, one seed; chance .125)
  cpu_long    hours; up to 5 functions trained, 10 asked, to the end of its budget
  paper       the 8 functions of Liska et al. (2018), arXiv:1802.06467, whose models are
              recurrent networks: the lengths are those of `cpu_long`, the model and
              optimizer those of Kohli et al. (2026), arXiv:2604.07822, Section 5; no
              code was read

`--config.task.kwargs.num_groups=2 --config.task.kwargs.train_per_length=24
--config.task.kwargs.heldout_per_length=8` asks for functions of different groups (ood).
"""

from configs.base import KOHLI_2026_ROWS, LONG, SMOKE_OF_LONG_ROWS
from rdt_jax.named import budget, by_preset, getter, presets

PRESETS = presets(
    task=(
        "lookup_tables",
        {
            "num_functions": 8,
            "num_groups": 1,
            "max_functions": by_preset(6, smoke=4, cpu_long=10, paper=10),
            "max_train_functions": by_preset(4, smoke=3, cpu_long=5, paper=5),
            "train_per_length": 48,  # of the 64 compositions of two functions
            "heldout_per_length": 16,
        },
    ),
    cpu={
        "model.position": "none",
        "recurrence.num_loops": by_preset(4, smoke=2),
        "optimizer.learning_rate": 3e-3,
        "batch_size": 128,
        **budget(4_000, every=200, checkpoint=1_000),
    },
    smoke=SMOKE_OF_LONG_ROWS,
    cpu_long=LONG | budget(100_000, every=1_000, checkpoint=5_000),
    paper=KOHLI_2026_ROWS,
)
get_config = getter(PRESETS)
