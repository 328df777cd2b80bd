"""Arithmetic on a directed acyclic graph, written as shuffled equations."""

import functools
from typing import NamedTuple

import numpy as np

from rdt_jax.tasks import base, depths, expressions, limits, oracles

VERSION = 1  # of the tables; a change of their rows is another one


def dag_arithmetic(
    *,
    seed: int,
    modulus: int,
    operators: str,
    num_nodes: int,
    num_leaves: int,
    max_arguments: int,
    min_depth: int,
    max_depth: int,
    max_train_depth: int,
    train_per_depth: int,
    heldout_per_depth: int,
) -> base.Table:
    """Asks for the value of one node among shuffled equations modulo a number.

    A row is like `b = c + a ; c = 4 ; a = c ; ? b` with one equation for each node, in
    random order and with random names; operators apply from left to right. The depth of
    a node is the longest way down to a leaf; the asked node has that of the row, and no
    other node is deeper. Each row has `num_nodes` equations whatever its depth, of
    which some are not needed, so that the number of equations gives nothing away.

    An atom is an operator with the values of its two arguments, or a copied value, in
    the equations that the asked node needs. A = 1, and the tag is `depth`, at least 1
    and at most num_nodes - num_leaves. The answers are equally frequent at every depth,
    but for a remainder: chance is 1 / modulus. The shortcut `operators` sees the
    operators of the asked node's equation.

    `modulus` is at least 2, `operators` are words of expressions.ARITHMETIC with spaces
    between; `num_leaves` nodes are given by their value, and the equation of any other
    has 1 to `max_arguments` arguments.

    References: Altabaa et al. (2025), arXiv:2510.14095 (random arithmetic graphs modulo
    23, shuffled equations, up to three arguments); Saunshi et al. (2025),
    arXiv:2502.17416 (i-GSM: depth 4, modulo 7). Differs from both: one node is asked,
    at the last token; the number of nodes is fixed; a leaf is given by its value.
    """
    plan = depths.Plan(
        "depth", min_depth, max_depth, max_train_depth, train_per_depth,
        heldout_per_depth,
    )  # fmt: skip
    plan.check(smallest=1)
    limits.at_least(2, modulus=modulus)
    limits.at_least(1, num_leaves=num_leaves, max_arguments=max_arguments)
    why = f"num_leaves + max_depth = {num_leaves} + {max_depth} = "
    limits.at_least(num_leaves + max_depth, why, num_nodes=num_nodes)
    chosen = expressions.chosen_operators(operators, expressions.ARITHMETIC)
    form = _Form(modulus, chosen, num_nodes, num_leaves, max_arguments)
    return depths.make_table(
        np.random.default_rng(seed), plan, functools.partial(_draw, form),
        functools.partial(_read, form), vocab=form.words,
        answers=1 + np.arange(modulus), shortcuts=functools.partial(_shortcuts, form),
    )  # fmt: skip


def _shortcuts(form, tokens) -> dict[str, np.ndarray]:
    equations, asked = _parse(form, tokens)
    applied = equations[np.arange(len(tokens)), asked, 1::2]
    return {"operators": base.row_hashes(applied)}


class _Form(NamedTuple):
    modulus: int
    operators: tuple[str, ...]
    num_nodes: int
    num_leaves: int
    max_arguments: int

    @property
    def words(self) -> tuple[str, ...]:
        residues = (str(residue) for residue in range(self.modulus))
        names = (f"x{node}" for node in range(self.num_nodes))
        return "<pad>", *residues, *names, *self.operators, "=", ";", "?"

    @property
    def first_name(self) -> int:
        return 1 + self.modulus

    @property
    def first_operator(self) -> int:
        return 1 + self.modulus + self.num_nodes


def _draw(form, rng, depth, count) -> np.ndarray:
    """Draws rows whose asked node has a depth, int32 [count, T]."""
    nodes, leaves, width = form.num_nodes, form.num_leaves, form.max_arguments
    # In the order of their levels: the leaves, then at least one node of each level up
    # to `depth`, so that the nodes below a level, and those just below, are ranges.
    level = np.zeros((count, nodes), np.int32)
    level[:, leaves : leaves + depth] = np.arange(1, depth + 1)
    level[:, leaves + depth :] = rng.integers(
        1, depth + 1, (count, nodes - leaves - depth)
    )
    level.sort(axis=1)
    below = (level[:, None, :] < level[:, :, None]).sum(axis=2)  # [count, nodes]
    just_below = np.take_along_axis(below, np.maximum(below - 1, 0), axis=1)
    below = np.maximum(below, 1)  # Of leaves too something is drawn.

    shape = count, nodes, width
    counts = rng.integers(1, width + 1, shape[:2])
    counts[:, :leaves] = 1
    source = rng.integers(0, below[:, :, None], shape)
    deepest, place = rng.integers(just_below, below), rng.integers(0, counts)
    np.put_along_axis(source, place[:, :, None], deepest[:, :, None], axis=2)

    name = rng.permuted(np.tile(np.arange(nodes), (count, 1)), axis=1)
    name += form.first_name
    used = np.take_along_axis(name, source.reshape(count, -1), axis=1).reshape(shape)
    used[:, :leaves, 0] = 1 + rng.integers(0, form.modulus, (count, leaves))
    used[np.arange(width) >= counts[:, :, None]] = 0
    applied = form.first_operator + rng.integers(0, len(form.operators), shape)
    applied[np.arange(1, width + 1) >= counts[:, :, None]] = 0

    equals, stop, question = range(len(form.words) - 3, len(form.words))
    equation = np.zeros((count, nodes, 2 * width + 3), np.int32)
    equation[:, :, 0], equation[:, :, 1], equation[:, :, -1] = name, equals, stop
    equation[:, :, 2:-1:2], equation[:, :, 3:-1:2] = used, applied
    order = rng.permuted(np.tile(np.arange(nodes), (count, 1)), axis=1)
    equation = equation[np.arange(count)[:, None], order]
    asked = name[np.arange(count), rng.integers((level < depth).sum(axis=1), nodes)]
    flat = equation.reshape(count, -1)
    flat = np.column_stack([flat, np.full(count, question), asked])
    rows, columns = np.nonzero(flat)
    return depths.padded(flat[rows, columns], rows, count)


