"""An attempt at training a pack: one at a time, and only the newest can write.

It begins by creating `state/<pack>.<number>.json` in the workdir, which fails if it is
there, and rewrites that file several times per lease. Who has seen the same bytes for
a whole lease, by its own clock that nobody sets, may begin the next attempt; two clocks
are never compared. On the owner's machine nobody waits for that, where the file system
has locks: the owner keeps its file locked, and a lock ends with its process.
`state/<pack>.<number>.end.json` says how an attempt ended; one without was lost.

An attempt writes through a view of the workdir, `packs/<pack>/attempt-<number>`, whose
links lead to the runs and the packs. The next attempt moves that away. From then on the
paths of the one before lead nowhere, wherever it had been held up, and the files that
it may have had open are those that `records.truncate` replaces.
"""

import contextlib
import errno
import json
import os
import pathlib
import platform
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from rdt_jax.store import checkpoint, records
from rdt_jax.store import shelf as shelves

LEASE_SECONDS = 60.0
LOST = "preempted"  # What became of an attempt that never said how it ended.
_BEATS = 4  # per lease; stores take one write of an object in about a second
_UNSUPPORTED = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)


class Past(NamedTuple):
    """What is known of an attempt that is over, or not under way any more.

    Attributes:
      number: from 1.
      step: of the newest checkpoint when it began; -1 without one.
      outcome: done, stopped (asked to), over (nothing was left), oom, error, or LOST.
      message: of the error, if any.
      unfinished: run ids that were not over when it ended.
    """

    number: int
    step: int
    outcome: str
    message: str
    unfinished: Sequence[str]


class Attempt(NamedTuple):
    """An attempt that is under way.

    Attributes:
      number: from 1.
      view: the workdir, as long as no other attempt has begun.
      check: () -> None; raises BlockingIOError once another attempt has begun.
      end: (outcome, message, unfinished) -> None; says how it ended, as of `Past`.
    """

    number: int
    view: pathlib.Path
    check: Callable[[], None]
    end: Callable[[str, str, Sequence[str]], None]


class Watch:
    """Remembers how claims looked, and since when: a live one changes."""

    def __init__(self) -> None:
        self._seen: dict[pathlib.Path, tuple[bytes, float, bool]] = {}

    def look(self, claim: pathlib.Path) -> str:
        """Returns alive, gone, or silent: it may be either."""
        content = _read(claim)
        if content is None:
            return "gone"
        value = _parse(content)
        here = value.get("machine") == shelves.machine()  # A claim that can be locked.
        if here and not shelves.is_locked(claim):
            return "gone"
        now = time.monotonic()
        before, since, moved = self._seen.get(claim, (content, now, False))
        if content != before:
            since, moved = now, True
        self._seen[claim] = (content, since, moved)
        if now - since >= value.get("lease", LEASE_SECONDS):
            return "gone"
        return "alive" if here or moved else "silent"


class Claim(NamedTuple):
    """An attempt that is under way, or may be.

    Attributes:
      pack: that is trained.
      runs: its runs.
      look: alive or silent, as of `Watch.look`.
    """

    pack: str
    runs: Sequence[str]
    look: str


class TakenOver(BlockingIOError):
    """Another attempt has begun, since this one was silent for its lease."""


def past(workdir: pathlib.Path, pack: str) -> list[Past]:
    """Returns the attempts at a pack, in order; the last one may be under way."""
    found: list[Past] = []
    while (claim := _read(_claim(workdir, pack, len(found) + 1))) is not None:
        number = len(found) + 1
        end = _parse(_read(_end(workdir, pack, number)) or b"")
        found.append(
            Past(
                number,
                _parse(claim).get("step", -1),
                end.get("outcome", LOST),
                end.get("message", ""),
                end.get("unfinished", []),
            )
        )
    return found


def under_way(workdir: pathlib.Path, watch: Watch) -> list[Claim]:
    """Returns the attempts of a workdir that have not ended.

    Those of other machines are among them until the watch has seen them for a lease.
    """
    names = {path.name for path in (workdir / "state").glob("*.json")}
    newest: dict[str, int] = {}
    for name in names:  # What else is there is of others.
        if parts := re.fullmatch(r"([^.]+)\.([1-9][0-9]*)\.json", name):
            newest[parts[1]] = max(newest.get(parts[1], 0), int(parts[2]))
    found = []
    for pack, last in newest.items():
        claim = _claim(workdir, pack, last)
        if _end(workdir, pack, last).name not in names:
            if (look := watch.look(claim)) != "gone":
                runs = _parse(_read(claim) or b"").get("runs", [])
                found.append(Claim(pack, runs, look))
    return found


def holder(claims: Sequence[Claim], pack: str, runs: Sequence[str]) -> Claim | None:
    """Returns the claim on a pack, or on one of its runs in another pack, if any."""
    taken = (c for c in claims if c.pack == pack or set(c.runs) & set(runs))
    return next(taken, None)


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


