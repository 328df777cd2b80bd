"""The one skeleton: embedding, prelude, core x R, coda, tied readout.

Reference: Kohli et al. (2026), arXiv:2604.07822, Section 4 (prelude and coda empty);
the stages are named as in Geiping et al. (2025), arXiv:2502.05171, Section 3.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import chex
import jax
import jax.numpy as jnp

from rdt_jax.models import halting, layers, loop
from rdt_jax.models.attention import INIT_STD

Params = dict[str, Any]

POSITIONS = ("learned", "sinusoidal", "none")
# Standard deviation of the output projections at the start, given the number of
# branches that are added to the residual stream without counting loops twice.
OUTPUT_INITS = {
    "zero": lambda branches: 0.0,  # Every block is the identity (Kohli et al., 4).
    "gpt2": lambda branches: INIT_STD / branches**0.5,  # Radford et al. (2019), 2.3.
    "normal": lambda branches: INIT_STD,  # Like every other matrix.
}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Static shape and components of a model; hashable, so a jit static argument."""

    vocab_size: int  # V
    max_length: int  # T, of the position table
    width: int  # D
    num_heads: int  # H
    mlp_ratio: int  # F / D
    prelude_blocks: int
    core_blocks: int  # L
    coda_blocks: int
    position: str  # of POSITIONS
    output_init: str  # of OUTPUT_INITS
    embedding_std: float
    dtype: str  # of DTYPES, of the activations; parameters are float32
    remat: str  # of loop.REMAT

    @property
    def block(self) -> layers.Block:
        """Returns the layer that all stages stack."""
        blocks = self.prelude_blocks + self.core_blocks + self.coda_blocks
        return layers.Block(
            num_heads=self.num_heads,
            mlp_width=self.mlp_ratio * self.width,
            output_std=OUTPUT_INITS[self.output_init](2 * blocks),
        )


class Outputs(NamedTuple):
    """What a forward pass gives; under `jit`, what nobody reads costs nothing.

    Attributes:
      logits: float32 [B, A, V], at the answer positions, after the last loop.
      states: [R, B, T, D], the latent state after every loop; with a traced count,
        [max_loops, B, T, D] and zeros after the last loop.
    """

    logits: jax.Array
    states: jax.Array


def init(key: jax.Array, config: ModelConfig) -> Params:
    """Draws float32 parameters; they do not depend on the number of loops.

    Args:
      key: consumed.
      config: the model.
    """
    token_key, position_key, block_key = jax.random.split(key, 3)
    stages = {
        "prelude": config.prelude_blocks,
        "core": config.core_blocks,
        "coda": config.coda_blocks,
    }
    x = jnp.zeros((1, config.max_length, config.width))
    mask = jnp.ones((1, config.max_length, config.max_length), bool)
    block_keys = iter(jax.random.split(block_key, sum(stages.values())))
    params: Params = {
        stage: [
            config.block.init(next(block_keys), x, mask, None)["params"]
            for _ in range(count)
        ]
        for stage, count in stages.items()
    }
    shape = (config.vocab_size, config.width)
    params["embedding"] = config.embedding_std * jax.random.normal(token_key, shape)
    if config.position == "learned":
        shape = (config.max_length, config.width)
        table = config.embedding_std * jax.random.normal(position_key, shape)
        params["position"] = table
    params["final_norm"] = layers.LayerNorm().init(token_key, x)["params"]
    return params


def apply(
    params: Params,
    tokens: jax.Array,
    answer_positions: jax.Array,
    config: ModelConfig,
    *,
    num_loops: int | jax.Array,
    backprop_depth: int | None = None,
    max_loops: int | None = None,
    rngs: layers.Noise | None = None,
) -> Outputs:
    """Runs the core `num_loops` times over one embedding of `tokens`.

    Args:
      params: as `init` returns them.
      tokens: int32 [B, T], 0 is padding; padded keys are masked.
      answer_positions: int32 [B, A].
      config: the model.
      num_loops: R, at least 1; free at test time. Traced, it needs `max_loops`.
      backprop_depth: see `loop.run_loops`.
      max_loops: see `loop.run_loops`.
      rngs: dropout; None for none.

    Raises:
      ValueError: if T exceeds the learned position table.
    """
    chex.assert_rank([tokens, answer_positions], 2)
    chex.assert_type([tokens, answer_positions], int)
    chex.assert_equal_shape_prefix([tokens, answer_positions], 1)
    core, state = _recurrence(params, tokens, config, rngs)
    state, states = loop.run_loops(
        core,
        state,
        num_loops=num_loops,
        backprop_depth=backprop_depth,
        remat=config.remat,
        max_loops=max_loops,
    )
    noise = None if rngs is None else rngs.fold(2)
    logits = readout(params, state, tokens, answer_positions, config, noise)
    return Outputs(logits=logits, states=states)


