"""The scale and distribution at which matrices, tables and states start.

References: `gpt2`: Radford et al. (2019), Section 2.3. `moeut`: Csordas et al. (2024),
arXiv:2405.16039. `huginn`: Geiping et al. (2025), arXiv:2502.05171, Section 4; all its
draws are truncated at three standard deviations, as in the released code.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from rdt_jax import registry
from rdt_jax.models.architecture import ModelConfig

Initializer = Callable[..., jax.Array]  # (key, shape, dtype) -> array
INIT_STD = 0.02  # GPT-2's, of every matrix that is not an output projection.

# Standard deviation of a matrix that is not an output projection, given its inputs.
WEIGHT_INITS: Mapping[str, Callable[[ModelConfig, int], float]] = {
    "gpt2": lambda config, fan_in: INIT_STD,
    "moeut": lambda config, fan_in: (2 / (_depth(config) * fan_in)) ** 0.5,
    "huginn": lambda config, fan_in: (2 / (5 * config.width)) ** 0.5,
}
# Standard deviation of an output projection, given that of another matrix like it.
OUTPUT_INITS: Mapping[str, Callable[[ModelConfig, float], float]] = {
    "zero": lambda config, std: 0.0,  # Every block is the identity (Kohli et al., 4).
    # By the branches that are added to the stream, without counting loops twice.
    "gpt2": lambda config, std: std / (2 * config.num_blocks) ** 0.5,
    "normal": lambda config, std: std,  # Like every other matrix.
    "depth": lambda config, std: std / (2 * _depth(config)) ** 0.5,  # Huginn's.
}
# What reads `model.init_depth`.
NEED_DEPTH = ("moeut", "depth")


def weight(config: ModelConfig, fan_in: int) -> Initializer:
    """Returns how a matrix starts that reads `fan_in` numbers."""
    std = registry.lookup("weight init", WEIGHT_INITS, config.weight_init)
    return _draw(config, std(config, fan_in))


def output(config: ModelConfig, fan_in: int) -> Initializer:
    """Returns how a matrix starts whose result is added to the residual stream."""
    std = registry.lookup("weight init", WEIGHT_INITS, config.weight_init)
    scale = registry.lookup("output init", OUTPUT_INITS, config.output_init)
    return _draw(config, scale(config, std(config, fan_in)))


def router(config: ModelConfig, fan_in: int) -> Initializer:
    """Returns how a router starts: under `moeut`, no expert begins ahead of another.

    The columns ([fan_in, ..., E]) of a `moeut` router have one norm and keep the
    standard deviation of the whole.
    """
    draw = weight(config, fan_in)
    if config.weight_init != "moeut":
        return draw

    def even(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
        drawn = draw(key, shape, dtype)
        rows = drawn / jnp.linalg.norm(drawn, axis=0, keepdims=True)
        return rows * (drawn.std() / rows.std())

    return even


def table(config: ModelConfig) -> Initializer:
    """Returns how a table of embeddings starts."""
    return _draw(config, config.embedding_std)


def state(config: ModelConfig) -> Initializer:
    """Returns how `model.initial_state` normal is drawn."""
    return _draw(config, config.initial_state_std)


def _draw(config: ModelConfig, std: float) -> Initializer:
    if config.weight_init != "huginn":
        return jax.nn.initializers.normal(std)

    def truncated(key: jax.Array, shape, dtype=jnp.float32) -> jax.Array:
        return std * jax.random.truncated_normal(key, -3.0, 3.0, shape, dtype)

    return truncated


def _depth(config: ModelConfig) -> int:
    if config.init_depth is None:
        raise ValueError(
            f"model.weight_init {config.weight_init} with model.output_init "
            f"{config.output_init} needs model.init_depth, got none."
        )
    return config.init_depth
