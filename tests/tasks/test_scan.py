"""SCAN against what is published of it, and commands worked by hand."""

import collections
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdt_jax import tasks
from rdt_jax.tasks import base, scan
from tests.tasks.reading import read

# Variant -> (train rows, distinct train rows, test rows, the split of the test part).
PUBLISHED = {
    "simple": (16_728, 16_728, 4_182, "id"),
    "length": (16_990, 16_990, 3_920, "depth"),
    "addprim_jump": (14_670, 13_204, 7_706, "ood"),
    "addprim_turn_left": (21_890, 19_702, 1_208, "ood"),
    "template_jump_around_right": (18_528, 18_528, 1_173, "ood"),
    "template_opposite_right": (15_225, 15_225, 4_476, "ood"),
    "template_around_right": (15_225, 15_225, 4_476, "ood"),
    "template_right": (15_225, 15_225, 4_476, "ood"),
    "filler_num0": (15_225, 15_225, 1_173, "ood"),
    "filler_num1": (16_290, 16_290, 1_173, "ood"),
    "filler_num2": (17_391, 17_391, 1_173, "ood"),
    "filler_num3": (18_528, 18_528, 1_173, "ood"),
}
# Variant -> what the commands of train, and of the test part, are known by.
RULES = {
    "length": (lambda c: True, lambda c: True),
    "addprim_jump": (
        lambda c: c == "jump" or "jump" not in c,
        lambda c: "jump" in c and c != "jump",
    ),
    "addprim_turn_left": (
        lambda c: c == "turn left" or "turn left" not in c,
        lambda c: "turn left" in c and c != "turn left",
    ),
    "template_jump_around_right": (
        lambda c: not re.search("(jump|turn) around right", c),
        lambda c: "jump around right" in c and "turn around right" not in c,
    ),
    "template_opposite_right": (
        lambda c: "opposite right" not in c,
        lambda c: "opposite right" in c and "turn opposite right" not in c,
    ),
    "template_around_right": (
        lambda c: "around right" not in c,
        lambda c: "around right" in c and "turn around right" not in c,
    ),
    "template_right": (
        lambda c: not re.search("(walk|look|run|jump|turn) right", c),
        lambda c: re.search("(walk|look|run|jump) right", c) and "turn right" not in c,
    ),
} | {
    f"filler_num{number}": (
        lambda c, unseen=unseen: not re.search(f"({unseen}) around right", c),
        lambda c: "jump around right" in c and "turn around right" not in c,
    )
    for number, unseen in enumerate(
        ["turn|jump|look|walk|run", "turn|jump|walk|run", "turn|jump|run", "turn|jump"]
    )
}
L, R = "I_TURN_LEFT", "I_TURN_RIGHT"
WALK, LOOK, RUN, JUMP = "I_WALK", "I_LOOK", "I_RUN", "I_JUMP"
HAND_WORKED = {
    "jump": [JUMP],
    "jump left": [L, JUMP],
    "turn right": [R],
    "turn opposite left twice": [L, L, L, L],
    "turn around right": [R, R, R, R],
    "jump around right": [R, JUMP, R, JUMP, R, JUMP, R, JUMP],
    "jump opposite left and walk thrice": [L, L, JUMP, WALK, WALK, WALK],
    "run left twice after turn left twice": [L, L, L, RUN, L, RUN],
    "jump opposite left after walk around left": [*4 * [L, WALK], L, L, JUMP],
    "turn left after look around left thrice": [*12 * [L, LOOK], L],
}


def _read(table):
    """Yields (command, actions) of each row."""
    for (*words, separator), (*actions, end), _ in read(table):
        assert (separator, end) == ("<sep>", "<end>")
        yield " ".join(words), actions


def restate(table):
    """Yields (tags, parts) of each row, from the words of the rows."""
    held_out = table.certificate.held_out
    units = "|".join(re.findall("`(.*?)`", held_out))
    anywhere = "in company" in held_out and units == "jump"  # In any phrase.
    for command, actions in _read(table):
        sentences = re.split(" and | after ", command)
        if not units:
            parts = actions if "actions" in held_out else sentences
        else:
            pattern = f"({units})" + (".*" if anywhere else "( twice| thrice)?")
            tested = [text for text in sentences if re.fullmatch(pattern, text)]
            parts = [part for text in tested for part in ("unit", text)] or sentences
            if "in company" in held_out and command == units:
                parts = ["unit"]
        yield {"length": len(actions)}, parts


@pytest.fixture(scope="module", params=PUBLISHED)
def case(request):
    return request.param, scan.scan(seed=3, variant=request.param)


@pytest.fixture(scope="module")
def rows():
    return list(_read(scan.scan(seed=3, variant="simple")))


def _splits(table, rows):
    """Yields (command, actions, split); the rows are the same in every variant."""
    for (command, actions), split in zip(rows, table.split.tolist(), strict=True):
        yield command, actions, tasks.SPLITS[split]


def test_every_variant_has_the_same_rows(case):
    _, table = case
    simple = scan.scan(seed=5, variant="simple")
    for name in ("tokens", "targets", "answer_positions"):
        np.testing.assert_array_equal(getattr(table, name), getattr(simple, name))
    assert table.vocab == simple.vocab


def test_every_variant_is_here():
    assert set(PUBLISHED) == {"simple", "length", *scan.VARIANTS}


