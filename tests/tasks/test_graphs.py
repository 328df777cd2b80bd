"""Graphs against powers of their adjacency matrix."""

import collections

import numpy as np

from rdt_jax.tasks import graphs
from tests.tasks import by_depth

PLAN = {
    "min_hops": 1,
    "max_hops": 5,
    "max_train_hops": 3,
    "train_per_hop": 240,
    "heldout_per_hop": 48,
}
SIZES = {"num_nodes": 14, "num_edges": 14}


def _reachability(seed=3, **changes):
    return graphs.graph_reachability(seed=seed, **SIZES | PLAN | changes)


def _next_step(seed=3, **changes):
    kwargs = {"num_paths": 2, **SIZES, **PLAN}
    return graphs.graph_next_step(seed=seed, **kwargs | changes)


def _read(words):
    """Returns the edges by names, the source and the target."""
    *edges, question, source, target = words
    assert question == "?"
    assert set(edges[1::3]) == {">"}
    pairs = list(zip(edges[::3], edges[2::3], strict=True))
    assert len(set(pairs)) == len(pairs)
    assert all(tail != head for tail, head in pairs)
    return pairs, source, target


def _powers(pairs):
    """Returns the nodes, and within how many steps each is reached from each."""
    nodes = sorted({node for pair in pairs for node in pair})
    place = {node: index for index, node in enumerate(nodes)}
    adjacency = np.zeros((len(nodes), len(nodes)), int)
    for tail, head in pairs:
        adjacency[place[tail], place[head]] = 1
    within = np.full(adjacency.shape, -1)
    power = np.eye(len(nodes), dtype=int)
    for steps in range(len(nodes)):
        within[(power > 0) & (within < 0)] = steps
        power = np.minimum(power @ adjacency, 1)
    return place, within


def _solve_reachability(words):
    pairs, source, target = _read(words)
    place, within = _powers(pairs)
    distances = within[place[source]]
    hops = distances[place[target]]
    answer = "no" if hops < 0 else "yes"
    hops = distances.max() if hops < 0 else hops
    atoms = [(a, b) for a, b in pairs if 0 <= distances[place[a]] < hops]
    if answer == "no":  # Here even the last nodes are followed, to nowhere.
        assert all(distances[place[a]] < hops for a, _ in pairs)
    return answer, hops, atoms


def _solve_next_step(words):
    pairs, source, target = _read(words)
    place, within = _powers(pairs)
    hops = within[place[source], place[target]]
    steps = [
        head
        for tail, head in pairs
        if tail == source and within[place[head], place[target]] >= 0
    ]
    assert len(steps) == 1
    assert within[place[steps[0]], place[target]] == hops - 1
    distances = within[place[source]]
    atoms = [(a, b) for a, b in pairs if 0 <= distances[place[a]] < hops]
    return steps[0], hops, atoms


def restate_graph_reachability(table):
    assert table.tokens.all()  # Every row has as many edges.
    return by_depth.restate(table, _solve_reachability, "hops")


def restate_graph_next_step(table):
    assert table.tokens.all()  # Every row has as many edges.
    return by_depth.restate(table, _solve_next_step, "hops")


def test_a_pair_of_rows_has_the_same_degrees_and_two_heads_exchanged():
    table = _reachability()
    for one, other in by_depth.twins(table):
        assert (one != other).sum() == 2
        words = [[table.vocab[token] for token in row] for row in (one, other)]
        edges = [_read(row) for row in words]
        assert edges[0][1:] == edges[1][1:]
        for side in (0, 1):
            degrees = [collections.Counter(p[side] for p in e[0]) for e in edges]
            assert degrees[0] == degrees[1]


def test_degree_alone_is_worth_a_guess():
    certificate = _reachability().certificate
    for split in ("train", "id", "depth"):
        assert certificate.shortcuts["degree"][split] == 0.5
    shortcuts = _next_step(train_per_hop=4000, heldout_per_hop=1000).certificate
    for name in ("degree", "successor"):
        for split in ("train", "id", "depth"):  # 2,000 rows or more: 5 errors.
            assert abs(shortcuts.shortcuts[name][split] - 1 / 2) < 5 * 0.0112
    three = _next_step(
        num_paths=3, num_nodes=18, num_edges=18, train_per_hop=4000,
        heldout_per_hop=1000,
    ).certificate  # fmt: skip
    assert abs(three.shortcuts["degree"]["depth"] - 1 / 3) < 5 * 0.0105


def busiest(table):
    """Returns the successor of the source with the most edges, the first of several."""
    for words in by_depth.sentences(table):
        pairs, source, _ = _read(words)
        degree = collections.Counter(node for pair in pairs for node in pair)
        successors = [head for tail, head in pairs if tail == source]
        yield max(successors, key=lambda node: degree[node])


SHORTCUTS = {("graph_next_step", "degree"): busiest}
