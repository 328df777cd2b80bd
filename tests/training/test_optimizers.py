import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.models import presets, recurrent
from rdt_jax.training import optimizers
from rdt_jax.training.hyper import LANE_KEYS, lane_params, make_spec

NUM_STEPS = 11
RATE, DECAY, B1, B2, EPSILON, FINAL = 0.07, 0.3, 0.8, 0.95, 1e-6, 0.25
MOMENTUM, TAIL = 0.7, 0.4  # wsd decays over the last 4.4 of 11 steps.


def hyper(**changes):
    values = {key.split(".")[1]: 0.0 for key in LANE_KEYS} | {
        "learning_rate": RATE,
        "weight_decay": DECAY,
        "b1": B1,
        "b2": B2,
        "momentum": MOMENTUM,
        "clip_norm": np.inf,
        "init_scale": 1.0,
    }
    values |= changes
    return {key: jnp.float32(values[key.split(".")[1]]) for key in LANE_KEYS}


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
                "decay_fraction": TAIL,
                **optimizer,
            }.items()
        },
    )


@pytest.fixture(scope="module")
def spec(config, tiny_table):
    return lambda **optimizer: make_spec([config(**optimizer)], tiny_table)


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
        begin = NUM_STEPS - TAIL * NUM_STEPS
        tail = min(max(step - begin, 0) / (NUM_STEPS - begin), 1)
        share = {
            "constant": 1,
            "linear": 1 - (1 - FINAL) * progress,
            "cosine": FINAL + (1 - FINAL) * 0.5 * (1 + np.cos(np.pi * progress)),
            "wsd": 1 - (1 - FINAL) * tail,
        }[schedule]
        ramp = (step + 1) / warmup if step < warmup else 1
        found.append(RATE * ramp * share)
    return np.array(found)


def adamw_direction(name, gradients):
    """Yields Adam's direction after each gradient, in float64."""
    first = second = 0.0
    for step, gradient in enumerate(gradients, start=1):
        first = B1 * first + (1 - B1) * gradient
        second = B2 * second + (1 - B2) * gradient**2
        yield (first / (1 - B1**step)) / (np.sqrt(second / (1 - B2**step)) + EPSILON)


def lion_direction(name, gradients):
    momentum = 0.0
    for gradient in gradients:
        yield np.sign(B1 * momentum + (1 - B1) * gradient)
        momentum = B2 * momentum + (1 - B2) * gradient


def sgd_direction(name, gradients):
    momentum = 0.0
    for gradient in gradients:
        momentum = MOMENTUM * momentum + gradient
        yield momentum


def muon_direction(name, gradients):
    """Nesterov momentum, corrected for its start; then five Newton-Schulz steps."""
    if name != "w":
        yield from adamw_direction(name, gradients)
        return
    momentum = 0.0
    for step, gradient in enumerate(gradients, start=1):
        momentum = MOMENTUM * momentum + (1 - MOMENTUM) * gradient
        ahead = MOMENTUM * momentum / (1 - MOMENTUM ** (step + 1))
        ahead = ahead + (1 - MOMENTUM) * gradient / (1 - MOMENTUM**step)
        yield 0.2 * np.sqrt(max(gradient.shape)) * newton_schulz(ahead)