def _parse(form, tokens) -> tuple[np.ndarray, np.ndarray]:
    """Returns what stands right of each node's `=`, [n, nodes, 2 A], and who is asked.

    Arguments have even places there, operators odd ones; 0 where there is none.
    """
    rows, columns = np.nonzero(tokens)
    symbols = tokens[rows, columns]
    begins = np.ones(symbols.size, bool)  # of an equation or the question
    begins[1:] = (symbols[:-1] == len(form.words) - 2) | (rows[1:] != rows[:-1])
    starts = np.flatnonzero(begins)
    number = np.cumsum(begins) - 1
    offset = np.arange(symbols.size) - starts[number]
    is_question = symbols[starts] == len(form.words) - 1
    owner = symbols[starts + is_question] - form.first_name
    body = (offset >= 2) & (symbols != len(form.words) - 2)
    shape = len(tokens), form.num_nodes, 2 * form.max_arguments
    equations = np.zeros(shape, np.int32)
    at = rows[body], owner[number[body]], offset[body] - 2
    equations[at] = symbols[body]
    return equations, owner[is_question]


def _read(form, tokens) -> depths.Reading:
    """Solves the equations level by level."""
    equations, asked = _parse(form, tokens)
    count = len(tokens)
    # One line for each node of each row; the line beyond the last is no node.
    lines = equations.reshape(-1, equations.shape[2])
    used, applied = lines[:, ::2], lines[:, 1::2]
    own = np.arange(len(lines))[:, None] // form.num_nodes * form.num_nodes
    source = np.where(used >= form.first_name, own + used - form.first_name, len(lines))
    is_leaf = used[:, 0] < form.first_name
    value = np.append(np.where(is_leaf, used[:, 0] - 1, 0), 0)
    depth = np.append(np.where(is_leaf, 0, -1), 0)
    atoms = np.full(used.shape, -1)
    level, waiting = 0, np.flatnonzero(~is_leaf)
    while waiting.size:
        level += 1
        is_known = (depth[source[waiting]] >= 0).all(axis=1)
        ready, waiting = waiting[is_known], waiting[~is_known]
        value[ready], atoms[ready] = _fold(form, value[source[ready]], applied[ready])
        depth[ready] = level
    asked = asked + np.arange(count) * form.num_nodes
    needed = np.zeros(len(lines) + 1, bool)
    needed[asked] = True
    front = np.unique(source[asked])
    while front.size:
        needed[front] = True
        front = front[front < len(lines)]
        front = np.unique(source[front])
        front = front[~needed[front]]
    needed_lines, places = np.nonzero((atoms >= 0) & needed[:-1, None])
    rows = needed_lines // form.num_nodes
    atoms = depths.padded(atoms[needed_lines, places] + 1, rows, count) - 1
    return depths.Reading(1 + value[asked], atoms, depth[asked])


def _fold(form, values, applied) -> tuple[np.ndarray, np.ndarray]:
    """Applies operators from left to right: [n, A] to values [n] and atoms [n, A]."""
    result = values[:, 0]
    copied = len(form.operators) * form.modulus**2 + result
    atoms = [np.where(applied[:, 0] == 0, copied, -1)]
    for place in range(1, form.max_arguments):
        kind, operand = applied[:, place - 1] - form.first_operator, values[:, place]
        atom = (kind * form.modulus + result) * form.modulus + operand
        atoms.append(np.where(kind >= 0, atom, -1))
        for index, word in enumerate(form.operators):
            applied_here = expressions.ARITHMETIC[word](result, operand) % form.modulus
            result = np.where(kind == index, applied_here, result)
    return result, np.stack(atoms, axis=1)


EXAMPLES = {
    "dag_arithmetic": [
        {"modulus": 5, "operators": "+ *", "num_nodes": 7, "num_leaves": 2,
         "max_arguments": 2, "min_depth": 1, "max_depth": 4, "max_train_depth": 2,
         "train_per_depth": 61, "heldout_per_depth": 13},
        {"max_arguments": 3, "operators": "-", "max_depth": 2},
    ],
}  # fmt: skip


def dag_arithmetic_oracle(question: list[str], table: base.Table) -> list[str]:
    """Solves whatever equation has its arguments known until the asked one is."""
    modulus = sum(word.isdecimal() for word in table.vocab)
    *lines, asked = " ".join(question).split(" ; ")
    open_ = {line.split()[0]: line.split()[2:] for line in lines}
    known: dict[str, int] = {}
    while open_:
        ready = [
            name
            for name, right in open_.items()
            if all(word in known or word.isdecimal() for word in right[::2])
        ]
        if not ready:
            return [oracles.UNKNOWN]
        for name in ready:
            right = open_.pop(name)
            total, *values = (int(known.get(word, word)) for word in right[::2])
            for word, value in zip(right[1::2], values, strict=True):
                total = oracles.ARITHMETIC[word](total, value)
            known[name] = total % modulus
    return [str(known.get(asked.removeprefix("? "), oracles.UNKNOWN))]
