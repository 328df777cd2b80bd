"""Nested arithmetic: does a looped model evaluate deeper expressions than it practiced?

Presets:
  smoke       seconds; the whole path, no science
  cpu         modulo 7 along one path, nesting 2 to 4 trained, 6 asked, at width 64.
              By 5,000 updates id .44, of nesting 2 most, and depth .16 (R = 4, one
              seed, on an H200; chance .14, the outermost operator alone .21); after
              15,000 id .51 with train at .95. Deeper rows are longer than any trained:
              of their last positions nothing was learned
  cpu_long    nesting of 7 asked, deeper arguments on both sides, 40,000 updates
  paper       modulo 5 with + - *, Deletang et al. (2022), arXiv:2207.02098; depths,
              rows and model are our own, since theirs is no looped transformer
  paper_code  equals `paper`: their code samples by length and not by depth

    rdt train --config=configs/arithmetic_expression.py:cpu --workdir=runs
"""

import ml_collections

from configs import base
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _cpu() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.task.name = "arithmetic_expression"
    config.task.kwargs = {
        "modulus": 7,
        "operators": "+ - *",
        "min_depth": 2,
        "max_depth": 6,
        "max_train_depth": 4,
        "max_side_depth": 0,  # of arguments beside the deepest
        "train_per_depth": 3_500,
        "heldout_per_depth": 350,
    }
    config.model.remat = "none"  # Of so few loops all is kept: a tenth faster.
    config.recurrence.num_loops = 4
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 200
    config.batch_size = 128
    config.num_steps = 5_000
    config.eval_every_steps = 500
    config.checkpoint_every_steps = 1_000
    return config


def _cpu_long() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.max_depth = 7
    config.task.kwargs.max_side_depth = 1
    config.task.kwargs.train_per_depth = 4_000
    config.task.kwargs.heldout_per_depth = 400
    config.model.position = "none"  # Deeper rows are longer.
    config.num_steps = 40_000
    config.eval_every_steps = 500
    config.checkpoint_every_steps = 5_000
    config.stop_after_phases = False
    return config


def _smoke() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.max_depth = 4
    config.task.kwargs.max_train_depth = 3
    config.task.kwargs.train_per_depth = 400
    config.task.kwargs.heldout_per_depth = 100
    config.model.width = 32
    config.recurrence.num_loops = 2
    config.optimizer.warmup_steps = 50
    config.num_steps = 200
    config.eval_every_steps = 50
    config.checkpoint_every_steps = 100
    return config


def _paper() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.modulus = 5
    config.task.kwargs.max_depth = 14
    config.task.kwargs.max_train_depth = 8
    config.task.kwargs.max_side_depth = 2
    config.task.kwargs.train_per_depth = 7_000
    config.task.kwargs.heldout_per_depth = 500
    config.model.width = 256
    config.model.num_heads = 8
    config.model.dropout = 0.1
    config.model.position = "none"  # Deeper rows are longer.
    config.model.remat = "full"
    config.recurrence.num_loops = 8
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 3e-4
    config.optimizer.weight_decay = 0.01
    config.batch_size = 128
    config.num_steps = 100_000
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
