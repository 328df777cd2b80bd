"""Devices that share a pack, its batches and its matrices: one device, to rounding."""

import functools
import json
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax import sharding, tasks
from rdt_jax.store import files, records, run_folder
from rdt_jax.training import hyper, run
from rdt_jax.training.pack import build as build_pack
from tests.training import bits, eight

COLLECTIVES = re.compile(
    r"(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|"
    r"collective-broadcast|send|recv)(-start)?\("
)
NAN = {"optimizer.learning_rate": 1e30}  # Breaks at the second update.


@pytest.fixture(scope="module")
def on():
    """Returns `run.train` on two devices; equal programs are made once."""
    programs = {}

    def train(axis, pack, workdir, **kwargs):
        mesh = sharding.make_mesh(sharding.Axes(**{axis: 2}))

        def keep(pack, table, exact):
            name = (axis, *map(configs.run_id, pack))
            if name not in programs:
                programs[name] = build_pack(pack, table, exact, mesh)
            return programs[name]

        return run.train(pack, workdir, options=run.TrainOptions(build=keep), **kwargs)

    return train


def losses_of(workdir, config):
    rows = records.read_rows(workdir / configs.run_id(config) / "metrics.jsonl")
    return np.array([row["train/loss@2"] for row in rows])


@pytest.mark.parametrize(
    ("axis", "changed"),
    [
        ("data", {"batch_size": 14}),
        pytest.param(
            "data",
            {"model.dropout": 0.2, "gradient.micro_batches": 3, "batch_size": 12},
            marks=pytest.mark.exhaustive,
        ),
        pytest.param("model", {}, marks=pytest.mark.exhaustive),
    ],
    ids=["data", "dropout", "model"],
)
def test_two_devices_train_the_run_of_one(axis, changed, toy, train, on, tmp_path):
    config = toy({"num_steps": 16, "eval_every_steps": 4} | changed)
    on(axis, [config], tmp_path / "two", log=pytest.fail)
    folder = tmp_path / "two" / configs.run_id(config)
    (segment,) = files.read_json(folder / "environment.json")["segments"]
    assert len(segment["devices"]) == 2
    assert segment["mesh"] == {"trial": 1, "data": 1, "model": 1} | {axis: 2}
    train([config], tmp_path / "one", log=pytest.fail)
    two, one = (losses_of(tmp_path / name, config) for name in ("two", "one"))
    np.testing.assert_allclose(two[0], one[0], rtol=1e-5)
    if "model.dropout" not in changed:  # It draws other numbers.
        np.testing.assert_allclose(two, one, rtol=1e-3)
    assert two[-1] < two[0]


@pytest.mark.exhaustive
def test_lanes_on_two_devices_are_those_of_one(toy, train, on, tmp_path):
    """Five lanes are six on two devices, and the two that do not break are two."""
    changed = {"num_steps": 16, "eval_every_steps": 4, "model.dropout": 0.1}
    pack = [toy({"seed": seed} | changed) for seed in (1, 2)]
    pack += [toy({"seed": seed} | changed | NAN) for seed in (3, 4, 5)]
    on("trial", pack, tmp_path / "two", log=pytest.fail)
    train(pack, tmp_path / "one", log=pytest.fail)
    for config in pack:
        folders = [tmp_path / name / configs.run_id(config) for name in ("two", "one")]
        shapes, others = (
            files.read_json(folder / "environment.json")["shapes"] for folder in folders
        )
        assert shapes == others == [[0, 5], [4, 2]]
        two, one = (losses_of(tmp_path / name, config) for name in ("two", "one"))
        np.testing.assert_allclose(two, one, rtol=1e-3)
        statuses = [run_folder.read_status(folder) for folder in folders]
        assert statuses[0]["reason"] == statuses[1]["reason"]
        pins = [
            sorted(p.name for p in (f / "transitions").glob("final-*")) for f in folders
        ]
        assert pins[0] == pins[1]


def test_lanes_need_nothing_of_each_other(toy):
    pack = [toy({"seed": seed, "recurrence.num_loops": 1}) for seed in (1, 2)]
    mesh = sharding.make_mesh(sharding.Axes(trial=2))
    program = build_pack(pack, tasks.make_table(pack[0]), mesh=mesh)
    lanes = hyper.make_lanes(pack)
    state = jax.tree.map(
        lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where),
        program.shapes(lanes), program.home,
    )  # fmt: skip
    text = program.lower(state, lanes, 1, length=3).compile().as_text()
    assert "while" in text and not COLLECTIVES.search(text)
    # Each device has one of the two lanes, and so no axis of lanes to batch over.
    assert re.search(r"f32\[1,14,42\]", text) and not re.search(r"f32\[2,14,42\]", text)


def test_a_collective_would_be_seen():
    mesh = sharding.make_mesh(sharding.Axes(trial=2))
    across = sharding.on_own_part(
        lambda x: x - jax.lax.pmean(x, "trial"), mesh,
        in_specs=(sharding.BY_LANE,), out_specs=sharding.BY_LANE,
    )  # fmt: skip
    assert COLLECTIVES.search(jax.jit(across).lower(np.ones(2)).compile().as_text())


def test_a_run_goes_on_exactly_and_on_another_number(toy, train, on, tmp_path):
    config = toy({"num_steps": 16, "checkpoint_every_steps": 4, "batch_size": 14})
    on("data", [config], tmp_path / "whole")
    for name in ("again", "other"):
        stop = functools.partial(next, iter([False, False, True]))
        (status,) = on("data", [config], tmp_path / name, should_stop=stop)
        assert status["state"] == "preempted" and 0 < status["step"] < 16
    on("data", [config], tmp_path / "again")
    bits.assert_same_runs(tmp_path / "again", tmp_path / "whole")
    reports = []
    (status,) = train([config], tmp_path / "other", log=reports.append)
    assert (status["state"], status["step"]) == ("done", 16)
    assert len(reports) == 1 and "mesh data is 1, was 2" in reports[0]


@pytest.mark.parametrize(
    "shapes",
    [
        pytest.param(["2,2,2"], marks=pytest.mark.exhaustive),
        pytest.param(list(eight.SHAPES), marks=pytest.mark.exhaustive),
        pytest.param(["--model=moeut", "2,2,2"], marks=pytest.mark.exhaustive),
        pytest.param(["--model=huginn", "2,2,2"], marks=pytest.mark.exhaustive),
    ],
    ids=["cube", "all", "moeut", "huginn"],
)
def test_eight_devices_train_the_pack_of_one(shapes, tmp_path, root):
    ended = subprocess.run(
        [sys.executable, "-m", "tests.training.eight", str(tmp_path), *shapes],
        cwd=root, env=os.environ | {"JAX_PLATFORMS": "cpu"}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = json.loads(ended.stdout)
    one = np.array(found.pop("1,1,1")["losses"])
    assert one.shape[0] >= 2 and (one[:, -1] < one[:, 0]).all()
    assert list(found) == [shape for shape in shapes if "model" not in shape]
    for shape, measured in found.items():
        np.testing.assert_allclose(measured["losses"], one, rtol=1e-4, err_msg=shape)
        assert measured["devices"] == 8
        axes = sharding.Axes(*map(int, shape.split(",")))
        assert measured["mesh"] == axes._asdict()
