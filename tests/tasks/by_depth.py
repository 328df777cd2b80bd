"""What every table drawn by depth promises, checked against a task's slow oracle."""

import collections
from unittest import mock

import numpy as np

from rdt_jax import tasks
from rdt_jax.tasks import base


def sentences(table):
    """The words of each row, padding left out."""
    for row in table.tokens:
        yield [table.vocab[token] for token in row if token]


def restate(table, solve, tag):
    """Yields (answer, tags, parts) of each row, for the battery."""
    for words in sentences(table):
        answer, depth, atoms = solve(words)
        yield (answer,), {tag: depth}, atoms


def check(make, solve, tag, first, last, trained, train, heldout, answers):
    """Checks a whole table, and returns it.

    Args:
      make: makes the table to be checked.
      solve: maps the words of a row to (answer, depth, atoms), with atoms any hashable
        values, written anew for the test.
      tag: the name of the depth.
      first: the smallest depth.
      last: the largest depth.
      trained: the largest depth of a train row.
      train: train rows of each depth.
      heldout: held-out rows of each depth.
      answers: all words that may be answers.
    """
    with mock.patch.object(base, "certify", wraps=base.certify) as certify:
        table = make()
    certified = [row[row >= 0].tolist() for row in certify.call_args.args[5]]
    count, solved = collections.Counter(), []
    practiced, needed, distinct = set(), collections.defaultdict(set), set()
    for index, words in enumerate(sentences(table)):
        answer, depth, atoms = solve(words)
        split = tasks.SPLITS[table.split[index]]
        assert table.vocab[table.targets[index, 0]] == answer, words
        assert table.tags[tag][index] == depth, words
        assert table.answer_positions[index, 0] == len(words) - 1
        count[depth, split, answer] += 1
        solved.append(atoms)
        distinct.add(tuple(words))
        if split == "train" and len(atoms) > 1:
            practiced.update(atoms)
        needed[split].update(atoms)
    assert len(distinct) == len(table.tokens)
    # Disjoint and complete: each depth has its rows, each answer its share of them.
    assert {depth for depth, _, _ in count} == set(range(first, last + 1))
    for depth in range(first, last + 1):
        wanted = {"id" if depth <= trained else "depth": heldout}
        if depth <= trained:
            wanted["train"] = train
        for split in tasks.SPLITS:
            shares = [count[depth, split, answer] for answer in answers]
            assert sum(shares) == wanted.get(split, 0), (depth, split)
            assert max(shares) - min(shares) <= 1, (depth, split)
    # Parts of held-out rows are practiced, in training rows of more than one part.
    assert needed["id"] | needed["depth"] <= practiced
    certificate = table.certificate
    assert certificate.atoms["practiced"] == len(practiced)
    everything = set.union(*needed.values())
    assert certificate.atoms["all"] == len(everything)
    assert certificate.atoms["never_composed"] == len(everything - practiced)
    assert not any(certificate.impure.values())
    assert not any(certificate.overlap.values())
    assert ("depth" in certificate.impure) == (last > trained)
    assert _up_to_names(certified) == _up_to_names(solved)
    assert (table.repeats == 1).all()
    return table


def _up_to_names(rows):
    """Counts the atoms by the rows in which they stand and how often in each."""
    places = collections.defaultdict(collections.Counter)
    for index, atoms in enumerate(rows):
        for atom in atoms:
            places[atom][index] += 1
    return collections.Counter(frozenset(where.items()) for where in places.values())


def twins(table):
    """The tokens of each pair of rows that stand together; one is yes and one no."""
    answers = table.targets[:, 0].reshape(-1, 2)
    assert (answers[:, 0] != answers[:, 1]).all()
    np.testing.assert_array_equal(table.split[::2], table.split[1::2])
    return list(zip(table.tokens[::2], table.tokens[1::2], strict=True))
