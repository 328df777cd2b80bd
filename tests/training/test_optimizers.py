import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rdt_jax import config as configs
from rdt_jax.training import optimizers

NUM_STEPS = 11
RATE, DECAY, B1, B2, EPSILON, FINAL = 0.07, 0.3, 0.8, 0.95, 1e-6, 0.25


def hyper(**changes):
    values = {
        "learning_rate": RATE,
        "weight_decay": DECAY,
        "b1": B1,
        "b2": B2,
        "warmup_steps": 0.0,
        "label_smoothing": 0.0,
        "dropout": 0.0,
        "embedding_dropout": 0.0,
    }
    return optimizers.Hyper(
        **{k: jnp.float32(v) for k, v in (values | changes).items()}
    )


def params():
    rng = np.random.default_rng(3)
    return {"w": rng.normal(size=(3, 5)), "bias": rng.normal(size=7)}


def gradients(steps):
    rng = np.random.default_rng(4)
    return {"w": rng.normal(size=(steps, 3, 5)), "bias": rng.normal(size=(steps, 7))}


@pytest.fixture(scope="module")
def config(toy):
    return lambda **optimizer: configs.override(
        toy({"num_steps": NUM_STEPS}),
        {
            f"optimizer.{key}": value
            for key, value in {
                "epsilon": EPSILON,
                "final_fraction": FINAL,
                **optimizer,
            }.items()
        },
    )


@jax.jit
def as_float32(tree):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def follow(optimizer, grads):
    """Returns the parameters after every update, leaves [steps, ...]."""
    start = as_float32(params())

    def update(carry, gradient):
        weights, state = carry
        updates, state = optimizer.update(gradient, state, weights)
        weights = optax.apply_updates(weights, updates)
        return (weights, state), weights

    return jax.lax.scan(update, (start, optimizer.init(start)), as_float32(grads))[1]


def rates(schedule, warmup, steps):
    """Writes the schedule down once more, as a list."""
    found = []
    for step in range(steps):
        progress = min(max(step - warmup, 0) / (NUM_STEPS - warmup), 1)
        share = {
            "constant": 1,
            "linear": 1 - (1 - FINAL) * progress,
            "cosine": FINAL + (1 - FINAL) * 0.5 * (1 + np.cos(np.pi * progress)),
        }[schedule]
        ramp = (step + 1) / warmup if step < warmup else 1
        found.append(RATE * ramp * share)
    return np.array(found)


def adamw_by_hand(grads, rate_at):
    """Decoupled weight decay, multiplied by the rate, in float64."""
    found = {name: [] for name in grads}
    for name, weights in params().items():
        first = second = np.zeros_like(weights)
        for step, gradient in enumerate(grads[name]):
            first = B1 * first + (1 - B1) * gradient
            second = B2 * second + (1 - B2) * gradient**2
            adam = (first / (1 - B1 ** (step + 1))) / (
                np.sqrt(second / (1 - B2 ** (step + 1))) + EPSILON
            )
            weights = weights - rate_at[step] * (adam + DECAY * weights)
            found[name].append(weights)
    return {name: np.stack(values) for name, values in found.items()}


