"""Certificates that can fail, and the hash of a row."""

import numpy as np
import pytest

from rdt_jax import tasks
from rdt_jax.tasks import base

TOKENS = [[1, 3], [2, 3], [1, 4], [2, 4], [4, 4]]
SPLIT = ["train", "train", "id", "id", "ood"]
ATOMS = [[0, 1], [0, 2], [1, 2], [2, 1], [3, 4]]


def _certify(tokens, split, atoms, repeats=(1, 2, 1, 1, 1), read_at=1, **more):
    return base.certify(
        np.array(tokens, np.int32),
        np.full((5, 1), read_at, np.int32),
        np.array([[1], [2], [1], [1], [2]], np.int32),
        np.array([tasks.SPLITS.index(name) for name in split], np.int8),
        np.array(repeats, np.int32),
        np.array(atoms),
        "nothing.",
        **more,
    )


def test_a_clean_certificate():
    certificate = _certify(TOKENS, SPLIT, ATOMS)
    assert certificate.rows == {"train": 2, "id": 2, "ood": 1, "train_epoch": 3}
    assert certificate.overlap == {"train/id": 0, "train/ood": 0, "id/ood": 0}
    assert certificate.impure == {"id": 0, "ood": 0}
    assert certificate.atoms == {"all": 5, "practiced": 3, "never_composed": 2}
    assert certificate.chance == {"train": 0.5, "id": 0.5, "ood": 0.5}
    # Token 4 ends no training row, so the majority answers: 2, which stands twice.
    assert certificate.last_token == {"train": 0.5, "id": 0.0, "ood": 1.0}


def test_a_row_in_two_splits_is_counted():
    leaking = [*TOKENS[:4], TOKENS[0]]
    assert _certify(leaking, SPLIT, ATOMS).overlap["train/ood"] == 1


@pytest.mark.parametrize(
    ("row", "atoms", "impure"),
    [
        (2, [1, 3], {"id": 1, "ood": 0}),  # Fact 3 is in no training composition.
        (4, [3, 0], {"id": 0, "ood": 1}),  # Fact 0 is in one.
        (4, [0, -1], {"id": 0, "ood": 0}),  # One part composes nothing.
    ],
)
def test_an_impure_row_is_counted(row, atoms, impure):
    changed = [*ATOMS[:row], atoms, *ATOMS[row + 1 :]]
    assert _certify(TOKENS, SPLIT, changed).impure == impure


@pytest.mark.parametrize(
    ("atoms", "impure"),
    [
        ([0, 1, 0], 0),  # A part that is needed twice counts twice.
        ([0, 1, -1], 1),  # No longer than a train row.
        ([0, 1, 3], 1),  # Fact 3 is in no training composition.
    ],
)
def test_an_impure_depth_row_is_counted(atoms, impure):
    others = [[*row, -1] for row in ATOMS[:4]]
    certificate = _certify(TOKENS, [*SPLIT[:4], "depth"], [*others, atoms])
    assert certificate.impure == {"id": 0, "ood": 0, "depth": impure}


@pytest.mark.parametrize(
    ("atoms", "impure"),
    [
        ([1, 3], 0),
        ([1, 2], 1),  # Both practiced.
        ([3, 4], 1),  # Neither.
    ],
)
def test_an_impure_mixed_row_is_counted(atoms, impure):
    certificate = _certify(TOKENS, [*SPLIT[:4], "mixed"], [*ATOMS[:4], atoms])
    assert certificate.impure == {"id": 0, "ood": 0, "mixed": impure}


def test_a_question_ends_where_its_answer_is_read():
    certificate = _certify(TOKENS, SPLIT, ATOMS, read_at=0)
    # 1 is answered by 1, and 2 by 2; no question of training ends in 4.
    assert certificate.last_token == {"train": 1.0, "id": 0.5, "ood": 1.0}


def test_what_a_feature_gives_away():
    feature = np.array([9, -7, -7, 9, 8])
    certificate = _certify(TOKENS, SPLIT, ATOMS, shortcuts={"sign": feature})
    # Training answers 9 by 1 and -7 by 2; to 8 the majority is 2.
    assert certificate.shortcuts == {"sign": {"train": 1.0, "id": 0.5, "ood": 1.0}}


@pytest.mark.parametrize(("length", "impure"), [(3, 0), (2, 1), (1, 1)])
def test_a_depth_row_is_measured_by_its_length_where_there_is_one(length, impure):
    # Two atoms in each row, side by side in the last one or not.
    atoms = [*ATOMS[:4], [0, 1]]
    lengths = np.array([1, 2, 9, 9, length])
    split = [*SPLIT[:4], "depth"]
    certificate = _certify(TOKENS, split, atoms, lengths=lengths)
    assert certificate.impure["depth"] == impure
    assert _certify(TOKENS, split, atoms).impure["depth"] == 1


