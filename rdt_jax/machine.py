"""What this machine gives this process: cores, memory, platforms and a cache of JAX.

A container with a quota shows every core and all memory of its host; its limits are in
the files of its control groups (version 1 or 2).
"""

import contextlib
import fcntl
import importlib.util
import os
import pathlib
import platform
from collections.abc import Callable, Iterator, Mapping

CACHE_BYTES = 4e9  # Bound of the compiled programs; a run on a CPU has one of 0.6 MB.
ROOT = pathlib.Path("/")  # Where the files of control groups are looked for.
_PLUGINS: Mapping[str, tuple[str, ...]] = {
    "cuda": ("jax_cuda12_plugin", "jax_cuda13_plugin"),
    "rocm": ("jax_rocm60_plugin", "jax_rocm7_plugin"),
    "tpu": ("libtpu",),
}


def cores() -> int:
    """Returns the cores, 1 or more, that this process may keep busy by its quota."""
    return max(1, int(min([_schedulable(), *_quotas()])))


def threads() -> int:
    """Returns the threads of XLA: NPROC, or one per core; ValueError if it is wrong."""
    text = os.environ.get("NPROC", str(cores()))
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"NPROC must be an int of at least 1, got {text!r}.")
    return int(text)


def tell_quota() -> None:
    """Sets NPROC where a quota is lower than the cores, which are all that XLA sees."""
    if cores() < _schedulable():
        os.environ.setdefault("NPROC", str(cores()))


def memory() -> int:
    """Returns the bytes of memory that this process and its children may have."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for folder in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _words(folder / name)
            if limit and limit[0] != "max":
                total = min(total, int(limit[0]))
    return total


def check() -> None:
    """Raises ValueError if NPROC is wrong, or JAX has no plugin for JAX_PLATFORMS."""
    threads()
    for name in os.environ.get("JAX_PLATFORMS", "").split(","):
        gpus = _PLUGINS["cuda"] + _PLUGINS["rocm"]
        plugins = gpus if name == "gpu" else _PLUGINS.get(name, ())
        if plugins and not any(map(importlib.util.find_spec, plugins)):
            raise ValueError(
                "JAX_PLATFORMS must name platforms that JAX is installed with, got "
                f"{name!r} without {' or '.join(plugins)}; JAX_PLATFORMS=cpu trains "
                "on the CPU."
            )


def _schedulable() -> int:
    if hasattr(os, "sched_getaffinity"):  # macOS has none.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas() -> Iterator[float]:
    for folder in _groups("cpu"):
        quota = _words(folder / "cpu.max")
        if not quota:  # Version 1 has two files, and -1 for no quota.
            for name in ("quota", "period"):
                quota += _words(folder / f"cpu.cfs_{name}_us")
        if len(quota) == 2 and quota[0] not in ("max", "-1"):
            yield int(quota[0]) / int(quota[1])


def _groups(controller: str) -> Iterator[pathlib.Path]:
    """Yields the folders of the control groups that limit this process.

    A container may see its own group at the mount's root although the kernel tells the
    path that the host sees, so every folder from the path up to the root is looked at.
    """
    try:
        lines = (ROOT / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # No Linux.
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = ROOT / "sys/fs/cgroup" / controllers  # None in version 2.
        group = mount / path.strip("/")
        yield from (group, *group.parents[: len(group.parts) - len(mount.parts)])


def _words(path: pathlib.Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def can_lock(folder: pathlib.Path) -> bool:
    """Says whether files in a folder can be locked; OSError if none can be made there.

    Some network file systems refuse.
    """
    path = folder / f".lock.{platform.node()}.{os.getpid()}.tmp"
    with path.open("w") as file:
        path.unlink()
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def private_cache(name: str) -> pathlib.Path:
    """Makes a folder of this user for what is made once and run unchecked later.

    Raises:
      OSError: if it cannot be made or written, or others may write it.
      RuntimeError: if there is no home.
    """
    caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    folder = pathlib.Path(caches, "rdt_jax", name).absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stat = folder.stat()
    if stat.st_uid != os.getuid() or stat.st_mode & 0o022:
        raise PermissionError(f"others may write {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} is read-only")
    return folder


def use_compile_cache(log: Callable[[str], None]) -> None:
    """Keeps compiled programs in a folder of this user, unless variables name another.

    JAX runs the programs of this folder unchecked. So the folder is never in a workdir,
    which may be somebody else's. Call this before JAX is imported, which reads the
    variables that it sets. `log` gets a line if no programs can be kept.
    """
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    variables = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE")
    if any(variable in os.environ for variable in variables):
        return
    try:
        folder = private_cache("compile")
        _shrink(folder)
    except (OSError, RuntimeError) as error:  # The second where there is no home.
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # For children as well.
        log(
            f"compiled programs are not kept, since {error}; set "
            "JAX_COMPILATION_CACHE_DIR to a folder that you alone may write."
        )
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)


def _shrink(folder: pathlib.Path) -> None:
    """Halves a cache over CACHE_BYTES: removes what was read longest ago first."""
    entries = []
    for path in folder.glob("*-cache"):
        with contextlib.suppress(FileNotFoundError):  # Another process removes too.
            stat = path.stat()
            entries.append((max(stat.st_atime, stat.st_mtime), stat.st_size, path))
    total = sum(size for _, size, _ in entries)
    if total <= CACHE_BYTES:
        return
    for _, size, path in sorted(entries):
        if total <= CACHE_BYTES / 2:
            return
        path.unlink(missing_ok=True)
        total -= size
