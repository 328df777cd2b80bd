"""Starts workers and watches over them; what they do is in the ledger.

An engine is a context that gives five functions. It knows nothing of packs: whatever
it starts twice, loses or forgets, the ledger says what is left to do, and a worker that
is started again takes what it finds.
"""

import contextlib
import importlib.util
import logging
import math
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from rdt_jax import devices, sharding
from rdt_jax.store import leases
from rdt_jax.sweep import child, ledger

_CONNECT_SECONDS = 5.0
_POLL_SECONDS = 0.5
_GRACE_SECONDS = 30.0  # For workers that do not end when nothing is left to do.
_VAIN_STARTS = 3  # Workers in a row that end before they claim a pack.


class Order(NamedTuple):
    """What workers are started for, and how many.

    Attributes:
      folder: of the sweep, with its plan written; an absolute path.
      num_workers: at a time; None for as many as the engine's devices can have.
      lease: seconds without a sign of life after which a worker loses its pack.
      address: of a Ray cluster; None to start one here.
      target: what the workers are told to work on, if it is not the folder itself: the
        sweep in a bucket that the folder is a copy of.
      mesh: of each worker, as `sharding.parse` reads it; None for one device.
    """

    folder: pathlib.Path
    num_workers: int | None = None
    lease: float = leases.LEASE_SECONDS
    address: str | None = None
    target: str | None = None
    mesh: str | None = None


class Engine(NamedTuple):
    """How workers are started.

    Attributes:
      slots: () -> how many workers there can be at a time.
      start: index of a slot -> a worker in it.
      exit_code: worker -> its exit code; None while it is at work.
      stop: asks a worker to checkpoint and end.
      kill: ends a worker at once.
    """

    slots: Callable[[], int]
    start: Callable[[int], Any]
    exit_code: Callable[[Any], int | None]
    stop: Callable[[Any], None]
    kill: Callable[[Any], None]


def run(
    engine: Engine,
    folder: pathlib.Path,
    *,
    stop_requested: Callable[[], int],
    watch: Callable[[], None],
    log: Callable[[str], None],
) -> None:
    """Trains a sweep with an engine's workers until nothing is left to do.

    A worker that dies takes down only its own pack, which is tried again as
    `ledger.RETRIES` say; another worker is started in its place. What a worker reports,
    a line of its log that begins with `rdt: `, is reported here.

    Args:
      engine: that starts the workers.
      folder: of the sweep, with its plan written.
      stop_requested: how often it was asked to stop. Once makes the workers checkpoint
        and end, twice ends them as they are.
      watch: called about twice a second.
      log: takes what the user should know.

    Raises:
      RuntimeError: if workers end before they can claim anything.
    """
    observer = leases.Observer()
    reports = _reports(folder)
    slots = min(engine.slots(), len(ledger.open_packs(folder)))
    stopping, vain, started_at = False, 0, dict[int, int]()

    def start(index: int) -> Any:
        started_at[index] = ledger.num_attempts(folder)
        return engine.start(index)

    workers = {index: start(index) for index in range(slots)}
    over_since: float | None = None
    while workers:
        watch()
        for message in reports():
            log(message)
        time.sleep(_POLL_SECONDS)
        asked = max(stop_requested(), ledger.is_stopped(folder))
        for worker in workers.values():
            if asked > 1:
                engine.kill(worker)
            elif asked and not stopping:
                engine.stop(worker)
        stopping = stopping or asked > 0
        for index, worker in list(workers.items()):
            code = engine.exit_code(worker)
            if code is None:
                continue
            del workers[index]
            if code == 0:
                continue
            log(f"Worker {index} ended with exit code {code}.")
            for name in ledger.settle(folder, observer):
                log(f"Run {name} failed.")
            claimed = ledger.num_attempts(folder) > started_at[index]
            vain = 0 if claimed else vain + 1
            if stopping or not ledger.trainable_packs(folder):
                continue
            if vain == _VAIN_STARTS:
                for message in reports():
                    log(message)
                raise RuntimeError(
                    f"{vain} workers in a row ended before they could train."
                )
            workers[index] = start(index)
        if ledger.open_packs(folder):
            over_since = None
        elif over_since is None:
            over_since = time.monotonic()
        elif time.monotonic() - over_since > _GRACE_SECONDS:
            for worker in workers.values():  # It had lost its pack, and hangs.
                engine.kill(worker)
    watch()
    for message in reports():
        log(message)


def _reports(folder: pathlib.Path) -> Callable[[], list[str]]:
    """Returns a function that reads what workers have reported since the last call."""
    logs = lambda: sorted((folder / "state").glob("worker-*.log"))
    read = {path: path.stat().st_size for path in logs()}

    def reports() -> list[str]:
        found = []
        for path in logs():
            with path.open("rb") as file:
                file.seek(read.get(path, 0))
                whole = file.read().rpartition(b"\n")[0]
            if whole:
                read[path] = read.get(path, 0) + len(whole) + 1
            index = path.stem.partition("-")[2]
            for line in whole.decode(errors="replace").splitlines():
                if line.startswith("rdt: "):
                    found.append(f"Worker {index}: {line.removeprefix('rdt: ')}")
        return found

    return reports


