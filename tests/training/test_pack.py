"""The compiled programs: one of each kind serves all tests of this file."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax.data import batches
from rdt_jax.models import layers, loop, presets, recurrent
from rdt_jax.training import hyper, losses
from tests.training import bits


def trained(program, configs, *chunks):
    """Runs chunks of updates from the start."""
    lanes = hyper.make_lanes(configs)
    state = program.init(lanes)
    for n in chunks:
        state = program.train(state, lanes, n)
    return state


def lane_of(tree, index):
    return jax.tree.map(lambda x: x[index], tree)


# Chunks.


def test_chunks_of_all_lengths_share_one_compilation(program, toy):
    trained(program, [toy()], 0, 1, 4)
    before = program.compilations()
    trained(program, [toy()], 5, 0, 11, 2)
    trained(program, [toy({"seed": 8, "optimizer.learning_rate": 0.1})], 3)
    assert program.compilations() == before


def test_the_state_is_consumed(program, toy):
    lanes = hyper.make_lanes([toy()])
    state = program.init(lanes)
    program.train(state, lanes, 1)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.opt_state))


def test_losses_add_up_over_a_window(program, toy):
    lanes = hyper.make_lanes([toy()])
    singles, state = [], program.init(lanes)
    for _ in range(5):
        state = program.train(program.start_window(state), lanes, 1)
        singles.append(float(state.loss_sum[0]))
    assert len(set(singles)) == 5
    whole = trained(program, [toy()], 5)
    np.testing.assert_allclose(whole.loss_sum[0], sum(singles), rtol=1e-6)
    expected = bits.copy(whole)
    bits.assert_same(
        program.start_window(whole), expected.replace(loss_sum=np.zeros(1, np.float32))
    )


def test_an_epoch_may_end_anywhere_in_a_chunk(program, toy, table):
    """What a chunk carries over an epoch's end is what the next one would draw."""
    per_epoch = batches.epoch_rows(table).size / toy().batch_size
    assert not per_epoch.is_integer(), "a batch must straddle two epochs"
    updates = int(2 * per_epoch) + 2
    singles = trained(program, [toy()], *[1] * updates)
    bits.assert_same(trained(program, [toy()], updates), singles)


# What is learned.


def test_starts_at_the_cost_of_guessing(program, toy, table):
    # Logits at the start have a standard deviation of about 0.02 * sqrt(D) = 0.07.
    first = trained(program, [toy()], 1)
    assert abs(first.loss_sum[0] - np.log(len(table.vocab))) < 0.1


def test_the_loss_falls_and_a_tiny_model_memorizes(program, toy):
    at = (0, program.loops.index(2), program.groups.index("train"))
    found = []
    for updates in (700, 1_100):  # How soon depends on the machine's rounding.
        state = trained(program, [toy()], updates)
        chex.assert_tree_all_finite(state)
        measured = program.evaluate(state.params)
        found.append((measured["accuracy"][at], measured["loss"][at]))
    assert max(accuracy for accuracy, _ in found) >= 0.99
    assert min(loss for _, loss in found) < 0.5


def test_the_seed_decides_parameters_and_batches(build, toy, table, pack):
    program = build(pack, table)
    pack = [toy({"seed": seed}) for seed in (5, 6, 5)]
    state = trained(program, pack, 3)
    bits.assert_same(lane_of(state.params, 0), lane_of(state.params, 2))
    assert state.loss_sum[0] == state.loss_sum[2] != state.loss_sum[1]
    embedding = program.init(hyper.make_lanes(pack)).params["embedding"]
    assert np.abs(embedding[0] - embedding[1]).max() > 1e-2


def test_gradients_flow_through_the_last_loops_only(build, program, toy, table):
    last = toy({"recurrence.backprop_depth": 1})
    truncated = trained(build([last], table), [last], 1)
    full = trained(program, [toy()], 1)
    np.testing.assert_allclose(truncated.loss_sum, full.loss_sum, rtol=1e-6)
    assert truncated.gradient_norm[0] < 0.9 * full.gradient_norm[0]


