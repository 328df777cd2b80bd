"""Which of two entities has more of an attribute, over generated ordinal facts.

Reference: Wang et al. (2024), arXiv:2405.15071, Section 4.
"""

import numpy as np

from rdt_jax.tasks import base, knowledge, splits

VERSION = 1  # of the tables; a change of their rows is another one

LABELS = ("less", "equal", "greater")


def comparison(
    *,
    seed: int,
    num_entities: int,
    num_attributes: int,
    num_values: int,
    ood_share: float,
    phi: float,
    atomic_repeats: int,
    max_heldout_pairs: int | None,
    answer_at: str,
) -> base.Table:
    """Systematicity: compare two values, of facts never used in a comparison.

    A fact gives an entity a uniform value of an attribute. For each attribute a share
    of the entities is OOD, and so are their facts. Training holds every fact as a row
    `entity attribute -> value`, and comparisons `attribute e1 e2 -> label` of ID facts
    only, each pair in both orders; the labels (LABELS) are words of their attribute.
    Untrained pairs of ID facts are `id`, of OOD facts `ood`, one of each `mixed`, with
    the pattern in the order of the row. A pair's two orders are in one split.

    Differs from the paper: no separators stand between the entities; an `id` or `mixed`
    row with an ID fact that no training comparison uses is `unused`; mixed rows are
    kept and reported. Pairs beyond `max_heldout_pairs` are in no row at all.

    `chance` guesses among all values and labels: 1 / (num_values + 3 num_attributes).
    Who knows an attribute's labels but neither value scores the shortcut `attribute`,
    in a comparison about (num_values - 1) / (2 num_values) where there are 3 values or
    more; and who knows the first value alone scores `first_value`, which comes near 3/4
    with many values.

    Args:
      seed: of the facts and their splits.
      num_entities: entities, each with a value of every attribute.
      num_attributes: attributes.
      num_values: ordinal values, the same of all attributes.
      ood_share: share of the entities that are OOD, of each attribute.
      phi: comparisons trained per ID fact.
      atomic_repeats: how often each fact stands in a training epoch.
      max_heldout_pairs: pairs kept in `id`, `ood` and `mixed`, a random choice; None
        keeps all.
      answer_at: where the logits are read, as in `knowledge.composition`.

    Returns:
      A table with A = 1 and tags `hops` (facts asked for: 1, 2) and `pattern`
      (knowledge.PATTERNS).

    Raises:
      ValueError: if an argument is out of range, or phi is more than the facts serve.
    """
    num_ood = _check(
        num_entities, num_attributes, num_values, ood_share, phi, atomic_repeats,
        max_heldout_pairs, answer_at,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    values = rng.integers(0, num_values, (num_entities, num_attributes))
    order = np.tile(np.arange(num_entities), (num_attributes, 1))
    order = rng.permuted(order, axis=1)  # [attributes, E], the OOD entities first
    is_ood = np.zeros(values.shape, bool)
    is_ood[order[:, :num_ood], np.arange(num_attributes)[:, None]] = True
    num_known = num_entities - num_ood

    num_id_facts = num_known * num_attributes
    num_train = round(phi * num_id_facts / 2)  # Pairs.
    possible = num_attributes * num_known * (num_known - 1) // 2
    if num_train < 1:
        raise ValueError(
            f"task.kwargs.phi must train at least one pair of the {num_id_facts} ID "
            f"facts, got {phi}."
        )
    if num_train >= possible:
        raise ValueError(
            f"task.kwargs.phi must leave at least one of {possible} pairs of ID facts "
            f"untrained: at most {2 * (possible - 1) / num_id_facts:.4g}, got {phi}."
        )
    known = num_ood + np.stack(np.triu_indices(num_known, 1), axis=1)
    unknown = np.stack(np.triu_indices(num_ood, 1), axis=1)
    crossed = np.indices((num_ood, num_entities))[:, :, num_ood:].reshape(2, -1).T
    limit = max_heldout_pairs
    if limit is None:  # More than there are.
        limit = values.size * num_entities
    pairs = np.concatenate(  # [pairs, 3]: an attribute and two entities
        [
            _draw_pairs(rng, order, known, num_train + limit),
            _draw_pairs(rng, order, unknown, limit),
            _draw_pairs(rng, order, crossed, limit),
        ]
    )
    is_train = np.arange(len(pairs)) < num_train
    pairs = np.concatenate([pairs, pairs[:, [0, 2, 1]]])
    attribute, first, second = pairs.T
    label = 1 + np.sign(values[first, attribute] - values[second, attribute])

    entity_word = 1
    attribute_word = entity_word + num_entities
    value_word = attribute_word + num_attributes
    label_word = value_word + num_values
    words = (
        ["<pad>"]
        + [f"entity_{i}" for i in range(num_entities)]
        + [f"attribute_{i}" for i in range(num_attributes)]
        + [f"value_{i}" for i in range(num_values)]
        + [f"attribute_{i}_{name}" for i in range(num_attributes) for name in LABELS]
    )
    num_rows = values.size + len(pairs)
    one_hop = np.arange(num_rows) < values.size
    tokens = np.zeros((num_rows, 4), np.int32)
    tokens[one_hop, :2] = np.indices(values.shape).reshape(2, -1).T
    tokens[one_hop, :2] += [entity_word, attribute_word]
    tokens[~one_hop, :3] = pairs + [attribute_word, entity_word, entity_word]
    targets = np.concatenate(
        [
            value_word + values.ravel(),
            label_word + len(LABELS) * attribute + label,
        ]
    ).astype(np.int32)
    hops = np.where(one_hop, 1, 2).astype(np.int32)
    atoms = _facts_used(tokens, hops)
    # PATTERNS: an OOD fact that comes first counts 2, one that comes second 1.
    pattern = 1 + 2 * is_ood[first, attribute] + is_ood[second, attribute]
    pattern = np.concatenate([np.zeros(values.size), pattern]).astype(np.int32)
    is_train = np.concatenate([np.ones(values.size, bool), is_train, is_train])
    split = _split(atoms, is_train, pattern)
    splits.check_heldout(split, ("id",), "phi", phi)

    tokens, positions = knowledge.place_answer(tokens, 1 + hops, answer_at, len(words))
    if answer_at == "answer_token":
        words.append("<a>")
    repeats = np.where(one_hop, atomic_repeats, 1).astype(np.int32)
    # Facts are told by the attribute behind the entity, comparisons by that before it.
    asked = np.where(one_hop, -tokens[:, 1], tokens[:, 0])
    first_value = values.ravel()[atoms[:, 0]]
    certificate = base.certify(
        tokens,
        positions[:, None],
        targets[:, None],
        split,
        repeats,
        atoms=atoms,
        held_out=(
            f"{int(is_ood.sum())} of {values.size} facts are trained alone but used by "
            "no training comparison; `ood` compares two of them."
        ),
        shortcuts={
            "attribute": asked,
            "first_value": np.where(one_hop, -1, asked * num_values + first_value),
        },
    )
    return base.Table(
        tokens=tokens,
        answer_positions=positions[:, None],
        targets=targets[:, None],
        split=split,
        repeats=repeats,
        tags={"hops": hops, "pattern": pattern},
        tag_names={"pattern": knowledge.PATTERNS},
        vocab=tuple(words),
        certificate=certificate,
    )


def _draw_pairs(rng, order, places, limit) -> np.ndarray:
    """Returns distinct pairs, int64 [pairs, 3]: an attribute and its two entities.

    `places` int [n, 2] are columns of `order` [attributes, E].
    """
    number = len(order) * len(places)
    codes = rng.choice(number, min(limit, number), replace=False)
    attribute, place = np.divmod(codes, max(len(places), 1))
    entities = order[attribute[:, None], places[place]]
    return np.concatenate([attribute[:, None], entities], axis=1)


def _facts_used(tokens, hops) -> np.ndarray:
    """Returns the one-hop rows that each row needs, int [N, 2], off the rows alone."""
    one_hop = np.flatnonzero(hops == 1)
    index = np.full((tokens.max() + 1, tokens.max() + 1), -1, np.int64)
    index[tokens[one_hop, 0], tokens[one_hop, 1]] = one_hop
    of_pair = [index[tokens[:, place], tokens[:, 0]] for place in (1, 2)]
    facts = np.stack(of_pair, axis=1)
    facts[one_hop, 0] = one_hop
    facts[one_hop, 1] = -1
    return facts


def _split(atoms, is_train, pattern) -> np.ndarray:
    split = splits.assign(atoms, is_train, np.zeros(len(atoms), bool))
    practiced = np.zeros(atoms.max() + 1, bool)
    practiced[atoms[is_train & (pattern > 0)]] = True
    ood = pattern == knowledge.PATTERNS.index("ood-ood")
    mixed = np.isin(
        pattern, [knowledge.PATTERNS.index(n) for n in ("id-ood", "ood-id")]
    )
    split[ood] = base.SPLITS.index("ood")
    split[mixed & practiced[atoms].any(axis=1)] = base.SPLITS.index("mixed")
    return split


def _check(
    num_entities,
    num_attributes,
    num_values,
    ood_share,
    phi,
    repeats,
    heldout,
    answer_at,
) -> int:
    """Returns the number of OOD entities of each attribute."""
    for name, number, least in (
        ("num_entities", num_entities, 3),
        ("num_attributes", num_attributes, 1),
        ("num_values", num_values, 2),
        ("atomic_repeats", repeats, 1),
    ):
        if number < least:
            raise ValueError(
                f"task.kwargs.{name} must be at least {least}, got {number}."
            )
    if heldout is not None and heldout < 1:
        raise ValueError(
            f"task.kwargs.max_heldout_pairs must be at least 1, got {heldout}."
        )
    if not 0 <= ood_share < 1:
        raise ValueError(f"task.kwargs.ood_share must be in [0, 1), got {ood_share}.")
    if phi <= 0:
        raise ValueError(f"task.kwargs.phi must be positive, got {phi}.")
    knowledge.check_answer_at(answer_at)
    num_ood = round(ood_share * num_entities)
    if ood_share > 0 and num_ood < 2:
        raise ValueError(
            "task.kwargs.ood_share must be 0 or make at least 2 of "
            f"{num_entities} entities OOD, got {ood_share}."
        )
    if num_entities - num_ood < 3:
        raise ValueError(
            f"task.kwargs.ood_share must leave at least 3 of {num_entities} entities "
            f"ID, got {ood_share}."
        )
    return num_ood
