"""What is wrong with a config, all of it at once.

    config = configs.load("configs/modular.py:cpu")
    validation.check(config)  # ValueError with a line for each problem

Every key alone is checked by its interval or choices in `schema`; the relations between
keys, and what only the table of the task can tell, are here.
"""

from collections.abc import Callable, Sequence

import ml_collections

from rdt_jax import config as configs
from rdt_jax import schema, tasks
from rdt_jax.data import batches
from rdt_jax.models import cost, loop, presets
from rdt_jax.training import (
    curriculum,
    evaluate,
    gradients,
    losses,
    optimizers,
    phases,
)


def check(config: ml_collections.ConfigDict) -> None:
    """Raises ValueError with all that is wrong with a config; compiles nothing."""
    outside = schema.problems(config)
    problems = [*outside.values()]
    unsound = {*outside, *(key.rpartition(".")[0] for key in outside)}
    for relations, used in _RELATIONS:
        if unsound.isdisjoint(used):  # They count on values that each key may have.
            problems += relations(config)
    if "task" not in unsound:
        of_task = tasks.problems(config)
        problems += of_task
        if not of_task:
            table = tasks.make_table(config)
            if "batch_size" not in unsound:
                problems += batches.problems(config, table)
            problems += curriculum.problems(config, table)
            if "phases" not in unsound:
                asked = config.phases.further or config.phases.shown
                groups = evaluate.groups_of(config, table) if asked else {}
                problems += phases.table_problems(config, table, groups)
            problems = problems or cost.problems(presets.model_config(config, table))
    configs.raise_problems(problems)


def _run_problems(config: ml_collections.ConfigDict) -> list[str]:
    every = config.eval_every_steps
    return [
        f"{key} ({config[key]}) must be a multiple of eval_every_steps ({every})."
        for key in ("num_steps", "checkpoint_every_steps")
        if config[key] % every
    ]


# What lists the values that do not go together, and the keys or sections that it reads.
_RELATIONS: Sequence[tuple[Callable[..., list[str]], set[str]]] = (
    (_run_problems, {"num_steps", "eval_every_steps", "checkpoint_every_steps"}),
    (presets.size_problems, presets.SIZES),
    (loop.problems, {"recurrence"}),
    (presets.problems, {"model", "recurrence"}),
    (optimizers.problems, {"num_steps", "optimizer"}),
    (gradients.problems, {"batch_size", "gradient"}),
    (losses.problems, {"model", "loss"}),
    (phases.problems, {"recurrence", "phases"}),
    (
        evaluate.problems,
        {"num_steps", "eval_every_steps", "snapshot_steps", "evaluation"},
    ),
)
