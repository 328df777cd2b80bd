"""Attention as it was made by hand, and what is said of it."""

import numpy as np
import pytest

from rdt_jax.analysis import binding, questions
from tests.analysis import planted


@pytest.fixture(scope="module")
def found(root):
    return binding.measure(*planted.make(root), per_group=5, batch_size=4)


def test_every_query_attends_to_the_word_before(found):
    wanted = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]])
    for group in range(3):
        for block in range(2):  # Of one head.
            np.testing.assert_allclose(
                found.attention[group, block, 0], wanted, atol=1e-3
            )
            np.testing.assert_array_equal(found.chosen[group, block, 0], wanted)
    np.testing.assert_allclose(found.entropy, 0, atol=0.02)
    for score in binding.retrieval(found):
        assert score.shape == (3, 2, 1)
        np.testing.assert_allclose(score, 1, atol=1e-3)
    np.testing.assert_array_equal(binding.roles(found)[0, 0, 0], [0, 0, 1])
    assert found.answer_position == 2
    summary = binding.summarize(found)
    assert len(summary) == 6 and summary["answer to r1, ood"] > 0.99
    assert found.loop.tolist() == [1, 2] and found.rows.tolist() == [5, 5, 5]


def made(weights):
    """A Binding of one group, block and head with these mean weights, [T, T]."""
    weights = np.array(weights, float)[None, None, None]
    return binding.Binding(
        weights, weights, -np.log(weights.max(-1)), np.array(2), *4 * (np.ones(1, int),)
    )


EVEN = [[1, 0, 0], [0.5, 0.5, 0], [0.4, 0.3, 0.3]]
SHARP = [[1, 0, 0], [0.9, 0.1, 0], [0.1, 0.65, 0.25]]


def test_a_role_needs_a_margin():
    assert binding.roles(made(EVEN)).ravel().tolist() == [0, binding.MIXED, -1]
    assert binding.roles(made(SHARP)).ravel().tolist() == [0, 0, 1]
    strict = binding.roles(made(SHARP), margin=0.45)
    assert strict.ravel().tolist() == [0, 0, binding.MIXED]
    names = [binding.role_name(role) for role in (-1, 0, 1, 2, 3)]
    assert names == ["mixed", "h", "r1", "r2", "answer"]


def test_a_change_is_what_moved():
    moved = binding.change(made(EVEN), made(SHARP))
    np.testing.assert_allclose(moved.distance.ravel(), [0, 0.4, 0.35])
    assert moved.roles.ravel().tolist() == [False, True, True]
    assert moved.entropy.ravel()[1] < 0 == moved.entropy.ravel()[0]
    still = binding.change(made(SHARP), made(SHARP))
    assert not still.roles.any() and (still.distance == 0).all()


def test_the_two_hops_are_told_apart():
    first, second = binding.retrieval(made(SHARP))
    assert (first.item(), second.item()) == (0.9, 0.65)


def test_groups_are_those_of_the_questions(root, found):
    assert found.attention.shape[0] == len(questions.GROUPS)
