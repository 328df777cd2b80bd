"""PCFG expressions against a stack machine that reads them from their end."""

import collections

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdt_jax import tasks
from rdt_jax.tasks import base, pcfg

RANDOM = {
    "splitting": "random",
    "num_symbols": 7,
    "max_functions": 4,
    "max_train_functions": 4,
    "max_length": 19,
    "train_rows": 607,
    "heldout_rows": 101,
    "num_heldout_pairs": 0,
}
SYSTEMATICITY = RANDOM | {"splitting": "systematicity", "num_heldout_pairs": 9}
PRODUCTIVITY = RANDOM | {"splitting": "productivity", "max_functions": 6}


def _reverse(x):
    return [x[len(x) - 1 - i] for i in range(len(x))]


def _swap(x):
    y = list(x)
    y[0], y[-1] = x[-1], x[0]
    return y


# Name -> (arguments, what it does), restated.
MACHINE = {
    "copy": (1, list),
    "reverse": (1, _reverse),
    "shift": (1, lambda x: [*x[1:], x[0]]),
    "swap_first_last": (1, _swap),
    "repeat": (1, lambda x: 2 * x),
    "echo": (1, lambda x: [*x, x[-1]]),
    "append": (2, lambda x, y: [*x, *y]),
    "prepend": (2, lambda x, y: [*y, *x]),
    "remove_first": (2, lambda x, y: y),
    "remove_second": (2, lambda x, y: x),
}
HAND_WORKED = {
    "copy A B C": "A B C",
    "reverse A B C": "C B A",
    "shift A B C": "B C A",
    "swap_first_last A B C D": "D B C A",
    "swap_first_last A": "A",
    "repeat A B": "A B A B",
    "echo A B": "A B B",
    "append A B , C": "A B C",
    "prepend A B , C": "C A B",
    "remove_first A B , C": "C",
    "remove_second A B , C": "A B",
    "append swap_first_last A B C , repeat D": "C B A D D",
    "prepend remove_second A , B , echo append C , D": "C D D A",
    "remove_first append A , B , reverse shift C D E": "C E D",
}


def run(words):
    """Returns the string, the pairs of functions and how many functions there are."""
    stack, string, pairs, count = [], [], [], 0
    for word in reversed(words):
        if word in MACHINE or word == ",":
            if string:
                stack.append((None, string))
                string = []
        if word in MACHINE:
            arity, function = MACHINE[word]
            arguments = [stack.pop() for _ in range(arity)]
            pairs += [(word, inner) for inner, _ in arguments if inner]
            stack.append((word, function(*(value for _, value in arguments))))
            count += 1
        elif word != ",":
            string = [word, *string]
    ((_, result),) = stack
    return result, pairs, count


def _make(seed=5, **changes):
    return pcfg.pcfg(seed=seed, **RANDOM | changes)


def _read(table):
    """Yields (words, answer, split) of each row; checks how the row is laid out."""
    for index, tokens in enumerate(table.tokens.tolist()):
        words = [table.vocab[token] for token in tokens if token]
        start = words.index("<sep>")
        targets = [t for t in table.targets[index].tolist() if t != base.NO_TARGET]
        answer = [table.vocab[target] for target in targets]
        assert answer.pop() == "<end>"
        assert words[start + 1 :] == answer
        assert table.answer_positions[index, 0] == start
        yield words[:start], answer, tasks.SPLITS[table.split[index]]


def _verify(table, kwargs):
    """Checks every row, split and tag against the stack machine."""
    rows = [(*run(words), words, *rest) for words, *rest in _read(table)]
    trained = {p for _, pairs, *_, split in rows if split == "train" for p in pairs}
    longest = kwargs["max_train_functions"]
    untrained = set()
    if kwargs["splitting"] == "systematicity":
        held = {p for _, pairs, *_, split in rows if split == "ood" for p in pairs}
        assert not held & trained
        untrained = held
    found = collections.Counter()
    for index, (result, pairs, count, words, answer, split) in enumerate(rows):
        assert result == answer, words
        assert max(len(words), len(answer)) <= kwargs["max_length"]
        assert table.tags["functions"][index] == count == len(pairs) + 1
        assert table.tags["pairs"][index] >= sum(pair in untrained for pair in pairs)
        assert 1 <= count <= kwargs["max_functions"]
        known = sum(pair in trained for pair in pairs)
        found[split] += 1
        if split == "ood":
            assert known == 0 < len(pairs)
        elif split == "mixed":
            assert 0 < table.tags["pairs"][index] < len(pairs)
            assert known < len(pairs)
        else:
            assert table.tags["pairs"][index] == 0
        if split in ("train", "id"):
            assert known == len(pairs)
            assert count <= longest
        if split == "depth":
            assert known == len(pairs)
            assert count > longest
        if split == "unused":
            assert known < len(pairs)
    assert not any(table.certificate.impure.values())
    assert not any(table.certificate.overlap.values())
    return found


