"""Small data folders in the format of the released ones, written by the tests."""

import atexit
import functools
import itertools
import json
import pathlib
import random
import shutil
import tempfile

SPECIAL = ["<mask>", "<sep>", "<a>", "</a>", "<q>", "</q>"]


@functools.cache
def example(kind: str) -> str:
    """Returns the path of a folder, written once per process and removed at its end."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ltg-folder-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    kinds = {
        "systematicity": systematicity,
        "systematicity of 700 train rows": functools.partial(
            systematicity, entities=40, relations=7, degree=5, inferred=500
        ),
        "extrapolation": extrapolation,
    }
    kinds[kind](folder)
    return str(folder)


def systematicity(folder, *, entities=13, relations=5, degree=4, inferred=60):
    """Two hops; a fifth of the facts is OOD. Items of train.json have no type."""
    rng = random.Random(0)
    graph = {
        (f"<e_{head}>", f"<r_{relation}>"): f"<e_{rng.randrange(entities)}>"
        for head in range(entities)
        for relation in rng.sample(range(relations), degree)
    }
    ood = set(rng.sample(sorted(graph), len(graph) // 5))
    trained, tested_id, tested_ood = [], [], []
    for (head, first), bridge in graph.items():
        for (other, second), tail in graph.items():
            if other != bridge:
                continue
            labels = ((head, first) in ood, (other, second) in ood)
            row = item((head, first, second), tail)
            if all(labels):
                tested_ood.append(row)
            elif not any(labels):
                (tested_id if rng.random() < 0.1 else trained).append(row)
    trained = rng.sample(trained, inferred)
    facts = {fact: item(fact, tail) for fact, tail in graph.items()}
    tested = [
        row | {"type": "ood_atomic" if f in ood else "id_atomic"}
        for f, row in facts.items()
    ]
    tested += [row | {"type": "train_inferred"} for row in trained[:7]]
    tested += [row | {"type": "test_inferred_iid"} for row in tested_id]
    tested += [row | {"type": "test_inferred_ood"} for row in tested_ood]
    write(folder, "train.json", [*facts.values(), *trained])
    write(folder, "valid.json", tested_ood)
    write(folder, "test.json", tested)
    write(folder, "vocab.json", vocab(entities, relations))
    return len(facts), len(trained), len(tested_id), len(tested_ood)


def extrapolation(folder, *, entities=7, relations=3, hops=5, trained_hops=3):
    """Many hops over permutations. The types of train.json are off by two."""
    rng = random.Random(0)
    order = [f"<e_{i}>" for i in range(entities)]
    graph = {}
    for relation in range(relations):
        for head, tail in zip(order, rng.sample(order, entities), strict=True):
            graph[head, f"<r_{relation}>"] = tail
    train = [item(fact, tail) | {"type": "atomic"} for fact, tail in graph.items()]
    test, small = [], []
    names = [f"<r_{relation}>" for relation in range(relations)]
    for length in range(2, hops + 1):
        walks = list(itertools.product(order, *length * [names]))
        rows = []
        for head, *path in rng.sample(walks, min(len(walks), 40)):
            at = head
            for relation in path:
                at = graph[at, relation]
            rows.append(item((head, *path), at))
        held_out = [row | {"type": f"{length}hop_test"} for row in rows[:9]]
        test += held_out
        small += held_out[:2]
        if length <= trained_hops:
            train += [row | {"type": f"{length - 2}hop_train"} for row in rows[9:]]
            test += [row | {"type": f"{length}hop_train"} for row in rows[9:12]]
    test += [row | {"type": "atomic_facts"} for row in train[:5]]
    for name in ("test.json", "valid.json"):
        write(folder, name, test)
    write(folder, "test_small.json", small)
    write(folder, "train.json", train)
    write(folder, "vocab.json", vocab(entities, relations))


def item(question, answer):
    text = "".join(question)
    return {"input_text": text, "target_text": f"{text}{answer}</a>"}


def vocab(entities, relations):
    words = [f"<e_{i}>" for i in range(entities)]
    return words + [f"<r_{i}>" for i in range(relations)] + SPECIAL


def write(folder, name, content):
    (folder / name).write_text(json.dumps(content))
