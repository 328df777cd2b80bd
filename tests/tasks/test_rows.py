"""Rows decoded to words, teacher-forced answers told from questions, JSON objects."""

import atexit
import dataclasses
import json
import pathlib
import shutil
import tempfile

import numpy as np
import pytest

from rdt_jax import tasks
from rdt_jax.tasks import rows
from tests.tasks.reading import read

VOCAB = ("<pad>", "a", "b", "<sep>", "x", "y", "<end>", "<", "a>")
# Rows of a file, the example of the task `rows`.
SUMS = [
    {
        "input": f"{a} + {b}",
        "output": [str((a + b) % 7)],
        "split": "id" if (a * b) % 5 == 3 else "train",
        "parts": [["left", a], ["right", b]],
        "repeats": 1 + (a == 2),
        "tags": {"left": a, "kind": "double" if a == b else "other"},
    }
    for a in range(7)
    for b in range(7)
]


def path(name: str) -> str:
    """Writes the file of an example and returns its path."""
    folder = pathlib.Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in SUMS))
    return str(file)


def restate(table):
    """Yields (tags, parts) of each row of SUMS, for the battery."""
    for (left, _, right), answer, _ in read(table):
        a, b = int(left), int(right)
        kind = "double" if a == b else "other"
        assert answer == (str((a + b) % 7),)
        yield {"left": a, "kind": kind}, [("left", a), ("right", b)]


def _table(tokens, positions, targets, **fields):
    certificate = tasks.table_of(
        "modular", 0, {"operation": "add", "modulus": 5, "train_fraction": 0.5}
    ).certificate
    return tasks.Table(
        tokens=np.array(tokens, np.int32),
        answer_positions=np.array(positions, np.int32),
        targets=np.array(targets, np.int32),
        split=np.array(fields.pop("split", [0] * len(tokens)), np.int8),
        repeats=np.array(fields.pop("repeats", [1] * len(tokens)), np.int32),
        tags=fields.pop("tags", {}),
        tag_names=fields.pop("tag_names", {}),
        vocab=VOCAB,
        certificate=certificate,
    )


@pytest.mark.parametrize(
    ("tokens", "positions", "targets", "words"),
    [
        ([1, 2, 0], [1], [4], (["a", "b"], ["x"])),
        ([1, 0, 0], [2], [4], (["a"], ["x"])),  # Read at the last, padded position.
        # Teacher-forced: the answers follow, and the last of them stands in no row.
        ([1, 2, 3, 4, 5, 0], [2, 3, 4], [4, 5, 6], (["a", "b"], ["x", "y"])),
        ([2, 3, 4, 0, 0, 0], [1, 2, 0], [4, 6, -1], (["b"], ["x"])),
        # Answers read inside a question that goes on are no part of it.
        ([1, 2, 1, 2], [1, 3], [4, 5], (["a", "b", "a", "b"], ["x", "y"])),
        ([1, 4, 4], [0, 1], [4, 5], (["a", "x", "x"], ["x", "y"])),
        ([7, 8, 1], [2], [7], (["<", "a>", "a"], ["<"])),  # Brackets may be words.
    ],
)
def test_decode(tokens, positions, targets, words):
    assert rows.decode(_table([tokens], [positions], [targets]), 0) == words


def test_json_objects_have_all_of_a_row():
    table = _table(
        [[1, 2], [2, 0]],
        [[1], [0]],
        [[4], [5]],
        split=[0, 3],
        repeats=[3, 1],
        tags={
            "hops": np.array([1, 2], np.int32),
            "kind": np.array([0, 1], np.int32),
        },
        tag_names={"kind": ("plain", "odd")},
    )
    assert list(rows.as_json(table)) == [
        {
            "split": "train",
            "repeats": 3,
            "input": "a b",
            "output": "x",
            "tags": {"hops": 1, "kind": "plain"},
        },
        {
            "split": "depth",
            "repeats": 1,
            "input": "b",
            "output": "y",
            "tags": {"hops": 2, "kind": "odd"},
        },
    ]


def test_every_row_of_a_task_is_written():
    table = tasks.table_of(
        "modular", 0, {"operation": "subtract", "modulus": 7, "train_fraction": 0.5}
    )
    written = list(rows.as_json(table))
    assert len(written) == 49
    for row in written:
        a, operation, b, equals = row["input"].split()
        assert (operation, equals) == ("subtract", "=")
        assert (int(a) - int(b)) % 7 == int(row["output"])
    splits = [tasks.SPLITS.index(row["split"]) for row in written]
    np.testing.assert_array_equal(splits, table.split)
    assert set(dataclasses.asdict(table)["tags"]) == set(written[0]["tags"])
