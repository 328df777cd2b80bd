"""Kinship: does a looped model chain more premises than it practiced?

Presets:
  smoke       seconds; the whole path, no science
  cpu         2 or 3 premises trained, up to 5 asked, at width 64; 5 minutes on one CPU
              core. Nothing is learned: after 3,000 updates train, id and depth .50 (R =
              4, one seed; chance .50), nor with Muon, 6 people and twice the batch, in
              15,000 on an H200. With 24 people and a curriculum from one premise on,
              one premise is learned by 5,000 (id .99), two are not (.53)
  cpu_long    2 to 4 premises trained, up to 7 asked, 40,000 updates
  paper       Chen (2026), arXiv:2603.21676, shuffled kinship chains, as far as known:
              trained on 2 to 5 premises, asked to 9; a fixed R = 8 instead of 1 to 12
              drawn; rows, width, updates and optimizer are those of its graph task
  paper_code  equals `paper`: no released defaults are known here

    rdt train --config=configs/kinship.py:cpu --workdir=runs
"""

import ml_collections

from configs import base
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _cpu() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.task.name = "kinship"
    config.task.kwargs = {
        "num_people": 12,
        "min_hops": 2,
        "max_hops": 5,
        "max_train_hops": 3,
        "train_per_hop": 4_000,
        "heldout_per_hop": 400,
    }
    config.model.position = "none"  # Deeper rows are longer.
    config.recurrence.num_loops = 4
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 200
    config.batch_size = 64
    config.num_steps = 3_000
    config.eval_every_steps = 200
    config.checkpoint_every_steps = 1_000
    return config


def _cpu_long() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.max_hops = 7
    config.task.kwargs.max_train_hops = 4
    config.num_steps = 40_000
    config.eval_every_steps = 500
    config.checkpoint_every_steps = 5_000
    config.stop_after_phases = False
    return config


def _smoke() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.max_hops = 4
    config.task.kwargs.max_train_hops = 3
    config.task.kwargs.train_per_hop = 600
    config.task.kwargs.heldout_per_hop = 100
    config.model.width = 32
    config.recurrence.num_loops = 2
    config.optimizer.warmup_steps = 50
    config.num_steps = 200
    config.eval_every_steps = 50
    config.checkpoint_every_steps = 100
    return config


def _paper() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.num_people = 20
    config.task.kwargs.max_hops = 9
    config.task.kwargs.max_train_hops = 5
    config.task.kwargs.train_per_hop = 3_000
    config.task.kwargs.heldout_per_hop = 500
    config.model.width = 128
    config.model.mlp_ratio = 2
    config.model.core_blocks = 1
    config.model.dropout = 0.1
    config.recurrence.num_loops = 8
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
