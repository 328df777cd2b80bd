"""The recurrence itself: one core, applied again and again, and how often.

A count known beforehand is a `jax.lax.scan`. A count drawn at every update is a loop of
just so many iterations, with a backward pass of its own: JAX differentiates backward
only through loops whose length it knows when it compiles.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from rdt_jax import registry

# So few loops without recomputation are written out: a scan would stack all that the
# backward pass keeps, which takes a CPU a quarter of the update's time.
_FEW = 4

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
    num_loops: int | jax.Array,
    backprop_depth: int | None,
    remat: str,
    max_loops: int | None = None,
) -> tuple[State, State]:
    """Applies `core` `num_loops` times.

    With a traced count r, forward and backward pass take r loops and not `max_loops`,
    also under `vmap` over anything but the count; one program serves all counts, and
    values and gradients are those of the program with a fixed r. `remat` then plays no
    part: the states are kept, in room for `max_loops` (or `backprop_depth`) of them,
    the last loop keeps all that its backward pass needs, and the other loops are
    computed again. Room for more than states would have to be as large as the largest
    draw needs, and clearing it costs more than computing again. Such a program can be
    differentiated backward, once.

    Compile time does not grow with the number of loops: the core is traced a fixed
    number of times.

    Args:
      core: maps (state, int32 loop index) to the next state, of the same shapes and
        dtypes. Arrays that it closes over receive gradients.
      state: a pytree with leaves [B, ...], the initial state.
      num_loops: R, at least 1: an int, or a traced int32 scalar of at most `max_loops`.
      backprop_depth: gradients flow through the last so many loops only (Geiping et
        al. 2025, arXiv:2502.05171, Section 3.3), or through all if a traced count is
        smaller; None for all. ValueError unless it is in [1, R], or [1, max_loops].
      remat: a key of REMAT.
      max_loops: the largest traced count; None, or a ValueError, for an int.

    Returns:
      The last state; and the state after every loop, leaves [R, B, ...]. With a traced
      count their leaves are [max_loops, B, ...] and zero after the last loop.
    """
    policy = registry.lookup("remat policy", REMAT, remat)
    if isinstance(num_loops, int):
        if max_loops is not None:
            raise ValueError(
                f"max_loops is for a traced num_loops only, got {max_loops} with "
                f"num_loops = {num_loops}."
            )
        depth = _checked_depth(backprop_depth, num_loops, "num_loops")
        return _run_fixed(policy(core), state, num_loops, depth, remat)
    if max_loops is None:
        raise ValueError("a traced num_loops needs max_loops, got None.")
    depth = _checked_depth(backprop_depth, max_loops, "max_loops")
    return _run_drawn(core, state, num_loops, depth, max_loops)


def run_but_last(
    core: Core,
    state: State,
    *,
    num_loops: int,
    backprop_depth: int | None,
    remat: str,
) -> State:
    """Returns the state before the last loop, for a caller that writes that one itself.

    Args and errors are those of `run_loops`; both counts include the last loop.
    """
    policy = registry.lookup("remat policy", REMAT, remat)
    depth = _checked_depth(backprop_depth, num_loops, "num_loops")
    if num_loops == 1:
        return state
    state, _ = _run_fixed(policy(core), state, num_loops - 1, depth - 1, remat)
    return jax.lax.stop_gradient(state) if depth == 1 else state


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the loop count of an update is drawn."""

    # Names of the `recurrence` keys that it reads besides the seed.
    keys: tuple[str, ...]
    # Function from that section to P(r), float64, for r from 0 to the largest count.
    distribution: Callable[[ml_collections.ConfigDict], np.ndarray]


def _fixed(recurrence: ml_collections.ConfigDict) -> np.ndarray:
    return 1.0 * (np.arange(recurrence.num_loops + 1) == recurrence.num_loops)


def _uniform(recurrence: ml_collections.ConfigDict) -> np.ndarray:
    """Every count from `min_loops` to `max_loops` alike."""
    counts = np.arange(recurrence.max_loops + 1)
    allowed = counts >= recurrence.min_loops
    return allowed / allowed.sum()


def _clipped_poisson(recurrence: ml_collections.ConfigDict) -> np.ndarray:
    """Poisson of mean `mean_loops`, clipped to [`min_loops`, `max_loops`].

    Reference: Kohli et al. (2026), arXiv:2604.07822, Section 4.
    """
    least, most = recurrence.min_loops, recurrence.max_loops
    below = _poisson(math.log(recurrence.mean_loops), most)
    probability = np.append(below, 1 - below.sum())
    probability[least] = probability[: least + 1].sum()
    probability[:least] = 0
    return probability


