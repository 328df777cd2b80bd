"""The loss of a batch from its parts by hand; its gradient in parts of the batch."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax.models import recurrent
from rdt_jax.training import hyper, losses, update

WEIGHTS = {
    "loss.label_smoothing": 0.05,
    "loss.deep_supervision": 0.3,
    "loss.block_similarity": 0.2,
}


@pytest.fixture(scope="module")
def config(toy):
    model = {"model.core_blocks": 2, "model.output_init": "normal"}  # Loops differ.
    return toy(model | WEIGHTS)


@pytest.fixture(scope="module")
def lane(config, tiny_table):
    """Returns arguments of `update.loss`, for 12 rows, and what lanes share."""
    spec = hyper.make_spec([config], tiny_table)
    params = recurrent.init(jax.random.key(3), spec.model)
    params = jax.tree.map(lambda x: 5 * x, params)
    rows = tiny_table.rows_of("train")[:12]
    batch = update.Batch(
        tiny_table.tokens[rows],
        tiny_table.answer_positions[rows],
        tiny_table.targets[rows],
    )
    scalars = {k: jnp.float32(v) for k, v in hyper.lane_params(config).items()}
    return params, jax.tree.map(jnp.asarray, batch), scalars, spec


def applied(function, params, batch, scalars, spec):
    how = update.How(scalars, spec, noise=None, num_loops=2)
    return jax.jit(lambda params: function(params, batch, how))(params)


def loss_of(*lane):
    return applied(update.loss, *lane)


def test_the_loss_mixes_all_loops_and_adds_its_terms(lane):
    params, batch, _, spec = lane

    @jax.jit
    def cost(params):
        outputs = recurrent.apply(
            params, batch.tokens, batch.positions, spec.model, num_loops=2
        )
        read = lambda state: recurrent.readout(
            params, state, batch.tokens, batch.positions, spec.model
        )
        return [
            losses.answer_cross_entropy(read(state), batch.targets, 0.05).mean()
            for state in outputs.states
        ]

    first, last = cost(params)
    assert abs(first - last) > 1e-4
    apart = losses.block_similarity(params["core"], 1)
    expected = 0.7 * last + 0.3 * (first + last) / 2 + 0.2 * apart
    np.testing.assert_allclose(loss_of(*lane), expected, rtol=1e-5)


def test_what_no_lane_uses_is_not_in_the_loss(lane):
    *arguments, spec = lane
    assert spec.parts == {"deep_supervision", "block_similarity"}
    values = {
        name: loss_of(*arguments, dataclasses.replace(spec, parts=frozenset(parts)))
        for name, parts in {"none": (), "term": ("block_similarity",)}.items()
    }
    apart = losses.block_similarity(arguments[0]["core"], 1)
    np.testing.assert_allclose(
        values["term"] - values["none"], 0.2 * apart, rtol=1e-4, atol=1e-6
    )


def test_a_gradient_is_the_mean_over_micro_batches(lane):
    *arguments, spec = lane
    spec = dataclasses.replace(spec, parts=frozenset())
    config = spec.config.copy_and_resolve_references()
    config.gradient.micro_batches = 3
    in_parts = dataclasses.replace(spec, config=config)
    gradient_of = lambda spec: applied(update.loss_and_gradient, *arguments, spec)
    chex.assert_trees_all_close(
        gradient_of(in_parts), gradient_of(spec), rtol=1e-4, atol=1e-6
    )


def test_what_lanes_share_has_nothing_in_which_they_may_differ(lane):
    _, _, scalars, spec = lane
    assert set(scalars) == set(hyper.LANE_KEYS)
    for key in hyper.LANE_KEYS:
        section, leaf = key.split(".")
        if section != "model":
            assert leaf not in spec.config[section]
