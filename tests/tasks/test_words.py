"""Rows of words to tables: layout, vocabulary, repeats, tags, splits by a rule."""

import itertools

import numpy as np
import pytest

from rdt_jax import tasks
from rdt_jax.tasks import Row, base, rows, splits, words

EVERY = splits.Rule(0, heldout=0.0)


def reverse(letters: str = "abc", longest: int = 5, max_train_size: int = 4):
    """Reverse: the letters from the last to the first."""
    for length in range(1, longest + 1):
        for word in itertools.product(letters, repeat=length):
            yield Row(word, word[::-1], parts=word, size=length)


def facts(number: int = 12):
    """Sums: a part alone is a row as well as a pair of them."""
    for a in range(number):
        yield Row(f"n{a}", f"v{a}", parts=[a])
    for a, b in itertools.product(range(number), repeat=2):
        yield Row(f"n{a} n{b}", f"v{(a + b) % number}", parts=[a, b])


def _words(table):
    return [[table.vocab[token] for token in row if token] for row in table.tokens]


def test_an_answer_of_one_word_is_read_behind_the_question():
    table = words.make_table([Row("a b", "x"), Row(["ü"], "a")], EVERY)
    assert _words(table) == [["a", "b", "<a>"], ["ü", "<a>"]]
    assert table.tokens.dtype == np.int32 and table.tokens.shape == (2, 3)
    assert table.answer_positions.tolist() == [[2], [1]]
    assert [table.vocab[t] for t in table.targets[:, 0]] == ["x", "a"]
    assert table.vocab == ("<pad>", "a", "b", "ü", "x", "<a>")
    assert rows.decode(table, 0) == (["a", "b"], ["x"])


def test_an_answer_of_several_words_is_fed_back_and_ends():
    table = words.make_table([Row("a", "x"), Row("a b", "y x")], EVERY)
    assert _words(table) == [["a", "<sep>", "x"], ["a", "b", "<sep>", "y", "x"]]
    read = [table.vocab[t] for t in table.targets[1]]
    assert read == ["y", "x", "<end>"]
    assert table.answer_positions.tolist() == [[1, 2, 0], [2, 3, 4]]
    assert rows.decode(table, 0) == (["a"], ["x"])


def test_a_row_that_comes_again_is_repeated():
    given = [Row("a", "x"), Row("b", "y", repeats=2), Row("a", "x", repeats=3)]
    table = words.make_table(given, EVERY)
    assert table.repeats.tolist() == [4, 2]
    assert table.certificate.rows == {"train": 2, "train_epoch": 6}


@pytest.mark.parametrize(
    ("again", "what"),
    [
        (Row("a", "y"), "output: \\('y',\\), not \\('x',\\)"),
        (Row("a", "x", split="id"), "split: 'id', not 'train'"),
        (Row("a", "x", split="train", parts="p"), "parts"),
        (Row("a", "x", split="train", size=1), "size"),
        (Row("a", "x", split="train", tags={"t": 1}), "tags"),
    ],
)
def test_a_question_that_comes_again_as_another_row_is_refused(again, what):
    given = [Row("b", "x"), Row("a", "x", split="train"), again]
    message = f"row 3 asks 'a' again, as row 2 does, with another {what}"
    with pytest.raises(ValueError, match=message):
        words.make_table(given, EVERY)


