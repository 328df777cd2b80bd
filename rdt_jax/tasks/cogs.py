"""English sentences to logical forms, in the style of COGS.

Reference: Kim and Linzen (2020), arXiv:2010.05465. Neither their sentences nor their
grammar, lexicon and logical forms are used: these are our own and much smaller. What
is theirs is the kinds of cases: for each of their 21 there is one here.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from rdt_jax.tasks import base, limits, oracles, splits

VERSION = 1  # of the tables; a change of their rows is another one

# Words that stand everywhere; those of CASES stand where their case says.
PEOPLE = ("boy", "girl", "king", "nurse", "pilot", "cat", "dog", "horse", "monkey")
THINGS = ("pear", "book", "cake", "coin", "letter", "ring", "shirt", "stone", "toy")
PLACES = ("bed", "box", "chair", "garden", "house", "road", "shelf", "table", "tray")
NAMES = ("Anna", "Bruno", "Clara", "David", "Elena", "Felix", "Greta", "Hugo", "Irene")
PREPOSITIONS = ("on", "in", "beside")
VERBS: Mapping[str, tuple[str, ...]] = {
    "unergative": ("laugh", "sneeze", "walk", "smile", "dance", "snore"),
    "unaccusative": ("melt", "roll", "crack", "float", "collapse", "burn"),
    "optional": ("cook", "paint", "clean", "hunt", "bake", "call"),
    "transitive": ("help", "touch", "like", "follow", "push", "need"),
    "dative": ("pass", "hand", "mail", "offer", "award", "return"),
    "control": ("want", "hope", "attempt", "wish", "decide"),
    "report": ("claim", "believe", "notice", "declare", "mention"),
}
# Construction -> the classes of its verbs, and its words: a slot or a word as it is.
CLAUSES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "unergative": (("unergative",), "agent verb"),
    "unaccusative": (("unaccusative",), "theme verb"),
    "omitted": (("optional",), "agent verb"),
    "transitive": (("optional", "transitive", "unaccusative"), "agent verb theme"),
    "passive": (("optional", "transitive"), "theme was verb by agent"),
    "to_dative": (("dative",), "agent verb theme to recipient"),
    "double_object": (("dative",), "agent verb recipient theme"),
    "infinitive": (("unergative",), "agent control to verb"),
}
ROLES = ("agent", "theme", "recipient")
WITH_OBJECT = ("transitive", "passive", "to_dative", "double_object")
GIVE_UP = 5_000  # Draws in a row without a new sentence.


class Case(NamedTuple):
    """A word, where training shows it, and where the test asks for it."""

    word: str  # stands in no other training row
    # Construction and slot in training; None for the word alone.
    shown: tuple[str, str] | None
    asked: tuple[str, str]  # construction and slot in the rows under test


_SUBJECT, _OBJECT = ("transitive", "agent"), ("transitive", "theme")
CASES: Mapping[str, Case] = {
    "subject_to_object_common": Case("wolf", _SUBJECT, _OBJECT),
    "subject_to_object_proper": Case("Julia", _SUBJECT, _OBJECT),
    "object_to_subject_common": Case("badger", _OBJECT, _SUBJECT),
    "object_to_subject_proper": Case("Kevin", _OBJECT, _SUBJECT),
    "alone_to_subject_common": Case("heron", None, _SUBJECT),
    "alone_to_subject_proper": Case("Laura", None, _SUBJECT),
    "alone_to_object_common": Case("lynx", None, _OBJECT),
    "alone_to_object_proper": Case("Martin", None, _OBJECT),
    "alone_to_infinitive": Case("whistle", None, ("infinitive", "verb")),
    "active_to_passive": Case("greet", ("transitive", "verb"), ("passive", "verb")),
    "passive_to_active": Case("praise", ("passive", "verb"), ("transitive", "verb")),
    "omitted_object_to_transitive": Case(
        "sketch", ("omitted", "verb"), ("transitive", "verb")
    ),
    "unaccusative_to_transitive": Case(
        "shatter", ("unaccusative", "verb"), ("transitive", "verb")
    ),
    "double_object_to_dative": Case(
        "grant", ("double_object", "verb"), ("to_dative", "verb")
    ),
    "dative_to_double_object": Case(
        "deliver", ("to_dative", "verb"), ("double_object", "verb")
    ),
    "agent_to_unaccusative_subject": Case("mole", _SUBJECT, ("unaccusative", "theme")),
    "theme_to_subject_omitted_object": Case(
        "goose", ("unaccusative", "theme"), ("omitted", "agent")
    ),
    "theme_to_unergative_subject": Case(
        "ferret", ("unaccusative", "theme"), ("unergative", "agent")
    ),
}
STRUCTURES = ("modified_object_to_subject", "deeper_complements", "deeper_modifiers")
CASE_NAMES = ("none", *CASES, *STRUCTURES)
_ALL_VERBS = (
    *(verb for verbs in VERBS.values() for verb in verbs),
    *(case.word for case in CASES.values() if case.asked[1] == "verb"),
)


def past(verb: str) -> str:
    """Returns the past tense and participle; all verbs here are regular."""
    return verb + ("d" if verb.endswith("e") else "ed")


WORDS = (
    *("<pad>", "a", "the", "was", "by", "to", "that", *PREPOSITIONS),
    *PEOPLE, *THINGS, *PLACES, *NAMES,
    *(case.word for case in CASES.values() if case.asked[1] != "verb"),
    *_ALL_VERBS, *(past(verb) for verb in _ALL_VERBS),
    *("(", ")", "=", ",", "*", *ROLES, "action", "content", "<sep>", "<end>"),
)  # fmt: skip

Use = tuple[str, str, str]  # word, construction, slot


class Sentence(NamedTuple):
    """A sentence, what it means, and where its content words stand."""

    text: tuple[str, ...]
    meaning: tuple[str, ...]
    uses: tuple[Use, ...]


def cogs(
    *,
    seed: int,
    train_rows: int,
    id_rows: int,
    rows_per_case: int,
    exposures: int,
    max_train_depth: int,
    max_depth: int,
) -> base.Table:
    """Translate `the cat helped Anna` into `help ( agent = * cat , theme = Anna )`.

    Training has random sentences, and for each of CASES a word that stands in one
    construction only, or all alone. `ood` rows ask for the word in another one, or for
    a modifier of the subject (the first noun of a clause) where training modifies only
    objects; `depth` rows nest complements (`that ...`) or modifiers (`on ...`) deeper
    than training.

    An atom is a use: a word in a slot of a construction. An `ood` row asks for the use
    under test alone, which counts as the case and the word in its slot; its other
    words are practiced, so that a notion which counted them would leave no row to
    `ood`. A held-out row with another use that no training row has is `unused`.

    An answer is right as a whole: chance is at most 1 / the number of different answers
    of training, and hardly any held-out row has one of these answers (`chance`,
    `majority` and `last_token` of the certificate). Answers are teacher-forced, their
    last token is `<end>`; the tags are `case` (CASE_NAMES) and `depth`.

    Args:
      seed: seed of the sentences.
      train_rows: random training sentences; those of the cases come on top.
      id_rows: held-out sentences of the same kind.
      rows_per_case: rows of each of the 21 cases.
      exposures: training sentences of each of CASES; how often the word stands in an
        epoch where it stands alone.
      max_train_depth: complements or modifiers within each other in training.
      max_depth: phrases nested in the deepest rows.
    """
    limits.at_least(
        1, train_rows=train_rows, id_rows=id_rows, rows_per_case=rows_per_case,
        exposures=exposures, max_train_depth=max_train_depth,
    )  # fmt: skip
    must = f"be more than task.kwargs.max_train_depth ({max_train_depth})"
    limits.require(max_depth > max_train_depth, "max_depth", must, max_depth)
    rows = _Rows(base.uniform(np.random.default_rng(seed)), max_train_depth, [], set())
    deeper = range(max_train_depth + 1, max_depth + 1)
    rows.draw_all(train_rows, id_rows, rows_per_case, exposures, deeper)
    sentences, drawn_for, cases, depth = zip(*rows.drawn, strict=True)
    atoms = _needed(sentences)
    split = splits.of_parts(atoms, np.array(drawn_for), "train_rows", train_rows)
    token = {word: number for number, word in enumerate(WORDS)}
    is_bare = np.array([len(sentence.text) == 1 for sentence in sentences])
    return base.certified(
        *base.teacher_forced(
            base.pad([[token[w] for w in sentence.text] for sentence in sentences]),
            base.pad([[token[w] for w in sentence.meaning] for sentence in sentences]),
            token["<sep>"],
            token["<end>"],
        ),
        split,
        atoms=atoms,
        held_out=(
            f"{len(CASES)} words, each in a construction in which training never "
            "has it; modifiers of a subject; complements and modifiers nested more "
            f"than {max_train_depth} deep."
        ),
        vocab=WORDS,
        repeats=np.where(is_bare, exposures, 1),
        tags={
            "case": np.array([CASE_NAMES.index(case) for case in cases]),
            "depth": np.array(depth),
        },
        tag_names={"case": CASE_NAMES},
    )


class _Rows(NamedTuple):
    """Rows drawn so far."""

    uniform: Iterator[float]  # numbers in [0, 1)
    max_train_depth: int  # argument of the task
    # Sentence, split, case and depth of each.
    drawn: list[tuple[Sentence, str, str, int]]
    seen: set[tuple[str, ...]]  # their texts

    def draw_all(self, train_rows, id_rows, rows_per_case, exposures, deeper) -> None:
        """Draws the rows of a table, part after part, with arguments of the task."""
        self.draw(train_rows, "train_rows", "train", "none")
        for name, case in CASES.items():
            if case.shown is None:
                use = (case.word, "alone", "")
                alone = Sentence((case.word,), (case.word,), (use,))
                self.drawn.append((alone, "train", name, 0))
            else:
                shown = {"word": case.word, "place": case.shown}
                self.draw(exposures, "exposures", "train", name, **shown)
        self.draw(id_rows, "id_rows", "id", "none")
        test = functools.partial(self.draw, rows_per_case, "rows_per_case")
        for name, case in CASES.items():
            test("ood", name, word=case.word, place=case.asked)
        test("ood", STRUCTURES[0], modified="subject")
        test("depth", STRUCTURES[1], nested="complement", depths=deeper)
        test("depth", STRUCTURES[2], nested="modifier", depths=deeper)

    def draw(self, count: int, key: str, split: str, case: str, **kinds) -> None:
        """Draws `count` new sentences of some kind; `key` is the argument of them."""
        wanted, vain = len(self.drawn) + count, 0
        while len(self.drawn) < wanted and vain < GIVE_UP:
            sentence, depth = _sentence(self.uniform, self.max_train_depth, **kinds)
            vain += 1
            if sentence.text not in self.seen:
                self.seen.add(sentence.text)
                self.drawn.append((sentence, split, case, depth))
                vain = 0
        limits.require(
            len(self.drawn) == wanted,
            key,
            f"be at most the number of such sentences (case: {case})",
            f"{count}; {len(self.drawn) + count - wanted} were found. A larger "
            "max_train_depth makes more",
        )


def _needed(sentences) -> np.ndarray:
    """Returns the uses that each sentence needs, [N, K]; see `cogs` on atoms."""
    asked = {(c.word, *c.asked): name for name, c in CASES.items()}
    asked |= {(word, "modifier", "subject"): STRUCTURES[0] for word in PREPOSITIONS}
    index: dict[object, int] = {}
    used = []
    for sentence in sentences:
        tested = [a for use in sentence.uses if use in asked for a in (asked[use], use)]
        needed = tested or sentence.uses
        used.append([1 + index.setdefault(atom, len(index)) for atom in needed])
    return base.pad(used) - 1


def _sentence(
    uniform, max_depth, word="", place=("", ""), modified="object", nested="", depths=()
) -> tuple[Sentence, int]:
    """Draws a sentence, with `word` in its place if given, and how deep it nests."""
    if not depths:
        depths = range(max_depth + 1)
        nested = _pick(uniform, ("complement", "modifier"))
    if modified == "subject":
        depths, nested = range(1, max_depth + 1), "modifier"
    depth = _pick(uniform, depths)
    # Clauses with an object also make every deeper row longer than any train row.
    must_have_object = nested == "modifier" and depth and modified == "object"
    names = WITH_OBJECT if must_have_object or depth > max_depth else tuple(CLAUSES)
    construction = place[0] or _pick(uniform, names)
    classes, pattern = CLAUSES[construction]
    slots = [part for part in pattern.split() if part in ROLES]
    if nested == "modifier" and modified == "object":
        slots = [slot for slot in slots[1:] if slot != place[1]]
    changed = slots[0] if modified == "subject" else _pick(uniform, slots or [""])
    if nested == "modifier" and not changed:
        depth = 0  # The only object is the word under test, or there is none.
    text: list[str] = []
    meanings: dict[str, tuple[str, ...]] = {}
    uses: list[Use] = []
    for part in pattern.split():
        if part in ROLES:
            chain = depth if nested == "modifier" and part == changed else 0
            fixed = word if part == place[1] else ""
            noun = _noun(uniform, construction, part, fixed, chain, modified)
            text += noun.text
            meanings[part] = noun.meaning
            uses += noun.uses
        elif part in ("verb", "control"):
            group = classes if part == "verb" else ("control",)
            verb = _pick(uniform, [v for name in group for v in VERBS[name]])
            verb = word if part == place[1] else verb
            bare = construction == "infinitive" and part == "verb"
            text.append(verb if bare else past(verb))
            meanings[part] = (verb,)
            uses.append((verb, construction, part))
        else:
            text.append(part)
    roles = [(role, meanings[role]) for role in ROLES if role in meanings]
    meaning = _compose(meanings["verb"], roles)
    if construction == "infinitive":
        meaning = _compose(meanings["control"], [*roles, ("action", meaning)])
    sentence = Sentence(tuple(text), meaning, tuple(uses))
    for _ in range(depth if nested == "complement" else 0):
        sentence = _report(uniform, sentence)
    return sentence, depth


def _report(uniform, sentence) -> Sentence:
    agent = _noun(uniform, "complement", "agent")
    verb = _pick(uniform, VERBS["report"])
    return Sentence(
        (*agent.text, past(verb), "that", *sentence.text),
        _compose((verb,), [("agent", agent.meaning), ("content", sentence.meaning)]),
        (*agent.uses, (verb, "complement", "verb"), *sentence.uses),
    )


def _noun(
    uniform, construction, slot, fixed="", depth=0, modified="object"
) -> Sentence:
    pool: tuple[str, ...] = PLACES if slot == "place" else PEOPLE
    if slot == "theme":
        pool += THINGS
    if depth == 0 and slot != "place":
        pool += NAMES  # A name takes no modifier.
    noun = fixed or _pick(uniform, pool)
    uses: tuple[Use, ...] = ((noun, construction, slot),)
    if noun[0].isupper():
        return Sentence((noun,), (noun,), uses)
    article = _pick(uniform, ("a", "the"))
    text: tuple[str, ...] = (article, noun)
    meaning: tuple[str, ...] = ("*", noun) if article == "the" else (noun,)
    if depth:
        preposition = _pick(uniform, PREPOSITIONS)
        inner = _noun(uniform, "modifier", "place", depth=depth - 1, modified=modified)
        text += (preposition, *inner.text)
        meaning = _compose(meaning, [(preposition, inner.meaning)])
        uses += ((preposition, "modifier", modified), *inner.uses)
    return Sentence(text, meaning, uses)


def _compose(head, roles) -> tuple[str, ...]:
    parts = [word for role, value in roles for word in (",", role, "=", *value)]
    return (*head, "(", *parts[1:], ")")


def _pick(uniform: Iterator[float], options):
    return options[int(next(uniform) * len(options))]


EXAMPLES = {
    "cogs": [
        {"train_rows": 307, "id_rows": 23, "rows_per_case": 5, "exposures": 3,
         "max_train_depth": 2, "max_depth": 3},
        {"max_train_depth": 1},
    ],
}  # fmt: skip


def cogs_oracle(question: list[str], table: base.Table) -> list[str]:
    """Rewrites a sentence of COGS: nouns, what modifies them, clauses from the last."""
    if len(question) == 1:
        return question
    stems = {
        stem + ending: f"{stem}!" for stem in table.vocab for ending in ("d", "ed")
    }
    noun, verb = "<([^<>]+)>", r"(\w+)!"  # `<` and `>` enclose what has been read.
    theme_alone = "(burn|collapse|crack|float|melt|roll|shatter)!"
    text = " ".join(stems.get(word, word) for word in question)
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
    three = r"\2 ( agent = \1 , theme = \{} , recipient = \{} )"
    rules = (
        (f"{noun} {theme_alone}", r"\2 ( theme = \1 )"),
        (f"{noun} {verb}", r"\2 ( agent = \1 )"),
        (f"{noun} {verb} {noun}", r"\2 ( agent = \1 , theme = \3 )"),
        (f"{noun} was {verb} by {noun}", r"\2 ( agent = \3 , theme = \1 )"),
        (f"{noun} {verb} {noun} to {noun}", three.format(3, 4)),
        (f"{noun} {verb} {noun} {noun}", three.format(4, 3)),
        (rf"{noun} {verb} to (\w+)", r"\2 ( agent = \1 , action = \3 ( agent = \1 ) )"),
        (f"{noun} {verb} that {noun}", r"\2 ( agent = \1 , content = \3 )"),
    )
    read = ""
    for clause in reversed(text.split(" that ")):
        clause += f" that <{read}>" if read else ""
        matches = ((re.fullmatch(words, clause), meaning) for words, meaning in rules)
        meanings = (match.expand(meaning) for match, meaning in matches if match)
        read = next(meanings, oracles.UNKNOWN).replace(" ", "_")
    return read.split("_")
