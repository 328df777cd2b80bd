"""The training loss: cross-entropy at the answer positions."""

import chex
import jax
import jax.numpy as jnp


def answer_cross_entropy(
    logits: jax.Array, targets: jax.Array, label_smoothing: jax.Array | float = 0.0
) -> jax.Array:
    """Returns the mean cross-entropy over the answers that exist, in nats.

    Args:
      logits: float32 [..., A, V].
      targets: int32 [..., A]; -1 where there is no answer.
      label_smoothing: share in [0, 1) of the target mass that is spread uniformly over
        all V words (Szegedy et al. 2016, arXiv:1512.00567, Section 7).

    Returns:
      float32 [...], the mean over A.
    """
    chex.assert_equal_shape_prefix([logits, targets], targets.ndim)
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    exists = targets >= 0
    index = jnp.where(exists, targets, 0)[..., None]
    at_target = jnp.take_along_axis(log_probs, index, axis=-1)[..., 0]
    smoothed = (1 - label_smoothing) * at_target + label_smoothing * log_probs.mean(-1)
    return -(smoothed * exists).sum(-1) / jnp.maximum(exists.sum(-1), 1)


def answers_correct(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Says which rows have all their answers right, bool [...].

    Args:
      logits: [..., A, V].
      targets: int32 [..., A]; -1 where there is no answer.
    """
    return ((logits.argmax(-1) == targets) | (targets < 0)).all(axis=-1)