def test_the_commands_are_those_of_the_grammar(rows):
    phrase = "((walk|look|run|jump)|(walk|look|run|jump|turn)( opposite| around|)"
    sentence = f"{phrase} (left|right))( twice| thrice|)"
    commands = {command for command, _ in rows}
    assert len(rows) == len(commands) == 20_910  # All there are: 102 + 2 * 102 ** 2.
    command = re.compile(f"{sentence}(( and | after ){sentence})?")
    assert all(command.fullmatch(text) for text in commands)


def test_hand_worked_commands(rows):
    actions = {command: actions for command, actions in rows}
    assert {command: actions[command] for command in HAND_WORKED} == HAND_WORKED
    for command, answer in HAND_WORKED.items():
        assert scan.scan_oracle(command.split()) == answer


def test_the_parts_have_the_published_sizes(case, rows):
    variant, table = case
    epoch, train, test, part = PUBLISHED[variant]
    found = collections.Counter(split for *_, split in _splits(table, rows))
    expected = {"train": train, part: test, "unused": 20_910 - train - test}
    assert found == {name: count for name, count in expected.items() if count}
    assert table.certificate.rows == found | {"train_epoch": epoch}
    assert table.repeats[table.rows_of("train")].sum() == epoch
    often = {row[0]: n for row, n in zip(rows, table.repeats, strict=True) if n > 1}
    bare = {"addprim_jump": {"jump": 1_467}, "addprim_turn_left": {"turn left": 2_189}}
    assert often == bare.get(variant, {})


def test_the_parts_hold_the_published_rows(case, rows):
    variant, table = case
    if variant == "simple":  # The published sample is in no rule.
        other = scan.scan(seed=4, variant=variant)
        assert (other.split != table.split).any()
        return
    is_train, is_test = RULES[variant]
    part = PUBLISHED[variant][-1]
    for command, actions, split in _splits(table, rows):
        if variant == "length":
            assert split == ("train" if len(actions) <= 22 else "depth")
            assert len(actions) != 23
        else:
            both = ("train" if is_train(command) else "unused"), part
            assert split == both[bool(is_test(command))], command


def test_nothing_tested_is_composed_in_training(case):
    variant, table = case
    assert not any(table.certificate.impure.values())
    atoms = table.certificate.atoms
    sentences = {  # Sentences with a tested phrase, plus the unit itself.
        "addprim_jump": 7 * 3 + 1,
        "addprim_turn_left": 3 + 1,
        "template_jump_around_right": 3 + (3 + 1),  # 3 are in neither part.
        "template_opposite_right": 3 + (4 * 3 + 1),
        "template_around_right": 3 + (4 * 3 + 1),
        "template_right": 3 + (4 * 3 + 1),
        "filler_num0": 3 + 3 * 3 + (3 + 1),
        "filler_num1": 3 + 2 * 3 + (3 + 1),
        "filler_num2": 3 + 3 + (3 + 1),
        "filler_num3": 3 + (3 + 1),
    }
    assert atoms["never_composed"] == sentences.get(variant, 0)


@pytest.mark.parametrize("variant", scan.VARIANTS)
def test_a_tested_command_in_training_breaks_the_certificate(variant, monkeypatch):
    part = scan.part_of
    leaking = f"walk and {scan.VARIANTS[variant].tested[0]} twice"
    monkeypatch.setattr(
        scan, "part_of", lambda c, split: "train" if c == leaking else part(c, split)
    )
    impure = scan.scan(seed=0, variant=variant).certificate.impure["ood"]
    assert impure == PUBLISHED[variant][2] - 1


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(scan.SENTENCES), st.sampled_from(scan.SENTENCES))
def test_connectives_put_sentences_together(first, second):
    one, two = scan.interpret(first), scan.interpret(second)
    assert scan.interpret(f"{first} and {second}") == one + two
    assert scan.interpret(f"{first} after {second}") == two + one


# How rows with sequence answers are laid out and judged, for all tasks that have them.


def test_a_sequence_answer_by_hand():
    tokens, positions, targets = base.teacher_forced(
        base.pad([[5, 6], [7], [5, 5]]), base.pad([[3], [4, 4], []]), separator=8, end=9
    )
    assert tokens.tolist() == [[5, 6, 8, 3], [7, 8, 4, 4], [5, 5, 8, 0]]
    assert positions.tolist() == [[2, 3, 0], [1, 2, 3], [2, 0, 0]]
    assert targets.tolist() == [[3, 9, -1], [4, 4, 9], [9, -1, -1]]
    assert all(array.dtype == np.int32 for array in (tokens, positions, targets))


def test_a_sequence_answer_is_right_as_a_whole():
    targets = base.pad([[3, 9], [3, 8], [3, 8], [3, 9], [3, 7]])
    certificate = base.certify(
        tokens=base.pad([[1, 5], [2, 5], [1, 6], [2, 6], [2, 6]]),
        answer_positions=base.pad(5 * [[1, 1]]),
        targets=targets,
        split=np.array([0, 0, 0, 1, 2], np.int8),
        repeats=np.array([3, 1, 1, 1, 1], np.int32),
        atoms=np.array([[0, 1], [2, 1], [0, 3], [2, 3], [4, 5]]),
        held_out="nothing.",
    )
    # Training gives two answers, and never 3 7.
    assert certificate.chance == {"train": 0.5, "id": 0.5, "ood": 0.0}
    assert certificate.majority == {"train": 1 / 3, "id": 1.0, "ood": 0.0}
    assert certificate.last_token == {"train": 2 / 3, "id": 0.0, "ood": 0.0}
