"""Tasks from words: a function yields rows, and this makes their table.

    from rdt_jax.tasks import Row

    def double(longest: int = 4):
        for length in range(1, longest + 1):
            for word in itertools.product("abc", repeat=length):
                yield Row(word, 2 * word, parts=word)

`rdt train --task=FILE.py:double` trains it. Every such task also has the arguments of
`splits.Rule`, which say what is held out: `--config.task.kwargs.max_train_size=3`. One
that the function has itself has its default from there, and is passed to it, as is
`seed`.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rdt_jax.tasks import arguments, base, splits
from rdt_jax.tasks.rows import LAYOUT

VERSION = 1  # of what tasks make with it; a change of their rows is another one

MAX_ROWS = 5_000_000  # A function that yields more may never end.


@dataclasses.dataclass(frozen=True)
class Row:
    """A question with its answer, in words.

    Words are a string, split at its spaces, or a sequence of strings.

    Attributes:
      input: words of the question.
      output: words of the answer, one or several.
      parts: what the answer is put together from, such as facts or symbols: words, or a
        sequence of any hashable values; a row of one part is that part itself.
      size: how large it is, such as its hops; None: its number of words, if the split
        asks for it.
      split: its split, one of base.SPLITS; None: as the rule says.
      repeats: how often it stands in an epoch, if it is trained.
      tags: name -> int or word, what accuracies are broken down by.

    Raises:
      ValueError: if one of them is of another kind.
    """

    input: str | Sequence[str]
    output: str | Sequence[str]
    parts: str | Sequence[Any] = ()
    size: int | None = None
    split: str | None = None
    repeats: int = 1
    tags: Mapping[str, int | str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for name in ("input", "output"):
            object.__setattr__(self, name, _words(name, getattr(self, name)))
        parts = self.parts.split() if isinstance(self.parts, str) else self.parts
        are_parts = isinstance(parts, Sequence) and _is_hashable(tuple(parts))
        _require(
            are_parts, "parts", "words, or a sequence of hashable ones", self.parts
        )
        object.__setattr__(self, "parts", tuple(parts))
        size = self.size
        _require(size is None or _is_int(size), "size", "an int or None", size)
        is_split = self.split is None or self.split in base.SPLITS
        _require(is_split, "split", f"one of {', '.join(base.SPLITS)}", self.split)
        is_count = _is_int(self.repeats) and self.repeats >= 1
        _require(is_count, "repeats", "an int of at least 1", self.repeats)
        are_tags = isinstance(self.tags, Mapping) and all(
            isinstance(tag, str) and tag and (_is_int(value) or isinstance(value, str))
            for tag, value in self.tags.items()
        )
        _require(are_tags, "tags", "a dict of ints or words by name", self.tags)


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _is_int(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**31


def _require(holds: bool, name: str, must: str, value: Any) -> None:
    if not holds:
        raise ValueError(f"{name} of a row must be {must}, got {value!r}.")


def _words(name: str, value: Any) -> tuple[str, ...]:
    words = value.split() if isinstance(value, str) else value
    are_words = isinstance(words, Sequence) and all(isinstance(w, str) for w in words)
    must = "words, a string or a sequence of strings (a number is written '7')"
    _require(are_words, name, must, value)
    _require(len(words) > 0, name, "at least one word", value)
    _require(all(len(w.split()) == 1 for w in words), name, "words, no spaces", value)
    layout = [word for word in words if word in LAYOUT]
    must = f"other words than {', '.join(LAYOUT)}, which lay out rows"
    _require(not layout, name, must, value)
    return tuple(words)


def task(function: Callable[..., Iterable[Row]]) -> Callable[..., base.Table]:
    """Makes the function of a task from one that yields rows, whose arguments it has.

    One that returns a table, and is annotated so, is a task as it is.

    Raises:
      ValueError: if an argument cannot be given by name.
    """
    if arguments.signature(function).return_annotation is base.Table:
        return function  # type: ignore[return-value]
    own = arguments.parameters(function)
    rule_parameters = inspect.signature(splits.Rule).parameters
    by_name = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    for parameter in own.values():
        if parameter.kind not in by_name:
            raise ValueError(
                f"Arguments of a task's function are given by name, got `{parameter}` "
                f"in {function.__name__}."
            )
    declared = {"seed": rule_parameters["seed"], **own}
    declared |= {n: p for n, p in rule_parameters.items() if n not in declared}

    @functools.wraps(function)
    def make(**kwargs: Any) -> base.Table:
        bound = make.__signature__.bind(**kwargs)  # type: ignore[attr-defined]
        bound.apply_defaults()
        given = bound.arguments
        rule = splits.Rule(**{name: given[name] for name in splits.Rule._fields})
        rows = function(**{name: given[name] for name in own})
        if not isinstance(rows, Iterable):
            raise ValueError(
                f"{function.__name__} must yield rows, `yield Row(..)`, or return a "
                f"table and be annotated `-> Table`, got {rows!r}."
            )
        return make_table(rows, rule)

    make.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(kind=by_name[1]) for p in declared.values()],
        return_annotation=base.Table,
    )
    return make


def make_table(
    rows: Iterable[Row],
    rule: splits.Rule,
    name_of: Callable[[int], str] = lambda index: f"row {index + 1}",
) -> base.Table:
    """Makes the table of rows.

    A row that comes again counts as one, with the repeats of both. Words are numbered
    as they come, and so are parts. If every answer is one word it is read at a token
    `<a>` behind the question; else answers end in `<end>` and are fed back.

    Args:
      rows: of the task, in the order of the table.
      rule: how rows are split that do not say it.
      name_of: function that names a row in messages, from its index.

    Raises:
      ValueError: if there is no row or no train row; if a question comes again with
        another answer, split, parts, size or tags; if some rows alone have a size or a
        tag, or another kind of tag; if the rule is out of range or leaves no rows.
    """
    first: dict[tuple[str, ...], int] = {}  # question -> index of its first row
    distinct: list[Row] = []
    places: list[int] = []
    for index, row in enumerate(rows):
        if not isinstance(row, Row) or index == MAX_ROWS:
            raise ValueError(
                f"A task from words must yield at most {MAX_ROWS:,} of "
                f"rdt_jax.tasks.Row, got {row!r} as {name_of(index)}."
            )
        place = first.setdefault(tuple(row.input), len(distinct))
        if place == len(distinct):
            distinct.append(row)
            places.append(index)
            continue
        before = distinct[place]
        distinct[place] = dataclasses.replace(
            before, repeats=before.repeats + row.repeats
        )
        if dataclasses.replace(row, repeats=before.repeats) != before:
            what = next(n for n in _FIELDS if getattr(row, n) != getattr(before, n))
            raise ValueError(
                f"{name_of(index)} asks {' '.join(row.input)!r} again, as "
                f"{name_of(places[place])} does, with another {what}: "
                f"{getattr(row, what)!r}, not {getattr(before, what)!r}."
            )
    if not distinct:
        raise ValueError("A task must have rows, got none.")
    named = lambda index: name_of(places[index])
    atoms = _numbered([row.parts for row in distinct])
    sizes = _sizes(distinct, rule, named)
    given = [-1 if r.split is None else base.SPLITS.index(r.split) for r in distinct]
    split = rule.assign(
        atoms,
        np.zeros(len(distinct), int) if sizes is None else sizes,
        np.array(given, np.int8),
    )
    tags, tag_names = _tags(distinct, named)
    if sizes is not None:
        if "size" in tags:
            raise ValueError("The size of rows is their tag `size`; rename the other.")
        tags = {"size": sizes} | tags
    tokens, positions, targets, vocab = _lay_out(distinct)
    return base.certified(
        tokens,
        positions,
        targets,
        split,
        atoms=atoms,
        held_out=rule.held_out if -1 in given else "What the rows say.",
        vocab=vocab,
        repeats=np.array([row.repeats for row in distinct]),
        tags=tags,
        tag_names=tag_names,
        lengths=sizes,
        shortcuts={
            "first_word": tokens[:, 0],
            "length": np.array([len(row.input) for row in distinct]),
        },
    )


_FIELDS = tuple(field.name for field in dataclasses.fields(Row))


def _numbered(rows: Sequence[Sequence[Any]]) -> np.ndarray:
    """Returns the parts of rows as numbers, int32 [N, K], -1 where there are fewer."""
    numbers: dict[Any, int] = {}
    coded = [[numbers.setdefault(v, len(numbers) + 1) for v in row] for row in rows]
    return (base.pad(coded) if numbers else np.zeros((len(rows), 1), np.int32)) - 1


def _sizes(
    rows: Sequence[Row], rule: splits.Rule, named: Callable[[int], str]
) -> np.ndarray | None:
    """Returns the sizes of rows, int32 [N]; None if nobody needs them."""
    known = [row.size is not None for row in rows]
    if any(known) and not all(known):
        raise ValueError(
            "All rows must have a size or none, got one in "
            f"{named(known.index(True))} and none in {named(known.index(False))}."
        )
    if all(known):
        return np.array([row.size for row in rows], np.int32)
    if rule.max_train_size is None:
        return None
    return np.array([len(row.input) for row in rows], np.int32)


def _tags(
    rows: Sequence[Row], named: Callable[[int], str]
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """Returns the tags of rows, int32 [N] each, and the words for those of words."""
    kinds = {name: type(value) for name, value in rows[0].tags.items()}
    for index, row in enumerate(rows):
        own = {name: type(value) for name, value in row.tags.items()}
        if own != kinds:
            raise ValueError(
                "All rows must have the same tags, each of ints or of words, got "
                f"{dict(rows[0].tags)} in {named(0)} and {dict(row.tags)} in "
                f"{named(index)}."
            )
    tags: dict[str, np.ndarray] = {}
    tag_names: dict[str, tuple[str, ...]] = {}
    for name, kind in kinds.items():
        values = [row.tags[name] for row in rows]
        if kind is str:
            numbers = {word: n for n, word in enumerate(dict.fromkeys(values))}
            tag_names[name] = tuple(map(str, numbers))
            values = [numbers[value] for value in values]
        tags[name] = np.array(values, np.int32)
    return tags, tag_names


def _lay_out(
    rows: Sequence[Row],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Returns tokens, answer positions, targets and vocabulary of rows."""
    numbers = {"<pad>": 0}
    number = lambda words: [numbers.setdefault(w, len(numbers)) for w in words]
    questions = base.pad([number(row.input) for row in rows])
    answers = base.pad([number(row.output) for row in rows])
    is_sequence = answers.shape[1] > 1
    layout = number(["<sep>", "<end>"] if is_sequence else ["<a>"])
    tokens, positions, targets = base.teacher_forced(
        questions, answers, layout[0], layout[-1]
    )
    if not is_sequence:  # Of one word, nothing is fed back and nothing ends.
        length = questions.shape[1] + 1
        tokens = np.where(np.arange(length) > positions[:, :1], 0, tokens[:, :length])
        positions, targets = positions[:, :1], targets[:, :1]
    return tokens, positions, targets, tuple(numbers)
