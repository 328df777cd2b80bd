"""What the weights say without being run on anything, and how sharp their minimum is.

Matrices are leaves of the parameters with two axes or more; more than two are batches
of matrices (experts, heads), which are measured one by one and averaged. Singular
values are those of the matrix as it stands in the parameters.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import ml_collections
import numpy as np

from rdt_jax.analysis import krylov
from rdt_jax.models import presets, recurrent
from rdt_jax.tasks import Table
from rdt_jax.training import losses

VERSION = 1  # of the results; a change of their numbers is another one


class Weights(NamedTuple):
    """Measures of one set of parameters; M matrices."""

    # str [M], such as `core/0/mlp/input/kernel`, and `vectors`, the last, for all other
    # parameters together.
    name: np.ndarray
    norm: np.ndarray  # float64 [M], L2 norm, of a batch of matrices over all of them
    # float64 [M], e to the entropy (nats) of the singular values divided by their sum
    # (Roy and Vetterli 2007, EUSIPCO); NaN for `vectors`.
    effective_rank: np.ndarray
    # float64 [M], squared Frobenius norm over squared spectral norm; NaN for `vectors`
    # and for a matrix of zeros.
    stable_rank: np.ndarray
    total_norm: np.ndarray  # float64 scalar, L2 norm of all parameters
    # float64 scalar, largest eigenvalue of the Hessian of the training loss over all
    # parameters, on the sample.
    sharpness: np.ndarray
    # float64 scalar, the training loss of the sample, nats, without smoothing, dropout
    # and penalties.
    loss: np.ndarray
    # float64 scalar, share of the answers of the sample at which the exponentials of
    # the logits add up, in the dtype of the training loss, to the largest one alone
    # (Prieto et al. 2025, arXiv:2501.04697, Section 3).
    softmax_collapse: np.ndarray


def measure(
    params: recurrent.Params,
    config: ml_collections.ConfigDict,
    table: Table,
    *,
    rows: int = 512,
    steps: int = 24,
) -> Weights:
    """Measures one set of parameters at the training loop count.

    Args:
      rows: train rows of the sample, at the most; the first by a fixed permutation.
      steps: steps of the Lanczos iteration, each of which costs about two gradients.
        The result is a lower bound, which some ten steps bring near the largest
        eigenvalue.
    """
    chosen = np.random.default_rng(0).permutation(table.rows_of("train"))[:rows]
    batch = tuple(
        jnp.asarray(x[chosen])
        for x in (table.tokens, table.answer_positions, table.targets)
    )
    model = presets.model_config(config, table)
    loss, logits, projected = jax.device_get(
        _curvature(
            params,
            batch,
            model,
            config.recurrence.num_loops,
            config.loss.function,
            steps,
        )
    )
    exists = np.asarray(batch[2]) >= 0
    collapsed = jax.device_get(losses.collapses(logits, config.loss.dtype))
    names, norms, ranks = [], [], []
    vectors = 0.0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        leaf = np.asarray(leaf, np.float64)
        if leaf.ndim < 2:
            vectors += np.square(leaf).sum()
            continue
        names.append(jax.tree_util.keystr(path, simple=True, separator="/"))
        norms.append(np.sqrt(np.square(leaf).sum()))
        ranks.append(ranks_of(np.linalg.svd(leaf, compute_uv=False)))
    norm = np.array([*norms, np.sqrt(vectors)])
    effective, stable = np.array([*ranks, (np.nan, np.nan)]).T
    return Weights(
        name=np.array([*names, "vectors"]),
        norm=norm,
        effective_rank=effective,
        stable_rank=stable,
        total_norm=np.sqrt(np.square(norm).sum()),
        sharpness=krylov.largest(projected),
        loss=np.asarray(loss, np.float64),
        softmax_collapse=np.asarray(collapsed[exists].mean(), np.float64),
    )


def ranks_of(singular: np.ndarray) -> tuple[float, float]:
    """Effective and stable rank of singular values [..., k], means over [...]."""
    total = singular.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = singular / total
        terms = np.where(share > 0, share * np.log(share), 0.0)
        stable = np.square(singular).sum(axis=-1) / np.square(singular[..., 0])
    effective = np.where(total[..., 0] > 0, np.exp(-terms.sum(axis=-1)), 0.0)
    return float(effective.mean()), float(stable.mean())


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _curvature(params, batch: Any, model, num_loops: int, function: str, steps: int):
    """Loss, logits [B, A, V], and the Hessian projected to [steps, steps]."""
    tokens, positions, targets = batch
    flat, unflatten = jax.flatten_util.ravel_pytree(params)

    def loss_of(flat):
        logits, _ = recurrent.answer(
            unflatten(flat), tokens, positions, model, num_loops=num_loops
        )
        # In float32 whatever is trained: the loss in float64 has no second derivative.
        losses_of = losses.answer_cross_entropy(logits, targets, function=function)
        return losses_of.mean(), logits

    gradient = jax.grad(lambda x: loss_of(x)[0])
    product = lambda vector: jax.jvp(gradient, (flat,), (vector,))[1]
    start = jax.random.normal(jax.random.key(0), flat.shape, flat.dtype)
    loss, logits = loss_of(flat)
    return loss, logits, krylov.project(product, start, min(steps, flat.size))