def apply_until_halted(
    params: Params,
    tokens: jax.Array,
    answer_positions: jax.Array,
    config: ModelConfig,
    *,
    rule: str,
    thresholds: Mapping[str, float | jax.Array],
    min_loops: int,
    max_loops: int,
    asked: jax.Array | None = None,
) -> halting.Halted:
    """Runs the core until every row has halted; see `halting.run_until_halted`.

    Args:
      params: as `init` returns them.
      tokens: int32 [B, T], 0 is padding; padded keys are masked.
      answer_positions: int32 [B, A].
      config: the model.
      rule: of `halting.RULES`; convergence is that of the state at the answers.
      thresholds: those of the rule.
      min_loops: at least 1.
      max_loops: at least `min_loops`.
      asked: bool [B, A], False where a row has no such answer; None for all True.
    """
    core, state = _recurrence(params, tokens, config, None)
    return halting.run_until_halted(
        core,
        state,
        readout=lambda state: readout(params, state, tokens, answer_positions, config),
        latents=lambda state: _at_answers(state, answer_positions),
        rule=rule,
        thresholds=thresholds,
        min_loops=min_loops,
        max_loops=max_loops,
        asked=asked,
    )


def readout(
    params: Params,
    state: jax.Array,
    tokens: jax.Array,
    answer_positions: jax.Array,
    config: ModelConfig,
    rngs: layers.Noise | None = None,
) -> jax.Array:
    """Gives the logits of a state of any loop: coda, final norm, tied embedding.

    Args:
      params: as `init` returns them.
      state: [B, T, D].
      tokens: int32 [B, T], for the coda's padding mask.
      answer_positions: int32 [B, A].
      config: the model.
      rngs: dropout in the coda; None for none.

    Returns:
      float32 [B, A, V].
    """
    if params["coda"]:
        mask = _causal_mask(tokens)
        state = _run_stage(params["coda"], state, mask, config, rngs)
    answers = _at_answers(state, answer_positions)
    norm = layers.LayerNorm()
    normed = cast(jax.Array, norm.apply({"params": params["final_norm"]}, answers))
    embedding = params["embedding"].astype(normed.dtype)
    return jnp.einsum(
        "bad,vd->bav", normed, embedding, preferred_element_type=jnp.float32
    )


def num_parameters(params: Params) -> int:
    """Counts the numbers in `params`."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def training_flops(
    config: ModelConfig, *, num_loops: float, length: int, num_answers: int
) -> int:
    """Floating-point operations that one row of an update needs, at the least.

    A multiply-add counts as two. The forward pass and the two products of the backward
    pass for every matrix; no recomputation, no elementwise work, no optimizer.

    Args:
      config: the model.
      num_loops: R; a mean, if it is drawn.
      length: T, padded.
      num_answers: A.
    """
    width, hidden = config.width, config.mlp_ratio * config.width
    matrices = 2 * width * (3 * width + width + 2 * hidden)
    pairs = 2 * 2 * width * (length + 1) / 2  # Scores and mixing, causal.
    blocks = config.prelude_blocks + config.core_blocks * num_loops + config.coda_blocks
    head = 2 * width * config.vocab_size * num_answers
    return round(3 * (blocks * length * (matrices + pairs) + head))


def _embed(params: Params, tokens: jax.Array, config: ModelConfig) -> jax.Array:
    length = tokens.shape[1]
    state = params["embedding"][tokens]  # [B, T, D]
    if config.position == "learned":
        if length > config.max_length:
            raise ValueError(
                f"rows of {length} tokens need model.position = none or sinusoidal; "
                f"the learned table has {config.max_length} positions."
            )
        state = state + params["position"][None, :length]
    if config.position == "sinusoidal":
        state = state + layers.sinusoidal_positions(length, config.width)[None]
    return state.astype(DTYPES[config.dtype])


def _recurrence(
    params: Params, tokens: jax.Array, config: ModelConfig, rngs: layers.Noise | None
) -> tuple[loop.Core, jax.Array]:
    """Returns the core as a function of state and loop index, and the first state."""
    state = _embed(params, tokens, config)
    mask = _causal_mask(tokens)
    if rngs is not None:
        state = layers.dropout(state, rngs.fold(0).key, rngs.embedding_rate)
    noise = lambda place: None if rngs is None else rngs.fold(place)
    state = _run_stage(params["prelude"], state, mask, config, noise(1))

    def core(state: jax.Array, index: jax.Array) -> jax.Array:
        return _run_stage(params["core"], state, mask, config, noise(3 + index))

    return core, state


def _at_answers(state: jax.Array, answer_positions: jax.Array) -> jax.Array:
    """Picks the answer positions, [B, T, D] to [B, A, D]."""
    return jnp.take_along_axis(state, answer_positions[:, :, None], axis=1)


def _causal_mask(tokens: jax.Array) -> jax.Array:
    """True where query t may see key s, bool [B, T, T]."""
    length = tokens.shape[1]
    causal = jnp.tril(jnp.ones((length, length), bool))
    return causal[None] & (tokens != 0)[:, None, :]


def _run_stage(
    blocks: list[Params],
    state: jax.Array,
    mask: jax.Array,
    config: ModelConfig,
    noise: layers.Noise | None,
) -> jax.Array:
    # A Python loop: scanning over stacked blocks copies their weights at every loop.
    for index, params in enumerate(blocks):
        place = None if noise is None else noise.fold(index)
        updated = config.block.apply({"params": params}, state, mask, place)
        state = cast(jax.Array, updated)
    return state
