"""Devices that share the batches of a run: the run of one device, to rounding."""

import functools

import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax import sharding
from rdt_jax.training import loop, records, step
from tests.training import bits


@pytest.fixture(scope="module")
def on_two():
    """Returns `loop.train` of one config on two devices."""
    build = functools.partial(step.build, mesh=sharding.make_mesh(2))
    programs = {}

    def keep(pack, table, exact):
        name = configs.run_id(pack[0])
        if name not in programs:
            programs[name] = build(pack, table, exact)
        return programs[name]

    def train(config, workdir, **kwargs):
        (status,) = loop.train([config], workdir, build=keep, **kwargs)
        return status

    return train


@pytest.mark.parametrize(
    "changed",
    [
        {"batch_size": 14},
        {"model.dropout": 0.2, "gradient.micro_batches": 3, "batch_size": 12},
    ],
    ids=["plain", "dropout"],
)
def test_two_devices_train_the_run_of_one(changed, toy, train, on_two, tmp_path):
    config = toy({"num_steps": 16, "eval_every_steps": 4} | changed)
    name = configs.run_id(config)
    on_two(config, tmp_path / "two", report=pytest.fail)
    two = records.read_rows(tmp_path / "two" / name / "metrics.jsonl")
    environment = records.read_json(tmp_path / "two" / name / "environment.json")
    assert len(environment["devices"]) == 2
    train([config], tmp_path / "one", report=pytest.fail)
    one = records.read_rows(tmp_path / "one" / name / "metrics.jsonl")
    losses = lambda rows: [row["train/loss@2"] for row in rows]
    first = losses(one)[0]
    np.testing.assert_allclose(losses(two)[0], first, rtol=1e-5)
    if "model.dropout" not in changed:  # It draws other numbers.
        np.testing.assert_allclose(losses(two), losses(one), rtol=1e-3)
    assert losses(two)[-1] < first


def test_a_run_goes_on_exactly_and_on_another_number(toy, train, on_two, tmp_path):
    config = toy({"num_steps": 16, "checkpoint_every_steps": 4, "batch_size": 14})
    on_two(config, tmp_path / "whole")
    for name in ("again", "other"):
        stop = functools.partial(next, iter([False, False, True]))
        status = on_two(config, tmp_path / name, stop_requested=stop)
        assert status["state"] == "preempted" and 0 < status["step"] < 16
    on_two(config, tmp_path / "again")
    bits.assert_same_runs(tmp_path / "again", tmp_path / "whole")
    (status,) = train([config], tmp_path / "other")
    assert (status["state"], status["step"]) == ("done", 16)