@pytest.mark.exhaustive
def test_drawn_depths_are_those_of_the_fixed_programs(build, program, toy, table):
    """Lanes draw alike, whatever the chunks; every update is that of its own depth."""
    section = {
        "recurrence.sampling": "uniform",
        "recurrence.min_loops": 1,
        "recurrence.max_loops": 2,
    }
    pack = [toy(section | {"seed": seed}) for seed in (5, 6)]
    drawing, lanes = build(pack, table), hyper.make_lanes(pack)
    draws = [int(loop.draw_loops(pack[0].recurrence, at)) for at in range(5)]
    assert set(draws) == {1, 2}
    state = trained(drawing, pack, 5)
    bits.assert_same(state, trained(drawing, pack, 2, 3))
    known = {2: program, 1: build([toy({"recurrence.num_loops": 1})], table)}
    for index, config in enumerate(pack):
        own = hyper.make_lanes([config])
        alone = known[2].init(own)
        for loops in draws:
            alone = known[loops].train(alone, own, 1)
        for name in ("params", "loss_sum", "gradient_norm"):
            chex.assert_trees_all_close(
                lane_of(getattr(state, name), index),
                lane_of(getattr(alone, name), 0),
                rtol=1e-4,
                atol=1e-5,
            )
    assert drawing.evaluate(drawing.init(lanes).params)["loss"].shape[1] == 3
    assert drawing.compilations() == 1


def test_every_update_has_noise_of_its_own(build, toy, table):
    """The loss of each update is that of its rows under the noise of its step."""
    config = toy({"model.dropout": 0.3, "model.embedding_dropout": 0.1})
    program, lanes = build([config], table), hyper.make_lanes([config])
    model = presets.model_config(config, table)
    _, data_key, noise_key = jax.random.split(jax.random.key(config.seed), 3)
    epoch = batches.epoch_rows(table)
    orders = [
        batches.epoch_order(data_key, n, epoch.size, epoch.size) for n in range(9)
    ]
    drawn = epoch[np.concatenate(orders)]

    @jax.jit
    def loss_of(params, rows, key):
        noise = layers.Noise(key, jnp.float32(0.3), jnp.float32(0.1))
        lane = lane_of(params, 0)
        tokens, at = (
            x[rows] for x in map(jnp.asarray, (table.tokens, table.answer_positions))
        )
        logits, _ = recurrent.answer(lane, tokens, at, model, num_loops=2, rngs=noise)
        targets = jnp.asarray(table.targets)[rows]
        return losses.answer_cross_entropy(logits, targets, 0.1).mean()

    state = program.init(lanes)
    for at in range(4):
        key = jax.random.fold_in(noise_key, at)
        expected = loss_of(state.params, drawn[13 * at : 13 * (at + 1)], key)
        state = program.train(program.start_window(state), lanes, 1)
        np.testing.assert_allclose(state.loss_sum[0], expected, rtol=1e-5)


def test_the_update_ratio_is_that_to_the_weights_before(program, toy):
    lanes = hyper.make_lanes([toy()])
    state = program.train(program.init(lanes), lanes, 4)
    before = bits.copy(state.params)
    state = program.train(state, lanes, 1)
    norm = lambda tree: np.sqrt(
        sum((x.astype(np.float64) ** 2).sum() for x in jax.tree.leaves(tree))
    )
    after = bits.copy(state.params)
    change = norm(jax.tree.map(lambda new, old: new - old, after, before))
    assert abs(norm(after) / norm(before) - 1) > 1e-3
    np.testing.assert_allclose(state.update_ratio[0], change / norm(before), rtol=1e-4)


# Lanes.

LANES = (
    {"seed": 3, "optimizer.learning_rate": 3e-3, "optimizer.weight_decay": 1.0},
    {"seed": 4, "model.dropout": 0.2, "optimizer.warmup_steps": 1},
    {"seed": 7, "model.embedding_dropout": 0.1, "loss.label_smoothing": 0.0},
)


@pytest.fixture(scope="module")
def pack(toy):
    return [toy(lane) for lane in LANES]


