"""Mixtures of experts: two ways to compute one thing, who is chosen, who is in use."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax.models import attention, experts, feedforward, inits
from rdt_jax.models.architecture import ModelConfig

N, E, K, D, F = 23, 7, 2, 6, 5
RANDOM = np.random.default_rng(0)
CONFIG = ModelConfig(
    vocab_size=2, max_length=2, width=412, num_heads=4, mlp_ratio=1, prelude_blocks=0,
    core_blocks=2, coda_blocks=0, position="none", output_init="normal",
    embedding_std=1.0, dtype="float32", remat="none", weight_init="moeut",
    init_depth=16,
)  # fmt: skip


def _draw(*shape):
    return np.float32(RANDOM.standard_normal(shape))


def test_the_highest_are_chosen_and_weigh_their_sigmoid():
    logits = _draw(N, E)
    route = experts.route(jnp.asarray(logits), K)
    for n in range(N):
        best = np.argsort(-logits[n])[:K]
        np.testing.assert_array_equal(route.chosen[n], best)
        expected = 1 / (1 + np.exp(-logits[n][best]))
        np.testing.assert_allclose(route.scores[n], expected, rtol=1e-6)
        gates = np.zeros(E)
        gates[best] = expected
        np.testing.assert_allclose(experts.gates(route)[n], gates, rtol=1e-6)
    low = experts.route(jnp.asarray(logits, jnp.bfloat16), K)
    assert low.scores.dtype == low.logits.dtype == jnp.float32


@pytest.mark.parametrize(
    "chosen",
    [np.full(29, 3), np.arange(29) % E, RANDOM.integers(0, E, 29), np.array([6])],
)
def test_every_row_stands_in_a_block_of_its_expert(chosen):
    groups = experts.group(jnp.asarray(chosen), E)
    rows = groups.row.reshape(groups.expert.size, -1)
    for row, expert in enumerate(chosen):
        block, _ = np.argwhere(rows == row)[0]
        assert groups.expert[block] == expert
        assert groups.row[groups.place[row]] == row
    assert (groups.row < chosen.size).sum() == chosen.size
    x = jnp.asarray(_draw(chosen.size, D))
    again = experts.scatter(experts.gather(x, groups), groups)
    np.testing.assert_array_equal(again, x)


@pytest.mark.parametrize(
    "module", [feedforward.SigmaMoe, attention.SwitchHead], ids=["mlp", "attention"]
)
def test_sorted_experts_equal_dense_ones(module):
    """Values and gradients, alone and under vmap, also where all choose one expert."""
    config = dataclasses.replace(
        CONFIG, width=D, num_heads=3, head_width=4, num_experts=E, expert_width=F,
        experts_per_token=K, attention_experts=E, attention_experts_per_token=K,
        bias="none",
    )  # fmt: skip
    x, normed = _draw(2, 5, D), _draw(2, 5, D)
    normed[..., 0] = 1.0
    mask = [] if module is feedforward.SigmaMoe else [np.tri(5, dtype=bool)[None]]
    ways = [
        module(dataclasses.replace(config, expert_dispatch=dispatch))
        for dispatch in ("dense", "sorted")
    ]
    params = ways[0].init(jax.random.key(1), x, normed, *mask)["params"]
    crowded = dict(params)
    for name in [name for name in params if "router" in name]:
        crowded[name] = params[name].at[0, :, 4].add(9.0)  # Many blocks are empty.
    two = jax.tree.map(lambda *leaves: jnp.stack(leaves), params, crowded)

    def values_and_gradients(way):
        def total(params, x, normed):
            return jnp.sin(5 * way.apply({"params": params}, x, normed, *mask)[0]).sum()

        run = jax.value_and_grad(total, argnums=(0, 1, 2))
        lanes = jax.vmap(run, in_axes=(0, None, None))
        both = jax.jit(lambda one, two, *x: (run(one, *x), lanes(two, *x)))
        return both(params, two, x, normed)

    for dense, ordered in zip(
        *(jax.tree.leaves(values_and_gradients(way)) for way in ways), strict=True
    ):
        assert np.abs(dense).max() > 1e-3
        np.testing.assert_allclose(ordered, dense, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("dispatch", "num_experts", "chosen", "tokens", "expected"),
    [
        ("dense", 155, 12, 384, False),
        ("sorted", 2, 2, 1, True),
        ("auto", 8, 4, 384, False),  # Where dense is the faster one.
        ("auto", 16, 2, 384, True),
        ("auto", 155, 12, 384, True),
        ("auto", 155, 12, 3, False),  # Fewer choices than experts.
    ],
)
def test_auto_takes_the_faster_way(dispatch, num_experts, chosen, tokens, expected):
    found = experts.use_sorted(
        dispatch, num_experts=num_experts, chosen=chosen, tokens=tokens
    )
    assert found == expected


# At the start.


@pytest.mark.parametrize(("shape", "k"), [((412, 1, 155), 12), ((412, 4, 8), 2)])
def test_no_expert_is_dead_at_the_start_and_none_ahead(shape, k):
    router = np.asarray(inits.router(CONFIG, 412)(jax.random.key(0), shape))
    norms = np.linalg.norm(router, axis=0)
    np.testing.assert_allclose(norms, norms.mean(), rtol=1e-5)
    assert router.std() == pytest.approx((2 / 16 / 412) ** 0.5, rel=0.02)
    x = np.random.default_rng(1).standard_normal((1000, 412))
    for group in range(shape[1]):
        best = np.argsort(-(x @ router[:, group]), axis=1)[:, :k]
        share = np.bincount(best.ravel(), minlength=shape[2]) / best.size
        assert share.min() * shape[2] > 0.6
        assert share.max() * shape[2] < 1.5


def test_other_inits_leave_the_router_as_it_is_drawn():
    plain = dataclasses.replace(CONFIG, weight_init="gpt2")
    router = inits.router(plain, 412)(jax.random.key(0), (412, 1, 155))
    assert np.asarray(router).std() == pytest.approx(0.02, rel=0.02)
    assert np.linalg.norm(router, axis=0).std() > 1e-3


# What is reported.


def _load(logits, counted):
    return experts.load(experts.route(jnp.asarray(logits), K), jnp.asarray(counted))


def test_equal_routers_have_the_highest_entropy_and_sure_ones_none():
    counted = np.ones((2, 3), bool)
    logits = np.zeros((2, 3, 1, E), np.float32)
    even = experts.negative_entropy(_load(logits, counted))
    np.testing.assert_allclose(even, -np.log(E), rtol=1e-6)
    logits[..., 2] = 99
    np.testing.assert_allclose(
        experts.negative_entropy(_load(logits, counted)), 0, atol=1e-6
    )


def test_a_router_that_is_sure_of_different_experts_is_balanced():
    logits = np.zeros((1, E, 1, E), np.float32)
    logits[0, np.arange(E), 0, np.arange(E)] = 99.0
    load = _load(logits, np.ones((1, E), bool))
    np.testing.assert_allclose(experts.negative_entropy(load), -np.log(E), rtol=1e-5)


def test_statistics_by_hand():
    logits = np.full((2, 4, 1, E), -9.0, np.float32)
    logits[:, :, 0, 1] = 9.0  # All choose 1, and besides
    logits[0, :, 0, 5] = 8.0  # row 0 always 5,
    logits[1, np.arange(4), 0, [2, 3, 4, 6]] = 8.0  # row 1 each another.
    counted = np.ones((2, 4), bool)
    counted[1, 3] = False
    load = jax.tree.map(lambda x: x[None], _load(logits, counted))
    found = experts.statistics({"mlp": load})
    np.testing.assert_allclose(found["router_load_mlp"], [[0.5, 0.5]])
    np.testing.assert_allclose(found["router_used_mlp"], [[2 / E, 4 / E]])
    assert found["router_entropy_mlp"].shape == (1, 2)
    assert (found["router_entropy_mlp"] > 0).all()


def test_no_counted_token_at_all_is_finite():
    gradient = jax.grad(
        lambda logits: experts.penalties(
            {"mlp": _load(logits, np.zeros((2, 3), bool))}
        )["router_entropy_mlp"]
    )(jnp.asarray(_draw(2, 3, 1, E)))
    np.testing.assert_array_equal(gradient, 0)
