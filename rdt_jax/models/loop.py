"""The recurrence itself: one core, applied again and again by `jax.lax.scan`."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from rdt_jax import registry

Core = Callable[[jax.Array, jax.Array], jax.Array]  # (state, loop index) -> state

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
    state: jax.Array,
    *,
    num_loops: int,
    backprop_depth: int | None,
    remat: str,
) -> jax.Array:
    """Applies `core` `num_loops` times.

    Compile time does not grow with `num_loops`: the core is traced once (twice with
    truncated backpropagation).

    Args:
      core: maps (state [B, T, D], int32 loop index) to the next state.
      state: [B, T, D], the initial state.
      num_loops: R, at least 1.
      backprop_depth: gradients flow through the last so many loops only (Geiping et
        al. 2025, arXiv:2502.05171, Section 3.3); None for all.
      remat: a key of REMAT.

    Returns:
      The state after every loop, [R, B, T, D].

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

    def loop(state: jax.Array, index: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = body(state, index)
        return state, state

    cut = num_loops - depth
    indices = jnp.arange(num_loops)
    if cut == 0:
        return jax.lax.scan(loop, state, indices)[1]
    state, before = jax.lax.scan(loop, state, indices[:cut])
    state, before = jax.lax.stop_gradient((state, before))
    return jnp.concatenate([before, jax.lax.scan(loop, state, indices[cut:])[1]])
