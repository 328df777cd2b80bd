import importlib.util
import os

import pytest

from rdt_jax import devices
from rdt_jax import machine as this_machine
from rdt_jax.sweep import child, engines


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Returns a function that pretends a plugin and files of drivers."""
    for name in ("CUDA_VISIBLE_DEVICES", "TPU_VISIBLE_CHIPS", "NPROC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(devices, "DEVICES", tmp_path)

    def pretend(plugin, *files):
        monkeypatch.setattr(devices, "has_plugin", lambda name: name == plugin)
        for name in files:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()

    return pretend


def test_workers_of_a_cpu_share_its_cores(machine):
    machine(None, "nvidia0")  # A GPU that JAX has no plugin for.
    cores = this_machine.cores()
    assert devices.default_workers() == cores
    assert devices.variables(cores) == [{"NPROC": "1"}] * cores
    assert devices.variables(1) == [{"NPROC": str(cores)}]
    assert devices.default_workers(cores) == devices.default_workers(cores + 1) == 1
    assert devices.default_lanes() == 1


def test_what_jax_is_told_not_to_use_does_not_count(monkeypatch):
    found = importlib.util.find_spec("json")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert devices.has_accelerator()
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert not devices.has_accelerator()


def test_each_gpu_has_a_worker_or_several_share_one(machine, monkeypatch):
    machine("jax_cuda13_plugin", *(f"nvidia{i}" for i in range(12)), "nvidiactl")
    assert devices.default_workers() == 12
    shown = [v["CUDA_VISIBLE_DEVICES"] for v in devices.variables(12)]
    assert shown == [str(i) for i in range(12)]
    shown = [v["CUDA_VISIBLE_DEVICES"] for v in devices.variables(4)]
    assert shown == ["0,1,2", "3,4,5", "6,7,8", "9,10,11"]
    with pytest.raises(ValueError, match="must divide the 12 accelerators here, got 5"):
        devices.variables(5)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(ValueError, match="must divide the 1 accelerator here, got 2"):
        devices.variables(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,GPU-3")
    assert [v["CUDA_VISIBLE_DEVICES"] for v in devices.variables(2)] == ["7", "GPU-3"]


@pytest.mark.parametrize("files", ["accel", "vfio/"])
def test_tpu_workers_see_their_chips_and_nothing_of_each_other(machine, files):
    machine("libtpu", *(f"{files}{i}" for i in range(4)), "vfio/vfio")
    assert devices.default_workers() == 4
    each = devices.variables(4)
    assert [v["TPU_VISIBLE_CHIPS"] for v in each] == ["0", "1", "2", "3"]
    assert len({v["TPU_PROCESS_PORT"] for v in each}) == 4
    for values in each:
        assert values["TPU_CHIPS_PER_PROCESS_BOUNDS"] == "1,1,1"
        assert values["TPU_PROCESS_BOUNDS"] == "1,1,1"
        port = values["TPU_PROCESS_PORT"]
        assert values["TPU_PROCESS_ADDRESSES"] == f"localhost:{port}"
    two = devices.variables(2)
    assert [v["TPU_VISIBLE_CHIPS"] for v in two] == ["0,1", "2,3"]
    assert {v["TPU_CHIPS_PER_PROCESS_BOUNDS"] for v in two} == {"1,2,1"}
    assert not [name for name in devices.variables(1)[0] if name.startswith("TPU")]


def test_chips_that_are_no_part_of_a_board_are_refused(machine, monkeypatch):
    machine("libtpu")
    monkeypatch.setenv("TPU_VISIBLE_CHIPS", "0,1,2,3,4,5")
    with pytest.raises(ValueError, match="1, 2, 4, 8 TPU chips, and --workers=2 gives"):
        devices.variables(2)


def test_a_worker_sees_its_share_of_what_the_user_gave(machine, monkeypatch, tmp_path):
    """Its own variables win over those of the process that starts it."""
    machine("jax_cuda13_plugin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    monkeypatch.setenv("NPROC", "3")
    started = []
    start = lambda command, environment, log_path: started.append(environment)
    monkeypatch.setattr(child, "start", start)
    with engines.local(engines.Order(tmp_path, num_workers=2)) as engine:
        for slot in range(engine.slots):
            engine.start(slot)
    assert [e["CUDA_VISIBLE_DEVICES"] for e in started] == ["2", "5"]
    assert [e["NPROC"] for e in started] == ["3", "3"]
    assert all(e["PATH"] == os.environ["PATH"] for e in started)


@pytest.mark.parametrize(
    ("mesh", "shown"),
    [("trial=4", [""]), ("trial=2", ["0,1", "2,3"]), (None, ["0", "1", "2", "3"])],
)
def test_a_worker_has_the_devices_of_its_mesh(
    machine, monkeypatch, tmp_path, mesh, shown
):
    """Without variables libtpu finds all four chips."""
    machine("libtpu", *(f"accel{i}" for i in range(4)))
    seen = lambda command, variables, log_path: variables.get("TPU_VISIBLE_CHIPS", "")
    monkeypatch.setattr(child, "start", seen)
    with engines.local(engines.Order(tmp_path, mesh=mesh)) as engine:
        assert [engine.start(slot) for slot in range(engine.slots)] == shown
