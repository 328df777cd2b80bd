"""Addition of many numbers: does a looped model add more of them than in training?

Presets:
  smoke       seconds; the whole path, no science
  cpu         up to 4 operands of 1 digit, asked up to 6, width 64; about 3 minutes on
              one core. At 2,750 of 3,000 updates train 1.00, id .45, depth .00 (R = 4,
              one seed)
  cpu_long    hours; up to 6 operands of 3 digits, asked up to 10
  paper       Saunshi et al. (2025), arXiv:2502.17416, n-ary addition: 2 to 32 operands
              of 3 digits, one block of width 256 looped 12 times, 200,000 updates of
              1,024 rows. They draw fresh rows at every update, here 7,000 of each
              number of operands are fixed; they use Adafactor and name no rate, here
              it is AdamW
  paper_code  as `paper`: no code was found

    rdt train --config=configs/nary_addition.py:cpu --workdir=runs
"""

import ml_collections

from configs import base
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _cpu() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.task.name = "nary_addition"
    config.task.kwargs = {
        "num_digits": 1,
        "max_operands": 6,
        "max_train_operands": 4,
        "train_per_count": 80,  # of the 100 rows of two operands
        "heldout_per_count": 20,
    }
    config.recurrence.num_loops = 4
    config.optimizer.learning_rate = 3e-3
    config.batch_size = 64
    config.num_steps = 3_000
    config.eval_every_steps = 250
    config.checkpoint_every_steps = 1_000
    return config


def _cpu_long() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.num_digits = 3
    config.task.kwargs.max_operands = 10
    config.task.kwargs.max_train_operands = 6
    config.task.kwargs.train_per_count = 10_000
    config.task.kwargs.heldout_per_count = 500
    config.batch_size = 128
    config.num_steps = 100_000
    config.checkpoint_every_steps = 5_000
    config.stop_after_phases = False
    return config


def _smoke() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.max_operands = 4
    config.task.kwargs.max_train_operands = 3
    config.model.width = 32
    config.num_steps = 300
    config.eval_every_steps = 50
    config.checkpoint_every_steps = 100
    config.optimizer.warmup_steps = 50
    return config


def _paper() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.num_digits = 3
    config.task.kwargs.max_operands = 32
    config.task.kwargs.max_train_operands = 32
    config.task.kwargs.train_per_count = 7_000
    config.task.kwargs.heldout_per_count = 250
    config.model.width = 256
    config.model.num_heads = 8
    config.model.core_blocks = 1
    config.model.output_init = "gpt2"
    config.recurrence.num_loops = 12
    config.optimizer.learning_rate = 1e-3
    config.batch_size = 1_024
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
