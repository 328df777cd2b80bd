"""One process at a time trains a pack."""

import contextlib
import fcntl
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def hold(pack_folder: pathlib.Path) -> Iterator[None]:
    """Holds a pack inside a `with`; the system frees it however this process ends.

    Raises:
      BlockingIOError: if another process holds it.
    """
    pack_folder.mkdir(parents=True, exist_ok=True)
    with (pack_folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                f"Another process is training pack {pack_folder.name}; wait for it, or "
                "stop it."
            ) from error
        yield


def is_held(pack_folder: pathlib.Path) -> bool:
    """Says whether a living process trains a pack."""
    try:
        with hold(pack_folder):
            return False
    except BlockingIOError:
        return True
