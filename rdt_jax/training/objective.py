"""What an update descends: the loss of a batch, what is added to it, its gradient."""

from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from rdt_jax import sharding
from rdt_jax.models import layers, recurrent
from rdt_jax.training import losses
from rdt_jax.training.optimizers import Hyper


def make(
    config: ml_collections.ConfigDict,
    model: recurrent.ModelConfig,
    parts: Collection[str],
    mesh: jax.sharding.Mesh | None,
) -> Callable[..., tuple[jax.Array, Any]]:
    """Builds the loss and the gradient of one lane.

    Args:
      config: of the lane; what is read of it is the same for all.
      model: the model.
      parts: of `optimizers.parts_of`: what is added to the loss.
      mesh: as of `step.build`.

    Returns:
      A function from (params, batch, hyper, noise, num_loops) to (float32 loss,
      gradient). A batch is (tokens [B, T], answer positions [B, A], targets [B, A]);
      noise is layers.Noise or None, num_loops an int or traced.
    """
    data_parts = sharding.axes_of(mesh).data

    def loss_of(params, batch, hyper: Hyper, noise: layers.Noise | None, num_loops):
        tokens, positions, targets = batch
        run = lambda forward: forward(
            params,
            tokens,
            positions,
            model,
            num_loops=num_loops,
            backprop_depth=config.recurrence.backprop_depth,
            max_loops=config.recurrence.max_loops,
            rngs=noise,
        )
        cost = lambda logits: losses.answer_cross_entropy(
            logits,
            targets,
            hyper.label_smoothing,
            function=config.loss.function,
            dtype=config.loss.dtype,
        ).mean()
        if "deep_supervision" in parts:
            outputs = run(recurrent.apply)
            penalties = outputs.penalties
            # The noise of the last loop's own readout: its loss counts alike in both.
            at_readout = None if noise is None else noise.fold(2)
            read = lambda state: recurrent.readout(
                params, state, tokens, positions, model, at_readout
            )
            every = jax.lax.map(lambda state: cost(read(state)), outputs.states)
            loss = losses.supervise_loops(
                cost(outputs.logits), every, num_loops, hyper.deep_supervision
            )
        else:
            logits, penalties = run(recurrent.answer)
            loss = cost(logits)
        if "block_similarity" in parts:
            apart = losses.block_similarity(
                params["core"], config.loss.similarity_period
            )
            loss += hyper.block_similarity * apart
        return loss + sum(config.loss[k] * x for k, x in penalties.items())

    def loss_and_gradient(params, batch, hyper: Hyper, noise, num_loops):
        # The parts of a batch: at once on the devices of the mesh, one after another in
        # micro-batches. Each has its own noise.
        is_fixed = isinstance(num_loops, int)

        def of_part(shared, rows, part):
            params, hyper, noise, drawn = shared
            grad = lambda rows, noise: jax.value_and_grad(loss_of)(
                params, rows, hyper, noise, num_loops if is_fixed else drawn
            )
            if data_parts > 1 and noise is not None:
                noise = noise.fold(part)
            count = config.gradient.micro_batches
            if count == 1:
                return grad(rows, noise)

            def add(total, micro):
                index, rows = micro
                its_noise = None if noise is None else noise.fold(index)
                found = grad(rows, its_noise)
                return jax.tree.map(lambda x, y: x + y / count, total, found), None

            rows = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), rows)
            nothing = (jnp.float32(0), optax.tree.zeros_like(params))
            return jax.lax.scan(add, nothing, (jnp.arange(count), rows))[0]

        shared = params, hyper, noise, None if is_fixed else num_loops
        return sharding.mean_over_rows(of_part, mesh)(shared, batch)

    return loss_and_gradient
