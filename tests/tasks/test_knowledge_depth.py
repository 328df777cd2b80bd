"""Walks over permutations against a dict of facts, row by row."""

import collections
import time

import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.tasks import knowledge
from tests.conftest import ROOT

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
SPARSE = {"train_per_hop": 11}  # Leaves facts that no training row composes.


def _make(seed=5, **changes):
    return knowledge.depth(seed=seed, **GRAPH | changes)


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


@pytest.fixture(scope="module", params=["last", "answer_token", "pad"])
def read_at(request):
    return request.param, _make(answer_at=request.param)


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


def test_every_answer_is_where_its_walk_ends(read_at):
    _, table = read_at
    facts = _facts(table)
    rows = list(_read(table))
    assert all(_walk(facts, words)[1] == answer for words, answer, _ in rows)
    np.testing.assert_array_equal(
        table.tags["hops"], [len(words) - 1 for words, *_ in rows]
    )


def test_each_split_holds_its_hops(table):
    found = collections.Counter((len(w) - 1, split) for w, _, split in _read(table))
    expected = {(1, "train"): ENTITIES * RELATIONS}
    for hops in range(2, MAX_HOPS + 1):
        if hops <= MAX_TRAIN_HOPS:
            expected |= {(hops, "train"): TRAIN, (hops, "id"): HELDOUT}
        else:
            expected[hops, "depth"] = HELDOUT
    assert found == expected
    certificate = table.certificate
    assert certificate.rows == {
        "train": 55 + 3 * TRAIN,
        "id": 3 * HELDOUT,
        "depth": 3 * HELDOUT,
        "train_epoch": 55 + 3 * TRAIN,
    }
    assert certificate.impure == {"id": 0, "ood": 0, "depth": 0}
    assert (table.repeats == 1).all()


def test_rows_are_distinct(table):
    rows = collections.Counter(words for words, *_ in _read(table))
    assert set(rows.values()) == {1}
    train = {words for words, _, split in _read(table) if split == "train"}
    assert not any(words in train for words, _, split in _read(table) if split == "id")


def test_held_out_rows_ask_for_practiced_facts():
    table = _make(**SPARSE)
    facts = _facts(table)
    used = [(set(_walk(facts, words)[0]), split) for words, _, split in _read(table)]
    practiced = set().union(
        *(walk for walk, split in used if split == "train" and len(walk) > 1)
    )
    found = collections.Counter()
    for (words, _, split), (walk, _) in zip(_read(table), used, strict=True):
        found[split] += 1
        if split != "train":
            name = "id" if len(words) - 1 <= MAX_TRAIN_HOPS else "depth"
            assert split == (name if walk <= practiced else "unused")
    assert min(found[name] for name in ("id", "depth", "unused")) > 0
    assert table.certificate.atoms == {
        "all": 55,
        "practiced": len(practiced),
        "never_composed": 55 - len(practiced),
    }
    assert table.certificate.impure == {"id": 0, "ood": 0, "depth": 0}


def test_where_the_answer_is_read(read_at):
    answer_at, table = read_at
    plain = _make()
    for name in ("targets", "split", "repeats"):
        np.testing.assert_array_equal(getattr(table, name), getattr(plain, name))
    assert table.tokens.shape[1] == 1 + MAX_HOPS + (answer_at == "answer_token")
    for index, (words, *_) in enumerate(_read(table)):
        read = table.answer_positions[index, 0]
        row = [table.vocab[token] for token in table.tokens[index]]
        if answer_at == "last":
            assert (read, row[read]) == (len(words) - 1, words[-1])
        if answer_at == "answer_token":
            assert (read, row[read]) == (len(words), "<a>")
        if answer_at == "pad":
            longest = len(words) == 1 + MAX_HOPS
            assert (read, row[read]) == (MAX_HOPS, words[-1] if longest else "<pad>")


@pytest.mark.parametrize("facts", [126, 128, 130])
def test_facts_are_counted_at_the_end_of_a_small_integer_type(facts):
    table = _make(num_entities=facts // 2, num_relations=2, train_per_hop=200)
    assert table.certificate.atoms["all"] == facts
    assert table.certificate.atoms["practiced"] == facts


def test_as_many_rows_as_two_hop_questions_will_do():
    table = _make(train_per_hop=246)
    hops = table.tags["hops"]
    assert (hops == 2).sum() == 275


def test_the_paper_size():
    config = configs.load(f"{ROOT}/configs/knowledge_depth.py:paper")
    begin = time.process_time()
    table = knowledge.depth(seed=1, **config.task.kwargs)
    assert time.process_time() - begin < 10
    assert table.certificate.rows == {
        "train": 587_000,
        "id": 29_250,
        "train_epoch": 587_000,
    }
    assert table.tokens.shape == (616_250, 42)
    assert len(table.vocab) == 1 + 200 + 10 + 1
    assert table.certificate.overlap == {"train/id": 0}
    assert table.certificate.impure == {"id": 0, "ood": 0}
