"""Planning on directed graphs: can a node be reached, and which way leads there?

In every row of a table stand the same number of edges, in random order and with random
names: `num_paths` paths of equal length h, and distractor edges. Distractor edges join
the paths with further nodes that either only lead to others or only are led to, so that
they never shorten, join or prolong a path. A row's hops are h: rounds of
following all edges from the source until the target is met, or nothing new is.
"""

from typing import NamedTuple

import numpy as np

from rdt_jax.tasks import base, depths, limits, oracles

VERSION = 1  # of the tables; a change of their rows is another one


def graph_reachability(
    *,
    seed: int,
    num_nodes: int,
    num_edges: int,
    min_hops: int,
    max_hops: int,
    max_train_hops: int,
    train_per_hop: int,
    heldout_per_hop: int,
) -> base.Table:
    """Asks whether a target can be reached from a source.

    A row is like `a > b c > d b > e ? a e`; the answer is yes or no. There are two
    paths of h edges; the source begins the first, the target ends it. Of each such
    graph there are two rows: in the second, an edge of either path, equally far from
    its beginning, has exchanged its head with the other, so that the target now ends
    the way from the other beginning. Every node has as many edges in and out as before.

    An atom is an edge (by the names of its nodes) that leaves a reached node. A = 1,
    and the tag is `hops`. Yes and no are equally frequent at every number of hops:
    chance is 1/2, and the shortcut `degree`, the numbers of edges in and out of source
    and target, gives no more.

    Hops are the edges of a path, at least 1, half of the rows of each number yes. A
    graph has at least 2 max_hops + 4 nodes and 2 max_hops edges.

    Reference: Chen (2026), arXiv:2603.21676 (directed reachability split by hops).
    Differs from the paper: the graph is given as tokens and not as an attention mask,
    and no rows of different answers are told apart by degrees.
    """
    plan = depths.Plan(
        "hop", min_hops, max_hops, max_train_hops, train_per_hop, heldout_per_hop
    )
    plan.check(smallest=1, group=2)
    form = _Form(num_nodes, num_edges, num_paths=2, one_source=False)
    _check(plan, form)
    words = (*form.words, "no", "yes")
    return depths.make_table(
        np.random.default_rng(seed), plan, form.draw_pairs, form.read_pairs,
        vocab=words, answers=len(form.words) + np.arange(2),
        shortcuts=_degrees_of_ends, group=2,
    )  # fmt: skip


def graph_next_step(
    *,
    seed: int,
    num_nodes: int,
    num_edges: int,
    num_paths: int,
    min_hops: int,
    max_hops: int,
    max_train_hops: int,
    train_per_hop: int,
    heldout_per_hop: int,
) -> base.Table:
    """Asks for the first step of the only way from a source to a target.

    A row is like `a > b c > d a > c b > e ? a d`; the answer is a successor of the
    source. `num_paths` paths of h edges leave the source, and nothing else does; the
    target ends one. Chance is 1 / num_nodes, and a guess among the successors is right
    once in `num_paths` times, also where it takes the one listed first (the shortcut
    `successor`) or the one with the most edges (`degree`). In rows of one hop the
    target is the answer.

    An atom is an edge (by the names of its nodes) that leaves a reached node. A = 1,
    and the tag is `hops`, the edges of a path, at least 1; the answers are balanced at
    each number. There are at least 2 paths, num_paths max_hops + 3 nodes and
    num_paths max_hops edges.

    References: Bachmann and Nagarajan (2024), arXiv:2403.06963 (graphs of paths from
    one source); Chen (2026), arXiv:2603.21676 (reachability split by hops). Differs
    from both: distractor edges, and only the first step is asked.
    """
    plan = depths.Plan(
        "hop", min_hops, max_hops, max_train_hops, train_per_hop, heldout_per_hop
    )
    plan.check(smallest=1)
    limits.at_least(2, num_paths=num_paths)
    form = _Form(num_nodes, num_edges, num_paths, one_source=True)
    _check(plan, form)
    return depths.make_table(
        np.random.default_rng(seed), plan, form.draw_steps, form.read_steps,
        vocab=form.words, answers=1 + np.arange(num_nodes),
        shortcuts=form.successors,
    )  # fmt: skip