def test_lanes_equal_separate_runs(build, toy, table, pack):
    program = build(pack, table)
    together = trained(program, pack, 7)
    measured = program.evaluate(together.params)
    for index, config in enumerate(pack):
        solo = build([config], table)
        alone = trained(solo, [config], 7)
        # float32: vmap turns products into batched ones, which round differently.
        for name in ("params", "loss_sum", "gradient_norm", "finite_steps"):
            chex.assert_trees_all_close(
                lane_of(getattr(together, name), index),
                lane_of(getattr(alone, name), 0),
                rtol=1e-4,
                atol=1e-5,
            )
        for name, values in solo.evaluate(alone.params).items():
            np.testing.assert_allclose(
                # The KL of nearly equal answers is a difference of rounded logarithms.
                measured[name][index],
                values[0],
                rtol=1e-4,
                atol=1e-6,
                err_msg=name,
            )


def test_every_lane_starts_as_its_solo_run(build, table, pack):
    program = build(pack, table)
    together = program.init(hyper.make_lanes(pack))
    for index, config in enumerate(pack):
        alone = build([config], table).init(hyper.make_lanes([config]))
        bits.assert_same(lane_of(together.params, index), lane_of(alone.params, 0))


@pytest.mark.parametrize("broken", range(3))
def test_a_lane_that_breaks_leaves_the_others_bit_identical(
    build, toy, table, pack, broken
):
    program = build(pack, table)
    bad = toy(
        {**LANES[broken], "optimizer.learning_rate": 1e30, "optimizer.warmup_steps": 0}
    )
    changed = [bad if index == broken else c for index, c in enumerate(pack)]
    state, expected = (trained(program, configs, 6) for configs in (changed, pack))
    assert not np.isfinite(state.loss_sum[broken])
    measured, wanted = (program.evaluate(s.params) for s in (state, expected))
    for index in {0, 1, 2} - {broken}:
        for left, right in [(state, expected), (measured, wanted)]:
            pick = lambda tree, i=index: [
                x[i] for x in jax.tree.leaves(tree) if x.ndim > 0
            ]
            bits.assert_same(pick(left), pick(right))
    assert list(state.finite_steps) == [1 if i == broken else 6 for i in range(3)]


def test_finite_steps_counts_the_updates_before_the_first_broken_one(program, toy):
    # Weights grow by rate * decay = 1000 an update until their products overflow.
    config = toy(
        {
            "optimizer.learning_rate": 1.0,
            "optimizer.weight_decay": 1000.0,
            "optimizer.warmup_steps": 0,
        }
    )
    lanes = hyper.make_lanes([config])
    state, finite = program.init(lanes), []
    for _ in range(19):
        state = program.train(program.start_window(state), lanes, 1)
        finite.append(bool(np.isfinite(state.loss_sum[0])))
    first = finite.index(False)
    assert first > 1, "the run must break late for this test to mean anything"
    assert state.finite_steps[0] == first
    assert trained(program, [config], 19).finite_steps[0] == first


def test_a_broken_lane_stays_broken_whatever_comes_later(program, toy):
    state = trained(program, [toy()], 5)
    broken = state.replace(finite_steps=np.array([2], np.int32))
    lanes = hyper.make_lanes([toy()])
    later = program.train(broken, lanes, 3)
    assert np.isfinite(later.loss_sum[0])
    assert later.finite_steps[0] == 2


# Evaluation.


def test_the_weight_norm_is_euclidean_over_all_parameters(program, toy):
    state = trained(program, [toy()], 2)
    leaves = jax.tree.leaves(lane_of(bits.copy(state.params), 0))
    expected = np.sqrt(sum((leaf.astype(np.float64) ** 2).sum() for leaf in leaves))
    measured = program.evaluate(state.params)["weight_norm"]
    np.testing.assert_allclose(measured, [expected], rtol=1e-6)


def test_lanes_carry_seed_and_hyper(pack):
    lanes = hyper.make_lanes(pack)
    assert lanes.seed.dtype == jnp.uint32
    np.testing.assert_array_equal(lanes.seed, [3, 4, 7])
    for key, expected in {
        "optimizer.learning_rate": [3e-3, 1e-2, 1e-2],
        "optimizer.weight_decay": [1.0, 0.1, 0.1],
        "optimizer.warmup_steps": [5, 1, 5],
        "model.dropout": [0, 0.2, 0],
        "model.embedding_dropout": [0, 0, 0.1],
        "loss.label_smoothing": [0.1, 0.1, 0],
    }.items():
        np.testing.assert_allclose(lanes.hyper[key], expected, rtol=1e-6)