def test_a_shortcut_answers_by_what_it_sees():
    # Training: 5 -> 1 once, 5 -> 2 twice a epoch. Unseen: the majority, 2.
    seen = {"same": np.full(5, 5), "own": np.array([5, 6, 5, 6, 7])}
    shortcuts = _certify(TOKENS, SPLIT, ATOMS, shortcuts=seen).shortcuts
    assert shortcuts == {
        "same": {"train": 0.5, "id": 0.0, "ood": 1.0},
        "own": {"train": 1.0, "id": 0.5, "ood": 1.0},
    }
    # A tie goes to the smaller answer.
    tied = _certify(TOKENS, SPLIT, ATOMS, repeats=(1, 1, 1, 1, 1), shortcuts=seen)
    assert tied.shortcuts["same"] == {"train": 0.5, "id": 1.0, "ood": 0.0}
    assert _certify(TOKENS, SPLIT, ATOMS).shortcuts == {}


def test_row_hashes_ignore_padding_and_nothing_else():
    rows = np.array([[1, 2, 0], [2, 1, 0], [1, 2, 1], [1, 0, 2], [0, 1, 2]], np.int32)
    hashes = base.row_hashes(rows)
    assert len(set(hashes.tolist())) == 5
    np.testing.assert_array_equal(
        base.row_hashes(np.pad(rows, [(0, 0), (0, 3)])), hashes
    )


def test_a_question_has_neither_separator_nor_answers():
    asked = base.pad([[5, 6], [7], [5, 5]])
    answers = base.pad([[3, 5], [4], [5, 5, 5]])
    layout = base.teacher_forced(asked, answers, separator=8, end=9)
    np.testing.assert_array_equal(base.questions_of(*layout)[:, :2], asked)
    assert not base.questions_of(*layout)[:, 2:].any()


def test_a_question_ends_in_what_differs_between_rows():
    tokens, ones = base.pad([[1, 2, 8, 0], [3, 4, 5, 8]]), np.ones((2, 1), np.int32)
    ends = np.array([[2], [3]], np.int32)
    assert base.questions_of(tokens, ends, ones).tolist() == [
        [1, 2, 0, 0],
        [3, 4, 5, 0],
    ]
    # What follows the only answer is never seen; read in between, it is asked.
    assert base.questions_of(tokens, ends - 1, ones).tolist() == [
        [1, 2, 0, 0], [3, 4, 5, 0],
    ]  # fmt: skip
    between = np.array([[0, 2], [0, 3]], np.int32)
    targets = np.array([[1, 1], [1, 1]], np.int32)
    np.testing.assert_array_equal(base.questions_of(tokens, between, targets), tokens)


def test_forced_answers_change_no_certificate():
    rows = np.arange(40)
    answers = np.stack([3 + rows % 3, 3 + rows % 2], axis=1).astype(np.int32)
    asked = np.stack([1 + rows, 1 + rows % 3], axis=1).astype(np.int32)
    asked[-1] = asked[0]  # Asked in two splits, with two answers.
    split = (rows >= 20).astype(np.int8)
    layout = base.teacher_forced(asked, answers, separator=50, end=51)
    certificate = base.certify(
        *layout, split, np.ones(40, np.int32), rows[:, None], "nothing."
    )
    # The last token of a question tells the first of two answers, the second half.
    assert certificate.last_token["train"] == pytest.approx(0.5, abs=0.1)
    assert certificate.majority["train"] < 0.25
    assert certificate.overlap == {"train/id": 1}


def test_small_parts_are_warned_of():
    assert len(_certify(TOKENS, SPLIT, ATOMS).warnings) == 3
    enough = base.Certificate(
        {"train": 50, "id": 49, "ood": 1, "unused": 3, "train_epoch": 9},
        {}, {}, {}, {}, {}, {}, {}, "nothing.",
    )  # fmt: skip
    assert enough.warnings == [
        "id has 49 rows, fewer than 50: one of them is 0.02 of its accuracy",
        "ood has 1 row, fewer than 50: one of them is 1 of its accuracy",
    ]


def test_an_answer_that_training_never_gives_is_below_chance():
    split = ["train", "id", "train", "train", "ood"]  # Training answers 1 alone.
    certificate = _certify(TOKENS, split, ATOMS)
    assert certificate.chance == {"train": 1.0, "id": 0.0, "ood": 0.0}
    assert certificate.majority == {"train": 1.0, "id": 0.0, "ood": 0.0}