def test_tags_are_numbers_or_words():
    given = [
        Row("a", "x", tags={"hops": 2, "kind": "new"}),
        Row("b", "x", tags={"hops": 1, "kind": "old"}),
        Row("c", "x", tags={"hops": 1, "kind": "new"}),
    ]
    table = words.make_table(given, EVERY)
    assert {n: v.tolist() for n, v in table.tags.items()} == {
        "hops": [2, 1, 1],
        "kind": [0, 1, 0],
    }
    assert table.tag_names == {"kind": ("new", "old")}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"input": "a", "output": 7}, "output of a row must be words, .* '7'.*got 7"),
        ({"input": ["a", 1], "output": "x"}, r"input of a row must be words.*\['a', 1"),
        ({"input": "", "output": "x"}, "input of a row must be at least one word"),
        ({"input": "a", "output": []}, "output of a row must be at least one word"),
        ({"input": ["a b"], "output": "x"}, "must be words, no spaces, got"),
        ({"input": ["a", ""], "output": "x"}, "must be words, no spaces, got"),
        *(
            ({"input": "a", "output": word}, f"other words than .*{word}.* got")
            for word in rows.LAYOUT
        ),
        ({"input": "<sep> a", "output": "a"}, "input of a row must be other words"),
        ({"parts": 3}, "parts of a row must be words, or"),
        ({"parts": [{}]}, "parts of a row must be words, or"),
        ({"size": 1.5}, "size of a row must be an int or None, got 1.5"),
        ({"split": "test"}, "split of a row must be one of train, id, .*'test'"),
        ({"repeats": 0}, "repeats of a row must be an int of at least 1, got 0"),
        ({"size": 1, "tags": {"size": 1}}, "tags of a row must be without `size`"),
        ({"tags": {"size": "big"}}, "tags of a row must be without `size`"),
        ({"tags": {"t": 1.5}}, "tags of a row must be a dict of ints or words"),
        ({"tags": {"t": 2**31}}, "tags of a row must be a dict of ints or words"),
    ],
)
def test_a_row_of_another_kind_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Row(**{"input": "a", "output": "x"} | values)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "must have rows, got none"),
        (["a"], "must yield rdt_jax.tasks.Row, got 'a' as row 1"),
        (
            [Row("a", "x", size=1), Row("b", "x")],
            "same tags.*size.* in row 1 and {} in",
        ),
        (
            [Row("a", "x", tags={"t": 1}), Row("b", "x")],
            "same tags.*in row 1 and {} in",
        ),
        (
            [Row("a", "x", tags={"t": 1}), Row("b", "x", tags={"t": "w"})],
            "each of ints or of words",
        ),
        ([Row("a", "x", split="id")], "there must be train rows"),
    ],
)
def test_rows_that_do_not_go_together_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        words.make_table(given, EVERY)


def test_a_function_that_does_not_end_is_ended(monkeypatch):
    monkeypatch.setattr(words, "MAX_ROWS", 3)
    given = (Row(f"a{n}", "x") for n in range(9))
    with pytest.raises(ValueError, match="must yield at most 3 rows, got more"):
        words.make_table(given, EVERY)


def test_a_random_share_and_what_is_larger_than_trained():
    table = words.task(reverse)(seed=3, heldout=0.25)
    assert table.certificate.rows == {
        # A letter alone is what words are made of: it is trained.
        "train": 3 + round(0.75 * (9 + 27 + 81)),
        "id": round(0.25 * (9 + 27 + 81)),
        "depth": 3**5,
        "train_epoch": 91,
    }
    assert (table.tags["size"][table.rows_of("depth")] == 5).all()
    assert table.certificate.atoms == {"all": 3, "practiced": 3, "never_composed": 0}
    assert not any(table.certificate.impure.values())
    said = "A random 0.25 of the rows; rows of a size above 4."
    assert table.certificate.held_out == said
    for row, text in enumerate(_words(table)):
        at = text.index("<sep>")
        assert text[at + 1 :] == text[:at][::-1], row


