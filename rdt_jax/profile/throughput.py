"""How fast one process trains a pack: what a process of `rdt bench` does.

The first line on standard input is a pack, and every further one a question with a
number: `pilot SECONDS` (how many updates last about so long), `dispatch UPDATES` (how
long so many take), `peak 0` (how fast matrices are multiplied). Each is answered by a
line of JSON. Between questions the process is idle, so that several can take turns.
"""

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections

from rdt_jax import registry, sharding, tasks
from rdt_jax.config import from_json
from rdt_jax.models import presets, recurrent
from rdt_jax.profile import memory
from rdt_jax.training import hyper
from rdt_jax.training.pack import Pack, TrainState, build

# [rows, inner] times [inner, columns]: a large square, and the products of a block at
# the size of Kohli et al. (2026), Section 5, on 128 rows of three tokens.
PEAK_SHAPES = (
    (2048, 2048, 2048),
    (384, 768, 2304),
    (384, 768, 3072),
    (384, 3072, 768),
)
_PEAK_REPEATS = 5
_PILOT_SECONDS = 0.1  # How long the dispatch lasts that sets the length of others.


class Facts(NamedTuple):
    """What is known of a compiled pack before it trains."""

    lanes: int  # S
    batch_size: int  # B
    length: int  # T, of the rows of the first stage
    num_answers: int  # A
    vocab_size: int  # V
    parameters: int  # numbers in the parameters of a lane
    # Operations of an update of one lane at the least (models/cost.py).
    needed_flops: int
    executed_flops: int  # those that the program multiplies, without recomputation
    compile_seconds: float  # tracing, lowering and compiling the training chunk
    # What the compiled chunk needs beside its arguments and results.
    temporary_bytes: int
    predicted_bytes: int  # the same, as predicted without compiling, on each device


@dataclasses.dataclass(eq=False)
class Trainer:
    """A compiled pack, ready to train."""

    facts: Facts  # of the pack
    pack: Pack  # of it
    lanes: hyper.Lanes  # what tells its lanes apart
    state: TrainState  # after all dispatches so far

    def dispatch(self, num_updates: int) -> float:
        """Returns the seconds that so many updates take, in one dispatch."""
        begin = time.perf_counter()
        # `jit` finds what was compiled before.
        state = self.pack.train(
            self.state, self.lanes, num_updates, length=self.facts.length
        )
        self.state = jax.block_until_ready(state)
        return time.perf_counter() - begin


def compile_pack(
    configs: Sequence[ml_collections.ConfigDict], exact: bool = False, devices: int = 1
) -> Trainer:
    """Compiles the training chunk of a pack, as `run.train` runs it.

    The configs, already checked, differ in their seed and LANE_KEYS only. `exact` lanes
    run one after another (`training.pack`); `devices` are cores that share each batch:
    the axis `data` of the mesh.
    """
    config, mesh = configs[0], sharding.make_mesh(sharding.Axes(data=devices))
    table = tasks.make_table(config)
    pack, lanes = build(configs, table, exact, mesh), hyper.make_lanes(configs)
    state = jax.block_until_ready(pack.init(lanes))
    length = pack.stages.lengths[0]
    begin = time.perf_counter()
    compiled = pack.lower(state, lanes, length=length).compile()
    compile_seconds = time.perf_counter() - begin
    needed = compiled.memory_analysis()
    assert needed is not None
    at_once = 1 if exact else len(configs)
    flops = functools.partial(presets.update_flops, config, table, length)
    facts = Facts(
        lanes=len(configs),
        batch_size=config.batch_size,
        length=length,
        num_answers=table.targets.shape[1],
        vocab_size=len(table.vocab),
        parameters=recurrent.num_parameters(state.params) // len(configs),
        needed_flops=flops(),
        executed_flops=flops(config.batch_size),
        compile_seconds=compile_seconds,
        temporary_bytes=needed.temp_size_in_bytes,
        predicted_bytes=at_once * memory.of_update(config, table) // devices,
    )
    return Trainer(facts, pack, lanes, state)


def updates_lasting(seconds: float, dispatch: Callable[[int], float]) -> int:
    """Returns how many updates last about `seconds`, at least one, by trying a few."""
    dispatch(1)  # The first one also moves memory into place.
    pilot = max(1, int(_PILOT_SECONDS / dispatch(1)))
    return max(1, round(seconds * pilot / dispatch(pilot)))


def matmul_peak(shapes: Sequence[tuple[int, int, int]] = PEAK_SHAPES) -> float:
    """Returns the most operations per second of a float32 product of two matrices.

    The products that are tried are of (rows, inner, columns).
    """
    multiply = jax.jit(jnp.dot)
    best = 0.0
    for rows, inner, columns in shapes:
        left = jax.random.normal(jax.random.key(0), (rows, inner))
        right = jax.random.normal(jax.random.key(1), (inner, columns))
        jax.block_until_ready(multiply(left, right))
        for _ in range(_PEAK_REPEATS):
            begin = time.perf_counter()
            jax.block_until_ready(multiply(left, right))
            seconds = time.perf_counter() - begin
            best = max(best, 2 * rows * inner * columns / seconds)
    return best


def serve(lines: Iterable[str], answer: Callable[[dict[str, Any]], None]) -> None:
    """Compiles the pack of the first line and answers the questions of the others.

    The first line is `{"pack": configs, "exact": bool, "devices": int}`; `answer` takes
    Facts, then what was asked for.
    """
    asked = iter(lines)
    order = json.loads(next(asked))
    configs = [from_json(json.dumps(config)) for config in order["pack"]]
    trainer = compile_pack(configs, order["exact"], order["devices"])
    answer(trainer.facts._asdict())
    questions: dict[str, Callable[[float], dict[str, Any]]] = {
        "pilot": lambda seconds: {
            "updates": updates_lasting(seconds, trainer.dispatch)
        },
        "dispatch": lambda number: {
            "seconds": trainer.dispatch(int(number)),
            "compilations": trainer.pack.compilations(),
        },
        "peak": lambda _: {"flops_per_second": matmul_peak()},
    }
    for line in asked:
        word, number = line.split()
        answer(registry.lookup("question", questions, word)(float(number)))


if __name__ == "__main__":
    serve(sys.stdin, lambda value: print(json.dumps(value), flush=True))
