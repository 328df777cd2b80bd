"""Depth extrapolation: does a looped model follow more hops than it was trained on?

Stage k of the curriculum trains rows of up to k hops until held-out k-hop rows are
learned. The paper draws the loops of an update from a clipped Poisson distribution in
its main setting; these presets train its fixed R, and `recurrence.sampling` chooses
another, as experiments/depth_extrapolation does. In the paper presets every number of
hops has train rows: what is deeper than trained depends on the stage that a run
reaches, read off the tag `hops`.

Presets:
  smoke       seconds; the whole path, no science
  cpu         up to 8 hops trained, 10 asked, at width 64. By 2,800 updates 5 hops are
              learned, id .95 of 5 hops (R = 5, two seeds), and .97 and .82 of 6 hops,
              never trained, are answered after 6 loops; 7 minutes on one CPU core
  cpu_long    a quarter of an hour and more; up to 10 hops trained, 14 asked, and 8,000
              updates
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


def _shared() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.task.name = "knowledge_depth"
    config.task.kwargs = {
        "num_entities": 30,
        "num_relations": 6,
        "max_hops": 10,
        "max_train_hops": 8,
        "train_per_hop": 900,  # of the 1,080 questions of two hops
        "heldout_per_hop": 160,
        "answer_at": "answer_token",
    }
    config.model.position = "none"
    config.curriculum.by = "hops"
    config.curriculum.start = 2
    config.batch_size = 128
    return config


def _cpu() -> ml_collections.ConfigDict:
    config = _shared()
    config.task.kwargs.answer_at = "last"
    config.model.remat = "none"  # Of so few loops all is kept: a tenth faster.
    config.recurrence.num_loops = 5
    # AdamW at 1e-3 had not learned two hops in 16,000 updates.
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 2e-3
    config.evaluation.train_rows = 512
    config.num_steps = 4_000
    config.eval_every_steps = 100  # A stage takes five evaluations or more.
    config.checkpoint_every_steps = 1_000
    return config


def _cpu_long() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.max_hops = 14
    config.task.kwargs.max_train_hops = 10
    config.num_steps = 8_000
    config.checkpoint_every_steps = 2_000
    return config


def _smoke() -> ml_collections.ConfigDict:
    config = _shared()
    config.task.kwargs.num_entities = 10
    config.task.kwargs.num_relations = 5
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
    config.optimizer.learning_rate = 3e-3
    config.optimizer.warmup_steps = 50
    return config


def _paper() -> ml_collections.ConfigDict:
    config = _shared()
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
