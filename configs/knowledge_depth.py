"""Depth extrapolation: does a looped model follow more hops than it was trained on?

Stage k of the curriculum trains rows of up to k hops until held-out k-hop rows are
learned. The paper draws the loops of an update from a clipped Poisson distribution in
its main setting; these presets train its fixed R, and `recurrence.sampling` chooses
another. In the paper presets every number of hops has train rows: what is deeper
than trained depends on the stage that a run reaches, read off the tag `hops`.

Presets:
  smoke       seconds; the whole path, no science
  cpu         up to 6 hops trained, 8 asked, at width 64
  cpu_long    hours; twice the hops and the entities, the budget run to its end
  paper       Kohli et al. (2026), arXiv:2604.07822, Section 6, Appendix C, as written
  paper_code  the defaults of the authors' released code, which are those of `paper`:
              their decay of the rate over 100,001 epochs is constant in effect

    rdt train --config=configs/knowledge_depth.py:cpu --workdir=runs
"""

import ml_collections

from configs import base
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _cpu() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.task.name = "knowledge_depth"
    config.task.kwargs = {
        "num_entities": 20,
        "num_relations": 5,
        "max_hops": 8,
        "max_train_hops": 6,
        "train_per_hop": 400,  # of the 500 questions of two hops
        "heldout_per_hop": 80,
        "answer_at": "answer_token",
    }
    config.model.position = "none"
    config.recurrence.num_loops = 4
    config.curriculum.by = "hops"
    config.curriculum.start = 2
    config.optimizer.learning_rate = 3e-3
    config.batch_size = 128
    config.num_steps = 5_000
    config.eval_every_steps = 100
    config.checkpoint_every_steps = 1_000
    return config


def _cpu_long() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.num_entities = 40
    config.task.kwargs.max_hops = 16
    config.task.kwargs.max_train_hops = 12
    config.task.kwargs.train_per_hop = 800  # of the 1,000 questions of two hops
    config.task.kwargs.heldout_per_hop = 160
    config.num_steps = 100_000
    config.eval_every_steps = 250
    config.checkpoint_every_steps = 5_000
    config.stop_after_phases = False
    return config


def _smoke() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.num_entities = 10
    config.task.kwargs.max_hops = 4
    config.task.kwargs.max_train_hops = 3
    config.task.kwargs.train_per_hop = 200
    config.task.kwargs.heldout_per_hop = 40
    config.model.width = 32
    config.recurrence.num_loops = 2
    config.batch_size = 64
    config.num_steps = 300
    config.eval_every_steps = 50
    config.checkpoint_every_steps = 100
    config.optimizer.warmup_steps = 50
    return config


def _paper() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.num_entities = 200
    config.task.kwargs.num_relations = 10
    config.task.kwargs.max_hops = 40
    config.task.kwargs.max_train_hops = 40
    config.task.kwargs.train_per_hop = 15_000
    config.task.kwargs.heldout_per_hop = 750
    config.model.width = 768
    config.model.num_heads = 12
    config.model.core_blocks = 4
    config.model.embedding_std = 1.0
    config.model.dropout = 0.1
    config.model.dtype = "bfloat16"
    config.recurrence.num_loops = 8
    config.curriculum.reset_optimizer = True
    config.optimizer.learning_rate = 1e-4
    config.optimizer.weight_decay = 0.01
    config.optimizer.b2 = 0.999
    config.optimizer.warmup_steps = 2_000
    config.num_steps = 1_500_000
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
