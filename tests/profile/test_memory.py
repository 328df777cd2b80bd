"""Predicted bytes against what XLA says, and the count on programs done by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.profile import memory
from rdt_jax.training import hyper, phases
from rdt_jax.training.pack import build as build_pack
from tests.conftest import ROOT

K = 1000


def peak(function, *shapes):
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return memory.peak_bytes(jax.make_jaxpr(function)(*arrays).jaxpr)


def test_a_chain_keeps_two_values_alive():
    assert peak(lambda x: jnp.sin(jnp.sin(jnp.sin(x))), (K,)) == 2 * 4 * K


def test_what_is_needed_later_stays_alive():
    def function(x):
        kept = jnp.sin(x)
        total = jnp.cos(jnp.cos(x)).sum()
        return kept + total

    # The kept value, one cosine and the next.
    assert peak(function, (K,)) == 3 * 4 * K


def test_the_inside_of_a_loop_counts_once():
    def function(x):
        return jax.lax.fori_loop(0, 50, lambda _, y: jnp.sin(jnp.sin(y)), x)

    # What goes out, and one sine and the next inside.
    assert 3 * 4 * K <= peak(function, (K,)) <= 3 * 4 * K + 100
    stacked = lambda x: jax.lax.scan(lambda y, _: (y + 1, y), x, length=50)[1]
    assert 50 * 4 * K <= peak(stacked, (K,)) <= 55 * 4 * K


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param({}, marks=pytest.mark.exhaustive),
        {"model.remat": "none", "recurrence.num_loops": 7},
        pytest.param({"batch_size": 64}, marks=pytest.mark.exhaustive),
        pytest.param(
            {"gradient.filter": "grokfast_ma", "gradient.filter_window": 30},
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_a_prediction_is_no_less_and_at_most_three_times_what_xla_needs(overrides):
    config = configs.override(
        configs.load(f"{ROOT}/configs/knowledge_composition.py:smoke"), overrides
    )
    table = tasks.make_table(config)
    found = memory.predict(config, table)
    program, lanes = build_pack([config], table), hyper.make_lanes([config])
    state = program.shapes(lanes)
    compiled = [
        program.lower(state, lanes).compile(),
        jax.jit(program.evaluate).lower(state.params).compile(),
    ]
    temporary = max(c.memory_analysis().temp_size_in_bytes for c in compiled)
    leaves = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    params = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.params))
    assert 1 <= found.lane / (temporary + leaves) <= 3
    assert found.params == params
    assert found.state == leaves + phases.RING * params
    arrays = (table.tokens, table.answer_positions, table.targets)
    assert found.shared > sum(np.asarray(x).nbytes for x in arrays)


@pytest.mark.parametrize(("predicted", "compiled"), [(100, 401), (401, 100), (1, 0)])
def test_a_prediction_that_is_far_off_is_told_with_both_numbers(predicted, compiled):
    told = memory.misprediction(predicted, compiled)
    assert f"{predicted:,}" in told and f"{compiled:,}" in told
    assert memory.misprediction(100, 400) is memory.misprediction(400, 100) is None