@pytest.mark.parametrize(("text", "answer"), HAND_WORKED.items())
def test_the_machine_by_hand(text, answer):
    assert run(text.split())[0] == answer.split()


@pytest.mark.parametrize(("text", "answer"), HAND_WORKED.items())
def test_the_functions_by_hand(text, answer):
    name, *rest = text.split()
    if set(rest) & set(pcfg.FUNCTIONS):
        return  # The machine covers what is nested, on real rows.
    arguments = [part.split() for part in " ".join(rest).split(" , ")]
    function = (pcfg.UNARY | pcfg.BINARY)[name]
    assert function(*arguments) == answer.split()


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        (RANDOM, {"train", "id"}),
        (SYSTEMATICITY, {"train", "id", "ood", "mixed"}),
        (PRODUCTIVITY, {"train", "id", "depth"}),
    ],
    ids=["random", "systematicity", "productivity"],
)
def test_rows_splits_and_tags(kwargs, expected):
    table = _make(**kwargs)
    found = _verify(table, kwargs)
    assert set(found) - {"unused"} == expected
    assert found["train"] == 607
    assert found["ood"] == (101 if "ood" in expected else 0)
    assert found["mixed"] == (101 if "mixed" in expected else 0)
    assert found.total() == 607 + (len(expected) - 1) * 101
    functions = collections.Counter(table.tags["functions"].tolist())
    assert set(functions) == set(range(1, kwargs["max_functions"] + 1))
    names = {table.vocab[token] for token in table.tokens[:, 0]}
    assert names == set(MACHINE) == set(pcfg.FUNCTIONS)


def test_what_is_held_out_is_named():
    table = _make(**SYSTEMATICITY)
    text = table.certificate.held_out.removesuffix(".").partition(": ")[2]
    named = {tuple(pair.split(" to ")) for pair in text.split(", ")}
    rows = [(run(words)[1], split) for words, _, split in _read(table)]
    assert len(named) == 9
    assert not any(named & set(pairs) for pairs, split in rows if split == "train")
    assert all(named.issuperset(pairs) for pairs, split in rows if split == "ood")
    for index, (pairs, _) in enumerate(rows):
        assert table.tags["pairs"][index] == sum(pair in named for pair in pairs)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_splits_hold_over_the_parameters(data):
    splitting = data.draw(st.sampled_from(pcfg.SPLITTINGS))
    longest = data.draw(st.integers(3, 5))
    longer = data.draw(st.integers(1, 2)) if splitting == "productivity" else 0
    held = data.draw(st.integers(1, 40)) if splitting == "systematicity" else 0
    kwargs = {
        "splitting": splitting,
        "num_symbols": data.draw(st.integers(3, 30)),
        "max_functions": longest + longer,
        "max_train_functions": longest,
        "max_length": data.draw(st.integers(15, 40)),
        "train_rows": data.draw(st.integers(40, 90)),
        "heldout_rows": data.draw(st.integers(1, 30)),
        "num_heldout_pairs": held,
    }
    try:
        table = _make(data.draw(st.integers(0, 99)), **kwargs)
    except ValueError as error:
        assert "must be" in str(error)
        return
    _verify(table, kwargs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splitting": "x"}, r"splitting must be one of random, system.*, got 'x'\."),
        ({"num_symbols": 1}, r"num_symbols must be at least 2, got 1\."),
        (
            {"max_train_functions": 1},
            r"max_train_functions must be at least 2, got 1\.",
        ),
        ({"max_length": 3}, r"max_length must be at least 4, got 3\."),
        ({"train_rows": 0}, r"train_rows must be at least 1, got 0\."),
        ({"heldout_rows": 0}, r"heldout_rows must be at least 1, got 0\."),
        ({"max_functions": 5}, r"max_functions must equal .* \(4\) unless .*, got 5\."),
        (
            PRODUCTIVITY | {"max_functions": 4},
            r"max_functions must be more than .* \(4\), got 4\.",
        ),
        (
            SYSTEMATICITY | {"max_functions": 2, "max_train_functions": 2},
            r"max_functions must be at least 3 for systematicity, got 2\.",
        ),
        (
            SYSTEMATICITY | {"num_heldout_pairs": 0},
            r"num_heldout_pairs must be in \[1, 99\], got 0\.",
        ),
        (
            {"num_heldout_pairs": 1},
            r"num_heldout_pairs must be 0 unless the splitting is .*, got 1\.",
        ),
        (
            {"num_symbols": 2, "max_length": 4, "train_rows": 999},
            r"train_rows must be at most the number of train rows that there are; .*",
        ),
        (
            PRODUCTIVITY | {"train_rows": 1, "heldout_rows": 3},
            r"train_rows must be so large that some held-out row .*, got 1\.",
        ),
    ],
)
def test_an_argument_out_of_range_is_refused(changes, message):
    with pytest.raises(ValueError, match=rf"^task\.kwargs\.{message}$"):
        _make(**changes)
