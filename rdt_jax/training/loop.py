"""Trains a pack from wherever it stands to its end, and keeps its records.

The host does nothing between two evaluations but dispatch chunks. Everything that a run
needs to go on is in its pack's newest checkpoint; its records are cut back to that step
on resume, so a run that was killed ends bit-identical to one that was not.
"""

import contextlib
import pathlib
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np

from rdt_jax import config as configs
from rdt_jax.store import (
    board,
    checkpoint,
    environment,
    membership,
    moved,
    records,
)
from rdt_jax.store.leases import Leases, LocalLeases
from rdt_jax.tasks import identity
from rdt_jax.training import (
    evaluation,
    lanes,
    phases,
    standing,
    step,
)

_DISPATCH_SECONDS = 10.0  # A stop request waits for at most one dispatch.


def train(
    pack: Sequence[ml_collections.ConfigDict],
    workdir: pathlib.Path,
    *,
    exact: bool = False,
    max_pins: int | None = None,
    build: standing.Build = step.build,
    leases: Leases | None = None,
    stop_requested: Callable[[], int] = lambda: False,
    may_end: standing.MayEnd = standing.never_end,
    log: Callable[[str], None] = lambda message: print(message, file=sys.stderr),
    config_file: Mapping[str, Any] | None = None,
    budgets: Collection[int] = (),
) -> list[dict[str, Any]]:
    """Trains the lanes of a pack until each has passed its phases or spent its budget.

    Runs that have spent a smaller budget go on to that of `pack`, and so do all others
    of their pack.

    Args:
      pack: configs that differ in their seed and LANE_KEYS only, already checked.
      workdir: where the run folders and the pack's folder are.
      exact: lanes are bit for bit what solo runs are; see `step`.
      max_pins: parameters that each run may keep at transitions, the first ones; None
        for all. Those of snapshots and at a run's end are always kept.
      build: makes the program; for callers that keep programs for later packs.
      leases: leases of the packs of this workdir; None for those of a disk.
      stop_requested: asked after every dispatch; when it says True, the pack is
        checkpointed and its unfinished runs become `preempted`.
      may_end: a context in which this process may end, since nothing has been trained
        since the newest checkpoint. It calls what it is given before that.
      log: takes what the user should know, such as a damaged checkpoint.
      config_file: commit and hash of the file that the configs are from, as of
        `environment.of_files`.
      budgets: further numbers of updates that somebody asks of these runs; their
        parameters are kept there as at the end.

    Returns:
      The status of each run, as in its status.json, by ascending run id.

    Raises:
      BlockingIOError: if another process trains this pack, or has taken it over.
      OSError: if the disk is full; the runs can be resumed.
      ValueError: if records are damaged anywhere but in their last line, or if one of
        the runs was trained in another pack.
    """
    pack = sorted(pack, key=configs.run_id)  # A pack's name does not tell its order.
    names = [configs.run_id(config) for config in pack]
    folders = [workdir / name for name in names]
    records.check_version(workdir)
    for folder, config in zip(folders, pack, strict=True):
        records.create(folder, config)
    name, budget = membership.pack_id(pack), pack[0].num_steps
    if statuses := membership.if_over(workdir, names, name, budget):
        return statuses
    leases = leases or LocalLeases(workdir)
    for run in () if leases.is_copy else names:
        membership.check_kept(workdir, run, budget)
    with contextlib.ExitStack() as stack:
        with may_end(lambda: None):  # It may wait for a lease.
            held = stack.enter_context(leases.acquire(name, names))
        held.restore(log)
        try:
            statuses = membership.if_over(workdir, names, name, budget)  # By now.
            for run in () if statuses else names:
                membership.check_kept(workdir, run, budget)
        except ValueError as error:
            held.end("error", str(error), names)
            raise
        if statuses:
            held.end("over")
            return statuses
        view = held.view
        readable = lambda message: message.replace(str(view), str(workdir))
        records.write_json(view / "packs" / name / "runs.json", names)

        def stop() -> int:
            held.check()
            return stop_requested()

        def commit(at: int) -> None:
            held.check()
            held.commit(at)

        def leave() -> None:
            held.check()
            unfinished = _set_unfinished(view, names, state="preempted", reason=None)
            held.tell()
            held.end("stopped", "", unfinished)

        try:
            for folder in folders:
                records.check(folder)
            statuses = _train_held(
                pack, workdir, view, exact, max_pins, build, stop,
                lambda message: log(readable(message)), commit,
                lambda: may_end(leave), config_file, budgets,
            )  # fmt: skip
            held.publish()
        except ConnectionError:  # The store is away; the lease is lost.
            raise
        except Exception as error:
            held.check()
            reason = "oom" if _is_out_of_memory(error) else "error"
            message = readable(str(error))
            with contextlib.suppress(OSError):  # The disk may be what failed.
                failed = {"state": "failed", "reason": reason, "message": message}
                unfinished = _set_unfinished(view, names, **failed)
                held.publish()
                held.end(reason, message, unfinished)
            raise
        left = [
            n
            for n, s in zip(names, statuses, strict=True)
            if not membership.is_final(s)
        ]
        held.end("stopped" if left else "done", "", left)
        return statuses


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def _set_unfinished(view: pathlib.Path, names, **fields: Any) -> list[str]:
    """Writes fields of the statuses of runs that are not over; returns their names."""
    unfinished = []
    for name in names:
        status = records.read_status(view / name)
        if not membership.is_final(status):
            unfinished.append(name)
            records.write_json(view / name / "status.json", status | fields)
    return unfinished


