"""Several processes train one pack: the first leads, the others do what it does.

Every process makes the same pack over one mesh, and has the same state, of which its
devices hold their part. The leader runs `run.train` as if it were alone, with a
`_Leader` for the pack: each of its methods first tells the followers which one it is,
and what it is called with. So the leader alone reads and writes run folders, looks at
the clock, and decides.
"""

import contextlib
import dataclasses
import functools
import json
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import chex
import jax
import ml_collections
import numpy as np
from jax.experimental import multihost_utils

from rdt_jax import borrowed
from rdt_jax.config import from_json, to_json
from rdt_jax.store import environment
from rdt_jax.tasks import Table, identity, make_table
from rdt_jax.training import pack
from rdt_jax.training.hyper import Lanes, make_lanes
from rdt_jax.training.pack import Pack, TrainState

_KEPT = 5  # packs that a follower keeps: as many as a worker, and the one in use
_POLL_MILLISECONDS = 10_000
_HEARTBEAT_SECONDS = 20


class Rank(NamedTuple):
    """One process of several."""

    number: int  # its rank; 0 is the leader
    processes: int  # number of processes of the job
    coordinator: str  # host of the leader, as the others know it


def join(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> Rank:
    """Joins the other processes of a job, and waits for all of them.

    `coordinator` is `host:port` of process 0, `process_id` the rank of this one. JAX
    finds what is None by itself, on a TPU and in the clusters that it knows.
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
    """Messages from the leader to all followers, in order."""

    def __init__(self) -> None:
        self._number = 0

    def send(self, message: dict[str, Any]) -> None:
        tell(self._next(), json.dumps(message))

    def receive(self) -> dict[str, Any]:
        return json.loads(hear(self._next()))

    def _next(self) -> str:
        self._number += 1
        return f"message/{self._number}"


@dataclasses.dataclass(frozen=True, eq=False)
class _Leader:
    """A pack in all processes: its methods tell the followers what they then do.

    They are those of `Pack`. `local` is the pack of this process, for what runs nothing
    on the devices; `number` names the pack in messages.
    """

    local: Pack
    number: int
    channel: _Channel

    def init(self, lanes: Lanes) -> TrainState:
        (lanes,) = self._tell("init", lanes)
        return self.local.init(lanes)

    def train(
        self, state: TrainState, lanes: Lanes, n: int, *, length: int | None = None
    ) -> TrainState:
        lanes, n = self._tell("train", lanes, n, length=length)
        return self.local.train(state, lanes, n, length=length)

    def observe(self, state: TrainState) -> dict[str, Any]:
        self._tell("observe")
        return self.local.observe(state)

    def start_window(self, state: TrainState) -> TrainState:
        self._tell("start_window")
        return self.local.start_window(state)

    def begin_stage(
        self, state: TrainState, lanes: Lanes, stage: chex.Array
    ) -> TrainState:
        lanes, stage = self._tell("begin_stage", lanes, stage)
        return self.local.begin_stage(state, lanes, stage)

    def take(self, state: TrainState, index: chex.Array) -> TrainState:
        (index,) = self._tell("take", index)
        return self.local.take(state, index)

    def to_host(self, state: TrainState) -> Any:
        self._tell("to_host")
        return self.local.to_host(state)

    def from_host(self, state: TrainState) -> TrainState:
        """Returns a state on the devices, of which followers get their copy."""
        self._tell("from_host", num_lanes=state.finite_steps.size)
        state = jax.tree.map(np.asarray, state)
        return self.local.from_host(multihost_utils.broadcast_one_to_all(state))

    def _tell(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Tells the followers of a call; returns the arguments, as they have them.

        Arrays of one process alone are no arguments of a program of several, so that
        all get them on the host.
        """
        arguments = jax.tree.map(np.asarray, arguments)
        arrays = [[x.dtype.name, x.tolist()] for x in jax.tree.leaves(arguments)]
        message = {"do": method, "pack": self.number, "arrays": arrays, "named": named}
        self.channel.send(message)
        return arguments


AnyPack = Pack | _Leader
Build = Callable[..., AnyPack]  # As `pack.build`, without the mesh.


@contextlib.contextmanager
def lead(mesh: jax.sharding.Mesh | None) -> Iterator[Build]:
    """Yields `pack.build` on a mesh over the devices of all processes, for them all."""
    if jax.process_count() == 1:
        yield functools.partial(pack.build, mesh=mesh)
        return
    channel, number = _Channel(), 0

    def build(
        configs: Sequence[ml_collections.ConfigDict], table: Table, exact: bool = False
    ) -> _Leader:
        nonlocal number
        number += 1
        channel.send(
            {
                "do": "build",
                "pack": number,
                "configs": [to_json(config) for config in configs],
                "table": identity.hash_arrays(table),
                "exact": exact,
            }
        )
        return _Leader(pack.build(configs, table, exact, mesh), number, channel)

    yield build
    channel.send({"do": "end"})  # After an error the others are ended from outside.


@environment.pinned()
def follow(mesh: jax.sharding.Mesh) -> None:
    """Does what the leader does; ValueError if this host makes another table."""
    channel = _Channel()
    packs: dict[int, tuple[Pack, Lanes]] = {}
    state: Any = None
    while (message := channel.receive())["do"] != "end":
        number = message["pack"]
        if message["do"] == "build":
            packs[number] = _build(message, mesh)
            while len(packs) > _KEPT:
                del packs[next(iter(packs))]
            continue
        packs[number] = packs.pop(number)  # The newest is the last.
        # Programs of all processes meet in the same order, one at a time.
        state = jax.block_until_ready(_do(*packs[number], message, state))


def _build(message: dict[str, Any], mesh: jax.sharding.Mesh) -> tuple[Pack, Lanes]:
    configs = [from_json(text) for text in message["configs"]]
    table = make_table(configs[0])
    if (table_hash := identity.hash_arrays(table)) != message["table"]:
        raise ValueError(
            f"Process {jax.process_index()} makes the table {table_hash[:12]} of the "
            f"task, process 0 {message['table'][:12]}: every host needs the same data "
            "and versions."
        )
    return pack.build(configs, table, message["exact"], mesh), make_lanes(configs)


def _do(pack: Pack, lanes: Lanes, message: dict[str, Any], state: Any) -> Any:
    """Does what a message of `_Leader._tell` says; returns the state after it."""
    named = message["named"]
    arrays = [np.asarray(values, dtype) for dtype, values in message["arrays"]]
    if message["do"] in ("init", "train", "begin_stage"):
        own = len(jax.tree.leaves(lanes))
        lanes = jax.tree.unflatten(jax.tree.structure(lanes), arrays[:own])
        arrays = arrays[own:]
    match message["do"]:
        case "init":
            return pack.init(lanes)
        case "train":
            return pack.train(state, lanes, arrays[0], length=named["length"])
        case "begin_stage":
            return pack.begin_stage(state, lanes, arrays[0])
        case "start_window":
            return pack.start_window(state)
        case "take":
            return pack.take(state, arrays[0])
        case "from_host":
            shapes, size = pack.shapes(lanes), named["num_lanes"]
            empty = lambda x: np.zeros((size, *x.shape[1:]) if x.ndim else (), x.dtype)
            empty_state = jax.tree.map(empty, shapes)
            return pack.from_host(multihost_utils.broadcast_one_to_all(empty_state))
        case "observe":
            pack.observe(state)
        case "to_host":
            pack.to_host(state)
        case unknown:
            raise ValueError(f"The leader asks for {unknown!r}, which no pack does.")
    return state
