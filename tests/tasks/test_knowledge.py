"""Two-hop composition against a dict of facts, row by row."""

import collections
import time

import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.tasks import knowledge
from tests.conftest import ROOT

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
SPARSE = GRAPH | {"phi": 0.4}  # Leaves ID facts that no training row composes.


def _make(seed=5, **changes):
    return knowledge.composition(seed=seed, **GRAPH | changes)


def _read(table):
    """Yields (words of the question, answer, split, pattern) of each row."""
    for index, tokens in enumerate(table.tokens.tolist()):
        words = [table.vocab[token] for token in tokens if token != 0]
        if words[-1] == "<a>":
            words.pop()
        answer = table.vocab[table.targets[index, 0]]
        pattern = knowledge.PATTERNS[table.tags["pattern"][index]]
        yield tuple(words), answer, tasks.SPLITS[table.split[index]], pattern


def _facts(table):
    return {words: answer for words, answer, *_ in _read(table) if len(words) == 2}


def _two_hop(table):
    """Yields (first fact, second fact, split, pattern) of each two-hop row."""
    facts = _facts(table)
    for words, _, split, pattern in _read(table):
        if len(words) == 3:
            head, first, second = words
            yield (head, first), (facts[head, first], second), split, pattern


def restate(table):
    """Yields (answer, tags, parts) of each row, for the battery."""
    facts, ood = _facts(table), {}
    for words, _, _, pattern in _read(table):
        parts, at = [], words[0]
        for relation in words[1:]:
            parts.append((at, relation))
            at = facts[at, relation]
        if pattern != "atomic":  # A fact is ID or OOD wherever it stands.
            for fact, kind in zip(parts, pattern.split("-"), strict=True):
                assert ood.setdefault(fact, kind == "ood") == (kind == "ood")
        kinds = (
            ["ood" if ood[fact] else "id" for fact in parts] if len(parts) > 1 else []
        )
        tags = {"hops": len(parts), "pattern": "-".join(kinds) or "atomic"}
        yield (at,), tags, parts


@pytest.fixture(scope="module")
def table():
    return _make()


@pytest.fixture(scope="module", params=["last", "answer_token", "pad"])
def read_at(request):
    return request.param, _make(answer_at=request.param)


def test_the_graph_gives_every_entity_its_facts(table):
    facts = _facts(table)
    assert len(facts) == 13 * 5
    degree = collections.Counter(head for head, _ in facts)
    assert degree == {f"entity_{i}": 5 for i in range(13)}
    assert {relation for _, relation in facts} == {f"relation_{i}" for i in range(7)}
    assert set(facts.values()) == {f"entity_{i}" for i in range(13)}
    assert table.vocab[0] == "<pad>"
    assert len(table.vocab) == 1 + 13 + 7


def test_every_answer_follows_from_the_facts(read_at):
    _, table = read_at
    facts = _facts(table)
    checked = 0
    for words, answer, _, _ in _read(table):
        at = words[0]
        for relation in words[1:]:
            at = facts[at, relation]
        assert answer == at
        checked += 1
    assert checked == len(table.tokens) == 13 * 5 * (1 + 5)


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


@pytest.mark.parametrize("graph", [GRAPH, SPARSE], ids=["dense", "sparse"])
def test_each_split_is_what_its_name_says(graph):
    rows = list(_two_hop(knowledge.composition(seed=5, **graph)))
    ood = {}  # fact -> whether it is OOD, as the patterns say
    for first, second, _, pattern in rows:
        for fact, kind in zip((first, second), pattern.split("-"), strict=True):
            assert ood.setdefault(fact, kind == "ood") == (kind == "ood")
    assert len(ood) == 65
    assert sum(ood.values()) == round(0.3 * 65)
    train = [(first, second) for first, second, split, _ in rows if split == "train"]
    assert len(train) == round(graph["phi"] * (65 - round(0.3 * 65)))
    practiced = {fact for row in train for fact in row}
    assert not any(ood[fact] for fact in practiced)
    found = collections.Counter()
    for first, second, split, pattern in rows:
        found[split] += 1
        if pattern == "ood-ood":
            assert split == "ood"
        elif pattern in ("id-ood", "ood-id"):
            known = first in practiced or second in practiced
            assert split == ("mixed" if known else "unused")
            found[f"{split}-{pattern}"] += 1
        elif split != "train":
            known = first in practiced and second in practiced
            assert split == ("id" if known else "unused")
    assert min(found[name] for name in ("train", "id", "ood", "mixed", "unused")) > 0
    assert found["mixed-id-ood"] > 0 < found["mixed-ood-id"]
    assert found["unused-id-ood"] + found["unused-ood-id"] > 0


