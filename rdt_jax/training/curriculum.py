"""Stages of growing rows: train what has at most k hops until k hops are learned.

Once the held-out rows of exactly the stage's hops are learned (`phases.hop_learned`, at
an evaluation), the next value of the tag `curriculum.by` joins.

Reference: Kohli et al. (2026), arXiv:2604.07822, Section 6.1, where the optimizer
begins anew at each stage. Differs from the paper: accuracy is smoothed like that of
every phase; a stage has no epochs, so it may end at any evaluation.
"""

from typing import NamedTuple

import ml_collections
import numpy as np

from rdt_jax.data import batches
from rdt_jax.tasks import Table
from rdt_jax.training import phases


class Stages(NamedTuple):
    """The stages of a table, in their order.

    Attributes:
      values: values of the curriculum's tag, ascending; () without a curriculum.
      rows: train rows of an epoch of each stage; they are the first ones of
        `batches.epoch_rows(table, by)`.
      lengths: tokens of a row, T, in each stage: that of its length bucket.
    """

    values: tuple[int, ...]
    rows: tuple[int, ...]
    lengths: tuple[int, ...]


def stages_of(config: ml_collections.ConfigDict, table: Table) -> Stages:
    """Returns the stages that a run goes through."""
    by = config.curriculum.by
    rows = batches.epoch_rows(table, by)
    if by is None:
        return Stages((), (rows.size,), (table.tokens.shape[1],))
    tag, lengths = table.tags[by][rows], batches.lengths_of(table)[rows]
    values = np.unique(tag[tag >= config.curriculum.start]).tolist()
    sizes = [int((tag <= value).sum()) for value in values]
    needed = [int(lengths[:size].max()) for size in sizes]
    bucket = batches.bucket_lengths(needed)
    return Stages(tuple(values), tuple(sizes), tuple(bucket[n] for n in needed))


def next_stage(stages: Stages, stage: int, detector: phases.State) -> int:
    """Returns the index of the stage after an evaluation, from that before it.

    `detector` is the state of `phases.observe` after the evaluation. A stage whose hops
    are learned already when it begins is passed through at once.
    """
    while stage < len(stages.values) - 1:
        name = f"{phases.HOP_LEARNED}_{stages.values[stage]}"
        if detector["events"][name]["completed"] is None:
            break
        stage += 1
    return stage


def problems(config: ml_collections.ConfigDict, table: Table) -> list[str]:
    """Lists what is wrong with the `curriculum` section for a table."""
    by, start = config.curriculum.by, config.curriculum.start
    if by is None:
        return []
    if by not in table.tags:
        choices = ", ".join(table.tags) or "none, since this task has no tags"
        return [f"curriculum.by must be a tag of the task: {choices}; got {by!r}."]
    if by in table.tag_names:
        return [f"curriculum.by must be a tag of numbers, and {by!r} is one of words."]
    tags = table.tags[by]
    rows = table.rows_of("train")
    trained = np.unique(tags[rows])
    stages = trained[trained >= start]
    if not stages.size or stages[0] != start:
        return [
            f"curriculum.start must be a value of {by!r} among the train rows, "
            f"{', '.join(map(str, trained))}; got {start}."
        ]
    missing = np.setdiff1d(stages, tags[table.rows_of("id")])
    if missing.size:
        return [
            f"curriculum.by needs held-out rows (id) of every stage, but there are "
            f"none with {by} = {', '.join(map(str, missing))}."
        ]
    first = int(table.repeats[rows[tags[rows] <= start]].sum())
    if first < config.batch_size:
        return [
            f"batch_size must be at most {first}, the train rows of the curriculum's "
            f"first stage, got {config.batch_size}."
        ]
    return []
