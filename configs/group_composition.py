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
              Adafactor and name no rate, here it is AdamW
  paper_code  as `paper`: no code was found

    rdt train --config=configs/group_composition.py:cpu --workdir=runs
"""

import ml_collections

from configs import base
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _cpu() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.task.name = "group_composition"
    config.task.kwargs = {
        "family": "symmetric",
        "degree": 4,  # points permuted
        "min_length": 3,  # elements; of two there are only 576 words
        "max_length": 6,
        "max_train_length": 4,
        "train_per_length": 10_000,  # of the 13,824 words of three
        "heldout_per_length": 500,
    }
    config.model.position = "none"
    config.model.remat = "none"  # Of so few loops all is kept: a tenth faster.
    config.recurrence.num_loops = 4
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 2e-3
    config.batch_size = 128
    config.num_steps = 8_000
    config.eval_every_steps = 500
    config.checkpoint_every_steps = 1_000
    return config


def _cpu_long() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.degree = 5
    config.task.kwargs.min_length = 2
    config.task.kwargs.max_length = 16
    config.task.kwargs.max_train_length = 8
    config.task.kwargs.train_per_length = 12_000
    config.task.kwargs.heldout_per_length = 500
    config.recurrence.num_loops = 6
    config.num_steps = 100_000
    config.checkpoint_every_steps = 5_000
    config.stop_after_phases = False
    return config


def _smoke() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.family = "cyclic"
    config.task.kwargs.degree = 5
    config.task.kwargs.min_length = 2
    config.task.kwargs.max_length = 4
    config.task.kwargs.max_train_length = 3
    config.task.kwargs.train_per_length = 20
    config.task.kwargs.heldout_per_length = 5
    config.model.width = 32
    config.batch_size = 40
    config.num_steps = 300
    config.eval_every_steps = 50
    config.checkpoint_every_steps = 100
    config.optimizer.warmup_steps = 50
    return config


def _paper() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.degree = 5
    config.task.kwargs.min_length = 2
    config.task.kwargs.max_length = 32
    config.task.kwargs.max_train_length = 16
    config.task.kwargs.train_per_length = 13_000  # of the 14,400 words of two
    config.task.kwargs.heldout_per_length = 1_000
    config.model.width = 256
    config.model.num_heads = 8
    config.model.core_blocks = 1
    config.model.output_init = "gpt2"
    config.model.remat = "full"
    config.recurrence.num_loops = 6
    config.optimizer.name = "adamw"
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
