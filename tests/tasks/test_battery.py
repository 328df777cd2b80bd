"""What holds for every task: a new one needs an entry in EXAMPLES, and has its tests.

Also what all tasks share: the table's own checks, the certificate, and the check of a
`task` section.
"""

import dataclasses

import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.tasks import base, modular
from tests.conftest import ROOT

_KNOWLEDGE = {
    "num_entities": 11,
    "num_relations": 5,
    "out_degree": 3,
    "ood_share": 0.25,
    "phi": 1.5,
    "atomic_repeats": 2,
    "max_heldout": None,
}
_DEPTH = {
    "num_entities": 7,
    "num_relations": 3,
    "max_hops": 5,
    "max_train_hops": 3,
    "train_per_hop": 41,
    "heldout_per_hop": 13,
}
_EXPRESSION = {
    "min_depth": 2,
    "max_depth": 4,
    "max_train_depth": 3,
    "max_side_depth": 1,
    "train_per_depth": 61,
    "heldout_per_depth": 13,
}
_NO_DEEPER = {"max_depth": 3}  # No row is deeper than trained.
_HOPS = {
    "min_hops": 1,
    "max_hops": 4,
    "max_train_hops": 3,
    "train_per_hop": 130,
    "heldout_per_hop": 14,
}
_DAG = {
    "modulus": 5,
    "operators": "+ *",
    "num_nodes": 7,
    "num_leaves": 2,
    "max_arguments": 2,
    "min_depth": 1,
    "max_depth": 4,
    "max_train_depth": 2,
    "train_per_depth": 61,
    "heldout_per_depth": 13,
}
# Task -> arguments of small tables, among them each value of an argument that chooses.
EXAMPLES = {
    "arithmetic_expression": [
        _EXPRESSION | {"modulus": 5, "operators": operators} for operators in "+-*"
    ],
    "boolean_expression": [
        _EXPRESSION | {"min_depth": 3, "operators": operators}
        for operators in ("and or not", "xor not")
    ],
    "dag_arithmetic": [
        _DAG,
        _DAG | {"max_arguments": 3, "operators": "-", "max_depth": 2},
    ],
    "dyck": [
        _EXPRESSION | {"num_kinds": 3, "train_per_depth": 62, "heldout_per_depth": 14},
        _EXPRESSION
        | {"num_kinds": 2, "train_per_depth": 62, "heldout_per_depth": 14}
        | _NO_DEEPER,
    ],
    "graph_next_step": [
        _HOPS | {"num_nodes": 11, "num_edges": 10, "num_paths": 2},
        _HOPS | {"num_nodes": 15, "num_edges": 12, "num_paths": 3, "max_hops": 3},
    ],
    "graph_reachability": [
        _HOPS | {"num_nodes": 12, "num_edges": 11},
        _HOPS | {"num_nodes": 12, "num_edges": 8, "max_hops": 3},
    ],
    "kinship": [
        _HOPS | {"num_people": 9},
        _HOPS | {"num_people": 7, "max_hops": 3},
    ],
    "knowledge_composition": [
        _KNOWLEDGE | {"answer_at": "last"},
        _KNOWLEDGE | {"answer_at": "answer_token", "max_heldout": 5},
        _KNOWLEDGE | {"answer_at": "pad", "ood_share": 0.0},
    ],
    "knowledge_depth": [
        _DEPTH | {"answer_at": "last"},
        _DEPTH | {"answer_at": "answer_token", "max_hops": 3},  # No row is deeper.
        _DEPTH | {"answer_at": "pad"},
    ],
    "listops": [
        _EXPRESSION | {"max_arguments": 3, "operators": "MAX MIN MED SUM_MOD"},
        _EXPRESSION | {"max_arguments": 2, "operators": "SUM_MOD"} | _NO_DEEPER,
    ],
    "modular": [
        {"operation": operation, "modulus": 7, "train_fraction": 0.4}
        for operation in modular.OPERATIONS
    ],
    "transitive_inference": [
        _HOPS | {"num_items": 13},
        _HOPS | {"num_items": 13, "max_hops": 3},
    ],
}
CASES = [(name, kwargs) for name, cases in EXAMPLES.items() for kwargs in cases]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case[0])
def table(request):
    name, kwargs = request.param
    return tasks.TASKS[name](seed=3, **kwargs)


