"""What a pack leaves on the disk while it trains, and how it goes on from there.

A `Recorder` makes a session of the newest checkpoint of a pack. Then it is what `fit`
tells of all that happens: it writes rows, pins, statuses, checkpoints and numbers for
TensorBoard.
"""

import contextlib
import functools
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rdt_jax import tasks
from rdt_jax.store import (
    checkpoint,
    commits,
    environment,
    files,
    records,
    run_folder,
    tensorboard,
)
from rdt_jax.tasks import identity
from rdt_jax.training import hyper, lanes, multiprocess, phases, session
from rdt_jax.training.session import Progress, Session

Log = Callable[[str], None]
# A context in which the process may end; it calls its argument before that.
MayEnd = Callable[[Callable[[], None]], contextlib.AbstractContextManager[Any]]


class Recorder:
    """Writes what happens to a pack; the hooks of `fit` while it holds the lease."""

    def __init__(
        self,
        pack_folder: pathlib.Path,
        folders: Sequence[pathlib.Path],
        table: tasks.Table,
        *,
        conditions: Mapping[str, Any],
        commit: Callable[[int], None],
        may_end: Callable[[], contextlib.AbstractContextManager[None]],
        log: Log,
    ) -> None:
        """Prepares to record; nothing is written before `restore`.

        `folders` are the run folders of the lanes, in their order; `conditions` entries
        of environment.json beside those of `environment.segment`. `commit` is called
        with the step of each written checkpoint.
        """
        self._pack_folder, self._folders = pack_folder, folders
        self._table_hash = identity.hash_arrays(table)
        self._conditions, self._commit = conditions, commit
        self._may_end, self._log = may_end, log
        self._saved = 0  # Step of the newest checkpoint.
        self._newest: tuple[int, Progress] | None = None  # That was written here.
        self._boards: list[tensorboard.Writer] = []
        self._clock = _Clock()
        self._statuses = _Statuses(pack_folder, folders)

    def restore(
        self,
        configs: session.Configs,
        awaited: lanes.Awaited,
        make_pack: Callable[[session.Configs], multiprocess.AnyPack],
        pack: multiprocess.AnyPack,
    ) -> Session:
        """Returns the session of the newest checkpoint, or a new one without any.

        Records and statuses are cut back to it. The arguments are those of
        `session.start`. ValueError if a run was trained on another table than its task
        makes now, or its records are damaged anywhere but in their last line.
        """
        view, names = self._pack_folder.parents[1], [f.name for f in self._folders]
        commits.adopt(self._pack_folder, view, names, self._log)
        shapes = functools.partial(
            session.shapes_of_arrays, pack.local, hyper.make_lanes(configs)
        )
        newest = checkpoint.load_newest(
            self._pack_folder / "checkpoints", shapes, self._log, self._lost_rows
        )
        return self._begin(session.start(configs, awaited, make_pack, pack, newest))

    def _lost_rows(self, extra: Mapping[str, Any]) -> str | None:
        """Says which rows are gone that a checkpoint with an extra value counts on."""
        problems = (
            records.missing(folder, extra["evaluated"], lines)
            for folder, lines in zip(self._folders, extra["lines"], strict=True)
        )
        return next(filter(None, problems), None)

    def _begin(self, session: Session) -> Session:
        evaluated = session.progress.evaluated
        begins = evaluated < 0
        if not begins:
            for folder, config in zip(self._folders, session.configs, strict=True):
                environment.check_table(folder, self._table_hash, config)
        # Where a smaller budget ended, no lane was left to go on as a smaller pack.
        session = session.shrunk()
        lanes_now = zip(self._folders, session.progress.lanes, strict=True)
        for folder, lane in lanes_now:
            if lane["final"] is None:  # It may have ended after this checkpoint.
                run_folder.reopen(folder)
            run_folder.set_budget(folder, session.config.num_steps)
        self._write_environments(session, begins)
        for folder in self._folders:
            records.truncate(folder, evaluated)
        self._saved = session.step
        self._boards = [
            tensorboard.Writer(folder / "tensorboard", session.step + 1, self._log)
            for folder in self._folders
        ]
        return session

    def close(self) -> None:
        """Ends the files that are open."""
        for board in self._boards:
            board.close()

    def timed(self, purpose: str) -> contextlib.AbstractContextManager:
        """Returns a context that counts its seconds for timing.jsonl."""
        return self._clock.timed(purpose)

    def may_end(self, session: Session) -> contextlib.AbstractContextManager[None]:
        """Returns a context in which the process may end, if the session is saved."""
        is_saved = session.step == self._saved
        return self._may_end() if is_saved else contextlib.nullcontext()

    def evaluated(
        self, session: Session, observations: Mapping[int, lanes.Observation]
    ) -> None:
        """Writes rows, events and pins of the runs that were observed."""
        timing = {
            "step": session.step,
            "time": time.time(),
            "updates_per_second": session.rate,
            **self._clock.take(),
        }
        with self.timed("record"):
            for lane, observation in observations.items():
                folder, row = self._folders[lane], observation.row
                for pin in observation.pins:
                    path = folder / "transitions" / "-".join(map(str, pin))
                    params = session.params_at(pin.step, lane)
                    checkpoint.save(
                        path, params, {"step": pin.step, "event": pin.event}
                    )
                if row is not None:
                    records.append(
                        folder / "metrics.jsonl", {"step": session.step} | row
                    )
                    # Hundreds of breakdowns would take most of the time.
                    whole_splits = {k: x for k, x in row.items() if "[" not in k}
                    self._boards[lane].add(session.step, whole_splits)
                for event in observation.events:
                    records.append(folder / "events.jsonl", event)
                records.append(folder / "timing.jsonl", timing)

    def save(self, session: Session) -> None:
        """Writes the checkpoint of a session, once the records are on the disk.

        One that is there already is left alone: in a bucket it would be damaged while
        its files are written again.
        """
        if self._newest == (session.step, session.progress):
            return
        with self.timed("checkpoint"):
            arrays = session.arrays()
            for folder in self._folders:
                records.sync(folder)
            lines = [records.count(folder) for folder in self._folders]
            extra = {**vars(session.progress), "lines": lines}
            checkpoints = self._pack_folder / "checkpoints"
            checkpoint.save_rotating(checkpoints, session.step, arrays, extra)
            self._commit(session.step)
        self._saved = session.step
        self._newest = session.step, session.progress

    def shrunk(self, session: Session) -> None:
        """Notes in environment.json that fewer lanes share the pack."""
        self._write_environments(session, begins=False)

    def progressed(self, session: Session, state: str = "running") -> None:
        """Writes the statuses, now and then if nothing in them is new."""
        self._statuses.write(session, self._saved, state)

    def _write_environments(self, session: Session, begins: bool) -> None:
        shapes = session.progress.shapes
        now = environment.segment(
            session.configs[0],
            session.step,
            mesh=session.pack.local.axes._asdict(),
            **self._conditions,
        )
        for lane, folder in enumerate(self._folders):
            packing = {
                "pack": self._pack_folder.name,
                "lane": lane,
                "lanes": shapes[0][1],
                "shapes": shapes,
                "table": self._table_hash,
            }
            environment.write(folder, packing, now, begins, self._log)


