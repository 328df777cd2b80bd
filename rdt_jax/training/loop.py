"""Trains a pack from wherever it stands to its end, and keeps its records.

The host does nothing between two evaluations but dispatch chunks. Everything that a run
needs to go on is in its pack's newest checkpoint; its records are cut back to that step
on resume, so a run that was killed ends bit-identical to one that was not.
"""

import contextlib
import hashlib
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
import tensorboardX

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.data import batches
from rdt_jax.models import presets
from rdt_jax.training import (
    checkpoint,
    environment,
    lock,
    optimizers,
    phases,
    records,
    step,
)

_DISPATCH_SECONDS = 10.0  # A stop request waits for at most one dispatch.


def check(config: ml_collections.ConfigDict) -> None:
    """Raises ValueError with all that is wrong with a config; compiles nothing."""
    found = _run_problems(config)
    found += presets.problems(config)
    found += optimizers.problems(config)
    found += phases.problems(config)
    task_problems = tasks.problems(config)
    found += task_problems
    if not task_problems:
        found += batches.problems(config, tasks.make_table(config))
    configs.raise_problems(found)


def pack_id(configs_of_pack: Sequence[ml_collections.ConfigDict]) -> str:
    """Names a pack by its runs, in any order."""
    names = sorted(configs.run_id(config) for config in configs_of_pack)
    return hashlib.sha256(",".join(names).encode()).hexdigest()[:12]


def train(
    pack: Sequence[ml_collections.ConfigDict],
    workdir: pathlib.Path,
    *,
    stop_requested: Callable[[], bool] = lambda: False,
    report: Callable[[str], None] = lambda message: print(message, file=sys.stderr),
) -> list[dict[str, Any]]:
    """Trains the lanes of a pack until each has passed its phases or spent its budget.

    Args:
      pack: configs that differ in their seed and LANE_KEYS only, already checked.
      workdir: where the run folders and the pack's folder are.
      stop_requested: asked after every dispatch; when it says True, the pack is
        checkpointed and its unfinished runs become `preempted`.
      report: takes what the user should know, such as a damaged checkpoint.

    Returns:
      The status of each run, as in its status.json, by ascending run id.

    Raises:
      BlockingIOError: if another process trains this pack.
      OSError: if the disk is full; the runs can be resumed.
      ValueError: if records are damaged anywhere but in their last line, or if one of
        the runs was finished in another pack.
    """
    pack = sorted(pack, key=configs.run_id)  # A pack's name does not tell its order.
    folders = [workdir / configs.run_id(config) for config in pack]
    for folder, config in zip(folders, pack, strict=True):
        records.create(folder, config)
    statuses = [records.read_status(folder) for folder in folders]
    torn = any(records.is_torn(folder) for folder in folders)
    if all(is_final(status) for status in statuses) and not torn:
        return statuses
    name = pack_id(pack)
    for config, status in zip(pack, statuses, strict=True):
        if is_final(status) and status["pack"] != name:
            raise ValueError(
                f"Run {configs.run_id(config)} is {status['state']}; a pack with other "
                "runs, unfinished, would train it again and replace its records."
            )
    pack_folder = workdir / "packs" / name
    with lock.hold(pack_folder, folders):
        try:
            return _train_locked(pack, folders, pack_folder, stop_requested, report)
        except Exception as error:
            reason = "oom" if "RESOURCE_EXHAUSTED" in str(error) else "error"
            with contextlib.suppress(OSError):  # The disk may be what failed.
                for folder in folders:
                    status = records.read_status(folder)
                    if not is_final(status):
                        failed = {"state": "failed", "reason": reason}
                        records.write_json(folder / "status.json", status | failed)
            raise


def is_final(status: dict[str, Any]) -> bool:
    """Says whether a run is over: done, or failed in a way that would repeat."""
    return status["state"] == "done" or status.get("reason") == "nan"


class _Setup(NamedTuple):
    """What stays the same while a pack trains."""

    config: ml_collections.ConfigDict  # of the first lane; the others share its shapes
    folders: Sequence[pathlib.Path]
    checkpoints: pathlib.Path
    pack: str
    program: step.Program
    lanes: step.Lanes
    phases: list[phases.Phase]
    boards: list[tensorboardX.SummaryWriter]


class _Progress(NamedTuple):
    """What a checkpoint holds: the arrays, and `extra`, a JSON value.

    Beside them it holds `lines`, how many its runs' records had (records.count).
    `extra` has `evaluated` (step of the newest evaluation, -1 before the first),
    `ring_steps`, and per lane `detector` (phases.State) and `final` (the last fields of
    its status, None while it trains).
    """

    state: step.TrainState
    ring: list[Any]  # params at the newest phases.RING evaluations, on the host
    extra: dict[str, Any]