def _lognormal_poisson(recurrence: ml_collections.ConfigDict) -> np.ndarray:
    """1 + Poisson(e^tau), tau normal of mean log(`mean_loops`) - `sigma`^2 / 2.

    Reference: Geiping et al. (2025), arXiv:2502.05171, Section 3.3. Differs from the
    paper: a count above `max_loops`, the room of a program, becomes `max_loops`.
    """
    sigma, most = recurrence.sigma, recurrence.max_loops
    deviation, spacing = np.linspace(-10, 10, 4001, retstep=True)
    weight = np.exp(-(deviation**2) / 2) * spacing / math.sqrt(2 * math.pi)
    tau = math.log(recurrence.mean_loops) - sigma**2 / 2 + sigma * deviation
    below = weight @ _poisson(tau, most - 1)
    return np.concatenate([[0.0], below, [1 - below.sum()]])


SAMPLINGS: Mapping[str, Sampling] = {
    "fixed": Sampling((), _fixed),
    "uniform": Sampling(("min_loops", "max_loops"), _uniform),
    "poisson": Sampling(("mean_loops", "min_loops", "max_loops"), _clipped_poisson),
    "lognormal_poisson": Sampling(
        ("mean_loops", "sigma", "max_loops"), _lognormal_poisson
    ),
}


def fixed_count(num_loops: int) -> dict[str, Any]:
    """Returns the overrides of a run whose passes all take `num_loops` loops."""
    none = ("mean_loops", "min_loops", "max_loops", "sigma")
    return {
        "recurrence.num_loops": num_loops,
        "recurrence.eval_loops": (),
        "recurrence.sampling": "fixed",
        **{f"recurrence.{key}": None for key in none},
    }


def loop_distribution(recurrence: ml_collections.ConfigDict) -> np.ndarray:
    """Returns the probability of every loop count, float64 [largest count + 1]."""
    sampling = registry.lookup("sampling", SAMPLINGS, recurrence.sampling)
    return sampling.distribution(recurrence)


def mean_loops(recurrence: ml_collections.ConfigDict) -> float:
    """Returns the mean loop count of an update, the sum over `loop_distribution`."""
    probability = loop_distribution(recurrence)
    return float(probability @ np.arange(probability.size))


def draw_loops(
    recurrence: ml_collections.ConfigDict, step: jax.Array
) -> int | jax.Array:
    """Draws the loop count of an update, int32, the same in every lane and packing.

    The seed of the config's section is folded with `step`, updates before this one, and
    with nothing else, so that resuming replays nothing. A fixed count is an int.
    """
    if recurrence.sampling == "fixed":
        return recurrence.num_loops
    at_most = np.cumsum(loop_distribution(recurrence))[:-1].astype(np.float32)
    key = jax.random.fold_in(jax.random.key(recurrence.seed), step)
    return (jax.random.uniform(key) >= at_most).sum(dtype=jnp.int32)


def problems(config: ml_collections.ConfigDict) -> list[str]:
    """Lists what of the `recurrence` section does not go together."""
    recurrence, found = config.recurrence, []
    used = SAMPLINGS[recurrence.sampling].keys
    for key in ("mean_loops", "min_loops", "max_loops", "sigma"):
        value = recurrence[key]
        if (key in used) != (value is not None):
            expected = "given" if key in used else "none"
            found.append(
                f"recurrence.{key} must be {expected} with recurrence.sampling = "
                f"{recurrence.sampling}, got {str(value).lower()}."
            )
    least, most = recurrence.min_loops, recurrence.max_loops
    if least is not None and most is not None and least > most:
        found.append(
            f"recurrence.min_loops ({least}) must be at most recurrence.max_loops "
            f"({most})."
        )
    name = "num_loops" if recurrence.sampling == "fixed" else "max_loops"
    depth, limit = recurrence.backprop_depth, recurrence[name]
    if depth is not None and limit is not None and not 1 <= depth <= max(limit, 1):
        found.append(
            f"recurrence.backprop_depth must be in [1, recurrence.{name} = {limit}], "
            f"got {depth}."
        )
    return found


def _poisson(log_mean: float | np.ndarray, count: int) -> np.ndarray:
    """P(0), .., P(count - 1) of a Poisson variable, [..., count]."""
    k = np.arange(count)
    log_factorial = np.cumsum(np.log(np.maximum(k, 1)))
    rate = np.asarray(log_mean)[..., None]
    return np.exp(k * rate - np.exp(rate) - log_factorial)


