"""A workdir in a bucket: workers train in a copy on their own disk and upload.

Claims are created in the bucket, exclusively. A commit is a checkpoint with the records
that it refers to, under the number of its attempt:

    packs/<pack>/checkpoints/<attempt>/<step>/   checkpoint/ runs/<run_id>/ commit.json

Its files are uploaded whole, commit.json with their SHA-256 last; without it a step
does not count. Who goes on takes the newest commit of the newest attempt that has one,
so nothing that a superseded attempt still uploads is ever read. The run folders in the
bucket are for readers.
"""

import contextlib
import hashlib
import inspect
import json
import pathlib
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from rdt_jax import config as configs
from rdt_jax.store import checkpoint, membership, moved, records
from rdt_jax.store import shelf as shelves
from rdt_jax.sweep import ledger

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
_ASK_SECONDS = 5.0  # Between two questions whether a sweep was stopped.
_CLAIM = re.compile(r"[^./]+\.\d+(\.end)?\.json")

T = TypeVar("T")


class Remote(NamedTuple):
    """A workdir in a bucket and its copy here.

    Attributes:
      fs: the fsspec file system.
      root: of the workdir in it.
      workdir: the copy, of this process alone.
      log: takes that the store does not answer.
      patience: seconds for which it is asked again before `ConnectionError` is raised.
    """

    fs: Any
    root: str
    workdir: pathlib.Path
    log: Callable[[str], None] = lambda message: None
    patience: float = PATIENCE_SECONDS


def connect(
    url: str,
    workdir: pathlib.Path,
    *,
    log: Callable[[str], None] = lambda message: None,
    wait: bool = False,
) -> Remote:
    """Opens a workdir such as gs://bucket/runs and asks its store what is there.

    Args:
      url: of any fsspec file system that can create files exclusively.
      workdir: an own folder of this process.
      log: takes that the store does not answer, from now on.
      wait: whether that is waited for now, too: the store is known to be there.

    Raises:
      ValueError: if fsspec cannot open it, the store does not answer, has no such
        bucket or refuses us, or its file system cannot create a file only if it is not
        there.
    """
    import fsspec

    # File systems raise what they like: no credentials, no such protocol, no library.
    try:
        fs, root = fsspec.core.url_to_fs(url)
    except Exception as error:
        raise _unopened(url, error) from error
    if not _creates_exclusively(fs):
        raise ValueError(
            f"The workdir {url}: fsspec's {type(fs).__name__} cannot create a file "
            "only if it is not there, so two workers could take one pack. Use a bucket "
            "(gs://, s3://) or a folder that all machines mount."
        )
    (workdir / "state").mkdir(parents=True, exist_ok=True)
    remote = Remote(fs, root.rstrip("/"), workdir, log)
    try:
        if wait:
            _ask(remote, lambda: _look(remote))
        else:
            _look(remote)
    except Exception as error:
        raise _unopened(url, error) from error
    return remote


@contextlib.contextmanager
def scratch() -> Iterator[pathlib.Path]:
    """Yields a temporary folder for a copy; those of killed processes are removed."""
    for lock in pathlib.Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*/{_LOCK}"):
        with contextlib.suppress(OSError):  # Another user's, or removed by now.
            if not shelves.is_locked(lock):
                shutil.rmtree(lock.parent)
    folder = pathlib.Path(tempfile.mkdtemp(prefix=_SCRATCH))
    try:
        with shelves.own(folder).create(_LOCK, b""):
            yield folder
    finally:
        # A thread may still write here. The lock goes last: by it the next one finds
        # what is left.
        for path in folder.iterdir():
            if path.name != _LOCK:
                shutil.rmtree(path, ignore_errors=True)
        if [path.name for path in folder.iterdir()] == [_LOCK]:
            shutil.rmtree(folder, ignore_errors=True)


_SCRATCH, _LOCK = "rdt-copy-", "in-use.lock"


