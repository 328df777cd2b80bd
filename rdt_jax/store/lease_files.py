"""Where the files of leases lie: `state` of a workdir, on a disk or in a bucket."""

import contextlib
import dataclasses
import fcntl
import functools
import os
import pathlib
import platform
from collections.abc import Callable, Iterator
from typing import IO, Protocol

from rdt_jax import machine as machines
from rdt_jax.store import checkpoint, files

Rewrite = Callable[[bytes], object]


class LeaseFiles(Protocol):
    """The files of the leases of a workdir, as all who train in it see them."""

    @property
    def locks(self) -> bool:
        """Whether a file stays locked as long as the process that created it lives."""

    def refresh(self) -> None:
        """Brings what others have written into `state` of the workdir here."""

    def create(
        self, name: str, content: bytes
    ) -> contextlib.AbstractContextManager[Rewrite]:
        """Creates a file and yields what rewrites it; FileExistsError if it exists."""

    def write(self, name: str, content: bytes) -> None:
        """Writes a file, or replaces it."""

    def remove(self, name: str) -> None:
        """Removes a file."""

    def exists(self, name: str) -> bool:
        """Says whether a file exists now."""

    def newest_step(self, pack: str) -> int:
        """Returns the step of the newest checkpoint of a pack; -1 without one."""


@dataclasses.dataclass(frozen=True)
class DiskFiles:
    """The lease files of a workdir on a file system, locked where it has locks."""

    workdir: pathlib.Path

    @functools.cached_property
    def locks(self) -> bool:
        """Whether the file system has locks."""
        return machines.can_lock(self._folder)

    def refresh(self) -> None:
        """Does nothing: the folder is the one that all see."""

    @contextlib.contextmanager
    def create(self, name: str, content: bytes) -> Iterator[Rewrite]:
        """Creates a file that is locked in its context, and yields what rewrites it."""
        with create_locked(self._folder / name, content, self.locks) as file:
            # As long as the content before, and in the same file, which stays locked.
            yield lambda content: os.pwrite(file.fileno(), content, 0)

    def write(self, name: str, content: bytes) -> None:
        """Writes a file, or replaces it."""
        files.write_text(self._folder / name, content.decode())

    def remove(self, name: str) -> None:
        """Removes a file."""
        (self._folder / name).unlink()

    def exists(self, name: str) -> bool:
        """Says whether a file exists."""
        return (self._folder / name).exists()

    def newest_step(self, pack: str) -> int:
        """Returns the step of the newest checkpoint of a pack; -1 without one."""
        folder = self.workdir / "packs" / pack / "checkpoints"
        return max(checkpoint.steps_in(folder), default=-1)

    @property
    def _folder(self) -> pathlib.Path:
        return self.workdir / "state"


def create_locked(path: pathlib.Path, content: bytes, locks: bool = True) -> IO[bytes]:
    """Creates a file, with its content and locked from the first moment.

    Args:
      path: file to create.
      content: its first content.
      locks: whether the file system has locks.

    Returns:
      The open file; closing it gives up the lock.

    Raises:
      FileExistsError: if the file exists.
    """
    temporary = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.tmp")
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
