"""Knowledge comparison: does a model compare values that it never compared?

Presets:
  smoke       seconds; the whole path, no science
  cpu         60 entities and 6 attributes at width 64; about 2 minutes on one core. At
              8,000 updates train .99, id .91, mixed .78, ood .53 (R = 2, one seed)
  cpu_long    the same run to the end of ten times its budget
  paper       Wang et al. (2024), arXiv:2405.15071, Section 4, phi 7.2: eight blocks,
              no loop
  paper_code  as `paper`, with the 1.5 million updates of the released command

    rdt train --config=configs/knowledge_comparison.py:cpu --workdir=runs
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
    config.task.name = "knowledge_comparison"
    config.task.kwargs = {
        "num_entities": 60,
        "num_attributes": 6,
        "num_values": 10,
        "ood_share": 0.1,  # of the entities, for each attribute
        "phi": 12.0,  # trained comparisons per ID fact
        "atomic_repeats": 4,  # of each fact in an epoch
        "max_heldout_pairs": config_dict.placeholder(int),  # None: all
        "answer_at": "last",
    }
    config.task.kwargs.max_heldout_pairs = 250  # each asked in both orders
    config.batch_size = 128
    config.num_steps = 8_000
    config.eval_every_steps = 250
    config.checkpoint_every_steps = 2_000
    config.optimizer.learning_rate = 3e-3
    config.phases.ood_generalized = 0.9  # one value alone tells three in four labels
    return config


def _cpu_long() -> ml_collections.ConfigDict:
    config = _cpu()
    config.num_steps = 80_000
    config.stop_after_phases = False
    return config


def _smoke() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.num_entities = 20
    config.task.kwargs.num_attributes = 3
    config.task.kwargs.num_values = 5
    config.task.kwargs.phi = 5.0
    config.model.width = 32
    config.batch_size = 64
    config.num_steps = 300
    config.eval_every_steps = 50
    config.checkpoint_every_steps = 100
    config.optimizer.warmup_steps = 50
    return config


def _paper() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.num_entities = 1_000
    config.task.kwargs.num_attributes = 20
    config.task.kwargs.num_values = 20
    config.task.kwargs.phi = 7.2
    config.task.kwargs.atomic_repeats = 1
    config.task.kwargs.max_heldout_pairs = 1_500
    config.model.width = 768
    config.model.num_heads = 12
    config.model.core_blocks = 8
    config.model.output_init = "gpt2"
    config.model.dropout = 0.1
    config.model.embedding_dropout = 0.1
    config.recurrence.num_loops = 1
    config.optimizer.learning_rate = 1e-4
    config.optimizer.b2 = 0.999
    config.optimizer.warmup_steps = 2_000
    config.batch_size = 512
    config.num_steps = 2_000_000
    config.eval_every_steps = 1_000
    config.checkpoint_every_steps = 5_000
    config.stop_after_phases = False
    return config


def _paper_code() -> ml_collections.ConfigDict:
    config = _paper()
    config.num_steps = 1_500_000
    return config


PRESETS = {
    "smoke": _smoke,
    "cpu": _cpu,
    "cpu_long": _cpu_long,
    "paper": _paper,
    "paper_code": _paper_code,
}
