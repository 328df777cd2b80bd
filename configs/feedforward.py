"""Feed-forward transformers: what is a loop worth beside more layers?

As many blocks as the looped model of knowledge_composition.py runs, each with weights
of its own (iso-FLOP). `presets.feedforward_like` builds the same from any config, and
the comparison with as many parameters.

Presets:
  smoke       seconds; the whole path, no science
  cpu         4 blocks of width 64, on the task of knowledge_composition.py:cpu. After
              10,000 updates id .99 and ood .01 (no loop, one seed), in 2 minutes on one
              CPU core
  cpu_long    the same run to the end of its budget
  paper       Kohli et al. (2026), arXiv:2604.07822, Section 5: the control of 8 layers
  paper_code  the same with the training defaults of the authors' released code

    rdt train --config=configs/feedforward.py:cpu --workdir=runs
"""

import ml_collections

from configs import knowledge_composition
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _components(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    config.model.preset = "feedforward"
    config.model.core_blocks *= config.recurrence.num_loops
    config.recurrence.num_loops = 1
    return config


def _sized(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    config = _components(config)
    config.model.output_init = "gpt2"
    return config


def _smoke() -> ml_collections.ConfigDict:
    return _sized(knowledge_composition.get_config("smoke"))


def _cpu() -> ml_collections.ConfigDict:
    return _sized(knowledge_composition.get_config("cpu"))


def _cpu_long() -> ml_collections.ConfigDict:
    return _sized(knowledge_composition.get_config("cpu_long"))


def _paper() -> ml_collections.ConfigDict:
    config = _components(knowledge_composition.get_config("paper"))
    config.model.core_blocks = 8  # L = 4 and R = 2
    return config


def _paper_code() -> ml_collections.ConfigDict:
    config = _components(knowledge_composition.get_config("paper_code"))
    config.model.core_blocks = 8
    return config


PRESETS = {
    "smoke": _smoke,
    "cpu": _cpu,
    "cpu_long": _cpu_long,
    "paper": _paper,
    "paper_code": _paper_code,
}
