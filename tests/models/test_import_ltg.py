"""Released checkpoints, as mappings of numpy arrays and as files."""

import sys
import types

import numpy as np
import pytest
import safetensors.numpy

from rdt_jax import config as configs
from rdt_jax.models import import_ltg
from tests.golden import FOLDER


@pytest.fixture
def weights():
    with np.load(FOLDER / "gpt2.npz") as file:
        return {k.partition("/")[2]: file[k] for k in file if "weights/" in k}


def test_compiled_modules_buffers_and_a_missing_head_change_nothing(weights):
    plain = import_ltg.convert(weights, 3, "none")
    other = {f"_orig_mod.{name}": weight for name, weight in weights.items()}
    other["_orig_mod.blocks.0.attn.bias"] = np.ones((1, 1, 11, 11), bool)
    other["_orig_mod.blocks.1.attn.masked_bias"] = np.float32(-1e4)
    other["token_embedding"] = other.pop("_orig_mod.token_embedding.weight")
    del other["_orig_mod.lm_head.weight"]
    again = import_ltg.convert(other, 3, "none")
    assert again.keys == plain.keys
    np.testing.assert_equal(again.params, plain.params)


def test_the_shape_of_the_model_is_read_off_the_weights(weights):
    imported = import_ltg.convert(weights, 3, "none")
    found = {
        "model.preset": "rdt",
        "model.width": 12,
        "model.num_heads": 3,
        "model.mlp_width": 48,
        "model.core_blocks": 2,
        "model.position": "learned",
        "model.injection": "none",
    }
    assert found.items() <= imported.keys.items()
    assert (imported.vocab_size, imported.max_length) == (17, 11)
    del weights["position_embedding.weight"]
    imported = import_ltg.convert(weights, 3, "add")
    assert imported.keys["model.position"] == "none"
    assert imported.keys["model.injection"] == "add"
    assert imported.max_length is None and "position" not in imported.params


def test_only_one_layout_is_known_to_inject_nothing(weights):
    table = weights.pop("position_embedding.weight")
    for positions in (table, table[:6], None):
        changed = dict(weights)
        if positions is not None:
            changed["position_embedding.weight"] = positions
        with pytest.raises(ValueError, match="--injection must be none or add"):
            import_ltg.convert(changed, 3)
    weights["position_embedding.weight"] = table[:5]  # Of train_systematicity.py.
    imported = import_ltg.convert(weights, 3)
    assert imported.keys["model.injection"] == "none" and imported.row_length is None


def test_export_undoes_convert(weights):
    again = import_ltg.export(import_ltg.convert(weights, 3, "none").params)
    np.testing.assert_equal(again, weights)


@pytest.mark.parametrize(
    ("overrides", "covered"),
    [
        ({}, True),
        ({"model.injection": "add", "model.position": "sinusoidal"}, True),
        ({"model.injection": "diagonal"}, False),
        ({"model.branch_scale": "loops"}, False),
        ({"model.preset": "custom", "model.prelude_blocks": 1}, False),
        ({"model.preset": "custom", "model.position": "rope"}, False),
    ],
)
def test_their_names_are_given_to_what_they_train(tiny_config, overrides, covered):
    assert import_ltg.covers(configs.override(tiny_config, overrides)) == covered


def test_safetensors_are_read_without_torch(tmp_path):
    path = tmp_path / "c.safetensors"
    with pytest.raises(ValueError, match="c.safetensors cannot be read: No such file"):
        import_ltg.read(path)
    safetensors.numpy.save_file({"w": np.arange(3, dtype=np.float16)}, path)
    found = import_ltg.read(path)
    assert found["w"].dtype == np.float32 and found["w"].tolist() == [0, 1, 2]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="c.safetensors cannot be read: "):
        import_ltg.read(path)


def _without(name):
    return lambda w: w.pop(name)


def _with(name, value):
    return lambda w: w.update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("token_embedding.weight"), "must have token_embedding.weight"),
        (_without("ln_f.bias"), "lacks ln_f.bias"),
        (_without("blocks.1.mlp.c_fc.bias"), "lacks blocks.1.mlp.c_fc.bias"),
        (_without("blocks.0.ln_1.bias"), "lacks blocks.0.ln_1.bias"),
        (_with("blocks.3.ln_1.bias", np.zeros(12)), "has blocks.3.ln_1.bias, which"),
        (_with("blocks.99999999.x", np.zeros(1)), "has blocks.99999999.x, which is"),
        (_with(f"blocks.{5_000 * '9'}.x", np.zeros(1)), "9.x, which is not known"),
        (_with("pe", np.zeros((11, 12))), "must have one of position_.* and pe"),
        (_with("adapter.weight", np.zeros(12)), "has adapter.weight, which is not"),
        (
            _with("blocks.0.attn.c_attn.weight", np.zeros((36, 12))),
            r"blocks.0.attn.c_attn.weight must be \[12, 36\], got \[36, 12\]",
        ),
        (
            _with("position_embedding.weight", np.zeros((11, 13))),
            r"position_embedding.weight must be \[any, 12\], got \[11, 13\]",
        ),
        (_with("lm_head.weight", np.zeros((17, 12))), "must equal token_embedding"),
        (_with("ln_f.weight", np.full(12, np.nan)), "ln_f.weight must be finite"),
    ],
)
def test_what_does_not_fit_is_named(weights, change, message):
    change(weights)
    with pytest.raises(ValueError, match=message):
        import_ltg.convert(weights, 3)


