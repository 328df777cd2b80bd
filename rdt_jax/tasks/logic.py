"""Logic over shuffled premises: kinship chains and transitive inference.

Rows come in pairs of one yes and one no that differ in a word or in the order of two,
so that what can be counted without chaining premises is the same for both answers.
"""

from typing import NamedTuple

import numpy as np

from rdt_jax.tasks import base, depths, limits, oracles

VERSION = 1  # of the tables; a change of their rows is another one


def kinship(
    *,
    seed: int,
    num_people: int,
    min_hops: int,
    max_hops: int,
    max_train_hops: int,
    train_per_hop: int,
    heldout_per_hop: int,
) -> base.Table:
    """Asks whether one person is so many generations above another.

    A row is like `b child c a parent b ? a c -2`: premises along a chain of people in
    random order, each written from either side (`a parent b` or `b child a`), and a
    claim about the first and the last of the chain; the answer is yes or no. In the
    second row of a pair one premise says the opposite, and the claim is the same: it
    is two generations off, since an odd difference would show in the number of
    premises.

    An atom is a step: the generations so far, the word of the premise and the side it
    is read from; or the comparison of the sum with the claim. A = 1, and the tag is
    `hops`. Yes and no are equally frequent at every number of hops: chance is 1/2. The
    shortcut `words`, which gives hardly more, sees the claim and how often each word
    stands among the premises.

    Hops are the premises of a chain, at least 1; of each number of them half of the
    train and held-out rows are yes, and the sums of `depth` rows stay among those of
    training. There are at least max_hops + 1 people.

    Reference: Chen (2026), arXiv:2603.21676 (shuffled kinship chains of signed parent
    and child steps, negatives of matched parity). Differs from the paper: each premise
    is written from a random side, words are single tokens, and negatives are the twins
    of positives.
    """
    plan = depths.Plan(
        "hop", min_hops, max_hops, max_train_hops, train_per_hop, heldout_per_hop
    )
    plan.check(smallest=1, group=2)
    limits.at_least(max_hops + 1, "max_hops + 1 = ", num_people=num_people)
    limits.require(
        not min_hops == max_train_hops < max_hops,
        "max_train_hops",
        "be more than min_hops, since a chain of odd length makes odd claims and one "
        "of even length even ones",
        f"{max_train_hops} and {min_hops}",
    )
    form = _Kinship(num_people, farthest=max_hops + 2)
    return depths.make_table(
        np.random.default_rng(seed), plan, form.draw, form.read, vocab=form.words,
        answers=len(form.words) - np.array([2, 1]), shortcuts=form.shortcuts, group=2,
    )  # fmt: skip


def transitive_inference(
    *,
    seed: int,
    num_items: int,
    min_hops: int,
    max_hops: int,
    max_train_hops: int,
    train_per_hop: int,
    heldout_per_hop: int,
) -> base.Table:
    """Asks whether one item is above another, given neighbors only.

    A row is like `b > c b < a ? a c`: the premises of an order of all items in random
    order, each written from either side, and two items; the answer is yes or no. In the
    second row of a pair the two stand in the other order. They are h premises apart,
    and at least as far from either end of the order, so that no end gives them away and
    each stands in two premises; every row has the same number of premises.

    An atom is a premise (by the names of the upper and the lower item) between the two.
    A = 1, and the tag is `hops`. Yes and no are equally frequent at every number of
    hops: chance is 1/2, and the shortcut `degree`, how many items stand next above and
    next below either item, gives no more.

    Hops are the premises between the two items, at least 1, half of the rows of each
    number yes. Each row has all items, at least 3 max_hops + 1.

    Reference: Geerts et al. (2025), arXiv:2506.04289 (transitive inference in
    transformers). Our own sampling: premises are given in the row, and the split is by
    the distance of the two items.
    """
    plan = depths.Plan(
        "hop", min_hops, max_hops, max_train_hops, train_per_hop, heldout_per_hop
    )
    plan.check(smallest=1, group=2)
    limits.at_least(3 * max_hops + 1, "3 max_hops + 1 = ", num_items=num_items)
    form = _Order(num_items)
    return depths.make_table(
        np.random.default_rng(seed), plan, form.draw, form.read, vocab=form.words,
        answers=len(form.words) - np.array([2, 1]), shortcuts=form.shortcuts, group=2,
    )  # fmt: skip


