"""The mesh: parts of a batch on several devices are the batch on one."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from rdt_jax import config as configs
from rdt_jax import machine, sharding, tasks
from rdt_jax.models import presets, recurrent

Axes = sharding.Axes


@pytest.fixture(scope="module")
def mesh():
    assert jax.device_count() == 2
    return sharding.make_mesh(Axes(data=2))


def spread_mean(function, mesh):
    """Returns the mean over rows as every device works it out."""
    return jax.jit(
        sharding.on_own_part(
            sharding.mean_over_rows(function, mesh), mesh,
            in_specs=sharding.EVERYWHERE, out_specs=sharding.EVERYWHERE,
        )
    )  # fmt: skip


def test_axes_are_read_from_text():
    assert sharding.parse("trial=1,data=2,model=4") == (1, 2, 4)
    assert sharding.parse("model=3") == Axes(model=3) == (1, 1, 3)


@pytest.mark.parametrize(
    "text", ["", "data", "data=0", "data=-1", "data=2,data=2", "rows=2", "data=two"]
)
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match="--mesh must give trial, data, model sizes"):
        sharding.parse(text)


def test_a_mean_over_rows_is_that_of_one_device(mesh):
    def function(shared, rows, part):
        return {"mean": (rows["x"] * shared).mean(), "part": part.astype(jnp.float32)}

    rows = {"x": jnp.arange(12.0).reshape(6, 2)}
    alone = sharding.mean_over_rows(function, None)(jnp.float32(3), rows)
    spread = spread_mean(function, mesh)(jnp.float32(3), rows)
    assert alone["mean"] == spread["mean"] == 16.5
    assert alone["part"] == 0 and spread["part"] == 0.5


def test_the_devices_meet_once_per_update(mesh):
    function = lambda shared, rows, part: {"a": rows.mean(), "b": shared * rows.sum()}
    spread = spread_mean(function, mesh)
    text = spread.lower(jnp.float32(1), jnp.ones((4, 3))).compile().as_text()
    # Of one vector: a reduction of a tuple has a meeting for each of its members.
    (reduction,) = re.findall(r"= (.*) all-reduce\(", text)
    assert reduction.startswith("f32[2]")


def test_rows_that_do_not_divide_stay_whole(mesh):
    tree = {"a": jnp.ones((3, 4)), "b": jnp.ones((5, 6))}
    spec = lambda tree: {name: x.sharding.spec for name, x in tree.items()}
    by_column = PartitionSpec(None, "data")
    assert spec(sharding.spread(tree, mesh, 1)) == {"a": by_column, "b": by_column}
    whole = dict.fromkeys("ab", PartitionSpec())
    assert spec(sharding.spread(tree, mesh, 0)) == whole
    assert spec(sharding.spread(tree, mesh)) == whole
    assert sharding.spread(tree, None, 1) is tree


def test_lanes_are_filled_up_with_the_last_and_read_without_it():
    mesh = sharding.make_mesh(Axes(trial=2))
    assert [sharding.padded_lanes(lanes, mesh) for lanes in (1, 2, 3)] == [2, 2, 4]
    assert sharding.padded_lanes(3, None) == 3
    state = {"w": np.arange(6.0).reshape(3, 2), "step": np.int32(7)}
    full = sharding.pad_lanes(state, mesh)
    assert full["w"].tolist() == [[0, 1], [2, 3], [4, 5], [4, 5]]
    placed = sharding.place(full, sharding.layout(full, mesh))
    assert placed["w"].sharding.spec[0] == "trial"
    back = sharding.read(placed, mesh, 3)
    np.testing.assert_equal(back, state)
    assert sharding.pad_lanes(state, None)["w"] is state["w"]


# The axis of each parameter of a block that is cut, counted without lanes.
DENSE = {
    "attention/qkv/kernel": 1, "attention/qkv/bias": 0, "attention/output/kernel": 0,
    "mlp/input/kernel": 1, "mlp/input/bias": 0, "mlp/output/kernel": 0,
}  # fmt: skip
EXPERTS = {
    "attention/query_key/kernel": 1, "attention/value": 0, "attention/output": 0,
    "attention/value_router": 1, "attention/output_router": 1,
    "mlp/keys": 0, "mlp/values": 0,
}  # fmt: skip
HUGINN = {
    "attention/query_key/kernel": 1, "attention/query_key/bias": 0,
    "attention/value/kernel": 1, "attention/output/kernel": 0,
    "mlp/input/kernel": 1, "mlp/gate/kernel": 1, "mlp/output/kernel": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "cut", "blocks"),
    [
        ("gated", DENSE, ("core/0/",)),
        ("moeut", EXPERTS, ("core/0/", "core/1/")),
        ("huginn", HUGINN, ("prelude/0/", "core/0/", "core/1/", "coda/0/")),
    ],
)
def test_heads_widths_and_experts_are_cut_and_nothing_else(root, name, cut, blocks):
    mesh = sharding.make_mesh(Axes(model=2))
    config = configs.load(f"{root}/configs/{name}.py:smoke")
    model = presets.model_config(config, tasks.make_table(config))
    assert sharding.problems(Axes(model=2), config, model) == []
    params = jax.eval_shape(lambda key: recurrent.init(key, model), jax.random.key(0))
    lanes = jax.tree.map(lambda x: jax.ShapeDtypeStruct((3, *x.shape), x.dtype), params)
    placed = sharding.layout({"mu": lanes}, mesh)  # As an optimizer keeps them.
    found = {}
    for path, sharded in jax.tree_util.tree_leaves_with_path(placed):
        assert sharded.spec[0] == "trial"
        if "model" in sharded.spec:
            leaf = jax.tree_util.keystr(path, simple=True, separator="/")
            found[leaf] = sharded.spec.index("model") - 1
    assert found == {
        f"mu/{block}{leaf}": axis for block in blocks for leaf, axis in cut.items()
    }


def test_what_does_not_divide_is_named(root):
    config = configs.load(f"{root}/configs/moeut.py:smoke")
    config = configs.override(config, {"batch_size": 12, "gradient.micro_batches": 2})
    model = presets.model_config(config, tasks.make_table(config))
    problems = sharding.problems(Axes(data=5, model=3), config, model)
    assert len(problems) == 3
    assert problems[0].startswith(
        "batch_size (12) must be a multiple of gradient.micro"
    )
    assert "the data axis of --mesh (5)" in problems[0]
    assert problems[1:] == [
        f"model.{key} ({size}) must be a multiple of the model axis of --mesh (3)."
        for key, size in (("num_experts", 16), ("num_heads", 4))
    ]
    mesh = sharding.make_mesh(Axes(model=2))
    state = {"attention": {"qkv": {"kernel": jnp.zeros((1, 2, 7))}}}
    with pytest.raises(ValueError, match=r"qkv/kernel \(1, 2, 7\) cannot be cut by"):
        sharding.layout(state, mesh)


def test_a_mesh_has_at_most_the_devices_there_are():
    assert sharding.make_mesh(Axes()) is None
    with pytest.raises(ValueError, match="at most 2 devices.*got trial=1, data=3, mod"):
        sharding.make_mesh(Axes(data=3), on_cpu=False)
    with pytest.raises(ValueError, match="must have 2 devices, those of 2 processes"):
        sharding.make_mesh(Axes(), on_cpu=False, processes=2)


def test_cores_share_the_batches_of_narrow_models_alone(tiny_config, monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 4)
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
