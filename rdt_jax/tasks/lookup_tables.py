"""Compositional table lookup (CTL): apply one small function after another.

References: Liska et al. (2018), arXiv:1802.06467; Csordas et al. (2022),
arXiv:2210.06350 (CTL++: functions in groups).
"""

import functools

import numpy as np

from rdt_jax import wording
from rdt_jax.tasks import base, limits, oracles, splits

VERSION = 1  # of the tables; a change of their rows is another one

SYMBOLS = tuple(f"{symbol:03b}" for symbol in range(8))


def lookup_tables(
    *,
    seed: int,
    num_functions: int,
    num_groups: int,
    max_functions: int,
    max_train_functions: int,
    train_per_length: int,
    heldout_per_length: int,
) -> base.Table:
    """Look up `x f g h`, which is h(g(f(x))), for random bijections of 3 bits.

    Training holds every function alone on every symbol, and random compositions of
    every length up to `max_train_functions`, each on all eight symbols. Compositions
    of these lengths that are held out, on all symbols, are `id`; longer ones `depth`.

    With more than one group, as in CTL++, function number i is in group i mod
    `num_groups`, and the compositions above stay within a group. Those in which every
    function is followed by one of another group are `ood`; those in which some are,
    `mixed`. Differs from the paper: groups share no function.

    An atom is a function with the group of what follows it, or with the group of what
    it follows; a row of one function is that function. An `id` or `depth` row with an
    atom that no training composition has, and a `mixed` row without one that some has,
    is `unused`, which takes very few trained compositions.

    Chance is 1/8, and a guess from the functions without the symbol gives no more,
    since every composition stands in its split with all eight symbols. A = 1, read at
    the last function; the tags are `functions` (how many) and `crossings` (how many are
    followed by one of another group).

    Each of the `num_groups` groups (1 is CTL) has two functions or more. There are
    `train_per_length` and `heldout_per_length` compositions of each length from 2; with
    groups, as many of the latter again in `ood`, and from length 3 in `mixed`.
    """
    plan = splits.Plan(
        "length", 2, max_functions, max_train_functions, train_per_length,
        heldout_per_length,
    )  # fmt: skip
    _check(plan, num_functions, num_groups)
    rng = np.random.default_rng(seed)
    tables = np.stack([rng.permutation(8) for _ in range(num_functions)])  # [F, 8]
    functions, part = _compositions(rng, plan, num_functions, num_groups)
    symbols = np.tile(np.arange(8), len(functions))
    functions, part = np.repeat(functions, 8, axis=0), np.repeat(part, 8)
    answers = symbols
    for function in functions.T:
        answers = np.where(function >= 0, tables[function, answers], answers)
    atoms, crossings = _links(functions, num_functions, num_groups)
    counts = (functions >= 0).sum(axis=1, dtype=np.int32)
    split = splits.of_parts(atoms, part, "train_per_length", train_per_length)
    tokens = np.zeros((symbols.size, 1 + max_functions), np.int32)
    tokens[:, 0] = 1 + symbols
    tokens[:, 1:] = np.where(functions >= 0, 1 + 8 + functions, 0)
    stay = f", which never leave their one of {num_groups} groups"
    return base.certified(
        tokens,
        counts,
        1 + answers,
        split,
        atoms=atoms,
        held_out=(
            f"{wording.count(heldout_per_length, 'composition')} of each length from 2 "
            f"to {max_functions}; training has those of up to {max_train_functions} "
            f"functions{stay if num_groups > 1 else ''}."
        ),
        vocab=("<pad>", *SYMBOLS, *(f"f{i}" for i in range(num_functions))),
        tags={"functions": counts, "crossings": crossings},
    )


