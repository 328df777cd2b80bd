"""One process at a time trains a pack, and one at a time a run, whatever its pack."""

import contextlib
import fcntl
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import IO

_PATIENCE_SECONDS = 0.2  # `is_held` holds for a moment what it looks at.


@contextlib.contextmanager
def hold(
    pack_folder: pathlib.Path, run_folders: Sequence[pathlib.Path] = ()
) -> Iterator[None]:
    """Holds a pack and its runs inside a `with`.

    The system frees them however this process ends.

    Args:
      pack_folder: made if it is not there.
      run_folders: of the pack's runs, with their config.json, which carries the lock.

    Raises:
      BlockingIOError: if another process holds the pack or one of the runs.
    """
    with contextlib.ExitStack() as stack:
        _lock(stack, pack_folder, run_folders, _PATIENCE_SECONDS)
        yield


def is_held(
    pack_folder: pathlib.Path, run_folders: Sequence[pathlib.Path] = ()
) -> bool:
    """Says whether a living process trains a pack, or one of its runs elsewhere."""
    with contextlib.ExitStack() as stack:
        try:
            _lock(stack, pack_folder, run_folders, 0)
        except BlockingIOError:
            return True
    return False


def _lock(stack: contextlib.ExitStack, pack_folder, run_folders, patience: float):
    """Locks a pack and its runs until the end of `stack`."""
    pack_folder.mkdir(parents=True, exist_ok=True)
    pack_lock = stack.enter_context((pack_folder / "lock").open("w"))
    locks = [(f"pack {pack_folder.name}", pack_lock)]
    for folder in run_folders:
        # Not for writing, but network file systems lock only what may be written.
        file = stack.enter_context((folder / "config.json").open("r+"))
        locks.append((f"run {folder.name}", file))
    give_up = time.monotonic() + patience
    for what, file in locks:
        while not _try(file):
            if time.monotonic() >= give_up:
                raise BlockingIOError(
                    f"Another process is training {what}; wait for it, or stop it."
                )
            time.sleep(0.01)


def _try(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