def test_where_the_answer_is_read(read_at):
    answer_at, table = read_at
    plain = _make()
    for name in ("targets", "split", "repeats"):
        np.testing.assert_array_equal(getattr(table, name), getattr(plain, name))
    assert table.answer_positions.shape == (65 * 6, 1)
    assert table.tokens.shape[1] == (4 if answer_at == "answer_token" else 3)
    for index, (words, *_) in enumerate(_read(table)):
        read = table.answer_positions[index, 0]
        row = [table.vocab[token] for token in table.tokens[index]]
        if answer_at == "last":
            assert (read, row[read]) == (len(words) - 1, words[-1])
        if answer_at == "answer_token":
            assert (read, row[read]) == (len(words), "<a>")
        if answer_at == "pad":
            assert read == 2
            assert row[read] == (words[2] if len(words) == 3 else "<pad>")
    extra = {"<a>"} if answer_at == "answer_token" else set()
    assert set(table.vocab) - set(plain.vocab) == extra


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


def test_without_ood_facts_nothing_is_ood_or_mixed():
    table = _make(ood_share=0.0)
    splits = {split for *_, split, _ in _two_hop(table)}
    assert splits <= {"train", "id", "unused"}
    assert splits >= {"train", "id"}


@pytest.mark.parametrize("graph", [GRAPH, SPARSE], ids=["dense", "sparse"])
def test_the_certificate_counts_what_the_rows_say(graph):
    table = knowledge.composition(seed=5, **graph)
    certificate = table.certificate
    rows = list(_read(table))
    parts = collections.defaultdict(list)
    epoch = []  # (last word, answer) of the train rows of an epoch
    for index, (words, answer, split, _) in enumerate(rows):
        parts[split].append((words, answer))
        if split == "train":
            epoch += [(words[-1], answer)] * int(table.repeats[index])
    counts = {split: len(part) for split, part in parts.items()}
    assert certificate.rows == counts | {"train_epoch": len(epoch)}
    for pair, number in certificate.overlap.items():
        one, other = pair.split("/")
        shared = {words for words, _ in parts[one]} & {w for w, _ in parts[other]}
        assert number == len(shared) == 0
    assert len(certificate.overlap) == len(parts) * (len(parts) - 1) / 2
    train = [row for row in _two_hop(table) if row[2] == "train"]
    practiced = {fact for first, second, *_ in train for fact in (first, second)}
    assert certificate.atoms == {
        "all": 65,
        "practiced": len(practiced),
        "never_composed": 65 - len(practiced),
    }
    assert certificate.impure == {"id": 0, "ood": 0, "mixed": 0}
    answers = sorted({answer for _, answer in parts["train"]})
    guesses = collections.Counter(answer for _, answer in epoch)
    by_last = collections.defaultdict(collections.Counter)
    for last, answer in epoch:
        by_last[last][answer] += 1

    def best(counter):  # Ties go to the smaller token.
        return max(counter, key=lambda word: (counter[word], -table.vocab.index(word)))

    assert set(certificate.chance) == set(parts)
    for split, part in parts.items():
        share = lambda guess, part=part: float(np.mean([guess(*row) for row in part]))
        possible = share(lambda words, answer: answer in answers)
        assert certificate.chance[split] == pytest.approx(possible / len(answers))
        assert certificate.majority[split] == pytest.approx(
            share(lambda words, answer: answer == best(guesses))
        )
        assert certificate.last_token[split] == pytest.approx(
            share(lambda words, answer: answer == best(by_last[words[-1]]))
        )
    assert certificate.held_out.startswith("20 of 65 facts are trained as one-hop")


def test_the_table_depends_on_the_task_seed_only(table):
    np.random.seed(123)
    again, other = _make(), _make(seed=6)
    for name in ("tokens", "targets", "split", "repeats", "answer_positions"):
        np.testing.assert_array_equal(getattr(again, name), getattr(table, name))
    assert again.certificate == table.certificate
    assert (other.tokens != table.tokens).any()
    assert (other.split != table.split).any()


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


def test_the_paper_size():
    config = configs.load(f"{ROOT}/configs/knowledge_composition.py:paper")
    begin = time.process_time()
    table = knowledge.composition(seed=1, **config.task.kwargs)
    assert time.process_time() - begin < 10
    rows = table.certificate.rows
    hops = table.tags["hops"]
    assert (hops == 1).sum() == 40_000
    assert rows["train"] == rows["train_epoch"] == 40_000 + 273_600
    assert (rows["id"], rows["mixed"]) == (3_000, 6_000)
    assert rows["ood"] == pytest.approx(2_000, rel=0.1)  # 40,000 * 20 * 0.05**2
    assert (hops == 2).sum() == 40_000 * 20
    assert len(table.vocab) == 1 + 2_000 + 200
    assert not any(table.certificate.overlap.values())
    assert table.certificate.impure == {"id": 0, "ood": 0, "mixed": 0}
    assert table.certificate.atoms["never_composed"] == 2_000
