"""Multi-hop questions over a generated knowledge graph.

References: Wang et al. (2024), arXiv:2405.15071, Section 3.1; Kohli et al. (2026),
arXiv:2604.07822, Sections 3, 5.1 and 6.1.
"""

from collections.abc import Sequence

import numpy as np

from rdt_jax.tasks import base, limits, oracles, splits

VERSION = 1  # of the tables; a change of their rows is another one

PATTERNS = ("atomic", "id-id", "id-ood", "ood-id", "ood-ood")
ANSWER_AT = ("last", "answer_token", "pad")
LARGEST_GRAPH = 5_000_000  # questions that are listed


def knowledge_composition(
    *,
    seed: int,
    num_entities: int,
    num_relations: int,
    out_degree: int,
    ood_share: float,
    phi: float,
    atomic_repeats: int,
    max_heldout: int | None,
    answer_at: str,
) -> base.Table:
    """Systematicity: answer two-hop questions about facts never used in two hops.

    A fact (h, r, t) is drawn by giving each entity `out_degree` distinct relations
    with uniform tails. A share of the facts is OOD. Training holds every fact as a
    one-hop row `h r -> t`, and two-hop rows `h r1 r2 -> t` made of ID facts only.
    Two-hop rows whose facts are all ID but which are not trained are `id`; all OOD,
    `ood`; one of each, `mixed`, with the pattern first-second hop. A = 1, and the tags
    are `hops` (1, 2) and `pattern` (PATTERNS).

    Differs from the papers: an `id` or `mixed` row with an ID fact that happens to be
    in no training composition is `unused`, so that `id` really asks for practiced
    parts; mixed rows are kept and reported.

    Chance is 1 / num_entities. A relation has some tails more often than others; what
    the last one gives away, the shortcut `last_relation` says.

    Args:
      seed: seed of the graph and its splits.
      num_entities: entities of the graph.
      num_relations: relations of the graph.
      out_degree: facts per entity, at most `num_relations`.
      ood_share: share of the facts that no training composition uses.
      phi: two-hop training rows per ID fact.
      atomic_repeats: times that each one-hop row stands in a training epoch.
      max_heldout: rows kept in `id`, `ood` and each mixed pattern, a random choice
        (the rest is `unused`); None keeps all.
      answer_at: place where the logits are read: the `last` token; an `answer_token`
        appended to the row; the last position of the padded row (`pad`: the authors'
        released code).
    """
    _check_graph(num_entities, num_relations, answer_at)
    limits.inside(1, num_relations, " = [1, num_relations]", out_degree=out_degree)
    check_composed(ood_share, phi, atomic_repeats, answer_at, max_heldout=max_heldout)
    rng = np.random.default_rng(seed)
    tail = _draw_graph(rng, num_entities, num_relations, out_degree)  # [E, R]
    heads, relations = np.nonzero(tail >= 0)  # Facts in row-major order.
    bridges = tail[heads, relations]
    num_facts = heads.size
    is_ood = np.zeros(num_facts, bool)
    is_ood[rng.permutation(num_facts)[: round(ood_share * num_facts)]] = True
    hops_of, second_relation = _two_hop(tail, bridges)
    split, pattern = _split(rng, hops_of, is_ood, ood_share, phi, max_heldout)
    facts = np.column_stack([1 + heads, 1 + num_entities + relations])
    tokens = np.zeros((num_facts + len(hops_of), 4), np.int32)
    tokens[:, :2] = np.concatenate([facts, facts[hops_of[:, 0]]])
    tokens[num_facts:, 2] = 1 + num_entities + second_relation
    hops = np.repeat(np.array([1, 2], np.int32), [num_facts, len(hops_of)])
    words = _words(num_entities, num_relations)
    tokens, positions, words = place_answer(tokens, 1 + hops, answer_at, words)
    targets = 1 + np.concatenate([bridges, bridges[hops_of[:, 1]]])
    return base.certified(
        tokens,
        positions,
        targets,
        np.pad(split, (num_facts, 0)),  # All facts are trained.
        atoms=facts_used(tokens, targets, hops),
        held_out=(
            f"{int(is_ood.sum())} of {num_facts} facts are trained as one-hop rows but "
            "used by no two-hop training row; `ood` asks two of them in a row."
        ),
        vocab=words,
        repeats=np.where(hops == 1, atomic_repeats, 1),
        tags={"hops": hops, "pattern": np.pad(pattern, (num_facts, 0))},
        tag_names={"pattern": PATTERNS},
        shortcuts={"last_relation": tokens[np.arange(hops.size), hops]},
    )


