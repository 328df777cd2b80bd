"""Starts the workers of a sweep; what they do is in the ledger.

An engine knows nothing of packs: whatever it starts twice, loses or forgets, the ledger
says what is left to do, and a worker that is started again takes what it finds.

    with engines.ENGINES["local"](engines.Order(folder, num_workers=2)) as engine:
        driver.run(engine, folder, stop_requested=stop, on_poll=draw, log=print)
"""

import contextlib
import dataclasses
import importlib.util
import logging
import math
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from rdt_jax import devices, sharding
from rdt_jax.store import leases
from rdt_jax.sweep import child

_CONNECT_SECONDS = 5.0
_PASSED_ON = ("JAX_", "XLA_", "NPROC", "PYTHONPATH")  # To workers on other machines.
_RAY_RETRIES = 3  # Of a task whose process died; `driver.run` starts others after that.


class Order(NamedTuple):
    """What workers are started for, and how many.

    Attributes:
      folder: absolute path of the sweep's folder, with its plan written.
      num_workers: number of workers at a time; None for as many as the engine's devices
        can have.
      lease: seconds without a sign of life after which a worker loses its pack.
      address: address of a Ray cluster; None to start one here.
      target: name of what the workers work on, if it is not the folder itself: the
        sweep in a bucket that the folder is a copy of.
      mesh: mesh of each worker, as `sharding.parse` reads it; None for one device.
    """

    folder: pathlib.Path
    num_workers: int | None = None
    lease: float = leases.LEASE_SECONDS
    address: str | None = None
    target: str | None = None
    mesh: str | None = None

    @property
    def command(self) -> list[str]:
        """The command of a worker."""
        target = self.target or str(self.folder)
        worker = [sys.executable, "-m", "rdt_jax", "worker", target]
        mesh = [f"--mesh={self.mesh}", "--num-processes=1"] if self.mesh else []
        return [*worker, f"--lease={self.lease}", *mesh]

    @property
    def num_devices(self) -> int:
        """The number of devices of each worker."""
        return math.prod(sharding.parse(self.mesh)) if self.mesh else 1

    def log_path(self, index: int) -> pathlib.Path:
        """Returns the log of the worker in a slot."""
        return self.folder / "state" / f"worker-{index}.log"


class Worker(Protocol):
    """A worker that an engine has started, such as a `subprocess.Popen`."""

    def poll(self) -> int | None:
        """Returns its exit code; None while it is at work."""

    def terminate(self) -> None:
        """Asks it to checkpoint and end."""

    def kill(self) -> None:
        """Ends it at once."""


class Engine(Protocol):
    """What starts workers."""

    @property
    def slots(self) -> int:
        """How many workers there can be at a time."""

    def start(self, index: int) -> Worker:
        """Starts a worker in a slot, from 0."""


@dataclasses.dataclass(frozen=True)
class _LocalEngine:
    """Starts subprocesses of this process, which share the devices of this machine."""

    order: Order
    variables: Sequence[Mapping[str, str]]

    @property
    def slots(self) -> int:
        return len(self.variables)

    def start(self, index: int) -> subprocess.Popen:
        environment = os.environ | self.variables[index]
        return child.start(self.order.command, environment, self.order.log_path(index))


@contextlib.contextmanager
def local(order: Order) -> Iterator[_LocalEngine]:
    """Yields the engine of this machine."""
    slots = order.num_workers or devices.default_workers(order.num_devices)
    yield _LocalEngine(order, devices.variables(slots))


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


@dataclasses.dataclass(frozen=True)
class _RayWorker:
    """A task of Ray Core that runs a worker as its child."""

    ray: Any
    task: Any
    log_path: pathlib.Path

    def poll(self) -> int | None:
        if not self.ray.wait([self.task], timeout=0)[0]:
            return None
        try:
            code, output = self.ray.get(self.task)
        except self.ray.exceptions.TaskCancelledError:
            return 0
        except self.ray.exceptions.RayError:
            return 1
        with self.log_path.open("a") as file:
            file.write(output)
        return code

    def terminate(self) -> None:
        self.ray.cancel(self.task)

    def kill(self) -> None:
        self.ray.cancel(self.task, force=True)


@dataclasses.dataclass(frozen=True)
class _RayEngine:
    """Starts tasks of Ray Core.

    A task only starts a worker as its child and waits for it, so that no process of Ray
    holds an accelerator. Ray may run a task again; the worker takes what it finds. A
    worker has `share` devices of a kind: CPU, GPU or TPU.
    """

    order: Order
    ray: Any
    slots: int
    kind: str
    share: int

    def start(self, index: int) -> _RayWorker:
        resources: dict[str, dict[str, Any]] = {
            "CPU": {"num_cpus": self.share},
            "GPU": {"num_cpus": 1, "num_gpus": self.share},
            "TPU": {"num_cpus": 1, "resources": {"TPU": self.share}},
        }
        task = self.ray.remote(child.run).options(
            **resources[self.kind], max_retries=_RAY_RETRIES
        )
        variables = {"NPROC": str(self.share)} if self.kind == "CPU" else {}
        variables |= {k: v for k, v in os.environ.items() if k.startswith(_PASSED_ON)}
        # A copy of a bucket is on this machine alone; workers may be on others.
        is_shared = self.order.target is None or self.order.address is None
        log_path = self.order.log_path(index)
        result = task.remote(
            self.order.command, variables, log_path if is_shared else None
        )
        return _RayWorker(self.ray, result, log_path)


@contextlib.contextmanager
def on_ray(order: Order) -> Iterator[_RayEngine]:
    """Yields the engine of a Ray cluster, or of one that is started here for the while.

    ValueError if there is no cluster, or a worker would need more than a node has.
    """
    ray = _join_ray(order.address)
    try:
        total = ray.cluster_resources()
        kind = next((k for k in ("TPU", "GPU") if total.get(k)), "CPU")
        number = int(total.get(kind, 0))
        slots = order.num_workers or max(1, number // order.num_devices)
        share = number // slots
        if share < 1:
            raise ValueError(
                f"--workers must be at most the {number} {kind}s of the Ray "
                f"cluster, got {slots}."
            )
        yield _RayEngine(order, ray, slots, kind, share)
    finally:
        ray.shutdown()


ENGINES: Mapping[str, Callable[[Order], contextlib.AbstractContextManager[Engine]]] = {
    "local": local,
    "ray": on_ray,
}