def _train_locked(pack, folders, pack_folder, stop_requested, report):
    table = tasks.make_table(pack[0])
    program = step.build(pack, table)
    rows = dict(zip(program.groups, program.group_sizes, strict=True))
    checkpoints = pack_folder / "checkpoints"
    lanes = step.make_lanes(pack)
    awaited = phases.phases_of(pack[0], table, rows)
    for lane, folder in enumerate(folders):
        environment.write(folder, pack_folder.name, lane, len(pack), report)
    progress = _restore(program, lanes, awaited, checkpoints, folders, report)
    start = int(progress.state.step)
    for folder in folders:
        records.truncate(folder, progress.extra["evaluated"])
    boards = [
        tensorboardX.SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)
        for folder in folders
    ]
    setup = _Setup(
        pack[0], folders, checkpoints, pack_folder.name, program, lanes, awaited, boards
    )
    try:
        return _train(setup, progress, start, stop_requested)
    finally:
        for board in boards:
            board.close()


def _train(setup: _Setup, progress: _Progress, at: int, stop_requested):
    config, program = setup.config, setup.program
    clock = _Clock()
    with clock("compile"):
        state = program.train_chunk(progress.state, setup.lanes, 0)
        jax.block_until_ready(state)
        progress = progress._replace(state=state)
    rate = None  # updates per second of the last dispatch
    while True:
        if at % config.eval_every_steps == 0 and progress.extra["evaluated"] != at:
            running = _running(progress)
            progress = _evaluate(setup, progress, at, clock, rate)
            due = at > 0 and at % config.checkpoint_every_steps == 0
            if due or _running(progress) != running:
                with clock("checkpoint"):
                    _save(setup, progress, at)
            _write_statuses(setup, progress, at, rate)
        if not _running(progress):
            break
        if stop_requested():
            _save(setup, progress, at)
            _write_statuses(setup, progress, at, rate, state="preempted")
            break
        num_updates = min(
            config.eval_every_steps - at % config.eval_every_steps,
            max(1, int(_DISPATCH_SECONDS * rate)) if rate else 1,
        )
        with clock("train") as seconds:
            state = program.train_chunk(progress.state, setup.lanes, num_updates)
            jax.block_until_ready(state)
        progress = progress._replace(state=state)
        at += num_updates
        rate = num_updates / seconds()
        _write_statuses(setup, progress, at, rate)
    return [records.read_status(folder) for folder in setup.folders]


def _evaluate(setup: _Setup, progress: _Progress, at: int, clock, rate) -> _Progress:
    """Measures every lane, then records it."""
    state, before = progress.state, progress.extra
    with clock("evaluate"):
        measured = jax.device_get(setup.program.evaluate(state.params))
        measured |= jax.device_get(
            {
                "finite_steps": state.finite_steps,
                "loss_sum": state.loss_sum,
                "gradient_norm": state.gradient_norm,
            }
        )
        params = jax.tree.map(np.array, state.params)  # Copies: the state is donated.
    window = at - max(before["evaluated"], 0)
    ring_steps = [*before["ring_steps"], at][-phases.RING :]
    ring = [*progress.ring, params][-phases.RING :]
    with clock("record"):
        lanes = []
        for index, lane in enumerate(before["lanes"]):
            if lane["final"] is None:
                of_lane = jax.tree.map(lambda x: x[index], measured)  # noqa: B023
                lane, events = _record(setup, index, lane, at, window, of_lane)
                for event in events:
                    _pin(setup.folders[index], event, ring_steps, ring, index)
                    records.append(setup.folders[index] / "events.jsonl", event)
            lanes.append(lane)
    timing = {"step": at, "time": time.time(), "updates_per_second": rate}
    timing |= clock.take()
    for folder, lane in zip(setup.folders, before["lanes"], strict=True):
        if lane["final"] is None:
            records.append(folder / "timing.jsonl", timing)
    extra = {"evaluated": at, "ring_steps": ring_steps, "lanes": lanes}
    return _Progress(setup.program.start_window(state), ring, extra)


def _record(setup: _Setup, index: int, lane, at: int, window: int, measured):
    """Writes a lane's metrics row; returns the lane as it is now, and its events."""
    # The last update may have broken what its own loss does not see yet.
    seen = (measured["loss"], measured["weight_norm"])
    if measured["finite_steps"] < at or not all(np.isfinite(x).all() for x in seen):
        last = int(measured["finite_steps"])
        return lane | {"final": {"state": "failed", "reason": "nan", "step": last}}, []
    row = _accuracies_and_losses(setup.program, measured)
    accuracy = {p.split: row[f"{p.split}/accuracy@{p.loops}"] for p in setup.phases}
    row["model/weight_norm"] = float(measured["weight_norm"])
    if at > 0:
        loops = setup.config.recurrence.num_loops
        row[f"train/batch_loss@{loops}"] = float(measured["loss_sum"]) / window
        row["model/gradient_norm"] = float(measured["gradient_norm"])
    records.append(setup.folders[index] / "metrics.jsonl", {"step": at} | row)
    for name, value in row.items():
        setup.boards[index].add_scalar(name, value, at)
    setup.boards[index].flush()
    detector, events = phases.observe(lane["detector"], setup.phases, at, accuracy)
    final = _final(setup.config, detector, at)
    return {"detector": detector, "final": final, "accuracy": accuracy}, events


