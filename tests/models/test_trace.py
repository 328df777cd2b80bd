"""The traced pass is the model's own pass, and a patch is felt where it should be."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax.models import attention, layers, presets, recurrent, trace
from tests.models import combinations

B, T, A = 3, 4, 2
KEPT = "intermediates"
EXHAUSTIVE = pytest.mark.exhaustive
TOKENS = np.array([[3, 9, 1, 4], [5, 2, 8, 0], [7, 7, 0, 0]], np.int32)
ANSWERS = np.array([[1, 3], [0, 2], [1, 1]], np.int32)
_trace = jax.jit(trace.trace, static_argnames=("config", "num_loops"))


_params = functools.partial(combinations.draw, seed=3, scale=0.4)


def _model(name, tiny_config, tiny_table, **changes):
    config = combinations.make(tiny_config, combinations.PRESETS[name], name)
    model = presets.model_config(config, tiny_table)
    model = dataclasses.replace(model, max_length=T, **changes)
    return model, config.recurrence.num_loops


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=EXHAUSTIVE) if name in ("gated", "moeut") else name
        for name in sorted(combinations.PRESETS)
    ],
)
def test_a_traced_pass_is_the_models_own(tiny_config, tiny_table, name, monkeypatch):
    monkeypatch.setattr(attention, "SHORT", 0)  # Fewer operations to compile.
    model, _ = _model(name, tiny_config, tiny_table)
    # More than are written out, where there is a loop.
    loops = 1 if name == "feedforward" else 5
    params = _params(model)
    both = lambda *inputs: (
        recurrent.apply(*inputs, model, num_loops=loops),
        trace.trace(*inputs, model, num_loops=loops),
    )
    own, traced = jax.jit(both)(params, TOKENS, ANSWERS)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=2e-6)
    close(traced.logits, own.logits)
    depth = model.prelude_blocks + loops * model.core_blocks + model.coda_blocks
    assert traced.before.shape == traced.after.shape == (depth, B, T, model.width)
    assert traced.attention.shape == (depth, B, model.num_heads, T, T)
    assert len(trace.places(model, loops)) == depth
    ends = [
        number
        for number, place in enumerate(trace.places(model, loops))
        if (place.stage, place.block) == ("core", model.core_blocks - 1)
    ]
    close(traced.after[np.array(ends)], own.states)
    # What is read out of the last state is the answer.
    last = attention.take_positions(traced.after[-1], ANSWERS)
    close(recurrent.unembed(params, last, model), own.logits)
    close(traced.embedded, recurrent.embed(params, TOKENS, model))
    # Weights are shares of what a query may see.
    weights = np.asarray(traced.attention)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    assert (np.triu(weights, 1) == 0).all()
    assert (weights[:, 1, :, :, 3] == 0).all()  # Padding.
    assert (weights[:, 0, :, 3] > 0).all()


def test_blocks_are_counted_as_they_run(tiny_config, tiny_table):
    model, _ = _model("huginn", tiny_config, tiny_table)
    core = [trace.Place("core", loop, 0) for loop in range(3)]
    assert trace.places(model, 3) == [
        trace.Place("prelude", 0, 0), *core, trace.Place("coda", 0, 0),
    ]  # fmt: skip


def test_both_ways_to_attend_keep_the_same_weights(
    tiny_config, tiny_table, monkeypatch
):
    model, _ = _model("rdt", tiny_config, tiny_table)
    block = layers.Block(model)
    states = np.sin(np.arange(B * T * model.width)).reshape(B, T, -1)
    mask = np.tril(np.ones((T, T), bool))[None] & (TOKENS != 0)[:, None]
    params = _params(model)["core"][0]

    def weights():
        run = jax.jit(lambda x: block.apply(params, x, mask, None, mutable=KEPT))
        kept = run(states.astype(np.float32))[1]["intermediates"]["attention"]
        return attention.join_weights(kept["weights"])

    params = {"params": params}
    short = weights()
    monkeypatch.setattr(attention, "SHORT", 0)
    assert short.shape == (B, model.num_heads, T, T)
    np.testing.assert_allclose(weights(), short, rtol=1e-4, atol=1e-6)
    assert np.ptp(short) > 0.1


def test_a_plain_models_block_reads_what_the_one_before_returned(
    tiny_config, tiny_table
):
    model, loops = _model("rdt", tiny_config, tiny_table)
    traced = _trace(_params(model), TOKENS, ANSWERS, model, num_loops=loops)
    np.testing.assert_array_equal(traced.before[1:], traced.after[:-1])
    np.testing.assert_array_equal(traced.before[0], traced.embedded)


@pytest.mark.parametrize(
    "name", ["rdt", *(pytest.param(n, marks=EXHAUSTIVE) for n in ("huginn", "gated"))]
)
def test_a_patch_is_felt_there_and_later_only(tiny_config, tiny_table, name):
    model, loops = _model(name, tiny_config, tiny_table)
    run = functools.partial(_trace, _params(model), TOKENS, ANSWERS, model)
    clean = run(num_loops=loops)
    if name == "gated":  # Something stands between two loops: what tells their number.
        between = np.abs(clean.before[1:] - clean.after[:-1])
        assert between.max(axis=(1, 2, 3)).all()
    positions = np.array([1, 2, 0])
    rows = np.arange(B)
    none = trace.Patch(jnp.int32(-1), positions, np.ones((B, model.width), np.float32))
    for block in range(len(clean.before)):
        own = none._replace(block=block, states=clean.before[block, rows, positions])
        same = run(num_loops=loops, patch=own)
        np.testing.assert_allclose(same.logits, clean.logits, rtol=1e-5, atol=1e-5)
        other = run(num_loops=loops, patch=none._replace(block=block))
        changed = np.abs(other.before - clean.before).max(-1) > 1e-6  # [E, B, T]
        assert not changed[:block].any()
        at = np.arange(T)[None] == positions[:, None]
        np.testing.assert_array_equal(changed[block], at)
        later = changed[block + 1 :]
        assert not (later & (np.arange(T)[None, None] < positions[:, None])).any()
        assert later[:, rows, positions].all()
        np.testing.assert_array_equal(other.before[block][at], 1)
    silent = run(num_loops=loops, patch=none)
    np.testing.assert_allclose(silent.logits, clean.logits, rtol=1e-4, atol=1e-5)


def test_the_model_itself_keeps_nothing(tiny_config, tiny_table):
    model, loops = _model("rdt", tiny_config, tiny_table)
    text = str(
        jax.make_jaxpr(
            lambda params: recurrent.apply(
                params, TOKENS, ANSWERS, model, num_loops=loops
            )
        )(_params(model))
    )
    watched = str(
        jax.make_jaxpr(
            lambda params: trace.trace(params, TOKENS, ANSWERS, model, num_loops=loops)
        )(_params(model))
    )
    shape = f"{B},{model.num_heads},{T},{T}"
    assert shape in watched and shape not in text
