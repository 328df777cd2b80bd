"""What a run will cost at one loop count or another, before anything is compiled."""

from collections.abc import Sequence
from typing import NamedTuple

import ml_collections

from rdt_jax import config as configs
from rdt_jax import tasks, wording
from rdt_jax.models import cost, loop, presets
from rdt_jax.profile import memory
from rdt_jax.training import evaluate

_MOST_KEPT = 100  # Numbers that a block keeps of each one of its state, or parameter.

# Of a CPU, roughly: to compile a block, and operations per second on narrow models.
_COMPILE_SECONDS = 5.0
_FLOPS = 1e10
_SLOW_SECONDS = 60.0


class AtLoops(NamedTuple):
    """The cost of updates at one loop count."""

    loops: float  # R, or its mean if it is drawn
    is_drawn: bool  # whether it is
    needed: cost.Passes  # operations of a row at the least
    # Operations of a row that the program multiplies, without recomputation.
    executed: cost.Passes
    memory: dict[str, int]  # remat policy -> bytes, as `memory.of_update` predicts them


class Estimate(NamedTuple):
    """The cost of a run."""

    parameters: dict[str, int]  # part -> numbers in it
    batch_size: int  # rows of an update
    length: int  # T, the longest row of the task
    # As the config trains, then at each loop count that was asked for.
    at_loops: tuple[AtLoops, ...]


def fixed_loops(
    config: ml_collections.ConfigDict, num_loops: int
) -> ml_collections.ConfigDict:
    """Returns the run whose updates and evaluations all take `num_loops` loops.

    Where the gradient goes through more loops than these, it goes through all of them.
    """
    depth = config.recurrence.backprop_depth
    if depth is not None and depth > num_loops:
        depth = None
    return configs.override(
        config,
        {
            **loop.fixed_count(num_loops),
            "recurrence.backprop_depth": depth,
            "phases.depth_loops": None,
            "phases.further": (),
            "phases.shown": (),
        },
    )


def check_memory(
    config: ml_collections.ConfigDict, table: tasks.Table, memory_bytes: int
) -> None:
    """Raises ValueError if a run cannot be trained in so much memory, by arithmetic.

    At the least there are the parameters and their gradient in float32, and the state
    [B, T, D] after every loop that the gradient goes through.
    """
    model = presets.model_config(config, table)
    parameters = sum(cost.parameters(model).values())
    recurrence = config.recurrence
    loops = recurrence.max_loops or recurrence.num_loops
    if recurrence.backprop_depth is not None:
        loops = min(loops, recurrence.backprop_depth)
    rows = config.batch_size // config.gradient.micro_batches
    length = table.tokens.shape[1]
    states = loops * rows * length * model.width
    if (least := 4 * (2 * parameters + states)) > memory_bytes:
        raise ValueError(
            f"A run needs at least {least:,} bytes of memory, for {parameters:,} "
            f"parameters ({cost.describe(model)}), their gradient and the states of "
            f"{wording.count(loops, 'loop')} of {wording.count(rows, 'row')} of "
            f"{wording.count(length, 'token')}, and has {memory_bytes:,}."
        )


def check_predicted_memory(
    config: ml_collections.ConfigDict, table: tasks.Table, memory_bytes: int
) -> None:
    """Raises ValueError if `memory.predict` says more for a run than there is.

    One that has room for much more than its parameters and the states after its loops
    is not traced for that: it takes seconds.
    """
    model = presets.model_config(config, table)
    recurrence, length = config.recurrence, table.tokens.shape[1]
    updates = config.batch_size * (recurrence.max_loops or recurrence.num_loops)
    rows = min(config.evaluation.batch_size, len(table.tokens))
    states = max(updates, rows * max(evaluate.loops_of(config))) * length
    numbers = model.num_blocks * states * model.width
    parameters = sum(cost.parameters(model).values())
    if 4 * _MOST_KEPT * (numbers + parameters) < memory_bytes:
        return
    found = memory.predict(config, table)
    if (needed := found.shared + found.lane) > memory_bytes:
        raise ValueError(
            f"A run is predicted to need {needed:,} bytes of memory and has "
            f"{memory_bytes:,}; fewer loops, a smaller batch_size or model, more "
            f"micro_batches, or model.remat = full (now {model.remat}) need less."
        )


def slow(config: ml_collections.ConfigDict, table: tasks.Table) -> list[str]:
    """Lists what of a valid run will look as if it never ended, on a CPU."""
    model = presets.model_config(config, table)
    length, num_answers = table.tokens.shape[1], table.targets.shape[1]
    groups = evaluate.groups_of(config, table)
    rows = sum(groups[split].size for split in tasks.SPLITS if split in groups)
    most = max(evaluate.loops_of(config))
    forward = cost.passes(
        model, num_loops=most, length=length, num_answers=num_answers
    ).forward
    loops = f"{loop.mean_loops(config.recurrence):,g} loops"
    found = {
        f"compiling {wording.count(model.num_blocks, 'block')}, each by itself,": (
            _COMPILE_SECONDS * model.num_blocks
        ),
        f"each update, of {wording.count(config.batch_size, 'row')} and {loops},": (
            presets.update_flops(config, table) / _FLOPS
        ),
        f"each evaluation, of {wording.count(rows, 'row')} and "
        f"{wording.count(most, 'loop')},": rows * forward / _FLOPS,
    }
    return [
        f"{what} takes about {wording.duration(seconds)} on a CPU"
        for what, seconds in found.items()
        if seconds > _SLOW_SECONDS
    ]


def estimate(
    config: ml_collections.ConfigDict, loop_counts: Sequence[int] = ()
) -> Estimate:
    """Estimates the cost of a valid run from formulas and from its traced update.

    It does so besides at loop counts R, all valid in `fixed_loops`.
    """
    table = tasks.make_table(config)
    model = presets.model_config(config, table)
    sizes = {"length": table.tokens.shape[1], "num_answers": table.targets.shape[1]}

    def at(config: ml_collections.ConfigDict) -> AtLoops:
        count = lambda batch_size: cost.training_flops(
            model, config.recurrence, batch_size=batch_size, **sizes
        )
        return AtLoops(
            loops=loop.mean_loops(config.recurrence),
            is_drawn=config.recurrence.sampling != "fixed",
            needed=count(None),
            executed=count(config.batch_size),
            memory={
                policy: memory.of_update(
                    configs.override(config, {"model.remat": policy}), table
                )
                for policy in loop.REMAT
            },
        )

    runs = [config, *(fixed_loops(config, count) for count in loop_counts)]
    return Estimate(
        parameters=cost.parameters(model),
        batch_size=config.batch_size,
        length=sizes["length"],
        at_loops=tuple(at(run) for run in runs),
    )
