"""ListOps: does a looped model evaluate deeper lists than it practiced?

Presets:
  smoke       seconds; the whole path, no science
  cpu         up to 3 lists along one path trained, 5 asked, at width 64. By 3,000
              updates id .64 and depth .53 (R = 4, one seed; the outermost operator
              alone gives .31 and .42), in 7 minutes on one CPU core
  cpu_long    up to 4 nested lists on both sides trained, 6 asked, 40,000 updates
  paper       up to 5 arguments and depth 20, Nangia and Bowman (2018),
              arXiv:1804.06028; split by depth, rows and model are our own, since
              theirs is no transformer
  paper_code  equals `paper`: the same generator

    rdt train --config=configs/listops.py:cpu --workdir=runs
"""

import ml_collections

from configs import base
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _cpu() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.task.name = "listops"
    config.task.kwargs = {
        "operators": "MAX MIN MED SUM_MOD",
        "max_arguments": 3,
        "min_depth": 1,
        "max_depth": 5,
        "max_train_depth": 3,
        "max_side_depth": 0,  # of arguments beside the deepest
        "train_per_depth": 3_000,
        "heldout_per_depth": 300,
    }
    config.model.position = "none"  # Deeper rows are longer.
    config.model.remat = "none"  # Of so few loops all is kept: a tenth faster.
    config.recurrence.num_loops = 4
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 200
    config.batch_size = 64
    config.num_steps = 3_000
    config.eval_every_steps = 250
    config.checkpoint_every_steps = 500
    return config


def _cpu_long() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.max_depth = 6
    config.task.kwargs.max_train_depth = 4
    config.task.kwargs.max_side_depth = 1
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
    config.task.kwargs.max_arguments = 5
    config.task.kwargs.max_depth = 20
    config.task.kwargs.max_train_depth = 10
    config.task.kwargs.max_side_depth = 1
    config.task.kwargs.train_per_depth = 9_000
    config.task.kwargs.heldout_per_depth = 500
    config.model.width = 256
    config.model.num_heads = 8
    config.model.dropout = 0.1
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
