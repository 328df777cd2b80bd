"""Who attends to whom, block by block: how a question's parts are bound together.

Reference: Wang et al. (2024), arXiv:2405.15071, Figure 4: the circuit
of a two-hop question fetches the bridge at r1, from h, and then the target where the
answer is read, from r1.
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


class Binding(NamedTuple):
    """Attention on two-hop questions by block 0 .. E - 1 of the pass and head.

    G are the groups of `questions.GROUPS`; groups without rows are NaN. A query of
    position t sees keys 0 .. t.
    """

    # float64 [G, E, H, T, T], mean weight that query t gives to key s.
    attention: np.ndarray
    # float64 [G, E, H, T, T], share of rows in which key s has the most weight.
    chosen: np.ndarray
    entropy: np.ndarray  # float64 [G, E, H, T], mean entropy of a query's weights, nats
    answer_position: np.ndarray  # int64 scalar, where the answer is read
    rows: np.ndarray  # int64 [G], questions behind each number
    stage: np.ndarray  # int64 [E], index into `trace.STAGES`
    loop: np.ndarray  # int64 [E], of the block from 1; 0 outside the core
    block: np.ndarray  # int64 [E], number of the block in its stage from 1


def measure(
    params: recurrent.Params,
    config: ml_collections.ConfigDict,
    table: tasks.Table,
    *,
    per_group: int = 500,
    num_loops: int | None = None,
    batch_size: int = 256,
) -> Binding:
    """Measures the attention of every block on two-hop questions.

    Args:
      num_loops: loops of the pass; None for those of training.

    Raises:
      ValueError: if the table has no two-hop questions with known bridges.
    """
    model = presets.model_config(config, table)
    loops = config.recurrence.num_loops if num_loops is None else num_loops
    asked = questions.sample(table, per_group)
    weights, entropy = questions.in_chunks(
        functools.partial(_attention, params, config=model, num_loops=loops),
        batch_size,
        asked.tokens,
        asked.answer_positions,
    )
    places = trace.places(model, loops)
    first = weights.argmax(axis=-1)[..., None] == np.arange(weights.shape[-1])
    return Binding(
        attention=questions.average(weights, asked.group),
        chosen=questions.average(first, asked.group),
        entropy=questions.average(entropy, asked.group),
        answer_position=np.array(asked.answer_positions[0, 0]),
        rows=questions.count(asked.group),
        stage=np.array([trace.STAGES.index(place.stage) for place in places]),
        loop=np.array([(p.loop + 1) * (p.stage == "core") for p in places]),
        block=np.array([place.block + 1 for place in places]),
    )


def retrieval(binding: Binding) -> tuple[np.ndarray, np.ndarray]:
    """Scores the two hops of the circuit, float64 [G, E, H] each.

    Returns:
      The weight that r1 gives to h, and the one that the answer's position gives to
      r1, where the bridge stands once it is fetched.
    """
    first = binding.attention[..., questions.FIRST, questions.HEAD]
    second = binding.attention[..., int(binding.answer_position), questions.FIRST]
    return first, second


def summarize(binding: Binding) -> dict[str, float]:
    """Returns the most that any head gives to each hop's source, by group."""
    hops = zip(("r1 to h", "answer to r1"), retrieval(binding), strict=True)
    return {
        f"{name}, {group}": score[index].max()
        for name, score in hops
        for index, group in enumerate(questions.GROUPS)
    }


@functools.partial(jax.jit, static_argnames=("config", "num_loops"))
def _attention(params, tokens, positions, *, config: ModelConfig, num_loops: int):
    """Returns weights [B, E, H, T, T] and their entropy [B, E, H, T], float32."""
    traced = trace.trace(params, tokens, positions, config, num_loops=num_loops)
    weights = jnp.moveaxis(traced.attention.astype(jnp.float32), 0, 1)
    return weights, jax.scipy.special.entr(weights).sum(axis=-1)
