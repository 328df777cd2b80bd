"""Boolean formulas: does a looped model evaluate deeper nesting than it practiced?

The certificate's shortcut `outermost` says how far the outermost operator alone goes.

Presets:
  smoke       seconds; the whole path, no science
  cpu         formulas along one path, nesting 4 to 6 trained, 8 asked, at width 64.
              By 2,000 updates id .96 and depth .88 (R = 4, one seed; chance .50, the
              outermost operator alone .71 and .66), in 7 minutes on one CPU core
  cpu_long    nesting 3 to 6 trained, 10 asked, on both sides, 40,000 updates
  paper       Chen (2026), arXiv:2603.21676, nested Boolean expressions, as far as
              known: trained to depth 8, asked to 14. Depths 1 and 2 are left out,
              since they have too few formulas; a fixed R = 8 instead of 4 to 16
              drawn; rows, updates and optimizer are those of its graph task
  paper_code  equals `paper`: no released defaults are known here

    rdt train --config=configs/boolean_expression.py:cpu --workdir=runs
"""

import ml_collections

from configs import base
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _cpu() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.task.name = "boolean_expression"
    config.task.kwargs = {
        "operators": "and or not",
        "min_depth": 4,
        "max_depth": 8,
        "max_train_depth": 6,
        "max_side_depth": 0,  # of arguments beside the deepest
        "train_per_depth": 2_000,
        "heldout_per_depth": 200,
    }
    config.model.position = "none"  # Deeper rows are longer.
    config.model.remat = "none"  # Of so few loops all is kept: a tenth faster.
    config.recurrence.num_loops = 4
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 200
    config.batch_size = 64
    config.num_steps = 2_000
    config.eval_every_steps = 250
    config.checkpoint_every_steps = 500
    return config


def _cpu_long() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.min_depth = 3
    config.task.kwargs.max_depth = 10
    config.task.kwargs.max_side_depth = 1
    config.task.kwargs.train_per_depth = 3_000
    config.task.kwargs.heldout_per_depth = 400
    config.num_steps = 40_000
    config.eval_every_steps = 500
    config.checkpoint_every_steps = 5_000
    config.stop_after_phases = False
    return config


def _smoke() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.min_depth = 3
    config.task.kwargs.max_depth = 5
    config.task.kwargs.max_train_depth = 4
    config.task.kwargs.max_side_depth = 1
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
    config.task.kwargs.min_depth = 3
    config.task.kwargs.max_depth = 14
    config.task.kwargs.max_train_depth = 8
    config.task.kwargs.max_side_depth = 2
    config.task.kwargs.train_per_depth = 2_000
    config.task.kwargs.heldout_per_depth = 500
    config.model.width = 256
    config.model.num_heads = 8
    config.model.core_blocks = 1
    config.model.dropout = 0.1
    config.model.remat = "full"
    config.recurrence.num_loops = 8
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 3e-4
    config.optimizer.weight_decay = 0.01
    config.optimizer.schedule = "cosine"
    config.num_steps = 7_500
    config.eval_every_steps = 250
    config.checkpoint_every_steps = 2_500
    config.stop_after_phases = False
    return config


PRESETS = {
    "smoke": _smoke,
    "cpu": _cpu,
    "cpu_long": _cpu_long,
    "paper": _paper,
    "paper_code": _paper,
}
