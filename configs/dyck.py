"""Bracket words: does a looped model judge deeper words than it practiced?

Presets:
  smoke       seconds; the whole path, no science
  cpu         height 2 or 3 along one path trained, 4 asked, at width 64. By 2,000
              updates id 1.00 and depth .98 (R = 4, one seed, on an H200; chance .50);
              on one CPU core 1,500 took 6 minutes, with id .62, so all take 10. At
              the rate 1e-3 6,000 updates stayed at chance; with learned positions and
              Muon id was 1.00 after 1,000, and depth .51
  cpu_long    height 2 to 4 trained, 7 asked, high words side by side, 40,000 updates
  paper       Jerad et al. (2026), arXiv:2601.01754, ask for recognition by looped
              transformers; heights, rows and model are our own
  paper_code  equals `paper`: no released defaults are known here

    rdt train --config=configs/dyck.py:cpu --workdir=runs
"""

import ml_collections

from configs import base
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _cpu() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.task.name = "dyck"
    config.task.kwargs = {
        "num_kinds": 3,
        "min_depth": 2,
        "max_depth": 4,
        "max_train_depth": 3,
        "max_side_depth": 0,  # of words beside the highest
        "train_per_depth": 3_000,
        "heldout_per_depth": 400,
    }
    config.model.position = "none"  # Deeper rows are longer.
    config.model.remat = "none"  # Of so few loops all is kept: a tenth faster.
    config.recurrence.num_loops = 4
    config.optimizer.learning_rate = 3e-4  # At 1e-3 nothing was learned.
    config.optimizer.warmup_steps = 200
    config.batch_size = 128
    config.num_steps = 2_500
    config.eval_every_steps = 250
    config.checkpoint_every_steps = 500
    return config


def _cpu_long() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.max_depth = 7
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
    config.task.kwargs.min_depth = 3
    config.task.kwargs.max_depth = 16
    config.task.kwargs.max_train_depth = 8
    config.task.kwargs.max_side_depth = 1
    config.task.kwargs.train_per_depth = 8_000
    config.task.kwargs.heldout_per_depth = 500
    config.model.width = 256
    config.model.num_heads = 8
    config.model.dropout = 0.1
    config.model.remat = "full"
    config.recurrence.num_loops = 8
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