class _Statuses:
    """Writes the statuses of a pack: what is new at once, progress now and then.

    New is a state, and a checkpoint, of whose step they tell: without it nobody would
    know later that one is gone. A status is on the disk when it is written, which takes
    some milliseconds: progress may take one part in `_SHARE` of the time.
    """

    _SHARE = 30

    def __init__(
        self, pack_folder: pathlib.Path, folders: Sequence[pathlib.Path]
    ) -> None:
        self._pack_folder, self._folders = pack_folder, folders
        self._written: tuple[list[str], int] = ([], 0)  # States, step saved.
        self._due = 0.0  # When progress may be written again, by the monotonic clock.
        self._proofs: dict[int, dict[str, Any]] = {}  # Of lanes that are over.

    def write(self, session: Session, saved: int, state: str) -> None:
        finals = [lane["final"] or {} for lane in session.progress.lanes]
        now = [final.get("state", state) for final in finals], saved
        begin = time.monotonic()
        if now == self._written and begin < self._due:
            return
        for index, folder in enumerate(self._folders):
            lane = session.progress.lanes[index]
            final = lane["final"] or {}
            if final and index not in self._proofs:
                self._proofs[index] = {"records": records.proof(folder)}
            status = {
                "state": state,
                "reason": None,
                "step": session.step,
                **final,
                "pack": self._pack_folder.name,
                "lane": index,
                "saved": saved,
                "evaluated": final.get("step", session.progress.evaluated),
                "num_steps": session.config.num_steps,
                "updates_per_second": session.rate,
                "phase": phases.reached(lane["detector"]),
                "accuracy": lanes.shown_accuracy(lane),
                **self._proofs.get(index, {}),
            }
            files.write_json(folder / "status.json", status)
        self._written = now
        end = time.monotonic()
        self._due = end + self._SHARE * (end - begin)


class _Clock:
    """Adds up wall seconds by what they were spent on."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def timed(self, purpose: str) -> Iterator[Callable[[], float]]:
        begin = time.perf_counter()
        elapsed = lambda: time.perf_counter() - begin
        yield elapsed
        name = f"{purpose}_seconds"
        self._seconds[name] = self._seconds.get(name, 0.0) + elapsed()

    def take(self) -> dict[str, float]:
        taken, self._seconds = self._seconds, {}
        return taken
