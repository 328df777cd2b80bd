"""SCAN: navigation commands to actions, with every published split.

Reference: Lake and Baroni (2018), arXiv:1711.00350 (simple, length, addprim splits);
the template and filler splits are those of Loula et al. (2018), arXiv:1807.07545.
"""

import functools
import itertools
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from rdt_jax.tasks import base, limits

VERSION = 1  # of the tables; a change of their rows is another one

VERBS = ("walk", "look", "run", "jump")
DIRECTIONS = ("left", "right")
TIMES: Mapping[str, int] = {"": 1, " twice": 2, " thrice": 3}
CONNECTIVES = (" and ", " after ")
PHRASES = (
    *VERBS,
    *(
        f"{verb} {template}{direction}"
        for verb in ("turn", *VERBS)
        for template in ("", "opposite ", "around ")
        for direction in DIRECTIONS
    ),
)
SENTENCES = tuple(phrase + times for phrase in PHRASES for times in TIMES)
ACTIONS = tuple(f"I_{verb.upper()}" for verb in VERBS) + ("I_TURN_LEFT", "I_TURN_RIGHT")
WORDS = (
    *("<pad>", *VERBS, "turn", *DIRECTIONS, "opposite", "around", "twice", "thrice"),
    *("and", "after", "<sep>", *ACTIONS, "<end>"),
)
SIMPLE_TRAIN = 16_728  # rows
LENGTH_TRAIN = 22  # actions


class Variant(NamedTuple):
    """Which commands a published split tests, by the phrases in them."""

    tested: tuple[str, ...]  # a command with one of these phrases is in the test part
    # A command with one of these is in neither part, tested phrases or not.
    dropped: tuple[str, ...] = ()
    # A command with one of these that is not tested is in neither part.
    withheld: tuple[str, ...] = ()
    bare: str = ""  # the only tested command that is trained, or "" for none
    repeats: int = 1  # times that it stands in an epoch


def _template(template: str) -> Variant:
    return Variant(
        tuple(f"{verb} {template}" for verb in VERBS), dropped=(f"turn {template}",)
    )


def _filler(fillers: tuple[str, ...]) -> Variant:
    return Variant(
        tested=("jump around right",),
        dropped=("turn around right",),
        withheld=tuple(
            f"{verb} around right" for verb in VERBS if verb not in ("jump", *fillers)
        ),
    )


# The splits that hold phrases out; `simple` and `length` do not.
VARIANTS: Mapping[str, Variant] = {
    "addprim_jump": Variant(
        tuple(phrase for phrase in PHRASES if phrase.startswith("jump")),
        bare="jump",
        repeats=1_467,
    ),
    "addprim_turn_left": Variant(("turn left",), bare="turn left", repeats=2_189),
    "template_jump_around_right": Variant(
        ("jump around right",), dropped=("turn around right",)
    ),
    "template_opposite_right": _template("opposite right"),
    "template_around_right": _template("around right"),
    "template_right": _template("right"),
    "filler_num0": _filler(()),
    "filler_num1": _filler(("look",)),
    "filler_num2": _filler(("look", "walk")),
    "filler_num3": _filler(("look", "walk", "run")),
}
VARIANT_CHOICES = ("simple", "length", *VARIANTS)


