"""PCFG SET: string edit functions applied one to the other, with our own sampling.

Reference: Hupkes et al. (2020), arXiv:1908.08351. The functions are the published
ones; the published rows are a sample in the lengths of natural language, ours is not.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from rdt_jax import wording
from rdt_jax.tasks import base, limits, oracles, splits

VERSION = 1  # of the tables; a change of their rows is another one

UNARY: Mapping[str, Callable[[list[int]], list[int]]] = {
    "copy": lambda x: x,
    "reverse": lambda x: x[::-1],
    "shift": lambda x: x[1:] + x[:1],
    "swap_first_last": lambda x: x[-1:] + x[1:-1] + x[:1] if len(x) > 1 else x,
    "repeat": lambda x: x + x,
    "echo": lambda x: x + x[-1:],
}
BINARY: Mapping[str, Callable[[list[int], list[int]], list[int]]] = {
    "append": lambda x, y: x + y,
    "prepend": lambda x, y: y + x,
    "remove_first": lambda x, y: y,
    "remove_second": lambda x, y: x,
}
FUNCTIONS = (*UNARY, *BINARY)
PAIRS = [(outer, inner) for outer in FUNCTIONS for inner in FUNCTIONS]
SPLITTINGS = ("random", "systematicity", "productivity")
COMMA = 1 + len(FUNCTIONS)  # The token; those of the functions stand before it.
FIRST_SYMBOL = COMMA + 1
LONGEST_STRING = 5  # symbols of an argument
ATTEMPTS = 100  # Draws per wanted row before there are held to be too few.
ELSEWHERE = " unless the splitting is "
_NUMBER = {pair: number for number, pair in enumerate(PAIRS)}
_TOKEN = {name: 1 + number for number, name in enumerate(FUNCTIONS)}


class Expression(NamedTuple):
    """A function and its arguments, or a string."""

    function: str  # the outermost one; "" for a string
    question: tuple[int, ...]  # the tokens that write it
    answer: list[int]  # the tokens that it gives
    # (outer, inner) for each function that stands right inside another.
    pairs: list[tuple[str, str]]


def pcfg(
    *,
    seed: int,
    splitting: str,
    num_symbols: int,
    max_functions: int,
    max_train_functions: int,
    max_length: int,
    train_rows: int,
    heldout_rows: int,
    num_heldout_pairs: int,
) -> base.Table:
    """Edit strings: `append reverse A B , C` is `B A C`.

    The shape of an expression is drawn at random for each number of functions in turn,
    its functions uniformly, its strings of 1 to 5 symbols uniformly. An atom is a pair
    of functions, one applied to what the other gives; it counts twice, once for each,
    so that a row of two functions composes. A row of one function is that function.

    `random`: held-out rows are `id`. `systematicity`: some pairs are in no training
    row. Rows without them that are held out are `id`, rows of such pairs alone are
    `ood`, rows with some are `mixed` (both together are what the paper tests).
    `productivity`: rows of more than `max_train_functions` functions are `depth`, and
    held-out rows of fewer are `id`. An `id` or `depth` row with a pair which just
    happens to be in no training row, and a `mixed` row of such pairs alone, is
    `unused`.

    An answer is right as a whole: chance is at most 1 / the number of different answers
    of training. What the most frequent one gives, alone or by the last token of the
    question, `majority` and `last_token` of the certificate say. Answers are
    teacher-forced, their last token is `<end>`; the tags are `functions` (how many) and
    `pairs` (untrained ones in the row).

    `max_functions` is more than `max_train_functions` in `productivity` and equal to it
    elsewhere; `num_heldout_pairs` pairs are not trained in `systematicity`, 0
    elsewhere. Expressions whose question or answer has more than `max_length` tokens
    are drawn again. `heldout_rows` are those of each other split.
    """
    _check(
        splitting, num_symbols, max_functions, max_train_functions, max_length,
        train_rows, heldout_rows, num_heldout_pairs,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    untrained = {PAIRS[n] for n in rng.permutation(len(PAIRS))[:num_heldout_pairs]}
    plan = _plan(
        splitting, max_functions, max_train_functions, train_rows, heldout_rows
    )
    rows, parts = _draw_parts(
        base.uniform(rng), plan, untrained, num_symbols, max_length
    )
    atoms = base.pad([[1 + atom for atom in _atoms(row)] for row in rows]) - 1
    split = splits.of_parts(atoms, parts, "train_rows", train_rows)
    words = ["<pad>", *FUNCTIONS, ",", *_symbol_words(num_symbols), "<sep>", "<end>"]
    held = [sum(pair in untrained for pair in row.pairs) for row in rows]
    return base.certified(
        *base.teacher_forced(
            base.pad([row.question for row in rows]),
            base.pad([row.answer for row in rows]),
            words.index("<sep>"),
            words.index("<end>"),
        ),
        split,
        atoms=atoms,
        held_out=_held_out(splitting, untrained, max_train_functions, heldout_rows),
        vocab=words,
        tags={
            "functions": np.array([1 + len(row.pairs) for row in rows]),
            "pairs": np.array(held),
        },
    )


def _plan(
    splitting, longest, longest_train, train, heldout
) -> list[tuple[str, range, int]]:
    """Returns each part of the table: its name, numbers of functions, and rows."""
    shorter = range(1, longest_train + 1)
    plan = [("train", shorter, train), ("id", shorter, heldout)]
    if splitting == "systematicity":
        plan.append(("ood", range(2, longest + 1), heldout))
        plan.append(("mixed", range(3, longest + 1), heldout))
    if splitting == "productivity":
        plan.append(("depth", range(longest_train + 1, longest + 1), heldout))
    return plan


def _draw_parts(
    uniform, plan, untrained, num_symbols, max_length
) -> tuple[list[Expression], np.ndarray]:
    """Draws the rows of a plan, all different, and returns the part of each."""
    drawn: dict[tuple[int, ...], Expression] = {}
    for part, lengths, count in plan:
        drawn |= _draw_rows(
            uniform, part, lengths, count, drawn, untrained, num_symbols, max_length
        )
    parts = np.repeat([part for part, *_ in plan], [count for *_, count in plan])
    return list(drawn.values()), parts


def _held_out(splitting, untrained, longest_train, heldout) -> str:
    crossed = ", ".join(sorted(" to ".join(pair) for pair in untrained))
    return {
        "random": f"{wording.count(heldout, 'random expression')}.",
        "systematicity": f"Applying one function to what another gives: {crossed}.",
        "productivity": f"Expressions of more than {longest_train} functions.",
    }[splitting]


def _atoms(row) -> list[int]:
    """Returns each pair of an expression twice, or its one function."""
    if not row.pairs:
        return [2 * len(PAIRS) + FUNCTIONS.index(row.function)]
    return [2 * _NUMBER[pair] + side for pair in row.pairs for side in (0, 1)]


def _draw_rows(
    uniform, part, lengths, count, taken, untrained, num_symbols, max_length
) -> dict[tuple[int, ...], Expression]:
    """Draws `count` rows not yet `taken`, of each number of functions in turn."""
    drawn: dict[tuple[int, ...], Expression] = {}
    for attempt in range(ATTEMPTS * count):
        functions = lengths[attempt % len(lengths)]
        only = untrained if part == "ood" else None
        row = _draw(uniform, functions, num_symbols, only)
        if row is None or max(len(row.question), len(row.answer)) > max_length:
            continue
        held = sum(pair in untrained for pair in row.pairs)
        most = {"ood": functions - 1, "mixed": functions - 2}.get(part, 0)
        if min(most, 1) <= held <= most and row.question not in taken:
            drawn.setdefault(row.question, row)
        if len(drawn) == count:
            return drawn
    raise ValueError(
        f"task.kwargs.{'train' if part == 'train' else 'heldout'}_rows must be at most "
        f"the number of {part} rows that there are, got {count}; {ATTEMPTS} draws for "
        f"each found {len(drawn)}. More symbols or tokens (max_length) make more."
    )


def _draw(uniform, functions, num_symbols, only, outer="") -> Expression | None:
    """Draws an expression, with all of its pairs in `only` if given; None if stuck."""
    if functions == 0:
        size = 1 + int(next(uniform) * LONGEST_STRING)
        symbols = [FIRST_SYMBOL + int(next(uniform) * num_symbols) for _ in range(size)]
        return Expression("", tuple(symbols), symbols, [])
    names = FUNCTIONS
    if only is not None and outer:
        names = tuple(name for name in FUNCTIONS if (outer, name) in only)
    if not names:
        return None
    name = names[int(next(uniform) * len(names))]
    if name in UNARY:
        x = _draw(uniform, functions - 1, num_symbols, only, name)
        if x is None:
            return None
        question = (_TOKEN[name], *x.question)
        pairs = [(name, x.function), *x.pairs] if x.function else []
        return Expression(name, question, UNARY[name](x.answer), pairs)
    first = int(next(uniform) * functions)  # Functions of the first argument.
    x = _draw(uniform, first, num_symbols, only, name)
    y = _draw(uniform, functions - 1 - first, num_symbols, only, name)
    if x is None or y is None:
        return None
    question = (_TOKEN[name], *x.question, COMMA, *y.question)
    pairs = [(name, inner) for inner in (x.function, y.function) if inner]
    pairs += x.pairs + y.pairs
    return Expression(name, question, BINARY[name](x.answer, y.answer), pairs)


def _symbol_words(num_symbols) -> list[str]:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return [f"{letters[i % 26]}{1 + i // 26}" for i in range(num_symbols)]


def _check(
    splitting, symbols, longest, longest_train, max_length, train, heldout, pairs
):
    productivity = splitting == "productivity"
    systematicity = splitting == "systematicity"
    limits.one_of(SPLITTINGS, splitting=splitting)
    limits.at_least(2, num_symbols=symbols, max_train_functions=longest_train)
    limits.at_least(4, max_length=max_length)
    limits.at_least(1, train_rows=train, heldout_rows=heldout)
    fits = longest > longest_train if productivity else longest == longest_train
    must = "be more than" if productivity else "equal"
    must += f" task.kwargs.max_train_functions ({longest_train})"
    must += "" if productivity else f"{ELSEWHERE}productivity"
    limits.require(fits, "max_functions", must, longest)
    must = "be at least 3 for systematicity"
    limits.require(longest >= 3 or not systematicity, "max_functions", must, longest)
    most = len(PAIRS) - 1
    fits = 1 <= pairs <= most if systematicity else pairs == 0
    must = f"be in [1, {most}]" if systematicity else f"be 0{ELSEWHERE}systematicity"
    limits.require(fits, "num_heldout_pairs", must, pairs)


EXAMPLES = {
    "pcfg": [
        {"splitting": "random", "num_symbols": 7, "max_functions": 3,
         "max_train_functions": 3, "max_length": 17, "train_rows": 211,
         "heldout_rows": 17, "num_heldout_pairs": 0},
        {"splitting": "systematicity", "num_heldout_pairs": 11},
        {"splitting": "productivity", "max_functions": 5},
    ],
}  # fmt: skip


def pcfg_oracle(question: list[str]) -> list[str]:
    """Reads an expression of PCFG from its end, with a stack of strings."""
    unary: dict[str, Callable[[list[str]], list[str]]] = {
        "copy": lambda x: x,
        "reverse": lambda x: list(reversed(x)),
        "shift": lambda x: [*x[1:], x[0]],
        "swap_first_last": lambda x: x if len(x) == 1 else [x[-1], *x[1:-1], x[0]],
        "repeat": lambda x: [*x, *x],
        "echo": lambda x: [*x, x[-1]],
    }
    binary: dict[str, Callable[[list[str], list[str]], list[str]]] = {
        "append": lambda x, y: [*x, *y],
        "prepend": lambda x, y: [*y, *x],
        "remove_first": lambda x, y: y,
        "remove_second": lambda x, y: x,
    }
    stack: list[list[str]] = []
    text: list[str] = []
    for word in reversed(question):
        is_symbol = word not in unary and word not in binary and word != ","
        if is_symbol:
            text.insert(0, word)
        elif text:
            stack.append(text)
            text = []
        if word in unary:
            stack.append(unary[word](stack.pop()))
        elif word in binary:
            stack.append(binary[word](stack.pop(), stack.pop()))
    return stack.pop() if len(stack) == 1 else [oracles.UNKNOWN]
