"""Two-hop composition against a dict of facts, row by row."""

import collections
import time

import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.tasks import knowledge
from tests.conftest import ROOT
from tests.tasks.reading import read

GRAPH = {
    "num_entities": 13,
    "num_relations": 7,
    "out_degree": 5,
    "ood_share": 0.3,
    "phi": 2.5,
    "atomic_repeats": 3,
    "max_heldout": None,
    "answer_at": "last",
}


def _make(seed=5, **changes):
    return knowledge.knowledge_composition(seed=seed, **GRAPH | changes)


def _read(table):
    """Yields (words of the question, answer, split, pattern) of each row."""
    for index, (words, (answer,), split) in enumerate(read(table)):
        pattern = knowledge.PATTERNS[table.tags["pattern"][index]]
        yield words, answer, split, pattern


def _facts(table):
    return {words: answer for words, (answer,), _ in read(table) if len(words) == 2}


def _walk(facts, words):
    """Returns the facts of a walk."""
    at, used = words[0], []
    for relation in words[1:]:
        used.append((at, relation))
        at = facts[at, relation]
    return used


def _two_hop(table):
    """Yields (first fact, second fact, split, pattern) of each two-hop row."""
    facts = _facts(table)
    for words, _, split, pattern in _read(table):
        if len(words) == 3:
            head, first, second = words
            yield (head, first), (facts[head, first], second), split, pattern


def restate_knowledge_composition(table):
    """Yields (tags, parts) of each row, for the battery."""
    facts, ood = _facts(table), {}
    for words, _, _, pattern in _read(table):
        parts = _walk(facts, words)
        if pattern != "atomic":  # A fact is ID or OOD wherever it stands.
            for fact, kind in zip(parts, pattern.split("-"), strict=True):
                assert ood.setdefault(fact, kind == "ood") == (kind == "ood")
        kinds = (
            ["ood" if ood[fact] else "id" for fact in parts] if len(parts) > 1 else []
        )
        tags = {"hops": len(parts), "pattern": "-".join(kinds) or "atomic"}
        yield tags, parts


@pytest.fixture(scope="module")
def table():
    return _make()


def test_the_graph_gives_every_entity_its_facts(table):
    facts = _facts(table)
    assert len(facts) == 13 * 5
    degree = collections.Counter(head for head, _ in facts)
    assert degree == {f"entity_{i}": 5 for i in range(13)}
    assert {relation for _, relation in facts} == {f"relation_{i}" for i in range(7)}
    assert set(facts.values()) == {f"entity_{i}" for i in range(13)}
    assert table.vocab[0] == "<pad>"
    assert len(table.vocab) == 1 + 13 + 7


def test_every_question_of_the_graph_stands_there_once(table):
    facts = _facts(table)
    possible = {
        (head, first, second)
        for (head, first), bridge in facts.items()
        for other, second in facts
        if other == bridge
    } | set(facts)
    asked = collections.Counter(words for words, *_ in _read(table))
    assert asked == dict.fromkeys(possible, 1)


def test_facts_are_trained_and_repeated(table):
    one_hop = table.tags["hops"] == 1
    for index, (words, _, split, pattern) in enumerate(_read(table)):
        if len(words) == 2:
            assert (split, pattern, one_hop[index]) == ("train", "atomic", True)
            assert table.repeats[index] == 3
        else:
            assert pattern != "atomic"
            assert (one_hop[index], table.repeats[index]) == (False, 1)


def test_as_many_facts_are_ood_and_as_many_questions_trained_as_asked_for(table):
    rows = list(_two_hop(table))
    ood = {}  # fact -> whether it is OOD, as the patterns say
    for first, second, _, pattern in rows:
        ood |= zip((first, second), pattern.split("-"), strict=True)
    assert len(ood) == 65
    assert list(ood.values()).count("ood") == round(0.3 * 65)
    train = [row for row in rows if row[2] == "train"]
    assert len(train) == round(2.5 * (65 - round(0.3 * 65)))


# Task -> rows of its paper preset, where the paper says how many: splits, or hops.
PAPER = {
    "knowledge_composition": {
        1: 40_000, 2: 40_000 * 20, "train": 313_600, "id": 3_000, "mixed": 6_000,
    },
    "knowledge_depth": {1: 2_000, "train": 587_000, "id": 29_250},
    "knowledge_comparison": {1: 20_000, "train": 20_000 + 129_600, "ood": 3_000},
}  # fmt: skip


@pytest.mark.parametrize("task", PAPER)
def test_the_paper_size(task):
    config = configs.load(f"{ROOT}/configs/{task}.py:paper")
    begin = time.process_time()
    table = tasks.TASKS[task](seed=1, **config.task.kwargs)
    assert time.process_time() - begin < 10
    counts = table.certificate.rows | {
        n: (table.tags["hops"] == n).sum() for n in (1, 2)
    }
    assert {key: counts[key] for key in PAPER[task]} == PAPER[task]
    assert not any(table.certificate.overlap.values())
    assert not any(table.certificate.impure.values())


def test_a_cap_on_held_out_rows_keeps_a_part_of_them(table):
    capped = _make(max_heldout=7)
    np.testing.assert_array_equal(capped.tokens, table.tokens)
    changed = capped.split != table.split
    assert set(capped.split[changed]) == {tasks.SPLITS.index("unused")}
    np.testing.assert_array_equal(capped.rows_of("train"), table.rows_of("train"))
    counts = collections.Counter(
        (split, pattern) for *_, split, pattern in _two_hop(capped) if split != "unused"
    )
    del counts["train", "id-id"]
    assert counts == {
        ("id", "id-id"): 7,
        ("mixed", "id-ood"): 7,
        ("mixed", "ood-id"): 7,
        ("ood", "ood-ood"): 7,
    }


