"""Reachability: does a looped model follow edges for more hops than it practiced?

Presets:
  smoke       seconds; the whole path, no science
  cpu         10 edges, up to 2 hops trained, 4 asked, at width 64. Nothing is learned:
              after 6,000 updates of twice the batch at 1e-3 train, id and depth are at
              the chance of .50 (R = 4, one seed, on an H200); nor with 10 nodes, 7
              edges and Muon, in 15,000
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
        "num_nodes": 12,
        "num_edges": 10,  # two paths and distractors
        "min_hops": 1,
        "max_hops": 4,
        "max_train_hops": 2,
        "train_per_hop": 6_000,
        "heldout_per_hop": 400,
    }
    config.recurrence.num_loops = 4
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 200
    config.batch_size = 64
    config.num_steps = 2_000
    config.eval_every_steps = 200
    config.checkpoint_every_steps = 400
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
