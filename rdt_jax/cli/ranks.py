"""A job of several processes: its options, and how each process joins it."""

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from rdt_jax import devices, machine
from rdt_jax.cli import exits, supervisor

if TYPE_CHECKING:
    import jax

    from rdt_jax import sharding
    from rdt_jax.training import multiprocess

_VARIABLES = {
    "coordinator": "JAX_COORDINATOR_ADDRESS",
    "num_processes": "JAX_NUM_PROCESSES",
    "process_id": "JAX_PROCESS_ID",
}


class Job(NamedTuple):
    """Arguments of `multiprocess.join`; all are None where JAX finds them itself."""

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options by which a process finds the others of its job."""
    group = parser.add_argument_group(
        "several processes",
        "The same command on every host. On a TPU they find each other; elsewhere "
        "these say where, or the variables " + ", ".join(_VARIABLES.values()) + ".",
    )
    group.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="of process 0; auto: as the cluster says (Slurm, MPI, Kubernetes)",
    )
    group.add_argument("--num-processes", type=int, metavar="N", help="1: alone")
    group.add_argument("--process-id", type=int, metavar="I", help="from 0")


def job_of(options: argparse.Namespace) -> Job | None:
    """Returns the job that this process belongs to; None if it is alone.

    ValueError if an option is missing or out of range.
    """
    values = {}
    for name, variable in _VARIABLES.items():
        value = getattr(options, name)
        if value is None:
            value = os.environ.get(variable)
        if value is not None and name != "coordinator":
            flag = f"--{name.replace('_', '-')} or {variable}"
            try:
                value = int(value)
            except ValueError as error:
                raise ValueError(f"{flag} must be an int, got {value!r}.") from error
        values[name] = value
    job = Job(**values)
    if job.num_processes == 1:
        # Variables are not refused: they may belong to an outer job.
        if options.process_id not in (None, 0):
            raise ValueError(
                f"--process-id must be 0 with --num-processes=1, got {job.process_id}."
            )
        return None
    if job == Job():
        return job if devices.has_tpu() else None
    if job == Job("auto"):
        return Job()
    missing = [f"--{n.replace('_', '-')}" for n, v in values.items() if v is None]
    if missing:
        raise ValueError(
            "Several processes need --coordinator, --num-processes and --process-id, "
            f"or their variables; {', '.join(missing)} is missing."
        )
    if values["num_processes"] < 1:
        raise ValueError(
            f"--num-processes must be at least 1, got {job.num_processes}."
        )
    if not 0 <= values["process_id"] < values["num_processes"]:
        raise ValueError(
            f"--process-id must be in [0, --num-processes = {job.num_processes}), got "
            f"{job.process_id}."
        )
    if not values["coordinator"].rpartition(":")[2].isdecimal():
        raise ValueError(f"--coordinator must be HOST:PORT, got {job.coordinator!r}.")
    return job


@contextlib.contextmanager
def joined(job: Job) -> "Iterator[multiprocess.Rank]":
    """Joins the job, in a rank, and connects its supervisor with that of rank 0."""
    from rdt_jax.training import multiprocess

    with supervisor.as_child() as (tell_supervisor, answers):
        rank = multiprocess.join(*job)
        tell_supervisor(
            {"rank": rank.number, "processes": rank.processes, "host": rank.coordinator}
        )
        if rank.number == 0:
            answer = next(answers)
            multiprocess.tell("supervisor", f"{answer['port']} {answer['token']}")
        else:
            port, token = multiprocess.hear("supervisor").split()
            tell_supervisor(
                {"host": rank.coordinator, "port": int(port), "token": token}
            )
        yield rank
        tell_supervisor({"ended": True})


def run(
    job: Job | None,
    axes: "sharding.Axes | None",
    lead: Callable[["multiprocess.Build"], int],
    check: Callable[[], None] = lambda: None,
) -> int:
    """Runs a verb alone or as a rank of a job; returns the exit code.

    Without `axes` the mesh has all devices, along `data`. Rank 0, which alone sees the
    workdir, calls `check` before JAX looks for devices (ValueError: it cannot train on
    this mesh), and `lead`, the verb, with the function that builds packs on the mesh.
    """
    from rdt_jax.training import multiprocess

    machine.tell_quota()

    def run_leader(processes: int) -> int:
        with exits.mistakes():
            check()
            mesh = _mesh(axes, processes)
        with multiprocess.lead(mesh) as build:
            return lead(build)

    if job is None:
        return run_leader(1)
    with joined(job) as rank:
        if rank.number == 0:
            return run_leader(rank.processes)
        with exits.mistakes():
            mesh = _mesh(axes, rank.processes)
            assert mesh is not None, "a job of several processes has a mesh"
            multiprocess.follow(mesh)
    return exits.WELL


def _mesh(axes: "sharding.Axes | None", processes: int) -> "jax.sharding.Mesh | None":
    from rdt_jax import sharding

    on_cpu = not devices.has_accelerator()
    if axes is None:
        import jax

        axes = sharding.Axes(data=processes if on_cpu else jax.device_count())
    return sharding.make_mesh(axes, on_cpu, processes)