@contextlib.contextmanager
def hold(
    workdir: pathlib.Path,
    pack: str,
    runs: Sequence[str],
    *,
    lease: float = LEASE_SECONDS,
    watch: Watch | None = None,
    mirror: shelves.Mirror | None = None,
) -> Iterator[Attempt]:
    """Begins an attempt at a pack, which is under way inside a `with`.

    A claim of another machine that has not moved yet is waited for, at most its lease.

    Args:
      workdir: of the runs.
      pack: its name.
      runs: names of its runs, whose folders exist.
      lease: seconds without a sign of life after which others may take over.
      watch: that has been looking at the claims of this workdir.
      mirror: what the workdir is a copy of, where the claims are; None: of nothing.

    Raises:
      BlockingIOError: if another attempt trains the pack or one of the runs.
      ValueError: as `check_links`.
    """
    watch = watch or Watch()
    check_links(workdir)
    shelf = mirror.shelf if mirror else shelves.own(workdir / "state")
    records.tidy(workdir / "state")
    while True:
        shelf.refresh()
        # Before the look: a claim that it misses has this number, and is in the way.
        number = 1 + len(past(workdir, pack))
        other = holder(under_way(workdir, watch), pack, runs)
        if other is None:
            break
        if other.look == "alive":
            raise _refusal(other, pack, runs)
        time.sleep(lease / _BEATS / 2)
    claim, ending, next_ = (
        path.name
        for path in (
            _claim(workdir, pack, number),
            _end(workdir, pack, number),
            _claim(workdir, pack, number + 1),
        )
    )
    steps = checkpoint.steps_in(workdir / "packs" / pack / "checkpoints") or [-1]
    content = {
        "machine": shelves.machine() if shelf.locks else None,
        "host": platform.node(),
        "process": os.getpid(),
        "token": uuid.uuid4().hex,  # No two claims are alike.
        "lease": lease,
        "step": mirror.newest(pack) if mirror else steps[-1],
        "runs": list(runs),
    }

    taken = lambda: shelf.exists(next_)

    def check() -> None:
        if taken():
            why = f" ({failures[-1]})" if failures else ""
            raise TakenOver(
                f"Another process has taken over pack {pack}: this one gave no sign of "
                f"life for {lease:g} s{why}."
            )

    def end(outcome: str, message: str, unfinished: Sequence[str]) -> None:
        value = {"outcome": outcome, "message": message, "unfinished": [*unfinished]}
        shelf.write(ending, json.dumps(value).encode())

    with contextlib.ExitStack() as stack:
        try:
            rewrite = stack.enter_context(shelf.create(claim, _beat(content, 0)))
        except FileExistsError:
            raise _refusal(Claim(pack, runs, "alive"), pack, runs) from None
        failures = stack.enter_context(_beating(rewrite, content, taken))
        shelf.refresh()
        # Whoever shares a run and looked before this claim was there is seen now.
        others = [c for c in under_way(workdir, watch) if c.pack != pack]
        if other := holder(others, pack, runs):
            shelf.remove(claim)
            raise _refusal(other, pack, runs)
        view = _make_view(workdir, pack, number, runs)
        stack.callback(shutil.rmtree, view, ignore_errors=True)
        check()
        yield Attempt(number, view, check, end)


def _make_view(workdir: pathlib.Path, pack: str, number: int, runs) -> pathlib.Path:
    """Moves away the views of earlier attempts, and makes that of this one."""
    folder = workdir / "packs" / pack
    folder.mkdir(parents=True, exist_ok=True)
    view = folder / f"attempt-{number}"
    for other in folder.glob("attempt-*"):
        view_of = re.fullmatch(r"attempt-([1-9][0-9]*)", other.name)
        if view_of and int(view_of[1]) < number:
            with contextlib.suppress(FileNotFoundError):  # A later attempt did it.
                other.rename(folder / f"was-{other.name}-at-{number}")
    view.mkdir()
    for run in runs:
        (view / run).symlink_to(pathlib.Path("..", "..", "..", run))
    (view / "packs").symlink_to(pathlib.Path("..", ".."))
    for aside in folder.glob("was-attempt-*"):
        if re.fullmatch(r"was-attempt-[1-9][0-9]*-at-[1-9][0-9]*", aside.name):
            shutil.rmtree(aside, ignore_errors=True)
    return view


@contextlib.contextmanager
def _beating(
    rewrite: shelves.Rewrite, content: dict[str, Any], taken: Callable[[], bool]
) -> Iterator[Sequence[Exception]]:
    """Rewrites a claim several times per lease, from a thread, until it is taken.

    Yields what failed since it last went well; it is tried again the sooner.
    """
    stop, failures = threading.Event(), list[Exception]()
    pause = content["lease"] / _BEATS

    def beat() -> None:
        number = 0
        while not stop.wait(pause / _BEATS if failures else pause):
            number += 1
            try:
                if taken():
                    return
                rewrite(_beat(content, number))
                failures.clear()
            except Exception as error:  # File systems of buckets raise what they like.
                failures.append(error)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield failures
    finally:
        stop.set()
        thread.join(pause)  # It may be waiting for a store that is away.


def _beat(content: dict[str, Any], number: int) -> bytes:
    """Returns the text of a claim, equally long for every number."""
    return json.dumps(content | {"beat": f"{number:012}"}).encode() + b"\n"


def _claim(workdir: pathlib.Path, pack: str, number: int) -> pathlib.Path:
    return workdir / "state" / f"{pack}.{number}.json"


def _end(workdir: pathlib.Path, pack: str, number: int) -> pathlib.Path:
    return workdir / "state" / f"{pack}.{number}.end.json"


def _read(path: pathlib.Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _parse(content: bytes) -> dict[str, Any]:
    """Reads a claim or an end; what is half written says nothing."""
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _refusal(other: Claim, pack: str, runs: Sequence[str]) -> BlockingIOError:
    shared = set(other.runs) & set(runs)
    what = f"pack {pack}" if other.pack == pack else f"run {min(shared)}"
    return BlockingIOError(
        f"Another process is training {what}; wait for it, or stop it."
    )
