"""Compositional table lookup (CTL): apply one small function after another.

References: Liska et al. (2018), arXiv:1802.06467; Csordas et al. (2022),
arXiv:2210.06350 (CTL++: functions in groups).
"""

import numpy as np

from rdt_jax import wording
from rdt_jax.tasks import base, splits

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
    since every composition stands in its split with all eight symbols.

    Args:
      seed: of the functions and the compositions.
      num_functions: functions, a multiple of `num_groups` with two or more in each.
      num_groups: groups of functions; 1 is CTL.
      max_functions: functions of the longest rows.
      max_train_functions: functions of the longest train rows.
      train_per_length: trained compositions of each length from 2.
      heldout_per_length: held-out compositions of each length from 2; with groups,
        as many again in `ood`, and from length 3 in `mixed`.

    Returns:
      A table with A = 1, read at the last function, and the tags `functions` (how
      many) and `crossings` (how many are followed by one of another group).

    Raises:
      ValueError: if an argument is out of range, there are not so many compositions,
        or training is too small for any held-out row.
    """
    _check(
        num_functions, num_groups, max_functions, max_train_functions,
        train_per_length, heldout_per_length,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    tables = np.stack([rng.permutation(8) for _ in range(num_functions)])  # [F, 8]
    blocks = [(np.arange(num_functions)[:, None], "train")]  # (functions, split)
    for length in range(2, max_functions + 1):
        steps = np.zeros((1, length - 1), bool)  # Which cross to another group.
        if length > max_train_functions:
            drawn = _draw(rng, tables, num_groups, steps, heldout_per_length)
            blocks.append((drawn, "depth"))
            continue
        count = train_per_length + heldout_per_length
        drawn = _draw(rng, tables, num_groups, steps, count)
        blocks.append((drawn[:train_per_length], "train"))
        blocks.append((drawn[train_per_length:], "id"))
        if num_groups > 1:
            drawn = _draw(rng, tables, num_groups, ~steps, heldout_per_length)
            blocks.append((drawn, "ood"))
        if num_groups > 1 and length > 2:
            mixed = np.array(list(np.ndindex(*(length - 1) * (2,))), bool)[1:-1]
            drawn = _draw(rng, tables, num_groups, mixed, heldout_per_length)
            blocks.append((drawn, "mixed"))

    sizes = [len(functions) for functions, _ in blocks]
    functions = np.full((sum(sizes), max_functions), -1)  # [compositions, K]
    for (block, _), rows in zip(
        blocks, np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]), strict=True
    ):
        functions[rows, : block.shape[1]] = block
    functions = np.repeat(functions, 8, axis=0)  # [N, K]
    part = np.repeat(np.repeat([part for _, part in blocks], sizes), 8)
    symbols = np.tile(np.arange(8), sum(sizes))
    answers = symbols
    for function in functions.T:
        answers = np.where(function >= 0, tables[function, answers], answers)

    atoms, crossings = _links(functions, num_functions, num_groups)
    counts = (functions >= 0).sum(axis=1, dtype=np.int32)
    split = splits.assign(atoms, part == "train", part == "depth")
    heldout = ("id", "depth") if max_functions > max_train_functions else ("id",)
    splits.check_heldout(split, heldout, "train_per_length", train_per_length)
    split[part == "ood"] = base.SPLITS.index("ood")
    split[splits.mixes(atoms, split) & (part == "mixed")] = base.SPLITS.index("mixed")
    tokens = np.zeros((symbols.size, 1 + max_functions), np.int32)
    tokens[:, 0] = 1 + symbols
    tokens[:, 1:] = np.where(functions >= 0, 1 + 8 + functions, 0)
    targets = (1 + answers).astype(np.int32)[:, None]
    repeats = np.ones(symbols.size, np.int32)
    held_out = (
        f"{wording.count(heldout_per_length, 'composition')} of each length from 2 to "
        f"{max_functions}; training has those of up to {max_train_functions} functions"
    )
    if num_groups > 1:
        held_out += f", which never leave their one of {num_groups} groups"
    return base.Table(
        tokens=tokens,
        answer_positions=counts[:, None],
        targets=targets,
        split=split,
        repeats=repeats,
        tags={"functions": counts, "crossings": crossings},
        tag_names={},
        vocab=("<pad>", *SYMBOLS, *(f"f{i}" for i in range(num_functions))),
        certificate=base.certify(
            tokens,
            counts[:, None],
            targets,
            split,
            repeats,
            atoms,
            held_out=held_out + ".",
        ),
    )


def _check(functions, groups, longest, longest_train, train, heldout):
    if groups < 1:
        raise ValueError(f"task.kwargs.num_groups must be at least 1, got {groups}.")
    if functions < 2 * groups or functions % groups:
        raise ValueError(
            "task.kwargs.num_functions must be a multiple of task.kwargs.num_groups "
            f"({groups}) and at least twice that, got {functions}."
        )
    if longest_train < 2:
        raise ValueError(
            f"task.kwargs.max_train_functions must be at least 2, got {longest_train}."
        )
    if longest < longest_train:
        raise ValueError(
            "task.kwargs.max_functions must be at least task.kwargs.max_train_functions"
            f" ({longest_train}), got {longest}."
        )
    if groups > 1 and longest_train > 16:
        raise ValueError(
            "task.kwargs.max_train_functions must be at most 16 with groups, "
            f"got {longest_train}."
        )
    for name, rows in (("train_per_length", train), ("heldout_per_length", heldout)):
        if rows < 1:
            raise ValueError(f"task.kwargs.{name} must be >= 1, got {rows}.")
    # Longer compositions and those across groups are no fewer.
    number = functions * (functions // groups)
    if train + heldout > number:
        raise ValueError(
            "task.kwargs.train_per_length + task.kwargs.heldout_per_length must be at "
            f"most {number}, the number of compositions of two functions in a group, "
            f"got {train} + {heldout}."
        )


def _draw(rng, tables, num_groups, patterns, count) -> np.ndarray:
    """Returns distinct compositions, int64 [count, K], one of the patterns in each.

    A pattern says of every function but the first whether it leaves the group of the
    one before.
    """
    size = len(tables) // num_groups  # Functions of a group.
    drawn = np.empty((0, patterns.shape[1] + 1), np.int64)
    while len(drawn) < count:
        crosses = patterns[rng.integers(0, len(patterns), count)]  # [count, K - 1]
        group = rng.integers(0, num_groups, (count, 1))
        away = rng.integers(1, max(2, num_groups), crosses.shape) * crosses
        groups = np.cumsum(np.concatenate([group, away], axis=1), axis=1) % num_groups
        more = groups + num_groups * rng.integers(0, size, groups.shape)
        drawn = np.concatenate([drawn, more])
        _, first = np.unique(drawn, axis=0, return_index=True)
        drawn = drawn[np.sort(first)]
    return drawn[:count]


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