def test_seeds_give_other_splits_of_the_same_rows():
    one, same, other = (words.task(reverse)(seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.split, same.split)
    np.testing.assert_array_equal(one.tokens, other.tokens)
    assert (one.split != other.split).any()


def test_parts_that_are_never_combined_in_training():
    table = words.task(facts)(seed=0, heldout=0.1, heldout_parts=0.25)
    part = [tasks.SPLITS[s] for s in table.split]
    combined = {split: set() for split in part}
    for text, split in zip(_words(table), part, strict=True):
        if len(text) == 3:
            combined[split].add(frozenset(text[:-1]))
    trained = set().union(*combined["train"])
    new = {f"n{a}" for a in range(12)} - trained
    assert len(new) == 3
    assert part[:12] == 12 * ["train"]  # Each part alone is known.
    assert len([s for s in part if s == "ood"]) == 9
    assert all(pair <= new for pair in combined["ood"])
    assert all(len(pair & new) == 1 for pair in combined["mixed"])
    assert all(not pair & new for pair in combined["id"])
    assert not any(table.certificate.impure.values())
    assert table.certificate.rows["mixed"] == 2 * 3 * 9


def test_pairs_that_are_never_together_in_training():
    table = words.task(facts)(seed=0, heldout=0.0, heldout_pairs=0.25)
    apart, together = (
        {frozenset(t[:-1]) for t in np.array(_words(table), object)[table.rows_of(s)]}
        for s in ("id", "train")
    )
    assert len(apart) == round(0.25 * 12 * 11 / 2)
    assert not apart & together


def test_rows_may_say_their_split_and_leave_others_to_the_rule():
    given = [
        Row(f"a{i}", f"x{i % 2}", split="ood" if i < 5 else None) for i in range(25)
    ]
    table = words.make_table(given, splits.Rule(0, heldout=0.5))
    assert (table.split[:5] == base.SPLITS.index("ood")).all()
    assert table.certificate.rows == {
        "train": 10, "id": 10, "ood": 5, "train_epoch": 10,
    }  # fmt: skip


def test_splits_of_rows_without_parts_are_not_called_impure():
    given = [Row(f"a{i}", "x", split=s) for i, s in enumerate(tasks.SPLITS)]
    certificate = words.make_table(given, splits.Rule(0)).certificate
    assert certificate.held_out == "What the rows say."
    assert certificate.impure == {"id": 0, "ood": 0, "mixed": 0, "depth": 0}


def test_depth_rows_that_are_no_larger_are_impure():
    given = [Row("a", "x", size=2, split="train"), Row("b", "x", size=2, split="depth")]
    certificate = words.make_table(given, splits.Rule(0)).certificate
    assert certificate.impure["depth"] == 1


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"heldout": 1.0}, r"task.kwargs.heldout must be in \[0, 1\), got 1.0"),
        ({"heldout_pairs": 0.1}, "heldout must be 0 with heldout_pairs"),
        ({"heldout_parts": 0.01}, "heldout_parts must choose some of 12 parts"),
        ({"heldout_parts": 0.99}, "heldout_parts must choose some of 12 parts"),
        ({"max_train_size": 0}, "max_train_size must leave train rows"),
        ({"heldout": 0.999}, "heldout must leave train rows|id rows"),
        ({"max_train_size": 2}, "max_train_size must leave depth rows"),
        ({"heldout": 0.001}, "heldout must leave id rows"),
    ],
)
def test_a_rule_that_leaves_nothing_is_refused(rule, message):
    with pytest.raises(ValueError, match=message):
        words.task(facts)(seed=0, **rule)


@pytest.mark.parametrize("name", splits.Rule._fields[1:])
def test_a_rule_does_nothing_where_every_row_says_its_split(name):
    given = [Row("a", "x", split="train"), Row("b", "x", split="id")]
    with pytest.raises(
        ValueError, match=f"{name} must be left out where every row says"
    ):
        words.make_table(given, splits.Rule(0)._replace(**{name: 0.5}))


def test_a_part_that_a_rule_asks_for_must_be_known():
    with pytest.raises(ValueError, match="heldout_parts must choose some of 0 parts"):
        words.make_table([Row("a", "x")], splits.Rule(0, heldout_parts=0.5))


def test_shortcuts_are_counted():
    table = words.task(facts)(seed=0)
    assert set(table.certificate.shortcuts) == {"first_word", "length"}
    assert table.certificate.chance["id"] == 1 / 12
