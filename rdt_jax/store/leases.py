"""Leases of packs: one process at a time trains a pack, and only the newest can write.

    with leases.Leases(Disk(workdir)).acquire(pack, run_ids) as lease:
        write_into(lease.view)  # the workdir, until another process takes over
        lease.check()  # raises TakenOver once one has
        lease.end("done")

A lease begins when its holder creates `state/<pack>.<number>.json` in the workdir,
which fails if the file exists. The holder rewrites the file several times per lease:
its heartbeat. A process that has seen the same bytes for `lease_seconds`, by its own
monotonic clock, may acquire the next lease. On the holder's own machine nobody waits
for that, where the file system has locks: a lock on the file ends with its process. The
file `state/<pack>.<number>.end.json` says how a lease ended; a lease without one was
lost.

A holder writes through a view of the workdir, `packs/<pack>/attempt-<number>`, whose
links lead to the runs and the packs. The next holder moves that folder away, so that
the paths of the holder before lead nowhere, wherever it had been held up (fencing), and
`records.truncate` replaces the files that it may have had open.
"""

import contextlib
import dataclasses
import errno
import functools
import json
import os
import pathlib
import platform
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self

from rdt_jax.store import lease_files
from rdt_jax.store.files import tidy

LEASE_SECONDS = 60.0
LOST = "preempted"  # Outcome of a lease whose holder never said how it ended.
_BEATS = 4  # per lease; stores take one write of an object in about a second
_UNSUPPORTED = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)


@dataclasses.dataclass(frozen=True)
class PastLease:
    """A lease as its files tell of it: over, lost, or (the newest one) under way."""

    number: int  # place among the leases of the pack, from 1
    step: int  # step of the newest checkpoint when the lease began; -1 without one
    # done, stopped (asked to), over (nothing was left), oom, error, or LOST
    outcome: str
    message: str
    unfinished: Sequence[str]  # run ids that were not over when it ended


@dataclasses.dataclass(frozen=True)
class Holder:
    """A process that holds a lease, or may hold one."""

    pack: str
    runs: Sequence[str]
    is_alive: bool  # whether it has given a sign of life; if not, it may be gone


class TakenOver(BlockingIOError):
    """Another process holds a newer lease, since this one was silent for its lease."""


class Observer:
    """Remembers how the files of leases looked, and since when.

    A live holder changes its file, so an observer tells after a lease who is gone.
    """

    def __init__(self) -> None:
        self._seen: dict[pathlib.Path, tuple[bytes, float, bool]] = {}

    def look(self, path: pathlib.Path) -> Literal["alive", "gone", "silent"]:
        """Says of the holder of a lease file what is known; silent: it may be gone."""
        content = _read(path)
        if content is None:
            return "gone"
        value = parse(content)
        is_here = value.get("machine") == lease_files.machine()  # Where locks tell.
        if is_here and not lease_files.is_locked(path):
            return "gone"
        now = time.monotonic()
        before, since, has_beaten = self._seen.get(path, (content, now, False))
        if content != before:
            since, has_beaten = now, True
        self._seen[path] = (content, since, has_beaten)
        if now - since >= value.get("lease", LEASE_SECONDS):
            return "gone"
        return "alive" if is_here or has_beaten else "silent"


class Heartbeat:
    """Rewrites the file of a lease from a thread, in a `with`, until it is taken over.

    A rewrite that fails is tried again sooner. `failures` has the errors since one last
    went well.
    """

    def __init__(
        self,
        rewrite: lease_files.Rewrite,
        content: Mapping[str, Any],
        is_taken_over: Callable[[], bool],
        stop: threading.Event | None = None,
    ) -> None:
        """Prepares the thread.

        It rewrites `content`, whose `lease` is in seconds, until `is_taken_over` says
        that another process holds a newer lease, or the event `stop` is set.
        """
        self.failures: list[Exception] = []
        self.is_taken_over = is_taken_over
        self._rewrite, self._content = rewrite, content
        self._pause = content["lease"] / _BEATS
        self._stop = stop or threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join(self._pause)  # It may be waiting for a store that is away.

    def _beat(self) -> None:
        number = 0
        while not self._stop.wait(
            self._pause / _BEATS if self.failures else self._pause
        ):
            number += 1
            try:
                if self.is_taken_over():
                    return
                self._rewrite(_lease_text(self._content, number))
                self.failures.clear()
            except Exception as error:  # File systems of buckets raise what they like.
                self.failures.append(error)


