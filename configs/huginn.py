"""Huginn: prelude, core and coda; where a loop starts is random.

Reference: Geiping et al. (2025), arXiv:2502.05171, Section 3. The loops of an update
are drawn (log-normal Poisson, sigma 1/2), and gradients flow through the last ones only
(recurrence.backprop_depth).

Presets:
  smoke       seconds; the whole path, no science
  cpu         blocks of width 64, 1 + 2 + 1, the loops 4 in the mean, on the task of
              knowledge_composition.py:cpu. After 10,000 updates id .98 and ood .06 (R =
              4, one seed; measured when its tables and states did not yet end at
              three deviations), in 6 minutes on one CPU core
  cpu_long    the same run to the end of its budget
  paper       the main model and its optimizer, on the task of Kohli et al.
  paper_code  the same; the released code agrees with the paper in these keys

    rdt train --config=configs/huginn.py:cpu --workdir=runs
"""

import ml_collections

from configs import knowledge_composition
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _components(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    model = config.model
    model.preset = "huginn"
    model.prelude_blocks = 1
    model.coda_blocks = 1
    model.norm_placement = "sandwich"
    model.norm = "rms"
    model.norm_before_coda = True
    model.feedforward = "swiglu"
    model.bias = "query_key"
    model.position = "rope"
    model.rope_base = 50_000.0
    model.injection = "concat"
    model.initial_state = "normal"
    model.weight_init = "huginn"
    model.output_init = "depth"
    model.scale_embedding = True
    model.dropout = 0.0
    model.embedding_dropout = 0.0
    config.recurrence.sampling = "lognormal_poisson"
    config.recurrence.sigma = 0.5
    return config


def _sized(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    config = _components(config)
    config.model.embedding_std = (2 / (5 * config.model.width)) ** 0.5
    config.recurrence.num_loops = 4
    config.recurrence.mean_loops = 4.0
    config.recurrence.max_loops = 16
    config.recurrence.backprop_depth = 2
    config.model.init_depth = 2 + config.model.core_blocks * 4
    config.optimizer.learning_rate = 1e-3
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
    model.prelude_blocks = 2
    model.coda_blocks = 2
    model.width = 5280
    model.num_heads = 55
    model.mlp_width = 17_920
    model.embedding_std = (2 / (5 * model.width)) ** 0.5
    model.init_depth = 132
    config.recurrence.num_loops = 32
    config.recurrence.mean_loops = 32.0
    config.recurrence.max_loops = 128  # More are drawn in 2 of 1,000 updates.
    config.recurrence.backprop_depth = 8
    config.optimizer.learning_rate = 4e-5
    config.optimizer.b2 = 0.95
    config.optimizer.weight_decay = 4e-5
    config.optimizer.warmup_steps = 4_096
    return config


PRESETS = {
    "smoke": _smoke,
    "cpu": _cpu,
    "cpu_long": _cpu_long,
    "paper": _paper,
    "paper_code": _paper,
}