def mirror(remote: Remote) -> shelves.Mirror:
    """Returns what `loop.train` needs of a workdir in a bucket."""
    return shelves.Mirror(
        shelf=_shelf(remote),
        newest=lambda pack: max(
            (s for _, s in _commits(remote, pack)[-1:]), default=-1
        ),
        restore=lambda *arguments: restore(remote, *arguments),
        commit=lambda *arguments: commit(remote, *arguments),
        publish=lambda runs, check: publish(remote, runs, check),
        tell=lambda runs: _tell(remote, runs),
    )


def commit(
    remote: Remote,
    number: int,
    pack: str,
    runs: Sequence[str],
    step: int,
    check: Callable[[], None],
) -> None:
    """Uploads the checkpoint of a step and its records, then says that it is there.

    Args:
      remote: where to.
      number: of the attempt.
      pack: its name.
      runs: of the pack.
      step: of a checkpoint of the copy.
      check: raises if the attempt is not the newest; asked first and last.
    """
    check()
    folder = f"packs/{pack}/checkpoints/{number}/{step}"
    files = {
        f"runs/{run}/{name}": remote.workdir / run / name
        for run in runs
        for name in moved.RECORDS
    }
    local = remote.workdir / "packs" / pack / "checkpoints" / str(step)
    files |= {
        f"checkpoint/{path.relative_to(local)}": path
        for path in sorted(local.rglob("*"))
        if path.is_file()
    }
    hashes = {}
    for name, path in files.items():
        content = path.read_bytes()
        hashes[name] = hashlib.sha256(content).hexdigest()
        _put(remote, f"{folder}/{name}", content)
    publish(remote, runs, check)
    _put(remote, f"{folder}/commit.json", json.dumps(hashes).encode())
    ours = [each for each in _commits(remote, pack) if each[0] <= number]
    for attempt, old in ours[: -checkpoint.KEEP]:
        gone = f"packs/{pack}/checkpoints/{attempt}/{old}"
        try:
            names = json.loads(_get(remote, f"{gone}/commit.json"))
        except ValueError:  # Damaged: nobody knows what is of it, so it stays.
            continue
        _remove(remote, f"{gone}/commit.json")  # First, so that no half counts.
        for name in filter(moved.stays_inside, names):
            _remove(remote, f"{gone}/{name}")


def restore(
    remote: Remote,
    pack: str,
    runs: Sequence[str],
    log: Callable[[str], None],
) -> None:
    """Makes the copy of a pack what its newest whole commit says.

    Without one the records here are emptied: the pack begins. A commit that cannot be
    used is reported.
    """
    local = remote.workdir / "packs" / pack / "checkpoints"
    shutil.rmtree(local, ignore_errors=True)
    _adopt(remote, pack, runs, log)
    for number, step in reversed(_commits(remote, pack)):
        folder = f"packs/{pack}/checkpoints/{number}/{step}"
        try:
            found = _read_commit(remote, folder, runs)
        except (FileNotFoundError, ValueError) as error:
            log(f"Commit {remote.root}/{folder} cannot be used: {error}.")
            (local / f"{step}.damaged").mkdir(parents=True, exist_ok=True)
            continue
        for name, content in found.items():
            kind, _, rest = name.partition("/")
            where = remote.workdir if kind == "runs" else local / str(step)
            _write(where, rest, content)
        break
    else:
        for run in runs:
            for name in moved.RECORDS:
                empty = "{}" if name.endswith(".json") else ""
                _write(remote.workdir, f"{run}/{name}", empty.encode())
    for run in runs:
        if _exists(remote, f"{run}/status.json"):
            if _exists(remote, f"{run}/config.json"):  # Its budget may be larger now.
                _pull(remote, f"{run}/config.json")
            _pull(remote, f"{run}/status.json")
            proven = records.planned_status(remote.workdir / run).get("records")
            if proven and proven != records.proof(remote.workdir / run):
                records.reopen(remote.workdir / run)  # After the commit it ended.
            _pull_begun(remote, run, besides=pack)
        for pin in _list(remote, f"{run}/transitions"):
            folder = f"{run}/transitions/{pin}"
            if _exists(remote, f"{folder}/manifest.json"):  # Else it is half of one.
                for name in _files(remote, folder):
                    _pull(remote, name)


