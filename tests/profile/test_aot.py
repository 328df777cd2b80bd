"""What the TPU compiler says; `make aot` runs the tests that need it."""

import json
import subprocess
import sys

import pytest

from rdt_jax import cli
from rdt_jax.profile import aot
from tests.conftest import ROOT

CONFIG = f"{ROOT}/configs/knowledge_composition.py:smoke"
# A process of its own: those of the tests compile with few optimizations.
COMPILE = """
import json, os, sys
os.environ["JAX_PLATFORMS"] = "cpu"
from rdt_jax import config as configs, sharding
from rdt_jax.profile import aot
config_path, cases = sys.argv[1], json.loads(sys.argv[2])
for overrides, lanes, mesh in cases:
    config = configs.override(configs.load(config_path), overrides)
    pack = [configs.override(config, {"seed": seed}) for seed in range(lanes)]
    found = aot.compile_chunk(pack, sharding.parse(mesh), "v5e:2x2")
    print(json.dumps(found._asdict()))
"""


def compiled(*cases):
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, CONFIG, json.dumps(cases)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines]


@pytest.mark.tpu
def test_lanes_on_chips_of_their_own_need_no_collective():
    one, four, shared = compiled(
        [{}, 1, "trial=1"], [{}, 4, "trial=4"], [{}, 1, "data=2"]
    )
    assert four["chips"] == 4 and not four["collectives"]
    assert four["flops"] == one["flops"]
    # The seeds and rates of all four lanes are on every chip.
    assert four["moved_bytes"] == pytest.approx(one["moved_bytes"], rel=0.001)
    assert shared["collectives"] and shared["collective_bytes"] > 0
    assert shared["flops"] == one["flops"] / 2


@pytest.mark.tpu
def test_what_is_moved_grows_with_the_loops():
    wide = {"model.remat": "full", "model.width": 256, "batch_size": 2048}
    eight, sixteen = compiled(
        *([wide | {"recurrence.num_loops": n}, 1, "trial=1"] for n in (8, 16))
    )
    growth = sixteen["moved_bytes"] / eight["moved_bytes"]
    assert 1.5 < growth < 2.1
    assert sixteen["flops"] > 1.8 * eight["flops"]
    assert sixteen["seconds"] > eight["seconds"]


@pytest.mark.tpu
@pytest.mark.parametrize(
    "topology, number",
    [
        ("v4:2x2x1", 4),
        ("v5e:1x1", 1),
        ("v5e:4x4", 16),
        ("v5p:2x2x1", 4),
        ("v6e:1x1", 1),
    ],
)
def test_a_topology_has_one_device_per_chip(topology, number):
    assert len(aot.devices_of(topology)) == number


@pytest.mark.tpu
@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--topology=v5e:2x2", "--mesh=trial=8"], "needs 8 chips.*v5e:2x2 has 4"),
        (["--topology=v5e:77x3"], "v5e:77x3 is none that the TPU compiler knows"),
    ],
)
def test_a_mesh_or_topology_that_is_not_there_is_refused(arguments, message, capsys):
    assert cli.main(["aot", f"--config={CONFIG}", *arguments]) == 2
    assert message.split(".*")[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--topology=v5e:2x2"], "TPU compiler is not installed; `pip install"),
        (["--topology=v5e"], "--topology must be a chip and the sides of a slice"),
        (["--topology=v5e:2x2", "--mesh=x=2"], "--mesh must give trial, data, model"),
        (
            ["--topology=v5e:2x2", "--mesh=trial=2", "--lanes=3"],
            "--lanes must be a multiple of the axis trial of --mesh (2), got 3",
        ),
    ],
)
def test_without_the_compiler_or_with_a_mistake_there_is_one_clear_line(
    arguments, message, capsys, monkeypatch
):
    monkeypatch.setattr(aot.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # The verb sets it.
    assert cli.main(["aot", f"--config={CONFIG}", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
