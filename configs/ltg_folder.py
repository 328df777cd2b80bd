"""The data that the authors released, from its folder, whose path must be given.

Presets:
  cpu         width 64, for a folder of a few thousand rows. On one of our own, of 50
              entities, 10 relations, 500 facts and 2,304 two-hop rows, it takes 3.7
              minutes on one core. At 10,000 updates train .99, id .99, ood .28
              (medians of the last 5 evaluations, R = 2, one seed; chance .02)
  cpu_long    hours; the same to the end of its budget
  paper       the model and optimizer of Kohli et al. (2026), arXiv:2604.07822,
              Section 5, for the folder composition.2000.200.7.2; 1,500,000 updates
  paper_code  the defaults of their code where they differ

    rdt train --config=configs/ltg_folder.py:cpu --config.task.kwargs.path=FOLDER
"""

from ml_collections import config_dict

from configs.base import (
    KOHLI_2026_FACTS,
    KOHLI_2026_FACTS_CODE,
    LONG,
    SMOKE_OF_LONG_ROWS,
)
from rdt_jax.named import budget, getter, presets

PRESETS = presets(
    task=(
        "ltg_folder",
        {
            "path": config_dict.placeholder(str),  # no default: where the folder lies
            "test_file": "test.json",  # test.json, test_small.json, valid.json
            "answer_at": "last",
            # Tokens. None: of the longest row.
            "row_length": config_dict.placeholder(int),
        },
    ),
    cpu={
        "optimizer.learning_rate": 5e-3,
        "loss.label_smoothing": 0.1,
        "batch_size": 128,
        **budget(10_000, every=250, checkpoint=2_000),
    },
    smoke=SMOKE_OF_LONG_ROWS,
    cpu_long=LONG | {"num_steps": 100_000},
    paper=KOHLI_2026_FACTS,
    paper_code=KOHLI_2026_FACTS_CODE,
)
get_config = getter(PRESETS)