def publish(remote: Remote, runs: Sequence[str], check: Callable[[], None]) -> None:
    """Uploads run folders; pins that are there are left out."""
    for run in runs:
        folder = remote.workdir / run
        for pin in sorted(records.pins(folder)):
            if not _exists(remote, f"{run}/transitions/{pin.name}/manifest.json"):
                files = [path for path in pin.rglob("*") if path.is_file()]
                # The manifest last: a pin without it does not count.
                for path in sorted(files, key=lambda p: p.name == "manifest.json"):
                    name = f"{path.relative_to(remote.workdir)}"
                    _put(remote, name, path.read_bytes())
        for path in sorted((folder / "tensorboard").glob("*")):
            _put(remote, f"{run}/tensorboard/{path.name}", path.read_bytes())
        for name in (*moved.RECORDS, "config.json"):  # A run without it is none.
            _put(remote, f"{run}/{name}", (folder / name).read_bytes())
    check()
    _tell(remote, runs)


def push_plan(remote: Remote, name: str) -> None:
    """Uploads the plan of a sweep and the run folders that are not there.

    Statuses, which the plan may have changed, go with it, but of runs that are done or
    that somebody trains by now.
    """
    folder = remote.workdir / "sweeps" / name
    for run in _runs_of(folder):
        if not _exists(remote, f"{run}/config.json"):
            publish(remote, [run], lambda: None)
            continue
        with contextlib.suppress(ValueError):  # A damaged one stays as it is.
            status = json.loads(_get(remote, f"{run}/status.json"))
            if status["state"] not in ("running", "done"):
                _tell(remote, [run])
    for part in ("state/packs.json", "plan.json"):
        _put(remote, f"sweeps/{name}/{part}", (folder / part).read_bytes())
    _remove(remote, f"sweeps/{name}/state/stop")


def log_pusher(name: str) -> Callable[[Remote], None]:
    """Returns what uploads the logs of workers that were started here, as they grow.

    They are in `logs` of the sweep, in a folder named as the copy is.
    """
    sent: dict[pathlib.Path, bytes] = {}

    def push(remote: Remote) -> None:
        for path in (remote.workdir / "sweeps" / name / "state").glob("worker-*.log"):
            content = path.read_bytes()
            if sent.get(path) != content:
                where = f"sweeps/{name}/logs/{remote.workdir.name}/{path.name}"
                _put(remote, where, content)
                sent[path] = content

    return push


def pull_sweep(remote: Remote, name: str) -> None:
    """Brings the plan of a sweep here, with the statuses of its runs and all claims.

    Whether it is to stop comes with it.

    Raises:
      ValueError: if there is no such sweep.
    """
    folder = f"sweeps/{name}"
    if not _exists(remote, f"{folder}/plan.json"):
        raise ValueError(
            f"{remote.root}/{folder} has no plan.json; start it with `rdt sweep`."
        )
    for part in ("plan.json", "state/packs.json"):
        _pull(remote, f"{folder}/{part}")
    if _exists(remote, f"{folder}/state/stop"):
        ledger.request_stop(remote.workdir / folder)
    else:  # The copy may be of before.
        (remote.workdir / folder / "state" / "stop").unlink(missing_ok=True)
    pull_runs(remote, _runs_of(remote.workdir / folder))
    _shelf(remote).refresh()


def pull_runs(remote: Remote, runs: Sequence[str]) -> None:
    """Brings the configs and statuses of those runs here that the bucket has.

    With the status of a run that is over come its records, which it tells of.
    """
    for run in runs:
        folder = remote.workdir / run
        if not (folder / "config.json").exists():
            if not _exists(remote, f"{run}/config.json"):
                continue
            text = _get(remote, f"{run}/config.json").decode()
            records.create(folder, configs.from_json(text))
        status = _get(remote, f"{run}/status.json")
        if status == (folder / "status.json").read_bytes():
            continue
        is_over = False
        with contextlib.suppress(ValueError, TypeError, KeyError):  # It is damaged.
            is_over = membership.is_final(json.loads(status))
        # It may have been given a larger budget since.
        for name in ("config.json", *moved.RECORDS) if is_over else ():
            with contextlib.suppress(FileNotFoundError):
                _pull(remote, f"{run}/{name}")
        _write(remote.workdir, f"{run}/status.json", status)