class _Kinship(NamedTuple):
    """What rows of kinship are made of."""

    num_people: int  # names
    # Generations of the largest claim: that of the twin of an extreme chain.
    farthest: int

    @property
    def words(self) -> tuple[str, ...]:
        claims = (f"{n:+d}" for n in range(-self.farthest, self.farthest + 1))
        people = (f"person_{i}" for i in range(self.num_people))
        return "<pad>", *people, "parent", "child", *claims, "?", "no", "yes"

    @property
    def zero(self) -> int:
        """The token of the claim +0."""
        return 3 + self.num_people + self.farthest

    def draw(self, rng, hops, count) -> np.ndarray:
        """Draws pairs of rows of a chain's length, int32 [count, T]."""
        count //= 2
        chain = _draw_names(rng, count, self.num_people, hops + 1)
        order = rng.permuted(np.tile(np.arange(hops), (count, 1)), axis=1)
        is_turned = rng.integers(0, 2, (count, hops))
        is_parent = rng.integers(0, 2, (count, hops))
        twin = is_parent.copy()
        twin[np.arange(count), rng.integers(0, hops, count)] ^= 1
        claim = self.zero + (2 * is_parent - 1).sum(axis=1)
        parent, child = 1 + self.num_people, 2 + self.num_people
        tokens = np.zeros((count, 2, 3 * hops + 4), np.int32)
        for place, steps in enumerate((is_parent, twin)):
            word = np.where(steps ^ is_turned, parent, child)
            tokens[:, place, :-4] = _premises(chain, word, is_turned, order)
        tokens[:, :, -4] = len(self.words) - 3
        tokens[:, :, -3], tokens[:, :, -2] = chain[:, :1], chain[:, -1:]
        tokens[:, :, -1] = claim[:, None]
        return tokens.reshape(2 * count, -1)

    def read(self, tokens) -> depths.Reading:
        """Goes from person to person along the chain, and compares with the claim."""
        left, word, right = (tokens[:, side:-4:3] for side in range(3))
        count, hops = left.shape
        rows, at = np.arange(count), tokens[:, -3]
        offset = np.zeros(count, int)
        is_used = np.zeros(left.shape, bool)
        atoms = np.zeros((count, hops + 1), int)
        span = 2 * self.farthest + 1
        for hop in range(hops):
            fits = ((left == at[:, None]) | (right == at[:, None])) & ~is_used
            premise = fits.argmax(axis=1)
            is_used[rows, premise] = True
            is_left = left[rows, premise] == at
            is_parent = word[rows, premise] == 1 + self.num_people
            side = 2 * is_left + is_parent
            atoms[:, hop] = side * span + offset + self.farthest
            offset += np.where(is_left == is_parent, 1, -1)
            at = np.where(is_left, right[rows, premise], left[rows, premise])
        claim = tokens[:, -1] - self.zero
        compared = (4 + claim + self.farthest) * span + offset + self.farthest
        atoms[:, hops] = compared
        answers = len(self.words) - np.where(offset == claim, 1, 2)
        return depths.Reading(answers, atoms, np.full(count, hops))

    def shortcuts(self, tokens) -> dict[str, np.ndarray]:
        """Returns the claim with how often each word stands among the premises."""
        words = (1 + self.num_people, 2 + self.num_people)
        counts = [(tokens == word).sum(axis=1) for word in words]
        return {"words": base.row_hashes(np.stack([*counts, tokens.max(1)], axis=1))}


