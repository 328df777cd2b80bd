"""PCFG SET: does a looped model nest string functions in ways it never saw?

Presets:
  smoke       seconds; the whole path, no science
  cpu         untrained pairs of functions, width 64. By 2,250 updates id .63, ood .59
              and mixed .45 (R = 4, one seed; whole answers), in 9 minutes on one core
  cpu_long    hours; the same with more functions, to the end of its budget
  paper       the functions and the split by productivity (train up to 8 functions) of
              Hupkes et al. (2020), arXiv:1908.08351; rows, numbers of rows and symbols
              are ours, the model and optimizer those of Kohli et al. (2026),
              arXiv:2604.07822, Section 5
  paper_code  as `paper`: what is released is data

    rdt train --config=configs/pcfg.py:cpu --workdir=runs
"""

import ml_collections

from configs import base
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _cpu() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.task.name = "pcfg"
    config.task.kwargs = {
        "splitting": "systematicity",
        "num_symbols": 20,
        "max_functions": 4,
        "max_train_functions": 4,
        "max_length": 16,  # tokens of a question, and of an answer
        "train_rows": 8_000,
        "heldout_rows": 500,  # of each split
        "num_heldout_pairs": 10,  # of the 100 pairs of functions
    }
    config.model.position = "none"  # Deeper rows are longer.
    config.model.remat = "none"  # Of so few loops all is kept: a tenth faster.
    config.recurrence.num_loops = 4
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 200
    config.batch_size = 64
    config.num_steps = 2_250
    config.eval_every_steps = 250
    config.checkpoint_every_steps = 750
    config.evaluation.train_rows = 500
    return config


def _cpu_long() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.max_functions = 6
    config.task.kwargs.max_train_functions = 6
    config.task.kwargs.max_length = 32
    config.task.kwargs.train_rows = 50_000
    config.num_steps = 100_000
    config.eval_every_steps = 1_000
    config.checkpoint_every_steps = 5_000
    config.stop_after_phases = False
    return config


def _smoke() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.train_rows = 1_000
    config.task.kwargs.heldout_rows = 50
    config.recurrence.num_loops = 2
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
    config.task.kwargs.splitting = "productivity"
    config.task.kwargs.num_heldout_pairs = 0
    config.task.kwargs.num_symbols = 500
    config.task.kwargs.max_functions = 12
    config.task.kwargs.max_train_functions = 8
    config.task.kwargs.max_length = 80
    config.task.kwargs.train_rows = 40_000
    config.task.kwargs.heldout_rows = 5_000
    config.model.width = 768
    config.model.num_heads = 12
    config.model.core_blocks = 4
    config.model.embedding_std = 1.0
    config.model.dropout = 0.1
    config.model.position = "learned"
    config.model.dtype = "bfloat16"
    config.model.remat = "full"
    config.optimizer.name = "adamw"
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
