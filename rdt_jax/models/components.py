"""What a loop does around its blocks: injection, step embedding, gate; and the ends.

Every table maps a name to functions. Their parameters, `{}` where there are none, stand
under one key of the model's.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rdt_jax.models import inits, layers
from rdt_jax.models.architecture import ModelConfig, wide

Params = dict[str, Any]

RESIDUALS = ("plain", "gated", "layerscale", "gated_layerscale")
_PARCAE_DECAY = 0.2**0.5  # Of the state per loop, at the start.


@dataclasses.dataclass(frozen=True)
class Injection:
    """How the embedded input enters every loop."""

    # Function (key, config) -> parameters.
    init: Callable[[jax.Array, ModelConfig], Params]
    # Function (params, embedded [B, T, D], config) -> [B, T, D], called once.
    drive: Callable[..., jax.Array]
    # Function (params, state, drive, loop index, config) -> [B, T, D]: the input of the
    # blocks, before the step embedding is added.
    enter: Callable[..., jax.Array]


def _add(params: Params, state: jax.Array, drive, index, config: ModelConfig):
    if config.initial_state != "embedding":
        return state + drive
    # The first state is the embedding already (Kohli et al. 2026, their option).
    return state + jnp.where(index > 0, drive, jnp.zeros_like(drive))


def _init_concat(key: jax.Array, config: ModelConfig) -> Params:
    draw = inits.weight(config, 2 * config.width)
    return {"kernel": draw(key, (2 * config.width, config.width), jnp.float32)}


def _drive_concat(params: Params, embedded: jax.Array, config: ModelConfig):
    return embedded @ params["kernel"][config.width :].astype(embedded.dtype)


def _enter_concat(params: Params, state: jax.Array, drive, index, config: ModelConfig):
    """Geiping et al. (2025), Section 3: a matrix times state and embedding, joined."""
    return state @ params["kernel"][: config.width].astype(state.dtype) + drive


def _init_diagonal(key: jax.Array, config: ModelConfig) -> Params:
    step = -jnp.log(_PARCAE_DECAY)
    x = jnp.zeros((1, config.width))
    return {
        "log_rate": jnp.zeros(config.width),
        "step": jnp.full(config.width, jnp.log(jnp.expm1(step))),
        "kernel": jnp.eye(config.width),
        "norm": layers.norm(config, x.dtype).init(key, x)["params"],
    }


def _drive_diagonal(params: Params, embedded: jax.Array, config: ModelConfig):
    normed = layers.norm(config, embedded.dtype).apply(
        {"params": params["norm"]}, embedded
    )
    step = jax.nn.softplus(params["step"]).astype(embedded.dtype)
    return step[None, None] * (normed @ params["kernel"].astype(embedded.dtype))


def _enter_diagonal(params: Params, state: jax.Array, drive, index, config):
    """Parcae, arXiv:2604.12946: each number decays by a factor below 1."""
    return state * decay(params).astype(state.dtype)[None, None] + drive


def decay(params: Params) -> jax.Array:
    """Returns the factors of `diagonal`, in (0, 1) by construction, [D].

    Reference: arXiv:2604.12946. Differs: weight decay applies to these parameters too.
    """
    return jnp.exp(-jax.nn.softplus(params["step"]) * jnp.exp(params["log_rate"]))


def _no_params(key: jax.Array, config: ModelConfig) -> Params:
    return {}


def _as_is(params: Params, embedded: jax.Array, config: ModelConfig) -> jax.Array:
    return embedded


INJECTIONS: Mapping[str, Injection] = {
    "none": Injection(_no_params, _as_is, lambda params, state, *_: state),
    "add": Injection(_no_params, _as_is, _add),
    "concat": Injection(_init_concat, _drive_concat, _enter_concat),
    "diagonal": Injection(_init_diagonal, _drive_diagonal, _enter_diagonal),
}


def _normal_state(key: jax.Array | None, embedded: jax.Array, config: ModelConfig):
    """Geiping et al. (2025), Section 3: where a loop starts must not matter."""
    _, length, width = embedded.shape
    dtype, draw = wide(embedded.dtype), inits.state(config)
    if key is not None:
        drawn = draw(key, embedded.shape, dtype)
    else:
        # The same for every row, and whatever follows in it.
        keys = jax.vmap(lambda t: jax.random.fold_in(jax.random.key(0), t))(
            jnp.arange(length)
        )
        row = jax.vmap(lambda key: draw(key, (width,), dtype))(keys)
        drawn = jnp.broadcast_to(row[None], embedded.shape)
    return drawn.astype(embedded.dtype)


# (key or None, embedded [B, T, D], config) -> [B, T, D]
INITIAL_STATES: Mapping[str, Callable[..., jax.Array]] = {
    "embedding": lambda key, embedded, config: embedded,
    "zeros": lambda key, embedded, config: jnp.zeros_like(embedded),
    "normal": _normal_state,
}


@dataclasses.dataclass(frozen=True)
class StepEmbedding:
    """How a loop learns its number."""

    # Function (key, config) -> parameters.
    init: Callable[[jax.Array, ModelConfig], Params]
    # Function (params, loop index from 0, config, dtype) -> [D], or None.
    embed: Callable[..., jax.Array | None]


def _init_step(key: jax.Array, config: ModelConfig) -> Params:
    shape = (config.step_table, config.width)
    return {"table": inits.table(config)(key, shape)}


def _sinusoidal_step(params: Params, index: jax.Array, config: ModelConfig, dtype):
    """Dehghani et al. (2018), Section 2.1; loops are counted from 1."""
    return layers.sinusoid((index + 1).astype(wide(dtype)), config.width).astype(dtype)


STEP_EMBEDDINGS: Mapping[str, StepEmbedding] = {
    "none": StepEmbedding(_no_params, lambda *_: None),
    "learned": StepEmbedding(
        _init_step,
        lambda params, index, config, dtype: params["table"][index].astype(dtype),
    ),
    "sinusoidal": StepEmbedding(_no_params, _sinusoidal_step),
}


def check_any_length(config: ModelConfig) -> None:
    """ValueError if loop k of a pass is another one in a longer pass."""
    if config.branch_scale == "pass_loops":
        raise ValueError(
            "model.branch_scale must be none, loops or depth where a pass is read "
            "after every loop as if it ended there, got pass_loops: all loops of a "
            "pass of n have the factor 1 / n."
        )


# Function (model, loops of the pass) -> the factor of what a block of the core adds to
# the stream; None for no factor. Reference: arXiv:2606.18524: N loops add correlated
# branches, which 1 / N keeps bounded, and 1 / (N sqrt(L)) in L blocks. Differs: N is
# that of training, so that loop k is the same in a pass of any length.
BRANCH_SCALES: Mapping[str, Callable[[Any, Any], Any]] = {
    "none": lambda config, loops: None,
    "loops": lambda config, loops: 1 / config.branch_loops,
    "depth": lambda config, loops: 1 / (config.branch_loops * config.core_blocks**0.5),
    "pass_loops": lambda config, loops: 1 / loops,
}


def init_gate(key: jax.Array, config: ModelConfig) -> Params:
    """Draws the gate of a `gated` residual, [2D] to [D]."""
    if not config.residual.startswith("gated"):
        return {}
    draw = inits.weight(config, 2 * config.width)
    return {
        "kernel": draw(key, (2 * config.width, config.width), jnp.float32),
        "bias": jnp.full(config.width, config.gate_bias),
    }


def keep(params: Params, new: jax.Array, old: jax.Array) -> jax.Array:
    """Mixes the state of a loop with the one before, by a gate that reads both.

    Reference: Chen (2026), arXiv:2603.21676.
    """
    kernel, bias = (params[name].astype(new.dtype) for name in ("kernel", "bias"))
    gate = jax.nn.sigmoid(jnp.concatenate([new, old], -1) @ kernel + bias[None, None])
    return gate * new + (1 - gate) * old


def _init_untied(key: jax.Array, config: ModelConfig) -> Params:
    draw = inits.weight(config, config.width)
    return {
        "kernel": draw(key, (config.width, config.vocab_size), jnp.float32),
        "bias": jnp.zeros(config.vocab_size),
    }


@dataclasses.dataclass(frozen=True)
class Readout:
    """How a normalized state becomes logits."""

    # Function (key, config) -> parameters.
    init: Callable[[jax.Array, ModelConfig], Params]
    # Function (params, embedding [V, D], normed [B, A, D]) -> logits [B, A, V], at
    # least float32.
    read: Callable[..., jax.Array]


def _read_tied(params: Params, embedding: jax.Array, normed: jax.Array) -> jax.Array:
    return jnp.einsum(
        "bad,vd->bav", normed, embedding.astype(normed.dtype),
        preferred_element_type=wide(normed.dtype),
    )  # fmt: skip


def _read_untied(params: Params, embedding: jax.Array, normed: jax.Array) -> jax.Array:
    logits = jnp.einsum(
        "bad,dv->bav", normed, params["kernel"].astype(normed.dtype),
        preferred_element_type=wide(normed.dtype),
    )  # fmt: skip
    return logits + params["bias"].astype(logits.dtype)[None, None]


READOUTS: Mapping[str, Readout] = {
    "tied": Readout(_no_params, _read_tied),
    "untied": Readout(_init_untied, _read_untied),
}
