"""A workdir in a bucket, in which packs are trained in a copy on this disk.

    with leases.Leases(InBucket(bucket)).acquire(pack, run_ids) as lease:
        lease.restore(log)  # the newest commit is in the copy now
        train_in(lease.view)
        lease.commit(step)

The files of leases are created in the bucket, exclusively. A commit is a checkpoint
with the records that it refers to, under the number of its lease:

    packs/<pack>/checkpoints/<lease>/<step>/   checkpoint/ runs/<run_id>/ commit.json

commit.json, with the SHA-256 of its files, is uploaded last; without it a step does not
count. Who goes on takes the newest commit of the newest lease that has one, so nothing
that a superseded holder still uploads is ever read.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence

from rdt_jax import config as configs
from rdt_jax.store import (
    checkpoint,
    commits,
    files,
    lease_files,
    leases,
    packs,
    records,
    run_folder,
)
from rdt_jax.store.bucket import Bucket, stays_inside, write_inside

_LEASE_FILE = re.compile(r"[^./]+\.\d+(\.end)?\.json")


@dataclasses.dataclass(frozen=True)
class InBucket:
    """A workdir in a bucket and its copy here, as of `lease_files.SharedWorkdir`."""

    bucket: Bucket

    is_copy = True
    locks = False

    @property
    def workdir(self) -> pathlib.Path:
        """The copy."""
        return self.bucket.workdir

    def refresh(self) -> None:
        """Brings what others have written into `state` of the copy."""
        state = self.bucket.workdir / "state"
        there = set(filter(_LEASE_FILE.fullmatch, self.bucket.names_in("state")))
        for path in state.glob("*.json"):
            if path.name not in there:
                path.unlink()
        for name in there:
            has_ended = name.removesuffix(".json") + ".end.json" in there
            is_final = name.endswith(".end.json") or has_ended
            if is_final and (state / name).exists():
                continue
            with contextlib.suppress(FileNotFoundError):
                self.bucket.pull(f"state/{name}")

    @contextlib.contextmanager
    def create(self, name: str, content: bytes) -> Iterator[lease_files.Rewrite]:
        """Creates a file and yields what rewrites it; FileExistsError if it exists."""
        self.bucket.create(f"state/{name}", content)
        yield functools.partial(self.write, name)

    def write(self, name: str, content: bytes) -> None:
        """Writes a file, or replaces it."""
        self.bucket.put(f"state/{name}", content)

    def remove(self, name: str) -> None:
        """Removes a file."""
        self.bucket.remove(f"state/{name}")

    def exists(self, name: str) -> bool:
        """Says whether a file exists now."""
        return self.bucket.exists(f"state/{name}")

    def newest_step(self, pack: str) -> int:
        """Returns the step of the newest commit of a pack; -1 without one."""
        return max((step for _, step in commits_in(self.bucket, pack)[-1:]), default=-1)

    def restore(self, lease: leases.Lease, log: Callable[[str], None]) -> None:
        """Makes the copy of a pack what its newest whole commit says.

        Without one the records here are emptied: the pack begins.
        """
        bucket, pack, runs = self.bucket, lease.pack, lease.runs
        local = bucket.workdir / "packs" / pack / "checkpoints"
        shutil.rmtree(local, ignore_errors=True)
        _adopt(bucket, pack, runs, log)
        for number, step in reversed(commits_in(bucket, pack)):
            folder = f"packs/{pack}/checkpoints/{number}/{step}"
            try:
                proof = bucket.get(f"{folder}/commit.json")
                read_file = lambda name, at=folder: bucket.get(f"{at}/{name}")
                contents = commits.read(proof, runs, read_file)
            except (FileNotFoundError, ValueError) as error:
                log(f"Commit {bucket.root}/{folder} cannot be used: {error}.")
                (local / f"{step}.damaged").mkdir(parents=True, exist_ok=True)
                continue
            for name, content in contents.items():
                kind, _, rest = name.partition("/")
                where = bucket.workdir if kind == "runs" else local / str(step)
                write_inside(where, rest, content)
            break
        else:
            for run in runs:
                for name in commits.RECORDS:
                    empty = "{}" if name.endswith(".json") else ""
                    write_inside(bucket.workdir, f"{run}/{name}", empty.encode())
        for run in runs:
            _restore_run(bucket, pack, run)

    def commit(self, lease: leases.Lease, step: int) -> None:
        """Uploads the checkpoint of a step and its records, then says so.

        Whether another process has taken over is asked last.
        """
        folder = f"packs/{lease.pack}/checkpoints/{lease.number}/{step}"
        files = {
            f"runs/{run}/{name}": self.workdir / run / name
            for run in lease.runs
            for name in commits.RECORDS
        }
        local = self.workdir / "packs" / lease.pack / "checkpoints" / str(step)
        files |= {
            f"checkpoint/{path.relative_to(local)}": path
            for path in sorted(local.rglob("*"))
            if path.is_file()
        }
        hashes = {}
        for name, path in files.items():
            content = path.read_bytes()
            hashes[name] = hashlib.sha256(content).hexdigest()
            self.bucket.put(f"{folder}/{name}", content)
        self.publish(lease.runs, lease.check)
        self.bucket.put(f"{folder}/commit.json", json.dumps(hashes).encode())
        self._remove_old_commits(lease.pack, lease.number)

    def publish(self, runs: Sequence[str], check: Callable[[], None]) -> None:
        """Uploads run folders, without pins that are there, and then statuses."""
        bucket = self.bucket
        for run in runs:
            folder = bucket.workdir / run
            for pin in sorted(run_folder.pins(folder)):
                if bucket.exists(f"{run}/transitions/{pin.name}/manifest.json"):
                    continue
                files = [path for path in pin.rglob("*") if path.is_file()]
                # The manifest last: a pin without it does not count.
                for path in sorted(files, key=lambda p: p.name == "manifest.json"):
                    name = str(path.relative_to(bucket.workdir))
                    bucket.put(name, path.read_bytes())
            for path in sorted((folder / "tensorboard").glob("*")):
                bucket.put(f"{run}/tensorboard/{path.name}", path.read_bytes())
            for name in (*commits.RECORDS, "config.json"):  # A run without it is none.
                bucket.put(f"{run}/{name}", (folder / name).read_bytes())
        check()
        self.tell(runs)

    def tell(self, runs: Sequence[str]) -> None:
        """Uploads the statuses of runs."""
        for run in runs:
            name = f"{run}/status.json"
            self.bucket.put(name, (self.workdir / name).read_bytes())

    def _remove_old_commits(self, pack: str, number: int) -> None:
        """Removes the commits up to a lease but the newest `checkpoint.KEEP`."""
        ours = [c for c in commits_in(self.bucket, pack) if c[0] <= number]
        for number, step in ours[: -checkpoint.KEEP]:
            old = f"packs/{pack}/checkpoints/{number}/{step}"
            try:
                names = json.loads(self.bucket.get(f"{old}/commit.json"))
            except ValueError:  # Damaged: nobody knows what is of it, so it stays.
                continue
            self.bucket.remove(f"{old}/commit.json")  # First, so that no half counts.
            for name in filter(stays_inside, names):
                self.bucket.remove(f"{old}/{name}")


def commits_in(bucket: Bucket, pack: str) -> list[tuple[int, int]]:
    """Returns (number of the lease, step) of the commits of a pack, the newest last."""
    folder = f"packs/{pack}/checkpoints"
    # Not `glob`: that of some file systems finds nothing where the store is away.
    return sorted(
        (int(number), int(step))
        for number in filter(str.isdecimal, bucket.names_in(folder))
        for step in filter(str.isdecimal, bucket.names_in(f"{folder}/{number}"))
        if bucket.exists(f"{folder}/{number}/{step}/commit.json")
    )


def pull_runs(bucket: Bucket, runs: Sequence[str]) -> None:
    """Brings the configs and statuses of those runs here that the bucket has.

    With the status of a run that is over come its records, which it tells of.
    """
    for run in runs:
        folder = bucket.workdir / run
        if not (folder / "config.json").exists():
            if not bucket.exists(f"{run}/config.json"):
                continue
            text = bucket.get(f"{run}/config.json").decode()
            run_folder.create(folder, configs.from_json(text))
        status = bucket.get(f"{run}/status.json")
        if status == (folder / "status.json").read_bytes():
            continue
        is_over = False
        with contextlib.suppress(ValueError, TypeError, KeyError):  # It is damaged.
            is_over = packs.is_final(json.loads(status))
        # It may have been given a larger budget since.
        for name in ("config.json", *commits.RECORDS) if is_over else ():
            with contextlib.suppress(FileNotFoundError):
                bucket.pull(f"{run}/{name}")
        write_inside(bucket.workdir, f"{run}/status.json", status)


def pull_begun(
    bucket: Bucket, runs: Sequence[str], budgets: Mapping[str, int] = {}
) -> None:
    """Brings here what `packs.began_in` asks of unfinished runs.

    Their statuses are here. `budgets` has the updates that are asked of them, where
    these are not their own.
    """
    InBucket(bucket).refresh()
    for run in runs:
        _pull_begun(bucket, run, besides=None, budget=budgets.get(run))


def _pull_begun(
    bucket: Bucket, run: str, *, besides: str | None, budget: int | None = None
) -> None:
    """Marks the pack that an unfinished run has a commit in, with all of its runs."""
    status = records.planned_status(bucket.workdir / run, budget=budget)
    pack = status["pack"]
    if pack in (None, besides) or status["state"] == "done":
        return
    folder = bucket.workdir / "packs" / pack
    if not folder.exists() and bucket.exists(f"packs/{pack}/runs.json"):
        names = json.loads(bucket.get(f"packs/{pack}/runs.json"))
        _adopt(bucket, pack, names, lambda message: None)
    if not folder.exists() and (newest := commits_in(bucket, pack)[-1:]):
        ((number, step),) = newest
        where = f"packs/{pack}/checkpoints/{number}/{step}/commit.json"
        names = commits.runs_in(json.loads(bucket.get(where)))
        if packs.pack_of(names) != pack:
            raise ValueError(
                f"{bucket.root}/{where} names other runs than those of its pack: "
                f"{', '.join(names)}."
            )
        pull_runs(bucket, names)
        # The step says enough: whoever goes on with the pack brings what is in it.
        (folder / "checkpoints" / str(step)).mkdir(parents=True)
        files.write_json(folder / "runs.json", names)


def _restore_run(bucket: Bucket, pack: str, run: str) -> None:
    """Brings the status of a run here and its parameters at transitions."""
    if bucket.exists(f"{run}/status.json"):
        if bucket.exists(f"{run}/config.json"):  # Its budget may be larger now.
            bucket.pull(f"{run}/config.json")
        bucket.pull(f"{run}/status.json")
        proven = records.planned_status(bucket.workdir / run).get("records")
        if proven and proven != records.proof(bucket.workdir / run):
            run_folder.reopen(bucket.workdir / run)  # After the commit it ended.
        _pull_begun(bucket, run, besides=pack)
    for pin in bucket.names_in(f"{run}/transitions"):
        folder = f"{run}/transitions/{pin}"
        if bucket.exists(f"{folder}/manifest.json"):  # Else it is half of one.
            for name in bucket.files_in(folder):
                bucket.pull(name)


def _adopt(
    bucket: Bucket, pack: str, runs: Sequence[str], log: Callable[[str], None]
) -> None:
    """Makes a commit of the newest checkpoint of a pack that was copied from a disk.

    It is of lease 0, which no process has. A pack that has commits needs none.
    """
    if commits_in(bucket, pack):
        return
    folder = f"packs/{pack}/checkpoints"
    steps = map(int, filter(str.isdecimal, bucket.names_in(folder)))
    for step in sorted(steps, reverse=True):
        if all(map(str.isdecimal, bucket.names_in(f"{folder}/{step}"))):
            continue  # It has the number of a lease, of which no commit is whole.
        try:
            contents, hashes = _read_disk(bucket, f"{folder}/{step}", runs)
        except (FileNotFoundError, ValueError, AttributeError) as error:
            log(f"Checkpoint {bucket.root}/{folder}/{step} cannot be used: {error}.")
            continue
        for name, content in contents.items():
            bucket.put(f"{folder}/0/{step}/{name}", content)
        proof = json.dumps(hashes).encode()
        bucket.put(f"{folder}/0/{step}/commit.json", proof)
        return


def _read_disk(
    bucket: Bucket, folder: str, runs: Sequence[str]
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Returns contents and hashes of a checkpoint from a disk, named as in a commit.

    Raises:
      FileNotFoundError: if a file is missing.
      ValueError: if a file is not what the manifest says, or that is damaged.
    """
    manifest = bucket.get(f"{folder}/manifest.json")
    expected = {f"checkpoint/{n}": sha for n, sha in json.loads(manifest).items()}
    paths = {f"runs/{r}/{n}": f"{r}/{n}" for r in runs for n in commits.RECORDS}
    paths |= {n: f"{folder}/{n.removeprefix('checkpoint/')}" for n in expected}
    contents = {name: bucket.get(path) for name, path in paths.items()}
    contents["checkpoint/manifest.json"] = manifest
    hashes = {n: hashlib.sha256(c).hexdigest() for n, c in contents.items()}
    if hashes | expected != hashes:
        raise ValueError("a file is not what manifest.json says")
    return contents, hashes
