"""Released folders against the rows that small ones were written with."""

import collections
import json
import re

import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.tasks import knowledge, ltg_folder
from rdt_jax.training import validation
from tests.conftest import ROOT
from tests.tasks import ltg_folders
from tests.tasks.reading import read

path = ltg_folders.example


def _make(folder, **changes):
    kwargs = {"test_file": "test.json", "answer_at": "last", "row_length": None}
    kwargs |= changes
    return ltg_folder.ltg_folder(seed=0, path=str(folder), **kwargs)


def restate(table):
    """Yields (tags, parts) of each row, from the words of the rows."""
    rows = list(read(table))
    facts = {words: answer for words, (answer,), _ in rows if len(words) == 2}
    longest = max(len(words) for words, *_ in rows)
    for words, _, split in rows:
        at, used = words[0], []
        for relation in words[1:]:
            used.append((at, relation))
            at = facts[at, relation]
        tags = {"hops": len(words) - 1}
        if longest == 3:
            composed = "ood-ood" if split == "ood" else "id-id"
            tags["pattern"] = "atomic" if len(words) == 2 else composed
        yield tags, used


def _items(folder, name):
    return json.loads((folder / name).read_text())


def _words(item):
    return tuple(re.findall("<[^>]+>", item["input_text"]))


def _answer(item):
    return item["target_text"][len(item["input_text"]) : -len("</a>")]


def test_a_folder_of_two_hops(tmp_path):
    facts, trained, tested_id, tested_ood = ltg_folders.systematicity(tmp_path)
    table = _make(tmp_path)
    rows = {words: (answer, split) for words, (answer,), split in read(table)}
    train = _items(tmp_path, "train.json")
    assert len(train) == facts + trained
    for item in train:
        assert rows[_words(item)] == (_answer(item), "train")
    found = collections.Counter()
    for item in _items(tmp_path, "test.json"):
        answer, split = rows[_words(item)]
        assert answer == _answer(item)
        found[item["type"], split] += 1
    unused = found.pop(("test_inferred_iid", "unused"), 0)
    assert found == {
        ("id_atomic", "train"): facts - facts // 5,
        ("ood_atomic", "train"): facts // 5,
        ("train_inferred", "train"): 7,
        ("test_inferred_iid", "id"): tested_id - unused,
        ("test_inferred_ood", "ood"): tested_ood,
    }
    assert min(unused, tested_id - unused, tested_ood) > 0  # All of them are tested.
    assert len(rows) == len(train) + tested_id + tested_ood
    assert (table.repeats == 1).all()
    assert table.vocab == ("<pad>", *_items(tmp_path, "vocab.json"))
    patterns = np.array(knowledge.PATTERNS)[table.tags["pattern"]]
    for (words, _, split), pattern in zip(read(table), patterns, strict=True):
        named = {"ood": "ood-ood"}.get(split, "id-id")
        assert pattern == ("atomic" if len(words) == 2 else named)


def test_a_folder_of_many_hops(tmp_path):
    ltg_folders.extrapolation(tmp_path)
    table = _make(tmp_path)
    assert set(table.tags) == {"hops"}
    rows = {words: (answer, split) for words, (answer,), split in read(table)}
    train = _items(tmp_path, "train.json")
    assert all(rows[_words(item)] == (_answer(item), "train") for item in train)
    found = collections.Counter()
    for item in _items(tmp_path, "test.json"):
        found[item["type"], rows[_words(item)][1]] += 1
    assert found == {
        ("2hop_test", "id"): 9,
        ("3hop_test", "id"): 9,
        ("4hop_test", "depth"): 9,
        ("5hop_test", "depth"): 9,
        ("2hop_train", "train"): 3,
        ("3hop_train", "train"): 3,
        ("atomic_facts", "train"): 5,
    }
    assert not any(table.certificate.impure.values())
    small = _make(tmp_path, test_file="test_small.json")
    counts = {"train": len(train), "id": 4, "depth": 4, "train_epoch": len(train)}
    assert small.certificate.rows == counts
    valid = _make(tmp_path, test_file="valid.json")
    np.testing.assert_array_equal(valid.tokens, table.tokens)


def test_a_row_that_stands_twice_in_training_is_repeated(tmp_path):
    ltg_folders.extrapolation(tmp_path)
    train = _items(tmp_path, "train.json")
    ltg_folders.write(tmp_path, "train.json", [*train, train[3], train[30], train[3]])
    table = _make(tmp_path)
    often = {
        tuple(row[0]): n for row, n in zip(read(table), table.repeats, strict=True)
    }
    assert {words: n for words, n in often.items() if n > 1} == {
        _words(train[3]): 3,
        _words(train[30]): 2,
    }
    assert table.certificate.rows["train_epoch"] == len(train) + 3