def _accuracies_and_losses(program: step.Program, measured) -> dict[str, float]:
    row = {}
    for position, loops in enumerate(program.loops):
        for column, group in enumerate(program.groups):
            split, bracket, tag = group.partition("[")
            for quantity in ("accuracy", "loss"):
                value = measured[quantity][position, column]
                row[f"{split}/{quantity}@{loops}{bracket}{tag}"] = float(value)
    return row


def _final(config, detector: phases.State, at: int) -> dict[str, Any] | None:
    if config.stop_after_phases and phases.all_completed(detector):
        return {"state": "done", "reason": "phases_passed", "step": at}
    if at >= config.num_steps:
        return {"state": "done", "reason": "budget", "step": at}
    return None


def _pin(folder: pathlib.Path, event, ring_steps, ring, lane: int) -> None:
    for side in ("before", "after"):
        pinned = event[side]
        if pinned is None:
            continue
        params = jax.tree.map(lambda x: x[lane], ring[ring_steps.index(pinned)])
        path = folder / "transitions" / f"{event['event']}-{side}-{pinned}"
        checkpoint.save(path, params, {"step": pinned, "event": event["event"]})


def _running(progress: _Progress) -> int:
    return sum(lane["final"] is None for lane in progress.extra["lanes"])


def _save(setup: _Setup, progress: _Progress, at: int) -> None:
    tree = {"state": progress.state, "ring": progress.ring}
    lines = [records.count(folder) for folder in setup.folders]
    extra = progress.extra | {"lines": lines}
    checkpoint.save_rotating(setup.checkpoints, at, tree, extra)


def _restore(program, lanes, awaited, checkpoints, folders, report) -> _Progress:
    shapes = jax.eval_shape(program.init, lanes)

    def abstract(extra):
        ring = [shapes.params for _ in extra["ring_steps"]]
        return checkpoint.shapes_of({"state": shapes, "ring": ring})

    def misfit(extra) -> str | None:
        each = zip(folders, extra["lines"], strict=True)
        lost = (records.missing(f, extra["evaluated"], lines) for f, lines in each)
        return next(filter(None, lost), None)

    found = checkpoint.load_newest(checkpoints, abstract, report, misfit)
    if found is not None:
        tree, kept = found
        return _Progress(tree["state"], jax.device_get(tree["ring"]), kept)
    fresh: dict[str, Any] = {
        "detector": phases.new_state(awaited),
        "final": None,
        "accuracy": {},
    }
    extra: dict[str, Any] = {
        "evaluated": -1,
        "ring_steps": [],
        "lanes": [fresh for _ in range(lanes.seed.shape[0])],
    }
    return _Progress(program.init(lanes), [], extra)


def _write_statuses(setup, progress, at, rate, state="running") -> None:
    for index, folder in enumerate(setup.folders):
        lane = progress.extra["lanes"][index]
        status = {"state": state, "reason": None, "step": at}
        status |= lane["final"] or {}
        records.write_json(
            folder / "status.json",
            status
            | {
                "pack": setup.pack,
                "lane": index,
                "num_steps": setup.config.num_steps,
                "updates_per_second": rate,
                "phase": phases.reached(lane["detector"]),
                "accuracy": lane["accuracy"],
            },
        )


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


def _run_problems(config: ml_collections.ConfigDict) -> list[str]:
    found = []
    for key in ("num_steps", "eval_every_steps", "checkpoint_every_steps"):
        if config[key] < 1:
            found.append(f"{key} must be at least 1, got {config[key]}.")
    if found:
        return found
    every = config.eval_every_steps
    for key in ("num_steps", "checkpoint_every_steps"):
        if config[key] % every:
            found.append(
                f"{key} ({config[key]}) must be a multiple of eval_every_steps "
                f"({every})."
            )
    if not 0 <= config.seed < 2**32:
        found.append(f"seed must be in [0, 2**32), got {config.seed}.")
    for key in ("train_rows", "batch_size"):
        if config.evaluation[key] < 1:
            found.append(
                f"evaluation.{key} must be at least 1, got {config.evaluation[key]}."
            )
    return found
