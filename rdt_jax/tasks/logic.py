"""Logic over shuffled premises: kinship chains and transitive inference.

Rows come in pairs of one yes and one no that differ in a word or in the order of two,
so that what can be counted without chaining premises is the same for both answers.
"""

import numpy as np

from rdt_jax.tasks import base, depths

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
    is read from; or the comparison of the sum with the claim.

    Yes and no are equally frequent at every number of hops: chance is 1/2. The numbers
    of the words, with the claim, give hardly more: the shortcut `words` says how much.

    Reference: Chen (2026), arXiv:2603.21676 (shuffled kinship chains of signed parent
    and child steps, negatives of matched parity). Differs from the paper: each premise
    is written from a random side, words are single tokens, and negatives are the twins
    of positives.

    Args:
      seed: of the rows.
      num_people: names, at least max_hops + 1.
      min_hops: premises of the shortest chains, at least 1.
      max_hops: premises of the longest chains.
      max_train_hops: premises of the longest chains in training; held-out rows are `id`
        up to it and `depth` beyond. Their sums stay among those of training.
      train_per_hop: train rows of each number of premises, half of them yes.
      heldout_per_hop: held-out rows of each number of premises, half of them yes.

    Returns:
      A table with A = 1 and the tag `hops`. The shortcut `words` sees the claim and how
      often each word stands among the premises.

    Raises:
      ValueError: if an argument is out of range, or there are not so many rows.
    """
    plan = depths.Plan(
        "hop", min_hops, max_hops, max_train_hops, train_per_hop, heldout_per_hop
    )
    depths.check(plan, smallest=1, group=2)
    if num_people < max_hops + 1:
        raise ValueError(
            f"task.kwargs.num_people must be at least max_hops + 1 = {max_hops + 1}, "
            f"got {num_people}."
        )
    if min_hops == max_train_hops < max_hops:
        raise ValueError(
            "task.kwargs.max_train_hops must be more than min_hops, since a chain of "
            "odd length makes odd claims and one of even length even ones, got "
            f"{max_train_hops} and {min_hops}."
        )
    farthest = max_hops + 2  # What the twin of an extreme chain is compared with.
    claims = (f"{claim:+d}" for claim in range(-farthest, farthest + 1))
    people = (f"person_{i}" for i in range(num_people))
    words = ("<pad>", *people, "parent", "child", *claims, "?", "no", "yes")
    parent, child = 1 + num_people, 2 + num_people
    question, no, yes = range(len(words) - 3, len(words))
    zero = words.index("+0")

    def draw(rng, hops, count):
        count //= 2
        chain = _draw_names(rng, count, num_people, hops + 1)
        order = rng.permuted(np.tile(np.arange(hops), (count, 1)), axis=1)
        is_turned = rng.integers(0, 2, (count, hops))
        is_parent = rng.integers(0, 2, (count, hops))
        twin = is_parent.copy()
        twin[np.arange(count), rng.integers(0, hops, count)] ^= 1
        claim = zero + (2 * is_parent - 1).sum(axis=1)
        tokens = np.zeros((count, 2, 3 * hops + 4), np.int32)
        for place, steps in enumerate((is_parent, twin)):
            left = np.where(is_turned, chain[:, 1:], chain[:, :-1])
            right = np.where(is_turned, chain[:, :-1], chain[:, 1:])
            word = np.where(steps ^ is_turned, parent, child)
            premises = np.stack([left, word, right], axis=2)
            premises = np.take_along_axis(premises, order[:, :, None], axis=1)
            tokens[:, place, :-4] = premises.reshape(count, -1)
        tokens[:, :, -4] = question
        tokens[:, :, -3], tokens[:, :, -2] = chain[:, :1], chain[:, -1:]
        tokens[:, :, -1] = claim[:, None]
        return tokens.reshape(2 * count, -1)

    def read(tokens):
        left, word, right = (tokens[:, side:-4:3] for side in range(3))
        count, hops = left.shape
        rows, at = np.arange(count), tokens[:, -3]
        offset = np.zeros(count, int)
        is_used = np.zeros(left.shape, bool)
        atoms = np.zeros((count, hops + 1), int)
        span = 2 * farthest + 1
        for hop in range(hops):
            fits = ((left == at[:, None]) | (right == at[:, None])) & ~is_used
            premise = fits.argmax(axis=1)
            is_used[rows, premise] = True
            is_left = left[rows, premise] == at
            is_parent = word[rows, premise] == parent
            side = 2 * is_left + is_parent
            atoms[:, hop] = side * span + offset + farthest
            offset += np.where(is_left == is_parent, 1, -1)
            at = np.where(is_left, right[rows, premise], left[rows, premise])
        claim = tokens[:, -1] - zero
        atoms[:, hops] = (4 + claim + farthest) * span + offset + farthest
        answers = np.where(offset == claim, yes, no)
        return depths.Reading(answers, atoms, np.full(count, hops))

    def shortcuts(tokens):
        counts = [(tokens == word).sum(axis=1) for word in (parent, child)]
        return {"words": base.row_hashes(np.stack([*counts, tokens.max(1)], axis=1))}

    return depths.make_table(
        np.random.default_rng(seed), plan, draw, read, vocab=words,
        answers=np.array([no, yes]), shortcuts=shortcuts, group=2,
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

    Yes and no are equally frequent at every number of hops: chance is 1/2, and how many
    items stand next to either item (`degree`) gives no more.

    Reference: Geerts et al. (2025), arXiv:2506.04289 (transitive inference in
    transformers). Our own sampling: premises are given in the row, and the split is by
    the distance of the two items.

    Args:
      seed: of the rows.
      num_items: names, and items of each row, at least 3 max_hops + 1.
      min_hops: premises between the closest items asked about, at least 1.
      max_hops: premises between the farthest.
      max_train_hops: premises between the farthest in training; held-out rows are `id`
        up to it and `depth` beyond.
      train_per_hop: train rows of each number of hops, half of them yes.
      heldout_per_hop: held-out rows of each number of hops, half of them yes.

    Returns:
      A table with A = 1 and the tag `hops`. The shortcut `degree` sees how many items
      stand next above and next below either item.

    Raises:
      ValueError: if an argument is out of range, or there are not so many rows.
    """
    plan = depths.Plan(
        "hop", min_hops, max_hops, max_train_hops, train_per_hop, heldout_per_hop
    )
    depths.check(plan, smallest=1, group=2)
    if num_items < 3 * max_hops + 1:
        raise ValueError(
            "task.kwargs.num_items must be at least 3 max_hops + 1 = "
            f"{3 * max_hops + 1}, got {num_items}."
        )
    items = (f"item_{i}" for i in range(num_items))
    words = ("<pad>", *items, ">", "<", "?", "no", "yes")
    above, below, question, no, yes = range(1 + num_items, len(words))

    def draw(rng, hops, count):
        count //= 2
        chain = _draw_names(rng, count, num_items, num_items)
        order = rng.permuted(np.tile(np.arange(num_items - 1), (count, 1)), axis=1)
        is_turned = rng.integers(0, 2, (count, num_items - 1))
        left = np.where(is_turned, chain[:, 1:], chain[:, :-1])
        right = np.where(is_turned, chain[:, :-1], chain[:, 1:])
        premises = np.stack([left, np.where(is_turned, below, above), right], axis=2)
        premises = np.take_along_axis(premises, order[:, :, None], axis=1)
        first = rng.integers(hops, num_items - 2 * hops, count)
        asked = np.take_along_axis(chain, np.stack([first, first + hops], 1), axis=1)
        tokens = np.zeros((count, 2, 3 * num_items), np.int32)
        tokens[:, :, :-3] = premises.reshape(count, 1, -1)
        tokens[:, :, -3] = question
        tokens[:, 0, -2:], tokens[:, 1, -2:] = asked, asked[:, ::-1]
        return tokens.reshape(2 * count, -1)

    def parse(tokens):
        left, word, right = (tokens[:, side:-3:3] for side in range(3))
        upper, lower = np.where(word == above, (left, right), (right, left))
        return upper, lower

    def read(tokens):
        upper, lower = parse(tokens)
        count, rows = len(tokens), np.arange(len(tokens))[:, None]
        # The neighbors of each item, and of the end of the order none: 0.
        higher, deeper = np.zeros((2, count, num_items + 1), int)
        higher[rows, lower], deeper[rows, upper] = upper, lower
        rows, first, last = rows[:, 0], tokens[:, -2], tokens[:, -1]
        up, down, hops = first, first, np.zeros(count, int)
        ways = []
        while True:
            is_left = (up != last) & (down != last)
            if not is_left.any():
                break
            ways.append((up, down, is_left))
            up, down = (
                np.where(is_left, step[rows, at], at)
                for step, at in ((higher, up), (deeper, down))
            )
            hops += is_left
        is_above = down == last
        atoms = np.full((count, len(ways)), -1)
        for place, (higher_at, lower_at, is_left) in enumerate(ways):
            falling = lower_at * (num_items + 1) + deeper[rows, lower_at]
            rising = higher[rows, higher_at] * (num_items + 1) + higher_at
            atoms[:, place] = np.where(is_left, np.where(is_above, falling, rising), -1)
        return depths.Reading(np.where(is_above, yes, no), atoms, hops)

    def shortcuts(tokens):
        sides = parse(tokens)
        degrees = [
            (side == tokens[:, [place]]).sum(axis=1)
            for place in (-2, -1)
            for side in sides
        ]
        return {"degree": base.row_hashes(np.stack(degrees, axis=1))}

    return depths.make_table(
        np.random.default_rng(seed), plan, draw, read, vocab=words,
        answers=np.array([no, yes]), shortcuts=shortcuts, group=2,
    )  # fmt: skip


def _draw_names(rng, count, num_names, length) -> np.ndarray:
    """Returns different names in random order, int [count, length], from 1."""
    names = np.tile(np.arange(1, 1 + num_names), (count, 1))
    return rng.permuted(names, axis=1)[:, :length]
