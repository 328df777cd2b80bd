import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rdt_jax.training import losses

B, A, V = 5, 3, 13


@pytest.fixture(scope="module")
def logits():
    return np.random.default_rng(1).normal(size=(B, A, V)).astype(np.float32) * 3


@pytest.fixture(scope="module")
def targets():
    return np.random.default_rng(2).integers(0, V, (B, A)).astype(np.int32)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("level", [0.0, -7.5])
def test_uniform_logits_cost_log_v(targets, smoothing, level):
    loss = losses.answer_cross_entropy(jnp.full((B, A, V), level), targets, smoothing)
    np.testing.assert_allclose(loss, np.full(B, np.log(V)), rtol=1e-6)


def test_certain_right_answers_cost_nothing(targets):
    logits = 100 * jax.nn.one_hot(targets, V)
    np.testing.assert_array_equal(losses.answer_cross_entropy(logits, targets), 0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.37])
def test_equals_optax_on_smoothed_labels(logits, targets, smoothing):
    labels = optax.smooth_labels(jax.nn.one_hot(targets, V), smoothing)
    expected = optax.softmax_cross_entropy(logits, labels).mean(-1)
    actual = losses.answer_cross_entropy(logits, targets, smoothing)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_a_traced_smoothing_may_differ_between_lanes(logits, targets):
    shares = np.array([0.0, 0.2, 0.9], np.float32)
    together = jax.jit(jax.vmap(losses.answer_cross_entropy, in_axes=(None, None, 0)))(
        logits, targets, shares
    )
    for share, actual in zip(shares, together, strict=True):
        expected = losses.answer_cross_entropy(logits, targets, float(share))
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_rows_average_over_the_answers_they_have(logits):
    targets = np.array(
        [[4, -1, -1], [2, 7, -1], [12, 0, 1], [-1, 3, -1], [-1, -1, -1]], np.int32
    )
    expected = []
    for row, answers in zip(logits.astype(np.float64), targets, strict=True):
        costs = [
            np.log(np.exp(scores).sum()) - scores[answer]
            for scores, answer in zip(row, answers, strict=True)
            if answer >= 0
        ]
        expected.append(np.mean(costs) if costs else 0.0)
    actual = losses.answer_cross_entropy(logits, targets)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_missing_answers_get_no_gradient_and_no_nan(logits):
    targets = np.array([[4, -1, 2], [-1, -1, -1]], np.int32)
    total = lambda x: losses.answer_cross_entropy(x, targets, 0.1).sum()
    gradient = jax.jit(jax.grad(total))(logits[:2])
    exists = targets >= 0
    np.testing.assert_array_equal(gradient[~exists], 0)
    assert np.abs(gradient[exists]).max(axis=-1).min() > 1e-3


def test_loss_is_float32_whatever_the_logits_are(targets):
    # At 1000 the spacing of bfloat16 is 4: log(V) would be lost in its sums.
    logits = jnp.full((B, A, V), 1000, jnp.bfloat16)
    loss = losses.answer_cross_entropy(logits, targets)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, np.full(B, np.log(V)), rtol=1e-4)


def test_a_row_is_right_when_all_its_answers_are():
    right = np.array([[4, 9, 2]] * 5, np.int32)
    logits = jax.nn.one_hot(right, V)
    targets = np.array(
        [[4, 9, 2], [4, 9, 3], [-1, 9, -1], [5, -1, -1], [-1, -1, -1]], np.int32
    )
    np.testing.assert_array_equal(
        losses.answers_correct(logits, targets), [True, False, True, False, True]
    )


def test_leading_axes_are_free(logits, targets):
    twice = np.stack([logits, logits[::-1]])
    targets = np.stack([targets, targets[::-1]])
    correct = losses.answers_correct(twice, targets)
    loss = losses.answer_cross_entropy(twice, targets)
    assert correct.shape == loss.shape == (2, B)
    np.testing.assert_allclose(loss[0], loss[1, ::-1], rtol=1e-6)


def test_other_shapes_are_refused(logits, targets):
    with pytest.raises(AssertionError, match="shape"):
        losses.answer_cross_entropy(logits, targets[:, :2])
