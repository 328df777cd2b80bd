"""Trains a pack of runs: who may, from where, until when.

    config = configs.load("configs/modular.py:smoke")
    validation.check(config)
    [status] = run.train([config], pathlib.Path("runs"))

`train` is the page to read first. What a pack needs to go on is in its newest
checkpoint; its records are cut back to that step on resume, so a run that was killed
ends bit-identical to one that was not.
"""

import contextlib
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import ml_collections

from rdt_jax import config as run_config
from rdt_jax import tasks
from rdt_jax.store import environment, files, packs, records, run_folder
from rdt_jax.store.lease_files import Disk
from rdt_jax.store.leases import Lease, Leases
from rdt_jax.training import fit, lanes, phases, recording
from rdt_jax.training.multiprocess import Build
from rdt_jax.training.pack import Pack
from rdt_jax.training.pack import build as build_pack
from rdt_jax.training.session import Configs, Session

Status = dict[str, Any]  # As in status.json.


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """How a pack trains.

    Attributes:
      exact: whether lanes are bit for bit what solo runs are; see `pack`.
      max_pins: parameters that each run may keep at transitions, the first ones; None
        for all. Those of snapshots and at a run's end are always kept.
      budgets: further numbers of updates that somebody asks of these runs; their
        parameters are kept there as at the end.
      config_file: commit and hash of the file that the configs are from, as of
        `environment.of_files`; None where they are from no file.
      build: makes the compiled pack; for callers that keep it for later.
    """

    exact: bool = False
    max_pins: int | None = None
    budgets: Collection[int] = ()
    config_file: Mapping[str, Any] | None = None
    build: Build = build_pack


def train(
    configs: Sequence[ml_collections.ConfigDict],
    workdir: pathlib.Path,
    *,
    options: TrainOptions = TrainOptions(),
    leases: Leases | None = None,
    should_stop: Callable[[], int] = lambda: False,
    may_end: recording.MayEnd = contextlib.nullcontext,
    log: recording.Log = lambda message: print(message, file=sys.stderr),
) -> list[Status]:
    """Trains the lanes of a pack until each has passed its phases or spent its budget.

    The configs are checked already, and differ in their seed and LANE_KEYS only. Runs
    that have spent a smaller budget go on to theirs, and so do all others of their
    pack. Returns the status of each run, by ascending run id.

    If `should_stop`, which is called after every dispatch, returns true, the pack is
    checkpointed and its unfinished runs become `preempted`. `may_end` is a context in
    which this process may end, since nothing has been trained since the newest
    checkpoint; it calls its argument before that. By default the process ends nowhere
    but at its end.

    Raises:
      BlockingIOError: if another process trains this pack, or has taken it over.
      OSError: if the disk is full; the runs can be resumed.
      ValueError: if records are damaged anywhere but in their last line, or if one of
        the runs was trained in another pack.
    """
    # A pack is named by its runs in any order; this is the order of its lanes.
    configs = sorted(configs, key=run_config.run_id)
    run_ids, budget = [*map(run_config.run_id, configs)], configs[0].num_steps
    run_folder.check_version(workdir)
    for run_id, config in zip(run_ids, configs, strict=True):
        run_folder.create(workdir / run_id, config)
    if statuses := packs.if_over(workdir, run_ids, budget):
        return statuses
    leases = leases or Leases(Disk(workdir))
    if not leases.shared.is_copy:  # A copy may be behind.
        for run_id in run_ids:
            packs.check_kept(workdir, run_id, budget)
    with contextlib.ExitStack() as stack:
        with may_end(lambda: None):  # It may wait for another process.
            lease = stack.enter_context(leases.acquire(packs.pack_of(run_ids), run_ids))
        lease.restore(log)
        held = _HeldPack(workdir, configs, lease, log)
        if statuses := held.final_statuses():
            return statuses
        try:
            _fit(held, options, should_stop, may_end)
            lease.publish()
        except ConnectionError:  # The store is away; the lease is lost.
            raise
        except Exception as error:
            held.fail(error)
            raise
        return held.end()


@environment.pinned()
def _fit(
    held: "_HeldPack",
    options: TrainOptions,
    should_stop: Callable[[], int],
    may_end: recording.MayEnd,
) -> None:
    with contextlib.ExitStack() as stack:
        with may_end(held.leave):
            session, recorder = held.restore(options, lambda: may_end(held.leave))
            stack.callback(recorder.close)

        def stop() -> int:
            held.lease.check()
            return should_stop()

        fit.fit(session, hooks=recorder, should_stop=stop)


