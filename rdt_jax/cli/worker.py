"""`rdt worker`: trains the free packs of a sweep, beside other workers."""

import argparse
import contextlib
import math
import os
import pathlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from rdt_jax.cli import exits, ranks, stopping, subject, supervisor
from rdt_jax.cli import options as shared
from rdt_jax.sweep import plan as plans

if TYPE_CHECKING:
    from rdt_jax.training import multiprocess


def add(worker: argparse.ArgumentParser) -> None:
    """Adds the options of `rdt worker`."""
    subject.add(worker)
    worker.add_argument(
        "--scratch",
        type=pathlib.Path,
        help="with a workdir in a bucket: where to train; default: a temporary folder",
    )
    worker.add_argument("--parent", type=int, help="stop once this process is gone")
    shared.add_mesh(worker, "one device")
    add_lease(worker)
    ranks.add(worker)
    worker.set_defaults(verb=_worker, check=_check)


def add_lease(parser: argparse.ArgumentParser) -> None:
    """Adds --lease, which `check_lease` checks."""
    parser.add_argument(
        "--lease",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="without a sign of life after which a worker loses its pack; default: 60",
    )


def check_lease(options: argparse.Namespace, where: object) -> None:
    """Raises ValueError if --lease is out of range for a workdir or a sweep in one."""
    # A heartbeat comes four times per lease; a bucket takes a write every few seconds.
    minimum = 10 if shared.is_url(where) else 1
    if not minimum <= options.lease < math.inf:
        unit = "second" if minimum == 1 else "seconds with a workdir in a bucket"
        raise ValueError(
            f"--lease must be at least {minimum} {unit}, got {options.lease:g}."
        )


def _worker(options: argparse.Namespace) -> int:
    with exits.mistakes():
        job = _job(options)
        if options.scratch is not None:
            _mark_scratch(options.scratch, options.folder.rpartition("/sweeps/")[0])
    shared.use_compile_cache()
    if job is not None and not supervisor.is_child():
        return supervisor.run([sys.executable, "-m", "rdt_jax", *options.arguments])
    if options.mesh is None:
        from rdt_jax.training import pack

        return _worker_here(options, pack.build)

    from rdt_jax import sharding

    with exits.mistakes():
        axes = sharding.parse(options.mesh)

    def check() -> None:  # The plan of a sweep in a bucket is not here yet.
        if not shared.is_url(options.folder):
            _check_mesh(options.mesh, pathlib.Path(options.folder))

    return ranks.run(job, axes, lambda build: _worker_here(options, build), check)


def _check(options: argparse.Namespace) -> None:
    """Raises ValueError if an option is wrong on any machine."""
    from rdt_jax import sharding

    _job(options)
    if options.mesh is not None:
        sharding.parse(options.mesh)


def _job(options: argparse.Namespace) -> ranks.Job | None:
    """Returns the job of a worker; sets `options.folder` to that of the sweep."""
    if options.subject is None or subject.kind_of(options) not in (subject.SWEEP, ""):
        options.folder = subject.folder_of(options)
    else:
        subject.refuse(options, ("preset", "workdir"), "the folder of a sweep")
        options.folder = options.subject
    _check_folder(options)
    check_lease(options, options.folder)
    if options.mesh is not None:
        return ranks.job_of(options)
    for name in ranks.Job._fields:
        if getattr(options, name) is not None:
            raise ValueError(
                f"--{name.replace('_', '-')} of a worker needs the --mesh of all "
                "processes, as in --mesh=data=2,model=2; got none."
            )
    return None


def _check_folder(options: argparse.Namespace) -> None:
    """Raises ValueError if the name of the folder cannot be that of a sweep."""
    in_bucket = shared.is_url(options.folder)
    if in_bucket:
        parts = options.folder.rstrip("/").split("/")
    else:
        parts = pathlib.Path(options.folder).resolve().parts
    if "sweeps" not in parts[-2:-1]:
        raise ValueError(
            "The folder of a sweep is WORKDIR/sweeps/NAME, as `rdt sweep --plan` "
            f"prints it, got {options.folder!r}."
        )
    if options.scratch is not None and not in_bucket:
        raise ValueError("--scratch goes with a workdir in a bucket.")


