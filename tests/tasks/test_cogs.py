"""COGS-like sentences against a parser that reads them word by word, and by hand."""

import collections

import numpy as np
import pytest

from rdt_jax.tasks import cogs
from tests.tasks.reading import read

KWARGS = {
    "train_rows": 1_511,
    "id_rows": 211,
    "rows_per_case": 29,
    "exposures": 11,
    "max_train_depth": 2,
    "max_depth": 4,
}
CASE_VERBS = {"whistle", "greet", "praise", "sketch", "shatter", "grant", "deliver"}
LEMMAS = CASE_VERBS | {verb for verbs in cogs.VERBS.values() for verb in verbs}
THEME_FIRST = {*cogs.VERBS["unaccusative"], "shatter"}
HAND_WORKED = {
    "wolf": "wolf",
    "Felix snored": "snore ( agent = Felix )",
    "the stone rolled": "roll ( theme = * stone )",
    "a cat painted": "paint ( agent = cat )",
    "a cat painted the dog": "paint ( agent = cat , theme = * dog )",
    "a pear was painted by Anna": "paint ( agent = Anna , theme = pear )",
    "Anna passed a coin to the king": (
        "pass ( agent = Anna , theme = coin , recipient = * king )"
    ),
    "Anna passed the king a coin": (
        "pass ( agent = Anna , theme = coin , recipient = * king )"
    ),
    "a boy hoped to dance": "hope ( agent = boy , action = dance ( agent = boy ) )",
    "Hugo liked the cat on a bed in the house": (
        "like ( agent = Hugo , theme = * cat ( on = bed ( in = * house ) ) )"
    ),
    "the girl claimed that Hugo noticed that a stone rolled": (
        "claim ( agent = * girl , content = notice ( agent = Hugo , "
        "content = roll ( theme = stone ) ) )"
    ),
}


class Parser:
    """Reads one sentence; `uses` and `depth` are what it came across."""

    def __init__(self, words):
        self.words, self.uses, self.depth = list(words), [], 0

    def take(self):
        return self.words.pop(0)

    def peek(self):
        return self.words[0] if self.words else None

    def verb(self):
        word = self.take()
        return word[:-1] if word[:-1] in LEMMAS else word.removesuffix("ed")

    def noun(self, modified, level=1):
        """Returns the noun; notes what modifies it."""
        word = self.take()
        if word not in ("a", "the"):
            return word
        noun = self.take()
        if self.peek() in cogs.PREPOSITIONS:
            self.uses.append((self.take(), "modifier", modified))
            self.depth = max(self.depth, level)
            place = self.noun(modified, level + 1)
            self.uses.append((place, "modifier", "place"))
        return noun

    def clause(self, level=0):
        self.depth = max(self.depth, level)
        subject = self.noun("subject")
        if self.peek() == "was":
            self.take()
            verb, _ = self.verb(), self.take()
            agent = self.noun("object")
            return self.note("passive", theme=subject, verb=verb, agent=agent)
        verb = self.verb()
        if self.peek() == "that":
            self.take()
            self.note("complement", agent=subject, verb=verb)
            return self.clause(level + 1)
        if self.peek() == "to":
            self.take()
            action = self.take()
            return self.note("infinitive", agent=subject, control=verb, verb=action)
        if self.peek() is None and verb in THEME_FIRST:
            return self.note("unaccusative", theme=subject, verb=verb)
        if self.peek() is None:
            unergative = verb in cogs.VERBS["unergative"]
            name = "unergative" if unergative else "omitted"
            return self.note(name, agent=subject, verb=verb)
        given = {"agent": subject, "verb": verb}
        one = self.noun("object")
        if self.peek() is None:
            return self.note("transitive", **given, theme=one)
        if self.peek() == "to":
            self.take()
            other = self.noun("object")
            return self.note("to_dative", **given, theme=one, recipient=other)
        other = self.noun("object")
        return self.note("double_object", **given, recipient=one, theme=other)

    def note(self, construction, **slots):
        self.uses += [(word, construction, slot) for slot, word in slots.items()]


def parse(words):
    """Returns the uses and the depth of a sentence."""
    if len(words) == 1:
        return [(words[0], "alone", "")], 0
    parser = Parser(words)
    parser.clause()
    assert not parser.words
    return parser.uses, parser.depth


def _make(seed=5, **changes):
    return cogs.cogs(seed=seed, **KWARGS | changes)


TESTED = {(case.word, *case.asked): name for name, case in cogs.CASES.items()} | {
    (word, "modifier", "subject"): cogs.STRUCTURES[0] for word in cogs.PREPOSITIONS
}


def _read(table):
    """Yields (words, meaning, split, case) of each row."""
    for index, ((*words, separator), (*answer, end), split) in enumerate(read(table)):
        assert (separator, end) == ("<sep>", "<end>")
        case = cogs.CASE_NAMES[table.tags["case"][index]]
        yield words, " ".join(answer), split, case


