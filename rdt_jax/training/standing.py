"""Where a pack stands: what its checkpoint holds, restored, saved and re-formed.

Lanes that are over stay in the pack, since its shape is part of the program, until half
of its lanes are: then the others go on as a smaller pack. That happens at evaluations
and depends on nothing but their results, so a pack that was killed re-forms alike.
"""

import contextlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from rdt_jax import tasks
from rdt_jax.store import board, checkpoint, environment, records
from rdt_jax.tasks import identity
from rdt_jax.training import lanes, step

Build = Callable[..., step.Program]  # As `step.build`.
Leave = Callable[[], None]
MayEnd = Callable[[Leave], contextlib.AbstractContextManager[None]]


def never_end(leave: Leave) -> contextlib.AbstractContextManager[None]:
    """Is the context of a process that ends nowhere but where it is at its end."""
    return contextlib.nullcontext()


class Setup(NamedTuple):
    """What stays the same while a pack keeps its shape."""

    pack: Sequence[ml_collections.ConfigDict]  # all lanes that it began with
    folders: Sequence[pathlib.Path]  # of their runs
    pack_folder: pathlib.Path
    table: tasks.Table
    exact: bool
    build: Build
    log: Callable[[str], None]
    watch: lanes.Watch
    program: step.Program  # of the lanes that it has now
    lanes: step.Lanes
    boards: Sequence[board.Board]
    commit: Callable[[int], None] = lambda at: None  # Told after each checkpoint.
    # Where the process may end, since it would lose nothing.
    may_end: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext
    config_file: Mapping[str, Any] | None = None  # Of `environment.of_files`.


class Progress(NamedTuple):
    """What a checkpoint holds: the arrays, and `extra`, a JSON value.

    Beside them it holds `lines`, how many its runs' records had (records.count).
    `extra` has `evaluated` (step of the newest evaluation, -1 before the first),
    `ring_steps`, `members` (indices of the lanes that the state has), `shapes` (step
    and number of lanes, at the start and after each re-forming), and `lanes`, of all
    that the pack began with (`lanes.Lane`).
    """

    state: step.TrainState
    ring: list[Any]  # params at the newest phases.RING evaluations, on the host
    extra: dict[str, Any]


def row_length(setup: Setup, progress: Progress) -> int:
    """Returns the smallest length bucket that holds all lanes that still train."""
    lanes_now, members = progress.extra["lanes"], progress.extra["members"]
    running = [lanes_now[i] for i in members if lanes_now[i]["final"] is None]
    return max(setup.program.stages.lengths[lane["stage"]] for lane in running)


def reform(setup: Setup, progress: Progress, at: int) -> tuple[Setup, Progress]:
    """Goes on with the unfinished lanes alone, if these are at most half of all."""
    members, all_lanes = progress.extra["members"], progress.extra["lanes"]
    live = [i for i, index in enumerate(members) if all_lanes[index]["final"] is None]
    filled = setup.program.filled  # On a mesh, fewer lanes need not be less work.
    if not live or 2 * filled(len(live)) > filled(len(members)):
        return setup, progress
    extra = progress.extra | {
        "members": [members[i] for i in live],
        "shapes": [*progress.extra["shapes"], [at, len(live)]],
    }
    state = setup.program.take_lanes(progress.state, jnp.array(live))
    ring = [jax.tree.map(lambda x: x[live], params) for params in progress.ring]
    setup = of_members(setup, extra["members"])
    progress = Progress(state, ring, extra)
    write_environments(setup, progress, at)
    return setup, progress


def of_members(setup: Setup, members: Sequence[int]) -> Setup:
    """Returns the setup for some of the lanes that the pack began with."""
    pack = [setup.pack[index] for index in members]
    if len(pack) == setup.lanes.seed.size:
        return setup
    program = setup.build(pack, setup.table, setup.exact)
    return setup._replace(program=program, lanes=step.make_lanes(pack))


def running(progress: Progress) -> int:
    """Counts the lanes that still train."""
    return sum(lane["final"] is None for lane in progress.extra["lanes"])


def save(setup: Setup, progress: Progress, at: int) -> None:
    """Writes the checkpoint of step `at`."""
    state = setup.program.read(progress.state)  # Any number of devices can go on.
    # Stacked, since a checkpoint takes its time by the number of arrays.
    ring = jax.tree.map(lambda *each: np.stack(each), *progress.ring)
    tree = {"state": state, "ring": ring}
    for run in setup.folders:
        records.sync(run)
    folder = setup.pack_folder / "checkpoints"
    lines = [records.count(run) for run in setup.folders]
    checkpoint.save_rotating(folder, at, tree, progress.extra | {"lines": lines})
    setup.commit(at)


def restore(setup: Setup) -> Progress:
    """Reads the newest undamaged checkpoint, or begins where there is none.

    Args:
      setup: for all lanes that the pack began with; the checkpoint may have fewer.
    """
    program, num_lanes = setup.program, len(setup.pack)
    shapes = program.shapes(setup.lanes)

    def abstract(extra):
        members = len(extra["members"])
        cut = lambda x: jax.ShapeDtypeStruct((members, *x.shape[1:]), x.dtype)
        state = jax.tree.map(lambda x: cut(x) if x.ndim else x, shapes)
        length = len(extra["ring_steps"])
        stack = lambda x: jax.ShapeDtypeStruct((length, *x.shape), x.dtype)
        ring = jax.tree.map(stack, state.params)
        return checkpoint.shapes_of({"state": state, "ring": ring})

    def misfit(extra) -> str | None:
        each = zip(setup.folders, extra["lines"], strict=True)
        lost = (records.missing(f, extra["evaluated"], lines) for f, lines in each)
        return next(filter(None, lost), None)

    found = checkpoint.load_newest(
        setup.pack_folder / "checkpoints", abstract, setup.log, misfit
    )
    if found is not None:
        tree, kept = found
        state = program.place(tree["state"])
        ring = jax.device_get(tree["ring"])
        given = [lanes.extended(lane, setup.watch.config) for lane in kept["lanes"]]
        kept = kept | {"lanes": given}
        pick = lambda index: jax.tree.map(lambda x: x[index], ring)
        return Progress(state, [pick(i) for i in range(len(kept["ring_steps"]))], kept)
    extra = {
        "evaluated": -1,
        "ring_steps": [],
        "members": list(range(num_lanes)),
        "shapes": [[0, num_lanes]],
        "lanes": [lanes.new_lane(setup.watch) for _ in range(num_lanes)],
    }
    return Progress(program.init(setup.lanes), [], extra)


def write_environments(
    setup: Setup, progress: Progress, at: int, begins: bool = False
) -> None:
    """Writes environment.json of every run of the pack; `begins` at their start."""
    conditions = {"exact": setup.exact, "mesh": setup.program.axes._asdict()}
    if setup.config_file:
        conditions["config_file"] = setup.config_file
    now = environment.segment(setup.pack[0], at, **conditions)
    shapes = progress.extra["shapes"]
    table = identity.hash_arrays(setup.table)
    for lane, folder in enumerate(setup.folders):
        packing = {
            "pack": setup.pack_folder.name,
            "lane": lane,
            "lanes": shapes[0][1],
            "shapes": shapes,
            "table": table,
        }
        environment.write(folder, packing, now, begins, setup.log)
