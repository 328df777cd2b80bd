"""How states are laid out: is a retrieved bridge the entity that it names?

References: Kornblith et al. (2019), arXiv:1905.00414, Section 3, for linear CKA; Roy
and Vetterli (2007), "The effective rank", for effective rank. Alignment and its
baseline are our own measures. Directions are compared after the mean over rows, or
entities, is taken off, since all states of a position share a large part.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from rdt_jax import tasks
from rdt_jax.analysis import questions
from rdt_jax.models import presets, recurrent, trace
from rdt_jax.models.architecture import ModelConfig

VERSION = 1  # of the results; a change of their numbers is another one

POSITIONS = ("r1", "answer")


class Geometry(NamedTuple):
    """Layout of the states at effective depth 0 .. E on two-hop questions.

    G are the groups of `questions.GROUPS`; groups without rows are NaN. P is POSITIONS.
    """

    # float64 [G, E + 1], mean cosine of the state at r1 with the bridge's embedding.
    to_embedding: np.ndarray
    # float64 [G, E + 1], with those of all other entities.
    to_other_embeddings: np.ndarray
    # float64 [G, E + 1], mean cosine of the state at r1 with the state, at the same
    # depth, of the bridge as a subject h.
    to_subject: np.ndarray
    # float64 [G, E + 1], with those of all other entities.
    to_other_subjects: np.ndarray
    # float64 [E + 1], mean over entities of the cosine between their mean state as a
    # bridge of OOD questions and of train and ID ones.
    ood_to_practiced: np.ndarray
    # float64 [E + 1], with the mean states of other entities in train and ID questions.
    ood_to_others: np.ndarray
    # float64 [P, E + 1, E + 1], linear CKA between depths, over all questions.
    cka: np.ndarray
    effective_rank: np.ndarray  # float64 [P, E + 1], of the states of all questions
    rows: np.ndarray  # int64 [G], questions behind each number
    # int64 [E + 1], index into `trace.STAGES` of the block that made the state.
    stage: np.ndarray
    loop: np.ndarray  # int64 [E + 1], its loop from 1; 0 outside the core
    # int64 [E + 1], its number in the stage from 1; 0 for the embedding.
    block: np.ndarray


def measure(
    params: recurrent.Params,
    config: ml_collections.ConfigDict,
    table: tasks.Table,
    *,
    per_group: int = 500,
    num_loops: int | None = None,
    batch_size: int = 256,
) -> Geometry:
    """Measures the states of two-hop questions, and of every entity as a subject.

    The pass has `num_loops` loops, None for those of training. ValueError as
    `questions.sample`.
    """
    model = presets.model_config(config, table)
    loops = config.recurrence.num_loops if num_loops is None else num_loops
    asked = questions.sample(table, per_group)
    entities = questions.entities(table)
    run = functools.partial(_states, params, config=model, num_loops=loops)
    states = questions.in_chunks(run, batch_size, asked.tokens, asked.answer_positions)
    # A causal model's state of the first word depends on that word alone.
    alone = np.zeros((entities.size, asked.tokens.shape[1]), np.int32)
    alone[:, questions.HEAD] = entities
    subjects = questions.in_chunks(
        run, batch_size, alone, np.zeros((entities.size, 1), np.int32)
    )[:, :, 0]  # [entities, E + 1, D]
    at_first = states[:, :, 1]  # [N, E + 1, D]
    own = entities[None] == asked.bridges[:, None]  # [N, entities]
    embeddings = np.asarray(params["embedding"], np.float64)[entities]
    depths = range(at_first.shape[1])
    to_embedding = np.stack([cosines(at_first[:, d], embeddings) for d in depths], 1)
    to_subject = np.stack([cosines(at_first[:, d], subjects[:, d]) for d in depths], 1)
    places = trace.places(model, loops)
    ood, others = _ood_to_practiced(at_first, asked)
    ends = states[:, :, 1:].transpose(2, 1, 0, 3)  # [P, E + 1, N, D]
    embedding = _own_and_others(to_embedding, own, asked.group)
    subject = _own_and_others(to_subject, own, asked.group)
    return Geometry(
        to_embedding=embedding[0],
        to_other_embeddings=embedding[1],
        to_subject=subject[0],
        to_other_subjects=subject[1],
        ood_to_practiced=ood,
        ood_to_others=others,
        cka=np.stack([[[cka(x, y) for y in part] for x in part] for part in ends]),
        effective_rank=np.array([[effective_rank(x) for x in part] for part in ends]),
        rows=questions.count(asked.group),
        stage=np.array([0, *(trace.STAGES.index(place.stage) for place in places)]),
        loop=np.array([0, *((p.loop + 1) * (p.stage == "core") for p in places)]),
        block=np.array([0, *(place.block + 1 for place in places)]),
    )


def alignment(geometry: Geometry) -> np.ndarray:
    """Returns the cosine of r1 with its bridge, less that with others, [G, E + 1]."""
    return geometry.to_embedding - geometry.to_other_embeddings


def summarize(geometry: Geometry) -> dict[str, float]:
    """Returns the best alignment over depths, by group, and the ranks at the end."""
    best = alignment(geometry).max(axis=1)
    names = (f"bridge alignment, {group}" for group in questions.GROUPS)
    ranks = zip(POSITIONS, geometry.effective_rank[:, -1].tolist(), strict=True)
    return dict(zip(names, best.tolist(), strict=True)) | {
        f"effective rank at {position}": rank for position, rank in ranks
    }


def cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the cosines of the centered rows of [N, D] and of [M, D], float64 [N, M].

    A row that is the mean of its like has no direction, and cosine 0.
    """
    return _unit(x) @ _unit(y).T


