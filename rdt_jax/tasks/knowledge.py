"""Multi-hop questions over a generated knowledge graph.

References: Wang et al. (2024), arXiv:2405.15071, Section 3.1; Kohli et al. (2026),
arXiv:2604.07822, Sections 3, 5.1 and 6.1.
"""

import numpy as np

from rdt_jax import wording
from rdt_jax.tasks import base, splits

VERSION = 1  # of the tables; a change of their rows is another one

PATTERNS = ("atomic", "id-id", "id-ood", "ood-id", "ood-ood")
ANSWER_AT = ("last", "answer_token", "pad")


def composition(
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
    `ood`; one of each, `mixed`, with the pattern first-second hop.

    Differs from the papers: an `id` or `mixed` row with an ID fact that happens to be
    in no training composition is `unused`, so that `id` really asks for practiced
    parts; mixed rows are kept and reported.

    Chance is 1 / num_entities. A relation has some tails more often than others; what
    the last one gives away, the shortcut `last_relation` says.

    Args:
      seed: of the graph and its splits.
      num_entities: entities of the graph.
      num_relations: relations of the graph.
      out_degree: facts per entity, at most `num_relations`.
      ood_share: share of the facts that no training composition uses.
      phi: two-hop training rows per ID fact.
      atomic_repeats: how often each one-hop row stands in a training epoch.
      max_heldout: rows kept in `id`, `ood` and each mixed pattern, a random choice
        (the rest is `unused`); None keeps all.
      answer_at: where the logits are read: at the `last` token; at an `answer_token`
        appended to the row; at the last position of the padded row (`pad`: the
        authors' released code).

    Returns:
      A table with A = 1 and tags `hops` (1, 2) and `pattern` (PATTERNS).

    Raises:
      ValueError: if an argument is out of range, or phi is more than the graph serves.
    """
    _check_composition(
        num_entities, num_relations, out_degree, ood_share, phi, atomic_repeats,
        max_heldout, answer_at,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    tail = _draw_graph(rng, num_entities, num_relations, out_degree)  # [E, R]
    heads, relations = np.nonzero(tail >= 0)  # Facts in row-major order.
    num_facts = heads.size
    fact_of = np.full(tail.shape, -1, np.int64)
    fact_of[heads, relations] = np.arange(num_facts)
    is_ood = np.zeros(num_facts, bool)
    is_ood[rng.permutation(num_facts)[: round(ood_share * num_facts)]] = True

    # All two-hop questions: each fact followed by each fact of its tail.
    bridges = tail[heads, relations]
    second = fact_of[bridges]  # [facts, R], -1 where the bridge lacks the relation
    first_hop, second_relation = np.nonzero(second >= 0)
    second_hop = second[first_hop, second_relation]
    pattern = 1 + 2 * is_ood[first_hop] + is_ood[second_hop]  # PATTERNS

    split = np.full(first_hop.size, base.SPLITS.index("unused"), np.int8)
    candidates = rng.permutation(np.flatnonzero(pattern == PATTERNS.index("id-id")))
    num_id = int((~is_ood).sum())
    if candidates.size < 2:
        raise ValueError(
            "task.kwargs.ood_share must leave at least two questions of ID facts only, "
            f"got {ood_share}."
        )
    num_train = round(phi * num_id)
    if num_train < 1:
        raise ValueError(
            f"task.kwargs.phi must train at least one of the questions about {num_id} "
            f"ID facts, got {phi}."
        )
    if num_train >= candidates.size:
        largest = (candidates.size - 1) / num_id
        raise ValueError(
            f"task.kwargs.phi must leave at least one ID question untrained: at most "
            f"{largest:.4g} with this graph, got {phi}."
        )
    trained = candidates[:num_train]
    split[trained] = base.SPLITS.index("train")
    practiced = np.zeros(num_facts, bool)
    practiced[first_hop[trained]] = practiced[second_hop[trained]] = True
    heldout = candidates[num_train:]
    askable = practiced[first_hop[heldout]] & practiced[second_hop[heldout]]
    split[heldout[askable][:max_heldout]] = base.SPLITS.index("id")
    one_practiced = practiced[first_hop] | practiced[second_hop]
    for name, part in (("id-ood", "mixed"), ("ood-id", "mixed"), ("ood-ood", "ood")):
        rows = rng.permutation(np.flatnonzero(pattern == PATTERNS.index(name)))
        if part == "mixed":
            rows = rows[one_practiced[rows]]
        split[rows[:max_heldout]] = base.SPLITS.index(part)

    if not (split == base.SPLITS.index("id")).any():
        raise ValueError(
            "task.kwargs.phi must be so large that some untrained question asks for "
            f"practiced facts only, got {phi}."
        )
    if ood_share > 0 and not (split == base.SPLITS.index("ood")).any():
        raise ValueError(
            "task.kwargs.ood_share must be 0 or give a question of two OOD facts, "
            f"got {ood_share}."
        )

    entity = 1 + np.arange(num_entities, dtype=np.int32)
    relation = 1 + num_entities + np.arange(num_relations, dtype=np.int32)
    words = _words(num_entities, num_relations)
    num_rows = num_facts + first_hop.size
    tokens = np.zeros((num_rows, 4), np.int32)
    tokens[:num_facts, 0] = entity[heads]
    tokens[:num_facts, 1] = relation[relations]
    tokens[num_facts:, 0] = entity[heads[first_hop]]
    tokens[num_facts:, 1] = relation[relations[first_hop]]
    tokens[num_facts:, 2] = relation[second_relation]
    hops = np.repeat(np.array([1, 2], np.int32), [num_facts, first_hop.size])
    tokens, positions = place_answer(tokens, 1 + hops, answer_at, len(words))
    if answer_at == "answer_token":
        words.append("<a>")
    targets = entity[np.concatenate([bridges, bridges[second_hop]])]
    split = np.concatenate([np.zeros(num_facts, np.int8), split])
    repeats = np.where(hops == 1, atomic_repeats, 1).astype(np.int32)
    certificate = base.certify(
        tokens,
        positions[:, None],
        targets[:, None],
        split,
        repeats,
        atoms=_facts_used(tokens, targets, hops),
        held_out=(
            f"{int(is_ood.sum())} of {num_facts} facts are trained as one-hop rows but "
            "used by no two-hop training row; `ood` asks two of them in a row."
        ),
        shortcuts={"last_relation": tokens[np.arange(num_rows), hops]},
    )
    return base.Table(
        tokens=tokens,
        answer_positions=positions[:, None],
        targets=targets[:, None].astype(np.int32),
        split=split,
        repeats=repeats,
        tags={
            "hops": hops,
            "pattern": np.concatenate([np.zeros(num_facts), pattern]).astype(np.int32),
        },
        tag_names={"pattern": PATTERNS},
        vocab=tuple(words),
        certificate=certificate,
    )


def depth(
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
    where k-hop rows are trained, else `depth`.

    Differs from the paper: a held-out row with a fact that no training composition
    uses is `unused`.

    Chance is 1 / num_entities, and all relations of a row without its entity leave all
    entities equally likely: the shortcut `last_relation` scores as much but for the
    sampling of rows.

    Args:
      seed: of the graph and the rows.
      num_entities: entities of the graph.
      num_relations: relations of the graph, each defined on every entity.
      max_hops: hops of the longest rows.
      max_train_hops: hops of the longest train rows, in [2, max_hops].
      train_per_hop: train rows of each number of hops from 2.
      heldout_per_hop: held-out rows of each number of hops from 2.
      answer_at: where the logits are read, as in `composition`. All rows are padded to
        the longest, so `pad` reads those at their last relation; the authors pad
        further, which is what an `answer_token` amounts to.

    Returns:
      A table with A = 1 and the tag `hops`.

    Raises:
      ValueError: if an argument is out of range, there are not so many two-hop
        questions, or training is too small for any held-out row.
    """
    _check_depth(
        num_entities, num_relations, max_hops, max_train_hops, train_per_hop,
        heldout_per_hop, answer_at,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    tail = np.stack([rng.permutation(num_entities) for _ in range(num_relations)], 1)
    facts = np.indices(tail.shape).reshape(2, -1).T  # [facts, 2]
    hops, is_train = splits.rows_by_length(
        range(2, max_hops + 1), max_train_hops, train_per_hop, heldout_per_hop
    )
    hops = np.concatenate([np.ones(len(facts), np.int32), hops])
    is_train = np.concatenate([np.ones(len(facts), bool), is_train])
    tokens = np.zeros((hops.size, 2 + max_hops), np.int32)
    targets = np.zeros(hops.size, np.int32)
    for length in range(1, max_hops + 1):
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

    used = _facts_used(tokens, targets, hops)
    split = splits.assign(used, is_train, hops > max_train_hops)
    heldout = ("id", "depth") if max_hops > max_train_hops else ("id",)
    splits.check_heldout(split, heldout, "train_per_hop", train_per_hop)

    words = _words(num_entities, num_relations)
    tokens, positions = place_answer(tokens, 1 + hops, answer_at, len(words))
    if answer_at == "answer_token":
        words.append("<a>")
    repeats = np.ones(hops.size, np.int32)
    certificate = base.certify(
        tokens,
        positions[:, None],
        targets[:, None],
        split,
        repeats,
        atoms=used,
        held_out=(
            f"{wording.count(heldout_per_hop, 'question')} of each number of hops from "
            f"2 to {max_hops}; training has questions of up to {max_train_hops} hops."
        ),
        shortcuts={"last_relation": tokens[np.arange(hops.size), hops]},
    )
    return base.Table(
        tokens=tokens,
        answer_positions=positions[:, None],
        targets=targets[:, None],
        split=split,
        repeats=repeats,
        tags={"hops": hops},
        tag_names={},
        vocab=tuple(words),
        certificate=certificate,
    )


def _words(num_entities, num_relations) -> list[str]:
    return (
        ["<pad>"]
        + [f"entity_{i}" for i in range(num_entities)]
        + [f"relation_{i}" for i in range(num_relations)]
    )


def _check_composition(
    num_entities, num_relations, out_degree, ood_share, phi, repeats, heldout, answer_at
):
    _check_shared(num_entities, num_relations, answer_at)
    if not 1 <= out_degree <= num_relations:
        raise ValueError(
            f"task.kwargs.out_degree must be in [1, num_relations = {num_relations}], "
            f"got {out_degree}."
        )
    if not 0 <= ood_share < 1:
        raise ValueError(f"task.kwargs.ood_share must be in [0, 1), got {ood_share}.")
    if phi <= 0:
        raise ValueError(f"task.kwargs.phi must be positive, got {phi}.")
    if repeats < 1:
        raise ValueError(f"task.kwargs.atomic_repeats must be >= 1, got {repeats}.")
    if heldout is not None and heldout < 1:
        raise ValueError(f"task.kwargs.max_heldout must be >= 1, got {heldout}.")


def _check_depth(
    num_entities, num_relations, max_hops, max_train_hops, train, heldout, answer_at
):
    _check_shared(num_entities, num_relations, answer_at)
    if max_hops < 2:
        raise ValueError(f"task.kwargs.max_hops must be at least 2, got {max_hops}.")
    if not 2 <= max_train_hops <= max_hops:
        raise ValueError(
            f"task.kwargs.max_train_hops must be in [2, max_hops = {max_hops}], "
            f"got {max_train_hops}."
        )
    for name, rows in (("train_per_hop", train), ("heldout_per_hop", heldout)):
        if rows < 1:
            raise ValueError(f"task.kwargs.{name} must be >= 1, got {rows}.")
    # Each hop multiplies the questions, so two hops have the fewest.
    questions = num_entities * num_relations**2
    if train + heldout > questions:
        raise ValueError(
            "task.kwargs.train_per_hop + task.kwargs.heldout_per_hop must be at most "
            f"{questions}, the number of two-hop questions, got {train} + {heldout}."
        )


def _check_shared(num_entities, num_relations, answer_at):
    if num_entities < 2 or num_relations < 1:
        raise ValueError(
            "task.kwargs.num_entities must be at least 2 and num_relations at least 1, "
            f"got {num_entities} and {num_relations}."
        )
    check_answer_at(answer_at)


def check_answer_at(answer_at: str):
    """Raises ValueError if the answer is to be read at no place of ANSWER_AT."""
    if answer_at not in ANSWER_AT:
        raise ValueError(
            f"task.kwargs.answer_at must be one of {', '.join(ANSWER_AT)}, "
            f"got {answer_at!r}."
        )


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
    tokens: np.ndarray, lengths: np.ndarray, answer_at: str, answer_token: int
) -> tuple[np.ndarray, np.ndarray]:
    """Makes room for the answer of each row.

    Args:
      tokens: int32 [N, T], with at least one column of padding at the end; overwritten.
      lengths: int32 [N], words of each row.
      answer_at: one of ANSWER_AT.
      answer_token: what is appended where the answer is read at a token of its own.

    Returns:
      The tokens, int32 [N, T or T - 1], and where the answer is read, int32 [N].
    """
    rows = np.arange(len(tokens))
    if answer_at == "answer_token":
        tokens[rows, lengths] = answer_token
        return tokens, lengths
    tokens = tokens[:, : lengths.max()]
    if answer_at == "pad":
        return tokens, np.full_like(lengths, tokens.shape[1] - 1)
    return tokens, lengths - 1


def _facts_used(tokens, targets, hops) -> np.ndarray:
    """Returns the one-hop rows that each row needs, [N, K], read off the rows alone."""
    one_hop = np.flatnonzero(hops == 1)
    index = np.full((tokens.max() + 1, tokens.max() + 1), -1, np.int64)
    index[tokens[one_hop, 0], tokens[one_hop, 1]] = one_hop
    # In the smallest type and hop by hop: paths can be many and long.
    small = np.min_scalar_type(-1 - one_hop.max())
    facts = np.full((hops.max(), len(tokens)), -1, small)
    at = tokens[:, 0].copy()
    for hop in range(hops.max()):
        rows = np.flatnonzero(hops > hop)
        facts[hop, rows] = index[at[rows], tokens[rows, 1 + hop]]
        at[rows] = targets[facts[hop, rows]]
    return facts.T
