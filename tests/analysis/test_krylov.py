"""Eigenvalues against numpy's of the dense matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdt_jax.analysis import krylov

SIZE = 13


@pytest.fixture(scope="module")
def project():
    return jax.jit(
        lambda matrix, start, steps: krylov.project(lambda v: matrix @ v, start, steps),
        static_argnums=2,
    )


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_all_eigenvalues_are_found_in_as_many_steps(project):
    matrix = draw(0, SIZE, SIZE)
    found = np.asarray(project(matrix, draw(1, SIZE), SIZE), np.float64)
    ordered = lambda x: np.sort_complex(np.round(np.linalg.eigvals(x), 3))
    np.testing.assert_allclose(ordered(found), ordered(matrix), atol=2e-3)
    expected = np.abs(np.linalg.eigvals(matrix)).max()
    assert krylov.radius(found) == pytest.approx(expected, rel=1e-4)


def test_the_outermost_are_found_in_fewer(project):
    rotation, _ = np.linalg.qr(draw(2, SIZE, SIZE))
    values = np.array([-9, *np.linspace(-1, 1, SIZE - 2), 5], np.float32)
    matrix = (rotation * values) @ rotation.T
    found = project(matrix, draw(3, SIZE), 6)
    assert krylov.largest(found) == pytest.approx(5, rel=1e-3)  # Not the -9.
    assert krylov.radius(found) == pytest.approx(9, rel=1e-3)


def test_a_space_that_is_complete_early_adds_nothing(project):
    matrix = np.diag(np.array([3, -2, *[0.5] * (SIZE - 2)], np.float32))
    found = np.asarray(project(matrix, np.eye(SIZE, dtype=np.float32)[0], 5))
    np.testing.assert_allclose(found, np.diag([3, 0, 0, 0, 0]), atol=1e-6)
    found = project(matrix, draw(4, SIZE), 9)  # Three different eigenvalues.
    assert krylov.radius(found) == pytest.approx(3, rel=1e-5)
    np.testing.assert_array_equal(np.asarray(found)[3:], 0)


def test_matrices_in_a_batch_do_not_mix():
    matrices = jnp.asarray(draw(5, 3, 7, 7))
    start = jnp.asarray(draw(6, 7))
    found = jax.vmap(lambda m: krylov.project(lambda v: m @ v, start, 7))(matrices)
    expected = np.abs(np.linalg.eigvals(matrices)).max(axis=-1)
    np.testing.assert_allclose(krylov.radius(found), expected, rtol=1e-3)
