"""Induction hops: does a looped model make more of them than it was trained to?

Presets:
  smoke       seconds; the whole path, no science
  cpu         up to 2 hops in 12 characters, asked up to 4, width 64; about 5 minutes
              on one core. At 10,000 updates train .99, id .99, depth .37 (R = 4, one
              seed; chance .25)
  cpu_long    hours; up to 8 hops in 64 characters, asked up to 12
  paper       Saunshi et al. (2025), arXiv:2502.17416, p-hop induction: 256 characters
              of an alphabet of 4, 16 hops, one block of width 256 looped 6 times,
              200,000 updates of 1,024 rows. They draw fresh rows at every update, here
              100,000 are fixed; rows of up to 18 hops are held out besides; they use
              Adafactor and name no rate, here it is AdamW
  paper_code  as `paper`: no code was found

    rdt train --config=configs/p_hop_induction.py:cpu --workdir=runs
"""

import ml_collections

from configs import base
from rdt_jax import registry


def get_config(preset: str) -> ml_collections.ConfigDict:
    """Returns the resolved config of a preset; ValueError lists the choices."""
    return registry.lookup("preset", PRESETS, preset)()


def _cpu() -> ml_collections.ConfigDict:
    config = base.get_config()
    config.task.name = "p_hop_induction"
    config.task.kwargs = {
        "alphabet_size": 4,
        "length": 12,  # characters
        "min_hops": 1,
        "max_hops": 4,
        "max_train_hops": 2,
        "train_per_hop": 5_000,
        "heldout_per_hop": 250,
    }
    config.model.core_blocks = 1
    config.recurrence.num_loops = 4
    config.optimizer.learning_rate = 3e-3
    config.batch_size = 64
    config.num_steps = 10_000
    config.eval_every_steps = 250
    config.checkpoint_every_steps = 1_000
    return config


def _cpu_long() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.length = 64
    config.task.kwargs.max_hops = 12
    config.task.kwargs.max_train_hops = 8
    config.task.kwargs.train_per_hop = 20_000
    config.task.kwargs.heldout_per_hop = 500
    config.recurrence.num_loops = 6
    config.batch_size = 128
    config.num_steps = 100_000
    config.checkpoint_every_steps = 5_000
    config.stop_after_phases = False
    return config


def _smoke() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.length = 10
    config.task.kwargs.max_hops = 3
    config.task.kwargs.train_per_hop = 500
    config.task.kwargs.heldout_per_hop = 100
    config.model.width = 32
    config.num_steps = 300
    config.eval_every_steps = 50
    config.checkpoint_every_steps = 100
    config.optimizer.warmup_steps = 50
    return config


def _paper() -> ml_collections.ConfigDict:
    config = _cpu()
    config.task.kwargs.length = 256
    config.task.kwargs.min_hops = 16
    config.task.kwargs.max_hops = 18
    config.task.kwargs.max_train_hops = 16
    config.task.kwargs.train_per_hop = 100_000
    config.task.kwargs.heldout_per_hop = 1_000
    config.model.width = 256
    config.model.num_heads = 8
    config.model.output_init = "gpt2"
    config.recurrence.num_loops = 6
    config.optimizer.learning_rate = 1e-3
    config.batch_size = 1_024
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