def _two_hop(tail, bridges) -> tuple[np.ndarray, np.ndarray]:
    """Returns all two-hop questions: their facts [Q, 2] and their second relation."""
    first, relation = np.nonzero(tail[bridges] >= 0)
    fact_of = np.cumsum(tail.ravel() >= 0).reshape(tail.shape) - 1
    return np.stack([first, fact_of[bridges[first], relation]], axis=1), relation


def _split(
    rng, hops_of, is_ood, ood_share, phi, max_heldout
) -> tuple[np.ndarray, np.ndarray]:
    """Returns split and pattern of two-hop questions of the facts `hops_of` [Q, 2]."""
    pattern = 1 + is_ood[hops_of] @ np.array([2, 1])  # PATTERNS
    split = np.full(len(hops_of), base.SPLITS.index("unused"), np.int8)
    candidates = rng.permutation(np.flatnonzero(pattern == PATTERNS.index("id-id")))
    num_id = int((~is_ood).sum())
    num_train = round(phi * num_id)
    must = "leave at least two questions of ID facts only"
    limits.require(candidates.size >= 2, "ood_share", must, ood_share)
    must = f"train at least one of the questions about {num_id} ID facts"
    limits.require(num_train >= 1, "phi", must, phi)
    must = (
        "leave at least one ID question untrained: at most "
        f"{(candidates.size - 1) / num_id:.4g} with this graph"
    )
    limits.require(num_train < candidates.size, "phi", must, phi)
    trained, heldout = np.split(candidates, [num_train])
    split[trained] = base.SPLITS.index("train")
    practiced = np.zeros(is_ood.size, bool)
    practiced[hops_of[trained]] = True
    askable = practiced[hops_of[heldout]].all(axis=1)
    split[heldout[askable][:max_heldout]] = base.SPLITS.index("id")
    one_practiced = practiced[hops_of].any(axis=1)
    for name, part in (("id-ood", "mixed"), ("ood-id", "mixed"), ("ood-ood", "ood")):
        rows = rng.permutation(np.flatnonzero(pattern == PATTERNS.index(name)))
        if part == "mixed":
            rows = rows[one_practiced[rows]]
        split[rows[:max_heldout]] = base.SPLITS.index(part)
    must = "be so large that some untrained question asks for practiced facts only"
    limits.require(bool((split == base.SPLITS.index("id")).any()), "phi", must, phi)
    fits = ood_share == 0 or bool((split == base.SPLITS.index("ood")).any())
    must = "be 0 or give a question of two OOD facts"
    limits.require(fits, "ood_share", must, ood_share)
    return split, pattern