@environment.pinned()
def _train_held(
    pack, workdir, view, exact, max_pins, build, stop_requested, log, commit,
    may_end, config_file, budgets,
) -> list[dict[str, Any]]:  # fmt: skip
    names = [configs.run_id(config) for config in pack]
    folders = [view / name for name in names]
    with may_end():
        setup = _set_up(
            pack, folders, workdir, view, exact, max_pins, build, log, commit,
            may_end, config_file, budgets,
        )  # fmt: skip
        moved.adopt(setup.pack_folder, view, names, log)
        progress = standing.restore(setup)
        setup = standing.of_members(setup, progress.extra["members"])
        start = int(progress.state.step)
        begins = progress.extra["evaluated"] < 0
        if not begins:
            table_hash = identity.hash_arrays(setup.table)
            for folder, config in zip(folders, pack, strict=True):
                environment.check_table(folder, table_hash, config)
        # Where a smaller budget ended, no lane was left to go on as a smaller pack.
        setup, progress = standing.reform(setup, progress, start)
        for folder, lane in zip(folders, progress.extra["lanes"], strict=True):
            if lane["final"] is None:  # It may have ended after this checkpoint.
                records.reopen(folder)
            records.set_budget(folder, pack[0].num_steps)
        standing.write_environments(setup, progress, start, begins)
        for folder in folders:
            records.truncate(folder, progress.extra["evaluated"])
        boards = [
            board.Board(folder / "tensorboard", start + 1, log) for folder in folders
        ]
    try:
        return _train(setup._replace(boards=boards), progress, start, stop_requested)
    finally:
        for each in boards:
            each.close()


def _set_up(
    pack, folders, workdir, view, exact, max_pins, build, log, commit, may_end,
    config_file, budgets,
) -> standing.Setup:  # fmt: skip
    from rdt_jax.data import tfds_builders  # It takes 0.3 s, and only training reads.

    config = pack[0]
    table = tfds_builders.load_table(config, workdir / "tables", log)
    program = build(pack, table, exact)
    rows = dict(zip(program.groups, program.group_sizes, strict=True))
    awaited = phases.phases_of(config, table, rows, program.stages.values)
    return standing.Setup(
        pack=pack,
        folders=folders,
        pack_folder=view / "packs" / membership.pack_id(pack),
        table=table,
        exact=exact,
        build=build,
        log=log,
        watch=lanes.Watch(
            config,
            awaited,
            program.stages,
            program.groups,
            program.loops,
            max_pins,
            frozenset(budgets),
        ),
        program=program,
        lanes=step.make_lanes(pack),
        boards=[],
        commit=commit,
        may_end=may_end,
        config_file=config_file,
    )


def _train(setup: standing.Setup, progress: standing.Progress, at: int, stop_requested):
    config = setup.watch.config
    clock = _Clock()
    rate = None  # updates per second of the last dispatch
    statuses = _Statuses()
    compiled: set[tuple[int, int]] = set()  # (lanes, tokens of a row)
    saved = at  # step of the newest checkpoint
    free = lambda: setup.may_end() if at == saved else contextlib.nullcontext()
    # A kill may have come between the last checkpoint and what it says of each run.
    statuses.write(setup, progress, at, saved, rate)
    while True:
        if evaluation.next_step(config, progress.extra["evaluated"]) == at:
            running = standing.running(progress)
            progress = _evaluate(setup, progress, at, clock, rate, free())
            due = at > 0 and at % config.checkpoint_every_steps == 0
            if due or standing.running(progress) != running:
                setup, progress = standing.reform(setup, progress, at)
                with clock("checkpoint"):
                    standing.save(setup, progress, at)
                saved = at
            statuses.write(setup, progress, at, saved, rate)
        if not standing.running(progress):
            break
        if stop_requested():
            standing.save(setup, progress, at)
            statuses.write(setup, progress, at, at, rate, state="preempted")
            break
        length = standing.row_length(setup, progress)
        shape = (len(progress.extra["members"]), length)
        if shape not in compiled:
            compiled.add(shape)
            with clock("compile"), free():
                progress = _dispatch(setup, progress, 0, length)
        num_updates = min(
            evaluation.next_step(config, at) - at,
            max(1, int(_DISPATCH_SECONDS * rate)) if rate else 1,
        )
        with clock("train") as seconds:
            progress = _dispatch(setup, progress, num_updates, length)
        at += num_updates
        rate = num_updates / seconds()
        statuses.write(setup, progress, at, saved, rate)
    return [records.read_status(folder) for folder in setup.folders]


