"""By which frequencies a network adds: Nanda's progress measures of modular addition.

A network that has understood c = a + b (mod p) computes a few waves cos(2 pi k c / p),
sin(2 pi k c / p) of the answer; one that has memorized has no preferred frequency k.
Frequencies k and p - k are the same wave, so there are F = (p - 1) / 2 for an odd p.

Reference: Nanda et al. (2023), arXiv:2301.05217. Differs from it: the logits of any
loop are analyzed, over the p residues only, less each pair's mean over residues, which
no softmax sees; key frequencies are read off these logits (`key_frequencies`), and not
off the neurons of a single MLP; Gini coefficients are over frequencies, not waves.

Shapes: R loops, N = p^2 pairs, F frequencies, C checkpoints. Losses are in nats.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
from scipy import special

from rdt_jax.models import presets, recurrent, trace
from rdt_jax.tasks import Table

VERSION = 2  # of the results; a change of their numbers is another one

OPERATIONS = ("add", "subtract")  # Their answers are equally often every residue.
# Pairs that a loss is over. `all` has the unused too. A pair (a, b) of `id` is mirrored
# if (b, a) is trained: in addition, to know that order does not matter is enough to
# answer it. A held-out (a, a) never is.
GROUPS = ("all", "train", "id", "mirrored", "unmirrored")

# A frequency is a key if it explains at least this share of the logits' variance, and
# this many times the mean over frequencies: memorized answers alone raise all of them
# together, and so do random logits.
KEY_SHARE = 0.02
KEY_RATIO = 2.0
HEAD_ROWS = 500  # of the table, evenly spaced, whose attention is looked at


class Pairs(NamedTuple):
    """The rows of a table of residues."""

    answers: np.ndarray  # int64 [N], residues
    groups: tuple[np.ndarray, ...]  # rows of each of GROUPS, int64 [n] each


class Logits(NamedTuple):
    """What the logits of one loop say; see `Fourier` for what the names mean."""

    share: np.ndarray  # float64 [F]
    gini: np.ndarray  # float64 scalar
    loss: np.ndarray  # float64 [G]
    restricted_loss: np.ndarray  # float64 [G]
    excluded_loss: np.ndarray  # float64 [G]
    excluded_by_frequency: np.ndarray  # float64 [F]


class Fourier(NamedTuple):
    """Fourier measures of one set of parameters; G stands for GROUPS.

    Means over a group without pairs are NaN.
    """

    frequency: np.ndarray  # int64 [F], 1 .. F: cycles around the p residues
    # bool [F], of the logits after the last loop, or those that were asked for.
    is_key: np.ndarray
    # float64 [R, F], share of the variance of the logits over pairs and residues that
    # lies along the two waves of the answer.
    share: np.ndarray
    # float64 [F], share of the variance of the residues' embeddings over residues that
    # lies along the two waves of the residue.
    embedding_share: np.ndarray
    # float64 [R], Gini coefficient over F of the norms of the logits' waves: 0 if all
    # are alike, (F - 1) / F if there is only one.
    gini: np.ndarray
    embedding_gini: np.ndarray  # float64 scalar, the same of the embeddings
    loss: np.ndarray  # float64 [R, G], cross-entropy over the residues
    # float64 [R, G], of the logits' mean over pairs and their waves of the key
    # frequencies alone.
    restricted_loss: np.ndarray
    # float64 [R, G], of the logits without their waves of all key frequencies; the
    # paper's is that of `train`.
    excluded_loss: np.ndarray
    # float64 [R, F], of the `train` pairs, without the waves of one frequency each.
    excluded_by_frequency: np.ndarray
    accuracy: np.ndarray  # float64 [R, G], of the largest logit among the residues
    sum_squared_weights: np.ndarray  # float64 scalar, over all parameters


class Progress(NamedTuple):
    """`Fourier` at C checkpoints of a run; keys are those of its embedding at the end.

    Beside `step` and the last two the attributes are those of `Fourier`, with C in
    front of all shapes but that of `is_key`.
    """

    step: np.ndarray  # int64 [C], updates, ascending
    is_key: np.ndarray
    share: np.ndarray
    embedding_share: np.ndarray
    gini: np.ndarray
    embedding_gini: np.ndarray
    loss: np.ndarray
    restricted_loss: np.ndarray
    excluded_loss: np.ndarray
    excluded_by_frequency: np.ndarray
    accuracy: np.ndarray
    sum_squared_weights: np.ndarray
    # float64 [C], mean cosine between the attention weights of two heads of a block.
    head_similarity: np.ndarray
    # float64 [C], deviation over the heads of a block of their weights' mean entropy.
    entropy_spread: np.ndarray


def measure(
    params: recurrent.Params,
    config: ml_collections.ConfigDict,
    table: Table,
    *,
    is_key: np.ndarray | None = None,
) -> Fourier:
    """Measures one set of parameters at every loop, over all pairs.

    Args:
      is_key: bool [F]; None for the key frequencies of the logits after the last loop.

    Raises:
      ValueError: if the task is not addition or subtraction of residues mod an odd
        number of at least 3.
    """
    pairs = pairs_of(config, table)
    modulus = config.task.kwargs.modulus
    logits = _logits(params, config, table)  # [R, N, p]
    share, _ = _waves(_centered(logits[-1]), pairs.answers)
    if is_key is None:
        is_key = key_frequencies(share)
    of_loops = [of_logits(each, pairs, is_key) for each in logits]
    embedding = np.asarray(params["embedding"], np.float64)[1 : 1 + modulus]
    embedding_share, norms = _waves(embedding, np.arange(modulus))
    right = logits.argmax(-1) == pairs.answers[None]  # [R, N]
    return Fourier(
        frequency=1 + np.arange(modulus // 2),
        is_key=is_key,
        embedding_share=embedding_share,
        embedding_gini=gini(norms),
        accuracy=np.stack([_mean(right[:, rows]) for rows in pairs.groups], axis=-1),
        sum_squared_weights=np.array(
            sum(np.square(x, dtype=np.float64).sum() for x in jax.tree.leaves(params))
        ),
        **_stacked(of_loops, Logits._fields),
    )


def progress(
    params_by_step: Mapping[int, recurrent.Params],
    config: ml_collections.ConfigDict,
    table: Table,
) -> Progress:
    """Follows the progress measures of modular addition over a run's checkpoints.

    The key frequencies are those of the residues' embeddings at the last step, so that
    the logits, of which losses are taken, have no part in choosing them. Before the run
    has found them, their waves are noise, and the curves show that.

    Reference of the attention heads: Verma (2026), arXiv:2605.20441, whose two online
    diagnostics these are, of about HEAD_ROWS pairs.

    Raises:
      ValueError: as `measure`, or if there is no checkpoint.
    """
    if not params_by_step:
        raise ValueError("Progress needs at least one checkpoint of the run, got none.")
    steps = sorted(params_by_step)
    is_key = key_frequencies(
        measure(params_by_step[steps[-1]], config, table).embedding_share
    )
    found = [
        measure(params_by_step[step], config, table, is_key=is_key) for step in steps
    ]
    heads = [_heads(params_by_step[step], config, table) for step in steps]
    similarity, spread = np.array(heads).T
    fields = [name for name in Fourier._fields if name in Progress._fields]
    return Progress(
        step=np.array(steps, np.int64),
        head_similarity=similarity,
        entropy_spread=spread,
        is_key=is_key,
        **_stacked(found, [name for name in fields if name != "is_key"]),
    )


def summarize(progress: Progress) -> dict[str, float]:
    """Returns the measures of the last checkpoint after the last loop."""
    return {
        "key_frequencies": float(progress.is_key.sum()),
        "gini": float(progress.gini[-1, -1]),
        "embedding_gini": float(progress.embedding_gini[-1]),
        "sum_squared_weights": float(progress.sum_squared_weights[-1]),
    }


def pairs_of(config: ml_collections.ConfigDict, table: Table) -> Pairs:
    """Returns the answers and splits of all p^2 pairs; ValueError as `measure`."""
    arguments = config.task.kwargs
    if config.task.name != "modular" or arguments.operation not in OPERATIONS:
        operation = f" ({arguments.operation})" if "operation" in arguments else ""
        raise ValueError(
            "fourier needs task.name = modular with task.kwargs.operation "
            f"{' or '.join(OPERATIONS)}, got {config.task.name}{operation}."
        )
    if arguments.modulus % 2 == 0 or arguments.modulus < 3:
        raise ValueError(
            "fourier needs an odd task.kwargs.modulus of at least 3, "
            f"got {arguments.modulus}."
        )
    rows = np.arange(len(table.tokens))
    train, held_out = table.rows_of("train"), table.rows_of("id")
    first, second = table.tokens[:, 0], table.tokens[:, 2]
    is_trained = np.zeros((len(table.vocab),) * 2, bool)
    is_trained[first[train], second[train]] = True
    is_mirrored = is_trained[second[held_out], first[held_out]]
    return Pairs(
        answers=table.targets[:, 0].astype(np.int64) - 1,
        groups=(rows, train, held_out, held_out[is_mirrored], held_out[~is_mirrored]),
    )


def of_logits(logits: np.ndarray, pairs: Pairs, is_key: np.ndarray) -> Logits:
    """Works out what the logits of one loop, [N, p] over the residues, say."""
    logits = _centered(logits)
    share, norms = _waves(logits, pairs.answers)
    mean = logits.mean(axis=0, keepdims=True)  # [1, p]
    # What the waves of each frequency add to the logits of an answer, [F, p, p].
    parts = _parts(logits, pairs.answers)
    along = parts[is_key].sum(axis=0)[pairs.answers]  # [N, p]
    train = pairs.groups[GROUPS.index("train")]
    losses = lambda values: np.array(
        [_loss(values[rows], pairs.answers[rows]) for rows in pairs.groups]
    )
    return Logits(
        share=share,
        gini=gini(norms),
        loss=losses(logits),
        restricted_loss=losses(mean + along),
        excluded_loss=losses(logits - along),
        excluded_by_frequency=np.array(
            [
                _loss(logits[train] - part[pairs.answers[train]], pairs.answers[train])
                for part in parts
            ]
        ),
    )


def key_frequencies(share: np.ndarray) -> np.ndarray:
    """Says which frequencies are keys by their share of the variance [F], bool [F].

    Those that explain at least KEY_SHARE of the variance, and KEY_RATIO times as much
    as a frequency does on average. Where all are used alike, none is a key.
    """
    return (share >= KEY_SHARE) & (share >= KEY_RATIO * share.mean())


def gini(values: np.ndarray) -> np.ndarray:
    """Returns the Gini coefficient of values that are at least 0, a scalar; 0 if all 0.

    Reference: Hurley and Rickard (2009), arXiv:0811.4706, Table I.
    """
    ordered, count = np.sort(values), values.size
    if not ordered.any():
        return np.array(0.0)
    ranks = 2 * np.arange(1, count + 1) - count - 1
    return (ranks * ordered).sum() / (count * ordered.sum())


def _heads(params, config: ml_collections.ConfigDict, table: Table) -> np.ndarray:
    """Similarity and spread of entropy of a block's heads, mean over blocks, [2]."""
    rows = slice(None, None, max(1, len(table.tokens) // HEAD_ROWS))
    weights = attention_weights(
        params,
        (table.tokens[rows], table.answer_positions[rows]),
        presets.model_config(config, table),
        config.recurrence.num_loops,
    )  # [E, B, H, T, T]
    weights = np.moveaxis(np.asarray(weights, np.float64), 2, 1)  # [E, H, B, T, T]
    flat = weights.reshape(*weights.shape[:2], -1)
    flat = flat / np.linalg.norm(flat, axis=-1, keepdims=True)
    cosines = flat @ np.swapaxes(flat, 1, 2)  # [E, H, H]
    apart = ~np.eye(cosines.shape[-1], dtype=bool)
    entropy = special.entr(weights).sum(axis=-1).mean(axis=(2, 3))  # [E, H]
    return np.array([_mean(cosines[:, apart]).mean(), entropy.std(axis=1).mean()])


@functools.partial(jax.jit, static_argnums=(2, 3))
def attention_weights(params, rows: Sequence[Any], model, num_loops: int):
    """Returns whom each head of each block attends to at each loop, for one run."""
    tokens, positions = rows
    return trace.trace(params, tokens, positions, model, num_loops=num_loops).attention


def _stacked(results: Sequence[Any], fields: Iterable[str]) -> dict[str, np.ndarray]:
    return {name: np.stack([getattr(r, name) for r in results]) for name in fields}


def _centered(logits: np.ndarray) -> np.ndarray:
    """Takes off the mean over residues, float64 [N, p]."""
    return logits - logits.mean(axis=1, keepdims=True, dtype=np.float64)


def _basis(modulus: int) -> np.ndarray:
    """Orthonormal waves over the residues, [F, p, 2]: cosine and sine."""
    turns = np.outer(1 + np.arange(modulus // 2), np.arange(modulus)) / modulus
    waves = np.stack([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)], axis=-1)
    return waves * (2 / modulus) ** 0.5


def _by_answer(values: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Mean of values [N, D] over the pairs of each answer, [p, D].

    Every answer has equally many pairs, so a projection on its waves is one of these.
    """
    modulus = answers.max() + 1
    total = np.zeros((modulus, values.shape[1]))
    np.add.at(total, answers, values)
    return total * modulus / answers.size


def _waves(values: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of the variance of values [N, D] along each frequency, and norms, [F]."""
    means = _by_answer(values, answers)
    coefficients = np.einsum("fcw,cd->fwd", _basis(len(means)), means)
    power = np.square(coefficients).sum(axis=(1, 2)) * answers.size / len(means)
    variance = np.square(values - values.mean(axis=0, keepdims=True)).sum()
    share = power / variance if variance else np.zeros_like(power)
    return share, np.sqrt(power)


def _parts(logits: np.ndarray, answers: np.ndarray) -> np.ndarray:
    means = _by_answer(logits, answers)
    basis = _basis(len(means))
    return np.einsum("faw,fcw,cd->fad", basis, basis, means, optimize=True)


def _loss(logits: np.ndarray, answers: np.ndarray) -> float:
    """Mean cross-entropy in float64: a confident model's loss is below float32's."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis=1))
    return float(_mean(total - shifted[np.arange(answers.size), answers]))


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis; NaN if nothing is along it."""
    nothing = np.full(values.shape[:-1], np.nan)
    return values.mean(-1) if values.shape[-1] else nothing


def _logits(params, config: ml_collections.ConfigDict, table: Table) -> np.ndarray:
    model = presets.model_config(config, table)
    logits = _run(
        params,
        (table.tokens, table.answer_positions),
        model,
        config.recurrence.num_loops,
        config.evaluation.batch_size,
    )
    return np.moveaxis(jax.device_get(logits), 0, 1)[
        ..., 1 : 1 + config.task.kwargs.modulus
    ]


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _run(params, rows: Sequence[Any], model, num_loops: int, batch_size: int):

    def of_row(row):
        tokens, positions = (x[None] for x in row)
        states = recurrent.apply(
            params, tokens, positions, model, num_loops=num_loops
        ).states
        read = lambda state: recurrent.readout(params, state, tokens, positions, model)
        return jax.lax.map(read, states)[:, 0, 0]

    return jax.lax.map(
        of_row, tuple(map(jax.numpy.asarray, rows)), batch_size=batch_size
    )