def test_the_length_of_the_rows_moves_the_pad_at_which_all_answers_are_read():
    folder = ltg_folders.example("extrapolation")  # Rows of at most 6 tokens.
    short, long = (_make(folder, answer_at="pad", row_length=n) for n in (None, 11))
    assert [table.tokens.shape[1] for table in (short, long)] == [6, 11]
    np.testing.assert_array_equal(short.tokens, long.tokens[:, :6])
    assert (long.answer_positions == 10).all() and not long.tokens[:, 6:].any()
    last = _make(folder, row_length=7)
    np.testing.assert_array_equal(last.answer_positions[:, 0], last.tags["hops"])
    with pytest.raises(
        ValueError, match=r"row_length must be none or at least 6, .* 5"
    ):
        _make(folder, row_length=5)


def test_a_listed_pad_changes_nothing(tmp_path):
    ltg_folders.systematicity(tmp_path)
    plain = _make(tmp_path)
    words = _items(tmp_path, "vocab.json")
    ltg_folders.write(tmp_path, "vocab.json", ["<pad>", *words])
    listed = _make(tmp_path)
    assert listed.vocab == plain.vocab
    np.testing.assert_array_equal(listed.tokens, plain.tokens)
    np.testing.assert_array_equal(listed.targets, plain.targets)
    train = _items(tmp_path, "train.json")
    train[3] = ltg_folders.item(("<pad>", "<r_0>"), "<e_0>")
    ltg_folders.write(tmp_path, "train.json", train)
    with pytest.raises(
        ValueError, match=r"item 3 must have words .* not <pad>, got <p"
    ):
        _make(tmp_path)


# A malformed file says which file and item.


def _broken(change):
    """A case: what is done to an item of a file."""
    return lambda items, number: items.__setitem__(number, change(items[number]))


def _set(**fields):
    return _broken(lambda item: item | fields)


def _drop(key):
    return _broken(lambda item: {k: v for k, v in item.items() if k != key})


def _ends_in(answer):
    return _broken(lambda i: i | {"target_text": f"{i['input_text']}{answer}</a>"})


@pytest.mark.parametrize(
    ("name", "number", "change", "message"),
    [
        ("train.json", 4, _broken(lambda item: 7), r"must be an object, got 7\."),
        ("train.json", 4, _drop("input_text"), r"must have .* input_text, got None\."),
        ("test.json", 4, _set(target_text=3), r"must have a .* target_text, got 3\."),
        ("test.json", 4, _set(type=3), r"must have a string as its type, got 3\."),
        ("test.json", 4, _drop("type"), r"must have as its type .*, got ''\."),
        ("test.json", 4, _set(type="x"), r"must have as its type .*, got 'x'\."),
        ("train.json", 4, _set(input_text="<e_1>"), r"must have an .*, got '<e_1>'\."),
        ("train.json", 4, _set(input_text="<a> <b>"), r"must have an .* '<a> <b>'\."),
        ("train.json", 4, _set(input_text="<a><r_9>", target_text="<a><r_9><a></a>"),
         r"must have words of vocab\.json only, .*, got <r_9>\."),
        ("train.json", 4, _set(target_text="<e_1>"), r"must have .*, got '<e_1>'\."),
        ("train.json", 4, _ends_in(""), r"must have .*, one <word> and </a> as its .*"),
        ("train.json", 4, _ends_in("<e_1><e_2>"), r"must have its input_text, one .*"),
        ("train.json", 30, _ends_in("<r_0>"), r"must be answered by .* <r_0>\."),
        ("test.json", 1, _set(type="3hop_test"), r"must have the hops of .*, got 2\."),
        ("test.json", 1, _set(type="2hop_train"),
         r"must be in train\.json, since its type is 2hop_train\."),
        ("test.json", 10, _set(type="2hop_test"),
         r"must not be item \d+ of train\.json too, since its type is 2hop_test\."),
        ("test.json", 1, _set(type="test_inferred_ood"),
         r"must not ask for a fact that a composition of train\.json uses, .*"),
    ],
)  # fmt: skip
def test_a_malformed_item_is_named(tmp_path, name, number, change, message):
    ltg_folders.extrapolation(tmp_path)
    _make(tmp_path)
    items = _items(tmp_path, name)
    change(items, number)
    ltg_folders.write(tmp_path, name, items)
    where = rf"^{re.escape(str(tmp_path / name))}: item {number} "
    with pytest.raises(ValueError, match=rf"{where}{message}$"):
        _make(tmp_path)


