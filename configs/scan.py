"""SCAN: does a looped model carry out commands whose parts it never saw together?

Presets (`rdt train --config=configs/scan.py:cpu --workdir=runs`):
  cpu         `jump` in company, width 64. By 2,000 updates train .77 and ood .00, as
              published models do (R = 2, one seed), in 7 minutes on one CPU core
  cpu_long    hours; the same to the end of its budget
  paper       the published rows of Lake and Baroni (2018), arXiv:1711.00350, who train
              recurrent networks: the model and optimizer are those of Kohli et al.
              (2026), arXiv:2604.07822, Section 5; the budget is ours

`--config.task.kwargs.variant=length` and so on choose the split.
"""

from configs.base import KOHLI_2026_ROWS, LONG, SMOKE_OF_LONG_ROWS
from rdt_jax.named import budget, by_preset, getter, presets

PRESETS = presets(
    task=("scan", {"variant": "addprim_jump"}),
    cpu={
        "recurrence.num_loops": by_preset(2, paper=4),
        "optimizer.learning_rate": 2e-3,
        "optimizer.warmup_steps": 200,
        "batch_size": 64,
        "evaluation.train_rows": by_preset(512, smoke=128),
        **budget(2_000, every=500, checkpoint=500),
    },
    smoke={
        **SMOKE_OF_LONG_ROWS,
        "task.kwargs.variant": "template_jump_around_right",
    },
    cpu_long=LONG | budget(50_000, every=1_000, checkpoint=5_000),
    paper=KOHLI_2026_ROWS,
)
get_config = getter(PRESETS)
