"""Trains a pack from wherever it stands to its end, and keeps its records.

The host does nothing between two evaluations but dispatch chunks. Everything that a run
needs to go on is in its pack's newest checkpoint; its records are cut back to that step
on resume, so a run that was killed ends bit-identical to one that was not.
"""

import contextlib
import pathlib
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import ml_collections

from rdt_jax import config as configs
from rdt_jax.store import environment, files, packs, records, run_folder
from rdt_jax.store.leases import Leases, LocalLeases
from rdt_jax.training import fit, lanes, phases, recording, session
from rdt_jax.training.multiprocess import Build
from rdt_jax.training.pack import build as build_pack


def never_end(leave: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
    """Is the context of a process that ends nowhere but where it is at its end."""
    return contextlib.nullcontext()


def train(
    pack: Sequence[ml_collections.ConfigDict],
    workdir: pathlib.Path,
    *,
    exact: bool = False,
    max_pins: int | None = None,
    build: Build = build_pack,
    leases: Leases | None = None,
    stop_requested: Callable[[], int] = lambda: False,
    may_end: recording.MayEnd = never_end,
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
      exact: lanes are bit for bit what solo runs are; see `pack`.
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
    run_folder.check_version(workdir)
    for folder, config in zip(folders, pack, strict=True):
        run_folder.create(folder, config)
    name, budget = packs.pack_id(pack), pack[0].num_steps
    if statuses := packs.if_over(workdir, names, name, budget):
        return statuses
    leases = leases or LocalLeases(workdir)
    for run in () if leases.is_copy else names:
        packs.check_kept(workdir, run, budget)
    with contextlib.ExitStack() as stack:
        with may_end(lambda: None):  # It may wait for a lease.
            held = stack.enter_context(leases.acquire(name, names))
        held.restore(log)
        try:
            statuses = packs.if_over(workdir, names, name, budget)  # By now.
            for run in () if statuses else names:
                packs.check_kept(workdir, run, budget)
        except ValueError as error:
            held.end("error", str(error), names)
            raise
        if statuses:
            held.end("over")
            return statuses
        view = held.view
        readable = lambda message: message.replace(str(view), str(workdir))
        files.write_json(view / "packs" / name / "runs.json", names)

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
            n for n, s in zip(names, statuses, strict=True) if not packs.is_final(s)
        ]
        held.end("stopped" if left else "done", "", left)
        return statuses


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def _set_unfinished(view: pathlib.Path, names, **fields: Any) -> list[str]:
    """Writes fields of the statuses of runs that are not over; returns their names."""
    unfinished = []
    for name in names:
        status = run_folder.read_status(view / name)
        if not packs.is_final(status):
            unfinished.append(name)
            files.write_json(view / name / "status.json", status | fields)
    return unfinished


@environment.pinned()
def _train_held(
    pack: session.Configs,
    workdir: pathlib.Path,
    view: pathlib.Path,
    exact: bool,
    max_pins: int | None,
    build: Build,
    stop_requested: Callable[[], int],
    log: Callable[[str], None],
    commit: Callable[[int], None],
    may_end: Callable[[], contextlib.AbstractContextManager[None]],
    config_file: Mapping[str, Any] | None,
    budgets: Collection[int],
) -> list[dict[str, Any]]:
    from rdt_jax.data import tfds_builders  # It takes 0.3 s, and only training reads.

    folders = [view / configs.run_id(config) for config in pack]
    pack_folder = view / "packs" / packs.pack_id(pack)
    with contextlib.ExitStack() as stack:
        with may_end():
            table = tfds_builders.load_table(pack[0], workdir / "tables", log)
            make_program = lambda configs: build(configs, table, exact)
            program = make_program(pack)
            awaited = _awaited(pack[0], table, program, max_pins, budgets)
            restored = recording.restore(
                pack_folder, folders, pack, awaited, make_program, program, log
            )
            conditions: dict[str, Any] = {"exact": exact}
            if config_file:
                conditions["config_file"] = config_file
            recorder = recording.Recorder(
                pack_folder, folders, table,
                conditions=conditions, commit=commit, may_end=may_end, log=log,
            )  # fmt: skip
            stack.callback(recorder.close)
            begun = recorder.begin(restored)
        fit.fit(begun, hooks=recorder, should_stop=stop_requested)
    return [run_folder.read_status(folder) for folder in folders]


def _awaited(config, table, program, max_pins, budgets) -> lanes.Awaited:
    rows = dict(zip(program.groups, program.group_sizes, strict=True))
    return lanes.Awaited(
        config=config,
        phases=phases.phases_of(config, table, rows, program.stages.values),
        stages=program.stages,
        groups=program.groups,
        loops=program.loops,
        max_pins=max_pins,
        budgets=frozenset(budgets),
    )
