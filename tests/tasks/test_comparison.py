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


def _make(seed=5, **changes):
    return comparison.knowledge_comparison(seed=seed, **FACTS | changes)


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
    """Yields (tags, parts) of each row, for the battery."""
    ood = {}
    for index, (question, _, _) in enumerate(read(table)):
        if len(question) == 2:
            yield {"hops": 1, "pattern": "atomic"}, [question]
            continue
        attribute, *entities = question
        parts = [(entity, attribute) for entity in entities]
        pattern = knowledge.PATTERNS[table.tags["pattern"][index]]
        for fact, kind in zip(parts, pattern.split("-"), strict=True):
            assert ood.setdefault(fact, kind == "ood") == (kind == "ood")
        kinds = "-".join("ood" if ood[fact] else "id" for fact in parts)
        yield {"hops": 2, "pattern": kinds}, parts


def attributes(table):
    """Returns what a guesser sees who knows the attribute of a row alone."""
    return [q[0] if len(q) == 3 else ("fact", q[1]) for q, *_ in read(table)]


def first_values(table):
    """The same with the first of two values; of facts nothing."""
    values = _values(table)
    return [
        (q[0], values[q[1], q[0]]) if len(q) == 3 else "fact" for q, *_ in read(table)
    ]


SHORTCUTS = {
    ("knowledge_comparison", "attribute"): attributes,
    ("knowledge_comparison", "first_value"): first_values,
}


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


def test_without_a_cap_every_pair_is_asked_once_in_both_orders(table):
    asked = collections.Counter((one, other) for one, other, *_ in _compared(table))
    facts = _values(table)
    assert asked == {
        (one, other): 1
        for one in facts
        for other in facts
        if one[1] == other[1] and one != other
    }


def test_as_many_entities_are_ood_and_as_many_pairs_trained_as_asked_for(table):
    rows = list(_compared(table))
    split_of = {(one, other): split for one, other, split, _ in rows}
    assert all(
        split == split_of[other, one] for (one, other), split in split_of.items()
    )
    ood = {}
    for one, other, _, pattern in rows:
        ood |= zip((one, other), pattern.split("-"), strict=True)
    unknown = [fact for fact, kind in ood.items() if kind == "ood"]
    per_attribute = collections.Counter(attribute for _, attribute in unknown)
    assert per_attribute == {f"attribute_{i}": 5 for i in range(ATTRIBUTES)}
    assert len({entity for entity, _ in unknown}) > 5  # Each attribute has its own.
    found = collections.Counter(split for *_, split, _ in rows)
    assert found["train"] == 2 * round(8.0 * 12 * 3 / 2)
    assert found["ood"] == ATTRIBUTES * 5 * 4


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


def test_the_largest_phi_is_the_one_that_the_message_names():
    table = _make(phi=2 * 197 / 36)
    assert table.certificate.rows["id"] == 2
