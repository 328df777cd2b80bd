"""A gated loop: step embeddings, a gate that begins nearly shut, LayerScale.

Reference: Chen (2026), arXiv:2603.21676. The loops of an update are drawn from 5 to 8,
as for the paper's graph task.

Presets:
  smoke       seconds; the whole path, no science
  cpu         one block of width 64, on the task of knowledge_composition.py:cpu. After
              10,000 updates id .97 and ood .30 (R = 6, one seed), in 5 minutes on one
              CPU core
  cpu_long    the same run to the end of its budget
  paper       the small model and optimizer of the paper, on the task of Kohli et al.
  paper_code  the same; no released code is known to differ

    rdt train --config=configs/gated.py:cpu --workdir=runs
"""

import ml_collections

from configs import knowledge_composition
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _components(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    model = config.model
    model.preset = "gated"
    model.core_blocks = 1
    model.position = "rope"
    model.step_embedding = "learned"
    model.residual = "gated_layerscale"
    model.output_init = "normal"
    config.recurrence.sampling = "uniform"
    config.recurrence.min_loops = 5
    config.recurrence.max_loops = 8
    return config


def _sized(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    config = _components(config)
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
    model = config.model
    model.width = 128
    model.num_heads = 4
    model.mlp_width = 256
    model.step_table = 20
    config.recurrence.num_loops = 8
    config.batch_size = 64
    config.optimizer.learning_rate = 3e-4
    config.optimizer.weight_decay = 0.01
    config.optimizer.schedule = "cosine"
    return config


PRESETS = {
    "smoke": _smoke,
    "cpu": _cpu,
    "cpu_long": _cpu_long,
    "paper": _paper,
    "paper_code": _paper,
}
