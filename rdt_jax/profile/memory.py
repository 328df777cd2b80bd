"""How many bytes a pack will need on its device, before anything is compiled.

The training chunk and the evaluation are traced with abstract arrays, and the bytes
that are alive at once are counted operation by operation. Compilers fuse operations
and so need less: on the CPU by a factor of one to three (test_memory.py holds this).
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from rdt_jax.tasks import Table
from rdt_jax.training import hyper, pack, phases

# How far apart prediction and compiler may be. Three is usual on a CPU.
MOST_OFF = 4


class Bytes(NamedTuple):
    """What a pack of S lanes needs, in bytes."""

    shared: int  # the task's rows on the device, whatever S
    lane: int  # each lane's state and work on the device
    # Each lane's parameters and optimizer in a checkpoint, with the ring of parameters.
    state: int
    params: int  # each lane's parameters alone, which is what a pinned transition has


def predict(config: ml_collections.ConfigDict, table: Table) -> Bytes:
    """Predicts the bytes of a pack whose first lane is `config`."""
    alone = pack.build([config], table)
    state, chunk = _trace_update(config, alone)
    evaluation = jax.make_jaxpr(alone.evaluate)(state.params)
    params, whole = _bytes(state.params), _bytes(state)
    shared = _bytes(alone.data) + _bytes(alone.evaluated)
    return Bytes(
        shared=shared,
        lane=whole + max(peak_bytes(chunk.jaxpr), peak_bytes(evaluation.jaxpr)),
        state=whole + phases.RING * params,
        params=params,
    )


def of_update(config: ml_collections.ConfigDict, table: Table) -> int:
    """Predicts the bytes of an update of one lane beside its state and the rows.

    These are the activations that the backward pass needs, the gradient, and the new
    parameters and optimizer while the old ones are alive.
    """
    _, chunk = _trace_update(config, pack.build([config], table))
    return peak_bytes(chunk.jaxpr)


def misprediction(predicted: int, compiled: int) -> str | None:
    """Says that a prediction was off by more than MOST_OFF; None if it was not.

    Both are bytes of an update beside its state and the rows: those of `of_update`, and
    of `memory_analysis()` of the program on the device that runs it.
    """
    if predicted <= MOST_OFF * compiled and compiled <= MOST_OFF * predicted:
        return None
    return (
        f"An update needs {compiled:,} bytes beside its state on this device, says the "
        f"compiler; predicted were {predicted:,}, by which sweeps choose their lanes. "
        "More or fewer of them may fit (--lanes)."
    )


def _trace_update(
    config: ml_collections.ConfigDict, alone: pack.Pack
) -> tuple[pack.TrainState, Any]:
    """Returns the shapes of the state, and the training chunk, traced."""
    lanes = hyper.make_lanes([config])
    state = alone.shapes(lanes)
    train = functools.partial(alone.train, n=1, length=max(alone.stages.lengths))
    return state, jax.make_jaxpr(train)(state, lanes)


def _bytes(tree: Any) -> int:
    return sum(_size(leaf) for leaf in jax.tree.leaves(tree))


def _size(array: Any) -> int:
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        return 8 * array.size
    return int(np.prod(array.shape)) * array.dtype.itemsize


def peak_bytes(jaxpr: Any) -> int:
    """Returns the most bytes alive at once beside the arguments of a program."""
    last: dict[Any, int] = {}
    for number, equation in enumerate(jaxpr.eqns):
        last |= dict.fromkeys(_variables(equation.invars), number)
    last |= dict.fromkeys(_variables(jaxpr.outvars), len(jaxpr.eqns))
    alive, peak, made = 0, 0, {}
    for number, equation in enumerate(jaxpr.eqns):
        inner = max(map(peak_bytes, _programs_of(equation.params)), default=0)
        for variable in equation.outvars:
            made[variable] = _size(variable.aval)
            alive += made[variable]
        peak = max(peak, alive + inner)
        for variable in (*_variables(equation.invars), *equation.outvars):
            if last.get(variable, number) == number:
                alive -= made.pop(variable, 0)
    return peak


def _variables(atoms: Sequence[Any]) -> list[Any]:
    return [atom for atom in atoms if not hasattr(atom, "val")]  # Literals have one.


def _programs_of(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else [value]:
            item = getattr(item, "jaxpr", item)  # A closed one has its jaxpr inside.
            if hasattr(item, "eqns"):
                yield item
