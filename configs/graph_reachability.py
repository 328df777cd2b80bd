"""Reachability: does a looped model follow edges for more hops than it practiced?

Presets:
  smoke       seconds; the whole path, no science
  cpu         6 edges, up to 2 hops trained, 3 asked, at width 64; 4 minutes on one CPU
              core. Nothing is learned: after 2,500 updates train .47, id .50, depth .50
              (R = 4, one seed; chance .50). After 12,000 of twice the batch on an H200
              it is the same, one hop included
  cpu_long    16 edges, up to 3 hops trained, 6 asked, 40,000 updates
  paper       Chen (2026), arXiv:2603.21676, directed reachability: 12,000 rows of 1
              to 5 hops, asked to 12. The graph is given in tokens, and has 28 nodes
              at any hops; a fixed R = 8 instead of 5 to 8 drawn
  paper_code  equals `paper`: no released defaults are known here

    rdt train --config=configs/graph_reachability.py:cpu --workdir=runs
"""

import ml_collections

from configs import base
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _cpu() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.task.name = "graph_reachability"
    config.task.kwargs = {
        "num_nodes": 10,
        "num_edges": 6,  # two paths and distractors, if any
        "min_hops": 1,
        "max_hops": 3,
        "max_train_hops": 2,
        "train_per_hop": 20_000,
        "heldout_per_hop": 400,
    }
    config.model.remat = "none"  # Of so few loops all is kept: a tenth faster.
    config.recurrence.num_loops = 4
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 200
    config.batch_size = 64
    config.num_steps = 2_500
    config.eval_every_steps = 250
    config.checkpoint_every_steps = 500
    return config


def _cpu_long() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.num_nodes = 16
    config.task.kwargs.num_edges = 16
    config.task.kwargs.max_hops = 6
    config.task.kwargs.max_train_hops = 3
    config.num_steps = 40_000
    config.eval_every_steps = 500
    config.checkpoint_every_steps = 5_000
    config.stop_after_phases = False
    return config


def _smoke() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.num_nodes = 10
    config.task.kwargs.num_edges = 8
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
    config.task.kwargs.num_nodes = 28
    config.task.kwargs.num_edges = 32
    config.task.kwargs.max_hops = 12
    config.task.kwargs.max_train_hops = 5
    config.task.kwargs.train_per_hop = 2_400
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
