"""A Universal Transformer: post-norm, coordinates every loop, halting per position.

Reference: Dehghani et al. (2018), arXiv:1807.03819, Section 2. The most loops of a
position are recurrence.num_loops. The final norm of the skeleton stays.

Presets:
  smoke       seconds; the whole path, no science
  cpu         one block of width 64 looped up to 6 times, on the task of
              knowledge_composition.py:cpu. By 9,000 updates id 1.00 and ood .53 (up to
              6 loops, one seed), in 4 minutes on one CPU core
  cpu_long    the same run to the end of its budget
  paper       the base model of the paper, on the task of Kohli et al.
  paper_code  the same: halting bias, threshold and ponder weight are tensor2tensor's

    rdt train --config=configs/universal.py:cpu --workdir=runs
"""

import ml_collections

from configs import knowledge_composition
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _components(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    model = config.model
    model.preset = "universal"
    model.core_blocks = 1
    model.norm_placement = "post"
    model.feedforward = "relu"
    model.position = "sinusoidal"
    model.position_every_loop = True
    model.step_embedding = "sinusoidal"
    model.halting = "act"  # none: every position takes all loops
    model.output_init = "normal"
    return config


def _sized(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    config = _components(config)
    # Of the size of the coordinates, beside which a word would else not be seen.
    config.model.embedding_std = config.model.width**-0.5
    config.model.scale_embedding = True
    config.recurrence.num_loops = 6
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
    config.model.width = 1024
    config.model.num_heads = 16
    config.model.mlp_width = 4096
    config.model.dropout = 0.3
    config.model.embedding_std = 1024**-0.5
    config.model.scale_embedding = True
    config.model.halting_bias = 1.0  # halts after two loops at the start
    config.recurrence.num_loops = 12
    return config


PRESETS = {
    "smoke": _smoke,
    "cpu": _cpu,
    "cpu_long": _cpu_long,
    "paper": _paper,
    "paper_code": _paper,
}