def newton_schulz(matrix):
    """Maps every singular value s by 3.4445 s - 4.775 s^3 + 2.0315 s^5, five times."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values = values / np.sqrt((values**2).sum())
    for _ in range(5):
        values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
    return left @ np.diag(values) @ right


DIRECTIONS = {
    "adamw": adamw_direction,
    "lion": lion_direction,
    "sgd": sgd_direction,
    "muon": muon_direction,
}


def by_hand(optimizer, grads, rate_at, decayed=("w", "bias")):
    """Decoupled weight decay, multiplied by the rate, in float64."""
    found = {}
    for name, weights in params().items():
        found[name] = []
        decay = DECAY * (name in decayed)
        directions = DIRECTIONS[optimizer](name, grads[name])
        for rate, direction in zip(rate_at, directions, strict=True):
            weights = weights - rate * (direction + decay * weights)
            found[name].append(weights)
    return {name: np.stack(values) for name, values in found.items()}


def assert_close(actual, expected):
    for name in expected:  # float32 sums of a dozen updates of size 0.1.
        np.testing.assert_allclose(actual[name], expected[name], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("warmup", [0, 4])
@pytest.mark.parametrize("schedule", optimizers.SCHEDULES)
def test_follows_its_schedule_past_its_end(spec, schedule, warmup):
    steps = NUM_STEPS + 2  # The schedule holds its last value.
    optimizer = optimizers.make(spec(schedule=schedule), hyper(warmup_steps=warmup))
    expected = by_hand("adamw", gradients(steps), rates(schedule, warmup, steps))
    assert_close(follow(optimizer, gradients(steps)), expected)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_follows_its_formula(spec, name):
    grads, steps = gradients(NUM_STEPS), NUM_STEPS
    optimizer = optimizers.make(spec(name=name, schedule="cosine"), hyper())
    found = follow(optimizer, grads)
    assert_close(found, by_hand(name, grads, rates("cosine", 0, steps)))


@pytest.mark.parametrize(
    ("decayed", "names"), [("all", ("w", "bias")), ("matrices", "w"), ("blocks", "w")]
)
def test_only_what_is_named_decays(spec, decayed, names):
    grads = gradients(2)
    found = follow(optimizers.make(spec(decayed=decayed), hyper()), grads)
    assert_close(found, by_hand("adamw", grads, rates("constant", 0, 2), names))


def test_adamw_is_that_of_optax_and_nothing_else(spec):
    start = as_float32(params())
    reference = optax.adamw(lambda step: RATE, B1, B2, EPSILON, weight_decay=DECAY)
    state = optimizers.make(spec(), hyper()).init(start)
    assert jax.tree.structure(state) == jax.tree.structure(reference.init(start))


# Which parameters are matrices of the blocks.


def shapes(root, name):
    config = configs.load(f"{root}/configs/{name}.py:smoke")
    model = presets.model_config(config, tasks.make_table(config))
    return jax.eval_shape(lambda: recurrent.init(jax.random.key(0), model))


def named(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): x
            for path, x in leaves}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("gated", ["gate/kernel"], ["step/table", "embedding", "gate/bias"]),
        ("huginn", ["prelude/0/mlp/gate/kernel", "inject/kernel"], ["embedding"]),
        ("universal", ["core/0/attention/qkv/kernel"], ["halting/kernel"]),
        ("feedforward", ["core/3/mlp/output/kernel"], ["position"]),
        ("moeut", ["core/1/mlp/router"], ["readout/kernel", "core/0/mlp_norm/scale"]),
    ],
)
def test_matrices_of_blocks(root, name, inside, outside):
    decays = named(optimizers.DECAYED["blocks"](shapes(root, name)))
    assert all(decays[path] for path in inside)
    assert not any(decays[path] for path in outside)


def test_how_far_muon_is_from_the_code_of_its_authors(spec):
    # Each gradient has an axis of its own, so an update shows the weight of each.
    start = {"core": [{"kernel": jnp.zeros((30, 1))}]}
    optimizer = optimizers.make(
        spec(name="muon"), hyper(weight_decay=0.0, momentum=0.95)
    )
    update, state = jax.jit(optimizer.update), optimizer.init(start)
    more = []
    for step in range(30):
        grads = jax.tree.map(lambda x: x.at[step].set(1.0), start)  # noqa: B023
        updates, state = update(grads, state, start)
        found = np.asarray(updates["core"][0]["kernel"])[: step + 1, 0]
        theirs = 0.95 ** np.arange(step + 1, 0, -1)  # g + momentum * buffer
        theirs[step] += 1
        more.append(found[step] / found[0] * theirs[0] / theirs[step])
    assert more[0] == 1
    assert more[1] == pytest.approx(1.24, abs=0.005)
    assert more[1:] == sorted(more[1:], reverse=True)
    assert more[23] > 1.01 > more[24]


def test_muon_takes_experts_and_routers_as_batches_of_matrices(spec):
    rng = np.random.default_rng(5)
    start = {
        "core": [{"mlp": {"keys": rng.normal(size=(2, 3, 5))},
                  "attention": {"value_router": rng.normal(size=(5, 2, 3))}}],
        "embedding": rng.normal(size=(7, 3)),
    }  # fmt: skip
    start = as_float32(start)
    grads = jax.tree.map(lambda x: x + 1, start)
    optimizer = optimizers.make(spec(name="muon"), hyper(weight_decay=0.0))
    updates, _ = jax.jit(optimizer.update)(grads, optimizer.init(start), start)
    block, given = updates["core"][0], jax.device_get(grads["core"][0])
    scale = -RATE * 0.2 * np.sqrt(5)
    for expert in range(2):
        expected = scale * newton_schulz(given["mlp"]["keys"][expert])
        np.testing.assert_allclose(block["mlp"]["keys"][expert], expected, atol=1e-5)
        router = given["attention"]["value_router"][:, expert]
        found = block["attention"]["value_router"][:, expert]
        np.testing.assert_allclose(found, scale * newton_schulz(router), atol=1e-5)
    expected = -RATE * np.sign(grads["embedding"])  # Adam's first update.
    np.testing.assert_allclose(updates["embedding"], expected, rtol=1e-4)


def test_traced_lanes_equal_separate_optimizers(spec):
    grads, cosine = gradients(5), spec(schedule="cosine")
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


def test_every_lane_key_is_read_into_its_own_field(toy):
    values = {key: (11 + place) / 100 for place, key in enumerate(LANE_KEYS)}
    values["optimizer.warmup_steps"] = 23
    assert lane_params(toy(values)) == values
    assert lane_params(toy())["gradient.clip_norm"] == np.inf


def test_a_good_config_has_no_problems(config):
    assert optimizers.problems(config(warmup_steps=NUM_STEPS, weight_decay=0.0)) == []


def test_a_warm_up_is_within_the_budget(config):
    (problem,) = optimizers.problems(config(warmup_steps=NUM_STEPS + 1))
    assert problem == "optimizer.warmup_steps must be in [0, num_steps = 11], got 12."


def test_a_warm_up_may_not_reach_into_the_decay_of_wsd(config):
    assert optimizers.problems(config(schedule="wsd", warmup_steps=6)) == []
    (problem,) = optimizers.problems(config(schedule="wsd", warmup_steps=7))
    assert problem == (
        "optimizer.warmup_steps must end before the decay of schedule wsd begins at "
        "step 6.6, got 7."
    )