def knowledge_hops(
    *,
    seed: int,
    num_entities: int,
    num_relations: int,
    out_degree: int,
    ood_share: float,
    max_hops: int,
    phi: float,
    atomic_repeats: int,
    max_heldout: int | None,
    answer_at: str,
) -> base.Table:
    """Systematicity at more hops: follow facts that were never followed by any other.

    Graph, OOD facts, repeats and `answer_at` are those of `knowledge_composition`, and
    training holds rows of 2 to `max_hops` ID facts. Held-out rows of ID facts that are
    practiced are `id`, rows of OOD facts only are `ood`, and all others are `unused`. A
    = 1, and the tag is `hops`. It is ours: the paper asks OOD facts for two hops only.

    Chance is 1 / num_entities; what the last relation gives away, the shortcut
    `last_relation` says.

    Args:
      max_hops: most relations of a row, at least 2.
      phi: training rows of each number of hops from 2, per ID fact.
      max_heldout: rows kept in `id` and in `ood`, of each number of hops.
    """
    _check_graph(num_entities, num_relations, answer_at)
    limits.inside(1, num_relations, " = [1, num_relations]", out_degree=out_degree)
    check_composed(ood_share, phi, atomic_repeats, answer_at, max_heldout=max_heldout)
    limits.at_least(2, max_hops=max_hops)
    questions = num_entities * out_degree**max_hops
    fits = questions <= LARGEST_GRAPH
    must = f"ask at most {LARGEST_GRAPH} questions of this graph, not {questions}"
    limits.require(fits, "max_hops", must, max_hops)
    rng = np.random.default_rng(seed)
    tail = _draw_graph(rng, num_entities, num_relations, out_degree)  # [E, R]
    heads, relations = np.nonzero(tail >= 0)  # Facts in row-major order.
    bridges = tail[heads, relations]
    is_ood = np.zeros(heads.size, bool)
    is_ood[rng.permutation(heads.size)[: round(ood_share * heads.size)]] = True
    fact_of = np.cumsum(tail.ravel() >= 0).reshape(tail.shape) - 1
    paths = [np.arange(heads.size)[:, None]]  # [Q, hops], facts in their order
    while len(paths) < max_hops:
        ends = bridges[paths[-1][:, -1]]
        before, relation = np.nonzero(tail[ends] >= 0)
        last = fact_of[ends[before], relation]
        paths.append(np.column_stack([paths[-1][before], last]))
    split = [
        np.full(heads.size, base.SPLITS.index("train"), np.int8),  # All are trained.
        *_split_paths(rng, paths[1:], is_ood, ood_share, phi, max_heldout),
    ]
    hops = np.repeat(np.arange(1, max_hops + 1, dtype=np.int32), [*map(len, paths)])
    tokens = np.zeros((hops.size, 2 + max_hops), np.int32)
    for length, facts in enumerate(paths, 1):
        rows = np.flatnonzero(hops == length)
        tokens[rows, 0] = 1 + heads[facts[:, 0]]
        tokens[rows, 1 : 1 + length] = 1 + num_entities + relations[facts]
    words = _words(num_entities, num_relations)
    tokens, positions, words = place_answer(tokens, 1 + hops, answer_at, words)
    targets = 1 + np.concatenate([bridges[facts[:, -1]] for facts in paths])
    return base.certified(
        tokens,
        positions,
        targets,
        np.concatenate(split),
        atoms=facts_used(tokens, targets, hops),
        held_out=(
            f"{int(is_ood.sum())} of {heads.size} facts are trained as one-hop rows "
            f"but used by no training row of more; `ood` asks 2 to {max_hops} of them "
            "in a row."
        ),
        vocab=words,
        repeats=np.where(hops == 1, atomic_repeats, 1),
        tags={"hops": hops},
        shortcuts={"last_relation": tokens[np.arange(hops.size), hops]},
    )


def _split_paths(
    rng, paths: Sequence[np.ndarray], is_ood, ood_share, phi, max_heldout
) -> list[np.ndarray]:
    """Returns the split of questions by their facts, [Q, hops] of each length."""
    num_train = round(phi * int((~is_ood).sum()))
    must = "train at least one row of each number of hops"
    limits.require(num_train >= 1, "phi", must, phi)
    practiced = np.zeros(is_ood.size, bool)
    candidates = []
    for facts in paths:
        rows = rng.permutation(np.flatnonzero(~is_ood[facts].any(axis=1)))
        must = f"leave an ID question of {facts.shape[1]} hops untrained"
        limits.require(num_train < rows.size, "phi", must, phi)
        practiced[facts[rows[:num_train]]] = True
        candidates.append(rows)
    splits_of = []
    for facts, rows in zip(paths, candidates, strict=True):
        split = np.full(len(facts), base.SPLITS.index("unused"), np.int8)
        split[rows[:num_train]] = base.SPLITS.index("train")
        held_out = rows[num_train:]
        asked = held_out[practiced[facts[held_out]].all(axis=1)][:max_heldout]
        ood = rng.permutation(np.flatnonzero(is_ood[facts].all(axis=1)))[:max_heldout]
        must = f"leave an ID question of {facts.shape[1]} hops about practiced facts"
        limits.require(asked.size > 0, "phi", must, phi)
        must = f"be 0 or give a question of {facts.shape[1]} OOD facts"
        limits.require(ood_share == 0 or ood.size > 0, "ood_share", must, ood_share)
        split[asked] = base.SPLITS.index("id")
        split[ood] = base.SPLITS.index("ood")
        splits_of.append(split)
    return splits_of


