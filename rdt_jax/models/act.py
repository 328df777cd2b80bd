"""Adaptive computation time: every position decides how many loops it takes.

Reference: Graves (2016), arXiv:1603.08983; per position and with the interpolated state
of Dehghani et al. (2018), arXiv:1807.03819, Appendix C, as tensor2tensor computes it:
a position that has halted keeps its output, while its state goes on for others to see.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rdt_jax.models.architecture import ModelConfig, wide

Params = dict[str, jax.Array]

HALTINGS = ("none", "act")

# Loops at which positions halted, in the histogram: first and last of each bin.
BINS = ((1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 32), (33, None))


class Halting(NamedTuple):
    """What the loops did so far; a part of the carry."""

    output: jax.Array  # [B, T, D], the interpolated state, which is read out
    probability: jax.Array  # float32 [B, T], spent so far; 1 once halted
    # float32 [B, T], what was left at the loop that halted; 0 before.
    remainder: jax.Array
    updates: jax.Array  # float32 [B, T], loops taken


def init(key: jax.Array, config: ModelConfig) -> Params:
    """Draws the halting unit, D to 1.

    Its weights have variance 1 / D, so that positions differ from the first update.
    """
    kernel = jax.random.normal(key, (config.width, 1)) / config.width**0.5
    return {"kernel": kernel, "bias": jnp.full(1, config.halting_bias)}


def start(state: jax.Array) -> Halting:
    """Returns the halting of a state that no loop has changed, [B, T, D]."""
    zeros = jnp.zeros(state.shape[:2], wide(state.dtype))
    return Halting(jnp.zeros_like(state), zeros, zeros, zeros)


def advance(
    params: Params,
    halting: Halting,
    entered: jax.Array,
    transformed: jax.Array,
    config: ModelConfig,
) -> Halting:
    """Accounts for one loop, after the `halting` of those before.

    The core read `entered` [B, T, D], which the halting unit reads too, and returned
    `transformed` [B, T, D].
    """
    dtype = halting.probability.dtype
    kernel, bias = (params[name].astype(dtype) for name in ("kernel", "bias"))
    p = jax.nn.sigmoid(entered.astype(dtype) @ kernel + bias[None, None])[..., 0]
    running = (halting.probability < 1).astype(dtype)
    spent = halting.probability + p * running
    halts = (spent > config.halting_threshold).astype(dtype) * running
    goes_on = (spent <= config.halting_threshold).astype(dtype) * running
    probability = halting.probability + p * goes_on
    remainder = halting.remainder + halts * (1 - probability)
    probability = probability + halts * remainder
    weight = (p * goes_on + halts * remainder)[..., None]
    output = transformed.astype(dtype) * weight + halting.output * (1 - weight)
    return Halting(
        output=output.astype(transformed.dtype),
        probability=probability,
        remainder=remainder,
        updates=halting.updates + goes_on + halts,
    )


def penalties(halting: Halting, counted: jax.Array) -> dict[str, jax.Array]:
    """Returns the mean ponder cost, loops taken plus remainder, of counted positions.

    The loops taken have no gradient; a position that has not halted has no remainder
    and so none at all.
    """
    cost = (halting.updates + halting.remainder) * counted
    mean = cost.sum() / jnp.maximum(counted.sum(), 1)
    return {"ponder": mean}


def statistics(halting: Halting, counted: jax.Array) -> dict[str, jax.Array]:
    """Describes who halted when, float32 [R, B] each, from a leading axis R.

    Returns, of the `counted` positions bool [B, T]: `ponder`, the mean of loops taken
    plus remainder; `halted`, the share that has halted; `halted_at_1`,
    `halted_at_3_to_4` and so on, the share that did so at these loops;
    `halting_collapse`, 1 where no position of the row has halted or all did at the
    first loop: halting then decides nothing. It is an alarm where its mean over rows
    stays at 1 after the first loop.
    """
    share = lambda x: (
        (x * counted[None]).sum(-1) / jnp.maximum(counted.sum(-1), 1)[None]
    )
    # What remains at the loop that halts is at least 1 - threshold, so never 0.
    halted = halting.remainder > 0
    found = {"ponder": share(halting.updates + halting.remainder)}
    found["halted"] = share(halted)
    for first, last in BINS:
        inside = halted & (halting.updates >= first)
        name = f"halted_at_{first}"
        if last is None:
            name += "_or_later"
        else:
            inside &= halting.updates <= last
            name += f"_to_{last}" if last > first else ""
        found[name] = share(inside)
    at_once = found["halted_at_1"] == 1
    found["halting_collapse"] = (found["halted"] == 0) | at_once
    return {name: value.astype(jnp.float32) for name, value in found.items()}
