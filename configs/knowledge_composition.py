"""Two-hop knowledge composition: does a looped model combine facts it never combined?

Presets:
  smoke       seconds; the whole path, no science
  cpu         50 entities and 10 relations at width 64. Of 3 seeds all reach id .95
              by 3,000 updates and ood .50 by 4,750 (R = 2;
              experiments/depth_by_decay)
  cpu_long    the same run to the end of its budget, for the wider sweep
  paper       Kohli et al. (2026), arXiv:2604.07822, Section 5, Appendix C, as written
  paper_code  the defaults of the authors' released code where they differ

    rdt train --config=configs/knowledge_composition.py:cpu --workdir=runs
"""

import ml_collections
from ml_collections import config_dict

from configs import base
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _cpu() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.task.name = "knowledge_composition"
    config.task.kwargs = {
        "num_entities": 50,
        "num_relations": 10,
        "out_degree": 10,
        "ood_share": 0.2,  # of the facts
        "phi": 7.2,  # two-hop training rows per ID fact
        "atomic_repeats": 6,  # of each fact in an epoch
        "max_heldout": config_dict.placeholder(int),  # rows in id, ood, each pattern
        "answer_at": "last",
    }
    config.task.kwargs.max_heldout = 500  # keeps all of id and ood; None: all rows
    config.model.remat = "none"  # Of so few loops all is kept: a tenth faster.
    config.batch_size = 128
    config.num_steps = 10_000
    config.eval_every_steps = 250
    config.checkpoint_every_steps = 5_000
    config.evaluation.batch_size = 256  # Fits a cache.
    config.optimizer.learning_rate = 5e-3
    config.loss.label_smoothing = 0.1
    return config


def _cpu_long() -> ml_collections.ConfigDict:
    config = _cpu()
    config.num_steps = 8_000
    config.stop_after_phases = False
    return config


def _smoke() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.num_entities = 20
    config.task.kwargs.num_relations = 5
    config.task.kwargs.out_degree = 5
    config.task.kwargs.phi = 3.0
    config.model.width = 32
    config.batch_size = 64
    config.num_steps = 300
    config.eval_every_steps = 50
    config.checkpoint_every_steps = 100
    config.optimizer.warmup_steps = 50
    return config


def _paper() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.num_entities = 2_000
    config.task.kwargs.num_relations = 200
    config.task.kwargs.out_degree = 20
    config.task.kwargs.ood_share = 0.05
    config.task.kwargs.atomic_repeats = 1
    config.task.kwargs.max_heldout = 3_000
    config.task.kwargs.answer_at = "pad"
    config.model.width = 768
    config.model.num_heads = 12
    config.model.core_blocks = 4
    # Sixteen blocks written out compile on a TPU in no bearable time, and keeping the
    # products moves a seventh less than computing them again.
    config.model.remat = "dots"
    config.model.embedding_std = 1.0
    config.model.dropout = 0.1
    config.model.embedding_dropout = 0.1
    config.model.dtype = "bfloat16"
    config.recurrence.num_loops = 4
    config.optimizer.learning_rate = 1e-4
    config.optimizer.weight_decay = 0.01
    config.optimizer.b2 = 0.999
    config.optimizer.warmup_steps = 2_000
    config.loss.label_smoothing = 0.0
    config.batch_size = 512
    config.num_steps = 1_500_000
    config.eval_every_steps = 1_000
    config.checkpoint_every_steps = 5_000
    config.evaluation.batch_size = 256  # Fits a cache.
    config.stop_after_phases = False
    return config


def _paper_code() -> ml_collections.ConfigDict:
    config = _paper()
    config.model.output_init = "normal"
    config.optimizer.weight_decay = 0.1
    config.loss.label_smoothing = 0.1
    config.batch_size = 128
    config.num_steps = 6_000_000
    return config


PRESETS = {
    "smoke": _smoke,
    "cpu": _cpu,
    "cpu_long": _cpu_long,
    "paper": _paper,
    "paper_code": _paper_code,
}
