"""Patching finds the sites of a circuit that was made by hand, and no others."""

import numpy as np
import pytest

from rdt_jax.analysis import patching, questions
from tests.analysis import planted

TRAIN, ID, OOD = range(3)


@pytest.fixture(scope="module")
def looped(root):
    return planted.make(root)


def test_the_planted_sites_are_found(looped):
    found = patching.measure(*looped, corruption="h", per_group=6, batch_size=5)
    # h before the first block, r1 once the bridge stands there; r2 never.
    sites = np.array([[1, 0, 0], [0, 1, 0]])
    for group in (TRAIN, ID, OOD):
        np.testing.assert_array_equal(found.recovered[group], sites)
        np.testing.assert_array_equal(found.lost[group], sites)
        np.testing.assert_allclose(found.effect[group], sites, atol=1e-5)
        np.testing.assert_allclose(found.damage[group], sites, atol=1e-5)
    np.testing.assert_array_equal(found.rows, found.asked)
    assert found.asked.max() == 6 and found.asked.min() > 2
    assert found.loop.tolist() == [1, 2] and found.block.tolist() == [1, 1]
    assert set(patching.summarize(found).values()) == {1}


def test_of_a_prefix_neither_word_alone_brings_the_answer_back(looped):
    found = patching.measure(*looped, per_group=6, batch_size=5)
    np.testing.assert_array_equal(found.recovered[:, 1, 1], 1)
    np.testing.assert_array_equal(found.recovered[:, 1, [0, 2]], 0)
    assert found.recovered[:, 0].max() < 0.5  # By chance at most.
    np.testing.assert_array_equal(found.lost[:, 1, 1], 1)
    assert (found.lost[:, 0, :2].mean(0) > 0.5).all()


def test_a_question_that_is_not_answered_does_not_count(root):
    params, config, table = planted.make(root)
    every = questions.facts(table) >= 0
    params, config, _ = planted.make(root, [every, every & ~planted.ood_facts(table)])
    found = patching.measure(
        params, config, table, corruption="h", per_group=6, batch_size=5
    )
    assert found.rows[OOD] == 0 and found.asked[OOD] > 2
    assert found.rows[TRAIN] == found.asked[TRAIN]
    for effect in (found.recovered, found.effect, found.lost, found.damage):
        assert np.isnan(effect[OOD]).all()
        np.testing.assert_allclose(effect[TRAIN], [[1, 0, 0], [0, 1, 0]], atol=1e-5)


@pytest.mark.parametrize("corruption", sorted(patching.CORRUPTIONS))
def test_a_corrupted_question_is_another_question(looped, corruption):
    _, _, table = looped
    tails = questions.facts(table)
    asked = questions.sample(table, 50)
    tokens, answers = patching.corrupt(asked, tails, corruption)
    kept = answers >= 0
    assert kept.mean() > 0.5
    changed = tokens[kept] != asked.tokens[kept]
    assert (changed == [*patching.CORRUPTIONS[corruption], False]).all()
    np.testing.assert_array_equal(tokens[~kept], asked.tokens[~kept])
    for (h, r1, r2), answer, target in zip(
        tokens[kept], answers[kept], asked.targets[kept], strict=True
    ):
        assert tails[tails[h, r1], r2] == answer != target
    again, _ = patching.corrupt(asked, tails, corruption)
    np.testing.assert_array_equal(again, tokens)


def test_an_unknown_corruption_is_refused(looped):
    with pytest.raises(ValueError, match="corruption"):
        patching.measure(*looped, corruption="r2")
