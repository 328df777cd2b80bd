"""Walks over permutations against a dict of facts, row by row."""

import pytest

from rdt_jax import tasks
from rdt_jax.tasks import knowledge

ENTITIES, RELATIONS, MAX_HOPS, MAX_TRAIN_HOPS = 11, 5, 7, 4
TRAIN, HELDOUT = 193, 29
GRAPH = {
    "num_entities": ENTITIES,
    "num_relations": RELATIONS,
    "max_hops": MAX_HOPS,
    "max_train_hops": MAX_TRAIN_HOPS,
    "train_per_hop": TRAIN,
    "heldout_per_hop": HELDOUT,
    "answer_at": "last",
}


def _make(seed=5, **changes):
    return knowledge.knowledge_depth(seed=seed, **GRAPH | changes)


def _read(table):
    """Yields (words of the question, answer, split) of each row."""
    for index, tokens in enumerate(table.tokens.tolist()):
        words = [table.vocab[token] for token in tokens if token != 0]
        if words[-1] == "<a>":
            words.pop()
        answer = table.vocab[table.targets[index, 0]]
        yield tuple(words), answer, tasks.SPLITS[table.split[index]]


def _facts(table):
    return {words: answer for words, answer, _ in _read(table) if len(words) == 2}


def _walk(facts, words):
    """Returns the facts of a walk and where it ends."""
    at, *relations = words
    used = []
    for relation in relations:
        used.append((at, relation))
        at = facts[at, relation]
    return used, at


def restate(table):
    """Yields (answer, tags, parts) of each row, for the battery."""
    facts = _facts(table)
    for words, *_ in _read(table):
        parts, end = _walk(facts, words)
        yield (end,), {"hops": len(parts)}, parts


@pytest.fixture(scope="module")
def table():
    return _make()


def test_every_relation_is_a_permutation(table):
    facts = _facts(table)
    entities = {f"entity_{i}" for i in range(ENTITIES)}
    relations = {f"relation_{i}" for i in range(RELATIONS)}
    assert set(facts) == {(h, r) for h in entities for r in relations}
    for relation in relations:
        assert {facts[head, relation] for head in entities} == entities
    assert len({tuple(facts[h, r] for h in entities) for r in relations}) == RELATIONS
    assert table.vocab[0] == "<pad>"
    assert set(table.vocab[1:]) == entities | relations


@pytest.mark.parametrize("facts", [126, 128, 130])
def test_facts_are_counted_at_the_end_of_a_small_integer_type(facts):
    table = _make(num_entities=facts // 2, num_relations=2, train_per_hop=200)
    assert table.certificate.atoms["all"] == facts
    assert table.certificate.atoms["practiced"] == facts
