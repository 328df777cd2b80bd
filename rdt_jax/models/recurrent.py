"""The one skeleton: embedding, prelude, core x R, coda, readout.

Reference: Kohli et al. (2026), arXiv:2604.07822, Section 4 (prelude and coda empty);
the stages are named as in Geiping et al. (2025), arXiv:2502.05171, Section 3.
Components name their own sources; presets.py says which published model has which.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import chex
import jax
import jax.numpy as jnp

from rdt_jax import registry, wording
from rdt_jax.models import (
    act,
    attention,
    components,
    experts,
    halting,
    inits,
    layers,
    loop,
)
from rdt_jax.models.architecture import DTYPES, ModelConfig

Params = dict[str, Any]
Updated = tuple[jax.Array, dict[str, experts.Route]]

# Runs block number `index` of a stage: (params, state, mask, noise, queries, scale of
# branches, config, index) -> updated state and routes; in trace.py, recorded.
RunBlock = Callable[..., Updated]


class Outputs(NamedTuple):
    """What a forward pass gives; under `jit`, what nobody reads costs nothing."""

    # At least float32 [B, A, V], at the answer positions, after the last loop.
    logits: jax.Array
    # [R, B, T, D], after every loop what is read out: the latent state, or with ACT the
    # interpolated one. With a traced count, [max_loops, B, T, D] and zeros after the
    # last loop.
    states: jax.Array
    # At least float32 scalars, terms of the loss without their weights: `ponder`,
    # `router_entropy_mlp`, `router_entropy_attention`; those it has.
    penalties: dict[str, jax.Array]
    # float32 [R, B] each, of halting (act.py) and routers (experts.py), as a pass of so
    # many loops would report them; prelude and core, not the coda.
    statistics: dict[str, jax.Array]


class Carry(NamedTuple):
    """What one loop hands to the next; leaves [B, ...]."""

    state: jax.Array
    halting: act.Halting | None
    loads: experts.Loads


def init(key: jax.Array, config: ModelConfig) -> Params:
    """Draws float32 parameters, which do not depend on the loops; consumes `key`."""
    token_key, position_key, block_key = jax.random.split(key, 3)
    inject_key, step_key, gate_key, halting_key, readout_key = jax.random.split(
        jax.random.fold_in(key, 1), 5
    )
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
            layers.Block(config).init(next(block_keys), x, mask, None)["params"]
            for _ in range(count)
        ]
        for stage, count in stages.items()
    }
    shape = (config.vocab_size, config.width)
    params["embedding"] = inits.table(config)(token_key, shape)
    if config.position == "learned":
        shape = (config.max_length, config.width)
        params["position"] = inits.table(config)(position_key, shape)
    params["final_norm"] = layers.norm(config, x.dtype).init(token_key, x)["params"]
    injection = registry.lookup("injection", components.INJECTIONS, config.injection)
    step = registry.lookup(
        "step embedding", components.STEP_EMBEDDINGS, config.step_embedding
    )
    read = registry.lookup("readout", components.READOUTS, config.readout)
    drawn = {
        "inject": injection.init(inject_key, config),
        "step": step.init(step_key, config),
        "gate": components.init_gate(gate_key, config),
        "halting": act.init(halting_key, config) if config.halting == "act" else {},
        "readout": read.init(readout_key, config),
    }
    return params | {name: found for name, found in drawn.items() if found}


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

    ValueError if T exceeds the learned position table, or R the learned step table.

    Args:
      params: as `init` returns them.
      tokens: int32 [B, T], 0 is padding; padded keys are masked.
      answer_positions: int32 [B, A].
      config: the model.
      num_loops: R, at least 1; free at test time. Traced, it needs `max_loops`.
      backprop_depth: see `loop.run_loops`.
      max_loops: see `loop.run_loops`.
      rngs: dropout and the random initial state; None for no dropout and an initial
        state that depends on the position alone, from key 0.
    """
    check(
        tokens, answer_positions, config, num_loops if max_loops is None else max_loops
    )
    counted = counted_positions(tokens, answer_positions)
    core, first, before = recurrence(params, tokens, counted, config, num_loops, rngs)
    last, every = loop.run_loops(
        core,
        first,
        num_loops=num_loops,
        backprop_depth=backprop_depth,
        remat=config.remat,
        max_loops=max_loops,
    )
    noise = None if rngs is None else rngs.fold(2)
    logits, after = read_state(
        params, visible(last), tokens, answer_positions, config, noise
    )
    penalties = experts.penalties(experts.join(before, last.loads, after))
    # The prelude is the same for all loop counts.
    repeat = lambda x: jnp.broadcast_to(x[None], (len(every.state), *x.shape))
    statistics = experts.statistics(
        experts.join(jax.tree.map(repeat, before), every.loads)
    )
    if last.halting is not None:
        penalties |= act.penalties(last.halting, counted)
        statistics |= act.statistics(every.halting, counted)
    return Outputs(logits, visible(every), penalties, statistics)


