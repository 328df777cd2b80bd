"""A pack in training: its compiled pack, its arrays, and what is known of its lanes.

    session = session.train(100, length=session.row_length)
    session = session.shrunk()  # without the lanes that are over

Lanes that are over stay in a pack, since it is compiled for their number, until half
of its lanes are: then the others go on as a smaller pack. That happens at evaluations
and depends on nothing but their results, so a pack that was killed shrinks alike.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from rdt_jax.store import checkpoint
from rdt_jax.training import evaluate, hyper, lanes, multiprocess
from rdt_jax.training.pack import Pack, TrainState

Configs = Sequence[ml_collections.ConfigDict]


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a checkpoint says beside its arrays; a JSON value."""

    evaluated: int  # step of the newest evaluation; -1 before the first
    # steps of the evaluations whose parameters are in the ring
    ring_steps: Sequence[int]
    members: Sequence[int]  # indices of the lanes that the arrays have
    # [step, number of lanes] at the start and after each shrinking
    shapes: Sequence[Sequence[int]]
    lanes: Sequence[lanes.Lane]  # progress of each lane that the pack began with

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Progress":
        """Reads its attributes out of what a checkpoint says, which may say more."""
        return cls(**{f.name: value[f.name] for f in dataclasses.fields(cls)})


@dataclasses.dataclass(frozen=True)
class Session:
    """A pack in training."""

    configs: Configs
    awaited: lanes.Awaited
    # function that makes the pack of some of these lanes
    make_pack: Callable[[Configs], multiprocess.AnyPack]
    pack: multiprocess.AnyPack  # pack, compiled for the lanes that train now
    lane_params: hyper.Lanes  # values in which these lanes differ
    state: TrainState  # arrays that change, on the devices
    # parameters at the newest evaluations, on the host, the oldest first
    ring: Sequence[chex.ArrayTree]
    step: int
    progress: Progress
    # updates per second of the last dispatch; None before the first
    rate: float | None = None

    @property
    def config(self) -> ml_collections.ConfigDict:
        """The config of the first lane: what is read of it is the same for all."""
        return self.awaited.config

    @property
    def num_running(self) -> int:
        """The number of lanes that still train."""
        return sum(lane["final"] is None for lane in self.progress.lanes)

    @property
    def next_evaluation(self) -> int:
        """The step of the evaluation that comes next, which may be that of now."""
        return evaluate.next_step(self.config, self.progress.evaluated)

    @property
    def is_checkpoint_due(self) -> bool:
        """Whether the config asks for a checkpoint at this step."""
        return self.step > 0 and self.step % self.config.checkpoint_every_steps == 0

    @property
    def row_length(self) -> int:
        """The smallest length bucket that holds the rows of all lanes that train."""
        lengths = self.awaited.stages.lengths
        members = (self.progress.lanes[index] for index in self.progress.members)
        return max(lengths[lane["stage"]] for lane in members if lane["final"] is None)

    def params_at(self, step: int, lane: int) -> chex.ArrayTree:
        """Returns the parameters of a lane at an evaluation that the ring has."""
        params = self.ring[self.progress.ring_steps.index(step)]
        position = self.progress.members.index(lane)
        return jax.tree.map(lambda leaf: leaf[position], params)

    def train(self, num_updates: int, length: int) -> "Session":
        """Returns the session after updates that are done by then; 0 compile the pack.

        Of each row `length` tokens are read.
        """
        state = self.pack.train(
            self.state, self.lane_params, num_updates, length=length
        )
        state = jax.block_until_ready(state)
        return dataclasses.replace(self, state=state, step=self.step + num_updates)

    def shrunk(self) -> "Session":
        """Returns the session of the running lanes alone, if they are half or fewer."""
        members, padded = self.progress.members, self.pack.local.padded_lanes
        positions = [
            position
            for position, index in enumerate(members)
            if self.progress.lanes[index]["final"] is None
        ]
        # On a mesh, fewer lanes need not be less work.
        if not positions or 2 * padded(len(positions)) > padded(len(members)):
            return self
        progress = dataclasses.replace(
            self.progress,
            members=[members[position] for position in positions],
            shapes=[*self.progress.shapes, [self.step, len(positions)]],
        )
        smaller = dataclasses.replace(
            self,
            state=self.pack.take(self.state, jnp.array(positions)),
            ring=[
                jax.tree.map(lambda leaf: leaf[positions], params)
                for params in self.ring
            ],
            progress=progress,
        )
        return smaller.with_pack_of(progress.members)

    def with_pack_of(self, members: Sequence[int]) -> "Session":
        """Returns the session with the pack of some of its first lanes."""
        if len(members) == self.lane_params.seed.size:
            return self
        configs = [self.configs[index] for index in members]
        return dataclasses.replace(
            self,
            pack=self.make_pack(configs),
            lane_params=hyper.make_lanes(configs),
        )

    def arrays(self) -> dict[str, Any]:
        """Returns the arrays of a checkpoint, on the host: any devices can go on."""
        # Stacked, since a checkpoint takes its time by the number of arrays.
        ring = jax.tree.map(lambda *leaves: np.stack(leaves), *self.ring)
        return {"state": self.pack.to_host(self.state), "ring": ring}


def start(
    configs: Configs,
    awaited: lanes.Awaited,
    make_pack: Callable[[Configs], multiprocess.AnyPack],
    pack: multiprocess.AnyPack,
    restored: tuple[Mapping[str, Any], Mapping[str, Any]] | None,
) -> Session:
    """Returns the session of a checkpoint, or one before its first evaluation.

    Lanes that spent a smaller budget than that of now train again. The arguments up to
    `pack` are as of `Session`, for all lanes that the pack began with. `restored` has
    the arrays of `Session.arrays` and the JSON value of the progress; it is None where
    the pack begins.
    """
    lane_params = hyper.make_lanes(configs)
    if restored is None:
        state, ring = pack.init(lane_params), []
        progress = Progress(
            evaluated=-1,
            ring_steps=[],
            members=list(range(len(configs))),
            shapes=[[0, len(configs)]],
            lanes=[lanes.new_lane(awaited) for _ in configs],
        )
    else:
        arrays, extra = restored
        saved = Progress.from_json(extra)
        extended = [lanes.extended(lane, awaited.config) for lane in saved.lanes]
        progress = dataclasses.replace(saved, lanes=extended)
        stacked = jax.device_get(arrays["ring"])
        ring = [
            jax.tree.map(lambda leaf, i=index: leaf[i], stacked)
            for index in range(len(progress.ring_steps))
        ]
        state = pack.from_host(arrays["state"])
    step = int(state.step)
    session = Session(
        configs, awaited, make_pack, pack, lane_params, state, ring, step, progress
    )
    return session.with_pack_of(progress.members)


def shapes_of_arrays(
    pack: Pack, lane_params: hyper.Lanes, extra: Mapping[str, Any]
) -> chex.ArrayTree:
    """Returns the shapes and dtypes of what `Session.arrays` made of a session.

    `pack` and `lane_params` are of all lanes that it began with; by `extra`, the JSON
    value of its progress, its arrays may have fewer.
    """
    num_lanes, num_rings = len(extra["members"]), len(extra["ring_steps"])

    def cut(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        shape = (num_lanes, *leaf.shape[1:]) if leaf.ndim else ()
        return jax.ShapeDtypeStruct(shape, leaf.dtype)

    def stack(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((num_rings, *leaf.shape), leaf.dtype)

    state = jax.tree.map(cut, pack.shapes(lane_params))
    ring = jax.tree.map(stack, state.params)
    return checkpoint.shapes_of({"state": state, "ring": ring})
