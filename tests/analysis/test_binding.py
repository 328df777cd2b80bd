"""Attention as it was made by hand, and what is said of it."""

import numpy as np
import pytest

from rdt_jax.analysis import binding
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
    assert found.answer_position == 2
    summary = binding.summarize(found)
    assert len(summary) == 6 and summary["answer to r1, ood"] > 0.99
    assert found.loop.tolist() == [1, 2] and found.rows.tolist() == [5, 5, 5]


def test_the_two_hops_are_told_apart(found):
    weights = np.array([[1, 0, 0], [0.9, 0.1, 0], [0.1, 0.65, 0.25]])
    found = found._replace(attention=weights)
    first, second = binding.retrieval(found)
    assert (first.item(), second.item()) == (0.9, 0.65)
