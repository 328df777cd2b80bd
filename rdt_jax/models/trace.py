"""The forward pass once more: every block recorded, states and attention changed.

The pass is that of recurrent.py, with a function around each of its blocks. Blocks are
counted as they run, over prelude, R x core and coda; the *effective depth* of a state
is how many stand before it (Kohli et al. 2026, arXiv:2604.07822, Section 4: L x R in
all), which makes looped and feed-forward models comparable.
"""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from rdt_jax.models import attention, layers, recurrent
from rdt_jax.models.architecture import ModelConfig

STAGES = ("embedding", "prelude", "core", "coda")


class Place(NamedTuple):
    """Which block of the pass: its stage, its loop from 0, its number in the stage."""

    stage: str
    loop: int
    block: int


class Patch(NamedTuple):
    """A state to be put in place of the model's own; all of it may be traced."""

    block: jax.Array  # int32 scalar, which block of the pass, E, reads it; -1 for none
    positions: jax.Array  # int32 [B], where in each row
    states: jax.Array  # [B, D], what stands there instead


class Trace(NamedTuple):
    """What a pass of E blocks did inside."""

    logits: jax.Array  # at least float32 [B, A, V], as of `recurrent.apply`
    embedded: jax.Array  # [B, T, D], at effective depth 0
    # [E, B, T, D], the state that each block reads, patch included: after the
    # injection, the step embedding and the gate, where the model has them.
    before: jax.Array
    # [E, B, T, D], at effective depth 1 .. E: what each block returned; after the last
    # block of a loop, what would be read out (gate and ACT included).
    after: jax.Array
    attention: jax.Array  # [E, B, H, T, T], the weight that query t gives to key s


def places(config: ModelConfig, num_loops: int) -> list[Place]:
    """Lists the E blocks of a pass of `num_loops` loops in the order they run."""
    found = [Place("prelude", 0, block) for block in range(config.prelude_blocks)]
    found += [
        Place("core", loop, block)
        for loop in range(num_loops)
        for block in range(config.core_blocks)
    ]
    return found + [Place("coda", 0, block) for block in range(config.coda_blocks)]


def trace(
    params: recurrent.Params,
    tokens: jax.Array,
    answer_positions: jax.Array,
    config: ModelConfig,
    *,
    num_loops: int,
    patch: Patch | None = None,
    kept: jax.Array | None = None,
) -> Trace:
    """Runs the model as `recurrent.apply` does without noise, and keeps what it did.

    Compile time does not grow with the loops; `jit` leaves out what nobody reads.
    `patch` is one state to be replaced, None for none; `kept`, bool [E, H, T, T], says
    from which keys s query t of a head may get anything, its weight going to these
    alone, None for all. Other arguments and errors are those of `recurrent.apply`.
    """
    recurrent.check(tokens, answer_positions, config, num_loops)
    counted = recurrent.counted_positions(tokens, answer_positions)
    watch = lambda first: _Watch([], first, patch, kept)
    prelude = watch(0)
    core, carry, _ = recurrent.recurrence(
        params, tokens, counted, config, num_loops, None, prelude.run_block
    )

    def loop(carry, index):
        seen = watch(config.prelude_blocks + index * config.core_blocks)
        carry = core(carry, index, run_block=seen.run_block)
        return carry, seen.stack(recurrent.visible(carry))

    last, in_loops = jax.lax.scan(loop, carry, jnp.arange(num_loops))
    coda = watch(config.prelude_blocks + num_loops * config.core_blocks)
    logits, _ = recurrent.read_state(
        params, recurrent.visible(last), tokens, answer_positions, config, None,
        coda.run_block,
    )  # fmt: skip
    parts = [jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), in_loops)]
    if config.prelude_blocks:
        parts.insert(0, prelude.stack())
    if config.coda_blocks:
        parts.append(coda.stack())
    seen = jax.tree.map(lambda *each: jnp.concatenate(each), *parts)
    embedded = recurrent.embed(params, tokens, config)
    return Trace(logits, embedded, *seen)


class _Watch(NamedTuple):
    """What the blocks of one stage did so far, and the patch for one of them."""

    # Filled block by block: (before, after, attention).
    seen: list[tuple[jax.Array, jax.Array, jax.Array]]
    first: int | jax.Array  # the number in the pass of the stage's first block
    patch: Patch | None  # as of `trace`
    kept: jax.Array | None  # as of `trace`

    def run_block(
        self, params, state, mask, noise, queries, scale, config, index: int
    ) -> recurrent.Updated:
        """Runs a block as recurrent.py does, on the patched state."""
        if self.patch is not None:
            state = _put(self.patch, state, self.first + index)
        variables = {"params": params}
        if self.kept is not None:
            variables["edges"] = {"attention": {"kept": self.kept[self.first + index]}}
        updated, seen = layers.Block(config).apply(
            variables, state, mask, noise, queries, scale, mutable="intermediates"
        )
        after, routes = cast(recurrent.Updated, updated)
        weights = cast(Any, seen)["intermediates"]["attention"]["weights"]
        self.seen.append((state, after, attention.join_weights(weights)))
        return after, routes

    def stack(self, last: jax.Array | None = None):
        """Returns (before, after, attention) over the blocks; `last` ends `after`."""
        before, after, weights = zip(*self.seen, strict=True)
        if last is not None:
            after = (*after[:-1], last)
        return tuple(jnp.stack(each) for each in (before, after, weights))


def _put(patch: Patch, state: jax.Array, block: int | jax.Array) -> jax.Array:
    here = jnp.arange(state.shape[1])[None] == patch.positions[:, None]
    here &= patch.block == block
    instead = patch.states[:, None].astype(state.dtype)
    return jnp.where(here[:, :, None], instead, state)
