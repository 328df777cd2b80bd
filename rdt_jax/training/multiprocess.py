"""Several processes train one pack: the first leads, the others do what it does.

Every process makes the same pack over one mesh, and has the same state, of which its
devices hold their part. The leader runs `run.train` as if it were alone, with a
`Leader` for the pack: each of its methods first tells the followers which one it is and
what it is called with. So the leader alone reads and writes run folders, looks at the
clock, and decides.
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

from rdt_jax import borrowed, sharding
from rdt_jax.config import from_json, to_json
from rdt_jax.store import environment
from rdt_jax.tasks import Table, identity, make_table
from rdt_jax.training import curriculum, pack
from rdt_jax.training.hyper import Lanes, make_lanes
from rdt_jax.training.pack import Pack, TrainState

_KEPT = 5  # packs that a follower keeps: as many as a worker, and the one in use
_POLL_MILLISECONDS = 10_000
_HEARTBEAT_SECONDS = 20


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


class Channel:
    """Messages from the leader to all followers, in order."""

    def __init__(self) -> None:
        self._number = 0

    def send(self, message: dict[str, Any]) -> None:
        """Sends a JSON value to all followers; the leader alone calls this."""
        tell(self._next(), json.dumps(message))

    def receive(self) -> dict[str, Any]:
        """Waits for the next message, of which every follower gets its own."""
        return json.loads(hear(self._next()))

    def _next(self) -> str:
        self._number += 1
        return f"message/{self._number}"


@dataclasses.dataclass(frozen=True, eq=False)
class Leader:
    """A pack in all processes: its methods tell the followers what they then do.

    Attributes:
      pack: of this process.
      number: by which followers know it.
      channel: to them.
    """

    pack: Pack
    number: int
    channel: Channel

    @property
    def axes(self) -> sharding.Axes:
        """As of the pack, like all that follows."""
        return self.pack.axes

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the evaluated parts."""
        return self.pack.groups

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """Rows in each group."""
        return self.pack.group_sizes

    @property
    def loops(self) -> tuple[int, ...]:
        """The evaluated loop counts."""
        return self.pack.loops

    @property
    def stages(self) -> curriculum.Stages:
        """The stages of the curriculum."""
        return self.pack.stages

    def shapes(self, lanes: Lanes) -> TrainState:
        """As of the pack; nothing runs."""
        return self.pack.shapes(lanes)

    def padded_lanes(self, num_lanes: int) -> int:
        """As of the pack; nothing runs."""
        return self.pack.padded_lanes(num_lanes)

    def init(self, lanes: Lanes) -> TrainState:
        """As of the pack, in all processes, like all that follows."""
        (lanes,) = self._tell("init", lanes)
        return self.pack.init(lanes)

    def train(
        self, state: TrainState, lanes: Lanes, n: int, *, length: int | None = None
    ) -> TrainState:
        """Applies updates."""
        lanes, n = self._tell("train", lanes, n, length=length)
        return self.pack.train(state, lanes, n, length=length)

    def observe(self, state: TrainState) -> dict[str, Any]:
        """Returns what an evaluation records."""
        self._tell("observe")
        return self.pack.observe(state)

    def start_window(self, state: TrainState) -> TrainState:
        """Returns a state with `loss_sum` at zero."""
        self._tell("start_window")
        return self.pack.start_window(state)

    def begin_stage(
        self, state: TrainState, lanes: Lanes, stage: chex.Array
    ) -> TrainState:
        """Begins a stage of the curriculum."""
        lanes, stage = self._tell("begin_stage", lanes, stage)
        return self.pack.begin_stage(state, lanes, stage)

    def take(self, state: TrainState, index: chex.Array) -> TrainState:
        """Returns the state of some lanes."""
        (index,) = self._tell("take", index)
        return self.pack.take(state, index)

    def to_host(self, state: TrainState) -> Any:
        """Returns a state without the lanes that pad the mesh."""
        self._tell("to_host")
        return self.pack.to_host(state)

    def from_host(self, state: TrainState) -> TrainState:
        """Returns a state on the devices, of which followers get their copy."""
        self._tell("from_host", num_lanes=state.finite_steps.size)
        state = jax.tree.map(np.asarray, state)
        return self.pack.from_host(multihost_utils.broadcast_one_to_all(state))

    def _tell(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Tells the followers of a call; returns the arguments, as they have them.

        Arrays of one process alone are no arguments of a program of several, so that
        all get them on the host.
        """
        arguments = jax.tree.map(np.asarray, arguments)
        arrays = [[x.dtype.name, x.tolist()] for x in jax.tree.leaves(arguments)]
        message = {"do": method, "pack": self.number, "arrays": arrays}
        self.channel.send(message | named)
        return arguments


AnyPack = Pack | Leader
Build = Callable[..., AnyPack]  # As `pack.build`, without the mesh.


@contextlib.contextmanager
def lead(mesh: jax.sharding.Mesh | None) -> Iterator[Build]:
    """Yields `pack.build` on a mesh; with several processes, for all of them.

    Args:
      mesh: over the devices of all processes.
    """
    if jax.process_count() == 1:
        yield functools.partial(pack.build, mesh=mesh)
        return
    channel, number = Channel(), 0

    def build(
        configs: Sequence[ml_collections.ConfigDict], table: Table, exact: bool = False
    ) -> Leader:
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
        return Leader(pack.build(configs, table, exact, mesh), number, channel)

    yield build
    channel.send({"do": "end"})  # After an error the others are ended from outside.


class Member(NamedTuple):
    """A pack of a follower, and the lanes with which it was made."""

    pack: Pack
    lanes: Lanes


@environment.pinned()
def follow(mesh: jax.sharding.Mesh) -> None:
    """Does what the leader does, until it ends.

    Raises:
      ValueError: if this host makes another table than the leader.
    """
    channel = Channel()
    members: dict[int, Member] = {}
    state: Any = None
    while (message := channel.receive())["do"] != "end":
        number = message["pack"]
        if message["do"] == "build":
            members[number] = _build(message, mesh)
            while len(members) > _KEPT:
                del members[next(iter(members))]
            continue
        members[number] = members.pop(number)  # The newest is the last.
        # Programs of all processes meet in the same order, one at a time.
        state = jax.block_until_ready(_do(*members[number], message, state))


def _build(message: dict[str, Any], mesh: jax.sharding.Mesh) -> Member:
    configs = [from_json(text) for text in message["configs"]]
    table = make_table(configs[0])
    if (table_hash := identity.hash_arrays(table)) != message["table"]:
        raise ValueError(
            f"Process {jax.process_index()} makes the table {table_hash[:12]} of the "
            f"task, process 0 {message['table'][:12]}: every host needs the same data "
            "and versions."
        )
    return Member(
        pack.build(configs, table, message["exact"], mesh), make_lanes(configs)
    )


def _do(pack: Pack, lanes: Lanes, message: dict[str, Any], state: Any) -> Any:
    """Does what a message of a Leader says; returns the state after it.

    Args:
      pack: that the message is about.
      lanes: of the shapes that those of the message have.
      message: of `Leader._tell`.
      state: before it; None at first.
    """
    arrays = [np.asarray(values, dtype) for dtype, values in message["arrays"]]
    own = len(jax.tree.leaves(lanes))
    if message["do"] in ("init", "train", "begin_stage"):
        lanes = jax.tree.unflatten(jax.tree.structure(lanes), arrays[:own])
        arrays = arrays[own:]
    match message["do"]:
        case "init":
            return pack.init(lanes)
        case "train":
            return pack.train(state, lanes, arrays[0], length=message["length"])
        case "begin_stage":
            return pack.begin_stage(state, lanes, *arrays)
        case "start_window":
            return pack.start_window(state)
        case "take":
            return pack.take(state, *arrays)
        case "from_host":
            shapes, size = pack.shapes(lanes), message["num_lanes"]
            empty = lambda x: np.zeros((size, *x.shape[1:]) if x.ndim else (), x.dtype)
            state = jax.tree.map(empty, shapes)
            return pack.from_host(multihost_utils.broadcast_one_to_all(state))
        case "observe":
            pack.observe(state)
        case "to_host":
            pack.to_host(state)
    return state
