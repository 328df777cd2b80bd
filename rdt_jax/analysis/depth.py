"""What accuracy becomes with the hops of a question and the loops at inference.

References: Kohli et al. (2026), arXiv:2604.07822, Section 6 and Figures 5 and 8; the
change of the state by a further loop as in Geiping et al. (2025), arXiv:2502.05171.

Shapes: N rows, H numbers of hops, M loop counts, A answers of a row.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from rdt_jax.data import batches
from rdt_jax.models import components, cost, loop, presets, recurrent
from rdt_jax.models.recurrent import Params
from rdt_jax.tasks import Table
from rdt_jax.training import losses

VERSION = 1  # of the results; a change of their numbers is another one

ROWS = 750  # of each number of hops, as Kohli et al. evaluate
LOOPS = 24  # three times the most that they train with
FAR = 50  # loops to which they follow margins (Figure 8)

_HELD_OUT = ("id", "depth")
BATCH_BYTES = 2**27  # of what a batch keeps of all its loops, at the most


class Depth(NamedTuple):
    """Answers after every loop, row by row and by number of hops."""

    row: np.ndarray  # int64 [N], of the table; by ascending hops
    hops: np.ndarray  # int64 [N], of each row
    correct: np.ndarray  # bool [N, M], all answers right
    # float32 [N, M], logit of the target less the largest other one, the mean over a
    # row's answers.
    margin: np.ndarray
    # float32 [N, M], by how much one more loop moves the state at the answers, as a
    # share of its L2 norm; 0 at a fixed point.
    change: np.ndarray
    levels: np.ndarray  # int64 [H], the numbers of hops, ascending
    loops: np.ndarray  # int64 [M], 1 to M
    num_rows: np.ndarray  # int64 [H]
    accuracy: np.ndarray  # float64 [H, M]
    mean_margin: np.ndarray  # float64 [H, M]
    mean_change: np.ndarray  # float64 [H, M]
    # float64 [H], the mean over rows that are ever right of the first loop at which
    # they are; nan where none is.
    first_hit: np.ndarray
    hit: np.ndarray  # float64 [H], rows that are ever right
    # int64 [H, M], operations of the forward pass of a row, at the least.
    flops: np.ndarray


def measure(
    params: Params,
    config: ml_collections.ConfigDict,
    table: Table,
    *,
    num_loops: int | None = None,
    rows: int = ROWS,
) -> Depth:
    """Answers held-out rows of every number of hops after every loop.

    Args:
      num_loops: M; None for LOOPS, or for twice the most loops of training where that
        is more.
      rows: most rows of each number of hops, the first by a fixed permutation.

    Raises:
      ValueError: if the table has no such tag, or the model cannot run so many loops.
    """
    if num_loops is None:
        num_loops = max(LOOPS, 2 * most_loops(config))
    row, hops = sample(config, table, rows)
    correct, margin, change = _trajectories(
        params, presets.model_config(config, table), table, row, num_loops
    )
    return assemble(
        row=row,
        hops=hops,
        correct=correct,
        margin=margin,
        change=change,
        flops=forward_flops(config, table, row, hops, num_loops),
    )


def measure_far(
    params: Params, config: ml_collections.ConfigDict, table: Table
) -> Depth:
    """What becomes of answers as the model loops on to 50 loops: `depth`, as far.

    ValueError as `measure`.
    """
    return measure(params, config, table, num_loops=FAR)


def assemble(
    *,
    row: np.ndarray,
    hops: np.ndarray,
    correct: np.ndarray,
    margin: np.ndarray,
    change: np.ndarray,
    flops: np.ndarray,
) -> Depth:
    """Completes what was measured row by row with what it is by number of hops."""
    levels, num_rows = np.unique(hops, return_counts=True)
    first = first_hits(correct)
    hits = [first[(hops == level) & (first > 0)] for level in levels]
    return Depth(
        row=row,
        hops=hops,
        correct=correct,
        margin=margin,
        change=change,
        levels=levels,
        loops=np.arange(1, correct.shape[1] + 1),
        num_rows=num_rows,
        accuracy=by_hops(correct, hops),
        mean_margin=by_hops(margin, hops),
        mean_change=by_hops(change, hops),
        first_hit=np.array([part.mean() if part.size else np.nan for part in hits]),
        hit=np.array([part.size for part in hits]) / num_rows,
        flops=flops,
    )


def summary(depth: Depth) -> dict[str, float]:
    """Returns the accuracy by hops after the loops that are best for all of them.

    The loops are those with the highest mean accuracy over the numbers of hops.
    """
    best = int(depth.accuracy.mean(axis=0).argmax())
    scores = {
        f"accuracy, {hops} hops": float(score)
        for hops, score in zip(depth.levels, depth.accuracy[:, best], strict=True)
    }
    return {"loops": float(depth.loops[best]), **scores}


def sample(
    config: ml_collections.ConfigDict, table: Table, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns held-out rows and their hops, int64 [N] each, by ascending hops.

    Of each number of hops these are the first ones of a fixed permutation, so that any
    split of them by position is a random one.

    Raises:
      ValueError: if the table has no tag for the hops, or no held-out row, or the model
        is another one in passes of other lengths.
    """
    components.check_any_length(config.model)
    tag = config.curriculum.by or "hops"
    if tag not in table.tags:
        raise ValueError(
            f"Depth is measured by the tag {tag!r} (curriculum.by, else hops); task "
            f"{config.task.name} has {', '.join(table.tags) or 'no tags'}."
        )
    held_out = np.concatenate([table.rows_of(split) for split in _HELD_OUT])
    if not held_out.size:
        raise ValueError(
            f"Depth is measured on rows of {' and '.join(_HELD_OUT)}; the table of "
            f"{config.task.name} has none."
        )
    order = np.random.default_rng(config.task.seed).permutation(held_out)
    levels = np.unique(table.tags[tag][order])
    chosen = [order[table.tags[tag][order] == level][:rows] for level in levels]
    row = np.concatenate(chosen).astype(np.int64)
    return row, table.tags[tag][row].astype(np.int64)