@dataclasses.dataclass(frozen=True)
class Lease:
    """A lease that this process holds."""

    pack: str
    runs: Sequence[str]
    number: int  # place among the leases of the pack, from 1
    view: pathlib.Path  # folder that is the workdir until another process takes over
    lease_seconds: float
    heartbeat: Heartbeat
    shared: lease_files.SharedWorkdir

    def check(self) -> None:
        """Raises TakenOver once another process has taken over."""
        if self.heartbeat.is_taken_over():
            failures = self.heartbeat.failures
            why = f" ({failures[-1]})" if failures else ""
            raise TakenOver(
                f"Another process has taken over pack {self.pack}: this one gave no "
                f"sign of life for {self.lease_seconds:g} s{why}."
            )

    def end(
        self, outcome: str, message: str = "", unfinished: Sequence[str] = ()
    ) -> None:
        """Says how the lease ended, as of `PastLease`."""
        value = {"outcome": outcome, "message": message, "unfinished": [*unfinished]}
        self.shared.write(_end_name(self.pack, self.number), json.dumps(value).encode())

    def restore(self, log: Callable[[str], None]) -> None:
        """Brings the newest checkpoint here, as of `SharedWorkdir.restore`."""
        self.shared.restore(self, log)

    def commit(self, step: int) -> None:
        """Brings the checkpoint of a step to others; TakenOver if the lease is lost."""
        self.check()
        self.shared.commit(self, step)

    def publish(self) -> None:
        """Brings the run folders to others, as they are."""
        self.shared.publish(self.runs, self.check)


@dataclasses.dataclass(frozen=True)
class Leases:
    """The leases of the packs of one workdir."""

    shared: lease_files.SharedWorkdir
    # without a sign of life of a holder, after which others take over
    lease_seconds: float = LEASE_SECONDS
    # memory of the signs of life of other holders
    observer: Observer = dataclasses.field(default_factory=Observer)

    @contextlib.contextmanager
    def acquire(self, pack: str, runs: Sequence[str]) -> Iterator[Lease]:
        """Acquires a lease of a pack, which this process holds inside a `with`.

        A holder on another machine that has not moved yet is waited for, for at most
        its lease. The folders of the runs must exist. BlockingIOError if another
        process trains the pack or one of the runs; ValueError as `check_links`.
        """
        shared, workdir = self.shared, self.shared.workdir
        check_links(workdir)
        tidy(workdir / "state")
        number = self._wait(pack, runs)
        name = _lease_name(pack, number)
        content = {
            "machine": lease_files.machine() if shared.locks else None,
            "host": platform.node(),
            "process": os.getpid(),
            "token": uuid.uuid4().hex,  # No two leases are alike.
            "lease": self.lease_seconds,
            "step": shared.newest_step(pack),
            "runs": list(runs),
        }
        is_taken_over = functools.partial(shared.exists, _lease_name(pack, number + 1))
        with contextlib.ExitStack() as stack:
            try:
                text = _lease_text(content, 0)
                rewrite = stack.enter_context(shared.create(name, text))
            except FileExistsError:
                raise _refusal(Holder(pack, runs, True), pack, runs) from None
            heartbeat = stack.enter_context(Heartbeat(rewrite, content, is_taken_over))
            shared.refresh()
            # Whoever shares a run and looked before our file was there is seen now.
            others = [h for h in holders(workdir, self.observer) if h.pack != pack]
            if other := holder_of(others, pack, runs):
                shared.remove(name)
                raise _refusal(other, pack, runs)
            view = _make_view(workdir, pack, number, runs)
            stack.callback(shutil.rmtree, view, ignore_errors=True)
            lease = Lease(
                pack, runs, number, view, self.lease_seconds, heartbeat, shared
            )
            lease.check()
            yield lease

    def _wait(self, pack: str, runs: Sequence[str]) -> int:
        """Waits until nobody may hold the pack; returns the number of the next lease.

        A live holder of the pack or of one of the runs refuses by BlockingIOError.
        """
        while True:
            self.shared.refresh()
            # Before the look: a lease that it misses has this number, so that creating
            # the file of ours fails.
            number = 1 + len(history(self.shared.workdir, pack))
            candidates = holders(self.shared.workdir, self.observer)
            other = holder_of(candidates, pack, runs)
            if other is None:
                return number
            if other.is_alive:
                raise _refusal(other, pack, runs)
            time.sleep(self.lease_seconds / _BEATS / 2)