def restate(table):
    """Yields (tags, parts) of each row, from the words of the rows."""
    of_word = {case.word: name for name, case in cogs.CASES.items()}
    trained = [words for words, _, split, _ in _read(table) if split == "train"]
    most = max(parse(words)[1] for words in trained)
    for words, *_ in _read(table):
        uses, depth = parse(words)
        tested = [part for use in uses if use in TESTED for part in (use, TESTED[use])]
        names = {of_word[word] for word, *_ in uses if word in of_word}
        names |= {TESTED[use] for use in uses if use in TESTED}
        if depth > most:
            names.add(cogs.STRUCTURES[1 if "that" in words else 2])
        (case,) = names or {"none"}
        yield {"case": case, "depth": depth}, tested or uses


@pytest.fixture(scope="module")
def table():
    return _make()


@pytest.mark.parametrize(("text", "meaning"), HAND_WORKED.items())
def test_the_oracle_by_hand(table, text, meaning):
    assert cogs.cogs_oracle(text.split(), table) == meaning.split()


def test_rows_splits_and_tags(table):
    found = collections.Counter((split, case) for *_, split, case in _read(table))
    unused = sum(n for (split, _), n in found.items() if split == "unused")
    assert unused <= 20
    assert found["train", "none"] == 1_511
    for name, case in cogs.CASES.items():
        assert found["train", name] == (11 if case.shown else 1)
        assert found["ood", name] == 29
    assert found["ood", cogs.STRUCTURES[0]] == 29
    assert found["id", "none"] + found["unused", "none"] == 211
    for name in cogs.STRUCTURES[1:]:
        assert found["depth", name] + found["unused", name] == 29
    assert found.total() == 1_511 + 13 * 11 + 5 + 211 + 21 * 29


def test_a_word_under_test_stands_where_its_case_says(table):
    cases = {word: (shown, asked) for word, shown, asked in cogs.CASES.values()}
    for words, _, split, _ in _read(table):
        for word, *place in parse(words)[0]:
            if word in cases:
                shown, asked = cases[word]
                where = {"train": shown or ("alone", ""), "ood": asked}
                assert tuple(place) == where[split]


def test_deeper_sentences_are_longer_than_all_of_training(table):
    uses = [len(parse(words)[0]) for words, *_ in _read(table)]
    depth = table.tags["depth"]
    longest = max(uses[row] for row in table.rows_of("train"))
    for row in table.rows_of("depth"):
        assert uses[row] > longest and 2 < depth[row] <= 4
    assert depth[np.isin(table.split, (0, 1, 2))].max() == 2


def test_words_alone_are_repeated(table):
    for (words, *_), repeats in zip(_read(table), table.repeats, strict=True):
        assert repeats == (11 if len(words) == 1 else 1)


def test_there_are_21_cases_of_which_18_are_about_words():
    assert (len(cogs.CASES), len(cogs.STRUCTURES)) == (18, 3)
    assert len({case.word for case in cogs.CASES.values()}) == 18
    usual = {*cogs.PEOPLE, *cogs.THINGS, *cogs.PLACES, *cogs.NAMES}
    usual |= {verb for verbs in cogs.VERBS.values() for verb in verbs}
    assert not usual & {case.word for case in cogs.CASES.values()}


def test_every_construction_and_word_is_trained(table):
    used = [
        u
        for words, _, split, _ in _read(table)
        if split == "train"
        for u in parse(words)[0]
    ]
    assert {use[1] for use in used} == {
        *cogs.CLAUSES,
        "alone",
        "complement",
        "modifier",
    }
    expected = {*cogs.PEOPLE, *cogs.THINGS, *cogs.PLACES, *cogs.NAMES, *LEMMAS}
    assert {use[0] for use in used} >= expected


def test_a_use_under_test_in_training_breaks_the_certificate(monkeypatch):
    case = cogs.CASES["active_to_passive"]
    changed = dict(cogs.CASES) | {"active_to_passive": case._replace(shown=case.asked)}
    monkeypatch.setattr(cogs, "CASES", changed)
    certificate = _make().certificate
    assert certificate.impure["ood"] == KWARGS["rows_per_case"]


def test_more_sentences_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr(cogs, "PEOPLE", ("boy",))
    monkeypatch.setattr(cogs, "NAMES", ("Anna",))
    monkeypatch.setattr(cogs, "GIVE_UP", 1_000)
    # `a mole` or `the mole` and 6 verbs; alone, or reported by 3 agents with 5 verbs.
    _make(max_train_depth=1, rows_per_case=150)
    message = (
        r"^task\.kwargs\.rows_per_case must be at most .* "
        r"\(case: agent_to_unaccusative_subject\), got 193; 192 were found\."
    )
    with pytest.raises(ValueError, match=message):
        _make(max_train_depth=1, rows_per_case=193)
