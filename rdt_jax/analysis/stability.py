"""Whether the loop settles: its Jacobian, its distance to a fixed point, its growth.

One loop maps the states of a row, [T, D], to the next. The spectral radius of its
Jacobian says whether nearby states are drawn in (below 1) or driven out. What a longer
recurrence does to states and gradients is measured by running it.

Shapes: N rows, R loops in training, L = `factor` R loops that are run.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from rdt_jax.analysis import krylov
from rdt_jax.models import presets, recurrent
from rdt_jax.tasks import Table
from rdt_jax.training import losses

VERSION = 1  # of the results; a change of their numbers is another one


class Stability(NamedTuple):
    """Measures of one set of parameters."""

    loops: np.ndarray  # int64 [L], 1 .. L.
    # float64 [N], largest modulus of the eigenvalues of the Jacobian of loop R + 1 at
    # the states after loop R.
    spectral_radius: np.ndarray
    # float64 [L, N], root mean square of the states after each loop.
    state_norm: np.ndarray
    # float64 [L, N], L2 distance between the states after each loop and before it,
    # divided by the norm of those before; NaN where these are zero.
    distance: np.ndarray
    # float64 [L], L2 norm of the gradient by all parameters of the training loss, read
    # out after so many loops.
    gradient_norm: np.ndarray


def measure(
    params: recurrent.Params,
    config: ml_collections.ConfigDict,
    table: Table,
    *,
    rows: int = 64,
    steps: int = 32,
    factor: int = 4,
) -> Stability:
    """Measures one set of parameters on a sample of train rows.

    Args:
      rows: train rows of the sample, at the most; the first by a fixed permutation.
      steps: steps of the Arnoldi iteration. The radius is that of a projection; it errs
        by less the further the outermost eigenvalue lies beyond the others.
      factor: L / R, at least 1.

    Raises:
      ValueError: if the model has a learned step embedding for fewer loops than L, or
        its branches are scaled by the length of the pass.
    """
    chosen = np.random.default_rng(0).permutation(table.rows_of("train"))[:rows]
    tokens, positions, targets = (
        jnp.asarray(x[chosen])
        for x in (table.tokens, table.answer_positions, table.targets)
    )
    model = presets.model_config(config, table)
    trained = config.recurrence.num_loops
    states, projected = jax.device_get(
        _loops(params, (tokens, positions), model, trained, factor * trained, steps)
    )
    before, after = states[:-1], states[1:]  # [L, N, T, D]
    norm = lambda x: np.sqrt(np.square(x, dtype=np.float64).sum(axis=(-1, -2)))
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.where(
            norm(before) > 0, norm(after - before) / norm(before), np.nan
        )
    gradients = [
        _gradient_norm(
            params,
            (tokens, positions, targets),
            jnp.int32(loops),
            model,
            factor * trained,
            config.loss.function,
        )
        for loops in range(1, 1 + factor * trained)
    ]
    return Stability(
        loops=1 + np.arange(factor * trained),
        spectral_radius=krylov.radius(projected),
        state_norm=norm(after) / after[0, 0].size ** 0.5,
        distance=distance,
        gradient_norm=np.array(jax.device_get(gradients), np.float64),
    )


def summarize(stability: Stability) -> dict[str, float]:
    """Returns medians over rows, after the last loop where there are several."""
    return {
        "spectral_radius": float(np.median(stability.spectral_radius)),
        "state_norm": float(np.median(stability.state_norm[-1])),
        "distance": float(np.median(stability.distance[-1])),
        "gradient_norm": float(stability.gradient_norm[-1]),
    }


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _loops(params, rows: Any, model, trained: int, most: int, steps: int):
    """States [1 + most, N, T, D], the first before any loop, and [N, K, K]."""

    def of_row(row):
        tokens, positions = (x[None] for x in row)
        recurrent.check(tokens, positions, model, most)
        counted = recurrent.counted_positions(tokens, positions)
        core, first, _ = recurrent.recurrence(
            params, tokens, counted, model, None, None
        )

        # The latent state, and not what ACT reads out, is what the next loop is given.
        def loop(state, index):
            state = core(first._replace(state=state), index).state
            return state, state

        _, states = jax.lax.scan(loop, first.state, jnp.arange(most))
        states = jnp.concatenate([first.state[None], states])[:, 0]  # [1 + L, T, D]
        at = states[trained].astype(jnp.float32)

        def onward(flat):
            state = flat.reshape(1, *at.shape).astype(states.dtype)
            # Beyond the trained loops there may be no step embedding.
            index = jnp.int32(min(trained, most - 1))
            return loop(state, index)[0].astype(jnp.float32).reshape(-1)

        # The transposed matrix has the same eigenvalues.
        _, pull = jax.vjp(onward, at.reshape(-1))
        start = jax.random.normal(jax.random.key(0), (at.size,))
        product = lambda vector: pull(vector)[0]
        return states, krylov.project(product, start, min(steps, at.size))

    states, projected = jax.lax.map(of_row, rows, batch_size=8)
    return jnp.moveaxis(states, 0, 1), projected


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def _gradient_norm(params, batch: Any, loops, model, most: int, function: str):
    tokens, positions, targets = batch

    def loss_of(params):
        logits = recurrent.apply(
            params, tokens, positions, model, num_loops=loops, max_loops=most
        ).logits
        return losses.answer_cross_entropy(logits, targets, function=function).mean()

    gradient = jax.grad(loss_of)(params)
    return jnp.sqrt(sum(jnp.square(x).sum() for x in jax.tree.leaves(gradient)))
