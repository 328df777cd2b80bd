"""Norms and ranks of planted matrices; sharpness against the dense Hessian."""

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.analysis import weights
from rdt_jax.models import presets, recurrent
from rdt_jax.training import losses
from tests.analysis import modular


@pytest.fixture(scope="module")
def config():
    one_loop = {"recurrence__num_loops": 1}  # Compiles faster.
    return modular.config(5, 4, model__mlp_ratio=1, model__position="none", **one_loop)


@pytest.fixture(scope="module")
def table(config):
    return tasks.make_table(config)


@pytest.fixture(scope="module")
def params(config):
    drawn = modular.params(config, seed=3, core=1.0)
    return jax.tree.map(lambda x: 1.3 * x, drawn)


@pytest.fixture(scope="module")
def measured(params, config, table):
    return weights.measure(params, config, table, rows=9, steps=24)


def test_sharpness_is_the_largest_eigenvalue_of_the_hessian(
    params, config, table, measured
):
    chosen = np.random.default_rng(0).permutation(table.rows_of("train"))[:9]
    model = presets.model_config(config, table)
    flat, unflatten = jax.flatten_util.ravel_pytree(params)

    def loss_of(flat):
        logits = recurrent.apply(
            unflatten(flat),
            jnp.asarray(table.tokens[chosen]),
            jnp.asarray(table.answer_positions[chosen]),
            model,
            num_loops=config.recurrence.num_loops,
        ).logits[:, 0]
        target = jax.nn.one_hot(table.targets[chosen, 0], logits.shape[-1])
        return -(jax.nn.log_softmax(logits) * target).sum(-1).mean()

    loss, hessian = jax.jit(lambda x: (loss_of(x), jax.jacrev(jax.grad(loss_of))(x)))(
        flat
    )
    values = np.linalg.eigvalsh(np.asarray(hessian, np.float64))
    assert values[-1] > 1.2 * values[-2]
    assert measured.sharpness == pytest.approx(values[-1], rel=1e-3)
    assert measured.loss == pytest.approx(float(loss), rel=1e-5)


def test_norms_are_those_of_the_parameters(params, measured):
    total = sum(np.square(x).sum() for x in map(np.asarray, jax.tree.leaves(params)))
    assert measured.total_norm == pytest.approx(total**0.5, rel=1e-5)
    norms = dict(zip(measured.name.tolist(), measured.norm.tolist(), strict=True))
    block = params["core"][0]
    for name, leaf in (
        ("embedding", params["embedding"]),
        ("core/0/mlp/input/kernel", block["mlp"]["input"]["kernel"]),
        ("core/0/attention/qkv/kernel", block["attention"]["qkv"]["kernel"]),
    ):
        assert norms[name] == pytest.approx(float(jnp.linalg.norm(leaf)), rel=1e-5)
    vectors = sum(
        np.square(x).sum()
        for x in map(np.asarray, jax.tree.leaves(params))
        if x.ndim < 2
    )
    assert norms["vectors"] == pytest.approx(vectors**0.5, rel=1e-5)
    assert measured.name[-1] == "vectors"
    assert np.isnan(measured.effective_rank).tolist() == [False] * 5 + [True]


def test_ranks_of_planted_singular_values():
    ranks = lambda *values: weights.ranks_of(np.array(values, float))
    assert ranks(2, 2, 2, 0) == pytest.approx((3, 3))
    assert ranks(7, 0, 0) == pytest.approx((1, 1))
    effective, stable = ranks(2, 1, 1)
    assert effective == pytest.approx(2**0.5 * 4**0.5)  # Of the shares 1/2, 1/4, 1/4.
    assert stable == pytest.approx(6 / 4)
    batch = weights.ranks_of(np.array([[1.0, 1.0], [1.0, 0.0]]))
    assert batch == pytest.approx((1.5, 1.5))
    effective, stable = ranks(0, 0)
    assert effective == 0 and np.isnan(stable)


def test_batches_of_matrices_are_measured_one_by_one(params, config, table, measured):
    at = measured.name.tolist().index("core/0/mlp/output/kernel")
    kernel = np.asarray(params["core"][0]["mlp"]["output"]["kernel"], np.float64)
    values = np.linalg.svd(kernel, compute_uv=False)
    shares = values / values.sum()
    expected = np.prod(shares**-shares)
    assert measured.effective_rank[at] == pytest.approx(expected, rel=1e-6)
    assert measured.stable_rank[at] == pytest.approx(
        (values**2).sum() / values[0] ** 2, rel=1e-6
    )


def test_a_collapsed_softmax_is_counted_in_the_dtype_of_the_loss(
    params, config, table, measured
):
    assert measured.softmax_collapse == 0
    large = params | {"final_norm": jax.tree.map(lambda x: 8 * x, params["final_norm"])}
    chosen = np.random.default_rng(0).permutation(table.rows_of("train"))[:9]
    model = presets.model_config(config, table)
    answer = jax.jit(functools.partial(recurrent.answer, config=model, num_loops=1))
    logits, _ = answer(large, table.tokens[chosen], table.answer_positions[chosen])
    found = [
        weights.measure(
            large, configs.override(config, {"loss.dtype": dtype}), table, rows=9
        ).softmax_collapse
        for dtype in ("float32", "float64")
    ]
    expected = [
        np.asarray(losses.collapses(logits, dtype)).mean()
        for dtype in ("float32", "float64")
    ]
    assert found == expected
    assert 0 < found[0] and found[1] < found[0]
