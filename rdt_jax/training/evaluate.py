"""What is measured of a model: on which rows, at which loop counts and steps.

Every number is a mean over the rows of a group at a loop count r:

  accuracy          rows with all their answers right
  loss              softmax cross-entropy in nats without smoothing, in float32,
                    whatever is trained, so that runs compare
  margin            logit of the target less the largest other one (Kohli et al. 2026,
                    arXiv:2604.07822, Figure 8)
  hit               rows that were right after any of the loops 1 to r
  first_hit         the first loop whose answer was right; a row that was not right up
                    to loop r counts r + 1. Their mean over rows that are ever right is
                    (first_hit - (1 - hit) (r + 1)) / hit.
  kl                KL(p_r || p_(r-1)) between the answers of successive loops in nats,
                    from r = 2
  logit_scale       standard deviation of a row's logits over the vocabulary
  softmax_collapse  answers at which the dtype of the training loss adds nothing to the
                    largest exponential, so that a right one has no loss and no gradient
                    left (Prieto et al. 2025, arXiv:2501.04697, Section 3)

All loop counts are read from the longest pass, or with model.branch_scale pass_loops
each from a pass of its own.

A row with several answers counts with their mean. What a model reports of itself
(`Outputs.statistics`: halting, routers) is averaged likewise, under its own names.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from rdt_jax.data import batches
from rdt_jax.models import recurrent
from rdt_jax.tasks import SPLITS, Table
from rdt_jax.training import losses

SCHEDULES = ("uniform", "log")
TRAIN_ONLY = ("logit_scale", "softmax_collapse")  # Recorded of the train rows alone.


class Rows(NamedTuple):
    """Rows to evaluate, all of one length, in batches."""

    tokens: jax.Array  # int32 [batches, B, T]
    answer_positions: jax.Array  # int32 [batches, B, A]
    targets: jax.Array  # int32 [batches, B, A]
    # float32 [batches * B, G], 1 where a row is in a group; padding is in none
    member: jax.Array


def loops_of(config: ml_collections.ConfigDict) -> tuple[int, ...]:
    """Returns the loop counts that are recorded, ascending."""
    recurrence = config.recurrence
    return tuple(sorted({recurrence.num_loops, *recurrence.eval_loops}))


def next_step(config: ml_collections.ConfigDict, step: int) -> int:
    """Returns the first step of an evaluation after `step`; -1 gives step 0.

    `uniform` evaluates every `eval_every_steps` updates. `log` adds
    `evaluation.per_decade` steps for each factor of ten, evenly spaced in their
    logarithm, as far as these lie closer together than `eval_every_steps`.
    """
    every = config.eval_every_steps
    uniform = (step // every + 1) * every
    if config.evaluation.schedule == "uniform" or step < 0:
        return uniform
    factor = 10 ** (1 / config.evaluation.per_decade)
    power = 0
    while round(factor**power) <= step:
        power += 1
    spaced = factor**power
    return min(uniform, round(spaced)) if spaced * (factor - 1) < every else uniform


def groups_of(
    config: ml_collections.ConfigDict, table: Table
) -> Mapping[str, np.ndarray]:
    """Returns the rows of every split, and of its breakdown by every tag, int64 [n].

    Of train rows it is a fixed sample of at most `evaluation.train_rows`.
    """
    groups: dict[str, np.ndarray] = {}
    for split in SPLITS:
        rows = table.rows_of(split)
        if split == "unused" or rows.size == 0:
            continue
        if split == "train" and rows.size > config.evaluation.train_rows:
            rng = np.random.default_rng(config.task.seed)
            rows = rng.choice(rows, config.evaluation.train_rows, replace=False)
        groups[split] = rows
        for tag, values in table.tags.items():
            present = np.unique(values[rows])
            if present.size < 2 and tag != config.curriculum.by:
                continue
            words = table.tag_names.get(tag)
            for value in present:
                word = words[value] if words else value
                groups[f"{split}[{tag}={word}]"] = rows[values[rows] == value]
    return groups


def make_rows(
    config: ml_collections.ConfigDict, table: Table, groups: Mapping[str, np.ndarray]
) -> list[Rows]:
    """Lays out the rows of all groups, each once, by length bucket."""
    rows = np.unique(np.concatenate(list(groups.values())))
    needed = batches.lengths_of(table)[rows]
    bucket = batches.bucket_lengths(needed)
    size = config.evaluation.batch_size
    parts = []
    for length in sorted(set(bucket.values())):
        part = rows[[bucket[n] == length for n in needed]]
        batch = min(size, part.size)
        padded = np.pad(part, (0, -part.size % batch), mode="edge")
        member = np.zeros((padded.size, len(groups)), np.float32)
        for column, members in enumerate(groups.values()):
            member[: part.size, column] = np.isin(part, members)
        tokens, positions, targets = (
            jnp.asarray(x[padded].reshape(-1, batch, x.shape[1]))
            for x in (
                table.tokens[:, :length], table.answer_positions, table.targets
            )
        )  # fmt: skip
        parts.append(Rows(tokens, positions, targets, jnp.asarray(member)))
    return parts


def measure(
    parts: Sequence[Rows],
    params: recurrent.Params,
    *,
    model: recurrent.ModelConfig,
    loops: tuple[int, ...],
    loss_dtype: str,
) -> dict[str, jax.Array]:
    """Measures one lane on rows of `make_rows`: quantity -> float32 [loops, G].

    `loops` ascend; `loss_dtype` is that of the training loss.
    """
    sums: dict[str, jax.Array] = {}
    for rows in parts:
        batch = (rows.tokens, rows.answer_positions, rows.targets)
        score = functools.partial(
            _score, params, model=model, loops=loops, loss_dtype=loss_dtype
        )
        for name, values in jax.lax.map(score, batch).items():  # [batches, loops, B]
            flat = jnp.moveaxis(values, 1, 0).reshape(len(loops), -1)
            # A product with 0/1 sums over groups; exact for counts.
            added = flat.astype(jnp.float32) @ rows.member
            sums[name] = sums[name] + added if name in sums else added
    sizes = jnp.sum(jnp.stack([rows.member.sum(axis=0) for rows in parts]), axis=0)
    return {name: total / sizes[None] for name, total in sums.items()}


def problems(config: ml_collections.ConfigDict) -> list[str]:
    """Lists what is wrong with the snapshots, which are taken at evaluations."""
    steps = config.snapshot_steps
    if list(steps) != sorted(set(steps)):
        return [f"snapshot_steps must ascend, got {steps}."]
    never = [
        step
        for step in steps
        if not 0 <= step <= config.num_steps or next_step(config, step - 1) != step
    ]
    if not never:
        return []
    return [
        "snapshot_steps must be steps of evaluations up to num_steps "
        f"({config.num_steps}), got {', '.join(map(str, never))}."
    ]


def _score(
    params: recurrent.Params,
    batch: tuple[jax.Array, jax.Array, jax.Array],
    *,
    model: recurrent.ModelConfig,
    loops: tuple[int, ...],
    loss_dtype: str,
) -> dict[str, jax.Array]:
    """Scores rows after every recorded loop, each [loops, B]."""
    if model.branch_scale == "pass_loops" and len(loops) > 1:
        score = functools.partial(_score, params, batch, loss_dtype=loss_dtype)
        passes = [score(model=model, loops=(count,)) for count in loops]
        return jax.tree.map(lambda *scores: jnp.concatenate(scores), *passes)
    tokens, positions, targets = batch
    outputs = recurrent.apply(params, tokens, positions, model, num_loops=loops[-1])
    exists = targets >= 0
    mean = lambda x: (x * exists).sum(-1) / jnp.maximum(exists.sum(-1), 1)
    target = jnp.where(exists, targets, 0)[..., None]
    pick = lambda x: jnp.take_along_axis(x, target, axis=-1)[..., 0]  # [B, A]

    def score_loop(
        carry: tuple[jax.Array, jax.Array], loop: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], dict[str, jax.Array]]:
        before, first_hit = carry
        state, number = loop
        logits = recurrent.readout(params, state, tokens, positions, model)
        log_probs = jax.nn.log_softmax(logits)  # [B, A, V]
        correct = losses.answers_correct(logits, targets)
        first_hit = jnp.where((first_hit == 0) & correct, number, first_hit)
        others = jnp.where(
            jnp.arange(logits.shape[-1])[None, None] == target, -jnp.inf, logits
        )
        kl = (jnp.exp(log_probs) * (log_probs - before)).sum(-1)
        scores = {
            "accuracy": correct,
            "loss": mean(-pick(log_probs)),
            "margin": mean(pick(logits) - others.max(-1)),
            "hit": first_hit > 0,
            "first_hit": jnp.where(first_hit > 0, first_hit, number + 1),
            "kl": mean(kl),
            "logit_scale": mean(logits.std(-1)),
            "softmax_collapse": mean(losses.collapses(logits, loss_dtype)),
        }
        return (log_probs, first_hit), scores

    unknown = jnp.zeros((*targets.shape, model.vocab_size))
    never = jnp.zeros(targets.shape[0], jnp.int32)
    numbers = jnp.arange(1, loops[-1] + 1)
    _, scores = jax.lax.scan(score_loop, (unknown, never), (outputs.states, numbers))
    kept = jnp.array(loops) - 1
    return {name: x[kept] for name, x in (scores | outputs.statistics).items()}
