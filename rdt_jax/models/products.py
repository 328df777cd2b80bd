"""Dense layers: products of rows with a matrix whose gradients are fast on a CPU."""

from typing import Any

import flax.linen as nn
import jax


def dot_general(
    x: jax.Array,
    kernel: jax.Array,
    dimension_numbers: Any,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """Multiplies [..., D] by [D, F] over flat rows; `nn.Dense` takes it as its product.

    The gradient of the matrix then contracts one axis. Over two, batch and tokens,
    XLA's CPU compiler copies one side transposed and takes twice as long.
    """
    assert dimension_numbers == (((x.ndim - 1,), (0,)), ((), ())), dimension_numbers
    rows = x.reshape(-1, x.shape[-1])
    product = jax.lax.dot(
        rows, kernel, precision=precision, preferred_element_type=preferred_element_type
    )
    return product.reshape(*x.shape[:-1], kernel.shape[1])


def dense(
    x: jax.Array, features: int, name: str, *, init: Any, use_bias: bool
) -> jax.Array:
    """Applies a dense layer of a model, [..., D] to [..., F], in the dtype of `x`.

    `name` is that of its parameters in the module that calls this, `init` draws the
    matrix.
    """
    layer = nn.Dense(
        features, use_bias=use_bias, dtype=x.dtype, kernel_init=init,
        dot_general=dot_general, name=name,
    )  # fmt: skip
    return layer(x)
