"""Where a workdir lies, and with it the files of leases: on a disk or in a bucket."""

import contextlib
import dataclasses
import fcntl
import functools
import os
import pathlib
import platform
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, Protocol

from rdt_jax import machine as machines
from rdt_jax.store import checkpoint, files

if TYPE_CHECKING:
    from rdt_jax.store.leases import Lease

Rewrite = Callable[[bytes], object]


class SharedWorkdir(Protocol):
    """A workdir as all who train in it see it: on a disk, or in a bucket.

    A bucket is read and written through a copy here, which `restore` brings up to date
    and the methods below it upload; on a disk there is nothing to bring.
    """

    @property
    def workdir(self) -> pathlib.Path:
        """The workdir here."""

    @property
    def is_copy(self) -> bool:
        """Whether it is a copy, which may be behind until `restore`."""

    @property
    def locks(self) -> bool:
        """Whether a file stays locked as long as the process that created it lives."""

    def refresh(self) -> None:
        """Brings what others have written into `state` of the workdir here."""

    def create(
        self, name: str, content: bytes
    ) -> contextlib.AbstractContextManager[Rewrite]:
        """Creates a file in `state` and yields what rewrites it.

        FileExistsError if it exists.
        """

    def write(self, name: str, content: bytes) -> None:
        """Writes a file in `state`, or replaces it."""

    def remove(self, name: str) -> None:
        """Removes a file from `state`."""

    def exists(self, name: str) -> bool:
        """Says whether a file exists in `state` now."""

    def newest_step(self, pack: str) -> int:
        """Returns the step of the newest checkpoint of a pack; -1 without one."""

    def restore(self, lease: "Lease", log: Callable[[str], None]) -> None:
        """Brings the newest checkpoint of a pack here, with the records of its runs.

        `log` receives one-line messages about checkpoints that cannot be used.
        """

    def commit(self, lease: "Lease", step: int) -> None:
        """Brings the checkpoint of a step to others, its records before it."""

    def publish(self, runs: Sequence[str], check: Callable[[], None]) -> None:
        """Brings run folders to others, their statuses last, after a `check`."""

    def tell(self, runs: Sequence[str]) -> None:
        """Brings the statuses of runs to others."""


@dataclasses.dataclass(frozen=True)
class Disk:
    """A workdir on a file system, with locked files where it has locks."""

    workdir: pathlib.Path

    is_copy = False

    @functools.cached_property
    def locks(self) -> bool:
        """Whether the file system has locks."""
        return machines.can_lock(self._state)

    def refresh(self) -> None:
        """Does nothing: the folder is the one that all see."""

    @contextlib.contextmanager
    def create(self, name: str, content: bytes) -> Iterator[Rewrite]:
        """Creates a file that is locked in its context, and yields what rewrites it."""
        with create_locked(self._state / name, content, self.locks) as file:
            # As long as the content before, and in the same file, which stays locked.
            yield lambda content: os.pwrite(file.fileno(), content, 0)

    def write(self, name: str, content: bytes) -> None:
        """Writes a file, or replaces it."""
        files.write_text(self._state / name, content.decode())

    def remove(self, name: str) -> None:
        """Removes a file."""
        (self._state / name).unlink()

    def exists(self, name: str) -> bool:
        """Says whether a file exists."""
        return (self._state / name).exists()

    def newest_step(self, pack: str) -> int:
        """Returns the step of the newest checkpoint of a pack; -1 without one."""
        folder = self.workdir / "packs" / pack / "checkpoints"
        return max(checkpoint.steps_in(folder), default=-1)

    @property
    def _state(self) -> pathlib.Path:
        return self.workdir / "state"

    def _nothing(self, *arguments: Any, **named: Any) -> None:
        """Brings nothing: the workdir is where all read."""

    restore = commit = publish = tell = _nothing


def create_locked(path: pathlib.Path, content: bytes, locks: bool = True) -> IO[bytes]:
    """Creates a file, with its content and locked from the first moment.

    Returns the open file; closing it gives up the lock. FileExistsError if it exists.
    """
    temporary = files.temporary_of(path)
    file = temporary.open("w+b", buffering=0)
    try:
        file.write(content)
        if locks:
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # A file system without links.
            file.close()
            file = path.open("x+b", buffering=0)
            if locks:
                fcntl.flock(file, fcntl.LOCK_EX)
            file.write(content)
    except BaseException:
        file.close()
        raise
    finally:
        temporary.unlink()
    return file


def is_locked(path: pathlib.Path) -> bool:
    """Says whether the process that created a file by `create_locked` is alive."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # It is locked, or cannot be any more: its heartbeat tells.
        return True
    return False


def machine() -> str:
    """Names this machine since it was started: where a lock tells who is alive."""
    path = pathlib.Path("/proc/sys/kernel/random/boot_id")
    with contextlib.suppress(OSError):  # No Linux.
        return path.read_text().strip()
    return platform.node()