def knowledge_depth(
    *,
    seed: int,
    num_entities: int,
    num_relations: int,
    max_hops: int,
    max_train_hops: int,
    train_per_hop: int,
    heldout_per_hop: int,
    answer_at: str,
) -> base.Table:
    """Depth: follow more relations in a row than training ever did.

    Each relation is a random permutation of the entities, so that the last relations
    alone never give the answer away. Training holds every fact as a one-hop row
    `h r -> t`, and random k-hop rows `h r1 ... rk -> t`. Held-out k-hop rows are `id`
    where k-hop rows are trained, else `depth`. A = 1, and the tag is `hops`. Differs
    from the paper: a held-out row with a fact that no training composition uses is
    `unused`.

    Chance is 1 / num_entities, and all relations of a row without its entity leave all
    entities equally likely: the shortcut `last_relation` scores as much but for the
    sampling of rows.

    There are rows of each number of hops from 2. `answer_at` is that of
    `knowledge_composition`; all rows are padded to the longest, so `pad` reads those at
    their last relation. The authors pad further, which is what an `answer_token`
    amounts to.
    """
    plan = splits.Plan(
        "hop", 2, max_hops, max_train_hops, train_per_hop, heldout_per_hop
    )
    _check_graph(num_entities, num_relations, answer_at)
    plan.check(smallest=2, takes_first=False)
    # Each hop multiplies the questions, so two hops have the fewest.
    plan.check_number(num_entities * num_relations**2, "two-hop questions")
    rng = np.random.default_rng(seed)
    tail = np.stack([rng.permutation(num_entities) for _ in range(num_relations)], 1)
    facts = np.indices(tail.shape).reshape(2, -1).T  # [facts, 2]
    hops, is_train = plan.rows()
    hops = np.concatenate([np.ones(len(facts), np.int32), hops])
    is_train = np.concatenate([np.ones(len(facts), bool), is_train])
    tokens = np.zeros((hops.size, 2 + max_hops), np.int32)
    targets = np.zeros(hops.size, np.int32)
    for length in (1, *plan.lengths):
        part = np.flatnonzero(hops == length)
        walks = facts
        if length > 1:
            choices = (num_entities, *length * [num_relations])
            walks = splits.draw_distinct(rng, choices, part.size)
        tokens[part, 0] = 1 + walks[:, 0]
        tokens[part, 1 : 1 + length] = 1 + num_entities + walks[:, 1:]
        at = walks[:, 0]
        for relation in walks.T[1:]:
            at = tail[at, relation]
        targets[part] = 1 + at
    words = _words(num_entities, num_relations)
    tokens, positions, words = place_answer(tokens, 1 + hops, answer_at, words)
    return plan.table(
        tokens,
        positions,
        targets,
        atoms=facts_used(tokens, targets, hops),
        lengths=hops,
        trained=is_train,
        vocab=words,
        shortcuts={"last_relation": tokens[np.arange(hops.size), hops]},
    )


def _words(num_entities, num_relations) -> tuple[str, ...]:
    return (
        "<pad>",
        *(f"entity_{i}" for i in range(num_entities)),
        *(f"relation_{i}" for i in range(num_relations)),
    )


def _check_graph(num_entities, num_relations, answer_at):
    limits.at_least(2, num_entities=num_entities)
    limits.at_least(1, num_relations=num_relations)
    limits.one_of(ANSWER_AT, answer_at=answer_at)


def check_composed(
    ood_share: float,
    phi: float,
    atomic_repeats: int,
    answer_at: str,
    **caps: int | None,
) -> None:
    """Checks what tasks with OOD facts share; `caps` are rows kept, or None."""
    limits.share(False, ood_share=ood_share)
    limits.require(phi > 0, "phi", "be positive", phi)
    limits.at_least(1, atomic_repeats=atomic_repeats)
    limits.one_of(ANSWER_AT, answer_at=answer_at)
    limits.at_least(1, **{key: cap for key, cap in caps.items() if cap is not None})


