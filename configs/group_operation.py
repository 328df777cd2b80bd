"""Grokking of a group's table: when do the products never shown come out right?

Presets:
  smoke       seconds; the whole path, no science
  cpu         symmetries of the 15-gon (30 elements) at width 64, one block looped
              twice; 1.4 minutes on one core. At 4,000 updates train .99, id .90
              (medians of the last 5 evaluations, R = 2, one seed; chance .03). With S4
              instead, id ended at .09 where .6 of the pairs were trained (5,000
              updates, rate 3e-3) and at .04 where .8 were (4,000 updates, rate 1e-3),
              train at .99 and 1.00
  cpu_long    hours; products in S5
  paper       Power et al. (2022), arXiv:2201.02177, Appendix A.1: products in S5, a
              transformer without loops. The paper names no initial scale of the
              embedding tables; the base default is kept. Their code composes the
              other way: tasks/groups.py says which operation is which
  paper_code  as `paper`, with the released code's default of no weight decay

    rdt train --config=configs/group_operation.py:cpu --workdir=runs
"""

import ml_collections

from configs import base
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _cpu() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.task.name = "group_operation"
    config.task.kwargs = {
        "family": "dihedral",
        "degree": 15,  # corners; of `symmetric`, points permuted
        "operation": "ab",
        "train_fraction": 0.7,  # of all pairs
    }
    config.model.core_blocks = 1
    config.model.output_init = "gpt2"
    config.recurrence.num_loops = 2
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 1.0
    config.optimizer.warmup_steps = 10
    config.batch_size = 128
    config.num_steps = 4_000
    config.eval_every_steps = 100
    config.checkpoint_every_steps = 500
    return config


def _cpu_long() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.family = "symmetric"
    config.task.kwargs.degree = 5
    config.task.kwargs.train_fraction = 0.5
    config.num_steps = 50_000
    config.checkpoint_every_steps = 5_000
    config.stop_after_phases = False
    return config


def _smoke() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.degree = 5
    config.model.width = 32
    config.batch_size = 32
    config.num_steps = 300
    config.checkpoint_every_steps = 100
    return config


def _paper() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.family = "symmetric"
    config.task.kwargs.degree = 5
    config.task.kwargs.train_fraction = 0.5
    config.model.width = 128
    config.model.core_blocks = 2
    config.recurrence.num_loops = 1
    config.optimizer.learning_rate = 1e-3
    config.batch_size = 512
    config.num_steps = 100_000
    config.checkpoint_every_steps = 5_000
    config.stop_after_phases = False
    return config


def _paper_code() -> ml_collections.ConfigDict:
    config = _paper()
    config.optimizer.weight_decay = 0.0
    return config


PRESETS = {
    "smoke": _smoke,
    "cpu": _cpu,
    "cpu_long": _cpu_long,
    "paper": _paper,
    "paper_code": _paper_code,
}
