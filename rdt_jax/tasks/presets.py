"""The config of a run of a task, also of one that no config file is about.

config = presets.config_of("reverse.py:reverse", "smoke")
"""

from collections.abc import Mapping

import ml_collections

from rdt_jax import config as configs
from rdt_jax import registry, schema, tasks
from rdt_jax.named import Overrides, budget
from rdt_jax.tasks import arguments, in_files

# What minutes on a laptop change of the defaults, and what seconds change.
_CPU: Overrides = {
    "model.position": "none",  # Held-out rows may be longer than all trained ones.
    "model.remat": "none",  # Of so few loops all is kept: a tenth faster.
    "recurrence.num_loops": 4,
    "optimizer.name": "muon",
    "optimizer.learning_rate": 2e-3,
    "optimizer.warmup_steps": 200,
    "batch_size": 128,
    **budget(2_000, every=100, checkpoint=500),
}
_SMOKE: Overrides = {
    **_CPU,
    "model.width": 32,
    "recurrence.num_loops": 2,
    "optimizer.warmup_steps": 50,
    "batch_size": 32,
    **budget(200, every=50, checkpoint=100),
}
PRESETS: Mapping[str, Overrides] = {"cpu": _CPU, "smoke": _SMOKE}


def config_of(task: str, preset: str = "cpu") -> ml_collections.ConfigDict:
    """Returns the config of a task, or of FILE.py:FUNCTION, at a preset.

    A task with a config file, such as `modular`, has its presets; any other has
    PRESETS, and every argument of it with its default is in the config. ValueError if
    there is no such task or preset.
    """
    named = configs.named_configs()
    if task in named:
        return configs.load(f"{named[task]}:{preset}")
    name = in_files.normalized(task) if in_files.is_file(task) else task
    function = tasks.lookup(name)
    table = registry.lookup("preset", PRESETS, preset)
    config = configs.override(schema.defaults(), table | {"task.name": name}).unlock()
    config.task.kwargs = arguments.of_config(function)
    return config.lock()