def test_fixed_positions_must_be_the_sinusoids(weights):
    del weights["position_embedding.weight"]
    with np.load(FOLDER / "gpt2.npz") as file:
        weights["pe"] = file["pe"]
    imported = import_ltg.convert(weights, 3, "none")
    assert imported.keys["model.position"] == "sinusoidal"
    assert (imported.max_length, imported.row_length) == (11, 11)
    assert "position" not in imported.params
    for wrong, message in (
        (-weights["pe"], "pe must be the sinusoids"),
        (weights["pe"][:, :11], r"pe must be \[any, 12\], got \[11, 11\]"),
        (weights["pe"][0], r"pe must be \[any, 12\], got \[12\]"),
    ):
        with pytest.raises(ValueError, match=message):
            import_ltg.convert(weights | {"pe": wrong}, 3, "none")


@pytest.mark.parametrize("num_heads", [5, 0, -3])
def test_heads_must_divide_the_width(weights, num_heads):
    message = rf"--num-heads must divide the checkpoint's width \(12\), got {num_heads}"
    with pytest.raises(ValueError, match=message):
        import_ltg.convert(weights, num_heads, "none")


class _Tensor:
    """As much of a torch.Tensor as `read` touches."""

    def __init__(self, array, layout="strided"):
        self.array = array
        self.layout = layout
        self.shape = array.shape

    is_quantized = is_meta = False

    def is_complex(self):
        return np.iscomplexobj(self.array)

    def numel(self):
        return self.array.size

    def detach(self):
        return self

    def to(self, dtype):
        return _Tensor(self.array.astype(dtype))

    def numpy(self):
        return self.array


_REPEATED = np.broadcast_to(np.zeros(1), (10**6, 10**6))


@pytest.fixture
def stored(monkeypatch):
    """What the file holds; a stand-in for PyTorch, which the tests do not need."""
    stored = {}

    def load(path, map_location, weights_only):
        assert weights_only and map_location == "cpu"
        if "error" in stored:
            raise stored["error"]
        return stored["content"]

    torch = types.SimpleNamespace(
        load=load, Tensor=_Tensor, float32=np.float32, strided="strided"
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    return stored


def test_reads_the_weights_in_float32(stored, tmp_path):
    (tmp_path / "c.pt").write_bytes(bytes(6))
    weight = np.arange(3, dtype=np.float16)
    stored["content"] = {"epoch": 7, "model_state_dict": {"w": _Tensor(weight)}}
    found = import_ltg.read(tmp_path / "c.pt")
    assert found.keys() == {"w"} and found["w"].dtype == np.float32
    np.testing.assert_array_equal(found["w"], [0, 1, 2])


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"content": {"epoch": 7}}, "with the key model_state_dict, got epoch"),
        ({"content": [1]}, "with the key model_state_dict, got no dict"),
        ({"content": {"model_state_dict": {"w": 1}}}, "w must be a dense tensor"),
        (
            {"content": {"model_state_dict": {"w": _Tensor(np.ones(2, complex))}}},
            "w must be a dense tensor of real numbers",
        ),
        (
            {"content": {"model_state_dict": {"w": _Tensor(np.zeros(1), "sparse")}}},
            "w must be a dense tensor",
        ),
        (
            {"content": {"model_state_dict": {"w": _Tensor(_REPEATED)}}},
            r"w must have no more numbers than the file has bytes \(6\), got \[1000000",
        ),
        ({"error": RuntimeError("GLOBAL __main__.X was")}, "but holds __main__.X"),
        ({"error": EOFError()}, "but cannot be read as one"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(stored, tmp_path, held, message):
    (tmp_path / "c.pt").write_bytes(bytes(6))
    stored.update(held)
    with pytest.raises(ValueError, match=message):
        import_ltg.read(tmp_path / "c.pt")


def test_a_missing_file_or_torch_is_named(stored, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"must be a .pt file, got .*c.pt"):
        import_ltg.read(tmp_path / "c.pt")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match="needs torch"):
        import_ltg.read(tmp_path / "c.pt")