def cka(x: np.ndarray, y: np.ndarray) -> float:
    """Returns the linear CKA of two layouts of the same rows, [N, D] and [N, E].

    Reference: Kornblith et al. (2019), equation 4 with linear kernels. It is in
    [0, 1], and the same after any rotation, scaling or shift of either. Constant
    rows give NaN.
    """
    x, y = _centered(x), _centered(y)
    scale = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(x.T @ y) ** 2 / scale) if scale > 0 else np.nan


def effective_rank(x: np.ndarray) -> float:
    """Returns exp of the entropy of the normalized singular values of centered [N, D].

    Reference: Roy and Vetterli (2007), Section 2. From 1 to min(N - 1, D); constant
    rows give NaN.
    """
    values = np.linalg.svd(_centered(x), compute_uv=False)
    if not values.sum() > 0:
        return np.nan
    share = values / values.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def _centered(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    return x - x.mean(axis=0)


def _unit(x: np.ndarray) -> np.ndarray:
    x = _centered(x)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, length, out=np.zeros_like(x), where=length > 0)


def _own_and_others(cosine: np.ndarray, own: np.ndarray, group: np.ndarray):
    """Averages [N, E + 1, M] over what is marked in [N, M] and over the rest."""
    mine = np.where(own[:, None], cosine, 0).sum(axis=-1)
    rest = (cosine.sum(axis=-1) - mine) / (own.shape[1] - 1)
    return questions.average(mine, group), questions.average(rest, group)


def _ood_to_practiced(states: np.ndarray, asked: questions.Questions):
    """Compares mean states of bridges, [N, E + 1, D] to two arrays [E + 1]."""
    ood = asked.group == questions.GROUPS.index("ood")
    shared = np.intersect1d(asked.bridges[~ood], asked.bridges[ood])
    if shared.size < 2:
        return 2 * (np.full(states.shape[1], np.nan),)
    mean = lambda part: np.stack(
        [states[part & (asked.bridges == b)].mean(axis=0) for b in shared], axis=1
    )  # [E + 1, entities, D]
    pairs = [cosines(x, y) for x, y in zip(mean(ood), mean(~ood), strict=True)]
    same = np.array([np.diag(pair).mean() for pair in pairs])
    every = np.array([pair.mean() for pair in pairs])
    return same, (every * shared.size - same) / (shared.size - 1)


@functools.partial(jax.jit, static_argnames=("config", "num_loops"))
def _states(params, tokens, positions, *, config: ModelConfig, num_loops: int):
    """Returns the states at h, r1 and the answer, float32 [B, E + 1, 3, D]."""
    traced = trace.trace(params, tokens, positions, config, num_loops=num_loops)
    states = jnp.concatenate([traced.embedded[None], traced.after])
    last = jnp.take_along_axis(states, positions[None, :, :, None], axis=2)
    states = jnp.concatenate([states[:, :, : questions.SECOND], last], axis=2)
    return jnp.moveaxis(states, 0, 1).astype(jnp.float32)