def assert_close(actual, expected):
    for name in expected:  # float32 sums of a dozen updates of size 0.1.
        np.testing.assert_allclose(actual[name], expected[name], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("warmup", [0, 4])
@pytest.mark.parametrize("schedule", optimizers.SCHEDULES)
@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_follows_the_formula_past_its_end(config, name, schedule, warmup):
    assert name == "adamw", "a new optimizer needs its own formula"
    steps = NUM_STEPS + 2  # The schedule holds its last value.
    optimizer = optimizers.make(
        config(name=name, schedule=schedule), hyper(warmup_steps=warmup)
    )
    expected = adamw_by_hand(gradients(steps), rates(schedule, warmup, steps))
    assert_close(follow(optimizer, gradients(steps)), expected)


@pytest.mark.parametrize(
    ("schedule", "reference"),
    [
        ("constant", lambda span: optax.constant_schedule(RATE)),
        ("linear", lambda span: optax.linear_schedule(RATE, RATE * FINAL, span)),
        ("cosine", lambda span: optax.cosine_decay_schedule(RATE, span, FINAL)),
    ],
)
def test_equals_optax_with_concrete_numbers(config, schedule, reference):
    warmup = 4
    ramp = optax.linear_schedule(RATE / warmup, RATE, warmup - 1)
    joined = optax.join_schedules([ramp, reference(NUM_STEPS - warmup)], [warmup])
    expected = follow(
        optax.adamw(joined, b1=B1, b2=B2, eps=EPSILON, weight_decay=DECAY),
        gradients(NUM_STEPS),
    )
    optimizer = optimizers.make(config(schedule=schedule), hyper(warmup_steps=warmup))
    assert_close(follow(optimizer, gradients(NUM_STEPS)), expected)


def test_traced_lanes_equal_separate_optimizers(config):
    grads, cosine = gradients(5), config(schedule="cosine")
    lanes = [
        hyper(),
        hyper(learning_rate=0.01, weight_decay=0.0, warmup_steps=3),
        hyper(b1=0.0, b2=0.5, learning_rate=0.3, warmup_steps=7),
    ]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *lanes)
    run = lambda lane: follow(optimizers.make(cosine, lane), grads)
    together = jax.jit(jax.vmap(run))(stacked)
    for index, lane in enumerate(lanes):
        alone = run(lane)
        assert_close(jax.tree.map(lambda x, i=index: x[i], together), alone)
    assert not np.allclose(together["w"][0], together["w"][1], atol=1e-2)


def test_decay_shrinks_every_parameter_by_rate_times_decay(config):
    grads = jax.tree.map(np.zeros_like, gradients(3))
    found = follow(optimizers.make(config(), hyper()), grads)
    for name, start in params().items():
        for step, weights in enumerate(found[name], start=1):
            expected = start * (1 - RATE * DECAY) ** step
            np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_every_lane_key_is_read_into_its_own_field(toy):
    values = {
        "optimizer.learning_rate": 0.011,
        "optimizer.weight_decay": 0.13,
        "optimizer.b1": 0.17,
        "optimizer.b2": 0.19,
        "optimizer.warmup_steps": 23,
        "loss.label_smoothing": 0.29,
        "model.dropout": 0.31,
        "model.embedding_dropout": 0.37,
    }
    assert values.keys() == optimizers.LANE_KEYS.keys()
    read = optimizers.read_hyper(toy(values))
    assert read == {key.split(".")[1]: value for key, value in values.items()}
    assert set(read) == set(optimizers.Hyper._fields)


def test_a_good_config_has_no_problems(config):
    assert optimizers.problems(config(warmup_steps=NUM_STEPS, weight_decay=0.0)) == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optimizer.name", "sgd", r"optimizer\.name must be one of adamw, got 'sgd'"),
        ("optimizer.schedule", "step", r"one of constant, linear, cosine, got 'step'"),
        ("optimizer.learning_rate", 0.0, r"learning_rate must be positive, got 0\.0"),
        ("optimizer.epsilon", 0.0, r"optimizer\.epsilon must be positive, got 0\.0"),
        ("optimizer.weight_decay", -0.1, r"decay must be at least 0, got -0\.1"),
        ("optimizer.b1", 1.0, r"optimizer\.b1 must be in \[0, 1\), got 1\.0"),
        ("optimizer.b2", -0.5, r"optimizer\.b2 must be in \[0, 1\), got -0\.5"),
        ("optimizer.warmup_steps", 12, r"must be in \[0, num_steps = 11\], got 12"),
        ("optimizer.warmup_steps", -1, r"must be in \[0, num_steps = 11\], got -1"),
        ("optimizer.final_fraction", 1.5, r"fraction must be in \[0, 1\], got 1\.5"),
        ("loss.label_smoothing", 1.0, r"smoothing must be in \[0, 1\), got 1\.0"),
    ],
)
def test_says_what_is_wrong(config, key, value, message):
    bad = configs.override(config(), {key: value})
    assert len(optimizers.problems(bad)) == 1
    with pytest.raises(ValueError, match=message):
        configs.raise_problems(optimizers.problems(bad))


def test_says_all_that_is_wrong_at_once(config):
    bad = config(name="lion", weight_decay=-1.0, b1=2.0, warmup_steps=99)
    assert len(optimizers.problems(bad)) == 4
