"""Exported parameters: read again as they were, where there are, by released names."""

import dataclasses

import jax
import numpy as np
import pytest
import safetensors.numpy

from rdt_jax import cli, tasks
from rdt_jax import config as configs
from rdt_jax.analysis import runs, stored
from rdt_jax.models import import_ltg, presets, recurrent
from rdt_jax.store import files
from rdt_jax.training import exported
from tests.conftest import ROOT
from tests.golden import FOLDER


def _make(name="knowledge_composition", **overrides):
    """Returns random parameters of a smoke preset, its config and its table."""
    config = configs.load(f"{ROOT}/configs/{name}.py:smoke")
    sizes = {"width": 12, "num_heads": 3, "mlp_width": 20} | overrides
    config = configs.override(config, {f"model.{k}": v for k, v in sizes.items()})
    table = tasks.make_table(config)
    model = presets.model_config(config, table)
    shapes = jax.eval_shape(lambda key: recurrent.init(key, model), jax.random.key(0))
    rng = np.random.default_rng(0)
    draw = lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype)
    return jax.tree.map(draw, shapes), config, table


def _assert_same(found, params):
    assert jax.tree.structure(found) == jax.tree.structure(params)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(params)):  # noqa: B905
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["huginn", "gated", "universal", "moeut"])
def test_other_models_are_read_again_under_our_names(tmp_path, name):
    sizes = {"num_heads": 2} if name == "huginn" else {}
    params, config, table = _make(name, **sizes)
    # As matrices of other programs may lie in memory.
    params["embedding"] = np.asfortranarray(params["embedding"])
    shapes = exported.write(tmp_path / "a" / "b", params, config, table, {"step": "7"})
    assert "core/0/attention/output/kernel" in shapes or name == "moeut"
    assert shapes["embedding"] == (len(table.vocab), 12)
    found = exported.read(tmp_path / "a" / "b")
    _assert_same(found.params, params)
    assert found.config.to_dict() == config.to_dict()
    assert found.model == presets.model_config(config, table)
    assert found.metadata["step"] == "7" and found.metadata["layout"] == "rdt_jax"
    assert sorted(p.name for p in (tmp_path / "a").rglob("*")) == [
        "b", "config.json", "model.safetensors",
    ]  # fmt: skip


@pytest.mark.parametrize("injection", ["none", "add"])
@pytest.mark.parametrize("position", ["learned", "sinusoidal", "none"])
def test_what_kohli_et_al_train_has_their_names(tmp_path, position, injection):
    params, config, table = _make(position=position, injection=injection)
    shapes = exported.write(tmp_path / "x", params, config, table, {})
    with np.load(FOLDER / "gpt2.npz") as file:  # The state_dict of a PyTorch module.
        theirs = {name.removeprefix("weights/") for name in file if "weights/" in name}
    if position != "learned":
        theirs.remove("position_embedding.weight")
    assert set(shapes) == theirs | ({"pe"} if position == "sinusoidal" else set())
    found = exported.read(tmp_path / "x")
    assert found.metadata["layout"] == "ltg"
    _assert_same(found.params, params)


def test_an_imported_export_gives_equal_logits(tmp_path, capsys):
    params, config, table = _make()
    exported.write(tmp_path / "x", params, config, table, {})
    source = str(tmp_path / "x" / exported.WEIGHTS)
    asked = ["--num-loops=2", "--num-heads=3", "--injection=none"]
    assert cli.main(["import-ltg", source, str(tmp_path / "runs"), *asked]) == 0
    run = runs.read_run(next(tmp_path.glob("runs/*")))
    assert capsys.readouterr().out.strip() == str(run.folder)
    weights = import_ltg.read(tmp_path / "x" / exported.WEIGHTS)
    again = import_ltg.convert(weights, 3, "none")
    _assert_same(again.params, params)
    assert list(stored.checkpoints(run)) == ["final"]
    model = presets.model_config(config, table)
    same = presets.sized(run.config, again.vocab_size, again.max_length)
    differing = {
        field.name
        for field in dataclasses.fields(model)
        if getattr(model, field.name) != getattr(same, field.name)
    }
    assert differing <= {"remat", "output_init", "embedding_std"}  # Of training.
    run_model = jax.jit(
        lambda params: (
            recurrent.apply(
                params, table.tokens[:9], table.answer_positions[:9], model, num_loops=2
            ).logits
        )
    )
    np.testing.assert_array_equal(run_model(again.params), run_model(params))


@pytest.mark.parametrize("content", ["file", "folder"])
def test_what_is_in_the_way_is_left_alone(tmp_path, content):
    params, config, table = _make()
    out = tmp_path / "x"
    out.mkdir()
    exported.write(out, params, config, table, {})  # An empty folder is filled.
    if content == "file":
        out = out / "config.json"
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    with pytest.raises(ValueError, match="OUT must not exist or be an empty folder"):
        exported.write(out, params, config, table, {})
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.*")}


def test_an_export_that_is_cut_short_leaves_nothing(tmp_path, monkeypatch):
    def refuse(path, text):
        raise OSError("No space left on device")

    monkeypatch.setattr(files, "write_text", refuse)
    with pytest.raises(OSError, match="No space"):
        exported.write(tmp_path / "x", *_make(), {})
    assert list(tmp_path.iterdir()) == []


def _cut(folder):
    path = folder / exported.WEIGHTS
    path.write_bytes(path.read_bytes()[:-4])


def _plain(folder):
    safetensors.numpy.save_file({"a": np.ones(2)}, folder / exported.WEIGHTS)


def _widen(folder):
    config = configs.from_json((folder / "config.json").read_text())
    wider = configs.override(config, {"model.mlp_width": 24})
    (folder / "config.json").write_text(configs.to_json(wider))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (_cut, "x is no export that can be read: "),
        (_plain, "has not the metadata of `rdt export`"),
        (_widen, "x: the parameters do not fit config.json"),
    ],
)
def test_what_is_no_export_is_refused(tmp_path, change, message):
    exported.write(tmp_path / "x", *_make("gated"), {})
    change(tmp_path / "x")
    with pytest.raises(ValueError, match=message):
        exported.read(tmp_path / "x")