class _Form(NamedTuple):
    """What the graphs of a table are made of."""

    num_nodes: int  # nodes of each graph
    num_edges: int  # edges of each graph
    num_paths: int  # paths of equal length in it
    one_source: bool  # whether all of them begin in one node

    @property
    def words(self) -> tuple[str, ...]:
        return "<pad>", *(f"n{node}" for node in range(self.num_nodes)), ">", "?"

    def draw_pairs(self, rng, hops, count) -> np.ndarray:
        """Draws graphs, and the same with the heads of two edges exchanged."""
        edges = self.draw_edges(rng, count // 2, hops)
        exchanged = edges.copy()
        everyone, cut = np.arange(len(edges)), rng.integers(0, hops, len(edges))
        exchanged[everyone, cut, 1] = edges[everyone, hops + cut, 1]
        exchanged[everyone, hops + cut, 1] = edges[everyone, cut, 1]
        return _write(rng, [edges, exchanged], self.num_nodes, source=0, target=hops)

    def draw_steps(self, rng, hops, count) -> np.ndarray:
        edges = self.draw_edges(rng, count, hops)
        return _write(rng, [edges], self.num_nodes, source=0, target=hops)

    def draw_edges(self, rng, count, hops) -> np.ndarray:
        """Returns int [count, E, 2]: the edges of path after path, then distractors."""
        paths = self.paths(hops)
        along = np.stack([paths[:, :-1], paths[:, 1:]], axis=2).reshape(-1, 2)
        others = self.distractors(hops)
        number = self.num_edges - len(along)
        order = rng.random((count, len(others)), np.float32).argsort(axis=1)[:, :number]
        along = np.broadcast_to(along, (count, *along.shape))
        return np.concatenate([along, others[order]], axis=1)

    def paths(self, hops) -> np.ndarray:
        """Returns the nodes along each path, [paths, hops + 1], numbered from 0."""
        number = self.num_paths
        if not self.one_source:
            return np.arange(number * (hops + 1)).reshape(number, hops + 1)
        nodes = np.arange(1, number * hops + 1).reshape(number, hops)
        return np.column_stack([np.zeros(number, int), nodes])

    def distractors(self, hops) -> np.ndarray:
        """Returns the edges that may be added to the paths, [Q, 2]."""
        paths, nodes = self.paths(hops), np.arange(self.num_nodes)
        used = int(paths.max()) + 1
        # The other nodes in halves: those only led to, and those only leading to
        # others.
        is_path, is_sink = nodes < used, nodes >= used + (self.num_nodes - used) // 2
        # Nothing else leaves an end, nor a source whose next step is asked: its
        # successors are alike.
        barred = np.append(paths[:, -1], 0 if self.one_source else paths[:, -1])
        tails = ~is_sink & ~np.isin(nodes, barred)
        heads = is_path | is_sink
        allowed = tails[:, None] & heads & ~(is_path[:, None] & is_path)
        return np.argwhere(allowed)

    def read_pairs(self, tokens) -> depths.Reading:
        """Says whether the target is met by following all edges from the source."""
        edges, source, target = _parse(tokens)
        is_met, reached, hops = _follow(edges, source, target, self.num_nodes)
        no, yes = len(self.words) + np.arange(2)
        answers = np.where(is_met, yes, no)
        return depths.Reading(answers, self.atoms(edges, reached), hops)

    def read_steps(self, tokens) -> depths.Reading:
        """Finds the successor of the source that leads to the target."""
        edges, source, target = _parse(tokens)
        _, reached, hops = _follow(edges, source, target, self.num_nodes)
        # Which nodes lead to the target is asked backwards.
        _, leading, _ = _follow(edges[:, :, ::-1], target, source, self.num_nodes)
        rows = np.arange(len(tokens))[:, None]
        is_step = (edges[:, :, 0] == source[:, None]) & leading[rows, edges[:, :, 1]]
        step = edges[rows[:, 0], is_step.argmax(axis=1), 1]
        return depths.Reading(1 + step, self.atoms(edges, reached), hops)

    def atoms(self, edges, reached) -> np.ndarray:
        """Returns the edges that leave a reached node, [n, E], -1 for the others."""
        follows = reached[np.arange(len(edges))[:, None], edges[:, :, 0]]
        return np.where(follows, edges[:, :, 0] * self.num_nodes + edges[:, :, 1], -1)

    def successors(self, tokens) -> dict[str, np.ndarray]:
        """Returns the busiest and the first listed successor of the source."""
        edges, source, _ = _parse(tokens)
        rows = np.arange(len(tokens))[:, None]
        degree = np.zeros((len(tokens), self.num_nodes), int)
        np.add.at(degree, (rows[:, :, None], edges), 1)
        is_successor = edges[:, :, 0] == source[:, None]
        busiest = np.where(is_successor, degree[rows, edges[:, :, 1]], -1).argmax(1)
        return {
            "degree": edges[rows[:, 0], busiest, 1],
            "successor": edges[rows[:, 0], is_successor.argmax(axis=1), 1],
        }


def _check(plan, form):
    paths = plan.last * form.num_paths
    smallest = paths + (1 if form.one_source else form.num_paths) + 2
    must = f"be at least {smallest} for paths of max_hops = {plan.last}"
    limits.require(form.num_nodes >= smallest, "num_nodes", must, form.num_nodes)
    most = min(
        hops * form.num_paths + len(form.distractors(hops)) for hops in plan.lengths
    )
    shape = f"{form.num_nodes} nodes and paths of {plan.first} to {plan.last} hops"
    limits.inside(paths, most, f" with {shape}", num_edges=form.num_edges)


def _write(rng, graphs, num_nodes, source, target) -> np.ndarray:
    """Writes graphs of the same nodes one below the other, int32 [n, T]."""
    count, num_edges, _ = graphs[0].shape
    names = rng.permuted(np.tile(np.arange(1, 1 + num_nodes), (count, 1)), axis=1)
    order = rng.permuted(np.tile(np.arange(num_edges), (count, 1)), axis=1)
    tokens = np.zeros((count, len(graphs), 3 * num_edges + 3), np.int32)
    for place, edges in enumerate(graphs):
        edges = np.take_along_axis(edges, order[:, :, None], axis=1)
        named = np.take_along_axis(names, edges.reshape(count, -1), axis=1)
        tokens[:, place, 0:-3:3], tokens[:, place, 2:-3:3] = (
            named[:, ::2],
            named[:, 1::2],
        )
    tokens[:, :, 1:-3:3], tokens[:, :, -3] = 1 + num_nodes, 2 + num_nodes
    tokens[:, :, -2], tokens[:, :, -1] = names[:, [source]], names[:, [target]]
    return tokens.reshape(-1, tokens.shape[2])


def _parse(tokens) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns edges [n, E, 2], sources and targets [n], nodes numbered from 0."""
    edges = np.stack([tokens[:, 0:-3:3], tokens[:, 2:-3:3]], axis=2) - 1
    return edges, tokens[:, -2] - 1, tokens[:, -1] - 1


def _follow(edges, source, target, num_nodes):
    """Follows all edges from the source, round by round, until nothing is new.

    Returns whether the target is met [n]; the nodes reached, [n, nodes]; the rounds
    until the target is met or, if it never is, those that reach a new node [n].
    """
    rows = np.arange(len(edges))
    reached = np.zeros((len(edges), num_nodes), bool)
    reached[rows, source] = True
    hops, is_met = np.zeros(len(edges), int), np.zeros(len(edges), bool)
    while True:
        follows = reached[rows[:, None], edges[:, :, 0]] & ~is_met[:, None]
        new = reached.copy()
        where, which = np.nonzero(follows)
        new[where, edges[where, which, 1]] = True
        grows = (new & ~reached).any(axis=1)
        if not grows.any():
            return is_met, reached, hops
        hops += grows
        is_met |= new[rows, target]
        reached = new


def _degrees_of_ends(tokens) -> dict[str, np.ndarray]:
    edges, source, target = _parse(tokens)
    degrees = [
        (edges[:, :, side] == node[:, None]).sum(axis=1)
        for node in (source, target)
        for side in (0, 1)
    ]
    return {"degree": base.row_hashes(np.stack(degrees, axis=1))}


EXAMPLES = {
    "graph_next_step": [
        depths.EXAMPLE | {"num_nodes": 11, "num_edges": 10, "num_paths": 2},
        {"num_nodes": 15, "num_edges": 12, "num_paths": 3, "max_hops": 3},
    ],
    "graph_reachability": [
        depths.EXAMPLE | {"num_nodes": 12, "num_edges": 11},
        {"num_edges": 8, "max_hops": 3},
    ],
}


def graph_reachability_oracle(question: list[str]) -> list[str]:
    """Collects all that the edges lead to from the source."""
    edges, (source, target) = _edges(question)
    return ["yes" if target in oracles.reached(edges, source) else "no"]


def graph_next_step_oracle(question: list[str]) -> list[str]:
    """Goes back from the target, and finds the one successor met on the way."""
    edges, (source, target) = _edges(question)
    before = oracles.reached([(head, tail) for tail, head in edges], target)
    steps = [head for tail, head in edges if tail == source and head in before]
    return steps if len(steps) == 1 else [oracles.UNKNOWN]


def _edges(question: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Returns the edges from tail to head, and the source with the target."""
    return [(a, b) for a, _, b in oracles.premises(question[:-3])], question[-2:]
