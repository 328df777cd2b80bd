"""The outer eigenvalues of a matrix that is known by its products with vectors only.

Reference: Arnoldi (1951), Quarterly of Applied Mathematics 9; of a symmetric matrix it
is the iteration of Lanczos (1950). The basis is orthogonalized twice at every step,
since once is not enough in float32.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

# A product that lies in the span of the basis, up to this share of its norm (rounding
# in float32), ends the iteration: all eigenvalues that the start leads to are known.
_INVARIANT = 1e-5


def project(
    product: Callable[[jax.Array], jax.Array], start: jax.Array, steps: int
) -> jax.Array:
    """Projects a matrix onto the Krylov space of a vector, upper Hessenberg [K, K].

    The eigenvalues of the result approach the outermost ones of the matrix, and equal
    all of them once K = `steps` is its size, unless the start has no part along some.
    Where the space is complete, further rows and columns are zero. jit and vmap apply.

    Args:
      product: function from a vector [n] to the matrix times it.
      start: float [n], not zero.
      steps: K, at least 1.
    """

    def step(carry, index):
        basis, vector = carry  # [K, n], the vectors so far and zeros; [n]
        basis = basis.at[index].set(vector)
        made = product(vector)
        rest, along = made, jnp.zeros(steps, made.dtype)
        for _ in range(2):
            part = basis @ rest
            rest, along = rest - part @ basis, along + part
        left = jnp.linalg.norm(rest)
        goes_on = left > _INVARIANT * jnp.linalg.norm(made)
        following = jnp.where(goes_on, rest / jnp.where(goes_on, left, 1.0), 0.0)
        column = along.at[index + 1].set(jnp.where(goes_on, left, 0.0), mode="drop")
        return (basis, following), column

    basis = jnp.zeros((steps, start.size), start.dtype)
    _, columns = jax.lax.scan(
        step, (basis, start / jnp.linalg.norm(start)), jnp.arange(steps)
    )
    return columns.T


def largest(projected: np.ndarray) -> np.ndarray:
    """Returns the largest eigenvalue of symmetric [..., K, K], float64 [...]."""
    projected = np.asarray(projected, np.float64)
    return np.linalg.eigvalsh((projected + np.swapaxes(projected, -1, -2)) / 2)[..., -1]


def radius(projected: np.ndarray) -> np.ndarray:
    """Returns the largest modulus of the eigenvalues of [..., K, K], float64 [...]."""
    return np.abs(np.linalg.eigvals(np.asarray(projected, np.float64))).max(axis=-1)
