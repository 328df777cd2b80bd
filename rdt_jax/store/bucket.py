"""A workdir in a bucket and a copy of it on this disk: what its store can do.

    with temporary_copy() as folder:
        bucket = Bucket.connect("gs://bucket/runs", folder)
        bucket.put("notes.txt", b"...")
        bucket.pull("notes.txt")  # is folder / "notes.txt" now

A store that does not answer is asked again, with growing waits, for as long as
`patience` says. store/bucket_sync.py trains packs in such a workdir.
"""

import contextlib
import dataclasses
import hashlib
import inspect
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from rdt_jax import machine
from rdt_jax.store import lease_files

PATIENCE_SECONDS = 600.0  # How long a store that does not answer is asked again.

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 8.0  # Seconds between two tries; they double.
_PERMANENT = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    PermissionError,
    TypeError,
)
_COPY, _LOCK = "rdt-copy-", "in-use.lock"

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Bucket:
    """A workdir in a bucket and its copy here; names are of files in the workdir."""

    fs: Any
    root: str
    workdir: pathlib.Path  # folder of the copy, of this process alone
    # receives one-line messages when the store does not answer, and when it does again
    log: Callable[[str], None] = lambda message: None
    # seconds for which it is asked again before `ConnectionError` is raised
    patience: float = PATIENCE_SECONDS

    @classmethod
    def connect(
        cls,
        url: str,
        workdir: pathlib.Path,
        *,
        log: Callable[[str], None] = lambda message: None,
        wait: bool = False,
    ) -> "Bucket":
        """Opens a workdir such as gs://bucket/runs and asks its store what is there.

        `url` is an address in any fsspec file system that can create files exclusively,
        `workdir` a folder that this process alone uses. With `wait` the store is known
        to be there, and waited for now, too.

        Raises:
          ValueError: if fsspec cannot open it, the store does not answer, has no such
            bucket or refuses us, or its file system cannot create a file only if it is
            not there.
        """
        import fsspec

        # File systems raise what they like: no credentials, protocol or library.
        try:
            fs, root = fsspec.core.url_to_fs(url)
        except Exception as error:
            raise _unopened(url, error) from error
        if not _creates_exclusively(fs):
            raise ValueError(
                f"The workdir {url}: fsspec's {type(fs).__name__} cannot create a file "
                "only if it is not there, so two workers could take one pack. Use a "
                "bucket (gs://, s3://) or a folder that all machines mount."
            )
        (workdir / "state").mkdir(parents=True, exist_ok=True)
        bucket = cls(fs, root.rstrip("/"), workdir, log)
        try:
            if wait:
                bucket._ask(bucket._look)
            else:
                bucket._look()
        except Exception as error:
            raise _unopened(url, error) from error
        return bucket

    def get(self, name: str) -> bytes:
        """Returns the content of a file."""
        return self._ask(lambda: self.fs.cat_file(self._path(name)))

    def put(self, name: str, content: bytes) -> None:
        """Writes a file, or replaces it."""
        self._ask(lambda: self.fs.pipe_file(self._path(name), content))

    def create(self, name: str, content: bytes) -> None:
        """Creates a file; FileExistsError if one is there with another content.

        Ours may be: the answer to a write that was done can be lost.
        """
        path = self._path(name)

        def create() -> None:
            try:
                self.fs.pipe_file(path, content, mode="create")
            # Stores refuse in ways of their own what is there already.
            except Exception as error:
                try:
                    there = self.fs.cat_file(path)
                except FileNotFoundError:
                    raise error from None
                if there != content:
                    raise FileExistsError(path) from error

        self._ask(create)

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._ask(lambda: self.fs.rm_file(self._path(name)))

    def exists(self, name: str) -> bool:
        """Says whether a file is there now."""
        path = self._path(name)

        def info() -> None:
            self.fs.invalidate_cache(path.rpartition("/")[0])
            self.fs.info(path)  # Not `exists`: that may take any error for a no.

        try:
            self._ask(info)
        except FileNotFoundError:
            return False
        return True

    def names_in(self, folder: str) -> Sequence[str]:
        """Returns the names in a folder; there are none in a folder that is missing."""
        return [entry["name"].rpartition("/")[2] for entry in self._entries(folder)]

    def files_in(self, folder: str) -> Iterator[str]:
        """Yields the names of all files in a folder and in the folders in it."""
        for entry in self._entries(folder):
            name = f"{folder}/{entry['name'].rpartition('/')[2]}"
            if entry["type"] == "directory":
                yield from self.files_in(name)
            else:
                yield name

    def marks(self) -> dict[str, str]:
        """Returns for each file of the workdir a hash of what the store tells of it.

        It is another one after the file was written again: stores tell the size with
        the time or a hash of the content.
        """

        def find() -> dict[str, dict[str, Any]]:
            self.fs.invalidate_cache(self.root)
            return self.fs.find(self.root, detail=True)

        return {
            path.removeprefix(f"{self.root}/"): _hash(told)
            for path, told in self._ask(find).items()
        }

    def pull(self, name: str) -> None:
        """Brings a file of the workdir here."""
        write_inside(self.workdir, name, self.get(name))

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _entries(self, folder: str) -> list[dict[str, Any]]:
        path = self._path(folder)

        def entries() -> list[dict[str, Any]]:
            self.fs.invalidate_cache(path)
            return self.fs.ls(path, detail=True)

        try:
            listed = self._ask(entries)
        except FileNotFoundError:
            return []
        for entry in listed:
            entry["name"] = entry["name"].rstrip("/")
        return [e for e in listed if e["name"] != path]  # Not a folder's own mark.

    def _look(self) -> None:
        """Asks the store what is in the workdir, or else in its bucket."""
        try:
            self.fs.ls(self.root, detail=False)
        except FileNotFoundError:  # Nothing is there yet, or there is no bucket.
            self.fs.ls(self.root.partition("/")[0], detail=False)

    def _ask(self, call: Callable[[], T]) -> T:
        """Calls the store, again and again while it does not answer."""
        begin, wait = time.monotonic(), _FIRST_WAIT
        while True:
            try:
                answer = call()
                break
            except Exception as error:  # File systems raise what they like.
                if _lasts(error):
                    raise
                if time.monotonic() + wait - begin > self.patience:
                    raise ConnectionError(
                        f"The store of {self.root} does not answer: {_line(error)}"
                    ) from error
                if wait == _FIRST_WAIT:
                    self.log(
                        f"The store of {self.root} does not answer: {_line(error)}. It "
                        f"is asked again for {self.patience / 60:g} minutes."
                    )
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
        if wait > _FIRST_WAIT:
            self.log(f"The store of {self.root} answers again.")
        return answer


