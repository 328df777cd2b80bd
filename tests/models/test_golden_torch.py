"""Whole models against independent designs in PyTorch, with the same weights.

The values were made by `python -m tests.golden.make`, which needs the extra `torch`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax.models import import_ltg, recurrent
from rdt_jax.models.architecture import ModelConfig
from tests.conftest import ROOT
from tests.golden import FOLDER, inputs

# Of the largest number: float64 and float32 keep 15 and 7 digits.
DTYPES = {"float64": 1e-10, "float32": 1e-5}


def _read(name):
    with np.load(FOLDER / f"{name}.npz") as file:
        values = dict(file)
    weights = {k.removeprefix("weights/"): values.pop(k) for k in list(values)
               if k.startswith("weights/")}  # fmt: skip
    np.testing.assert_array_equal(values["tokens"], inputs.tokens())
    return weights, values


def _model(file, dtype, **changes):
    model = configs.load(f"{ROOT}/configs/{file}.py:smoke").model.to_dict()
    for key in ("preset", "dropout", "embedding_dropout", "init_scale"):
        del model[key]
    sizes = {"vocab_size": inputs.VOCAB, "max_length": inputs.LENGTH, "dtype": dtype}
    return ModelConfig(**model | sizes | changes)


def _apply(params, tokens, model, num_loops):
    """Reads the logits at every position."""
    answers = np.tile(np.arange(tokens.shape[1], dtype=np.int32), (len(tokens), 1))
    run = jax.jit(
        lambda params, tokens, answers: recurrent.apply(
            params, tokens, answers, model, num_loops=num_loops
        )
    )
    with jax.enable_x64(model.dtype == "float64"):
        params = jax.tree.map(lambda x: jnp.asarray(x, model.dtype), params)
        return jax.device_get(run(params, tokens, answers))


def _assert_close(ours, theirs, dtype):
    assert ours.dtype == dtype
    np.testing.assert_allclose(ours, theirs, atol=DTYPES[dtype] * np.abs(theirs).max())


@pytest.mark.parametrize(
    ("position", "dtype"),
    [("learned", "float64"), ("learned", "float32"), ("none", "float64")],
)
def test_rdt_is_gpt2_blocks_of_transformers_looped(position, dtype):
    weights, golden = _read("gpt2")
    if position == "none":
        del weights["position_embedding.weight"]
    imported = import_ltg.convert(weights, 3, "none")
    keys = {k.removeprefix("model."): v for k, v in imported.keys.items()}
    assert keys.pop("preset") == "rdt"
    model = _model("ltg_folder", dtype, **keys)
    for length in (inputs.LENGTH, 5):  # Long rows, and short ones, written out.
        tokens = golden["tokens"][:, :length]
        outputs = _apply(imported.params, tokens, model, 3)
        states = golden[f"{position}/states"][:, :, :length]
        _assert_close(outputs.states, states, dtype)
        _assert_close(outputs.logits, golden[f"{position}/logits"][:, :length], dtype)


def _universal(weights, dtype):
    w = weights
    joined = lambda kind: np.concatenate([w[f"{kind}_{n}"] for n in "qkv"], axis=-1)
    dense = lambda name: {"kernel": w[f"w_{name}"], "bias": w[f"b_{name}"]}
    norm = lambda place: {name: w[f"{place}_norm_{name}"] for name in ("scale", "bias")}
    block = {
        "attention": {
            "qkv": {"kernel": joined("w"), "bias": joined("b")},
            "output": dense("o"),
        },
        "attention_norm": norm("attention"),
        "mlp": {"input": dense("hidden"), "output": dense("out")},
        "mlp_norm": norm("transition"),
    }
    params = {
        "prelude": [], "core": [block], "coda": [], "embedding": w["embedding"],
        "final_norm": norm("final"), "halting": dense("halt"),
    }  # fmt: skip
    model = _model(
        "universal", dtype, width=12, num_heads=3, mlp_width=20, scale_embedding=False
    )
    return params, model


@pytest.mark.parametrize("dtype", DTYPES)
def test_universal_is_the_equations_of_act(dtype):
    weights, golden = _read("act")
    params, model = _universal(weights, dtype)
    # Some positions halt, at different steps, and some do not.
    halted = golden["remainders"] > 0
    assert not halted.all() and len(np.unique(golden["updates"][halted])) > 2
    outputs = _apply(params, golden["tokens"], model, 6)
    _assert_close(outputs.states[-1], golden["outputs"], dtype)
    _assert_close(outputs.logits, golden["logits"], dtype)
    _assert_close(outputs.penalties["ponder"], golden["ponder"], dtype)


def test_the_ponder_cost_has_the_gradient_of_its_equations():
    weights, golden = _read("act")
    params, model = _universal(weights, "float64")
    tokens = golden["tokens"]
    answers = np.tile(np.arange(tokens.shape[1], dtype=np.int32), (len(tokens), 1))

    def ponder(params):
        outputs = recurrent.apply(params, tokens, answers, model, num_loops=6)
        return outputs.penalties["ponder"]

    with jax.enable_x64(True):
        params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
        found = jax.device_get(jax.jit(jax.grad(ponder))(params))
    values = found["core"][0]["attention"]["qkv"]["kernel"][:, 24:]
    for name, ours in (
        ("w_halt", found["halting"]["kernel"]),
        ("b_halt", found["halting"]["bias"]),
        ("w_v", values),
    ):
        _assert_close(ours, golden[f"ponder_gradient/{name}"], "float64")


def _moeut_layer(w):
    heads = lambda name: w[name].transpose(1, 0, 2)  # [D, H, .]
    flat = lambda name: heads(name).reshape(12, -1)
    norm = lambda place: {name: w[f"{place}_norm_{name}"] for name in ("scale", "bias")}
    return {
        "attention": {
            "query_key": {"kernel": np.concatenate([flat("w_q"), flat("w_k")], -1)},
            "value": w["w_v"],
            "output": w["w_o"],
            "value_router": heads("select_v"),
            "output_router": heads("select_o"),
        },
        "attention_norm": norm("attention"),
        "mlp": {
            "router": w["select"][:, None],
            "keys": w["keys"],
            "values": w["values"],
        },
        "mlp_norm": norm("mlp"),
    }


@pytest.mark.parametrize(
    ("dispatch", "dtype"),
    [
        ("dense", "float64"),
        ("dense", "float32"),
        pytest.param("sorted", "float64", marks=pytest.mark.exhaustive),
    ],
)
def test_moeut_is_its_equations(dispatch, dtype):
    weights, golden = _read("moeut")
    part = lambda prefix: {
        k.removeprefix(prefix): w for k, w in weights.items() if k.startswith(prefix)
    }
    params = {
        "prelude": [],
        "core": [_moeut_layer(part(f"{i}/")) for i in range(2)],
        "coda": [],
        "embedding": weights["embedding"],
        "final_norm": part("final_norm_"),
        "readout": {"kernel": weights["w_head"], "bias": weights["b_head"]},
    }
    model = _model(
        "moeut", dtype, width=12, num_heads=2, head_width=8, num_experts=7,
        expert_width=5, experts_per_token=3, attention_experts=4,
        attention_experts_per_token=2, expert_dispatch=dispatch,
    )  # fmt: skip
    outputs = _apply(params, golden["tokens"], model, 3)
    _assert_close(outputs.states, golden["states"], dtype)
    _assert_close(outputs.logits, golden["logits"], dtype)
    for name in ("router_entropy_mlp", "router_entropy_attention"):
        _assert_close(outputs.penalties[name], golden[name], dtype)


def test_the_files_are_small():
    assert sum(path.stat().st_size for path in FOLDER.glob("*.npz")) < 200_000
