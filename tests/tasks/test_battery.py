"""What holds for every task of this repository, with the arguments in its EXAMPLES."""

import collections
import dataclasses
import inspect
import re
from unittest import mock

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from rdt_jax import tasks
from rdt_jax.tasks import base, depths
from tests.tasks import examples
from tests.tasks.examples import CASES, EXAMPLES
from tests.tasks.reading import read

# Their tables are large and their one argument has few values: the examples will do.
LARGE = [name for name, cases in EXAMPLES.items() if len(cases[0]) == 1]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case[0])
def table(request):
    name, kwargs = request.param
    return tasks.TASKS[name](seed=3, **kwargs)


def test_padding_and_answers_follow_what_is_asked(table):
    # What a Table refuses, such as padding between tokens, need not be asked again.
    assert (table.tokens != 0).any(axis=0).all()  # No column of padding alone.
    given = table.targets != base.NO_TARGET
    assert given.any(axis=0).all()
    positions = table.answer_positions
    assert (positions[:, 1:] > positions[:, :-1])[given[:, 1:]].all()


ANSWER_AT = [name for name, cases in EXAMPLES.items() if "answer_at" in cases[0]]


@pytest.mark.parametrize("name", ANSWER_AT)
def test_where_the_answer_is_read(name):
    made = {
        at: tasks.TASKS[name](seed=3, **EXAMPLES[name][0] | {"answer_at": at})
        for at in ("last", "answer_token", "pad")
    }
    questions = [question for question, *_ in read(made["last"])]
    longest = max(map(len, questions))
    for at, table in made.items():
        for field in ("targets", "split", "repeats"):
            plain = getattr(made["last"], field)
            np.testing.assert_array_equal(getattr(table, field), plain)
        assert table.tokens.shape[1] == longest + (at == "answer_token")
        for row, (words, place) in enumerate(
            zip(questions, table.answer_positions[:, 0], strict=True)
        ):
            seen = [table.vocab[token] for token in table.tokens[row]]
            assert tuple(seen[: len(words)]) == words
            expected = {
                "last": (len(words) - 1, words[-1]),
                "answer_token": (len(words), "<a>"),
                "pad": (longest - 1, (*words, "<pad>")[min(len(words), longest - 1)]),
            }[at]
            if at == "pad" and len(words) == longest:
                expected = (longest - 1, words[-1])
            assert (place, seen[place]) == expected


def test_the_certificate_has_accuracies_of_all_parts(table):
    certificate = table.certificate
    present = {name for name in tasks.SPLITS if table.rows_of(name).size}
    assert present & {"id", "ood", "depth"}
    assert {name for pair in certificate.overlap for name in pair.split("/")} == present
    guesses = [getattr(certificate, name) for name in ("chance", "majority")]
    for accuracy in (*guesses, certificate.last_token, *certificate.shortcuts.values()):
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
    is_published = "path" in kwargs or kwargs.get("variant", "simple") != "simple"
    assert (_trained(one) == _trained(other)) == is_published


def _trained(table):
    return {row.tobytes() for row in table.tokens[table.rows_of("train")]}


# Task and shortcut -> function from a table to what a guesser sees of each row.
SHORTCUTS = {
    key: guesser
    for name in EXAMPLES
    for key, guesser in examples.of_tests(name, "SHORTCUTS", {}).items()
}


@pytest.mark.parametrize(("name", "shortcut"), SHORTCUTS)
def test_a_shortcut_is_what_a_table_of_counts_says(name, shortcut):
    table = tasks.TASKS[name](seed=3, **EXAMPLES[name][0])
    seen, answers = list(SHORTCUTS[name, shortcut](table)), table.targets[:, 0].tolist()
    counts = collections.defaultdict(collections.Counter)
    for row in table.rows_of("train"):
        for key in (seen[row], "anything"):
            counts[key][answers[row]] += int(table.repeats[row])
    for split, accuracy in table.certificate.shortcuts[shortcut].items():
        rows, right = table.rows_of(split), 0
        for row in rows:  # A tie goes to the smaller token.
            known = counts[seen[row]] or counts["anything"]
            right += max(known, key=lambda a: (known[a], -a)) == answers[row]  # noqa: B023
        assert accuracy == pytest.approx(right / len(rows))


