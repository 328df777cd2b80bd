"""Where claims lie: files that are created once, by one of all who try."""

import contextlib
import fcntl
import os
import pathlib
import platform
from collections.abc import Callable, Iterator, Sequence
from typing import IO, NamedTuple

from rdt_jax import machine as machines
from rdt_jax.store import records

Rewrite = Callable[[bytes], None]


class Shelf(NamedTuple):
    """Where the claims of a workdir lie that others share; names are files of `state`.

    Attributes:
      refresh: () -> None; brings what others have written into the workdir.
      create: (name, content) -> a context of a function that rewrites the file, which
        FileExistsError says is there already.
      write: (name, content) -> None; replaces a file.
      remove: name -> None.
      exists: name -> whether it is there now.
      locks: whether a claim stays locked as long as its process lives.
    """

    refresh: Callable[[], None]
    create: Callable[[str, bytes], contextlib.AbstractContextManager[Rewrite]]
    write: Callable[[str, bytes], None]
    remove: Callable[[str], None]
    exists: Callable[[str], bool]
    locks: bool


def own(folder: pathlib.Path) -> Shelf:
    """Returns the shelf of a folder on a file system; without locks leases tell all."""
    locks = machines.can_lock(folder)

    @contextlib.contextmanager
    def create(name: str, content: bytes) -> Iterator[Rewrite]:
        with _create_locked(folder / name, content, locks) as file:

            def rewrite(content: bytes) -> None:
                os.pwrite(file.fileno(), content, 0)

            yield rewrite

    return Shelf(
        refresh=lambda: None,
        create=create,
        write=lambda name, content: records.write_text(folder / name, content.decode()),
        remove=lambda name: (folder / name).unlink(),
        exists=lambda name: (folder / name).exists(),
        locks=locks,
    )


def _create_locked(path: pathlib.Path, content: bytes, locks: bool = True) -> IO[bytes]:
    """Creates a file, with its content and locked from the first moment.

    Raises:
      FileExistsError: if it is there.
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
    """Says whether the process that created a file of `own` is alive."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # It is locked, or cannot be any more: its lease tells.
        return True
    return False


def machine() -> str:
    """Names this machine since it was started: where a lock tells who is alive."""
    path = pathlib.Path("/proc/sys/kernel/random/boot_id")
    with contextlib.suppress(OSError):  # No Linux.
        return path.read_text().strip()
    return platform.node()


class Mirror(NamedTuple):
    """What a workdir on this disk is a copy of, for `loop.train`.

    Attributes:
      shelf: of the claims.
      newest: pack -> step of its newest checkpoint there; -1 without one.
      restore: (pack, runs, log) -> None; brings that checkpoint here with its
        records; `log` takes what is wrong with others.
      commit: (number of the attempt, pack, runs, step, check) -> None; brings the
        checkpoint of a step there, its records before it; `check` raises if the attempt
        is not the newest.
      publish: (runs, check) -> None; brings the run folders there, as they are.
      tell: runs -> None; brings their statuses there.
    """

    shelf: Shelf
    newest: Callable[[str], int]
    restore: Callable[[str, Sequence[str], Callable[[str], None]], None]
    commit: Callable[[int, str, Sequence[str], int, Callable[[], None]], None]
    publish: Callable[[Sequence[str], Callable[[], None]], None]
    tell: Callable[[Sequence[str]], None]
