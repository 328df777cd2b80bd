"""The feed-forward branch."""

import flax.linen as nn
import jax

from rdt_jax.models.attention import INIT_STD


class Mlp(nn.Module):
    """Two matrices with biases and a GELU (tanh form, GPT-2's) between them.

    Attributes:
      width: F.
      output_std: standard deviation of the second matrix at the start.
    """

    width: int
    output_std: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, D] to [B, T, D]."""
        hidden = nn.Dense(
            self.width, dtype=x.dtype, kernel_init=nn.initializers.normal(INIT_STD),
            name="input",
        )(x)  # fmt: skip
        return nn.Dense(
            x.shape[-1], dtype=x.dtype,
            kernel_init=nn.initializers.normal(self.output_std), name="output",
        )(nn.gelu(hidden, approximate=True))  # fmt: skip