@contextlib.contextmanager
def local(order: Order) -> Iterator[Engine]:
    """Subprocesses of this one, which share the devices of this machine."""
    num_workers = order.num_workers or devices.default_workers(_devices_each(order))
    variables = devices.variables(num_workers)

    def start(index: int) -> subprocess.Popen:
        environment = os.environ | variables[index]
        return child.start(_command(order), environment, _log_path(order, index))

    yield Engine(
        slots=lambda: num_workers,
        start=start,
        exit_code=subprocess.Popen.poll,
        stop=subprocess.Popen.terminate,
        kill=subprocess.Popen.kill,
    )


def check_ray(address: str | None) -> None:
    """Raises ValueError if Ray is not installed, or no cluster is at its address."""
    if importlib.util.find_spec("ray") is None:
        raise ValueError(
            "--engine=ray needs Ray: pip install -e '.[ray]' -c constraints.txt"
        )
    if address == "auto":  # As Ray reads it; else it looks on this machine.
        address = os.environ.get("RAY_ADDRESS") or "auto"
    if address == "auto":
        _join_ray(address).shutdown()
    if address in (None, "auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"--address must be HOST:PORT or auto, got {address!r}.")
    try:  # Ray itself would wait for minutes.
        socket.create_connection(
            (host.strip("[]"), int(port)), _CONNECT_SECONDS
        ).close()
    except OSError as error:
        raise ValueError(
            "--address must be that of a Ray cluster, and nobody answers at "
            f"{address}: {error}."
        ) from error


def _join_ray(address: str | None) -> Any:
    """Returns Ray, joined to a cluster, or to one that is started here; ValueError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray would let its tasks, and so our workers, wait for everything else on a node.
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    started: dict[str, Any] = {}
    if address is None:
        started = {"include_dashboard": False, "object_store_memory": 80 * 2**20}
    try:
        ray.init(
            address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **started,
        )
    except Exception as error:  # Ray raises nothing narrower.
        where = address or "here"
        raise ValueError(f"Ray could not be started or joined {where}: {error}") from (
            error
        )
    return ray


@contextlib.contextmanager
def on_ray(order: Order) -> Iterator[Engine]:
    """Tasks of Ray Core, on a cluster or on one that is started here for the while.

    A task only starts a worker as its child and waits for it, so that no process of
    Ray holds an accelerator. Ray may run a task again; the worker takes what it finds.

    Raises:
      ValueError: if there is no cluster, or a worker would need more than a node has.
    """
    ray = _join_ray(order.address)
    try:
        total = ray.cluster_resources()
        kind = next((k for k in ("TPU", "GPU") if total.get(k)), "CPU")
        number = int(total.get(kind, 0))
        slots = order.num_workers or max(1, number // _devices_each(order))
        share = number // slots
        if share < 1:
            raise ValueError(
                f"--workers must be at most the {number} {kind}s of the Ray "
                f"cluster, got {slots}."
            )
        of_kind: dict[str, dict[str, Any]] = {
            "CPU": {"num_cpus": share},
            "GPU": {"num_cpus": 1, "num_gpus": share},
            "TPU": {"num_cpus": 1, "resources": {"TPU": share}},
        }
        variables = {"NPROC": str(share)} if kind == "CPU" else {}
        variables |= {k: v for k, v in os.environ.items() if k.startswith(_PASSED_ON)}
        task = ray.remote(child.run).options(**of_kind[kind], max_retries=_RAY_RETRIES)

        # A copy of a bucket is on this machine alone; workers may be on others.
        here = order.target is None or order.address is None
        logs: dict[Any, pathlib.Path] = {}

        def start(index: int) -> Any:
            log_path = _log_path(order, index)
            worker = task.remote(_command(order), variables, log_path if here else None)
            logs[worker] = log_path
            return worker

        def exit_code(worker) -> int | None:
            if not ray.wait([worker], timeout=0)[0]:
                return None
            try:
                code, said = ray.get(worker)
            except ray.exceptions.TaskCancelledError:
                return 0
            except ray.exceptions.RayError:
                return 1
            with logs[worker].open("a") as file:
                file.write(said)
            return code

        yield Engine(
            slots=lambda: slots,
            start=start,
            exit_code=exit_code,
            stop=ray.cancel,
            kill=lambda worker: ray.cancel(worker, force=True),
        )
    finally:
        ray.shutdown()


_PASSED_ON = ("JAX_", "XLA_", "NPROC", "PYTHONPATH")  # To workers on other machines.
_RAY_RETRIES = 3  # Of a task whose process died; `run` starts others after that.

ENGINES: Mapping[str, Callable[[Order], contextlib.AbstractContextManager[Engine]]] = {
    "local": local,
    "ray": on_ray,
}


def _devices_each(order: Order) -> int:
    return math.prod(sharding.parse(order.mesh)) if order.mesh else 1


def _command(order: Order) -> list[str]:
    worker = [
        sys.executable,
        "-m",
        "rdt_jax",
        "worker",
        order.target or str(order.folder),
    ]
    mesh = [f"--mesh={order.mesh}", "--num-processes=1"] if order.mesh else []
    return [*worker, f"--lease={order.lease}", *mesh]


def _log_path(order: Order, index: int) -> pathlib.Path:
    return order.folder / "state" / f"worker-{index}.log"
