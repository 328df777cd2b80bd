"""The oracles agree with every table of the battery, and not with another one."""

import dataclasses

import numpy as np
import pytest

from rdt_jax import tasks
from rdt_jax.tasks import oracles, oracles_by_depth, rows
from tests.tasks import test_battery

CASES = [
    (name, kwargs)
    for name, examples in test_battery.EXAMPLES.items()
    if name in oracles.BUILT_IN
    for kwargs in examples
]


def test_every_task_has_an_oracle():
    assert set(oracles.BUILT_IN) == set(tasks.BUILT_IN)


@pytest.mark.parametrize(("name", "kwargs"), CASES, ids=[name for name, _ in CASES])
def test_an_oracle_agrees(name, kwargs):
    table = tasks.TASKS[name](seed=3, **kwargs)
    chosen = range(0, len(table.tokens), 1 + len(table.tokens) // 3_000)
    worked_out = oracles.BUILT_IN[name](table, chosen)
    assert worked_out == [rows.decode(table, row)[1] for row in chosen]


@pytest.mark.parametrize("name", oracles.BUILT_IN)
def test_an_oracle_does_not_copy_the_answers(name):
    table = tasks.TASKS[name](seed=3, **test_battery.EXAMPLES[name][0])
    # Facts are answers of the shortest rows; what is asked of them is another row.
    row = int(np.argmax((table.tokens != 0).sum(axis=1)))
    tokens, targets = table.tokens.copy(), table.targets.copy()
    targets[row, 0] = 1 if targets[row, 0] != 1 else 2
    if targets.shape[1] > 1:  # It is fed back as well.
        tokens[row, table.answer_positions[row, 1]] = targets[row, 0]
    wrong = dataclasses.replace(table, tokens=tokens, targets=targets)
    (answer,) = oracles.BUILT_IN[name](table, [row])
    assert oracles.BUILT_IN[name](wrong, [row])[0][:1] == answer[:1]
    assert rows.decode(wrong, row)[1] != answer


@pytest.mark.parametrize(
    "text",
    [
        "Anna help Bruno",
        "helped Bruno Anna",
        "the cat helped that Anna",
        "Anna claimed that",
        "Anna claimed that the cat Bruno",
        "a cat on helped Anna",
        "a pear was cook by Anna",
    ],
)
def test_what_is_no_sentence_is_not_translated(text):
    verbs = {"helped": "help!", "claimed": "claim!", "cooked": "cook!"}
    words = oracles.translate_sentence(verbs, text.split())
    assert oracles_by_depth.UNKNOWN in words
