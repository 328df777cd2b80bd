"""Arithmetic graphs: does a looped model solve deeper equations than it practiced?

Presets:
  smoke       seconds; the whole path, no science
  cpu         5 equations, depth up to 2 trained, 3 asked, at width 64. By 1,500
              updates id .44 and depth .34 (R = 4, one seed; chance .14, operators
              alone .19), in 5 minutes on one CPU core; more updates memorize: after
              15,000 of twice the batch train is .96 and id .38
  cpu_long    9 equations, depth up to 3 trained, 6 asked, 40,000 updates
  paper       Altabaa et al. (2025), arXiv:2510.14095, sums modulo 23 of up to 3
              arguments: 50,000 rows of depth up to 6 and 32 nodes, as in theirs.
              Asked to depth 26 among 32 nodes, not 36 among 128; one node is asked;
              a fixed R = 8, without their supervision of every loop; learned positions
  paper_code  equals `paper`: no released defaults are known here

    rdt train --config=configs/dag_arithmetic.py:cpu --workdir=runs
"""

import ml_collections

from configs import base
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _cpu() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.task.name = "dag_arithmetic"
    config.task.kwargs = {
        "modulus": 7,
        "operators": "+ *",
        "num_nodes": 5,  # equations in a row
        "num_leaves": 2,
        "max_arguments": 2,
        "min_depth": 1,
        "max_depth": 3,
        "max_train_depth": 2,
        "train_per_depth": 6_000,
        "heldout_per_depth": 350,
    }
    config.model.remat = "none"  # Of so few loops all is kept: a tenth faster.
    config.recurrence.num_loops = 4
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 200
    config.batch_size = 64
    config.num_steps = 1_500
    config.eval_every_steps = 250
    config.checkpoint_every_steps = 500
    return config


def _cpu_long() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.num_nodes = 9
    config.task.kwargs.num_leaves = 3
    config.task.kwargs.max_depth = 6
    config.task.kwargs.max_train_depth = 3
    config.num_steps = 40_000
    config.eval_every_steps = 500
    config.checkpoint_every_steps = 5_000
    config.stop_after_phases = False
    return config


def _smoke() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.max_train_depth = 2
    config.task.kwargs.train_per_depth = 700
    config.task.kwargs.heldout_per_depth = 70
    config.model.width = 32
    config.recurrence.num_loops = 2
    config.optimizer.warmup_steps = 50
    config.num_steps = 200
    config.eval_every_steps = 50
    config.checkpoint_every_steps = 100
    return config


def _paper() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.modulus = 23
    config.task.kwargs.operators = "+"
    config.task.kwargs.num_nodes = 32
    config.task.kwargs.num_leaves = 6
    config.task.kwargs.max_arguments = 3
    config.task.kwargs.max_depth = 26
    config.task.kwargs.max_train_depth = 6
    config.task.kwargs.train_per_depth = 8_333
    config.task.kwargs.heldout_per_depth = 500
    config.model.width = 384
    config.model.num_heads = 16
    config.model.core_blocks = 4
    config.model.dropout = 0.1
    config.model.remat = "full"
    config.recurrence.num_loops = 8
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.01
    config.batch_size = 32
    config.num_steps = 156_000  # 100 epochs
    config.eval_every_steps = 1_000
    config.checkpoint_every_steps = 4_000
    config.stop_after_phases = False
    return config


PRESETS = {
    "smoke": _smoke,
    "cpu": _cpu,
    "cpu_long": _cpu_long,
    "paper": _paper,
    "paper_code": _paper,
}