def _draw_graph(rng, num_entities, num_relations, out_degree) -> np.ndarray:
    """Returns the tail of every (entity, relation), int64 [E, R], -1 where none."""
    order = rng.permuted(np.tile(np.arange(num_relations), (num_entities, 1)), axis=1)
    tail = np.full((num_entities, num_relations), -1, np.int64)
    chosen = order[:, :out_degree]
    tail[np.arange(num_entities)[:, None], chosen] = rng.integers(
        0, num_entities, chosen.shape
    )
    return tail


def place_answer(
    tokens: np.ndarray, lengths: np.ndarray, answer_at: str, words: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Makes room for the answer of each row, as one of ANSWER_AT says.

    The tokens, int32 [N, T], have a column of padding at the end, and are overwritten;
    `lengths`, int32 [N], are the words of each row. Returns the tokens, int32 [N, T or
    T - 1]; where the answer is read, int32 [N]; the vocabulary, with `<a>` where the
    answer is read at a token of its own.
    """
    if answer_at == "answer_token":
        words = tuple(dict.fromkeys((*words, "<a>")))
        tokens[np.arange(len(tokens)), lengths] = words.index("<a>")
        return tokens, lengths, words
    tokens = tokens[:, : lengths.max()]
    last = np.full_like(lengths, tokens.shape[1])
    return tokens, (last if answer_at == "pad" else lengths) - 1, tuple(words)


def fact_rows(tokens: np.ndarray, targets: np.ndarray, hops: np.ndarray) -> np.ndarray:
    """Returns the one-hop row that states each fact, int64 [V, V]; -1 where none."""
    one_hop = np.flatnonzero(hops == 1)
    words = 1 + max(tokens.max(), targets.max())
    rows = np.full((words, words), -1, np.int64)
    rows[tokens[one_hop, 0], tokens[one_hop, 1]] = one_hop
    return rows


def facts_used(tokens: np.ndarray, targets: np.ndarray, hops: np.ndarray) -> np.ndarray:
    """Returns the one-hop rows that each row needs, [N, K], read off the rows alone."""
    index = fact_rows(tokens, targets, hops)
    # In the smallest type and hop by hop: paths can be many and long.
    small = np.min_scalar_type(-1 - index.max())
    facts = np.full((hops.max(), len(tokens)), -1, small)
    at = tokens[:, 0].copy()
    for hop in range(hops.max()):
        rows = np.flatnonzero(hops > hop)
        facts[hop, rows] = index[at[rows], tokens[rows, 1 + hop]]
        at[rows] = targets[facts[hop, rows]]
    return facts.T


EXAMPLES = {
    "knowledge_composition": [
        {"num_entities": 11, "num_relations": 5, "out_degree": 3, "ood_share": 0.25,
         "phi": 1.5, "atomic_repeats": 2, "max_heldout": None, "answer_at": "last"},
        {"answer_at": "answer_token", "max_heldout": 5},
        {"answer_at": "pad", "ood_share": 0.0},
    ],
    "knowledge_hops": [
        {"num_entities": 11, "num_relations": 5, "out_degree": 3, "ood_share": 0.3,
         "max_hops": 3, "phi": 1.5, "atomic_repeats": 2, "max_heldout": None,
         "answer_at": "last"},
        {"answer_at": "answer_token", "max_heldout": 5, "max_hops": 2},
        {"answer_at": "pad", "ood_share": 0.0},
    ],
    "knowledge_depth": [
        {"num_entities": 7, "num_relations": 3, "max_hops": 5, "max_train_hops": 3,
         "train_per_hop": 41, "heldout_per_hop": 13, "answer_at": "last"},
        {"answer_at": "answer_token", "max_hops": 3},  # No row is deeper.
        {"answer_at": "pad"},
    ],
}  # fmt: skip


knowledge_composition_oracle = knowledge_hops_oracle = oracles.follow_relations
knowledge_depth_oracle = oracles.follow_relations