def pull_begun(
    remote: Remote, runs: Sequence[str], budgets: Mapping[str, int] = {}
) -> None:
    """Brings here what `membership.began_in` asks of unfinished runs.

    Args:
      remote: where from.
      runs: whose statuses are here.
      budgets: updates that are asked of them, where these are not their own.
    """
    _shelf(remote).refresh()
    for run in runs:
        _pull_begun(remote, run, besides=None, budget=budgets.get(run))


def _pull_begun(
    remote: Remote, run: str, *, besides: str | None, budget: int | None = None
) -> None:
    """Marks the pack that an unfinished run has a commit in, with all of its runs."""
    status = records.planned_status(remote.workdir / run, budget=budget)
    pack = status["pack"]
    if pack in (None, besides) or status["state"] == "done":
        return
    folder = remote.workdir / "packs" / pack
    if not folder.exists() and _exists(remote, f"packs/{pack}/runs.json"):
        names = json.loads(_get(remote, f"packs/{pack}/runs.json"))
        _adopt(remote, pack, names, lambda message: None)
    if not folder.exists() and (commits := _commits(remote, pack)):
        number, step = commits[-1]
        where = f"packs/{pack}/checkpoints/{number}/{step}/commit.json"
        parts = [name.split("/") for name in json.loads(_get(remote, where))]
        names = sorted({part[1] for part in parts if part[0] == "runs"})
        if membership.pack_of(names) != pack:
            raise ValueError(
                f"{remote.root}/{where} names other runs than those of its pack: "
                f"{', '.join(names)}."
            )
        pull_runs(remote, names)
        # The step says enough: whoever goes on with the pack brings what is in it.
        (folder / "checkpoints" / str(step)).mkdir(parents=True)
        records.write_json(folder / "runs.json", names)


def has_sweep(remote: Remote, name: str) -> bool:
    """Says whether the bucket has a sweep's plan."""
    return _exists(remote, f"sweeps/{name}/plan.json")


def request_stop(remote: Remote, name: str) -> None:
    """Asks all workers of a sweep to checkpoint and end."""
    _put(remote, f"sweeps/{name}/state/stop", b"")


def _runs_of(folder: pathlib.Path) -> list[str]:
    """Returns the runs of a sweep's plan and of its packs."""
    packed = {run for entry in ledger.read_packs(folder) for run in entry["runs"]}
    return sorted(packed | {run_id for run_id, _ in ledger.read_plan(folder)})


def _tell(remote: Remote, runs: Sequence[str]) -> None:
    for run in runs:
        status = (remote.workdir / run / "status.json").read_bytes()
        _put(remote, f"{run}/status.json", status)


def stop_requested(remote: Remote, name: str) -> Callable[[], bool]:
    """Returns a function that asks now and then whether a sweep is to stop.

    It waits for no store that is away, so that a signal is heard.
    """
    asked, answer = -_ASK_SECONDS, False
    remote = remote._replace(patience=0.0)

    def ask() -> bool:
        nonlocal asked, answer
        if time.monotonic() - asked >= _ASK_SECONDS:
            asked = time.monotonic()
            with contextlib.suppress(ConnectionError):
                answer = _exists(remote, f"sweeps/{name}/state/stop")
        return answer

    return ask


def _shelf(remote: Remote) -> shelves.Shelf:
    state = remote.workdir / "state"

    def refresh() -> None:
        there = set(filter(_CLAIM.fullmatch, _list(remote, "state")))
        for path in state.glob("*.json"):
            if path.name not in there:
                path.unlink()
        for name in there:
            ended = name.removesuffix(".json") + ".end.json" in there
            if (name.endswith(".end.json") or ended) and (state / name).exists():
                continue
            with contextlib.suppress(FileNotFoundError):
                _pull(remote, f"state/{name}")

    @contextlib.contextmanager
    def create(name: str, content: bytes) -> Iterator[shelves.Rewrite]:
        _create(remote, f"state/{name}", content)
        yield lambda content: _put(remote, f"state/{name}", content)

    return shelves.Shelf(
        refresh=refresh,
        create=create,
        write=lambda name, content: _put(remote, f"state/{name}", content),
        remove=lambda name: _remove(remote, f"state/{name}"),
        exists=lambda name: _exists(remote, f"state/{name}"),
        locks=False,
    )


