"""Sentences to logical forms: does a looped model use words where it never saw them?

Presets:
  smoke       seconds; the whole path, no science
  cpu         nesting up to 2 trained, 4 asked, width 64. By 2,000 updates id .96,
              ood .46 and depth .00 (R = 2, one seed), in 8 minutes on one CPU core
  cpu_long    hours; more sentences, to the end of its budget
  paper       the numbers of sentences of Kim and Linzen (2020), arXiv:2010.05465:
              24,000 and those of the cases to train, 3,000 held out, 1,000 of each of
              21 cases; sentences and depths are ours, the model and optimizer those
              of Kohli et al. (2026), arXiv:2604.07822, Section 5
  paper_code  as `paper`: what is released is data

    rdt train --config=configs/cogs.py:cpu --workdir=runs
"""

import ml_collections

from configs import base
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _cpu() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.task.name = "cogs"
    config.task.kwargs = {
        "train_rows": 4_000,
        "id_rows": 500,
        "rows_per_case": 50,
        "exposures": 30,  # training sentences with the word of a case
        "max_train_depth": 2,
        "max_depth": 4,
    }
    config.recurrence.num_loops = 2
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 200
    config.batch_size = 64
    config.num_steps = 2_000
    config.eval_every_steps = 500
    config.checkpoint_every_steps = 500
    config.evaluation.train_rows = 500
    return config


def _cpu_long() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.train_rows = 24_000
    config.task.kwargs.id_rows = 1_000
    config.task.kwargs.rows_per_case = 100
    config.num_steps = 100_000
    config.eval_every_steps = 1_000
    config.checkpoint_every_steps = 5_000
    config.stop_after_phases = False
    return config


def _smoke() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.train_rows = 1_000
    config.task.kwargs.id_rows = 100
    config.task.kwargs.rows_per_case = 10
    config.task.kwargs.max_depth = 3
    config.evaluation.train_rows = 100
    config.model.width = 32
    config.batch_size = 32
    config.num_steps = 60
    config.eval_every_steps = 20
    config.checkpoint_every_steps = 40
    config.optimizer.warmup_steps = 20
    return config


def _paper() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.train_rows = 24_000
    config.task.kwargs.id_rows = 3_000
    config.task.kwargs.rows_per_case = 1_000
    config.task.kwargs.exposures = 100
    config.task.kwargs.max_depth = 12
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
