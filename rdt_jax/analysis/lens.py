"""Which entity can be read off every state on the way: the logit lens.

References: Kohli et al. (2026), arXiv:2604.07822, Section 5.2 and Figure 4; Wang et al.
(2024), arXiv:2405.15071, Figure 4, for the reciprocal rank. A state is given to the
final norm and the output matrix as if it were the last one; a coda is not run on it.
What a lens reads proves nothing alone: beside it stand what it reads off the embedding,
at effective depth 0, and off the same model before any update.
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
from rdt_jax.training import pack

VERSION = 2  # of the results; a change of their numbers is another one

WHAT = ("bridge", "target")
CONTROLS = ("embedding alone", "untrained")


class Lens(NamedTuple):
    """What is decoded at each effective depth 0 .. E and position 0 .. T - 1.

    G are the groups of `questions.GROUPS`, W is `WHAT`; groups without rows are NaN.
    Ranks are among all words; equal logits count against the word that is looked for.
    """

    # float64 [G, W, E + 1, T], share of rows in which the word ranks first.
    accuracy: np.ndarray
    reciprocal_rank: np.ndarray  # float64 [G, W, E + 1, T], mean of 1 / rank
    median_rank: np.ndarray  # float64 [G, W, E + 1, T], from 1
    # float64 [G, W, E + 1, T], `accuracy` of the parameters that the run began with.
    untrained: np.ndarray
    answer_position: np.ndarray  # int64 scalar, where the answer is read
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
) -> Lens:
    """Decodes bridge and target of two-hop questions from every state of the pass.

    The pass has `num_loops` loops, None for those of training. ValueError as
    `questions.sample`.
    """
    model = presets.model_config(config, table)
    loops = config.recurrence.num_loops if num_loops is None else num_loops
    asked = questions.sample(table, per_group)
    read = lambda params: questions.in_chunks(
        functools.partial(_ranks, params, config=model, num_loops=loops),
        batch_size,
        asked.tokens,
        asked.answer_positions,
        np.stack([asked.bridges, asked.targets], axis=1),
    )  # [N, W, E + 1, T]
    ranks = read(params)
    draw = jax.jit(pack.draw, static_argnames="model")
    untrained = read(draw(config.seed, config.model.init_scale, model))
    places = trace.places(model, loops)
    median = np.full((len(questions.GROUPS), *ranks.shape[1:]), np.nan)
    for group in np.unique(asked.group):
        median[group] = np.median(ranks[asked.group == group], axis=0)
    return Lens(
        accuracy=questions.average(ranks == 1, asked.group),
        reciprocal_rank=questions.average(1 / ranks, asked.group),
        median_rank=median,
        untrained=questions.average(untrained == 1, asked.group),
        answer_position=np.array(asked.answer_positions[0, 0]),
        rows=questions.count(asked.group),
        stage=np.array([0, *(trace.STAGES.index(place.stage) for place in places)]),
        loop=np.array([0, *((p.loop + 1) * (p.stage == "core") for p in places)]),
        block=np.array([0, *(place.block + 1 for place in places)]),
    )


def where_looked_for(lens: Lens, values: np.ndarray) -> np.ndarray:
    """Picks the bridge at r1, and the target where the answer is read.

    The values are as `accuracy`, [G, W, E + 1, T], those returned [G, W, E + 1].
    """
    positions = (questions.FIRST, int(lens.answer_position))
    return np.stack([values[:, w, :, t] for w, t in enumerate(positions)], axis=1)


def bridge_at_r1(lens: Lens) -> np.ndarray:
    """Returns the accuracy of the bridge at r1, float64 [G, E + 1]."""
    return where_looked_for(lens, lens.accuracy)[:, WHAT.index("bridge")]


def target_at_answer(lens: Lens) -> np.ndarray:
    """Returns the accuracy of the target where the answer is read, [G, E + 1]."""
    return where_looked_for(lens, lens.accuracy)[:, WHAT.index("target")]


def controls(lens: Lens) -> np.ndarray:
    """Returns what is read without training or without blocks, float64 [G, W, C].

    C are CONTROLS: off the embedding alone, and the most at any depth of the model that
    was not trained; the bridge at r1, the target where the answer is read.
    """
    alone = where_looked_for(lens, lens.accuracy)[..., 0]
    untrained = where_looked_for(lens, lens.untrained).max(axis=-1)
    return np.stack([alone, untrained], axis=-1)


def excess(lens: Lens, what: str) -> np.ndarray:
    """Returns an accuracy less the greater of its controls, float64 [G, E + 1].

    `what` is `bridge`, at r1, or `target`, where the answer is read.
    """
    index = WHAT.index(what)
    accuracy = where_looked_for(lens, lens.accuracy)[:, index]
    return accuracy - controls(lens)[:, index].max(axis=-1, keepdims=True)


def first_depth(accuracy: np.ndarray, level: float) -> float:
    """Returns the first depth at which [E + 1] accuracies reach a level, else inf."""
    reached = np.flatnonzero(accuracy >= level)
    return float(reached[0]) if reached.size else np.inf


def summarize(lens: Lens) -> dict[str, float]:
    """Returns the best accuracy over depths, and its controls, by group."""
    best = np.stack([bridge_at_r1(lens), target_at_answer(lens)], 1).max(axis=-1)
    numbers = np.concatenate([best[..., None], controls(lens)], axis=-1)
    return {
        f"{name}, {group}{control}": numbers[g, w, c]
        for w, name in enumerate(("bridge at r1", "target"))
        for g, group in enumerate(questions.GROUPS)
        for c, control in enumerate(("", *(f", {name}" for name in CONTROLS)))
    }


@functools.partial(jax.jit, static_argnames=("config", "num_loops"))
def _ranks(
    params, tokens, answer_positions, words, *, config: ModelConfig, num_loops: int
):
    """Ranks `words` [B, W] at every depth and position, int32 [B, W, E + 1, T]."""
    traced = trace.trace(params, tokens, answer_positions, config, num_loops=num_loops)
    states = jnp.concatenate([traced.embedded[None], traced.after])  # [E + 1, B, T, D]
    return jax.lax.map(
        lambda state: rank(recurrent.unembed(params, state, config), words), states
    ).transpose(1, 2, 0, 3)


def rank(logits: jax.Array, words: jax.Array) -> jax.Array:
    """Ranks words int32 [B, W] by logits [B, T, V], from 1: int32 [B, W, T].

    Ties and what is no number count against them.
    """
    of = lambda logits, words: logits[:, words].T  # [W, T]
    own = jax.vmap(of)(logits, words)
    below = logits[:, None] < own[..., None]  # [B, W, T, V]
    return logits.shape[-1] - below.sum(axis=-1, dtype=jnp.int32)