def _dispatch(
    setup: standing.Setup, progress: standing.Progress, n: int, length: int
) -> standing.Progress:
    state = setup.program.train_chunk(progress.state, setup.lanes, n, length=length)
    return progress._replace(state=jax.block_until_ready(state))


def _evaluate(
    setup: standing.Setup, progress: standing.Progress, at: int, clock, rate, free
) -> standing.Progress:
    """Measures every lane, records it, and lets the curriculum go on."""
    state, before = progress.state, progress.extra
    members = before["members"]
    with clock("evaluate"), free:
        measured = setup.program.observe(state)
        params = measured.pop("params")
        quantities = measured["quantities"]
        measured["weight_norm"] = quantities.pop("weight_norm")
    window = at - max(before["evaluated"], 0)
    ring_steps = [*before["ring_steps"], at][-phases.RING :]
    ring = [*progress.ring, params][-phases.RING :]
    timing = {"step": at, "time": time.time(), "updates_per_second": rate}
    timing |= clock.take()
    now = list(before["lanes"])
    with clock("record"):
        for position, index in enumerate(members):
            if now[index]["final"] is not None:
                continue
            pick = lambda tree, i=position: jax.tree.map(lambda x: x[i], tree)
            seen = lanes.observe(setup.watch, now[index], at, window, pick(measured))
            now[index] = seen.lane
            for pin in seen.pins:
                kept = pick(ring[ring_steps.index(pin.step)])
                name = "-".join(map(str, pin))
                path = setup.folders[index] / "transitions" / name
                checkpoint.save(path, kept, {"step": pin.step, "event": pin.event})
            _append(setup, index, at, seen, timing)
    state = setup.program.start_window(state)
    if setup.program.stages.values:
        stages = np.array([now[index]["stage"] for index in members], np.int32)
        state = setup.program.start_stage(state, setup.lanes, stages)
    extra = before | {"evaluated": at, "ring_steps": ring_steps, "lanes": now}
    return standing.Progress(state, ring, extra)


def _append(
    setup: standing.Setup, index: int, at: int, seen: lanes.Observation, timing
):
    folder = setup.folders[index]
    if seen.row is not None:
        records.append(folder / "metrics.jsonl", {"step": at} | seen.row)
        # Hundreds of breakdowns would take most of the time.
        shown = {name: value for name, value in seen.row.items() if "[" not in name}
        setup.boards[index].add(at, shown)
    for event in seen.events:
        records.append(folder / "events.jsonl", event)
    records.append(folder / "timing.jsonl", timing)


class _Statuses:
    """Writes the statuses of a pack: what is new at once, progress now and then.

    New is a state, and a checkpoint, of whose step they tell: without it nobody would
    know later that one is gone.

    A status is on the disk when it is written, which takes some milliseconds: progress
    may take one part in `_SHARE` of the time.
    """

    _SHARE = 30

    def __init__(self):
        self._new: tuple[list[str], int] = ([], 0)  # Of the last write.
        self._due = 0.0  # When progress may be written again, by the monotonic clock.
        self._proofs: dict[pathlib.Path, dict[str, Any]] = {}  # Of runs that are over.

    def write(self, setup, progress, at, saved, rate, state="running") -> None:
        finals = [lane["final"] or {} for lane in progress.extra["lanes"]]
        evaluated = progress.extra["evaluated"]
        new = [final.get("state", state) for final in finals], saved
        begin = time.monotonic()
        if new == self._new and begin < self._due:
            return
        for index, folder in enumerate(setup.folders):
            lane = progress.extra["lanes"][index]
            status = {"state": state, "reason": None, "step": at} | finals[index]
            if finals[index] and folder not in self._proofs:
                self._proofs[folder] = {"records": records.proof(folder)}
            records.write_json(
                folder / "status.json",
                status
                | {
                    "pack": setup.pack_folder.name,
                    "lane": index,
                    "saved": saved,
                    "evaluated": finals[index].get("step", evaluated),
                    "num_steps": setup.watch.config.num_steps,
                    "updates_per_second": rate,
                    "phase": phases.reached(lane["detector"]),
                    "accuracy": lanes.shown_accuracy(lane),
                }
                | self._proofs.get(folder, {}),
            )
        self._new = new
        end = time.monotonic()
        self._due = end + self._SHARE * (end - begin)


class _Clock:
    """Adds up wall seconds by what they were spent on."""

    def __init__(self):
        self._seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, purpose: str) -> Iterator[Callable[[], float]]:
        begin = time.perf_counter()
        elapsed = lambda: time.perf_counter() - begin
        yield elapsed
        name = f"{purpose}_seconds"
        self._seconds[name] = self._seconds.get(name, 0.0) + elapsed()

    def take(self) -> dict[str, float]:
        """Returns the sums and starts again from zero."""
        taken, self._seconds = self._seconds, {}
        return taken