def scan(*, seed: int, variant: str) -> base.Table:
    """Carry out a command such as `jump around left twice after walk`.

    Rows are the 20,910 commands of the grammar. Those of the published training part
    are `train`; the published test part is `id` in `simple`, `depth` in `length` and
    `ood` elsewhere; what is in neither is `unused`. The rows of every split are exactly
    the published ones, with one exception: the published `simple` split is a random
    sample that no rule gives, so that ours is another sample of the same sizes.

    A bare command is repeated as often as published: the counts say 1,467 times for
    `jump` (14,670 rows of which 13,204 differ) and 2,189 for `turn left`.

    What the certificate counts as an atom depends on what a split is about. `simple`:
    a sentence, which is a phrase with `twice`, `thrice` or neither; a command has one
    or two. `length`: an action. Elsewhere: a command without a tested phrase has its
    sentences; a command with one asks for that alone, which is the tested unit and the
    sentence that it stands in. The other half of such a command is practiced, so that
    a notion which counted it would leave no command to `ood`.

    An answer is right as a whole: chance is at most 1 / the number of different answers
    of training, and the most frequent one, alone or by the last token of the question,
    is right in less than 1 % of any split (`majority` and `last_token`). Answers are
    teacher-forced (A = 49, the last token is `<end>`), and the tag `length` is their
    number of actions. The seed is that of the sample of `simple`; elsewhere it plays no
    part.
    """
    limits.one_of(VARIANT_CHOICES, variant=variant)
    commands, actions, questions, answers = _rows()
    lengths = (answers != 0).sum(axis=1, dtype=np.int32)
    sentence = {name: number for number, name in enumerate(SENTENCES)}
    repeats = np.ones(len(commands), np.int32)
    if variant == "simple":
        order = np.random.default_rng(seed).permutation(len(commands))
        parts = np.where(np.argsort(order) < SIMPLE_TRAIN, "train", "id").tolist()
        atoms = [[sentence[name] for name in _sentences(c)] for c in commands]
        held_out = f"A random {order.size - SIMPLE_TRAIN} of {order.size} commands."
    elif variant == "length":
        parts = np.where(lengths <= LENGTH_TRAIN, "train", "depth").tolist()
        atoms = [[ACTIONS.index(action) for action in answer] for answer in actions]
        held_out = f"Commands of more than {LENGTH_TRAIN} actions."
    else:
        published = VARIANTS[variant]
        parts = [part_of(command, published) for command in commands]
        atoms = [_atoms(command, published, sentence) for command in commands]
        held_out = f"The phrase `{'` or `'.join(published.tested)}`: no training row "
        held_out += "has it."
        if published.bare:
            repeats[commands.index(published.bare)] = published.repeats
            held_out = f"`{published.bare}` in company: training has it as a command "
            held_out += "of its own only."
    return base.certified(
        *base.teacher_forced(
            questions, answers, WORDS.index("<sep>"), WORDS.index("<end>")
        ),
        np.array([base.SPLITS.index(part) for part in parts], np.int8),
        atoms=base.pad([[1 + a for a in row] for row in atoms]) - 1,
        held_out=held_out,
        vocab=WORDS,
        repeats=repeats,
        tags={"length": lengths},
    )


def _atoms(command, published, sentence) -> list[int]:
    """Returns the parts that a command needs: 0 is the tested unit."""
    names = _sentences(command)
    tested = [name for name in names if _phrase(name) in published.tested]
    if command == published.bare:
        return [0]
    if tested:
        return [atom for name in tested for atom in (0, 1 + sentence[name])]
    return [1 + sentence[name] for name in names]


def interpret(command: str) -> list[str]:
    """Returns the actions of a command; of `x after y`, those of y come first."""
    if " after " in command:
        first, second = command.split(" after ")
        return interpret(second) + interpret(first)
    if " and " in command:
        first, second = command.split(" and ")
        return interpret(first) + interpret(second)
    for times, number in TIMES.items():
        if times and command.endswith(times):
            return number * interpret(command.removesuffix(times))
    verb, *rest = command.split()
    action = [] if verb == "turn" else [f"I_{verb.upper()}"]
    if not rest:
        return action
    turn = [f"I_TURN_{rest[-1].upper()}"]
    if rest[0] == "opposite":
        return turn + turn + action
    return (4 if rest[0] == "around" else 1) * (turn + action)


@functools.cache
def _rows() -> tuple[list[str], list[list[str]], np.ndarray, np.ndarray]:
    """Returns all commands and their actions, as words and as tokens."""
    commands = [*SENTENCES]
    commands += [
        first + connective + second
        for connective in CONNECTIVES
        for first, second in itertools.product(SENTENCES, repeat=2)
    ]
    actions = [interpret(command) for command in commands]
    index = {word: number for number, word in enumerate(WORDS)}
    questions = base.pad([[index[w] for w in command.split()] for command in commands])
    answers = base.pad([[index[action] for action in answer] for answer in actions])
    return commands, actions, questions, answers


def _sentences(command):
    return re.split("|".join(CONNECTIVES), command)


def _phrase(sentence):
    return re.sub(" (twice|thrice)$", "", sentence)


def part_of(command, split) -> str:
    """Says whether a command is `train`, `ood` or `unused` in a split."""
    phrases = {_phrase(sentence) for sentence in _sentences(command)}
    if phrases & set(split.dropped):
        return "unused"
    if phrases & set(split.tested):
        return "train" if command == split.bare else "ood"
    return "unused" if phrases & set(split.withheld) else "train"


EXAMPLES = {"scan": [{"variant": v} for v in ("simple", "length", "filler_num1")]}


def scan_oracle(question: list[str]) -> list[str]:
    """Rewrites a command of SCAN until only actions are left."""
    command = " ".join(question)
    for connective, order in (("after", (1, 0)), ("and", (0, 1))):
        halves = command.split(f" {connective} ")
        if len(halves) == 2:
            return [a for half in order for a in scan_oracle(halves[half].split())]
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
