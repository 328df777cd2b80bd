"""Answers worked out a second time, from the words of the rows, for `rdt tasks check`.

An oracle takes a table and some of its rows and returns the answer of each as words. It
uses no code of its task, and another way where there is one.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from rdt_jax.tasks import oracles_by_depth, rows
from rdt_jax.tasks.base import Table
from rdt_jax.tasks.oracles_by_depth import UNKNOWN

Oracle = Callable[[Table, Sequence[int]], list[list[str]]]


def are_answers(value: object, table: Table, chosen: Sequence[int]) -> bool:
    """Says whether a value is what an oracle must return, for as many rows."""
    return (
        isinstance(value, list)
        and len(value) == len(chosen)
        and all(isinstance(answer, list) for answer in value)
        and all(isinstance(word, str) for answer in value for word in answer)
    )


def follow_relations(table: Table, chosen: Sequence[int]) -> list[list[str]]:
    """Looks up hop after hop among the facts that the shortest rows state."""
    facts = _facts(table)
    answers = []
    for row in chosen:
        at, *relations = rows.decode(table, row)[0]
        for relation in relations:
            at = facts.get((at, relation), UNKNOWN)
        answers.append([at])
    return answers


def compare_values(table: Table, chosen: Sequence[int]) -> list[list[str]]:
    """Looks up two values of an attribute and compares the numbers in their words."""
    facts = _facts(table)
    answers = []
    for row in chosen:
        first, *rest = rows.decode(table, row)[0]
        if len(rest) == 1:
            answers.append([facts[first, rest[0]]])
            continue
        one, other = (int(facts[e, first].removeprefix("value_")) for e in rest)
        label = "less" if one < other else "greater" if one > other else "equal"
        answers.append([f"{first}_{label}"])
    return answers


def modular(table: Table, chosen: Sequence[int]) -> list[list[str]]:
    """Tries every residue until one solves the equation."""
    residues = [word for word in table.vocab if word.isdecimal()]
    solves: dict[str, Callable[[int, int, int], int]] = {  # a, b, answer -> 0 mod p
        "add": lambda a, b, c: c - a - b,
        "subtract": lambda a, b, c: c + b - a,
        "divide": lambda a, b, c: c * b - a,
        "divide_if_odd_else_subtract": lambda a, b, c: (
            c * b - a if b % 2 else c + b - a
        ),
        "a2_b2": lambda a, b, c: c - a**2 - b**2,
        "a2_ab_b2": lambda a, b, c: c - a**2 - a * b - b**2,
        "a2_ab_b2_a": lambda a, b, c: c - a**2 - a * b - b**2 - a,
        "a3_ab": lambda a, b, c: c - a**3 - a * b,
        "a3_ab2_b": lambda a, b, c: c - a**3 - a * b**2 - b,
    }
    answers = []
    for row in chosen:
        a, operation, b, _ = rows.decode(table, row)[0]
        rest = lambda c: solves[operation](int(a), int(b), int(c))  # noqa: B023
        found = (c for c in residues if rest(c) % len(residues) == 0)
        answers.append([next(found, UNKNOWN)])
    return answers


def move_points(table: Table, chosen: Sequence[int]) -> list[list[str]]:
    """Moves the points that a group acts on, by one element after the other."""
    operations = ("ab", "ab_inverse_a", "aba")
    elements = [w for w in table.vocab if w not in (*rows.LAYOUT, *operations, "=")]
    is_dihedral, is_cyclic = elements[0] == "r0", elements[0] == "0"
    degree = len(elements[0])
    if is_dihedral or is_cyclic:
        degree = len(elements) // (2 if is_dihedral else 1)

    def images(element: str) -> list[int]:
        if is_dihedral:
            kind, turn = element[0], int(element[1:])
            return [(turn + (i if kind == "r" else -i)) % degree for i in range(degree)]
        if is_cyclic:
            return [(int(element) + i) % degree for i in range(degree)]
        return [int(image) for image in element]

    name = {tuple(images(element)): element for element in elements}
    answers = []
    for row in chosen:
        *word, _ = rows.decode(table, row)[0]
        factors = [images(element) for element in word if element not in operations]
        if "aba" in word:
            factors.append(factors[0])
        if "ab_inverse_a" in word:
            factors.append([factors[0].index(point) for point in range(degree)])
        points = []
        for point in range(degree):
            for factor in reversed(factors):  # The last element moves first.
                point = factor[point]
            points.append(point)
        answers.append([name.get(tuple(points), UNKNOWN)])
    return answers


def add_numbers(question: list[str]) -> list[str]:
    """Adds the numbers as they are written."""
    numbers = "".join(question).removesuffix("=").split("+")
    return list(str(sum(int(number) for number in numbers)))


def hop(question: list[str]) -> list[str]:
    """Searches back for the character's previous occurrence, once for each `<hop>`."""
    characters = [word for word in question if word != "<hop>"]
    at = len(characters) - 1
    for _ in range(len(question) - len(characters)):
        before = at - 1
        while characters[before] != characters[at]:
            before -= 1
            if before < 0:
                return [UNKNOWN]
        at = before + 1
    return [characters[at]]


def edit_strings(question: list[str]) -> list[str]:
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
    return stack.pop() if len(stack) == 1 else [UNKNOWN]


