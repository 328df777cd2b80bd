"""The oracles agree with every table of the battery, and not with another one."""

import dataclasses

import numpy as np
import pytest

from rdt_jax import tasks
from rdt_jax.tasks import oracles, rows
from tests.tasks import test_battery

CASES = [
    (name, kwargs)
    for name, examples in test_battery.EXAMPLES.items()
    if name in oracles.BUILT_IN
    for kwargs in examples
]


def test_tasks_without_an_oracle_are_known():
    assert set(tasks.BUILT_IN) - set(oracles.BUILT_IN) == {"cogs"}


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