def test_the_seed_of_the_run_plays_no_part(tiny_config):
    changed = configs.override(tiny_config, {"seed": 99})
    assert tasks.make_table(changed) is tasks.make_table(tiny_config)
    task_seed = configs.override(tiny_config, {"task.seed": 99})
    other = tasks.make_table(task_seed).tokens
    assert (other != tasks.make_table(tiny_config).tokens).any()


def test_the_largest_phi_is_the_one_that_the_message_names():
    questions = sum(pattern == "id-id" for *_, pattern in _two_hop(_make()))
    largest = (questions - 1) / (65 - 20)
    with pytest.raises(ValueError, match="phi must leave at least one ID .* untrained"):
        _make(phi=questions / 45)
    with pytest.raises(ValueError, match=rf"at most {largest:.4g} with this graph"):
        _make(phi=1000.0)
    splits = [split for *_, split, pattern in _two_hop(_make(phi=largest))]
    assert splits.count("train") == questions - 1


# Walks over permutations.

WALKS = {
    "num_entities": 11,
    "num_relations": 5,
    "max_hops": 7,
    "max_train_hops": 4,
    "train_per_hop": 193,
    "heldout_per_hop": 29,
    "answer_at": "last",
}


def _walks(**changes):
    return knowledge.knowledge_depth(seed=5, **WALKS | changes)


def restate_knowledge_depth(table):
    """Yields (tags, parts) of each row, for the battery."""
    facts = _facts(table)
    for words, *_ in read(table):
        yield {"hops": len(words) - 1}, _walk(facts, words)


def test_every_relation_is_a_permutation():
    table = _walks()
    facts = _facts(table)
    entities = {f"entity_{i}" for i in range(11)}
    relations = {f"relation_{i}" for i in range(5)}
    assert set(facts) == {(h, r) for h in entities for r in relations}
    for relation in relations:
        assert {facts[head, relation] for head in entities} == entities
    assert len({tuple(facts[h, r] for h in entities) for r in relations}) == 5
    assert table.vocab[0] == "<pad>"
    assert set(table.vocab[1:]) == entities | relations


@pytest.mark.parametrize("facts", [126, 128, 130])
def test_facts_are_counted_at_the_end_of_a_small_integer_type(facts):
    table = _walks(num_entities=facts // 2, num_relations=2, train_per_hop=200)
    assert table.certificate.atoms["all"] == facts
    assert table.certificate.atoms["practiced"] == facts


# Systematicity at more hops.

HOPS = {
    "num_entities": 11,
    "num_relations": 5,
    "out_degree": 4,
    "ood_share": 0.25,
    "max_hops": 3,
    "phi": 2.5,
    "atomic_repeats": 3,
    "max_heldout": None,
    "answer_at": "last",
}
restate_knowledge_hops = restate_knowledge_depth


def _hops(**changes):
    return knowledge.knowledge_hops(seed=5, **HOPS | changes)


def test_every_walk_of_the_graph_is_asked_once():
    table = _hops()
    facts = _facts(table)
    walks = {1: set(facts)}
    for length in (2, 3):
        walks[length] = {
            (*words, relation)
            for words in walks[length - 1]
            for head, relation in facts
            if head == facts[_walk(facts, words)[-1]]
        }
    asked = collections.Counter(words for words, *_ in read(table))
    assert len(facts) == 11 * 4
    assert asked == dict.fromkeys(set().union(*walks.values()), 1)


@pytest.mark.parametrize("phi", [2.5, 0.3])  # With few rows some facts are unpracticed.
def test_rows_of_each_number_of_hops_are_split_by_their_facts(phi):
    table = _hops(phi=phi)
    facts = _facts(table)
    rows = [(_walk(facts, words), split) for words, _, split in read(table)]
    practiced = {f for walk, split in rows if split == "train" for f in walk[1:]}
    practiced |= {w[0] for w, split in rows if split == "train" and len(w) > 1}
    asked = [walk for walk, split in rows if split == "ood"]
    ood = {fact for walk in asked for fact in walk}
    assert len(ood) <= 11
    assert not ood & practiced
    for walk, split in rows:
        if len(walk) == 1:
            assert split == "train"
        elif set(walk) <= practiced:
            assert split in ("train", "id")
        elif set(walk) <= ood:
            assert split == "ood"
        else:
            assert split == "unused"
    for hops in (2, 3):
        trained = [w for w, split in rows if split == "train" and len(w) == hops]
        assert len(trained) == round(phi * 33)
        assert {len(walk) for walk in asked} == {2, 3}
    np.testing.assert_array_equal(
        table.repeats, np.where(table.tags["hops"] == 1, 3, 1)
    )


def test_a_cap_on_held_out_walks_is_one_of_each_number_of_hops():
    table = _hops(max_heldout=4)
    for split in ("id", "ood"):
        hops = table.tags["hops"][table.rows_of(split)]
        assert sorted(hops) == 4 * [2] + 4 * [3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_hops": 1}, "max_hops must be at least 2, got 1"),
        ({"max_hops": 12}, "max_hops must ask at most 5000000 questions .*, got 12"),
        ({"phi": 40.0}, "phi must leave an ID question of 2 hops untrained, got 40"),
        ({"phi": 0.01}, "phi must train at least one row of each number of hops"),
        ({"ood_share": 0.03}, "ood_share must be 0 or give a question of 2 OOD facts"),
    ],
)
def test_a_graph_that_cannot_be_asked_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        _hops(**changes)
