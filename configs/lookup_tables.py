"""Table lookup: does a looped model apply more functions in a row than in training?

Presets:
  smoke       seconds; the whole path, no science
  cpu         up to 4 functions trained, 6 asked, width 64; about 4 minutes on one
              core. It memorizes and does not compose: at 4,000 updates train .97, id
              .12, depth .13 (R = 4, one seed; chance .125)
  cpu_long    hours; up to 5 functions trained, 10 asked, to the end of its budget
  paper       the 8 functions of Liska et al. (2018), arXiv:1802.06467, whose models are
              recurrent networks: the lengths are those of `cpu_long`, the model and
              optimizer those of Kohli et al. (2026), arXiv:2604.07822, Section 5
  paper_code  as `paper`: no code was read

`--config.task.kwargs.num_groups=2 --config.task.kwargs.train_per_length=24
--config.task.kwargs.heldout_per_length=8` asks for functions of different groups (ood).

    rdt train --config=configs/lookup_tables.py:cpu --workdir=runs
"""

import ml_collections

from configs import base
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _cpu() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.task.name = "lookup_tables"
    config.task.kwargs = {
        "num_functions": 8,
        "num_groups": 1,
        "max_functions": 6,
        "max_train_functions": 4,
        "train_per_length": 48,  # of the 64 compositions of two functions
        "heldout_per_length": 16,
    }
    config.model.position = "none"
    config.recurrence.num_loops = 4
    config.optimizer.learning_rate = 3e-3
    config.batch_size = 128
    config.num_steps = 4_000
    config.eval_every_steps = 200
    config.checkpoint_every_steps = 1_000
    return config


def _cpu_long() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.max_functions = 10
    config.task.kwargs.max_train_functions = 5
    config.num_steps = 100_000
    config.eval_every_steps = 1_000
    config.checkpoint_every_steps = 5_000
    config.stop_after_phases = False
    return config


def _smoke() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.max_functions = 4
    config.task.kwargs.max_train_functions = 3
    config.recurrence.num_loops = 2
    config.model.width = 32
    config.batch_size = 32
    config.num_steps = 60
    config.eval_every_steps = 20
    config.checkpoint_every_steps = 40
    config.optimizer.warmup_steps = 20
    return config


def _paper() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.max_functions = 10
    config.task.kwargs.max_train_functions = 5
    config.model.width = 768
    config.model.num_heads = 12
    config.model.core_blocks = 4
    config.model.embedding_std = 1.0
    config.model.dropout = 0.1
    config.model.dtype = "bfloat16"
    config.optimizer.learning_rate = 1e-4
    config.optimizer.weight_decay = 0.01
    config.optimizer.b2 = 0.999
    config.optimizer.warmup_steps = 2_000
    config.batch_size = 512
    config.num_steps = 200_000
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
