"""MoEUT: a looped group of blocks with experts in the feed-forward and the attention.

Reference: Csordas et al. (2024), arXiv:2405.16039.

Presets:
  smoke       seconds; the whole path, no science
  cpu         two blocks of width 64 looped twice, on the task of
              knowledge_composition.py:cpu. By 4,750 updates id 1.00 and ood .62 (R = 2,
              one seed), in 4 minutes on one CPU core
  cpu_long    the same run to the end of its budget
  paper       the model of 44M parameters and its optimizer, on the task of Kohli et al.
  paper_code  the same; what is said of it here comes from the released code

    rdt train --config=configs/moeut.py:cpu --workdir=runs
"""

import ml_collections

from configs import knowledge_composition
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _components(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    model = config.model
    model.preset = "moeut"
    model.core_blocks = 2  # G
    model.norm_placement = "peri"
    model.attention = "switch_head"
    model.feedforward = "sigma_moe"
    model.bias = "none"
    model.position = "rope"
    model.rope_fraction = 0.5
    model.readout = "untied"
    model.weight_init = "moeut"
    model.output_init = "normal"
    model.init_depth = model.core_blocks * config.recurrence.num_loops
    model.dropout = 0.0
    model.embedding_dropout = 0.0
    return config


def _sized(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    config = _components(config)
    config.model.head_width = 16
    config.model.embedding_std = config.model.width**-0.5
    config.optimizer.learning_rate = 2e-3
    return config


def _smoke() -> ml_collections.ConfigDict:
    return _sized(knowledge_composition.get_config("smoke"))


def _cpu() -> ml_collections.ConfigDict:
    return _sized(knowledge_composition.get_config("cpu"))


def _cpu_long() -> ml_collections.ConfigDict:
    return _sized(knowledge_composition.get_config("cpu_long"))


def _paper() -> ml_collections.ConfigDict:
    config = _components(knowledge_composition.get_config("paper"))
    model = config.model
    model.width = 412
    model.num_heads = 4
    model.head_width = 82
    model.num_experts = 155
    model.expert_width = 128
    model.experts_per_token = 12
    model.attention_experts = 8
    model.embedding_std = 412**-0.5
    model.init_depth = 16
    config.recurrence.num_loops = 8
    config.optimizer.learning_rate = 2.5e-4
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 1  # none at this size
    return config


PRESETS = {
    "smoke": _smoke,
    "cpu": _cpu,
    "cpu_long": _cpu_long,
    "paper": _paper,
    "paper_code": _paper,
}
