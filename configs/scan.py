"""SCAN: does a looped model carry out commands whose parts it never saw together?

Presets:
  smoke       seconds; the whole path, no science
  cpu         `jump` in company, width 64. By 2,000 updates train .77 and ood .00, as
              published models do (R = 2, one seed), in 7 minutes on one CPU core
  cpu_long    hours; the same to the end of its budget
  paper       the published rows of Lake and Baroni (2018), arXiv:1711.00350, who train
              recurrent networks: the model and optimizer are those of Kohli et al.
              (2026), arXiv:2604.07822, Section 5; the budget is ours
  paper_code  as `paper`: what is released is data

`--config.task.kwargs.variant=length` and so on choose the split.

    rdt train --config=configs/scan.py:cpu --workdir=runs
"""

import ml_collections

from configs import base
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _cpu() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.task.name = "scan"
    config.task.kwargs = {"variant": "addprim_jump"}
    config.recurrence.num_loops = 2
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 200
    config.batch_size = 64
    config.num_steps = 2_000
    config.eval_every_steps = 500
    config.checkpoint_every_steps = 500
    config.evaluation.train_rows = 512
    return config


def _cpu_long() -> ml_collections.ConfigDict:
    config = _cpu()
    config.num_steps = 50_000
    config.eval_every_steps = 1_000
    config.checkpoint_every_steps = 5_000
    config.stop_after_phases = False
    return config


def _smoke() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.variant = "template_jump_around_right"
    config.evaluation.train_rows = 128
    config.model.width = 32
    config.batch_size = 32
    config.num_steps = 60
    config.eval_every_steps = 20
    config.checkpoint_every_steps = 40
    config.optimizer.warmup_steps = 20
    return config


def _paper() -> ml_collections.ConfigDict:
    config = _cpu()
    config.model.width = 768
    config.model.num_heads = 12
    config.model.core_blocks = 4
    config.model.embedding_std = 1.0
    config.model.dropout = 0.1
    config.model.dtype = "bfloat16"
    config.recurrence.num_loops = 4
    config.optimizer.learning_rate = 1e-4
    config.optimizer.weight_decay = 0.01
    config.optimizer.b2 = 0.999
    config.optimizer.warmup_steps = 2_000
    config.batch_size = 512
    config.num_steps = 200_000
    config.eval_every_steps = 1_000
    config.checkpoint_every_steps = 5_000
    config.stop_after_phases = False
    return config


PRESETS = {
    "smoke": _smoke,
    "cpu": _cpu,
    "cpu_long": _cpu_long,
    "paper": _paper,
    "paper_code": _paper,
}