@contextlib.contextmanager
def temporary_copy() -> Iterator[pathlib.Path]:
    """Yields a temporary folder for a copy; those of killed processes are removed."""
    for lock in pathlib.Path(tempfile.gettempdir()).glob(f"{_COPY}*/{_LOCK}"):
        with contextlib.suppress(OSError):  # Another user's, or removed by now.
            if not lease_files.is_locked(lock):
                shutil.rmtree(lock.parent)
    folder = pathlib.Path(tempfile.mkdtemp(prefix=_COPY))
    try:
        locks = machine.can_lock(folder)
        with lease_files.create_locked(folder / _LOCK, b"", locks):
            yield folder
    finally:
        # A thread may still write here. The lock goes last: by it the next one finds
        # what is left.
        for path in folder.iterdir():
            if path.name != _LOCK:
                shutil.rmtree(path, ignore_errors=True)
        if [path.name for path in folder.iterdir()] == [_LOCK]:
            shutil.rmtree(folder, ignore_errors=True)


def write_inside(folder: pathlib.Path, name: str, content: bytes) -> None:
    """Writes a file in a folder; ValueError if its name leads out of it."""
    if not stays_inside(name):
        raise ValueError(f"The name {name!r} leads out of the workdir.")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def stays_inside(name: str) -> bool:
    """Says whether a name is of something in the folder that it is read against."""
    return not {"", ".", ".."}.intersection(name.split("/"))


def _creates_exclusively(fs: Any) -> bool:
    """Says whether a file system creates exclusively itself; fsspec's own way races."""
    from fsspec.spec import AbstractFileSystem

    own = getattr(fs, "_pipe_file", None) or fs.pipe_file
    imitation = getattr(own, "__func__", None) is AbstractFileSystem.pipe_file
    return not imitation and "mode" in inspect.signature(own).parameters


def _hash(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(str(sorted(told.items())).encode()).hexdigest()


def _unopened(url: str, error: Exception) -> ValueError:
    hint = (
        " Buckets need the extra s3 or gcs: pip install -e '.[s3]' -c constraints.txt"
    ) * isinstance(error, ImportError)
    return ValueError(f"The workdir {url} cannot be opened: {_line(error)}.{hint}")


def _lasts(error: Exception) -> bool:
    """Says whether asking again would give the same error."""
    # s3fs and gcsfs pass on errors of credentials; gcsfs has an OSError for Forbidden.
    no_credentials = "Credentials" in type(error).__name__
    forbidden = str(error).startswith("Forbidden")
    return isinstance(error, _PERMANENT) or no_credentials or forbidden


def _line(error: Exception) -> str:
    return f"{' '.join(str(error).split())} ({type(error).__name__})"
