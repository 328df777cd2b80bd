"""Similarities of layouts that are known, and of a circuit made by hand."""

import numpy as np
import pytest

from rdt_jax.analysis import geometry, questions
from tests.analysis import planted

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 7))
Y = RNG.standard_normal((40, 5))
TURN = np.linalg.qr(RNG.standard_normal((7, 7)))[0]


@pytest.fixture(scope="module")
def found(root):
    return geometry.measure(*planted.make(root), per_group=40, batch_size=9)


def test_the_bridge_becomes_its_embedding_once_it_is_fetched(found):
    own, others = found.to_embedding, found.to_other_embeddings
    assert own.shape == (3, 3)
    assert (np.abs(own[:, 0]) < 0.2).all()
    assert (own[:, 1:] > 0.8).all() and (others[:, 1:] < 0.1).all()
    np.testing.assert_array_equal(geometry.alignment(found), own - others)
    summary = geometry.summarize(found)
    assert summary["bridge alignment, ood"] == (own - others)[2].max()
    assert summary["effective rank at r1"] == found.effective_rank[0, -1]
    # As a subject the entity is carried along as well, so less alike.
    assert (found.to_subject[:, 1] > 0.5).all()
    assert (found.to_other_subjects[:, 1] < 0.1).all()


def test_a_bridge_that_is_not_fetched_has_no_direction(root):
    _, _, table = planted.make(root)
    known = (questions.facts(table) >= 0) & ~planted.ood_facts(table)
    params, config, _ = planted.make(root, [known, known])
    found = geometry.measure(params, config, table, per_group=40, batch_size=9)
    assert (found.to_embedding[:2, 1] > 0.8).all()
    assert np.abs(found.to_embedding[2]).max() < 0.3
    assert found.ood_to_practiced[1] - found.ood_to_others[1] < 0.5


def test_the_same_entity_is_alike_however_it_was_found(found):
    assert (found.ood_to_practiced[1:] > 0.8).all()
    assert (found.ood_to_others[1:] < 0.2).all()
    assert found.ood_to_practiced[0] < 0.6


def test_cka_of_depths(found):
    assert found.cka.shape == (2, 3, 3)
    for part in found.cka:
        np.testing.assert_allclose(np.diag(part), 1)
        np.testing.assert_allclose(part, part.T)
        assert 0 < part[0, 2] < 0.9
    assert (found.effective_rank > 1).all()


def test_cka_ignores_what_it_should_and_nothing_else():
    assert geometry.cka(X, X) == pytest.approx(1)
    assert geometry.cka(X, 3 * X @ TURN + 5) == pytest.approx(1)
    assert geometry.cka(X, X * np.geomspace(1, 50, 7)) < 0.9
    # Against the definition: kernels, centered on both sides.
    center = np.eye(40) - 1 / 40
    k, other = (center @ z @ z.T @ center for z in (X, Y))
    hsic = lambda a, b: (a * b).sum()
    wanted = hsic(k, other) / np.sqrt(hsic(k, k) * hsic(other, other))
    assert geometry.cka(X, Y) == pytest.approx(wanted)
    assert np.isnan(geometry.cka(X, np.ones((40, 2))))


def test_effective_rank_counts_even_directions():
    for rank in (1, 3, 6):
        even = np.zeros((2 * rank, 7))
        even[np.arange(rank), np.arange(rank)] = 2
        even[rank + np.arange(rank), np.arange(rank)] = -2
        assert geometry.effective_rank(even @ TURN + 4) == pytest.approx(rank)
    assert 1 < geometry.effective_rank(X * np.geomspace(1, 100, 7)) < 4
    assert np.isnan(geometry.effective_rank(np.ones((4, 3))))


def test_cosines_are_of_centered_rows():
    x = np.array([[5.0, 1], [5, -1], [5, 0]])
    np.testing.assert_allclose(
        geometry.cosines(x, x + 9), [[1, -1, 0], [-1, 1, 0], [0, 0, 0]], atol=1e-12
    )