def answer(
    params: Params,
    tokens: jax.Array,
    answer_positions: jax.Array,
    config: ModelConfig,
    *,
    num_loops: int | jax.Array,
    backprop_depth: int | None = None,
    max_loops: int | None = None,
    rngs: layers.Noise | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Gives `logits` and `penalties` of `apply`, which training needs, in less time.

    Where nothing else depends on it, the last block of the last loop runs at the
    answer positions only; its dropout then draws other numbers than that of `apply`.

    Args and errors are those of `apply`.
    """
    trims = (
        answer_positions.shape[1] < tokens.shape[1]
        and config.core_blocks > 0
        and config.coda_blocks == 0
        and config.attention == "dense"
        and config.feedforward != "sigma_moe"  # Its routers count all positions.
        and config.halting == "none"
    )
    if not trims or not isinstance(num_loops, int):
        outputs = apply(
            params, tokens, answer_positions, config, num_loops=num_loops,
            backprop_depth=backprop_depth, max_loops=max_loops, rngs=rngs,
        )  # fmt: skip
        return outputs.logits, outputs.penalties
    check(tokens, answer_positions, config, num_loops)
    counted = counted_positions(tokens, answer_positions)
    core, carry, _ = recurrence(params, tokens, counted, config, num_loops, rngs)
    carry = loop.run_but_last(
        core, carry, num_loops=num_loops, backprop_depth=backprop_depth,
        remat=config.remat,
    )  # fmt: skip
    state = core(carry, jnp.int32(num_loops - 1), answer_positions).state
    return unembed(params, state, config), {}


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
    """Runs the core until every row has halted, by a rule of `halting.RULES`.

    Arguments and errors are those of `apply` for `max_loops` and of
    `halting.run_until_halted`; convergence is that of the state at the answers. Branch
    scale pass_loops is a ValueError.
    """
    check(tokens, answer_positions, config, max_loops)
    counted = counted_positions(tokens, answer_positions)
    core, first, _ = recurrence(params, tokens, counted, config, None, None)
    return halting.run_until_halted(
        core,
        first,
        readout=lambda carry: readout(
            params, visible(carry), tokens, answer_positions, config
        ),
        latents=lambda carry: attention.take_positions(
            visible(carry), answer_positions
        ),
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
    """Gives the logits of a state of any loop: coda, final norm, output matrix.

    The state is [B, T, D]; `tokens`, int32 [B, T], are for the coda's padding mask,
    `rngs` for its dropout, None for none. Returns at least float32 [B, A, V], at the
    `answer_positions`, int32 [B, A].
    """
    return read_state(params, state, tokens, answer_positions, config, rngs)[0]


def read_state(
    params: Params,
    state: jax.Array,
    tokens: jax.Array,
    answer_positions: jax.Array,
    config: ModelConfig,
    rngs: layers.Noise | None,
    run_block: RunBlock | None = None,
) -> tuple[jax.Array, experts.Loads]:
    """Gives the logits of `readout`, and what the coda's routers did."""
    loads: experts.Loads = {}
    if params["coda"]:
        mask = _causal_mask(tokens)
        counted = counted_positions(tokens, answer_positions)
        if config.norm_before_coda:
            state = _normalize(params, state, config)
        state, loads = _run_stage(
            params["coda"], state, mask, counted, config, rngs, run_block=run_block
        )
    state = attention.take_positions(state, answer_positions)
    return unembed(params, state, config), loads


def unembed(params: Params, states: jax.Array, config: ModelConfig) -> jax.Array:
    """Maps states [B, A, D] to logits [B, A, V]: final norm, output matrix."""
    read = registry.lookup("readout", components.READOUTS, config.readout).read
    normed = _normalize(params, states, config)
    return read(params.get("readout"), params["embedding"], normed)


def _normalize(params, x: jax.Array, config: ModelConfig) -> jax.Array:
    normed = layers.norm(config, x.dtype).apply({"params": params["final_norm"]}, x)
    return cast(jax.Array, normed)


def visible(carry: Carry) -> jax.Array:
    """Returns what is read out after a loop, [B, T, D]."""
    return carry.state if carry.halting is None else carry.halting.output


def num_parameters(params: Params) -> int:
    """Counts the numbers in `params`."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def embed(params: Params, tokens: jax.Array, config: ModelConfig) -> jax.Array:
    """Returns what the prelude, or the first loop, is given, [B, T, D]."""
    state = params["embedding"][tokens]  # [B, T, D]
    if config.scale_embedding:
        state = state * config.width**0.5
    if not config.position_every_loop:
        position = _positions(params, tokens.shape[1], config)
        state = state if position is None else state + position[None]
    return state.astype(DTYPES[config.dtype])


def _positions(params: Params, length: int, config: ModelConfig) -> jax.Array | None:
    if config.position == "learned":
        if length > config.max_length:
            raise ValueError(
                f"rows of {length} tokens need model.position = none, rope or "
                f"sinusoidal; the learned table has {config.max_length} positions."
            )
        return params["position"][:length]
    if config.position == "sinusoidal":
        table = layers.sinusoidal_positions(length, config.width)
        return jnp.asarray(table, params["embedding"].dtype)
    return None


def _add_coordinates(params, state: jax.Array, index: jax.Array, config: ModelConfig):
    """Adds the number of the loop, and positions where they belong to every loop."""
    step = components.STEP_EMBEDDINGS[config.step_embedding].embed(
        params.get("step"), index, config, state.dtype
    )
    if config.position_every_loop:
        position = _positions(params, state.shape[1], config)
        if position is not None:
            state = state + position.astype(state.dtype)[None]
    return state if step is None else state + step[None, None]


def check(tokens, answer_positions, config: ModelConfig, num_loops) -> None:
    """Refuses arrays of other shapes, and more loops than the model knows."""
    chex.assert_rank([tokens, answer_positions], 2)
    chex.assert_type([tokens, answer_positions], int)
    chex.assert_equal_shape_prefix([tokens, answer_positions], 1)
    if config.step_embedding != "learned" or not isinstance(num_loops, int):
        return
    if num_loops > config.step_table:
        raise ValueError(
            f"{num_loops} loops need model.step_embedding = sinusoidal or none, or a "
            "larger model.step_table; the learned table has "
            f"{wording.count(config.step_table, 'loop')}."
        )


def recurrence(
    params: Params,
    tokens: jax.Array,
    counted: jax.Array,
    config: ModelConfig,
    num_loops: int | jax.Array | None,
    rngs: layers.Noise | None,
    run_block: RunBlock | None = None,
) -> tuple[Callable[..., Carry], Carry, experts.Loads]:
    """Returns one loop as a function, what the first one gets, the prelude's loads.

    `counted` is that of `counted_positions`, `num_loops` and `rngs` are those of
    `apply`, None for a pass that may end after any loop (a ValueError with branch scale
    pass_loops); `run_block` is of the prelude, and the loop takes its own as a keyword.
    """
    if num_loops is None:
        components.check_any_length(config)
    mask = _causal_mask(tokens)
    noise = lambda place: None if rngs is None else rngs.fold(place)
    embedded = embed(params, tokens, config)
    if rngs is not None and rngs.embedding_rate is not None:
        embedded = layers.dropout(embedded, rngs.fold(0).key, rngs.embedding_rate)
    run = lambda stage, x, place, queries=None, run_block=None, scale=None: _run_stage(
        params[stage], x, mask, counted, config, place, queries, run_block, scale
    )
    branch_scale = registry.lookup(
        "branch scale", components.BRANCH_SCALES, config.branch_scale
    )
    embedded, before = run("prelude", embedded, noise(1), run_block=run_block)
    injection = registry.lookup("injection", components.INJECTIONS, config.injection)
    drive = injection.drive(params.get("inject"), embedded, config)

    def core(
        carry: Carry,
        index: jax.Array,
        queries: jax.Array | None = None,
        run_block: RunBlock | None = None,
    ) -> Carry:
        entered = injection.enter(
            params.get("inject"), carry.state, drive, index, config
        )
        entered = _add_coordinates(params, entered, index, config)
        scale = branch_scale(config, num_loops)
        state, loads = run("core", entered, noise(3 + index), queries, run_block, scale)
        if "gate" in params:
            old = carry.state
            if queries is not None:
                old = attention.take_positions(old, queries)
            state = components.keep(params["gate"], state, old)
        halting = carry.halting
        if halting is not None:
            halting = act.advance(params["halting"], halting, entered, state, config)
        return Carry(state, halting, jax.tree.map(jnp.add, carry.loads, loads))

    state_key = None if rngs is None else rngs.fold(0).fold(0).key
    state = registry.lookup(
        "initial state", components.INITIAL_STATES, config.initial_state
    )(state_key, embedded, config)
    loads = jax.eval_shape(lambda x: run("core", x, None)[1], state)
    first = Carry(
        state=state,
        halting=act.start(state) if config.halting == "act" else None,
        loads=jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), loads),
    )
    return core, first, before


def _causal_mask(tokens: jax.Array) -> jax.Array:
    """True where query t may see key s, bool [B, T, T]."""
    length = tokens.shape[1]
    causal = jnp.tril(jnp.ones((length, length), bool))
    return causal[None] & (tokens != 0)[:, None, :]


def counted_positions(tokens: jax.Array, answer_positions: jax.Array) -> jax.Array:
    """True for words and where an answer is read, bool [B, T]."""
    place = jnp.arange(tokens.shape[1])[None, None]
    is_answer = (answer_positions[:, :, None] == place).any(axis=1)
    return (tokens != 0) | is_answer


def _run_stage(
    blocks: list[Params],
    state: jax.Array,
    mask: jax.Array,
    counted: jax.Array,
    config: ModelConfig,
    noise: layers.Noise | None,
    queries: jax.Array | None = None,
    run_block: RunBlock | None = None,
    scale: float | jax.Array | None = None,
) -> tuple[jax.Array, experts.Loads]:
    run_block = _run_block if run_block is None else run_block
    # A Python loop: scanning over stacked blocks copies their weights at every loop.
    loads: list[experts.Loads] = []
    for index, params in enumerate(blocks):
        place = None if noise is None else noise.fold(index)
        last = queries if index == len(blocks) - 1 else None
        state, routes = run_block(
            params, state, mask, place, last, scale, config, index
        )
        loads.append({name: experts.load(r, counted) for name, r in routes.items()})
    return state, experts.join(*loads)


def _run_block(
    params: Params, state, mask, noise, queries, scale, config: ModelConfig, index: int
) -> Updated:
    updated = layers.Block(config).apply(
        {"params": params}, state, mask, noise, queries, scale
    )
    return cast(Updated, updated)