def _creates_exclusively(fs: Any) -> bool:
    """Says whether a file system creates exclusively itself; fsspec's own way races."""
    from fsspec.spec import AbstractFileSystem

    own = getattr(fs, "_pipe_file", None) or fs.pipe_file
    imitation = getattr(own, "__func__", None) is AbstractFileSystem.pipe_file
    return not imitation and "mode" in inspect.signature(own).parameters


def _commits(remote: Remote, pack: str) -> list[tuple[int, int]]:
    """Returns the (attempt, step) of the commits of a pack, the newest last."""
    folder = f"packs/{pack}/checkpoints"
    # Not `glob`: that of some file systems finds nothing where the store is away.
    found = [
        (int(number), int(step))
        for number in filter(str.isdecimal, _list(remote, folder))
        for step in filter(str.isdecimal, _list(remote, f"{folder}/{number}"))
        if _exists(remote, f"{folder}/{number}/{step}/commit.json")
    ]
    return sorted(found)


def _read_commit(remote: Remote, folder: str, runs: Sequence[str]) -> dict[str, bytes]:
    """Returns the files of a commit of these runs; ValueError if it is damaged."""
    hashes = json.loads(_get(remote, f"{folder}/commit.json"))
    moved.check_names(hashes, runs)
    found = {}
    for name, expected in hashes.items():
        found[name] = _get(remote, f"{folder}/{name}")
        if hashlib.sha256(found[name]).hexdigest() != expected:
            raise ValueError(f"{name} is not what commit.json says")
    return found


def _adopt(
    remote: Remote, pack: str, runs: Sequence[str], log: Callable[[str], None]
) -> None:
    """Makes a commit of the newest checkpoint of a pack that was copied from a disk.

    It is of attempt 0, which no process has. A pack that has commits needs none.
    """
    if _commits(remote, pack):
        return
    folder = f"packs/{pack}/checkpoints"
    names = lambda path: _list(remote, path)
    for step in sorted(map(int, filter(str.isdecimal, names(folder))), reverse=True):
        if all(map(str.isdecimal, names(f"{folder}/{step}"))):
            continue  # It has the number of an attempt, of which no commit is whole.
        files = {f"runs/{r}/{n}": f"{r}/{n}" for r in runs for n in moved.RECORDS}
        try:
            text = _get(remote, f"{folder}/{step}/manifest.json")
            hashes = {f"checkpoint/{n}": sha for n, sha in json.loads(text).items()}
            files |= {name: f"{folder}/{step}/{name[11:]}" for name in hashes}
            contents = {name: _get(remote, path) for name, path in files.items()}
            contents["checkpoint/manifest.json"] = text
            now = {n: hashlib.sha256(c).hexdigest() for n, c in contents.items()}
            if now | hashes != now:
                raise ValueError("a file is not what manifest.json says")
        except (FileNotFoundError, ValueError, AttributeError) as error:
            log(f"Checkpoint {remote.root}/{folder}/{step} cannot be used: {error}.")
            continue
        for name, content in contents.items():
            _put(remote, f"{folder}/0/{step}/{name}", content)
        _put(remote, f"{folder}/0/{step}/commit.json", json.dumps(now).encode())
        return


def _unopened(url: str, error: Exception) -> ValueError:
    hint = (
        " Buckets need the extra s3 or gcs: pip install -e '.[s3]' -c constraints.txt"
    ) * isinstance(error, ImportError)
    return ValueError(f"The workdir {url} cannot be opened: {_line(error)}.{hint}")


def _look(remote: Remote) -> None:
    """Asks the store what is in the workdir, or else in its bucket."""
    try:
        remote.fs.ls(remote.root, detail=False)
    except FileNotFoundError:  # Nothing is there yet, or there is no bucket.
        remote.fs.ls(remote.root.partition("/")[0], detail=False)


