"""Every transformation against its definition, step by step in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rdt_jax.training import gradients, hyper

STEPS, STRENGTH, DECAY, WINDOW = 11, 3.0, 0.7, 4


def random(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


GRADIENTS = {"w": random(STEPS, 3, 5), "bias": random(STEPS, 7, seed=2)}
PARAMS = {"w": random(3, 5, seed=3), "bias": random(7, seed=4)}


def outputs(transformation, grads=GRADIENTS, params=PARAMS):
    """Returns what becomes of each gradient, leaves [steps, ...]."""

    def run(grads, params):
        def step(state, gradient):
            found, state = transformation.update(gradient, state, params)
            return state, found

        return jax.lax.scan(step, transformation.init(params), grads)[1]

    return jax.jit(run)(grads, params)


def assert_close(found, expected, **tolerance):
    for name, values in expected.items():
        np.testing.assert_allclose(
            found[name], values, **({"rtol": 1e-5, "atol": 1e-6} | tolerance)
        )


def test_grokfast_ema_adds_its_average_which_begins_with_the_first_gradient():
    expected = {}
    for name, grads in GRADIENTS.items():
        slow, expected[name] = grads[0].astype(np.float64), []
        for gradient in grads:
            slow = DECAY * slow + (1 - DECAY) * gradient
            expected[name].append(gradient + STRENGTH * slow)
    found = outputs(gradients.grokfast_ema(STRENGTH, DECAY))
    assert_close(found, expected)


@pytest.mark.parametrize("window", [1, WINDOW, STEPS, STEPS + 1])
def test_grokfast_ma_adds_the_mean_of_the_window_once_it_is_full(window):
    expected = {name: grads.astype(np.float64) for name, grads in GRADIENTS.items()}
    for name, grads in GRADIENTS.items():
        for last in range(window, STEPS + 1):
            mean = grads[last - window : last].mean(axis=0, dtype=np.float64)
            expected[name][last - 1] += STRENGTH * mean
    assert_close(outputs(gradients.grokfast_ma(STRENGTH, window)), expected)


def test_grokfast_ma_forgets_a_huge_gradient():
    """A sum that is never made anew would keep its rounding, here about 1."""
    steps = 40
    grads = {"w": random(steps, 3)}
    grads["w"][5] = 1e7
    found = outputs(gradients.grokfast_ma(1.0, WINDOW), grads, {"w": np.zeros(3)})
    mean = grads["w"][-WINDOW:].mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(found["w"][-1], grads["w"][-1] + mean, rtol=1e-5)


def test_an_orthogonal_gradient_has_no_part_along_its_tensor_and_its_old_norm():
    found = outputs(gradients.orthogonal())
    expected = {}
    for name, grads in GRADIENTS.items():
        w = PARAMS[name].astype(np.float64)
        left = [g - (w * g).sum() / (w * w).sum() * w for g in grads]
        expected[name] = [
            x * np.linalg.norm(g) / np.linalg.norm(x)
            for x, g in zip(left, grads, strict=True)
        ]
        along = (np.asarray(found[name]) * w).reshape(STEPS, -1).sum(axis=1)
        np.testing.assert_allclose(along, 0, atol=1e-4)
    assert_close(found, expected)


def test_nothing_is_divided_by_zero():
    w = random(6)
    params = {"zero": np.zeros(6, np.float32), "w": w, "along": w, "one": w[:1]}
    grads = {"zero": random(1, 6, seed=7), "w": np.zeros((1, 6), np.float32),
             "along": 0.3 * w[None], "one": random(1, 1, seed=8)}  # fmt: skip
    found = outputs(gradients.orthogonal(), grads, params)
    np.testing.assert_array_equal(found["zero"], grads["zero"])
    for name in ("w", "along", "one"):
        np.testing.assert_array_equal(found[name], np.zeros_like(grads[name]))


def test_weights_keep_the_norm_of_the_start_in_the_direction_of_the_update():
    transformation = gradients.constant_norm()

    @jax.jit
    def run(params, grads):
        def step(carry, gradient):
            params, state = carry
            updates, state = transformation.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

        first = params, transformation.init(params)
        return jax.lax.scan(step, first, grads)[0][0]

    found, expected = run(PARAMS, GRADIENTS), PARAMS
    norm = lambda tree: np.sqrt(sum((np.asarray(x) ** 2).sum() for x in tree.values()))
    for step in range(STEPS):
        moved = {name: w + GRADIENTS[name][step] for name, w in expected.items()}
        expected = {name: w * norm(PARAMS) / norm(moved) for name, w in moved.items()}
    assert_close(found, expected)
    np.testing.assert_allclose(norm(found), norm(PARAMS), rtol=1e-6)


@pytest.fixture(scope="module")
def with_gradient(toy):
    return lambda **section: toy({f"gradient.{k}": v for k, v in section.items()})


def hyper_of(config):
    return {k: jnp.float32(v) for k, v in hyper.lane_params(config).items()}


def chain_of(config):
    parts = hyper.parts_of([config])
    chosen = gradients.before(config.gradient, hyper_of(config), "clip" in parts)
    return optax.chain(*chosen)


def test_a_default_run_does_nothing_to_its_gradient(toy):
    config = toy()
    assert hyper.parts_of([config]) == set()
    assert gradients.before(config.gradient, hyper_of(config), clips=False) == []


def test_a_gradient_is_clipped_then_filtered_then_made_orthogonal(with_gradient):
    config = with_gradient(
        clip_norm=1.5,
        filter="grokfast_ema",
        filter_strength=STRENGTH,
        filter_decay=DECAY,
        orthogonal=True,
    )
    norms = np.sqrt(sum((g**2).reshape(STEPS, -1).sum(1) for g in GRADIENTS.values()))
    assert norms.min() > 1.5  # Every one is clipped.
    expected = {
        name: g * (1.5 / norms).reshape(STEPS, *[1] * (g.ndim - 1))
        for name, g in GRADIENTS.items()
    }
    for piece in (gradients.grokfast_ema(STRENGTH, DECAY), gradients.orthogonal()):
        expected = outputs(piece, expected)
    assert_close(outputs(chain_of(config), GRADIENTS), expected)


def test_the_filters_of_a_config(with_gradient):
    config = with_gradient(filter="grokfast_ma", filter_window=WINDOW)
    expected = outputs(gradients.grokfast_ma(2.0, WINDOW))
    assert_close(outputs(chain_of(config)), expected, rtol=0, atol=0)


def test_a_lane_that_does_not_clip_is_unchanged_bit_by_bit(with_gradient):
    lane = hyper_of(with_gradient())
    assert lane["gradient.clip_norm"] == np.inf
    section = with_gradient().gradient
    found = outputs(optax.chain(*gradients.before(section, lane, clips=True)))
    for name, expected in GRADIENTS.items():
        np.testing.assert_array_equal(found[name], expected)


def test_equal_parts_of_a_batch_divide_it(with_gradient):
    assert gradients.problems(with_gradient(micro_batches=13)) == []
    assert gradients.problems(with_gradient(micro_batches=2)) == [
        "gradient.micro_batches must divide batch_size (13), got 2."
    ]
