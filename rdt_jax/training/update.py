"""One update of one lane, from its batch to its new parameters: pure functions.

    how = How(hyper, spec, noise=None, num_loops=2)
    state = update(params, opt_state, batch, how, measure=False)

`update` descends the gradient of `loss`; what the optimizer does with the gradient is
in optimizers.py and gradients.py, the terms of the loss are in losses.py. Nothing here
knows of other lanes, of devices or of the disk: that is pack.py.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from rdt_jax.models import layers, recurrent
from rdt_jax.training import losses, optimizers
from rdt_jax.training.hyper import LaneParams, Spec


class Batch(NamedTuple):
    """The rows of an update."""

    tokens: jax.Array  # int32 [B, T]
    positions: jax.Array  # int32 [B, A], at which answers are read
    targets: jax.Array  # int32 [B, A]; -1 where there is no answer


class How(NamedTuple):
    """What a loss depends on beside its parameters and rows."""

    hyper: LaneParams  # scalars of the lane
    spec: Spec  # settings that all lanes share
    noise: layers.Noise | None  # dropout and the random initial state; None for neither
    num_loops: int | jax.Array  # R


class LaneState(NamedTuple):
    """A lane after an update."""

    params: chex.ArrayTree
    opt_state: optax.OptState
    loss: jax.Array  # float32, of the batch under the parameters before
    # float32, L2 norm of the gradient; 0 if it was not measured
    gradient_norm: jax.Array
    # float32, L2 norm of the update over that of the parameters before; 0 likewise
    update_ratio: jax.Array


LossAndGradient = Callable[
    [recurrent.Params, Batch, How], tuple[jax.Array, chex.ArrayTree]
]


def loss(params: recurrent.Params, batch: Batch, how: How) -> jax.Array:
    """Returns the training loss of a batch, float32.

    It is the cross-entropy of the answers after the last loop, or mixed with those of
    all loops, and the terms of `losses.TERMS` and of the model (`Outputs.penalties`).
    """
    hyper, spec, noise, num_loops = how
    supervises_loops = "deep_supervision" in spec.parts
    forward: Any = recurrent.apply if supervises_loops else recurrent.answer
    outputs = forward(
        params,
        batch.tokens,
        batch.positions,
        spec.model,
        num_loops=num_loops,
        backprop_depth=spec.config.recurrence.backprop_depth,
        max_loops=spec.config.recurrence.max_loops,
        rngs=noise,
    )
    cost = lambda logits: losses.answer_cross_entropy(
        logits,
        batch.targets,
        hyper["loss.label_smoothing"],
        function=spec.config.loss.function,
        dtype=spec.config.loss.dtype,
    ).mean()
    if supervises_loops:
        logits, penalties = outputs.logits, outputs.penalties
        # The noise of the last loop's own readout: its loss counts alike in both.
        at_readout = None if noise is None else noise.fold(2)
        read = lambda state: recurrent.readout(
            params, state, batch.tokens, batch.positions, spec.model, at_readout
        )
        by_loop = jax.lax.map(lambda state: cost(read(state)), outputs.states)
        share = hyper["loss.deep_supervision"]
        total = losses.supervise_loops(cost(logits), by_loop, num_loops, share)
    else:
        logits, penalties = outputs
        total = cost(logits)
    for name, term in losses.TERMS.items():
        if name in spec.parts:
            value = term(params, logits, batch.targets, spec.config.loss)
            total += hyper[f"loss.{name}"] * value
    return total + sum(spec.config.loss[name] * x for name, x in penalties.items())


def loss_and_gradient(
    params: recurrent.Params, batch: Batch, how: How
) -> tuple[jax.Array, chex.ArrayTree]:
    """Returns the loss of a batch and its gradient by the parameters.

    They are means over `gradient.micro_batches` equal parts of the batch, one after
    another, each with noise of its own.
    """
    of_rows = jax.value_and_grad(loss)
    count = how.spec.config.gradient.micro_batches
    if count == 1:
        return of_rows(params, batch, how)

    def add(
        total: chex.ArrayTree, micro_batch: tuple[jax.Array, Batch]
    ) -> tuple[chex.ArrayTree, None]:
        index, rows = micro_batch
        part = of_rows(params, rows, with_own_noise(how, index))
        return jax.tree.map(lambda x, y: x + y / count, total, part), None

    parts = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), batch)
    nothing = (jnp.float32(0), optax.tree.zeros_like(params))
    return jax.lax.scan(add, nothing, (jnp.arange(count), parts))[0]


def with_own_noise(how: How, part: jax.Array) -> How:
    """Returns what the loss of a part of a batch depends on, with noise of its own."""
    return how if how.noise is None else how._replace(noise=how.noise.fold(part))


def draw_noise(
    key: jax.Array, step: jax.Array, hyper: LaneParams, spec: Spec
) -> layers.Noise | None:
    """Returns the noise of an update; None if its loss depends on none.

    The PRNG key of the run's noise is only folded, with the number of updates so far.
    """
    drops = "dropout" in spec.parts
    if not drops and spec.model.initial_state != "normal":
        return None
    rates = ("model.dropout", "model.embedding_dropout") if drops else ()
    return layers.Noise(jax.random.fold_in(key, step), *(hyper[r] for r in rates))


def update(
    params: recurrent.Params,
    opt_state: optax.OptState,
    batch: Batch,
    how: How,
    *,
    measure: bool | jax.Array,
    gradient_of: LossAndGradient = loss_and_gradient,
) -> LaneState:
    """Applies one update.

    `measure` says whether norms are wanted, which cost a pass over all parameters;
    `gradient_of` is `loss_and_gradient`, or what shares the rows of a batch among
    devices.
    """
    value, gradient = gradient_of(params, batch, how)
    # What a conditional reads is written out first, so the loops' gradients are added
    # up just once.
    branches = (
        functools.partial(_descend, how, measures) for measures in (True, False)
    )
    params, opt_state, norm, ratio = jax.lax.cond(
        measure, *branches, gradient, opt_state, params
    )
    return LaneState(params, opt_state, value, norm, ratio)


def _descend(
    how: How,
    measures: bool,
    gradient: chex.ArrayTree,
    opt_state: optax.OptState,
    params: recurrent.Params,
) -> tuple[recurrent.Params, optax.OptState, jax.Array, jax.Array]:
    optimizer = optimizers.make(how.spec, how.hyper)
    updates, opt_state = optimizer.update(gradient, opt_state, params)
    norm, norms = optax.tree.norm, (jnp.float32(0), jnp.float32(0))
    if measures:
        norms = norm(gradient), norm(updates) / norm(params)
    return optax.apply_updates(params, updates), opt_state, *norms