def _mark_scratch(scratch: pathlib.Path, url: str) -> None:
    """Marks a folder as a copy of a bucket; ValueError if it has other files."""
    scratch.mkdir(parents=True, exist_ok=True)
    mark = scratch / "copy-of"
    if any(scratch.iterdir()) and not (mark.is_file() and mark.read_text() == url):
        raise ValueError(
            f"--scratch must be empty, or where a worker trained {url} before, since "
            f"a worker replaces what it finds there; got {scratch}."
        )
    mark.write_text(url)


def _check_mesh(text: str, folder: pathlib.Path) -> None:
    """Raises ValueError if a mesh cannot train the trials of a sweep, done ones too."""
    from rdt_jax import sharding
    from rdt_jax.sweep import packing

    configs = [*plans.read(folder).configs().values()]
    packing.check_mesh(sharding.parse(text), configs, folder.name)


def _worker_here(options: argparse.Namespace, build: "multiprocess.Build") -> int:
    from rdt_jax.store.bucket import temporary_copy

    with contextlib.ExitStack() as stack:
        folder, url = pathlib.Path(options.folder).resolve(), None
        if shared.is_url(options.folder):
            scratch = options.scratch or stack.enter_context(temporary_copy())
            url, _, name = options.folder.rstrip("/").rpartition("/sweeps/")
            folder = scratch.resolve() / "sweeps" / name
        return _work(options, folder, url, build, stack.close)


def _work(
    options: argparse.Namespace,
    folder: pathlib.Path,
    url: str | None,
    build: "multiprocess.Build",
    clear: Callable[[], None],
) -> int:
    """Trains packs of a sweep until none is left; returns the exit code."""
    from rdt_jax.store.bucket import Bucket
    from rdt_jax.store.bucket_sync import InBucket
    from rdt_jax.store.lease_files import Disk
    from rdt_jax.store.leases import Leases
    from rdt_jax.sweep import ledger, worker
    from rdt_jax.sweep.bucket_sweep import BucketSweep, StopRequest

    leases = Leases(Disk(folder.parents[1]), options.lease)
    refresh, is_stop_requested = lambda: None, lambda: False
    with exits.mistakes():
        if url is not None:
            # A parent, which started this worker, has connected to the bucket before.
            has_parent = options.parent is not None
            bucket = Bucket.connect(
                url, folder.parents[1], log=exits.tell, wait=has_parent
            )
            sweep = BucketSweep(bucket, folder.name)
            leases = Leases(InBucket(bucket), options.lease)
            refresh, is_stop_requested = sweep.pull, StopRequest(sweep).is_made
            refresh()
        run_ids = plans.read_run_ids(folder)
        plans.check_version(folder)
        if url is not None and options.mesh is not None:
            _check_mesh(options.mesh, folder)
        ledger.open_packs(folder)  # ValueError if packs.json is damaged.
    is_stopped = lambda: ledger.is_stopped(folder) or is_stop_requested()
    if is_stopped():
        exits.tell(f"{options.folder} was stopped; `rdt sweep` goes on with it.")
        return exits.WELL
    is_orphan = lambda: options.parent not in (None, os.getppid())

    def before_exit() -> None:
        clear()
        supervisor.say_stopped()

    with stopping.on_signal(lambda: is_orphan() or is_stopped(), before_exit) as stop:
        worker.work(
            folder,
            stop_requested=stop,
            may_end=stop.may_end,
            log=exits.tell,
            pack_leases=leases,
            refresh=refresh,
            build=build,
        )
    is_any_lost = shared.tell_lost(folder.parents[1], run_ids)
    return exits.FAILED if is_any_lost else exits.WELL