def history(workdir: pathlib.Path, pack: str) -> list[PastLease]:
    """Returns the leases of a pack, in order; the last one may be under way."""
    state, past = workdir / "state", list[PastLease]()
    while (text := _read(state / _lease_name(pack, len(past) + 1))) is not None:
        number = len(past) + 1
        end = parse(_read(state / _end_name(pack, number)) or b"")
        past.append(
            PastLease(
                number,
                parse(text).get("step", -1),
                end.get("outcome", LOST),
                end.get("message", ""),
                end.get("unfinished", []),
            )
        )
    return past


def holders(workdir: pathlib.Path, observer: Observer) -> list[Holder]:
    """Returns who holds the leases of a workdir that have not ended.

    Holders on other machines are among them until the observer has seen their files
    unchanged for a lease.
    """
    state = workdir / "state"
    names = {path.name for path in state.glob("*.json")}
    newest: dict[str, int] = {}
    for name in names:  # Files with other names are not ours.
        if parts := re.fullmatch(r"([^.]+)\.([1-9][0-9]*)\.json", name):
            newest[parts[1]] = max(newest.get(parts[1], 0), int(parts[2]))
    found_holders = []
    for pack, number in newest.items():
        path = state / _lease_name(pack, number)
        if _end_name(pack, number) not in names:
            if (sign := observer.look(path)) != "gone":
                runs = parse(_read(path) or b"").get("runs", [])
                found_holders.append(Holder(pack, runs, sign == "alive"))
    return found_holders


def holder_of(
    candidates: Sequence[Holder], pack: str, runs: Sequence[str]
) -> Holder | None:
    """Returns the holder of a pack, or of one of its runs in another pack, if any."""
    shares = lambda holder: holder.pack == pack or set(holder.runs) & set(runs)
    return next(filter(shares, candidates), None)


def check_links(workdir: pathlib.Path) -> None:
    """Raises ValueError if the file system of a workdir has no symbolic links."""
    (workdir / "state").mkdir(parents=True, exist_ok=True)
    link = workdir / "state" / f".link.{platform.node()}.{os.getpid()}.tmp"
    try:
        link.symlink_to("nowhere")
    except FileExistsError:  # A kill left it.
        pass
    except OSError as error:
        if error.errno not in _UNSUPPORTED:  # The link is ours, the folder theirs.
            raise OSError(error.errno, error.strerror, str(link.parent)) from error
        raise ValueError(
            f"{workdir} must be on a file system with symbolic links, by which whoever "
            f"lost a pack is kept from writing, got {error.strerror!r}; choose another "
            "--workdir, or one in a bucket."
        ) from error
    link.unlink(missing_ok=True)


def _lease_name(pack: str, number: int) -> str:
    return f"{pack}.{number}.json"


def _end_name(pack: str, number: int) -> str:
    return f"{pack}.{number}.end.json"


def _lease_text(content: Mapping[str, Any], beat: int) -> bytes:
    """Returns the text of a lease file, equally long for every number of a beat."""
    return json.dumps({**content, "beat": f"{beat:012}"}).encode() + b"\n"


def parse(text: bytes) -> dict[str, Any]:
    """Reads the text of a lease or of its end; one that is half written is empty."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _make_view(
    workdir: pathlib.Path, pack: str, number: int, runs: Sequence[str]
) -> pathlib.Path:
    """Moves away the views of earlier leases, and makes that of this one."""
    folder = workdir / "packs" / pack
    folder.mkdir(parents=True, exist_ok=True)
    view = folder / f"attempt-{number}"
    for earlier in folder.glob("attempt-*"):
        view_of = re.fullmatch(r"attempt-([1-9][0-9]*)", earlier.name)
        if view_of and int(view_of[1]) < number:
            with contextlib.suppress(FileNotFoundError):  # A later holder did it.
                earlier.rename(folder / f"was-{earlier.name}-at-{number}")
    view.mkdir()
    for run in runs:
        (view / run).symlink_to(pathlib.Path("..", "..", "..", run))
    (view / "packs").symlink_to(pathlib.Path("..", ".."))
    for aside in folder.glob("was-attempt-*"):
        if re.fullmatch(r"was-attempt-[1-9][0-9]*-at-[1-9][0-9]*", aside.name):
            shutil.rmtree(aside, ignore_errors=True)
    return view


def _read(path: pathlib.Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _refusal(holder: Holder, pack: str, runs: Sequence[str]) -> BlockingIOError:
    shared_runs = set(holder.runs) & set(runs)
    what = f"pack {pack}" if holder.pack == pack else f"run {min(shared_runs)}"
    return BlockingIOError(
        f"Another process is training {what}; wait for it, or stop it."
    )