class _Order(NamedTuple):
    """What rows of transitive inference are made of."""

    num_items: int

    @property
    def words(self) -> tuple[str, ...]:
        items = (f"item_{i}" for i in range(self.num_items))
        return "<pad>", *items, ">", "<", "?", "no", "yes"

    def draw(self, rng, hops, count) -> np.ndarray:
        """Draws pairs of rows that ask over so many premises, int32 [count, T]."""
        count //= 2
        items = self.num_items
        chain = _draw_names(rng, count, items, items)
        order = rng.permuted(np.tile(np.arange(items - 1), (count, 1)), axis=1)
        is_turned = rng.integers(0, 2, (count, items - 1))
        premises = _premises(chain, 1 + items + is_turned, is_turned, order)
        first = rng.integers(hops, items - 2 * hops, count)
        asked = np.take_along_axis(chain, np.stack([first, first + hops], 1), axis=1)
        tokens = np.zeros((count, 2, 3 * items), np.int32)
        tokens[:, :, :-3] = premises[:, None]
        tokens[:, :, -3] = 3 + items
        tokens[:, 0, -2:], tokens[:, 1, -2:] = asked, asked[:, ::-1]
        return tokens.reshape(2 * count, -1)

    def parse(self, tokens) -> np.ndarray:
        """Returns the upper and the lower item of each premise, [2, n, premises]."""
        left, word, right = (tokens[:, side:-3:3] for side in range(3))
        is_above = word == 1 + self.num_items
        return np.where(is_above, (left, right), (right, left))

    def read(self, tokens) -> depths.Reading:
        """Goes up and down from the first item until the last one is met."""
        upper, lower = self.parse(tokens)
        count, rows = len(tokens), np.arange(len(tokens))[:, None]
        # The neighbors of each item, and of the end of the order none: 0.
        higher, deeper = np.zeros((2, count, self.num_items + 1), int)
        higher[rows, lower], deeper[rows, upper] = upper, lower
        rows, first, last = rows[:, 0], tokens[:, -2], tokens[:, -1]
        up, down, hops = first, first, np.zeros(count, int)
        ways = []
        while ((up != last) & (down != last)).any():
            goes_on = (up != last) & (down != last)
            ways.append((up, down, goes_on))
            up = np.where(goes_on, higher[rows, up], up)
            down = np.where(goes_on, deeper[rows, down], down)
            hops += goes_on
        is_above = down == last
        atoms = np.full((count, len(ways)), -1)
        for place, (up, down, goes_on) in enumerate(ways):
            falling = down * (self.num_items + 1) + deeper[rows, down]
            rising = higher[rows, up] * (self.num_items + 1) + up
            atoms[:, place] = np.where(goes_on, np.where(is_above, falling, rising), -1)
        answers = len(self.words) - np.where(is_above, 1, 2)
        return depths.Reading(answers, atoms, hops)

    def shortcuts(self, tokens) -> dict[str, np.ndarray]:
        """Returns how many items stand next above and below either asked item."""
        degrees = [
            (side == tokens[:, [place]]).sum(axis=1)
            for place in (-2, -1)
            for side in self.parse(tokens)
        ]
        return {"degree": base.row_hashes(np.stack(degrees, axis=1))}


def _premises(chain, words, is_turned, order) -> np.ndarray:
    """Writes the steps along chains in an order, each from either side, [n, 3 hops]."""
    left = np.where(is_turned, chain[:, 1:], chain[:, :-1])
    right = np.where(is_turned, chain[:, :-1], chain[:, 1:])
    premises = np.stack([left, words, right], axis=2)
    premises = np.take_along_axis(premises, order[:, :, None], axis=1)
    return premises.reshape(len(chain), -1)


def _draw_names(rng, count, num_names, length) -> np.ndarray:
    """Returns different names in random order, int [count, length], from 1."""
    names = np.tile(np.arange(1, 1 + num_names), (count, 1))
    return rng.permuted(names, axis=1)[:, :length]


EXAMPLES = {
    "kinship": [depths.EXAMPLE | {"num_people": 9}, {"num_people": 7, "max_hops": 3}],
    "transitive_inference": [depths.EXAMPLE | {"num_items": 13}, {"max_hops": 3}],
}


def kinship_oracle(question: list[str]) -> list[str]:
    """Gives all people a generation, from the first asked one on."""
    first, last, claim = question[-3:]
    premises = oracles.premises(question[:-4])
    generation = {first: 0}  # Larger is older.
    for _ in premises:  # Each time one more at least, if there is one to find.
        for one, word, other in premises:
            older = {"parent": 1, "child": -1}[word]
            if one in generation:
                generation.setdefault(other, generation[one] - older)
            elif other in generation:
                generation[one] = generation[other] + older
    if last not in generation:
        return [oracles.UNKNOWN]
    return ["yes" if -generation[last] == int(claim) else "no"]


def transitive_inference_oracle(question: list[str]) -> list[str]:
    """Collects all that is below the first item, and all that is below the last."""
    first, last = question[-2:]
    below = [
        (one, other) if word == ">" else (other, one)
        for one, word, other in oracles.premises(question[:-3])
    ]
    is_above = last in oracles.reached(below, first)
    if is_above == (first in oracles.reached(below, last)):
        return [oracles.UNKNOWN]
    return ["yes" if is_above else "no"]