def _compositions(
    rng, plan, num_functions, num_groups
) -> tuple[np.ndarray, np.ndarray]:
    """Draws the functions of each composition, [C, K], -1 behind, and its part [C]."""
    blocks = [(np.arange(num_functions)[:, None], "train")]
    draw = functools.partial(_draw, rng, num_functions, num_groups)
    for length in plan.lengths:
        steps = np.zeros((1, length - 1), bool)  # Which cross to another group.
        if length > plan.trained:
            blocks.append((draw(steps, plan.heldout), "depth"))
            continue
        drawn = draw(steps, plan.train + plan.heldout)
        blocks += [(drawn[: plan.train], "train"), (drawn[plan.train :], "id")]
        if num_groups > 1:
            blocks.append((draw(~steps, plan.heldout), "ood"))
        if num_groups > 1 and length > 2:
            mixed = np.array(list(np.ndindex(*(length - 1) * (2,))), bool)[1:-1]
            blocks.append((draw(mixed, plan.heldout), "mixed"))
    padded = [
        np.pad(block, [(0, 0), (0, plan.last - block.shape[1])], constant_values=-1)
        for block, _ in blocks
    ]
    sizes = [len(block) for block, _ in blocks]
    return np.concatenate(padded), np.repeat([part for _, part in blocks], sizes)


def _check(plan, functions, groups):
    limits.at_least(1, num_groups=groups)
    fits = functions >= 2 * groups and functions % groups == 0
    must = f"be a multiple of task.kwargs.num_groups ({groups}) and at least twice that"
    limits.require(fits, "num_functions", must, functions)
    longest_train = plan.trained
    limits.at_least(2, max_train_functions=longest_train)
    why = "task.kwargs.max_train_functions = "
    limits.at_least(longest_train, why, max_functions=plan.last)
    few = groups == 1 or longest_train <= 16
    must = "be at most 16 with groups"
    limits.require(few, "max_train_functions", must, longest_train)
    # Longer compositions and those across groups are no fewer.
    limits.at_least(1, train_per_length=plan.train, heldout_per_length=plan.heldout)
    number = functions * (functions // groups)
    plan.check_number(number, "compositions of two functions in a group")


def _draw(rng, num_functions, num_groups, patterns, count) -> np.ndarray:
    """Returns distinct compositions, int64 [count, K], one of the patterns in each.

    A pattern says of each function but the first whether it changes the group.
    """
    size = num_functions // num_groups  # Functions of a group.

    def draw() -> np.ndarray:
        crosses = patterns[rng.integers(0, len(patterns), count)]  # [count, K - 1]
        group = rng.integers(0, num_groups, (count, 1))
        away = rng.integers(1, max(2, num_groups), crosses.shape) * crosses
        groups = np.cumsum(np.concatenate([group, away], axis=1), axis=1) % num_groups
        return groups + num_groups * rng.integers(0, size, groups.shape)

    return splits.until_distinct(count, draw)


def _links(functions, num_functions, num_groups) -> tuple[np.ndarray, np.ndarray]:
    """Returns the atoms of every row, [N, 2 (K - 1)], and how many links cross."""
    first, second = functions[:, :-1], functions[:, 1:]  # [N, K - 1]
    group = functions % num_groups
    linked = second >= 0
    forward = first * num_groups + group[:, 1:]
    backward = (num_functions + second) * num_groups + group[:, :-1]
    atoms = np.concatenate(
        [np.where(linked, forward, -1), np.where(linked, backward, -1)], axis=1
    )
    alone = ~linked[:, 0]
    atoms[alone, 0] = 2 * num_functions * num_groups + functions[alone, 0]
    crossings = (linked & (group[:, 1:] != group[:, :-1])).sum(axis=1)
    return atoms, crossings.astype(np.int32)


EXAMPLES = {
    "lookup_tables": [
        {"num_functions": 6, "num_groups": 1, "max_functions": 4,
         "max_train_functions": 3, "train_per_length": 13, "heldout_per_length": 5},
        {"num_groups": 2},
    ],
}  # fmt: skip


lookup_tables_oracle = oracles.follow_relations
