"""Kinship against offsets found by union, orders against a topological sort."""

import collections
import graphlib

from rdt_jax.tasks import logic
from tests.tasks import by_depth

PLAN = {
    "min_hops": 2,
    "max_hops": 5,
    "max_train_hops": 3,
    "train_per_hop": 200,
    "heldout_per_hop": 40,
}


def _kinship(seed=3, **changes):
    return logic.kinship(seed=seed, **{"num_people": 8, **PLAN} | changes)


def _transitive(seed=3, **changes):
    kwargs = {"num_items": 17, **PLAN, "min_hops": 1, **changes}
    return logic.transitive_inference(seed=seed, **kwargs)


def _premises(words):
    return list(zip(words[::3], words[1::3], words[2::3], strict=True))


def _solve_kinship(words):
    """Merges people into groups with their generations, premise by premise."""
    *premises, question, first, last, claim = words
    assert question == "?"
    premises = _premises(premises)
    level, group = {}, {}  # Generations above the group's root; members by root.
    root = {}
    for one, word, other in premises:
        for person in (one, other):
            if person not in root:
                root[person], level[person], group[person] = person, 0, [person]
        shift = level[one] - {"parent": 1, "child": -1}[word] - level[other]
        old, new = root[other], root[one]
        assert old != new
        for person in group.pop(old):
            level[person] += shift
            root[person] = new
            group[new].append(person)
    assert len(group) == 1
    # A chain from the first to the last: they stand once, all others twice.
    times = collections.Counter(p for a, _, b in premises for p in (a, b))
    assert {person for person in times if times[person] == 1} == {first, last}
    assert set(times.values()) <= {1, 2}
    atoms = [("compared", level[first] - level[last], int(claim))]
    for one, word, other in premises:
        # Who is nearer to the first is found by leaving this premise out.
        near = {first}
        for _ in premises:
            for a, _, b in premises:
                if (a, b) != (one, other) and (a in near or b in near):
                    near |= {a, b}
        start = one if one in near else other
        atoms.append((word, start == one, level[first] - level[start]))
    answer = "yes" if level[first] - level[last] == int(claim) else "no"
    return answer, len(premises), atoms


def _solve_transitive(words):
    *premises, question, first, last = words
    assert question == "?"
    sorter = graphlib.TopologicalSorter()
    for one, word, other in _premises(premises):
        upper, lower = (one, other) if word == ">" else (other, one)
        sorter.add(lower, upper)
    order = list(sorter.static_order())
    assert len(order) == len(premises) // 3 + 1
    ends = sorted((order.index(first), order.index(last)))
    assert ends[0] >= ends[1] - ends[0] <= len(order) - 1 - ends[1]  # Far from ends.
    between = order[ends[0] : ends[1] + 1]
    atoms = list(zip(between[:-1], between[1:], strict=True))
    answer = "yes" if order.index(first) < order.index(last) else "no"
    return answer, len(atoms), atoms


def restate_kinship(table):
    return by_depth.restate(table, _solve_kinship, "hops")


def restate_transitive_inference(table):
    assert table.tokens.all()  # Every row has as many premises.
    return by_depth.restate(table, _solve_transitive, "hops")


def test_a_pair_of_kinship_rows_differs_in_one_word():
    table = _kinship()
    for one, other in by_depth.twins(table):
        (place,) = (one != other).nonzero()[0]
        words = {table.vocab[one[place]], table.vocab[other[place]]}
        assert words == {"parent", "child"}


def test_a_pair_of_orders_differs_in_the_question_only():
    for one, other in by_depth.twins(_transitive()):
        assert (one[:-2] == other[:-2]).all()
        assert one[-2:].tolist() == other[:-3:-1].tolist()


def test_the_claim_has_the_parity_of_the_chain():
    for words in by_depth.sentences(_kinship()):
        _, hops, _ = _solve_kinship(words)
        assert (int(words[-1]) - hops) % 2 == 0


def test_what_can_be_counted_does_not_tell_the_answer():
    shortcuts = _transitive().certificate.shortcuts
    assert set(shortcuts["degree"].values()) == {0.5}
    certificate = _kinship(train_per_hop=4000, heldout_per_hop=2000).certificate
    for split in ("train", "id", "depth"):
        assert certificate.last_token[split] == 0.5
        # 4,000 rows or more, of which both of a pair may be right together.
        assert abs(certificate.shortcuts["words"][split] - 0.5) < 0.05