def rewrite_command(question: list[str]) -> list[str]:
    """Rewrites a command of SCAN until only actions are left."""
    command = " ".join(question)
    for connective, order in (("after", (1, 0)), ("and", (0, 1))):
        halves = command.split(f" {connective} ")
        if len(halves) == 2:
            return [a for half in order for a in rewrite_command(halves[half].split())]
    rules = (
        (r"(.+) twice", r"\1 & \1"),
        (r"(.+) thrice", r"\1 & \1 & \1"),
        (r"(\w+) around (\w+)", " & ".join(4 * [r"\1 \2"])),
        (r"(\w+) opposite (\w+)", r"turn \2 & \1 \2"),
        (r"(?!turn)(\w+) (left|right)", r"turn \2 & \1"),
    )
    parts = [command]
    for pattern, replacement in rules:
        parts = [
            piece
            for part in parts
            for piece in re.sub(f"^{pattern}$", replacement, part).split(" & ")
        ]
    return ["I_" + part.upper().replace(" ", "_") for part in parts]


def translate_sentence(finite: Mapping[str, str], question: list[str]) -> list[str]:
    """Rewrites a sentence of COGS: nouns, what modifies them, clauses from the last.

    Args:
      finite: past tense of each verb -> its stem and `!`.
      question: the words of the sentence; a word alone means itself.
    """
    if len(question) == 1:
        return question
    noun, verb = "<([^<>]+)>", r"(\w+)!"  # `<` and `>` enclose what has been read.
    theme_alone = "(burn|collapse|crack|float|melt|roll|shatter)!"
    text = " ".join(finite.get(word, word) for word in question)
    for pattern, meaning in (
        (r"\bthe (\w+)", r"<*_\1>"),
        (r"\ba (\w+)", r"<\1>"),
        (r"\b([A-Z]\w*)", r"<\1>"),
    ):
        text = re.sub(pattern, meaning, text)
    count = 1
    while count:  # The last noun of a chain is read first.
        chain = f"{noun} (on|in|beside) {noun}(?! (?:on|in|beside) )"
        text, count = re.subn(chain, r"<\1_(_\2_=_\3_)>", text)
    rules = (
        (f"{noun} {theme_alone}", r"\2 ( theme = \1 )"),
        (f"{noun} {verb}", r"\2 ( agent = \1 )"),
        (f"{noun} {verb} {noun}", r"\2 ( agent = \1 , theme = \3 )"),
        (f"{noun} was {verb} by {noun}", r"\2 ( agent = \3 , theme = \1 )"),
        (
            f"{noun} {verb} {noun} to {noun}",
            r"\2 ( agent = \1 , theme = \3 , recipient = \4 )",
        ),
        (
            f"{noun} {verb} {noun} {noun}",
            r"\2 ( agent = \1 , theme = \4 , recipient = \3 )",
        ),
        (
            rf"{noun} {verb} to (\w+)",
            r"\2 ( agent = \1 , action = \3 ( agent = \1 ) )",
        ),
        (f"{noun} {verb} that {noun}", r"\2 ( agent = \1 , content = \3 )"),
    )
    read = ""
    for clause in reversed(text.split(" that ")):
        clause += f" that <{read}>" if read else ""
        matches = ((re.fullmatch(words, clause), meaning) for words, meaning in rules)
        found = (match.expand(meaning) for match, meaning in matches if match)
        read = next(found, UNKNOWN).replace(" ", "_")
    return read.split("_")


def _translate(table: Table, chosen: Sequence[int]) -> list[list[str]]:
    stems = {stem + ending: stem for stem in table.vocab for ending in ("d", "ed")}
    finite = {word: f"{stems[word]}!" for word in table.vocab if word in stems}
    return [translate_sentence(finite, rows.decode(table, row)[0]) for row in chosen]


def _facts(table: Table) -> dict[tuple[str, str], str]:
    facts = {}
    for row in range(len(table.tokens)):
        asked, answer = rows.decode(table, row)
        if len(asked) == 2:
            facts[asked[0], asked[1]] = answer[0]
    return facts


def _each(answer: Callable[[list[str]], list[str]]) -> Oracle:
    """Makes an oracle of a function from the words of a question to its answer."""
    return lambda table, chosen: [answer(rows.decode(table, r)[0]) for r in chosen]


def _each_modulo(answer: Callable[[int, list[str]], list[str]]) -> Oracle:
    """The same of one that takes the number of residues in the vocabulary first."""

    def oracle(table: Table, chosen: Sequence[int]) -> list[list[str]]:
        modulus = sum(word.isdecimal() for word in table.vocab)
        return [answer(modulus, rows.decode(table, row)[0]) for row in chosen]

    return oracle


# Task -> its oracle; ORACLES in rdt_jax/tasks adds those of installed packages.
BUILT_IN: Mapping[str, Oracle] = {
    "arithmetic_expression": _each_modulo(oracles_by_depth.reduce_arithmetic),
    "boolean_expression": _each(oracles_by_depth.reduce_formula),
    "cogs": _translate,
    "dag_arithmetic": _each_modulo(oracles_by_depth.solve_equations),
    "dyck": _each(oracles_by_depth.match_brackets),
    "graph_next_step": _each(oracles_by_depth.step_towards),
    "graph_reachability": _each(oracles_by_depth.reach),
    "group_composition": move_points,
    "group_operation": move_points,
    "kinship": _each(oracles_by_depth.count_generations),
    "knowledge_comparison": compare_values,
    "knowledge_composition": follow_relations,
    "knowledge_depth": follow_relations,
    "listops": _each(oracles_by_depth.reduce_lists),
    "lookup_tables": follow_relations,
    "ltg_folder": follow_relations,
    "modular": modular,
    "nary_addition": _each(add_numbers),
    "p_hop_induction": _each(hop),
    "pcfg": _each(edit_strings),
    "scan": _each(rewrite_command),
    "transitive_inference": _each(oracles_by_depth.compare_items),
}
