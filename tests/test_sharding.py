"""The mesh: parts of a batch on several devices are the batch on one."""

import re

import jax
import jax.numpy as jnp
import pytest

from rdt_jax import config as configs
from rdt_jax import sharding


@pytest.fixture(scope="module")
def mesh():
    assert jax.device_count() == 2
    return sharding.make_mesh(2)


def test_a_mean_over_rows_is_that_of_one_device(mesh):
    def function(shared, rows, part):
        return {"mean": (rows["x"] * shared).mean(), "part": part.astype(jnp.float32)}

    rows = {"x": jnp.arange(12.0).reshape(6, 2)}
    alone = sharding.mean_over_rows(function, None)(jnp.float32(3), rows)
    spread = jax.jit(sharding.mean_over_rows(function, mesh))(jnp.float32(3), rows)
    assert alone["mean"] == spread["mean"] == 16.5
    assert alone["part"] == 0 and spread["part"] == 0.5


def test_the_devices_meet_once_per_update(mesh):
    function = lambda shared, rows, part: {"a": rows.mean(), "b": shared * rows.sum()}
    spread = jax.jit(sharding.mean_over_rows(function, mesh))
    text = spread.lower(jnp.float32(1), jnp.ones((4, 3))).compile().as_text()
    # Of one vector: a reduction of a tuple has a meeting for each of its members.
    (reduction,) = re.findall(r"= (.*) all-reduce\(", text)
    assert reduction.startswith("f32[2]")


def test_rows_that_do_not_divide_stay_whole(mesh):
    tree = {"a": jnp.ones((3, 4)), "b": jnp.ones((5, 6))}
    spread = sharding.spread(tree, mesh, axis=1)
    assert len(spread["a"].sharding.device_set) == 2
    assert sharding.spread(tree, mesh, axis=0) is tree
    assert sharding.spread(tree, None, axis=1) is tree


def test_a_mesh_has_at_most_the_devices_there_are():
    assert sharding.make_mesh(1) is None
    with pytest.raises(ValueError, match="needs 3 devices, there are 2"):
        sharding.make_mesh(3, on_cpu=False)


def test_cores_share_the_batches_of_narrow_models_alone(tiny_config, monkeypatch):
    monkeypatch.setattr(sharding.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    cores = lambda **keys: sharding.cores_for(
        configs.override(
            tiny_config,
            {"batch_size": 12}
            | {key.replace("__", "."): value for key, value in keys.items()},
        )
    )
    assert cores() == cores(model__width=256) == 4
    assert cores(batch_size=13) == cores(gradient__micro_batches=2) == 1
    assert cores(model__width=260) == 1
