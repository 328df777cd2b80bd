"""Which attention an answer depends on: what is lost when a head reads a word no more.

References: Geva et al. (2023), arXiv:2304.14767, for attention knockout, and Biran et
al. (2024), arXiv:2406.12775, who use it on two-hop questions; Wang et al. (2024),
arXiv:2405.15071, Figure 4, for the circuit: r1 reads h, then the answer's position r1.
An *edge* is what query t gets from key s. A head in which it is cut gives the query's
weight to its other keys, in proportion, as if this one were masked: its output stays a
mean of values. Zeros, or a mean over questions, in place of a whole head would be an
input that no block was trained on, and would not say which word was read.
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


class Knockout(NamedTuple):
    """Shares of the answered questions that are not answered with an edge cut.

    G are the groups of `questions.GROUPS`; only questions that the whole model answers
    count, without any it is NaN. P are the edges between h, r1, r2 and the position
    where the answer is read, R the loops of the pass.
    """

    head: np.ndarray  # float64 [G, E, H, P], cut in one head of block 0 .. E - 1
    in_loop: np.ndarray  # float64 [G, R, P], in all heads of the core in one loop
    in_others: np.ndarray  # float64 [G, R, P], in all loops but this one
    query: np.ndarray  # int64 [P], position of each edge's query
    key: np.ndarray  # int64 [P], of its key
    accuracy: np.ndarray  # float64 [G], of the whole model
    rows: np.ndarray  # int64 [G], questions that count
    answer_position: np.ndarray  # int64 scalar, where the answer is read
    stage: np.ndarray  # int64 [E], index into `trace.STAGES`
    loop: np.ndarray  # int64 [E], of the block from 1; 0 outside the core
    block: np.ndarray  # int64 [E], number of the block in its stage from 1


def measure(
    params: recurrent.Params,
    config: ml_collections.ConfigDict,
    table: tasks.Table,
    *,
    per_group: int = 200,
    num_loops: int | None = None,
    batch_size: int = 128,
) -> Knockout:
    """Cuts every edge in every head of the pass, and in all heads loop by loop.

    The pass has `num_loops` loops, None for those of training. ValueError as
    `questions.sample`.
    """
    model = presets.model_config(config, table)
    loops = config.recurrence.num_loops if num_loops is None else num_loops
    asked = questions.sample(table, per_group)
    answer = int(asked.answer_positions[0, 0])
    words = sorted({*range(questions.SECOND + 1), answer})
    query, key = np.array([(t, s) for t in words for s in words if s < t]).T
    places = trace.places(model, loops)
    loop = np.array([(p.loop + 1) * (p.stage == "core") for p in places])
    cuts = _cuts(loop, model.num_heads)
    right, without = questions.in_chunks(
        functools.partial(
            _answers, params, cuts=cuts, edges=(query, key), config=model,
            num_loops=loops,
        ),
        batch_size,
        asked.tokens,
        asked.answer_positions,
        asked.targets,
    )  # fmt: skip  # [N], [N, C * P]
    lost = questions.average(~without[right], asked.group[right])
    lost = lost.reshape(len(lost), -1, query.size)  # [G, C, P]
    in_heads = len(places) * model.num_heads
    in_loop, in_others = np.split(lost[:, in_heads:], 2, axis=1)
    return Knockout(
        head=lost[:, :in_heads].reshape(
            len(lost), len(places), model.num_heads, query.size
        ),
        in_loop=in_loop,
        in_others=in_others,
        query=query,
        key=key,
        accuracy=questions.average(right, asked.group),
        rows=questions.count(asked.group[right]),
        answer_position=np.array(answer),
        stage=np.array([trace.STAGES.index(place.stage) for place in places]),
        loop=loop,
        block=np.array([place.block + 1 for place in places]),
    )


def hops(knockout: Knockout) -> tuple[int, int]:
    """Returns which edges, of P, the two hops need: r1 from h, the answer from r1."""
    pairs = list(zip(knockout.query.tolist(), knockout.key.tolist(), strict=True))
    answer = int(knockout.answer_position)
    first, second = (questions.FIRST, questions.HEAD), (answer, questions.FIRST)
    return pairs.index(first), pairs.index(second)


def summarize(knockout: Knockout) -> dict[str, float]:
    """Returns the most that is lost with a hop's edge cut in a head, or in a loop."""
    return {
        f"{name} cut in a {where}, {group}": lost[index, ..., edge].max()
        for name, edge in zip(("r1 to h", "answer to r1"), hops(knockout), strict=True)
        for where, lost in (("head", knockout.head), ("loop", knockout.in_loop))
        for index, group in enumerate(questions.GROUPS)
    }


def _cuts(loop: np.ndarray, num_heads: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the blocks, bool [C, E], and heads, bool [C, H], of C cuts.

    First each head of each block, then all heads of each loop, then of all but it.
    """
    num_blocks = len(loop)
    each = np.arange(1, loop.max() + 1)[:, None]
    blocks = [
        np.repeat(np.eye(num_blocks, dtype=bool), num_heads, axis=0),
        loop == each,
        (loop > 0) & (loop != each),
    ]
    heads = [
        np.tile(np.eye(num_heads, dtype=bool), (num_blocks, 1)),
        np.ones((2 * len(each), num_heads), bool),
    ]
    return np.concatenate(blocks), np.concatenate(heads)


@functools.partial(jax.jit, static_argnames=("config", "num_loops"))
def _answers(
    params, tokens, positions, targets, *, cuts, edges, config: ModelConfig,
    num_loops: int,
):  # fmt: skip
    """Says which answers are right: bool [B], and with each edge cut [B, C * P]."""
    place = jnp.arange(tokens.shape[1])

    def right(kept):
        traced = trace.trace(
            params, tokens, positions, config, num_loops=num_loops, kept=kept
        )
        return traced.logits[:, 0].argmax(axis=-1) == targets

    def without(site):
        blocks, heads, query, key = site
        edge = (place == query)[:, None] & (place == key)[None]  # [T, T]
        cut = blocks[:, None] & heads[None]  # [E, H]
        return right(~(cut[:, :, None, None] & edge[None, None]))

    blocks, heads = (jnp.repeat(each, len(edges[0]), axis=0) for each in cuts)
    query, key = (jnp.tile(each, len(cuts[0])) for each in edges)
    return right(None), jax.lax.map(without, (blocks, heads, query, key)).T