def _checked_depth(backprop_depth: int | None, most: int, name: str) -> int:
    depth = most if backprop_depth is None else backprop_depth
    if not 1 <= depth <= most:
        raise ValueError(
            f"backprop_depth must be in [1, {name} = {most}], got {depth}."
        )
    return depth


def _run_fixed(core: Core, state: State, num_loops: int, depth: int, remat: str):
    def loop(state, index):
        state = core(state, index)
        return state, state

    def scan(state, indices):
        if remat != "none" or len(indices) > _FEW:
            return jax.lax.scan(loop, state, indices)
        states = []
        for index in indices:
            state, kept = loop(state, index)
            states.append(kept)
        return state, jax.tree.map(lambda *each: jnp.stack(each), *states)

    cut = num_loops - depth
    indices = jnp.arange(num_loops)
    if cut in (0, num_loops):
        return scan(state, indices)
    state, before = scan(state, indices[:cut])
    state, before = jax.lax.stop_gradient((state, before))
    state, after = scan(state, indices[cut:])
    return state, jax.tree.map(lambda *x: jnp.concatenate(x), before, after)


def _run_drawn(core: Core, state: State, num_loops: jax.Array, depth: int, most: int):
    core, closed_over = jax.closure_convert(core, state, jnp.int32(0))

    def advance(first, last, carry, closed_over):
        def loop(index, carry):
            state = core(carry[0], index, *closed_over)
            return state, _put(carry[1], state, index)

        return jax.lax.fori_loop(first, last, loop, carry)

    def pull(state, index, closed_over):
        """Returns the next state, and the function that pulls its cotangent back."""
        rest, numbers = _split_numbers((state, closed_over))

        def step(numbers):
            state, closed_over = _merge(rest, numbers)
            rest_after, after = _split_numbers(core(state, index, *closed_over))
            return after, rest_after

        after, back, rest_after = jax.vjp(step, numbers, has_aux=True)
        return _merge(rest_after, after), back

    @jax.custom_vjp
    def run(num_loops, state, closed_over):
        return advance(0, num_loops, (state, _room(state, most)), closed_over)

    def forward(num_loops, state, closed_over):
        cut = jnp.maximum(num_loops - depth, 0)

        def loop(index, carry):
            state, states, kept = carry
            kept = _put(kept, state, index - cut)
            state = core(state, index, *closed_over)
            return state, _put(states, state, index), kept

        states = _room(state, most)
        if depth < most:
            state, states = advance(0, cut, (state, states), closed_over)
        kept = _room(state, max(depth - 1, 1))  # An empty room has no index to write.
        last, carry = num_loops - 1, (state, states, kept)
        state, states, kept = jax.lax.fori_loop(cut, last, loop, carry)
        state, back = pull(state, last, closed_over)
        residuals = num_loops, closed_over, kept, back
        return (state, _put(states, state, last)), residuals

    def backward(residuals, cotangents):
        num_loops, closed_over, kept, back = residuals
        cut = jnp.maximum(num_loops - depth, 0)
        add = lambda one, other: jax.tree.map(jnp.add, one, other)
        _, (state, of_states) = _split_numbers(cotangents)

        def loop(done, carry):
            state, total = carry
            index = num_loops - 1 - done
            _, back = pull(_take(kept, index - cut), index, closed_over)
            ((state, more),) = back(add(state, _take(of_states, index)))
            return state, add(total, more)

        (carry,) = back(add(state, _take(of_states, num_loops - 1)))
        state, total = jax.lax.fori_loop(1, num_loops - cut, loop, carry)
        state = jax.tree.map(lambda x: jnp.where(cut == 0, x, 0), state)
        return None, state, total

    run.defvjp(forward, backward)
    return run(num_loops, state, closed_over)


def _split_numbers(tree):
    """Splits off what has a gradient: (integers, booleans and keys; floats)."""
    pick = lambda wanted: jax.tree.map(
        lambda x: x if jnp.issubdtype(x.dtype, jnp.inexact) == wanted else None, tree
    )
    return pick(False), pick(True)


def _merge(one, other):
    """Joins two trees that have None where the other has a leaf."""
    pick = lambda x, y: y if x is None else x
    return jax.tree.map(pick, one, other, is_leaf=lambda x: x is None)


def _room(tree, size: int):
    return jax.tree.map(lambda x: jnp.zeros((size, *x.shape), x.dtype), tree)


def _put(rows, row, index: jax.Array):
    put = lambda x, y: jax.lax.dynamic_update_index_in_dim(x, y, index, 0)
    return jax.tree.map(put, rows, row)


def _take(rows, index: jax.Array):
    take = lambda x: jax.lax.dynamic_index_in_dim(x, index, keepdims=False)
    return jax.tree.map(take, rows)
