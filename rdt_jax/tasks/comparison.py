"""Which of two entities has more of an attribute, over generated ordinal facts.

Reference: Wang et al. (2024), arXiv:2405.15071, Section 4.
"""

import numpy as np

from rdt_jax.tasks import base, knowledge, limits, oracles, splits

VERSION = 1  # of the tables; a change of their rows is another one

LABELS = ("less", "equal", "greater")


def knowledge_comparison(
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
    the pattern in the order of the row. A pair's two orders are in one split. A = 1,
    and the tags are `hops` (facts asked for: 1, 2) and `pattern` (knowledge.PATTERNS).

    Differs from the paper: no separators stand between the entities; an `id` or `mixed`
    row with an ID fact that no training comparison uses is `unused`; mixed rows are
    kept and reported. Pairs beyond `max_heldout_pairs` are in no row at all.

    `chance` guesses among all values and labels: 1 / (num_values + 3 num_attributes).
    Who knows an attribute's labels but neither value scores the shortcut `attribute`,
    in a comparison about (num_values - 1) / (2 num_values) where there are 3 values or
    more; and who knows the first value alone scores `first_value`, which comes near 3/4
    with many values.

    `ood_share` is of the entities of each attribute, `phi` the comparisons trained per
    ID fact, `max_heldout_pairs` a random choice of pairs kept in each of `id`, `ood`
    and `mixed` (None: all). `atomic_repeats` and `answer_at` are those of
    `knowledge.knowledge_composition`.
    """
    limits.at_least(3, num_entities=num_entities)
    limits.at_least(1, num_attributes=num_attributes)
    limits.at_least(2, num_values=num_values)
    knowledge.check_composed(
        ood_share, phi, atomic_repeats, answer_at, max_heldout_pairs=max_heldout_pairs
    )
    num_ood = _num_ood(num_entities, ood_share)
    num_train = _num_train(num_entities - num_ood, num_attributes, phi)
    rng = np.random.default_rng(seed)
    values = rng.integers(0, num_values, (num_entities, num_attributes))
    order, is_ood = _draw_ood(rng, num_entities, num_attributes, num_ood)
    pairs = _pairs(rng, order, num_ood, num_train, max_heldout_pairs)
    tokens, targets = _write(values, num_values, pairs)
    one_hop = np.arange(len(tokens)) < values.size
    hops = np.where(one_hop, 1, 2).astype(np.int32)
    atoms = _facts_used(tokens, targets, hops)
    # PATTERNS: an OOD fact that comes first counts 2, one that comes second 1.
    pattern = np.where(one_hop, 0, 1 + is_ood.ravel()[atoms] @ np.array([2, 1]))
    split = splits.of_parts(atoms, _parts(pattern, num_train), "phi", phi)
    words = _words(num_entities, num_attributes, num_values)
    layout = knowledge.place_answer(tokens, 1 + hops, answer_at, words)
    tokens, positions, words = layout
    return base.certified(
        tokens,
        positions,
        targets,
        split,
        atoms=atoms,
        held_out=f"{is_ood.sum()} of {values.size} facts are trained alone but used by "
        "no training comparison; `ood` compares two of them.",
        vocab=words,
        repeats=np.where(one_hop, atomic_repeats, 1),
        tags={"hops": hops, "pattern": pattern},
        tag_names={"pattern": knowledge.PATTERNS},
        shortcuts=_shortcuts(tokens, one_hop, values.ravel()[atoms[:, 0]]),
    )


def _shortcuts(tokens, one_hop, first_value) -> dict[str, np.ndarray]:
    """Returns the attribute of each row, and with it the first value that it needs."""
    # Facts are told by the attribute behind the entity, comparisons by that before it.
    attribute = np.where(one_hop, -tokens[:, 1], tokens[:, 0])
    with_value = attribute * (1 + first_value.max()) + first_value
    return {"attribute": attribute, "first_value": np.where(one_hop, -1, with_value)}


def _words(num_entities, num_attributes, num_values) -> tuple[str, ...]:
    return (
        "<pad>",
        *(f"entity_{i}" for i in range(num_entities)),
        *(f"attribute_{i}" for i in range(num_attributes)),
        *(f"value_{i}" for i in range(num_values)),
        *(f"attribute_{i}_{name}" for i in range(num_attributes) for name in LABELS),
    )


def _draw_ood(rng, num_entities, num_attributes, num_ood):
    """Returns the entities (OOD ones first) [attributes, E], and who is OOD, [E, A]."""
    order = np.tile(np.arange(num_entities), (num_attributes, 1))
    order = rng.permuted(order, axis=1)
    is_ood = np.zeros((num_entities, num_attributes), bool)
    is_ood[order[:, :num_ood], np.arange(num_attributes)[:, None]] = True
    return order, is_ood


def _num_ood(num_entities, ood_share) -> int:
    """Returns the number of OOD entities of each attribute."""
    num_ood = round(ood_share * num_entities)
    must = f"be 0 or make at least 2 of {num_entities} entities OOD"
    limits.require(ood_share == 0 or num_ood >= 2, "ood_share", must, ood_share)
    must = f"leave at least 3 of {num_entities} entities ID"
    limits.require(num_entities - num_ood >= 3, "ood_share", must, ood_share)
    return num_ood


def _num_train(num_known, num_attributes, phi) -> int:
    """Returns the number of trained pairs, of `num_known` ID entities."""
    num_facts = num_known * num_attributes
    num_train = round(phi * num_facts / 2)
    possible = num_attributes * num_known * (num_known - 1) // 2
    must = f"train at least one pair of the {num_facts} ID facts"
    limits.require(num_train >= 1, "phi", must, phi)
    must = (
        f"leave at least one of {possible} pairs of ID facts untrained: at most "
        f"{2 * (possible - 1) / num_facts:.4g}"
    )
    limits.require(num_train < possible, "phi", must, phi)
    return num_train


def _pairs(rng, order, num_ood, num_train, limit) -> np.ndarray:
    """Draws pairs, int64 [pairs, 3]: an attribute and two entities; trained first."""
    num_entities = order.shape[1]
    if limit is None:  # More than there are.
        limit = order.size * num_entities
    id_pairs = num_ood + np.stack(np.triu_indices(num_entities - num_ood, 1), axis=1)
    ood_pairs = np.stack(np.triu_indices(num_ood, 1), axis=1)
    mixed_pairs = np.indices((num_ood, num_entities))[:, :, num_ood:].reshape(2, -1).T
    return np.concatenate(
        [
            _draw_pairs(rng, order, id_pairs, num_train + limit),
            _draw_pairs(rng, order, ood_pairs, limit),
            _draw_pairs(rng, order, mixed_pairs, limit),
        ]
    )


def _write(values, num_values, pairs) -> tuple[np.ndarray, np.ndarray]:
    """Writes facts, then pairs in either order: int32 [N, 4] with answers [N]."""
    pairs = np.concatenate([pairs, pairs[:, [0, 2, 1]]])
    attribute, first, second = pairs.T
    label = 1 + np.sign(values[first, attribute] - values[second, attribute])
    # The first word of each kind.
    first_attribute = 1 + values.shape[0]
    first_value = first_attribute + values.shape[1]
    first_label = first_value + num_values
    tokens = np.zeros((values.size + len(pairs), 4), np.int32)
    tokens[: values.size, :2] = np.indices(values.shape).reshape(2, -1).T
    tokens[: values.size, :2] += [1, first_attribute]
    tokens[values.size :, :3] = pairs + [first_attribute, 1, 1]
    labels = first_label + len(LABELS) * attribute + label
    return tokens, np.concatenate([first_value + values.ravel(), labels])


def _draw_pairs(rng, order, places, limit) -> np.ndarray:
    """Returns distinct pairs, int64 [pairs, 3]: an attribute and its two entities."""
    number = len(order) * len(places)
    codes = rng.choice(number, min(limit, number), replace=False)
    attribute, place = np.divmod(codes, max(len(places), 1))
    entities = order[attribute[:, None], places[place]]
    return np.concatenate([attribute[:, None], entities], axis=1)


def _facts_used(tokens, targets, hops) -> np.ndarray:
    """Returns the one-hop rows that each row needs, int [N, 2], off the rows alone."""
    one_hop = np.flatnonzero(hops == 1)
    index = knowledge.fact_rows(tokens, targets, hops)
    facts = np.stack([index[tokens[:, at], tokens[:, 0]] for at in (1, 2)], axis=1)
    facts[one_hop] = np.stack([one_hop, np.full_like(one_hop, -1)], axis=1)
    return facts


def _parts(pattern, num_train) -> np.ndarray:
    """Returns what each row was drawn for, its part of the table, [N]."""
    parts = np.array(["train", "id", "mixed", "mixed", "ood"])[pattern]
    pairs = np.flatnonzero(pattern).reshape(2, -1)  # In either order.
    parts[pairs[:, :num_train]] = "train"
    return parts


EXAMPLES = {
    "knowledge_comparison": [
        {"num_entities": 13, "num_attributes": 3, "num_values": 5, "ood_share": 0.25,
         "phi": 4.0, "atomic_repeats": 2, "max_heldout_pairs": None,
         "answer_at": "last"},
        {"answer_at": "answer_token", "max_heldout_pairs": 5},
        {"answer_at": "pad", "ood_share": 0.0},
    ],
}  # fmt: skip


def knowledge_comparison_oracle(question: list[str], table: base.Table) -> list[str]:
    """Looks up two values of an attribute and compares the numbers in their words."""
    facts = oracles.stated_facts(table)
    first, *rest = question
    if len(rest) == 1:
        return [facts[first, rest[0]]]
    values = [int(facts[e, first].removeprefix("value_")) for e in rest]
    difference = values[0] - values[1]
    label = "less" if difference < 0 else "greater" if difference else "equal"
    return [f"{first}_{label}"]