def _ask(remote: Remote, call: Callable[[], T]) -> T:
    """Calls the store, again and again while it does not answer.

    Raises:
      ConnectionError: if it did not answer for as long as we have patience.
    """
    begin, wait = time.monotonic(), _FIRST_WAIT
    while True:
        try:
            answer = call()
            break
        except Exception as error:  # File systems raise what they like.
            if _lasts(error):
                raise
            if time.monotonic() + wait - begin > remote.patience:
                raise ConnectionError(
                    f"The store of {remote.root} does not answer: {_line(error)}"
                ) from error
            if wait == _FIRST_WAIT:
                remote.log(
                    f"The store of {remote.root} does not answer: {_line(error)}. It "
                    f"is asked again for {remote.patience / 60:g} minutes."
                )
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT)
    if wait > _FIRST_WAIT:
        remote.log(f"The store of {remote.root} answers again.")
    return answer


def _lasts(error: Exception) -> bool:
    """Says whether asking again would give the same error."""
    # s3fs and gcsfs pass on errors of credentials; gcsfs has an OSError for Forbidden.
    no_credentials = "Credentials" in type(error).__name__
    forbidden = str(error).startswith("Forbidden")
    return isinstance(error, _PERMANENT) or no_credentials or forbidden


def _line(error: Exception) -> str:
    return f"{' '.join(str(error).split())} ({type(error).__name__})"


def _create(remote: Remote, name: str, content: bytes) -> None:
    """Creates a file; FileExistsError if one is there with another content.

    Ours may be: the answer to a write that was done can be lost.
    """
    path = f"{remote.root}/{name}"

    def create() -> None:
        try:
            remote.fs.pipe_file(path, content, mode="create")
        # Stores refuse in ways of their own what is there already.
        except Exception as error:
            try:
                there = remote.fs.cat_file(path)
            except FileNotFoundError:
                raise error from None
            if there != content:
                raise FileExistsError(path) from error

    _ask(remote, create)


def _list(remote: Remote, folder: str) -> list[str]:
    """Returns the names in a folder."""
    return [entry["name"].rpartition("/")[2] for entry in _entries(remote, folder)]


def _entries(remote: Remote, folder: str) -> list[dict[str, Any]]:
    path = f"{remote.root}/{folder}"

    def entries() -> list[dict[str, Any]]:
        remote.fs.invalidate_cache(path)
        return remote.fs.ls(path, detail=True)

    try:
        found = _ask(remote, entries)
    except FileNotFoundError:
        return []
    for entry in found:
        entry["name"] = entry["name"].rstrip("/")
    return [entry for entry in found if entry["name"] != path]  # A folder's own mark.


def _files(remote: Remote, folder: str) -> Iterator[str]:
    """Yields the names of all files in a folder and in those in it."""
    for entry in _entries(remote, folder):
        name = f"{folder}/{entry['name'].rpartition('/')[2]}"
        if entry["type"] == "directory":
            yield from _files(remote, name)
        else:
            yield name


def _exists(remote: Remote, name: str) -> bool:
    path = f"{remote.root}/{name}"

    def info() -> None:
        remote.fs.invalidate_cache(path.rpartition("/")[0])
        remote.fs.info(path)  # Not `exists`: that may take any error for a no.

    try:
        _ask(remote, info)
    except FileNotFoundError:
        return False
    return True


def _get(remote: Remote, name: str) -> bytes:
    return _ask(remote, lambda: remote.fs.cat_file(f"{remote.root}/{name}"))


def _put(remote: Remote, name: str, content: bytes) -> None:
    _ask(remote, lambda: remote.fs.pipe_file(f"{remote.root}/{name}", content))


def _remove(remote: Remote, name: str) -> None:
    """Removes a file, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        _ask(remote, lambda: remote.fs.rm_file(f"{remote.root}/{name}"))


def _pull(remote: Remote, name: str) -> None:
    """Brings a file of the workdir here."""
    _write(remote.workdir, name, _get(remote, name))


def _write(folder: pathlib.Path, name: str, content: bytes) -> None:
    """Writes a file in a folder; ValueError if its name leads out of it."""
    if not moved.stays_inside(name):
        raise ValueError(f"The name {name!r} leads out of the workdir.")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