def test_an_item_that_stands_twice_is_named(tmp_path):
    ltg_folders.extrapolation(tmp_path)
    train, test = _items(tmp_path, "train.json"), _items(tmp_path, "test.json")
    other = train[2] | {"target_text": train[2]["input_text"] + "<e_0></a>"}
    if other == train[2]:
        other["target_text"] = train[2]["input_text"] + "<e_1></a>"
    ltg_folders.write(tmp_path, "train.json", [*train, other])
    message = (
        rf"train\.json: item {len(train)} must not answer item 2 in another way\.$"
    )
    with pytest.raises(ValueError, match=message):
        _make(tmp_path)
    ltg_folders.write(tmp_path, "train.json", train)
    ltg_folders.write(tmp_path, "test.json", [*test, test[1]])
    message = rf"test\.json: item {len(test)} must not be item 1 of test\.json too, "
    with pytest.raises(ValueError, match=message):
        _make(tmp_path)


def test_a_fact_that_is_not_stated_is_named(tmp_path):
    ltg_folders.extrapolation(tmp_path)
    train, test = _items(tmp_path, "train.json"), _items(tmp_path, "test.json")
    fact = next(item for item in train if item["type"] == "atomic")
    used = "".join(_words(fact))
    test = [item for item in test if item["input_text"] != used]
    ltg_folders.write(tmp_path, "test.json", test)
    ltg_folders.write(tmp_path, "train.json", [item for item in train if item != fact])
    message = (
        rf"train\.json: item \d+ needs {used}, which no one-hop item of train\.json"
    )
    with pytest.raises(ValueError, match=message):
        _make(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocab.json", "[1", r"must be JSON in UTF-8, but .*"),
        ("vocab.json", 9_999 * "[", r"must be JSON in UTF-8, but maximum recursion .*"),
        ("train.json", 9_999 * '[{"a":', r"must be JSON in UTF-8, but .* depth .*"),
        ("vocab.json", "{}", r"must be a list that is not empty\."),
        ("train.json", "[]", r"must be a list that is not empty\."),
        ("vocab.json", '["<e_0>", "r"]', r"item 1 must be a <word>, got 'r'\."),
        ("vocab.json", '["<a>", "<a>"]', r"item 1 must be a new word .*, got '<a>'\."),
        (
            "vocab.json",
            '["<a>", "<pad>"]',
            r"item 1 must be a new word \(<pad> can only be item 0, .*, got '<pad>'\.",
        ),
        ("vocab.json", '["<pad>", "<pad>"]', r"item 1 must be a new word .*'<pad>'\."),
    ],
)
def test_a_malformed_file_is_named(tmp_path, name, content, message):
    ltg_folders.extrapolation(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(
        ValueError, match=rf"{re.escape(str(tmp_path / name))}: {message}$"
    ):
        _make(tmp_path)


@pytest.mark.parametrize(
    ("name", "keep", "message"),
    [
        ("train.json", "atomic", r"there must be a composition, but is none\."),
        ("test.json", "atomic_facts", r"there must be a held-out item, but is none\."),
    ],
)
def test_a_folder_with_nothing_to_ask_is_refused(tmp_path, name, keep, message):
    ltg_folders.extrapolation(tmp_path)
    items = [item for item in _items(tmp_path, name) if item["type"] == keep]
    ltg_folders.write(tmp_path, name, items)
    if name == "train.json":
        tested = [i for i in _items(tmp_path, "test.json") if "train" not in i["type"]]
        ltg_folders.write(tmp_path, "test.json", tested)
    with pytest.raises(
        ValueError, match=rf"{re.escape(str(tmp_path / name))}: {message}$"
    ):
        _make(tmp_path)


def test_an_answer_token_must_be_a_word(tmp_path):
    ltg_folders.extrapolation(tmp_path)
    ltg_folders.write(tmp_path, "vocab.json", ltg_folders.vocab(7, 3)[:10])
    _make(tmp_path)
    message = r"task\.kwargs\.answer_at must be another .* has no word <a>, got 'answer"
    with pytest.raises(ValueError, match=message):
        _make(tmp_path, answer_at="answer_token")


# The config needs a folder, and says so once.


def test_a_config_without_a_folder_has_one_problem():
    config = configs.load(f"{ROOT}/configs/ltg_folder.py:smoke")
    (problem,) = tasks.problems(config)
    assert problem.startswith("task.kwargs.path must be a released data folder with ")
    with pytest.raises(ValueError, match=r"^Invalid config:\n  task\.kwargs\.path .*$"):
        validation.check(config)


def test_a_folder_is_given_as_an_override(tmp_path):
    ltg_folders.systematicity(tmp_path)
    config = configs.load(f"{ROOT}/configs/ltg_folder.py:smoke")
    argument = [f"--config.task.kwargs.path={tmp_path}"]
    overrides = configs.parse_overrides(config, argument)
    validation.check(configs.override(config, overrides))