@dataclasses.dataclass(frozen=True)
class _HeldPack:
    """A pack under a lease of this process, read and written through its view."""

    workdir: pathlib.Path
    configs: Configs  # One for each lane, in their order.
    lease: Lease
    log: recording.Log

    @property
    def folders(self) -> list[pathlib.Path]:
        return [self.lease.view / run_id for run_id in self.lease.runs]

    def final_statuses(self) -> list[Status] | None:
        """Returns the statuses if every run is over by now, and ends the lease then."""
        run_ids, budget = self.lease.runs, self.configs[0].num_steps
        try:
            statuses = packs.if_over(self.workdir, run_ids, budget)
            if not statuses:
                for run_id in run_ids:
                    packs.check_kept(self.workdir, run_id, budget)
        except ValueError as error:
            self.lease.end("error", str(error), run_ids)
            raise
        if statuses:
            self.lease.end("over")
        return statuses

    def restore(
        self,
        options: TrainOptions,
        may_end: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> tuple[Session, recording.Recorder]:
        """Returns the session of the newest checkpoint, and what records it."""
        from rdt_jax.data import tfds_builders  # It takes 0.3 s; only training reads.

        folder, run_ids = self.lease.view / "packs" / self.lease.pack, self.lease.runs
        files.write_json(folder / "runs.json", run_ids)
        configs, log = self.configs, lambda message: self.log(self._in_workdir(message))
        for run_id in run_ids:
            records.check(self.workdir / run_id)
        table = tfds_builders.load_table(configs[0], self.workdir / "tables", log)
        make_pack = functools.partial(options.build, table=table, exact=options.exact)
        compiled = make_pack(configs)
        conditions: dict[str, Any] = {"exact": options.exact}
        if options.config_file:
            conditions["config_file"] = options.config_file
        recorder = recording.Recorder(
            folder,
            self.folders,
            table,
            conditions=conditions,
            commit=self.lease.commit,
            may_end=may_end,
            log=log,
        )
        awaited = _awaited(configs[0], table, compiled.local, options)
        return recorder.restore(configs, awaited, make_pack, compiled), recorder

    def leave(self) -> None:
        """Ends the lease of a pack that nothing was trained of since it was saved."""
        self.lease.check()
        unfinished = self._set_unfinished(state="preempted", reason=None)
        self.lease.shared.tell(self.lease.runs)
        self.lease.end("stopped", "", unfinished)

    def fail(self, error: Exception) -> None:
        """Ends the lease after an error, which the unfinished runs say."""
        self.lease.check()
        reason = "oom" if _is_out_of_memory(error) else "error"
        message = self._in_workdir(str(error))
        with contextlib.suppress(OSError):  # The disk may be what failed.
            unfinished = self._set_unfinished(
                state="failed", reason=reason, message=message
            )
            self.lease.publish()
            self.lease.end(reason, message, unfinished)

    def end(self) -> list[Status]:
        statuses = [run_folder.read_status(folder) for folder in self.folders]
        unfinished = [
            run_id
            for run_id, status in zip(self.lease.runs, statuses, strict=True)
            if not packs.is_final(status)
        ]
        self.lease.end("stopped" if unfinished else "done", "", unfinished)
        return statuses

    def _in_workdir(self, message: str) -> str:
        """Names paths as the user knows them, who sees no view."""
        return message.replace(str(self.lease.view), str(self.workdir))

    def _set_unfinished(self, **fields: Any) -> list[str]:
        """Sets fields of the statuses of runs that are not over; returns their ids."""
        unfinished = []
        for folder in self.folders:
            status = run_folder.read_status(folder)
            if not packs.is_final(status):
                unfinished.append(folder.name)
                files.write_json(folder / "status.json", status | fields)
        return unfinished


def _awaited(
    config: ml_collections.ConfigDict,
    table: tasks.Table,
    pack: Pack,
    options: TrainOptions,
) -> lanes.Awaited:
    rows = dict(zip(pack.groups, pack.group_sizes, strict=True))
    return lanes.Awaited(
        config=config,
        phases=phases.phases_of(config, table, rows, pack.stages.values),
        stages=pack.stages,
        groups=pack.groups,
        loops=pack.loops,
        max_pins=options.max_pins,
        budgets=frozenset(options.budgets),
    )


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
