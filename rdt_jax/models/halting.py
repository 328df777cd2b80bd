"""When a row of a batch has looped enough: adaptive exit at inference.

References: Geiping et al. (2025), arXiv:2502.05171 (zero-shot adaptive exit); Kohli et
al. (2026), arXiv:2604.07822 (halting of the depth-extrapolation experiments).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rdt_jax import registry
from rdt_jax.models.loop import Core, State


class View(NamedTuple):
    """What a rule sees of one loop."""

    log_probs: jax.Array  # float32 [B, A, V], of the output distributions, in nats
    latents: jax.Array  # [B, A, D], the state at the answer positions


@dataclasses.dataclass(frozen=True)
class Rule:
    """When an answer needs no further loop."""

    thresholds: tuple[str, ...]  # names of its thresholds
    # Number of the first loop at which it can hold; 2 where two outputs are compared.
    first: int
    # Function (View of this loop, View of the last one, thresholds by name) -> bool [B,
    # A]. A NaN never holds.
    holds: Callable[..., jax.Array]


class Halted(NamedTuple):
    """What a batch gives whose rows stop when they are done."""

    logits: jax.Array  # float32 [B, A, V], of each row at its own last loop
    # int32 [B], loops of each row, the one included at which its rule held.
    loops: jax.Array
    executed: jax.Array  # int32 scalar, loops that the batch took: the most of `loops`


def run_until_halted(
    core: Core,
    state: State,
    *,
    readout: Callable[[State], jax.Array],
    latents: Callable[[State], jax.Array],
    rule: str,
    thresholds: Mapping[str, float | jax.Array],
    min_loops: int,
    max_loops: int,
    asked: jax.Array | None = None,
) -> Halted:
    """Applies `core` until the rule has held once in every row of the batch.

    A row stops for good at the first loop at which the rule holds for all of its
    answers, whatever comes later and whatever else is in the batch; without such a loop
    it stops at `max_loops`. The batch loops until its slowest row stops. ValueError if
    the rule or its thresholds are unknown or missing, or the loops are not
    1 <= min_loops <= max_loops.

    Args:
      core: maps (state, int32 loop index) to the next state; rows do not mix.
      state: the initial state, a pytree with leaves [B, ...].
      readout: from a state to its logits, [B, A, V].
      latents: from a state to what convergence is measured on, [B, A, D].
      rule: a key of RULES.
      thresholds: exactly those of the rule, as numbers or traced scalars.
      min_loops: no row stops before so many loops.
      max_loops: no row goes on after so many loops.
      asked: bool [B, A], the answers that count; None for all. A row without any
        stops as early as it may.
    """
    chosen = registry.lookup("halting rule", RULES, rule)
    if set(thresholds) != set(chosen.thresholds):
        raise ValueError(
            f"halting rule {rule!r} takes the thresholds "
            f"{', '.join(chosen.thresholds)}; got {', '.join(thresholds) or 'none'}."
        )
    if not 1 <= min_loops <= max_loops:
        raise ValueError(
            f"min_loops must be in [1, max_loops = {max_loops}], got {min_loops}."
        )
    counts = True if asked is None else asked
    shape = jax.eval_shape(readout, state).shape
    zeros = jnp.zeros(shape, jnp.float32)  # [B, A, V]; no rule reads these as outputs.

    def goes_on(carry) -> jax.Array:
        done, running = carry[0], carry[1]
        return (done < max_loops) & running.any()

    def loop(carry):
        done, running, state, before, logits, loops = carry
        state = core(state, done)
        done = done + 1
        read = readout(state).astype(jnp.float32)
        now = View(jax.nn.log_softmax(read), latents(state))
        logits = jnp.where(running[:, None, None], read, logits)
        loops = jnp.where(running, done, loops)
        holds = chosen.holds(now, before, **thresholds)  # [B, A]
        stops = (holds | ~jnp.broadcast_to(counts, holds.shape)).all(axis=-1)
        running &= ~(stops & (done >= max(min_loops, chosen.first)))
        return done, running, state, now, logits, loops

    start = (
        jnp.int32(0),
        jnp.ones(shape[0], bool),
        state,
        View(zeros, latents(state)),
        zeros,
        jnp.zeros(shape[0], jnp.int32),
    )
    done, _, _, _, logits, loops = jax.lax.while_loop(goes_on, loop, start)
    return Halted(logits=logits, loops=loops, executed=done)


def _kl(now: View, before: View, *, kl: Any) -> jax.Array:
    """KL(before || now) < `kl` nats; Geiping et al.: 5e-4, in this direction."""
    return _divergence(before.log_probs, now.log_probs) < kl


def _kl_now(now: View, before: View, *, kl: Any) -> jax.Array:
    """KL(now || before) < `kl` nats: `kl_entropy` without its limit on the entropy."""
    return _divergence(now.log_probs, before.log_probs) < kl


def _kl_entropy(now: View, before: View, *, kl: Any, entropy: Any) -> jax.Array:
    """KL(now || before) < `kl` and the entropy of now < `entropy`, both in nats.

    Kohli et al.: 0.01 and 3. What has settled while still undecided does not stop.
    """
    surprise = -(jnp.exp(now.log_probs) * now.log_probs).sum(axis=-1)
    return _kl_now(now, before, kl=kl) & (surprise < entropy)


def _state(now: View, before: View, *, change: Any) -> jax.Array:
    """The state moved by less than `change` times its own L2 norm.

    One of the criteria in the code of Geiping et al., with a threshold of 0.03.
    """
    new, old = (view.latents.astype(jnp.float32) for view in (now, before))
    norm = lambda x: jnp.sqrt((x**2).sum(axis=-1))
    return norm(new - old) < change * norm(new)


def _confidence(now: View, before: View, *, probability: Any) -> jax.Array:
    """The likeliest answer has more than `probability`."""
    return jnp.exp(now.log_probs.max(axis=-1)) > probability


RULES: Mapping[str, Rule] = {
    "kl": Rule(("kl",), 2, _kl),
    "kl_now": Rule(("kl",), 2, _kl_now),
    "kl_entropy": Rule(("kl", "entropy"), 2, _kl_entropy),
    "state": Rule(("change",), 1, _state),
    "confidence": Rule(("probability",), 1, _confidence),
}


def _divergence(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """KL(p || q) in nats, [..., V] to [...]."""
    # Rounding can make it negative where p = q, which a threshold of 0 must not pass.
    return jnp.maximum((jnp.exp(log_p) * (log_p - log_q)).sum(axis=-1), 0.0)
