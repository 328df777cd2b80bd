"""What this process may use, on machines that this one is not."""

import argparse
import os
import subprocess
import sys

import pytest

from rdt_jax import cli, devices, machine

GIB = 2**30


@pytest.fixture
def container(tmp_path, monkeypatch):
    """Returns a function that pretends 16 cores and the files of control groups."""
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.delenv("NPROC", raising=False)

    def pretend(groups: str, **files: str):
        for name, text in {"proc/self/cgroup": groups, **files}.items():
            path = tmp_path / name.replace("GROUPS", "sys/fs/cgroup")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return pretend


# Version 2 as a container sees it; version 1 as one sees it whose path is the host's.
V2, V1 = "0::/\n", "4:cpu,cpuacct:/docker/17\n7:memory:/docker/17\n0::/\n"


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        (V2, {"GROUPS/cpu.max": "50000 100000\n"}, 1),
        (V2, {"GROUPS/cpu.max": "350000 100000\n"}, 3),
        (V2, {"GROUPS/cpu.max": "max 100000\n"}, 16),
        (V2, {"GROUPS/cpu.max": "9900000 100000\n"}, 16),
        # The lowest of a group and those around it holds.
        ("0::/jobs/5\n", {"GROUPS/jobs/5/cpu.max": "max 100000\n",
                          "GROUPS/jobs/cpu.max": "200000 100000\n"}, 2),
        (V1, {"GROUPS/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
              "GROUPS/cpu,cpuacct/cpu.cfs_period_us": "100000\n"}, 1),
        (V1, {"GROUPS/cpu,cpuacct/docker/17/cpu.cfs_quota_us": "400000\n",
              "GROUPS/cpu,cpuacct/docker/17/cpu.cfs_period_us": "100000\n"}, 4),
        (V1, {"GROUPS/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
              "GROUPS/cpu,cpuacct/cpu.cfs_period_us": "100000\n"}, 16),
        ("", {}, 16),
    ],
)  # fmt: skip
def test_the_quota_of_a_container_counts(container, groups, files, cores):
    container(groups, **files)
    assert machine.cores() == machine.threads() == devices.default_workers() == cores
    assert devices.variables(cores) == [{"NPROC": "1"}] * cores


@pytest.mark.parametrize(
    ("groups", "file"),
    [
        (V2, "GROUPS/memory.max"),
        (V1, "GROUPS/memory/memory.limit_in_bytes"),
        (V1, "GROUPS/memory/docker/17/memory.limit_in_bytes"),
    ],
)
def test_workers_share_the_memory_of_a_container(container, groups, file):
    container(groups, **{file: f"{2 * GIB}\n"})
    assert devices.worker_memory(1) == 2 * GIB
    assert devices.worker_memory(2) == GIB
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for no_limit in ("max", str(2**63 - 4096)):
        container(groups, **{file: no_limit})
        assert machine.memory() == whole


def test_xla_is_told_of_a_quota_alone(container, monkeypatch):
    """It counts the cores that it may be scheduled on by itself."""
    container(V2, **{"GROUPS/cpu.max": "max 100000\n"})
    machine.tell_quota()
    assert "NPROC" not in os.environ
    container(V2, **{"GROUPS/cpu.max": "300000 100000\n"})
    machine.tell_quota()
    assert os.environ.pop("NPROC") == "3"
    monkeypatch.setenv("NPROC", "5")
    machine.tell_quota()
    assert machine.threads() == 5


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("NPROC", "abc", "NPROC must be an int of at least 1, got 'abc'"),
        ("NPROC", "0", "NPROC must be an int of at least 1, got '0'"),
        ("NPROC", "-2", "NPROC must be an int of at least 1, got '-2'"),
        ("JAX_PLATFORMS", "cuda", "'cuda' without jax_cuda12_plugin or jax_cuda13"),
        ("JAX_PLATFORMS", "gpu,cpu", "'gpu' without jax_cuda12_plugin or jax_cuda13"),
        ("JAX_PLATFORMS", "rocm", "'rocm' without jax_rocm"),
    ],
)
def test_a_platform_that_is_not_here_is_one_line(
    tmp_path, monkeypatch, command, name, value, says
):
    monkeypatch.setenv(name, value)
    study = "experiments/modular_addition"
    workdir = tmp_path / "runs"
    message = command(["sweep", study, "--preset=smoke", f"--workdir={workdir}"], 2).err
    assert says in message and message.count("\n") == 1
    assert not workdir.exists()


def test_a_platform_that_jax_cannot_start_is_one_line(monkeypatch, command):
    def verb(options):
        raise RuntimeError("Unable to initialize backend 'cuda': no GPU is visible")

    options = argparse.Namespace(verb=verb, arguments=[], reads=None)
    monkeypatch.setattr(cli, "parse", lambda arguments: options)
    assert command([], 2).err == (
        "rdt: Unable to initialize backend 'cuda': no GPU is visible\n"
    )


# What Linux alone has goes before any module of ours is imported.
_WITHOUT_LINUX = """
import os, pathlib, pkgutil, sys, importlib, multiprocessing
for name in ("sched_getaffinity", "sched_setaffinity", "pipe2", "posix_fadvise",
             "fdatasync", "memfd_create", "copy_file_range", "splice", "eventfd",
             "pidfd_open", "getrandom", "setns", "unshare"):
    if hasattr(os, name):
        delattr(os, name)
del os.fork
def no_proc(event, arguments):
    if event == "open" and str(arguments[0]).startswith(("/proc", "/sys")):
        frame = sys._getframe(1)
        while frame and "rdt_jax" not in frame.f_code.co_filename:
            frame = frame.f_back
            if frame and "site-packages" in frame.f_code.co_filename:
                return
        if frame:
            raise FileNotFoundError(2, "there is no such folder", arguments[0])
sys.addaudithook(no_proc)
import rdt_jax
for found in pkgutil.walk_packages(rdt_jax.__path__, "rdt_jax."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
from rdt_jax import cli, devices, machine
from rdt_jax.store import lease_files
print(machine.cores() == machine.threads() == devices.default_workers())
print(lease_files.machine())
print(machine.memory() > 0, len(devices.variables(2)))
"""


def test_every_module_starts_without_what_linux_alone_has():
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    environment.pop("NPROC", None)
    ran = subprocess.run(
        [sys.executable, "-c", _WITHOUT_LINUX],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["True", os.uname().nodename, "True", "2"]