# Arguments around the examples, good and bad.


@st.composite
def _arguments(draw, name):
    """An example with up to three of its arguments changed."""
    kwargs = dict(draw(st.sampled_from(EXAMPLES[name])))
    for key in draw(st.lists(st.sampled_from(sorted(kwargs)), max_size=3)):
        value = kwargs[key]
        if value is None or type(value) is int:
            near = [] if value is None else [value - 1, value + 1, 2 * value, 3 * value]
            kwargs[key] = draw(st.sampled_from([-1, 0, 1, 2, 3, *near]))
        elif type(value) is float:
            near = [value / 10, value / 2, 2 * value, 10 * value]
            kwargs[key] = draw(st.sampled_from([-0.5, 0.0, 1.0, *near]))
        elif type(value) is str:
            others = {example[key] for example in EXAMPLES[name]}
            kwargs[key] = draw(st.sampled_from(sorted(others | {"", "x"})))
    return kwargs


@pytest.mark.parametrize("draws", [60, pytest.param(200, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in LARGE])
def test_any_arguments_make_a_good_table_or_one_clear_error(name, draws):
    made, refused = [], []
    keys = set(inspect.signature(tasks.TASKS[name]).parameters) - {"seed"}

    @hypothesis.settings(
        max_examples=draws, derandomize=True, database=None, deadline=None
    )
    @hypothesis.given(kwargs=_arguments(name), seed=st.integers(0, 99))
    def check(kwargs, seed):
        try:
            table, atoms, balanced = _make(name, seed, kwargs)
        except ValueError as error:
            assert any(f"task.kwargs.{key}" in str(error) for key in keys), error
            assert ", got " in str(error), error
            refused.append(kwargs)
            return
        restated = list(examples.restate(name, table))
        _check_answers(name, table)
        _check_against_the_rows(table, restated)
        _check_atoms(atoms, restated)
        _check_what_is_unused(name, kwargs, table, restated)
        _check_counts(name, kwargs, table, balanced)
        made.append(kwargs)

    check()
    assert len(made) >= 10, "hardly any arguments are good"
    assert refused, "no arguments are bad"


@pytest.mark.parametrize(("name", "kwargs"), CASES)
def test_the_examples_are_good(name, kwargs):
    table, atoms, _ = _make(name, 3, kwargs)
    restated = list(examples.restate(name, table))
    _check_answers(name, table)
    _check_against_the_rows(table, restated)
    _check_atoms(atoms, restated)


def _make(name, seed, kwargs):
    """Returns a table, the atoms of its rows, and the words of balanced answers."""
    with (
        mock.patch.object(base, "certify", wraps=base.certify) as certify,
        mock.patch.object(depths, "make_table", wraps=depths.make_table) as drawn,
    ):
        table = tasks.TASKS[name](seed=seed, **kwargs)
    given = inspect.signature(base.certify).bind(
        *certify.call_args.args, **certify.call_args.kwargs
    )
    atoms = [row[row >= 0].tolist() for row in given.arguments["atoms"]]
    tokens = drawn.call_args.kwargs["answers"] if drawn.called else ()
    return table, atoms, _balanced([table.vocab[token] for token in tokens], table)


def _balanced(answers, table):
    """Checks that answers of a table drawn by depth are all words of their kind."""
    kinds = {re.sub(r"\d+", "", word) for word in answers}
    words = [word for word in table.vocab if re.sub(r"\d+", "", word) in kinds]
    assert sorted(answers) == sorted(words)
    return answers


def _check_atoms(certified, restated):
    """Atoms are the restated parts but for their names."""
    assert _up_to_names(certified) == _up_to_names(parts for *_, parts in restated)


def _up_to_names(rows):
    """Counts the atoms by the rows in which they stand and how often in each."""
    places = collections.defaultdict(collections.Counter)
    for index, atoms in enumerate(rows):
        for atom in atoms:
            places[atom][index] += 1
    return collections.Counter(frozenset(where.items()) for where in places.values())


def _check_what_is_unused(name, kwargs, table, restated):
    """Without a cap, no row is unused that `id` or `depth` could have asked."""
    if kwargs.get("max_heldout") or kwargs.get("max_heldout_pairs"):
        return
    train = [parts for row, (*_, parts) in enumerate(restated) if table.split[row] == 0]
    practiced = {part for parts in train if len(parts) > 1 for part in parts}
    for row in table.rows_of("unused"):
        assert not practiced.issuperset(restated[row][1])


def _check_counts(name, kwargs, table, answers):
    """Of each length there are the rows that were asked for, the answers balanced."""
    longest = [key for key in kwargs if key.startswith("max_train_")]
    has_plan = longest and any(key.startswith("train_per_") for key in kwargs)
    if not has_plan or name == "lookup_tables":  # Its own test counts compositions.
        return
    (many,) = (key.removeprefix("max_train_") for key in longest)
    trained = kwargs[f"max_train_{many}"]
    train, heldout = (
        next(kwargs[key] for key in kwargs if key.startswith(f"{part}_per_"))
        for part in ("train", "heldout")
    )
    seen = collections.Counter(
        (length, tasks.SPLITS[split], table.vocab[answer])
        for length, split, answer in zip(
            table.tags[many].tolist(), table.split, table.targets[:, 0], strict=True
        )
    )
    count = collections.Counter()
    for (length, split, _), number in seen.items():
        count[
            length,
            "id"
            if split == "unused" and length <= trained
            else "depth"
            if split == "unused"
            else split,
        ] += number
    for length in range(kwargs.get(f"min_{many}", 2), kwargs[f"max_{many}"] + 1):
        wanted = (
            {"train": train, "id": heldout} if length <= trained else {"depth": heldout}
        )
        assert {s: n for (of, s), n in count.items() if of == length} == wanted
        for split in wanted if answers else ():
            shares = [seen[length, split, answer] for answer in answers]
            assert sum(shares) == wanted[split]
            assert max(shares) - min(shares) <= 1, (length, split)
    if answers:
        assert (table.repeats == 1).all() and not table.rows_of("unused").size


def _check_answers(name, table):
    """The oracle agrees, which shares no code with the task; sequences end."""
    oracle, end = tasks.oracle_of(name), ["<end>"] * ("<end>" in table.vocab)
    if oracle:
        answers = oracle(table, range(len(table.tokens)))
        given = [list(answer) for _, answer, _ in read(table)]
        assert given == [answer + end for answer in answers]


def _check_against_the_rows(table, restated):
    rows = list(read(table))
    for index, (tags, _) in enumerate(restated):
        given = {key: int(tag[index]) for key, tag in table.tags.items()}
        for key, words in table.tag_names.items():
            given[key] = words[given[key]]
        assert given == tags
    # Split by split, each row in one of them and no question in two.
    parts = collections.defaultdict(list)
    questions, lengths = collections.defaultdict(set), collections.defaultdict(list)
    for (question, _, split), (row_tags, needed) in zip(rows, restated, strict=True):
        parts[split].append(needed)
        lengths[split].append(_length(row_tags, needed))
        questions[split].add(question)
    assert sum(map(len, questions.values())) == len(set().union(*questions.values()))
    assert sum(map(len, questions.values())) == len(rows) == len(table.split)
    composed = [needed for needed in parts["train"] if len(needed) > 1]
    practiced = set().union(*composed)
    for needed in parts["id"]:
        assert len(needed) == 1 or practiced.issuperset(needed)
    for needed in parts["ood"]:
        assert practiced.isdisjoint(needed)
    for needed in parts["mixed"]:
        assert 0 < len(practiced.intersection(needed)) < len(set(needed))
    assert min(lengths["depth"], default=np.inf) > max(lengths["train"])
    for needed in parts["depth"]:
        assert practiced.issuperset(needed)
    certificate = table.certificate
    counts = {split: len(part) for split, part in parts.items() if part}
    epoch = int(table.repeats[table.rows_of("train")].sum())
    assert certificate.rows == counts | {"train_epoch": epoch}
    assert not any(certificate.overlap.values())
    assert not any(certificate.impure.values())
    every = {
        part for part_of in parts.values() for needed in part_of for part in needed
    }
    assert certificate.atoms == {
        "all": len(every),
        "practiced": len(practiced),
        "never_composed": len(every - practiced),
    }


def _length(tags, needed):
    """Steps one after another, where parts are also needed side by side."""
    return tags.get("depth", tags.get("hops", len(needed)))
