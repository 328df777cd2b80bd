"""The training loss: cross-entropy at the answer positions, and what is added to it.

`update.loss` puts them together. A new term is a function here, its line in TERMS, and
the key of its weight in schema.py:

    TERMS = {
        "logit_size": lambda params, logits, targets, section: (logits**2).mean(),
    }  # times loss.logit_size: Key(0.0, "times the mean square", ..., per_lane=True)
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import ml_collections

from rdt_jax import registry


def _log_stablemax(logits: jax.Array) -> jax.Array:
    """Returns log(s(x) / sum s(x)), s(x) = x + 1 from 0 on and 1 / (1 - x) below.

    A logit that is far ahead adds to its share slowly, so that it does not absorb the
    others in rounding. Reference: Prieto et al. (2025), arXiv:2501.04697.
    """
    ahead = logits >= 0
    # Each branch sees its own side only, so that neither spoils the gradient.
    up, down = jnp.where(ahead, logits, 0), jnp.where(ahead, 0, -logits)
    total = jnp.where(ahead, 1 + up, 1 / (1 + down)).sum(-1, keepdims=True)
    return jnp.where(ahead, jnp.log1p(up), -jnp.log1p(down)) - jnp.log(total)


# From logits [..., V] to the logarithms of the probabilities.
FUNCTIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "softmax": jax.nn.log_softmax,
    "stablemax": _log_stablemax,
}
DTYPES = ("float32", "float64")


def answer_cross_entropy(
    logits: jax.Array,
    targets: jax.Array,
    label_smoothing: jax.Array | float = 0.0,
    *,
    function: str = "softmax",
    dtype: str = "float32",
) -> jax.Array:
    """Returns the mean cross-entropy over the answers that exist, in nats.

    Args:
      logits: float32 [..., A, V].
      targets: int32 [..., A]; -1 where there is no answer.
      label_smoothing: share in [0, 1) of the target mass that is spread uniformly over
        all V words (Szegedy et al. 2016, arXiv:1512.00567, Section 7). It has no
        gradient in float64.
      function: key of FUNCTIONS.
      dtype: float64 computes the loss and its gradient by the logits in float64 within
        a float32 program, and rounds both at the end.

    Returns:
      float32 [...], the mean over A.
    """
    chex.assert_equal_shape_prefix([logits, targets], targets.ndim)
    log_probabilities = registry.lookup("loss function", FUNCTIONS, function)

    def of(
        logits: jax.Array, targets: jax.Array, label_smoothing: jax.Array | float
    ) -> jax.Array:
        log_probs = log_probabilities(logits)
        exists = targets >= 0
        index = jnp.where(exists, targets, 0)[..., None]
        at_target = jnp.take_along_axis(log_probs, index, axis=-1)[..., 0]
        even = label_smoothing * log_probs.mean(-1)
        smoothed = (1 - label_smoothing) * at_target + even
        return -(smoothed * exists).sum(-1) / jnp.maximum(exists.sum(-1), 1)

    compute = _in_float64(of) if dtype == "float64" else of
    return compute(logits.astype(jnp.float32), targets, label_smoothing)


def _in_float64(of: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Computes a loss per row, and its gradient by the logits, in float64.

    `jax.enable_x64` holds while this is traced, inside whatever is traced around it;
    what goes in and out is float32. The gradient is worked out with the value, since
    what JAX derives from a program later would be traced without it.
    """

    @jax.custom_vjp
    def rounded(
        logits: jax.Array, targets: jax.Array, label_smoothing: jax.Array
    ) -> jax.Array:
        return forward(logits, targets, label_smoothing)[0]

    def forward(
        logits: jax.Array, targets: jax.Array, label_smoothing: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        with jax.enable_x64(True):
            wide = jax.lax.convert_element_type(logits, jnp.float64)
            value, pull = jax.vjp(lambda x: of(x, targets, label_smoothing), wide)
            (gradient,) = pull(jnp.ones_like(value))
            narrow = lambda x: jax.lax.convert_element_type(x, jnp.float32)
            return narrow(value), narrow(gradient)

    def backward(
        gradient: jax.Array, cotangent: jax.Array
    ) -> tuple[jax.Array, None, None]:
        # Rows are independent: each has its factor.
        return gradient * cotangent[..., None, None], None, None

    rounded.defvjp(forward, backward)
    return rounded


def collapses(logits: jax.Array, dtype: str) -> jax.Array:
    """Says where the exponentials of logits [..., V] add up to the largest, bool [...].

    They are added up in `dtype`, float32 or float64.
    """
    with jax.enable_x64(dtype == "float64"):
        wide = jax.lax.convert_element_type(logits, jnp.dtype(dtype))
        return jnp.exp(wide - wide.max(-1, keepdims=True)).sum(-1) == 1


def supervise_loops(
    last: jax.Array, every: jax.Array, num_loops: int | jax.Array, share: jax.Array
) -> jax.Array:
    """Mixes the loss after the last loop with the mean over the first R = `num_loops`.

    Reference: Chen (2026), arXiv:2603.21676: (1 - a) CE_R + (a / R) sum of CE_t. The
    share a is in [0, 1]; of the losses after `every` loop, float32 [most loops], what
    lies beyond R is not read.
    """
    runs = jnp.arange(every.size) < num_loops
    return (1 - share) * last + share * jnp.where(runs, every, 0).sum() / num_loops


def block_similarity(blocks: Sequence[Any], period: int) -> jax.Array:
    """Returns 1 minus the mean cosine between matrices of blocks `period` apart.

    It is 0 where a stack of blocks, which are equal trees, repeats itself every
    `period` of them, as a looped one does. Vectors (biases, norms) do not count, and
    zero matrices have cosine 0.

    Reference: Saunshi et al. (2025), arXiv:2502.17416, which adds the cosines of each
    kind of weight. Differs from the paper: one mean over all pairs of matrices, so that
    the factor means the same at any depth.
    """
    cosines = [
        _cosine(one, other)
        for before, after in zip(blocks, blocks[period:], strict=False)
        for one, other in zip(*map(jax.tree.leaves, (before, after)), strict=True)
        if one.ndim >= 2
    ]
    return 1 - jnp.stack(cosines).mean()


# Name -> a term of the loss, which is added to it times the key `loss.<name>` of a
# lane, and left out of programs in which no lane has it above 0. A term is a function
# of parameters, logits [B, A, V] after the last loop, targets [B, A], and the section
# `loss` of the config.
Term = Callable[
    [dict[str, Any], jax.Array, jax.Array, ml_collections.ConfigDict], jax.Array
]
TERMS: Mapping[str, Term] = {
    "block_similarity": lambda params, logits, targets, section: block_similarity(
        params["core"], section.similarity_period
    ),
}


def _cosine(one: jax.Array, other: jax.Array) -> jax.Array:
    squares = jnp.vdot(one, one) * jnp.vdot(other, other)
    known = squares > 0  # Else the root has no gradient.
    root = jnp.sqrt(jnp.where(known, squares, 1.0))
    return jnp.where(known, jnp.vdot(one, other) / root, 0.0)


def answers_correct(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Says which rows have all their answers right, bool [...].

    Args:
      logits: [..., A, V].
      targets: int32 [..., A]; -1 where there is no answer.
    """
    return ((logits.argmax(-1) == targets) | (targets < 0)).all(axis=-1)


def problems(config: ml_collections.ConfigDict) -> list[str]:
    """Lists what of the `loss` section does not go with the model."""
    section, blocks = config.loss, config.model.core_blocks
    period = section.similarity_period
    found = []
    if section.block_similarity > 0 and (blocks % period or blocks < 2 * period):
        found.append(
            "model.core_blocks must be a multiple of loss.similarity_period "
            f"({period}), at least twice it, with loss.block_similarity, got {blocks}."
        )
    return found
