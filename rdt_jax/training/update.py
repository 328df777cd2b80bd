"""One update of one lane, from its batch to its new parameters: pure functions.

    state = update(state, batch, hyper, spec, noise=None, num_loops=2, measure=False)

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
    """The rows of an update.

    Attributes:
      tokens: int32 [B, T].
      positions: int32 [B, A], at which answers are read.
      targets: int32 [B, A]; -1 where there is no answer.
    """

    tokens: jax.Array
    positions: jax.Array
    targets: jax.Array


class LaneState(NamedTuple):
    """A lane after an update.

    Attributes:
      params: parameters of the model.
      opt_state: state of the optimizer.
      loss: float32, of the batch under the parameters before.
      gradient_norm: float32, L2 norm of the gradient; 0 if it was not measured.
      update_ratio: float32, L2 norm of the update over that of the parameters before;
        0 likewise.
    """

    params: chex.ArrayTree
    opt_state: optax.OptState
    loss: jax.Array
    gradient_norm: jax.Array
    update_ratio: jax.Array


# From (params, batch, hyper, spec, noise=.., num_loops=..) to (loss, gradient).
LossAndGradient = Callable[..., tuple[jax.Array, chex.ArrayTree]]


def loss(
    params: recurrent.Params,
    batch: Batch,
    hyper: LaneParams,
    spec: Spec,
    *,
    noise: layers.Noise | None,
    num_loops: int | jax.Array,
) -> jax.Array:
    """Returns the training loss of a batch, float32.

    It is the cross-entropy of the answers after the last loop, or mixed with those of
    all loops, and the terms of `losses.TERMS` and of the model (`Outputs.penalties`).

    Args:
      params: parameters of the lane.
      batch: its rows.
      hyper: scalars of the lane.
      spec: settings that all lanes share.
      noise: dropout and the random initial state; None for neither.
      num_loops: R.
    """
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
    params: recurrent.Params,
    batch: Batch,
    hyper: LaneParams,
    spec: Spec,
    *,
    noise: layers.Noise | None,
    num_loops: int | jax.Array,
) -> tuple[jax.Array, chex.ArrayTree]:
    """Returns the loss of a batch and its gradient by the parameters.

    They are means over `gradient.micro_batches` equal parts of the batch, one after
    another, each with noise of its own. The arguments are those of `loss`.
    """
    of_rows = lambda rows, noise: jax.value_and_grad(loss)(
        params, rows, hyper, spec, noise=noise, num_loops=num_loops
    )
    count = spec.config.gradient.micro_batches
    if count == 1:
        return of_rows(batch, noise)

    def add(
        total: chex.ArrayTree, micro_batch: tuple[jax.Array, Batch]
    ) -> tuple[chex.ArrayTree, None]:
        index, rows = micro_batch
        its_noise = None if noise is None else noise.fold(index)
        part = of_rows(rows, its_noise)
        return jax.tree.map(lambda x, y: x + y / count, total, part), None

    parts = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), batch)
    nothing = (jnp.float32(0), optax.tree.zeros_like(params))
    return jax.lax.scan(add, nothing, (jnp.arange(count), parts))[0]


def draw_noise(
    key: jax.Array, step: jax.Array, hyper: LaneParams, spec: Spec
) -> layers.Noise | None:
    """Returns the noise of an update; None if its loss depends on none.

    Args:
      key: PRNG key of the run's noise; only folded with the step.
      step: int32 scalar, updates before this one.
      hyper: scalars of the lane.
      spec: settings that all lanes share.
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
    hyper: LaneParams,
    spec: Spec,
    *,
    noise: layers.Noise | None,
    num_loops: int | jax.Array,
    measure: bool | jax.Array,
    gradient_of: LossAndGradient = loss_and_gradient,
) -> LaneState:
    """Applies one update.

    Args:
      params: parameters of the lane.
      opt_state: state of its optimizer.
      batch: its rows.
      hyper: scalars of the lane.
      spec: settings that all lanes share.
      noise: dropout and the random initial state, as of `loss`.
      num_loops: R.
      measure: whether norms are wanted, which cost a pass over all parameters.
      gradient_of: `loss_and_gradient`, or what shares the rows of a batch among
        devices.
    """
    value, gradient = gradient_of(
        params, batch, hyper, spec, noise=noise, num_loops=num_loops
    )
    # What a conditional reads is written out first, so the loops' gradients are added
    # up just once.
    branches = (
        functools.partial(_descend, hyper, spec, measures) for measures in (True, False)
    )
    params, opt_state, norm, ratio = jax.lax.cond(
        measure, *branches, gradient, opt_state, params
    )
    return LaneState(params, opt_state, value, norm, ratio)


def _descend(
    hyper: LaneParams,
    spec: Spec,
    measures: bool,
    gradient: chex.ArrayTree,
    opt_state: optax.OptState,
    params: recurrent.Params,
) -> tuple[recurrent.Params, optax.OptState, jax.Array, jax.Array]:
    optimizer = optimizers.make(spec, hyper)
    updates, opt_state = optimizer.update(gradient, opt_state, params)
    norm, norms = optax.tree.norm, (jnp.float32(0), jnp.float32(0))
    if measures:
        norms = norm(gradient), norm(updates) / norm(params)
    return optax.apply_updates(params, updates), opt_state, *norms