def most_loops(config: ml_collections.ConfigDict) -> int:
    """Returns the largest loop count that training may have used."""
    return loop.loop_distribution(config.recurrence).size - 1


def forward_flops(
    config: ml_collections.ConfigDict,
    table: Table,
    row: np.ndarray,
    hops: np.ndarray,
    num_loops: int,
) -> np.ndarray:
    """Counts what the longest row of each number of hops needs, int64 [H, M]."""
    model = presets.model_config(config, table)
    lengths = batches.lengths_of(table)[row]
    return np.array(
        [
            [
                cost.passes(
                    model,
                    num_loops=count,
                    length=int(lengths[hops == level].max()),
                    num_answers=table.targets.shape[1],
                ).forward
                for count in range(1, num_loops + 1)
            ]
            for level in np.unique(hops)
        ],
        np.int64,
    )


def batched(
    table: Table, row: np.ndarray, length: int, row_bytes: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Lays out rows int64 [N] of a table in batches that fit in a bounded memory.

    The last row is repeated to fill the last batch. `length` is T, `row_bytes` the
    memory that a row of a batch needs.

    Returns:
      tokens [batches, B, T], answer positions and targets [batches, B, A].
    """
    size = max(1, min(row.size, BATCH_BYTES // row_bytes))
    padded = np.pad(row, (0, -row.size % size), mode="edge").reshape(-1, size)
    return (
        jnp.asarray(table.tokens[padded, :length]),
        jnp.asarray(table.answer_positions[padded]),
        jnp.asarray(table.targets[padded]),
    )


def first_hits(correct: np.ndarray) -> np.ndarray:
    """Returns the first loop at which each row is right, int64 [N]; 0 for none."""
    return np.where(correct.any(axis=1), correct.argmax(axis=1) + 1, 0)


def by_hops(values: np.ndarray, hops: np.ndarray) -> np.ndarray:
    """Returns the mean over the rows of each number of hops, [N, ..] to [H, ..]."""
    return np.stack(
        [values[hops == level].mean(axis=0, dtype=float) for level in np.unique(hops)]
    )


def _trajectories(params, model, table: Table, row: np.ndarray, num_loops: int):
    """Scores rows [N] after loops 1 to M: correct, margin and change, [N, M] each."""
    length = int(batches.lengths_of(table)[row].max())
    batch = batched(table, row, length, 4 * (num_loops + 1) * length * model.width)
    scored = _score_batches(params, batch, model, num_loops)
    return tuple(
        np.asarray(values).transpose(0, 2, 1).reshape(-1, num_loops)[: row.size]
        for values in scored
    )


@functools.partial(jax.jit, static_argnames=("model", "num_loops"))
def _score_batches(params, batches, model, num_loops: int):
    # Compiled once for all checkpoints of a run.
    return jax.lax.map(lambda batch: _score(params, batch, model, num_loops), batches)


def _score(params, batch, model, num_loops: int):
    tokens, positions, targets = batch
    states = recurrent.apply(
        params, tokens, positions, model, num_loops=num_loops + 1
    ).states  # [M + 1, B, T, D]
    exists = targets >= 0
    mean = lambda x: (x * exists).sum(-1) / jnp.maximum(exists.sum(-1), 1)
    target = jnp.where(exists, targets, 0)[..., None]
    is_target = jnp.arange(model.vocab_size)[None, None] == target

    def read(state):
        logits = recurrent.readout(params, state, tokens, positions, model)
        others = jnp.where(is_target, -jnp.inf, logits).max(-1)
        at_target = jnp.take_along_axis(logits, target, axis=-1)[..., 0]
        return losses.answers_correct(logits, targets), mean(at_target - others)

    correct, margin = jax.lax.map(read, states[:-1])
    index = jnp.arange(tokens.shape[0])[:, None]
    answers = states[:, index, positions].astype(jnp.float32)  # [M + 1, B, A, D]
    moved = jnp.linalg.norm(answers[1:] - answers[:-1], axis=-1)
    norm = jnp.maximum(jnp.linalg.norm(answers[:-1], axis=-1), 1e-30)
    return correct, margin, jax.vmap(mean)(moved / norm)
