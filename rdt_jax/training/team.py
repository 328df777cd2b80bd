"""Several processes train one pack: the first leads, the others do what it does.

Every process makes the same program over one mesh, and has the same state, of which its
devices hold their part. The leader runs `loop.train` as if it were alone; each function
of its program first tells the others which one it is and what it is called with. So the
leader alone reads and writes run folders, looks at the clock, and decides.
"""

import contextlib
import functools
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from rdt_jax import borrowed, tasks
from rdt_jax import config as configs
from rdt_jax.store import environment
from rdt_jax.tasks import identity
from rdt_jax.training import loop, step

_KEPT = 5  # programs that a follower keeps: as many as a worker, and the one in use
_POLL_MILLISECONDS = 10_000
_HEARTBEAT_SECONDS = 20
# What the functions of a program take beside a state.
_VALUES: Mapping[str, Callable[[step.Lanes], Any]] = {
    "init": lambda lanes: (lanes,),
    "train_chunk": lambda lanes: (lanes, 0),
    "start_window": lambda lanes: (),
    "start_stage": lambda lanes: (lanes, 0),
    "take_lanes": lambda lanes: (0,),
    "observe": lambda lanes: (),
    "read": lambda lanes: (),
}
_LOOKS = ("observe", "read")  # These leave the state as it is.


class Rank(NamedTuple):
    """One process of several.

    Attributes:
      number: from 0, the leader.
      processes: how many there are.
      coordinator: host of the leader, as the others know it.
    """

    number: int
    processes: int
    coordinator: str


def join(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> Rank:
    """Joins the other processes of a job, and waits for all of them.

    Args:
      coordinator: `host:port` of process 0. JAX finds this and the others if they are
        None, on a TPU and in the clusters that it knows.
      num_processes: of the job.
      process_id: of this one.
    """
    bind_address = coordinator if process_id == 0 and _is_here(coordinator) else None
    jax.distributed.initialize(
        coordinator, num_processes, process_id,
        coordinator_bind_address=bind_address,
        heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
        shutdown_timeout_seconds=_HEARTBEAT_SECONDS,
    )  # fmt: skip
    state = borrowed.distributed_state()
    host = state.coordinator_address.rpartition(":")[0]
    return Rank(state.process_id, state.num_processes, host)


def _is_here(address: str | None) -> bool:
    """Says whether this host can listen at `host:port`; else JAX listens everywhere."""
    host = (address or "").rpartition(":")[0].strip("[]")
    try:
        socket.create_server((host, 0)).close()
    except OSError:
        return False
    return bool(host)


def tell(name: str, word: str) -> None:
    """Tells all processes of the job a word, under a name that has none yet."""
    borrowed.distributed_state().client.key_value_set(f"rdt_jax/{name}", word)


def hear(name: str) -> str:
    """Waits for the word that a process tells under a name."""
    while True:
        try:
            return borrowed.distributed_state().client.blocking_key_value_get(
                f"rdt_jax/{name}", _POLL_MILLISECONDS
            )
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise


class _Channel:
    """Messages from the leader to all others, in order."""

    def __init__(self):
        self._number = 0

    def send(self, message: dict[str, Any]) -> None:
        tell(self._next(), json.dumps(message))

    def receive(self) -> dict[str, Any]:
        return json.loads(hear(self._next()))

    def _next(self) -> str:
        self._number += 1
        return f"message/{self._number}"


@contextlib.contextmanager
def lead(mesh: jax.sharding.Mesh | None) -> Iterator[loop.Build]:
    """Yields `step.build` on a mesh; with several processes, for all of them.

    Args:
      mesh: over the devices of all processes.
    """
    if jax.process_count() == 1:
        yield functools.partial(step.build, mesh=mesh)
        return
    channel, built = _Channel(), 0

    def build(pack, table: tasks.Table, exact: bool = False) -> step.Program:
        nonlocal built
        built += 1
        channel.send(
            {
                "do": "build",
                "program": built,
                "pack": [configs.to_json(config) for config in pack],
                "table": identity.hash_arrays(table),
                "exact": exact,
            }
        )
        program = step.build(pack, table, exact, mesh)
        number = {"program": built}
        say = lambda what, **more: channel.send({"do": what} | number | more)
        return _announcing(program, say)

    yield build
    channel.send({"do": "end"})  # After an error the others are ended from outside.


@environment.pinned()
def follow(mesh: jax.sharding.Mesh) -> None:
    """Does what the leader does, until it ends.

    Raises:
      ValueError: if this host makes another table than the leader.
    """
    channel = _Channel()
    programs: dict[int, tuple[step.Program, step.Lanes]] = {}
    state: Any = None
    while (message := channel.receive())["do"] != "end":
        number = message["program"]
        if message["do"] == "build":
            programs[number] = _build(message, mesh)
            while len(programs) > _KEPT:
                del programs[next(iter(programs))]
            continue
        programs[number] = programs.pop(number)  # The newest is the last.
        # Programs of all processes meet in the same order, one at a time.
        state = jax.block_until_ready(_do(*programs[number], message, state))


def _build(message: dict[str, Any], mesh) -> tuple[step.Program, step.Lanes]:
    pack = [configs.from_json(text) for text in message["pack"]]
    table = tasks.make_table(pack[0])
    if (found := identity.hash_arrays(table)) != message["table"]:
        raise ValueError(
            f"Process {jax.process_index()} makes the table {found[:12]} of the task, "
            f"process 0 {message['table'][:12]}: every host needs the same data and "
            "versions."
        )
    return step.build(pack, table, message["exact"], mesh), step.make_lanes(pack)


def _announcing(program: step.Program, say: Callable[..., None]) -> step.Program:
    """Returns a program whose functions tell what they do before they do it."""

    def announce(name: str):
        function = getattr(program, name)

        def announced(*arguments, **named):
            states = 0 if name == "init" else 1
            # Arrays of one process alone are no arguments of a program of several.
            values = jax.tree.map(np.asarray, arguments[states:])
            say(
                name, values=[_to_json(x) for x in jax.tree.leaves(values)], named=named
            )
            return function(*arguments[:states], *values, **named)

        return announced

    def place(state):
        say("place", lanes=state.finite_steps.size)
        state = jax.tree.map(np.asarray, state)
        return program.place(multihost_utils.broadcast_one_to_all(state))

    return program._replace(place=place, **{name: announce(name) for name in _VALUES})


def _do(program: step.Program, lanes: step.Lanes, message: dict[str, Any], state: Any):
    """Does what a message of `_announcing` says; returns the state after it."""
    name = message["do"]
    if name == "place":
        cut = lambda x: np.zeros((message["lanes"], *x.shape[1:]), x.dtype)
        shapes = program.shapes(lanes)
        empty = jax.tree.map(lambda x: cut(x) if x.ndim else np.zeros((), x.dtype),
                             shapes)  # fmt: skip
        return program.place(multihost_utils.broadcast_one_to_all(empty))
    structure = jax.tree.structure(_VALUES[name](lanes))
    values = jax.tree.unflatten(structure, map(_from_json, message["values"]))
    states = () if name == "init" else (state,)
    found = getattr(program, name)(*states, *values, **message["named"])
    return state if name in _LOOKS else found


def _to_json(x: np.ndarray) -> list[Any]:
    return [x.dtype.name, x.tolist()]


def _from_json(value: list[Any]) -> np.ndarray:
    return np.asarray(value[1], value[0])
