"""Comparisons against a dict of facts, row by row."""

import collections

import numpy as np
import pytest

from rdt_jax.tasks import comparison, knowledge
from tests.tasks.reading import read

ENTITIES, ATTRIBUTES, VALUES = 17, 3, 5
FACTS = {
    "num_entities": ENTITIES,
    "num_attributes": ATTRIBUTES,
    "num_values": VALUES,
    "ood_share": 0.3,  # 5 of 17 entities.
    "phi": 8.0,
    "atomic_repeats": 2,
    "max_heldout_pairs": None,
    "answer_at": "last",
}
SPARSE = FACTS | {"phi": 0.6}  # Leaves ID facts that no training row compares.
ORDER = {-1: "less", 0: "equal", 1: "greater"}


def _make(seed=5, **changes):
    return comparison.comparison(seed=seed, **FACTS | changes)


def _values(table):
    """Returns (entity, attribute) -> value, off the one-hop rows."""
    return {
        question: int(answer[0].removeprefix("value_"))
        for question, answer, _ in read(table)
        if len(question) == 2
    }


def _compared(table):
    """Yields (first fact, second fact, split, pattern) of each comparison."""
    for index, (question, _, split) in enumerate(read(table)):
        if len(question) == 3:
            attribute, first, second = question
            pattern = knowledge.PATTERNS[table.tags["pattern"][index]]
            yield (first, attribute), (second, attribute), split, pattern


def restate(table):
    """Yields (answer, tags, parts) of each row, for the battery."""
    values, ood = _values(table), {}
    for index, (question, _, _) in enumerate(read(table)):
        if len(question) == 2:
            tags = {"hops": 1, "pattern": "atomic"}
            yield (f"value_{values[question]}",), tags, [question]
            continue
        attribute, *entities = question
        parts = [(entity, attribute) for entity in entities]
        pattern = knowledge.PATTERNS[table.tags["pattern"][index]]
        for fact, kind in zip(parts, pattern.split("-"), strict=True):
            assert ood.setdefault(fact, kind == "ood") == (kind == "ood")
        one, other = (values[fact] for fact in parts)
        label = ORDER[(one > other) - (one < other)]
        kinds = "-".join("ood" if ood[fact] else "id" for fact in parts)
        yield (f"{attribute}_{label}",), {"hops": 2, "pattern": kinds}, parts


@pytest.fixture(scope="module")
def table():
    return _make()


def test_every_entity_has_a_value_of_every_attribute(table):
    entities = {f"entity_{i}" for i in range(ENTITIES)}
    attributes = {f"attribute_{i}" for i in range(ATTRIBUTES)}
    values = _values(table)
    assert set(values) == {(e, a) for e in entities for a in attributes}
    assert set(values.values()) == set(range(VALUES))
    assert len(table.vocab) == 1 + ENTITIES + ATTRIBUTES + VALUES + 3 * ATTRIBUTES


@pytest.mark.parametrize("answer_at", knowledge.ANSWER_AT)
def test_every_label_follows_from_the_values(answer_at):
    table = _make(answer_at=answer_at)
    rows, expected = list(read(table)), list(restate(table))
    assert [answer for _, answer, _ in rows] == [answer for answer, *_ in expected]
    for name in ("hops", "pattern"):
        tag = table.tags[name].tolist()
        if name == "pattern":
            tag = [knowledge.PATTERNS[value] for value in tag]
        assert tag == [tags[name] for _, tags, _ in expected]
    labels = {answer[0].rpartition("_")[2] for _, answer, _ in rows[51:]}
    assert labels == {"less", "equal", "greater"}
    read_at = [
        table.vocab[row[at]]
        for row, (at,) in zip(table.tokens, table.answer_positions, strict=True)
    ]
    last = [question[-1] for question, *_ in rows]
    if answer_at == "last":
        assert read_at == last
    elif answer_at == "answer_token":
        assert set(read_at) == {"<a>"}
    else:
        assert read_at == 51 * ["<pad>"] + last[51:]


def test_without_a_cap_every_pair_is_asked_once_in_both_orders(table):
    asked = collections.Counter((one, other) for one, other, *_ in _compared(table))
    facts = _values(table)
    assert asked == {
        (one, other): 1
        for one in facts
        for other in facts
        if one[1] == other[1] and one != other
    }


