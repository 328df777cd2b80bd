"""What does a model answer to ten questions of its table, loop by loop?

The questions are the same for all runs of a table, so that stages and models compare.
"""

import itertools
from typing import NamedTuple

import ml_collections
import numpy as np

from rdt_jax import tasks, wording
from rdt_jax.analysis import asking
from rdt_jax.models import recurrent
from rdt_jax.tasks import rows

VERSION = 1  # of the results; a change of their numbers is another one

MOST_LOOPS = 16  # beyond those of training none is asked further


class Answers(NamedTuple):
    """Answers to Q questions after 1 .. L loops; words are joined by spaces."""

    row: np.ndarray  # int64 [Q], rows of the table
    split: np.ndarray  # str [Q], their parts of it
    question: np.ndarray  # str [Q]
    target: np.ndarray  # str [Q], the right answers
    answer: np.ndarray  # str [Q, L], greedy
    right: np.ndarray  # bool [Q, L], whether all words are right
    probability: np.ndarray  # float64 [Q, L], of all words and the end together


def measure(
    params: recurrent.Params,
    config: ml_collections.ConfigDict,
    table: tasks.Table,
    *,
    num_questions: int = 10,
) -> Answers:
    """Asks a fixed sample of the table's rows, after each loop of training and beyond.

    Loops beyond those of training are asked if they are evaluated, up to MOST_LOOPS.

    Args:
      num_questions: Q at most.

    Raises:
      ValueError: as `asking.ask`.
    """
    recurrence = config.recurrence
    evaluated = [loops for loops in recurrence.eval_loops if loops <= MOST_LOOPS]
    loops = max(recurrence.num_loops, *evaluated, 1)  # L
    chosen = sample(table, num_questions)
    asked = [
        asking.ask(params, config, table, rows.decode(table, row)[0], loops)
        for row in chosen.tolist()
    ]
    of_each = lambda read: [[read(answer) for answer in one.answers] for one in asked]
    return Answers(
        row=np.array([one.row for one in asked]),
        split=np.array([one.split for one in asked]),
        question=np.array([" ".join(one.question) for one in asked]),
        target=np.array([" ".join(one.target or ()) for one in asked]),
        answer=np.array(of_each(lambda answer: " ".join(answer.words))),
        right=np.array(of_each(lambda answer: bool(answer.right))),
        probability=np.array(of_each(lambda answer: answer.probability)),
    )


def summarize(answers: Answers) -> dict[str, float]:
    """Returns how many of the questions are answered rightly after each loop."""
    counts = enumerate(answers.right.sum(axis=0).tolist(), start=1)
    return {
        f"right after {wording.count(loops, 'loop')}": count for loops, count in counts
    }


def sample(table: tasks.Table, count: int) -> np.ndarray:
    """Returns rows of the splits in turn, by a fixed permutation of each, int64.

    Unused rows have no part; there are `count` at most.
    """
    permuted = [
        np.random.default_rng(index).permutation(table.rows_of(split))[:count]
        for index, split in enumerate(tasks.SPLITS[:-1])
    ]
    in_turn = (part[i] for i in range(count) for part in permuted if i < part.size)
    chosen = np.fromiter(itertools.islice(in_turn, count), np.int64)
    return chosen[np.argsort(table.split[chosen], kind="stable")]
