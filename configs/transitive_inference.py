"""Transitive inference: does a looped model chain more comparisons than it practiced?

Presets:
  smoke       seconds; the whole path, no science
  cpu         10 items, up to 2 hops trained, 3 asked, at width 64; 4 minutes on one CPU
              core. Nothing is learned: after 1,500 updates id .50 and depth .50 (R = 4,
              one seed; chance .50). After 12,000 of twice the batch on an H200 it is
              the same, also if one hop is trained first; of 6,000 rows of each hop
              instead of 30,000 train reaches .98 by 15,000, and id .47
  cpu_long    16 items, up to 3 hops trained, 5 asked, 40,000 updates
  paper       Geerts et al. (2025), arXiv:2506.04289, ask it of transformers without a
              split by distance; sizes are our own, with the model of
              Chen (2026), arXiv:2603.21676, directed reachability, at R = 8
  paper_code  equals `paper`: no released defaults are known here

    rdt train --config=configs/transitive_inference.py:cpu --workdir=runs
"""

import ml_collections

from configs import base
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _cpu() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.task.name = "transitive_inference"
    config.task.kwargs = {
        "num_items": 10,
        "min_hops": 1,
        "max_hops": 3,
        "max_train_hops": 2,
        "train_per_hop": 30_000,
        "heldout_per_hop": 400,
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
    config.task.kwargs.num_items = 16
    config.task.kwargs.max_hops = 5
    config.task.kwargs.max_train_hops = 3
    config.num_steps = 40_000
    config.eval_every_steps = 500
    config.checkpoint_every_steps = 5_000
    config.stop_after_phases = False
    return config


def _smoke() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.num_items = 10
    config.task.kwargs.max_hops = 3
    config.task.kwargs.max_train_hops = 2
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
    config.task.kwargs.num_items = 31
    config.task.kwargs.max_hops = 10
    config.task.kwargs.max_train_hops = 5
    config.task.kwargs.train_per_hop = 10_000
    config.task.kwargs.heldout_per_hop = 500
    config.model.width = 128
    config.model.mlp_ratio = 2
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
