"""What does a model answer to one question, after each loop?

    asked = asking.ask(params, config, table, "entity_3 relation_0 relation_4", loops=6)
    asked.split, asked.target            # of a question of the table, else None
    for answer in asked.answers:         # after 1 .. 6 loops
        print(answer.loops, answer.words, answer.probability)

Answers of several words are decoded greedily, at each loop count by itself.
"""

import dataclasses
import difflib
import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from rdt_jax import tasks
from rdt_jax.analysis import questions
from rdt_jax.models import presets, recurrent
from rdt_jax.models.architecture import ModelConfig
from rdt_jax.store import environment
from rdt_jax.tasks import base, rows

MOST_LOOPS = 1_000
_CHOICES = 3  # words of `Answer.choices`
_AT_A_TIME = 16  # Loop counts; each holds the states of all loops.


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer after so many loops."""

    loops: int
    words: tuple[str, ...]  # words of the answer, without the word that ends it
    # Probability of all words of the answer, and of its end, together.
    probability: float
    # False where the answer had not ended when there was no more room for it.
    ended: bool
    right: bool | None  # whether all of it is right; None where the table does not know
    # The most probable words, with their probabilities, for each word of the answer and
    # its end, given those before it.
    choices: tuple[tuple[tuple[str, float], ...], ...]


@dataclasses.dataclass(frozen=True)
class Asked:
    """A question and what a model answered."""

    question: tuple[str, ...]  # its words, without those of the layout
    row: int | None  # in the table; None, like the next two, if it is not there
    split: str | None  # the part of the table that the row is in
    target: tuple[str, ...] | None  # the words of the right answer
    tags: Mapping[str, int | str]  # tags of the row; empty if there is none
    answers: tuple[Answer, ...]  # after 1, 2, .. loops


class _Layout(NamedTuple):
    """A question as the model reads it."""

    # int32 [n], up to where the first answer is read, or the whole row.
    tokens: np.ndarray
    positions: np.ndarray  # int32 [A], where answers are read
    is_fed: bool  # whether each answer is fed back to the model before the next is read
    end: int | None  # the token that ends an answer; None where its length is known


@environment.pinned()
def ask(
    params: recurrent.Params,
    config: ml_collections.ConfigDict,
    table: tasks.Table,
    words: str | Sequence[str],
    loops: int | None = None,
) -> Asked:
    """Asks a model one question and reads its answer after every loop.

    Args:
      words: the question as `rdt tasks export` writes it. Words of the layout, and the
        one at which the answers of all rows are read (`=`), are added.

    Raises:
      ValueError: if there is no word, words are unknown (it suggests others), the
        question is too long for the model's positions, it is not in the table and the
        table's layout does not tell where its answer is read, or the model cannot run
        so many loops.
    """
    model = presets.model_config(config, table)
    loops = loop_count(config, loops)
    question = _tokens(table, words.split() if isinstance(words, str) else words)
    read = np.take_along_axis(table.tokens, table.answer_positions[:, :1], axis=1)
    mark = [int(read[0, 0])] if read[0, 0] and (read == read[0]).all() else []
    if mark and table.vocab[mark[0]] not in rows.LAYOUT and question[-1:] != mark:
        question += mark
    row = _find(table, question)
    layout = _lay_out(table, question, row, mark, model)
    target = None if row is None else table.targets[row]
    answers: list[Answer] = []
    words_of = lambda tokens: tuple(table.vocab[token] for token in tokens)
    for given, logs in zip(*_decode(params, model, layout, loops), strict=True):
        given = given[given >= 0]
        logs = logs[: given.size]
        has_end = layout.end is not None and bool(given[-1] == layout.end)
        best = np.argsort(-logs, axis=-1, kind="stable")[:, :_CHOICES]
        shares = np.take_along_axis(np.exp(logs), best, axis=-1).tolist()
        answer = Answer(
            loops=len(answers) + 1,
            words=words_of(given[: given.size - has_end]),
            probability=float(np.exp(logs[np.arange(given.size), given].sum())),
            ended=layout.end is None or has_end,
            right=None
            if target is None
            else np.array_equal(given, target[target >= 0]),
            choices=tuple(
                tuple(zip(map(table.vocab.__getitem__, tokens), few, strict=True))
                for tokens, few in zip(best, shares, strict=True)
            ),
        )
        answers.append(answer)
    return Asked(
        question=words_of(question),
        row=row,
        split=None if row is None else tasks.SPLITS[table.split[row]],
        target=None if row is None else tuple(rows.decode(table, row)[1]),
        tags={} if row is None else rows.tags(table, row),
        answers=tuple(answers),
    )


def loop_count(config: ml_collections.ConfigDict, loops: int | None) -> int:
    """Returns a loop count; None stands for that of training.

    Raises:
      ValueError: if it is not an integer in [1, MOST_LOOPS].
    """
    loops = config.recurrence.num_loops if loops is None else loops
    if not isinstance(loops, int | np.integer) or not 1 <= loops <= MOST_LOOPS:
        raise ValueError(
            f"loops must be an integer in [1, {MOST_LOOPS:,}], got {loops!r}."
        )
    return loops


def vocabulary(table: tasks.Table) -> list[str]:
    """Returns the words that a question may have."""
    return [word for word in table.vocab[1:] if word not in rows.LAYOUT]


def _tokens(table: tasks.Table, words: Sequence[str]) -> list[int]:
    """Returns the tokens of words; ValueError names those that are unknown."""
    known = vocabulary(table)
    example, _ = rows.decode(table, 0)
    choices = ", ".join(known[:8]) + ", .." * (len(known) > 8)
    choices += f", as in {' '.join(example[:12])!r}" + " .." * (len(example) > 12)
    if not words:
        raise ValueError(f"A question must have words; choose from {choices}.")
    problems = []
    for word in dict.fromkeys(words):
        if not isinstance(word, str):
            problems.append(f"A question must be a text or words, got {word!r}.")
        elif word in rows.LAYOUT:
            problems.append(
                f"{word} is a word of the layout, which is added: leave it."
            )
        elif word not in known:
            near = " or ".join(difflib.get_close_matches(word, known, cutoff=0.5))
            hint = f"did you mean {near}?" if near else f"choose from {choices}."
            problems.append(f"Unknown word {word!r}; {hint}")
    if problems:
        raise ValueError("\n  ".join(problems))
    return [table.vocab.index(word) for word in words]


def _find(table: tasks.Table, question: Sequence[int]) -> int | None:
    """Returns the row of a question, whose tokens are without those of the layout."""
    layout = [t for t, word in enumerate(table.vocab) if t == 0 or word in rows.LAYOUT]
    is_word = ~np.isin(table.tokens, layout)
    order = np.argsort(~is_word, axis=1, kind="stable")[:, : len(question)]
    words = np.take_along_axis(table.tokens * is_word, order, axis=1)
    if words.shape[1] < len(question):
        return None
    texts = [table.vocab[token] for token in question]
    begin_so = np.flatnonzero((words == question).all(axis=1)).tolist()
    return next((row for row in begin_so if rows.decode(table, row)[0] == texts), None)


def _are_fed(table: tasks.Table) -> np.ndarray:
    """Says of which rows the answers are fed back, or are only one, bool [N].

    Nothing but them follows the position of the first answer.
    """
    positions, targets = table.answer_positions, table.targets
    num_answers = (targets >= 0).sum(axis=1, keepdims=True)
    behind = np.arange(table.tokens.shape[1]) - positions[:, :1] - 1  # [N, T]
    answers = np.pad(targets, [(0, 0), (0, 1)], constant_values=base.NO_TARGET)
    fed = np.take_along_axis(answers, np.clip(behind, 0, targets.shape[1]), axis=1)
    is_over = (table.tokens == 0) & (behind >= num_answers - 1)
    follow = (behind < 0) | (table.tokens == fed) | is_over
    in_turn = positions == positions[:, :1] + np.arange(targets.shape[1])
    return follow.all(axis=1) & (in_turn | (targets < 0)).all(axis=1)


def _lay_out(
    table: tasks.Table,
    question: list[int],
    row: int | None,
    mark: list[int],
    model: ModelConfig,
) -> _Layout:
    """Lays out a question: a row of the table as it is, another one as all rows are."""
    fed, first = _are_fed(table), table.answer_positions[:, 0]
    counts = (table.targets >= 0).sum(axis=1)
    last = table.targets[np.arange(len(first)), counts - 1]
    most, end = int(counts.max()), None
    if most > 1 and (last == last[0]).all():
        end = int(last[0])
    if row is not None:
        most = most if end is not None and fed[row] else int(counts[row])
        if not fed[row]:
            positions = table.answer_positions[row, :most]
            return _Layout(table.tokens[row], positions, False, None)
        place = int(first[row])
        tokens = table.tokens[row, : place + 1]
    elif not fed.all():
        asked = " ".join(table.vocab[token] for token in question)
        raise ValueError(
            f"{asked!r} is not in the table, whose rows do not tell where the answers "
            "of another question would be read."
        )
    else:
        tokens = np.array(question + mark * (question[-1:] != mark), np.int32)
        read = table.tokens[np.arange(len(first)), first]
        at_pad = (read == 0).any() and (first == first[0]).all()
        place = int(first[0]) if at_pad else tokens.size - 1
        is_learned = model.position == "learned"
        room = place + 1 if at_pad else model.max_length if is_learned else tokens.size
        if tokens.size > room:
            reason = "the answer is read there" if at_pad else "model.position=learned"
            raise ValueError(
                f"A question must have at most {room - tokens.size + len(question)} "
                f"words ({reason}), got {len(question)}."
            )
    if model.position == "learned":
        most = min(most, model.max_length - place)
    return _Layout(tokens, place + np.arange(most, dtype=np.int32), True, end)


def _decode(
    params: recurrent.Params, model: ModelConfig, layout: _Layout, loops: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns greedy answers [R, A], -1 after their end, and log-probabilities.

    The log-probabilities of all words are float64 [R, A, V].
    """
    length = max(model.max_length, len(layout.tokens), layout.positions[-1] + 1)
    tokens = np.zeros((loops, length), np.int32)
    tokens[:, : len(layout.tokens)] = layout.tokens
    read = functools.partial(_read, params, model=model, num_loops=loops)
    given = np.full((loops, len(layout.positions)), -1, np.int32)
    logs = np.zeros((*given.shape, model.vocab_size))
    goes_on = np.full(loops, True)
    together = 1 if layout.is_fed else given.shape[1]
    for start in range(0, given.shape[1], together):
        here = slice(start, start + together)
        positions = np.tile(layout.positions[here], (loops, 1))
        logs[:, here] = questions.in_chunks(
            read, _AT_A_TIME, tokens, positions, np.arange(loops)
        )
        given[goes_on, here] = logs[goes_on, here].argmax(axis=-1)
        goes_on &= given[:, start] != layout.end
        if layout.is_fed and start + 1 < given.shape[1]:
            tokens[goes_on, layout.positions[start] + 1] = given[goes_on, start]
        if not goes_on.any():
            break
    return given, logs


@functools.partial(jax.jit, static_argnames=("model", "num_loops"))
def _read(
    params: recurrent.Params,
    tokens: jax.Array,
    positions: jax.Array,
    loop: jax.Array,
    *,
    model: ModelConfig,
    num_loops: int,
) -> jax.Array:
    """Returns log-probabilities [B, A, V]: of row b after loop `loop[b]`, from 0."""
    outputs = recurrent.apply(params, tokens, positions, model, num_loops=num_loops)
    state = outputs.states[loop, jnp.arange(loop.size)]  # [B, T, D]
    logits = recurrent.readout(params, state, tokens, positions, model)
    return jax.nn.log_softmax(logits)
