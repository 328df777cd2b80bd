import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax.training import losses

B, A, V = 5, 3, 13


@pytest.fixture(scope="module")
def logits():
    return np.random.default_rng(1).normal(size=(B, A, V)).astype(np.float32) * 3


@pytest.fixture(scope="module")
def targets():
    return np.random.default_rng(2).integers(0, V, (B, A)).astype(np.int32)


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


# Other functions and dtypes.


def cost_by_hand(function, scores, answer, smoothing=0.0):
    """Cross-entropy of one answer in float64, from the definition."""
    s = np.exp(scores)
    if function == "stablemax":
        s = np.array([x + 1 if x >= 0 else 1 / (1 - x) for x in scores])
    log_probs = np.log(s / s.sum())
    return -(1 - smoothing) * log_probs[answer] - smoothing * log_probs.mean()


@pytest.mark.parametrize("dtype", losses.DTYPES)
@pytest.mark.parametrize("function", losses.FUNCTIONS)
def test_equals_its_definition(logits, targets, function, dtype):
    targets = np.where(np.arange(A)[None] < 2, targets, -1)
    options = {"function": function, "dtype": dtype}
    found = jax.jit(lambda x: losses.answer_cross_entropy(x, targets, 0.2, **options))(
        logits
    )
    expected = [
        np.mean([cost_by_hand(function, z[a], t[a], 0.2) for a in range(2)])
        for z, t in zip(logits.astype(np.float64), targets, strict=True)
    ]
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("function", losses.FUNCTIONS)
@pytest.mark.parametrize("dtype", losses.DTYPES)
def test_its_gradient_is_that_of_its_definition(targets, function, dtype):
    scores = np.array([0.0, -2.5, 1.5, 0.25, -0.125])  # At 0, stablemax has slope 1.
    target = np.array([[2]], np.int32)

    @jax.jit
    @jax.grad
    def gradient(x):
        options = {"function": function, "dtype": dtype}
        return 3 * losses.answer_cross_entropy(x[None, None], target, **options)[0]

    step = 1e-6
    for place in range(5):
        up, down = (scores + sign * step * np.eye(5)[place] for sign in (1, -1))
        cost = lambda x: cost_by_hand(function, x, 2)
        expected = 3 * (cost(up) - cost(down)) / (2 * step)
        found = gradient(scores.astype(np.float32))[place]
        np.testing.assert_allclose(found, expected, rtol=1e-4)


GAP = jnp.array([[[30.0, 0.0, 0.0]]]), jnp.zeros((1, 1), jnp.int32)


def value_and_gradient(function="softmax", dtype="float32"):
    logits, targets = GAP
    cost = lambda x: losses.answer_cross_entropy(
        x, targets, function=function, dtype=dtype
    )[0]
    return jax.jit(jax.value_and_grad(cost))(logits)


def test_a_float32_softmax_collapses_where_one_in_float64_does_not():
    value, gradient = value_and_gradient()
    assert value == 0 and gradient[0, 0, 0] == 0
    value, gradient = value_and_gradient(dtype="float64")
    # 1 + 2e-13 has three digits of what it adds to 1.
    np.testing.assert_allclose(value, 2 * np.exp(-30), rtol=5e-3)
    np.testing.assert_allclose(gradient[0, 0, 0], -2 * np.exp(-30), rtol=5e-3)
    np.testing.assert_allclose(gradient[0, 0, 1:], np.exp(-30), rtol=1e-3)
    assert value.dtype == gradient.dtype == jnp.float32


def test_stablemax_does_not_collapse_in_float32():
    value, gradient = value_and_gradient("stablemax")
    np.testing.assert_allclose(value, -np.log(31 / 33), rtol=1e-5)
    assert gradient[0, 0, 0] < -1e-3


def test_float64_stays_inside_the_loss_whatever_is_traced_around_it(logits, targets):
    """Lanes by vmap and by map, in a loop, under a gradient, as training does."""
    shares = np.array([0.0, 0.3], np.float32)

    def descend(share, dtype):
        cost = lambda x: losses.answer_cross_entropy(
            x, targets, share, dtype=dtype
        ).sum()
        loop = lambda _, x: x - jax.grad(cost)(x)
        return jax.lax.fori_loop(0, 3, loop, jnp.asarray(logits))

    expected = jax.jit(jax.vmap(lambda s: descend(s, "float32")))(shares)
    for over in (jax.vmap, lambda f: lambda x: jax.lax.map(f, x)):
        found = jax.jit(over(lambda s: descend(s, "float64")))(shares)
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert jnp.asarray(np.float64(1)).dtype == jnp.float32


@pytest.mark.parametrize(("dtype", "gap"), [("float32", 20.0), ("float64", 40.0)])
def test_a_collapse_is_counted_in_the_dtype_of_the_loss(dtype, gap):
    logits = jnp.array([[gap, 0.0, 0.0], [gap - 6, 0.0, 0.0]])
    found = jax.jit(losses.collapses, static_argnums=1)(logits, dtype)
    np.testing.assert_array_equal(found, [True, False])


# What is added to it.


def test_the_losses_of_the_loops_that_ran_are_mixed_with_the_last():
    every = jnp.array([5.0, 3.0, 1.0, np.nan])  # The last one did not run.
    for share in (0.0, 0.25, 1.0):
        found = losses.supervise_loops(jnp.float32(1), every, jnp.int32(3), share)
        np.testing.assert_allclose(found, (1 - share) * 1 + share * 3, rtol=1e-6)


@pytest.mark.parametrize("period", [1, 2])
def test_similarity_is_the_mean_cosine_of_matrices_a_period_apart(period):
    rng = np.random.default_rng(6)
    blocks = [
        {"a": rng.normal(size=(3, 5)), "b": {"c": rng.normal(size=(2, 3, 4))},
         "bias": rng.normal(size=5)}
        for _ in range(4)
    ]  # fmt: skip
    cosines = []
    for index in range(4 - period):
        one, other = blocks[index], blocks[index + period]
        for x, y in [(one["a"], other["a"]), (one["b"]["c"], other["b"]["c"])]:
            cosines.append((x * y).sum() / np.linalg.norm(x) / np.linalg.norm(y))
    found = losses.block_similarity(jax.tree.map(jnp.asarray, blocks), period)
    np.testing.assert_allclose(found, 1 - np.mean(cosines), rtol=1e-5)


def test_equal_blocks_cost_nothing_and_zero_ones_have_a_gradient_of_zero():
    block = {"kernel": jnp.arange(6.0).reshape(2, 3)}
    apart = lambda blocks: losses.block_similarity(blocks, 1)
    np.testing.assert_allclose(apart([block] * 3), 0, atol=1e-6)
    zero = {"kernel": jnp.zeros((2, 3))}
    value, gradient = jax.jit(jax.value_and_grad(apart))([zero, block])
    assert value == 1
    for leaf in jax.tree.leaves(gradient):
        np.testing.assert_array_equal(leaf, 0)


@pytest.mark.parametrize(
    ("period", "blocks", "is_good"),
    [(1, 1, False), (1, 2, True), (2, 2, False), (2, 4, True), (2, 5, False)],
)
def test_similar_groups_are_whole_and_two_or_more(toy, period, blocks, is_good):
    keys = {"loss.similarity_period": period, "model.core_blocks": blocks}
    assert losses.problems(toy(keys)) == []
    found = losses.problems(toy(keys | {"loss.block_similarity": 1.0}))
    wrong = (
        f"model.core_blocks must be a multiple of loss.similarity_period ({period}), "
        f"at least twice it, with loss.block_similarity, got {blocks}."
    )
    assert found == ([] if is_good else [wrong])


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
