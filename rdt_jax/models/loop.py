"""The recurrence itself: one core, applied again and again by `jax.lax.scan`."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rdt_jax import registry

State = Any  # a pytree with leaves [B, ...]
Core = Callable[[Any, jax.Array], Any]  # (state, int32 loop index) -> state

# What the backward pass keeps of each loop; everything else is computed again.
REMAT: Mapping[str, Callable[[Core], Core]] = {
    "none": lambda core: core,
    "dots": lambda core: jax.checkpoint(
        core, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    ),
    "full": jax.checkpoint,
}


def run_loops(
    core: Core,
    state: State,
    *,
    num_loops: int,
    backprop_depth: int | None,
    remat: str,
) -> tuple[State, State]:
    """Applies `core` `num_loops` times.

    Compile time does not grow with `num_loops`: the core is traced once (twice with
    truncated backpropagation).

    Args:
      core: maps (state, int32 loop index) to the next state.
      state: a pytree with leaves [B, ...], the initial state.
      num_loops: R, at least 1.
      backprop_depth: gradients flow through the last so many loops only (Geiping et
        al. 2025, arXiv:2502.05171, Section 3.3); None for all.
      remat: a key of REMAT.

    Returns:
      The last state, and the state after every loop: leaves [R, B, ...].

    Raises:
      ValueError: if `backprop_depth` lies outside [1, num_loops], or `remat` is
        unknown.
    """
    depth = num_loops if backprop_depth is None else backprop_depth
    if not 1 <= depth <= num_loops:
        raise ValueError(
            f"backprop_depth must be in [1, num_loops = {num_loops}], got {depth}."
        )
    body = registry.lookup("remat policy", REMAT, remat)(core)

    def loop(state: State, index: jax.Array) -> tuple[State, State]:
        state = body(state, index)
        return state, state

    cut = num_loops - depth
    indices = jnp.arange(num_loops)
    if cut == 0:
        return jax.lax.scan(loop, state, indices)
    state, before = jax.lax.scan(loop, state, indices[:cut])
    state, before = jax.lax.stop_gradient((state, before))
    state, after = jax.lax.scan(loop, state, indices[cut:])
    return state, jax.tree.map(lambda *x: jnp.concatenate(x), before, after)