def test_every_task_has_examples():
    assert set(EXAMPLES) == set(tasks.TASKS)
    assert all(EXAMPLES.values())


def test_dtypes_and_shapes(table):
    rows, length = table.tokens.shape
    answers = table.targets.shape[1]
    expected = {
        "tokens": (np.int32, (rows, length)),
        "answer_positions": (np.int32, (rows, answers)),
        "targets": (np.int32, (rows, answers)),
        "split": (np.int8, (rows,)),
        "repeats": (np.int32, (rows,)),
    }
    for name, (dtype, shape) in expected.items():
        array = getattr(table, name)
        assert (array.dtype, array.shape) == (dtype, shape), name
    for name, tag in table.tags.items():
        assert (tag.dtype, tag.shape) == (np.int32, (rows,)), name
    for name, words in table.tag_names.items():
        assert 0 <= table.tags[name].min() <= table.tags[name].max() < len(words)


def test_padding_stands_at_the_end_only(table):
    used = table.tokens != 0
    assert used[:, 0].all()
    assert (used[:, 1:] <= used[:, :-1]).all()
    assert used.any(axis=0).all()  # No column of padding alone.


def test_tokens_and_targets_are_words(table):
    vocab = table.vocab
    assert len(set(vocab)) == len(vocab)
    assert all(isinstance(word, str) and word for word in vocab)
    assert table.tokens.min() >= 0
    assert table.tokens.max() < len(vocab)
    given = table.targets != base.NO_TARGET
    assert given[:, 0].all()
    assert (given[:, 1:] <= given[:, :-1]).all()
    assert table.targets[given].min() >= 1  # Padding is no answer.
    assert table.targets[given].max() < len(vocab)


def test_answers_are_read_inside_the_row(table):
    given = table.targets != base.NO_TARGET
    positions = table.answer_positions
    assert (positions[~given] == 0).all()
    assert positions.min() >= 0
    assert positions.max() < table.tokens.shape[1]
    later = given[:, 1:]
    assert (positions[:, 1:][later] > positions[:, :-1][later]).all()


def test_rows_are_distinct(table):
    assert len(np.unique(table.tokens, axis=0)) == len(table.tokens)


def test_the_splits_are_a_partition(table):
    assert set(table.split) <= set(range(len(tasks.SPLITS)))
    parts = [table.rows_of(name) for name in tasks.SPLITS]
    together = np.concatenate(parts)
    assert sorted(together) == list(range(len(table.tokens)))
    assert all((np.diff(part) > 0).all() for part in parts)
    assert table.rows_of("train").size
    assert any(table.rows_of(name).size for name in ("id", "ood", "depth"))
    assert (table.repeats[table.rows_of("train")] >= 1).all()


def test_the_certificate_shows_no_leak(table):
    certificate = table.certificate
    present = {name for name in tasks.SPLITS if table.rows_of(name).size}
    assert set(certificate.rows) == present | {"train_epoch"}
    assert {name for pair in certificate.overlap for name in pair.split("/")} == present
    assert not any(certificate.overlap.values())
    assert not any(certificate.impure.values())
    for name in ("chance", "majority", "last_token"):
        accuracy = getattr(certificate, name)
        assert set(accuracy) == present
        assert all(0 <= value <= 1 for value in accuracy.values())
    for accuracy in certificate.shortcuts.values():
        assert set(accuracy) == present
        assert all(0 <= value <= 1 for value in accuracy.values())
    assert 0 < certificate.chance["train"] < 1
    assert certificate.held_out.endswith(".")


def test_arrays_are_read_only(table):
    arrays = [getattr(table, field.name) for field in dataclasses.fields(table)]
    arrays = [array for array in arrays if isinstance(array, np.ndarray)]
    assert len(arrays) == 5
    for array in [*arrays, *table.tags.values()]:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize(("name", "kwargs"), CASES)
