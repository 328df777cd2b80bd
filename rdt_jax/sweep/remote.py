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
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from rdt_jax import config as configs
from rdt_jax.training import checkpoint, records
from rdt_jax.training import shelf as shelves

_RECORDS = ("metrics.jsonl", "events.jsonl", "timing.jsonl", "environment.json")
_ASK_SECONDS = 5.0  # Between two questions whether a sweep was stopped.


class Remote(NamedTuple):
    """A workdir in a bucket and its copy here.

    Attributes:
      fs: the fsspec file system.
      root: of the workdir in it.
      workdir: the copy, of this process alone.
    """

    fs: Any
    root: str
    workdir: pathlib.Path


def connect(url: str, workdir: pathlib.Path) -> Remote:
    """Opens a workdir such as gs://bucket/runs.

    Args:
      url: of any fsspec file system that can create files exclusively.
      workdir: an own folder of this process.

    Raises:
      ValueError: if fsspec cannot open it, or its file system cannot create a file only
        if it is not there.
    """
    import fsspec

    try:
        fs, root = fsspec.core.url_to_fs(url)
    # File systems raise what they like: no credentials, no such protocol, no library.
    except Exception as error:
        hint = " Buckets of Google need the extra gcs." * isinstance(error, ImportError)
        kind = type(error).__name__
        raise ValueError(
            f"The workdir {url} cannot be opened: {error} ({kind}).{hint}"
        ) from error
    if not _creates_exclusively(fs):
        raise ValueError(
            f"The workdir {url}: fsspec's {type(fs).__name__} cannot create a file "
            "only if it is not there, so two workers could take one pack. Use a bucket "
            "(gs://, s3://) or a folder that all machines mount."
        )
    (workdir / "state").mkdir(parents=True, exist_ok=True)
    return Remote(fs, root.rstrip("/"), workdir)


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
        for name in _RECORDS
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
        gone = f"{remote.root}/packs/{pack}/checkpoints/{attempt}/{old}"
        remote.fs.rm_file(f"{gone}/commit.json")  # First, so that no half counts.
        remote.fs.rm(gone, recursive=True)


def restore(
    remote: Remote,
    pack: str,
    runs: Sequence[str],
    report: Callable[[str], None],
) -> None:
    """Makes the copy of a pack what its newest whole commit says.

    Without one the records here are emptied: the pack begins. A commit that cannot be
    used is reported.
    """
    local = remote.workdir / "packs" / pack / "checkpoints"
    shutil.rmtree(local, ignore_errors=True)
    _adopt(remote, pack, runs, report)
    for number, step in reversed(_commits(remote, pack)):
        folder = f"packs/{pack}/checkpoints/{number}/{step}"
        try:
            found = _read_commit(remote, folder)
        except (FileNotFoundError, ValueError) as error:
            report(f"Commit {remote.root}/{folder} cannot be used: {error}.")
            (local / f"{step}.damaged").mkdir(parents=True, exist_ok=True)
            continue
        for name, content in found.items():
            kind, _, rest = name.partition("/")
            where = remote.workdir if kind == "runs" else local / str(step)
            _write(where / rest, content)
        break
    else:
        for run in runs:
            for name in _RECORDS:
                empty = "{}" if name.endswith(".json") else ""
                _write(remote.workdir / run / name, empty.encode())
    for run in runs:
        if _exists(remote, f"{run}/status.json"):
            status = _get(remote, f"{run}/status.json")
            _write(remote.workdir / run / "status.json", status)
            _pull_begun(remote, run, besides=pack)
        folder = f"{remote.root}/{run}/transitions"
        with contextlib.suppress(FileNotFoundError):
            for path in remote.fs.find(folder):
                rest = path.removeprefix(f"{remote.root}/")
                _write(remote.workdir / rest, remote.fs.cat_file(path))


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
        for name in _RECORDS:
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
            config = (remote.workdir / run / "config.json").read_bytes()
            _put(remote, f"{run}/config.json", config)
            continue
        status = json.loads(_get(remote, f"{run}/status.json"))
        if status["state"] not in ("running", "done"):
            _tell(remote, [run])
    for part in ("state/packs.json", "plan.json"):
        _put(remote, f"sweeps/{name}/{part}", (folder / part).read_bytes())
    if _exists(remote, f"sweeps/{name}/state/stop"):
        remote.fs.rm_file(f"{remote.root}/sweeps/{name}/state/stop")


def pull_sweep(remote: Remote, name: str) -> None:
    """Brings the plan of a sweep here, with the statuses of its runs and all claims.

    Raises:
      ValueError: if there is no such sweep.
    """
    folder = f"sweeps/{name}"
    if not _exists(remote, f"{folder}/plan.json"):
        raise ValueError(
            f"{remote.root}/{folder} has no plan.json; start it with `rdt sweep`."
        )
    for part in ("plan.json", "state/packs.json"):
        _write(remote.workdir / folder / part, _get(remote, f"{folder}/{part}"))
    pull_runs(remote, _runs_of(remote.workdir / folder))
    _shelf(remote).refresh()


