"""The lens reads what a circuit made by hand is known to hold, where it holds it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.analysis import lens, questions
from rdt_jax.models import presets, recurrent
from rdt_jax.training import pack
from tests.analysis import planted

BRIDGE, TARGET = range(2)
HEAD, FIRST, SECOND = range(3)
TRAIN, ID, OOD = range(3)


@pytest.fixture(scope="module")
def looped(root):
    params, config, table = planted.make(root)
    return lens.measure(params, config, table, per_group=7, batch_size=7), table


def test_the_bridge_stands_at_r1_before_the_target_stands_at_r2(looped):
    found, _ = looped
    # Depths 0 (embedding), 1, 2; in all groups alike.
    for group in (TRAIN, ID, OOD):
        np.testing.assert_array_equal(
            found.accuracy[group, BRIDGE, :, FIRST], [0, 1, 1]
        )
        np.testing.assert_array_equal(found.accuracy[group, TARGET, 1:, SECOND], [0, 1])
        assert (found.accuracy[group, BRIDGE, :, SECOND] < 1).all()
        assert (found.median_rank[group, BRIDGE, :, FIRST] > 1)[0]
    assert (found.rows == 7).all()
    assert found.loop.tolist() == [0, 1, 2]
    assert found.block.tolist() == [0, 1, 1]
    assert found.stage.tolist() == [0, 2, 2]
    assert found.answer_position == SECOND
    summary = lens.summarize(found)
    for what in ("bridge at r1", "target"):
        for group in ("train", "id", "ood"):
            assert summary[f"{what}, {group}"] == 1
            assert summary[f"{what}, {group}, embedding alone"] == 0
            assert 0 <= summary[f"{what}, {group}, untrained"] < 1
    assert len(summary) == 18
    right = found.accuracy == 1
    assert ((found.reciprocal_rank == 1) == right).all()
    assert (found.median_rank[right] == 1).all()


def test_what_a_block_does_not_know_is_not_decoded(root):
    _, _, table = planted.make(root)
    every = questions.facts(table) >= 0
    params, config, _ = planted.make(root, [every, every & ~planted.ood_facts(table)])
    found = lens.measure(params, config, table, per_group=5, batch_size=7)
    assert found.loop.tolist() == [0, 1, 1] and found.block.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(found.accuracy[:, BRIDGE, 1, FIRST], 1)
    np.testing.assert_array_equal(found.accuracy[:, TARGET, 2, SECOND], [1, 1, 0])


def test_other_loops_than_trained_and_groups_without_rows(root, looped):
    params, config, table = planted.make(root)
    found = lens.measure(params, config, table, per_group=4, num_loops=1, batch_size=7)
    assert found.accuracy.shape == (3, 2, 2, 3)
    split = table.split.copy()
    split[table.rows_of("ood")] = 5  # unused
    less = dataclasses.replace(table, split=split)
    found = lens.measure(params, config, less, per_group=4, batch_size=7)
    assert np.isnan(found.accuracy[OOD]).all() and found.rows.tolist() == [4, 4, 0]
    assert np.isfinite(found.accuracy[:OOD]).all()


def test_at_the_end_it_is_the_accuracy_of_the_model(root):
    params, config, table = planted.make(root)
    asked = questions.sample(table, 6)
    model = presets.model_config(config, table)
    apply = jax.jit(recurrent.apply, static_argnames=("config", "num_loops"))
    logits = apply(
        params, asked.tokens, asked.answer_positions, model, num_loops=1
    ).logits[:, 0]
    found = lens.measure(params, config, table, per_group=6, num_loops=1, batch_size=7)
    right = np.asarray(logits).argmax(-1) == asked.targets
    expected = questions.average(right, asked.group)
    np.testing.assert_array_equal(found.accuracy[:, TARGET, -1, SECOND], expected)


def test_the_untrained_control_is_the_lens_on_what_the_run_began_with(root):
    _, config, table = planted.make(root)
    # As large as this, not each state is read as its own word.
    config = configs.override(config, {"seed": 5, "model.init_scale": 8.0})
    model = presets.model_config(config, table)
    drawn = jax.jit(pack.draw, static_argnames="model")(5, 8.0, model)
    found = lens.measure(drawn, config, table, per_group=70, batch_size=70)
    np.testing.assert_array_equal(found.untrained, found.accuracy)
    assert 0 < found.accuracy[:, :, 1:].max() < 1


def test_what_a_control_reads_is_no_excess(looped):
    found, _ = looped
    untrained = np.zeros_like(found.untrained)
    untrained[OOD, BRIDGE, 2, FIRST] = 0.3
    untrained[OOD, BRIDGE, 1, SECOND] = 0.9  # Where nobody looks for it.
    accuracy = found.accuracy.copy()
    accuracy[ID, TARGET, 0, SECOND] = 0.4
    controlled = found._replace(untrained=untrained, accuracy=accuracy)
    expected = np.zeros((3, 2, 2))
    expected[OOD, BRIDGE, 1], expected[ID, TARGET, 0] = 0.3, 0.4
    np.testing.assert_array_equal(lens.controls(controlled), expected)
    np.testing.assert_allclose(lens.excess(controlled, "bridge")[OOD], [-0.3, 0.7, 0.7])
    np.testing.assert_allclose(lens.excess(controlled, "bridge")[ID], [0, 1, 1])
    target = lens.target_at_answer(controlled)
    np.testing.assert_allclose(lens.excess(controlled, "target")[ID], target[ID] - 0.4)


def test_ranks_count_ties_and_nan_against_the_word():
    logits = jnp.array([[[3.0, 1, 2, 1], [0, 0, 0, 0], [np.nan] * 4]])  # [1, 3, 4]
    ranks = lens.rank(logits, jnp.array([[0, 3]]))
    assert ranks.tolist() == [[[1, 4, 4], [4, 4, 4]]]


def test_the_first_depth_that_reaches_a_level():
    accuracy = np.array([np.nan, 0.2, 0.5, 0.4, 0.9])
    levels = [lens.first_depth(accuracy, level) for level in (0.1, 0.5, 0.6, 0.95)]
    assert levels == [1, 2, 4, np.inf]


def test_bridges_come_from_the_one_hop_rows(looped):
    _, table = looped
    asked = questions.sample(table, 10**6)
    known = {
        tuple(row[:2]): target
        for row, target, hops in zip(
            table.tokens.tolist(), table.targets[:, 0], table.tags["hops"], strict=True
        )
        if hops == 1
    }
    for row, bridge, target in zip(
        asked.tokens.tolist(), asked.bridges, asked.targets, strict=True
    ):
        assert known[row[0], row[1]] == bridge and known[bridge, row[2]] == target
    counts = [
        ((table.tags["hops"] == 2) & (table.split == split)).sum()
        for split in (0, 1, 2)
    ]
    assert questions.count(asked.group).tolist() == counts
    few = questions.sample(table, 4)
    assert len(np.unique(few.tokens, axis=0)) == 12
    np.testing.assert_array_equal(few.tokens, questions.sample(table, 4).tokens)
    assert set(questions.entities(table)) == set(range(1, 12))


def test_questions_of_longer_tables_end_where_they_are_answered():
    sizes = {"num_entities": 7, "num_relations": 3, "max_hops": 6, "max_train_hops": 4}
    sizes |= {"train_per_hop": 30, "heldout_per_hop": 9, "answer_at": "answer_token"}
    table = tasks.table_of("knowledge_depth", 0, sizes)
    asked = questions.sample(table, 5)
    assert asked.tokens.shape == (10, 4) and (asked.answer_positions == 3).all()
    assert set(asked.tokens[:, 3]) == {table.vocab.index("<a>")}
    assert questions.count(asked.group).tolist() == [5, 5, 0]
    tails = questions.facts(table)
    np.testing.assert_array_equal(
        tails[asked.bridges, asked.tokens[:, SECOND]], asked.targets
    )


def test_other_tasks_are_refused():
    sizes = {"operation": "add", "modulus": 5, "train_fraction": 0.6}
    table = tasks.table_of("modular", 0, sizes)
    with pytest.raises(
        ValueError, match="asks two-hop questions and needs a task with"
    ):
        questions.facts(table)


def test_chunks_of_any_size_give_the_same():
    values = np.arange(7)
    double = lambda x: {"twice": 2 * x, "seen": 0 * x + len(x)}
    for size in (1, 3, 7, 50):
        found = questions.in_chunks(double, size, values)
        np.testing.assert_array_equal(found["twice"], 2 * values)
        assert (found["seen"] == min(size, 7)).all()