def test_a_seed_makes_one_table(name, kwargs):
    one, same, other = (tasks.TASKS[name](seed=seed, **kwargs) for seed in (3, 3, 4))
    for field in ("tokens", "targets", "split", "repeats", "answer_positions"):
        np.testing.assert_array_equal(getattr(one, field), getattr(same, field))
    assert one.certificate == same.certificate
    assert _trained(one) != _trained(other)


def _trained(table):
    return {row.tobytes() for row in table.tokens[table.rows_of("train")]}


# The certificate can fail.


def _certify(tokens, split, atoms, repeats=(1, 2, 1, 1, 1), **seen):
    return tasks.base.certify(
        np.array(tokens, np.int32),
        np.array([[1], [2], [1], [1], [2]], np.int32),
        np.array([tasks.SPLITS.index(name) for name in split], np.int8),
        np.array(repeats, np.int32),
        np.array(atoms),
        "nothing.",
        **seen,
    )


TOKENS = [[1, 3], [2, 3], [1, 4], [2, 4], [4, 4]]
SPLIT = ["train", "train", "id", "id", "ood"]
ATOMS = [[0, 1], [0, 2], [1, 2], [2, 1], [3, 4]]


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


def test_an_answer_that_training_never_gives_is_below_chance():
    split = ["train", "id", "train", "train", "ood"]  # Training answers 1 alone.
    certificate = _certify(TOKENS, split, ATOMS)
    assert certificate.chance == {"train": 1.0, "id": 0.0, "ood": 0.0}
    assert certificate.majority == {"train": 1.0, "id": 0.0, "ood": 0.0}


# What a table refuses.


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("targets", np.ones((5, 1), np.int32), r"must be \[N, A\]"),
        ("split", np.zeros((1,), np.int8), r"split must be \[N\]"),
        ("repeats", np.ones((2, 1), np.int32), r"repeats must be \[N\]"),
        ("vocab", ("<pad>", "a"), "tokens must lie in the vocabulary"),
        ("tokens", np.array([[-1, 1, 1]] * 2, np.int32), "lie in the vocabulary"),
        ("answer_positions", np.full((2, 1), 3, np.int32), "must lie in the row"),
    ],
)
def test_a_table_refuses_arrays_that_do_not_fit(field, value, message):
    fields = {
        "tokens": np.array([[1, 2, 0], [2, 1, 1]], np.int32),
        "answer_positions": np.zeros((2, 1), np.int32),
        "targets": np.ones((2, 1), np.int32),
        "split": np.zeros(2, np.int8),
        "repeats": np.ones(2, np.int32),
        "tags": {},
        "tag_names": {},
        "vocab": ("<pad>", "a", "b"),
        "certificate": _certify(TOKENS, SPLIT, ATOMS),
    }
    tasks.Table(**fields)
    with pytest.raises(ValueError, match=message):
        tasks.Table(**fields | {field: value})


# The `task` section of a config.


def test_a_good_section_has_no_problems(tiny_config):
    assert tasks.problems(tiny_config) == []


@pytest.mark.parametrize(
    ("kwargs", "problem"),
    [
        ({"phy": 1.0}, r"task.kwargs.phy is no argument of the task; choose from num_"),
        ({"phi": None}, "task.kwargs.phi is missing."),
        ({"phi": "7"}, "task.kwargs.phi must be float, got '7'."),
        ({"num_entities": 7.0}, "task.kwargs.num_entities must be int, got 7.0."),
        ({"max_heldout": 1.5}, "max_heldout must be int or NoneType, got 1.5."),
        ({"atomic_repeats": True}, "atomic_repeats must be int, got True."),
    ],
)
def test_arguments_are_checked_against_the_signature(kwargs, problem):
    config = configs.load(f"{ROOT}/configs/knowledge_composition.py:smoke").unlock()
    section = config.task.kwargs.to_dict() | kwargs
    if section["phi"] is None:
        del section["phi"]
    config.task.kwargs = section
    (found,) = tasks.problems(config)
    assert problem in found


def test_an_int_will_do_for_a_float(tiny_config):
    config = configs.override(tiny_config, {}).unlock()
    config.task.kwargs = config.task.kwargs.to_dict() | {"phi": 2}
    assert tasks.problems(config) == []
