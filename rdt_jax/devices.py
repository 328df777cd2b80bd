"""Which devices a machine has, and how the workers of a sweep share them.

The process that starts workers must not hold an accelerator, so devices are counted by
the files of their drivers, and every worker is shown its share by its environment.
"""

import importlib.util
import os
import pathlib
import subprocess
import sys

from rdt_jax import machine, wording

# Chips of a worker -> how they lie on the board (x, y, z), as the documentation of
# libtpu's variables has it; not tried on a TPU.
_BOUNDS = {1: "1,1,1", 2: "1,2,1", 4: "2,2,1", 8: "2,4,1"}
_FIRST_PORT = 8476  # libtpu's own
DEVICES = pathlib.Path("/dev")  # Where drivers have their files.


def has_accelerator() -> bool:
    """Says whether JAX would use one, without starting any."""
    return has_plugin("libtpu") or _has_cuda()


def default_workers(devices_each: int = 1) -> int:
    """Returns one worker per accelerator, or per core of a machine without one.

    A worker whose mesh has several devices stands for as many; there is at least one.
    At width 64 two workers with a core each make 1.8 to 1.9 times the updates of one
    worker with both cores: such small products leave the second core idle.
    """
    if has_accelerator():
        count = len(_chips()) if has_plugin("libtpu") else len(_gpus())
    else:
        count = machine.cores()
    return max(1, count // devices_each)


def default_lanes() -> int | None:
    """Returns trials per program, at most; None for as many as fit in memory.

    A CPU gains nothing by more than one; an accelerator is filled.
    """
    return None if has_accelerator() else 1


def worker_threads(num_workers: int) -> dict[str, str]:
    """Returns the environment that gives a worker its share of the cores.

    NPROC of this process, if it is set, holds for each worker.
    """
    share = max(1, machine.cores() // num_workers)
    return {"NPROC": os.environ.get("NPROC", str(share))}


def variables(num_workers: int) -> list[dict[str, str]]:
    """Returns the environment of each worker: its cores, and its accelerators.

    ValueError if the accelerators cannot be dealt out evenly, or a worker's chips are
    not a part of a board.
    """
    threads = worker_threads(num_workers)
    found = _chips() if has_plugin("libtpu") else _gpus() if _has_cuda() else []
    if not found:
        return [threads] * num_workers
    if len(found) % num_workers:
        raise ValueError(
            f"--workers must divide the {wording.count(len(found), 'accelerator')} "
            f"here, got {num_workers}."
        )
    size = len(found) // num_workers
    groups = [found[i : i + size] for i in range(0, len(found), size)]
    if not has_plugin("libtpu"):
        return [threads | {"CUDA_VISIBLE_DEVICES": ",".join(g)} for g in groups]
    if num_workers == 1:
        return [threads]  # All chips, which libtpu finds by itself.
    if size not in _BOUNDS:
        raise ValueError(
            f"A worker can have {', '.join(map(str, _BOUNDS))} TPU chips, and "
            f"--workers={num_workers} gives it {size}."
        )
    return [
        threads
        | {
            "TPU_VISIBLE_CHIPS": ",".join(group),
            "TPU_CHIPS_PER_PROCESS_BOUNDS": _BOUNDS[size],
            "TPU_PROCESS_BOUNDS": "1,1,1",
            "TPU_PROCESS_ADDRESSES": f"localhost:{_FIRST_PORT + index}",
            "TPU_PROCESS_PORT": str(_FIRST_PORT + index),
            "CLOUD_TPU_TASK_ID": "0",
        }
        for index, group in enumerate(groups)
    ]


def worker_memory(num_workers: int) -> int:
    """Returns the bytes of each worker's device; ValueError if that does not tell.

    On a CPU the workers share what this process may have. An accelerator is asked by a
    process of its own, since the one that starts workers must not hold it.
    """
    if not has_accelerator():
        return machine.memory() // num_workers
    ask = "import jax; print(jax.local_devices()[0].memory_stats()['bytes_limit'])"
    told = subprocess.run(
        [sys.executable, "-c", ask],
        capture_output=True,
        text=True,
        env=os.environ | variables(num_workers)[0],
    )
    if told.returncode:
        raise ValueError(
            "The device does not tell how much memory it has; give it with --memory, "
            f"such as --memory=16GB. It said: {told.stderr.strip()[-300:]}"
        )
    return int(told.stdout)


def _has_cuda() -> bool:
    return has_plugin("jax_cuda12_plugin") or has_plugin("jax_cuda13_plugin")


def has_tpu() -> bool:
    """Says whether this machine has TPU chips that JAX may use."""
    return has_plugin("libtpu") and bool(_chips())


def has_plugin(name: str) -> bool:
    """Says whether JAX has a plugin of this name, and may use it."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return False
    return importlib.util.find_spec(name) is not None


def _chips() -> list[str]:
    """Returns the TPU chips of this machine that we may use."""
    if visible := os.environ.get("TPU_VISIBLE_CHIPS"):
        return visible.split(",")
    files = [*DEVICES.glob("accel[0-9]*"), *DEVICES.glob("vfio/[0-9]*")]
    return [str(index) for index in range(len(files))]


def _gpus() -> list[str]:
    """Returns the GPUs of this machine that we may use."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [each for each in visible.split(",") if each]
    files = DEVICES.glob("nvidia[0-9]*")
    return sorted((path.name.removeprefix("nvidia") for path in files), key=int)