def pull_runs(remote: Remote, runs: Sequence[str]) -> None:
    """Brings the configs and statuses of those runs here that the bucket has."""
    for run in runs:
        folder = remote.workdir / run
        if not (folder / "config.json").exists():
            if not _exists(remote, f"{run}/config.json"):
                continue
            text = _get(remote, f"{run}/config.json").decode()
            records.create(folder, configs.from_json(text))
        _write(folder / "status.json", _get(remote, f"{run}/status.json"))


def pull_begun(remote: Remote, runs: Sequence[str]) -> None:
    """Brings here what `membership.began_in` asks of unfinished runs.

    Args:
      remote: where from.
      runs: whose statuses are here.
    """
    _shelf(remote).refresh()
    for run in runs:
        _pull_begun(remote, run, besides=None)


def _pull_begun(remote: Remote, run: str, *, besides: str | None) -> None:
    """Marks the pack that an unfinished run has a commit in, with all of its runs."""
    status = records.read_status(remote.workdir / run)
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
    planned = records.read_json(folder / "plan.json")["runs"]
    packed = records.read_json(folder / "state" / "packs.json")
    runs = {run for entry in packed for run in entry["runs"]}
    return sorted(runs | {each["run_id"] for each in planned})


def _tell(remote: Remote, runs: Sequence[str]) -> None:
    for run in runs:
        status = (remote.workdir / run / "status.json").read_bytes()
        _put(remote, f"{run}/status.json", status)


def stop_requested(remote: Remote, name: str) -> Callable[[], bool]:
    """Returns a function that asks now and then whether a sweep is to stop."""
    asked, answer = -_ASK_SECONDS, False

    def ask() -> bool:
        nonlocal asked, answer
        if time.monotonic() - asked >= _ASK_SECONDS:
            asked = time.monotonic()
            answer = _exists(remote, f"sweeps/{name}/state/stop")
        return answer

    return ask


def _shelf(remote: Remote) -> shelves.Shelf:
    state = remote.workdir / "state"

    def refresh() -> None:
        there = {path.rpartition("/")[2] for path in _list(remote, "state")}
        for path in state.glob("*.json"):
            if path.name not in there:
                path.unlink()
        for name in there:
            ended = name.removesuffix(".json") + ".end.json" in there
            if (name.endswith(".end.json") or ended) and (state / name).exists():
                continue
            with contextlib.suppress(FileNotFoundError):
                _write(state / name, _get(remote, f"state/{name}"))

    @contextlib.contextmanager
    def create(name: str, content: bytes) -> Iterator[shelves.Rewrite]:
        path = f"{remote.root}/state/{name}"
        remote.fs.pipe_file(path, content, mode="create")
        yield lambda content: remote.fs.pipe_file(path, content)

    return shelves.Shelf(
        refresh=refresh,
        create=create,
        write=lambda name, content: _put(remote, f"state/{name}", content),
        remove=lambda name: remote.fs.rm_file(f"{remote.root}/state/{name}"),
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
    remote.fs.invalidate_cache()  # Of all the folders that the stars stand for.
    paths = remote.fs.glob(f"{remote.root}/packs/{pack}/checkpoints/*/*/commit.json")
    parts = [path.split("/")[-3:-1] for path in paths]
    return sorted((int(number), int(step)) for number, step in parts)


def _read_commit(remote: Remote, folder: str) -> dict[str, bytes]:
    found = {}
    for name, expected in json.loads(_get(remote, f"{folder}/commit.json")).items():
        found[name] = _get(remote, f"{folder}/{name}")
        if hashlib.sha256(found[name]).hexdigest() != expected:
            raise ValueError(f"{name} is not what commit.json says")
    return found


def _adopt(
    remote: Remote, pack: str, runs: Sequence[str], report: Callable[[str], None]
) -> None:
    """Makes a commit of the newest checkpoint of a pack that was copied from a disk.

    It is of attempt 0, which no process has. A pack that has commits needs none.
    """
    if _commits(remote, pack):
        return
    folder = f"packs/{pack}/checkpoints"
    names = lambda path: [each.rpartition("/")[2] for each in _list(remote, path)]
    for step in sorted(map(int, filter(str.isdecimal, names(folder))), reverse=True):
        if all(map(str.isdecimal, names(f"{folder}/{step}"))):
            continue  # It has the number of an attempt, of which no commit is whole.
        files = {f"runs/{r}/{n}": f"{r}/{n}" for r in runs for n in _RECORDS}
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
            report(f"Checkpoint {remote.root}/{folder}/{step} cannot be used: {error}.")
            continue
        for name, content in contents.items():
            _put(remote, f"{folder}/0/{step}/{name}", content)
        _put(remote, f"{folder}/0/{step}/commit.json", json.dumps(now).encode())
        return


def _list(remote: Remote, folder: str) -> list[str]:
    remote.fs.invalidate_cache(f"{remote.root}/{folder}")
    try:
        return remote.fs.ls(f"{remote.root}/{folder}", detail=False)
    except FileNotFoundError:
        return []


def _exists(remote: Remote, name: str) -> bool:
    path = f"{remote.root}/{name}"
    remote.fs.invalidate_cache(path.rpartition("/")[0])
    return remote.fs.exists(path)


def _get(remote: Remote, name: str) -> bytes:
    return remote.fs.cat_file(f"{remote.root}/{name}")


def _put(remote: Remote, name: str, content: bytes) -> None:
    remote.fs.pipe_file(f"{remote.root}/{name}", content)


def _write(path: pathlib.Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