@pytest.mark.parametrize("kwargs", [FACTS, SPARSE], ids=["dense", "sparse"])
def test_each_split_is_what_its_name_says(kwargs):
    table = comparison.comparison(seed=5, **kwargs)
    rows = list(_compared(table))
    ood, split_of = {}, {}
    for one, other, split, pattern in rows:
        split_of[one, other] = split
        for fact, kind in zip((one, other), pattern.split("-"), strict=True):
            assert ood.setdefault(fact, kind == "ood") == (kind == "ood")
    per_attribute = collections.Counter(attribute for (_, attribute) in ood)
    assert per_attribute == {f"attribute_{i}": ENTITIES for i in range(ATTRIBUTES)}
    unknown = collections.Counter(fact[1] for fact in ood if ood[fact])
    assert unknown == {f"attribute_{i}": 5 for i in range(ATTRIBUTES)}
    entities = {fact[0] for fact in ood if ood[fact]}
    assert len(entities) > 5  # Each attribute has its own.

    trained = [(one, other) for one, other, split, _ in rows if split == "train"]
    assert len(trained) == 2 * round(kwargs["phi"] * 12 * 3 / 2)
    practiced = {fact for pair in trained for fact in pair}
    assert not any(ood[fact] for fact in practiced)
    found = collections.Counter()
    for one, other, split, pattern in rows:
        assert split == split_of[other, one]
        known = (one in practiced) + (other in practiced)
        found[split, pattern] += 1
        if pattern == "ood-ood":
            assert split == "ood"
        elif pattern != "id-id":
            assert split == ("mixed" if known else "unused")
        elif split != "train":
            assert split == ("id" if known == 2 else "unused")
    held = [("id", "id-id"), ("ood", "ood-ood")]
    held += [("mixed", "id-ood"), ("mixed", "ood-id")]
    assert min(found[key] for key in held) > 0
    assert found["ood", "ood-ood"] == ATTRIBUTES * 5 * 4
    dropped = sum(found["unused", name] for name in knowledge.PATTERNS)
    assert (dropped > 0) == (kwargs is SPARSE)
    assert table.certificate.impure == {"id": 0, "ood": 0, "mixed": 0}
    assert table.certificate.atoms == {
        "all": 51,
        "practiced": len(practiced),
        "never_composed": 51 - len(practiced),
    }


def test_facts_are_trained_and_repeated(table):
    one_hop = table.tags["hops"] == 1
    assert one_hop.sum() == ENTITIES * ATTRIBUTES
    assert (table.split[one_hop] == 0).all()
    np.testing.assert_array_equal(table.repeats, np.where(one_hop, 2, 1))


def test_a_cap_keeps_so_many_pairs_of_each_kind():
    table = _make(max_heldout_pairs=7)
    found = collections.Counter(
        (split, pattern) for *_, split, pattern in _compared(table)
    )
    mixed = [found.pop(("mixed", name)) for name in ("id-ood", "ood-id")]
    assert mixed == [7, 7]
    assert found == {
        ("train", "id-id"): 288,
        ("id", "id-id"): 14,
        ("ood", "ood-ood"): 14,
    }


def test_without_ood_entities_nothing_is_ood_or_mixed():
    rows = _make(ood_share=0.0).certificate.rows
    assert set(rows) == {"train", "id", "train_epoch"}


def test_the_shortcuts_are_counted_from_the_rows(table):
    values = _values(table)
    seen = collections.defaultdict(collections.Counter)
    asked = []  # (attribute, first value, answer) of the ood rows
    for index, (question, answer, split) in enumerate(read(table)):
        repeats = int(table.repeats[index])
        if split == "train":
            seen["any"][answer] += repeats
        if len(question) == 3:
            attribute, first, _ = question
            value = values[first, attribute]
            if split == "train":
                seen[attribute][answer] += repeats
                seen[attribute, value][answer] += repeats
            if split == "ood":
                asked.append((attribute, value, answer))

    def guess(key):  # Ties go to the smaller word; a key never seen, to any row's.
        counts = seen[key] or seen["any"]
        return max(counts, key=lambda a: (counts[a], -table.vocab.index(a[0])))

    shortcuts = table.certificate.shortcuts
    right = np.mean([guess((name, value)) == a for name, value, a in asked])
    assert shortcuts["first_value"]["ood"] == pytest.approx(right)
    right = np.mean([guess(name) == a for name, _, a in asked])
    assert shortcuts["attribute"]["ood"] == pytest.approx(right)
    assert 0 < shortcuts["attribute"]["ood"] < shortcuts["first_value"]["ood"] < 1


def test_the_largest_phi_is_the_one_that_the_message_names():
    table = _make(phi=2 * 197 / 36)
    assert table.certificate.rows["id"] == 2
