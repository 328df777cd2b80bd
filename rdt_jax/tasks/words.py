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
      size: how large it is, such as its hops, which is the tag `size`; None: its number
        of words, if the split asks for it.
      split: its split, one of base.SPLITS; None: as the rule says.
      repeats: how often it stands in an epoch, if it is trained.
      tags: name -> int or word, what accuracies are broken down by.
      name: what messages call it; empty: by its number.

    Raises:
      ValueError: if one of them is of another kind.
    """

    input: str | Sequence[str]
    output: str | Sequence[str]
    parts: str | Sequence[Any] = ()
    size: int | None = None
    split: str | None = None
    repeats: int = dataclasses.field(default=1, compare=False)
    tags: Mapping[str, int | str] = dataclasses.field(default_factory=dict)
    name: str = dataclasses.field(default="", compare=False)

    def __post_init__(self):
        parts = self.parts.split() if isinstance(self.parts, str) else self.parts
        size, tags, repeats = self.size, self.tags, self.repeats
        good = isinstance(parts, Sequence) and _is_hashable(tuple(parts))
        _require(good, "parts", "words, or a sequence of hashable ones", parts)
        _require(size is None or _is_int(size), "size", "an int or None", size)
        must = f"one of {', '.join(base.SPLITS)}"
        _require(self.split in (None, *base.SPLITS), "split", must, self.split)
        good = _is_int(repeats) and repeats >= 1
        _require(good, "repeats", "an int of at least 1", repeats)
        good = isinstance(tags, Mapping) and all(isinstance(t, str) and t for t in tags)
        good = good and all(_is_int(v) or isinstance(v, str) for v in tags.values())
        _require(good, "tags", "a dict of ints or words by name", tags)
        good = "size" not in tags or (_is_int(tags["size"]) and size is None)
        _require(good, "tags", "without `size`, an int that is given by itself", tags)
        words = {
            name: _words(name, getattr(self, name)) for name in ("input", "output")
        }
        tags = tags if size is None else {"size": size, **tags}
        for name, value in (words | {"parts": tuple(parts), "tags": tags}).items():
            object.__setattr__(self, name, value)


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

    One that returns a table, and is annotated so, is a task as it is. ValueError if an
    argument cannot be given by name.
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


def make_table(rows: Iterable[Row], rule: splits.Rule) -> base.Table:
    """Makes the table of rows, in their order; `rule` splits those that do not say it.

    A row that comes again counts as one, with the repeats of both. Words are numbered
    as they come, and so are parts. If every answer is one word it is read at a token
    `<a>` behind the question; else answers end in `<end>` and are fed back.

    Raises:
      ValueError: if there is no row or no train row; if a question comes again with
        another answer, split, parts, size or tags; if some rows alone have a size or a
        tag, or another kind of tag; if the rule is out of range or leaves no rows.
    """
    distinct, names, repeats = _merged(rows)
    atoms = _numbered([row.parts for row in distinct])
    lengths = np.array([len(row.input) for row in distinct], np.int32)
    tags, tag_names = _tags(distinct, names)
    if rule.max_train_size is not None:
        tags = {"size": lengths} | tags
    given = [-1 if r.split is None else base.SPLITS.index(r.split) for r in distinct]
    sizes = tags.get("size")
    split = rule.assign(
        atoms, lengths if sizes is None else sizes, np.array(given, np.int8)
    )
    tokens, positions, targets, vocab = _lay_out(distinct)
    return base.certified(
        tokens,
        positions,
        targets,
        split,
        atoms=atoms,
        held_out=rule.held_out if -1 in given else "What the rows say.",
        vocab=vocab,
        repeats=np.array(repeats),
        tags=tags,
        tag_names=tag_names,
        lengths=sizes,
        shortcuts={"first_word": tokens[:, 0], "length": lengths},
    )


def _merged(rows: Iterable[Row]) -> tuple[list[Row], list[str], list[int]]:
    """Returns the different rows, what messages call them, and how often they come."""
    places: dict[Sequence[str], int] = {}  # question -> index in what is returned
    distinct: list[Row] = []
    names: list[str] = []
    repeats: list[int] = []
    for number, row in enumerate(rows, 1):
        name = getattr(row, "name", "") or f"row {number}"
        if not isinstance(row, Row):
            raise ValueError(
                f"A task from words must yield rdt_jax.tasks.Row, got {row!r} as "
                f"{name}."
            )
        if number > MAX_ROWS:
            raise ValueError(
                f"A task from words must yield at most {MAX_ROWS:,} rows, got more."
            )
        place = places.setdefault(row.input, len(distinct))
        if place == len(distinct):
            distinct.append(row)
            names.append(name)
            repeats.append(0)
        first = distinct[place]
        for what in ("output", "split", "parts", "size", "tags"):
            if getattr(row, what) != getattr(first, what):
                raise ValueError(
                    f"{name} asks {' '.join(row.input)!r} again, as {names[place]} "
                    f"does, with another {what}: {getattr(row, what)!r}, not "
                    f"{getattr(first, what)!r}."
                )
        repeats[place] += row.repeats
    if not distinct:
        raise ValueError("A task must have rows, got none.")
    return distinct, names, repeats


def _numbered(rows: Sequence[Sequence[Any]]) -> np.ndarray:
    """Returns the parts of rows as numbers, int32 [N, K], -1 where there are fewer."""
    numbers: dict[Any, int] = {}
    coded = [[numbers.setdefault(v, len(numbers) + 1) for v in row] for row in rows]
    return (base.pad(coded) if numbers else np.zeros((len(rows), 1), np.int32)) - 1


def _tags(
    rows: Sequence[Row], names: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """Returns the tags of rows, int32 [N] each, and the words for those of words."""
    kinds = {name: type(value) for name, value in rows[0].tags.items()}
    for row, row_name in zip(rows, names, strict=True):
        if {name: type(value) for name, value in row.tags.items()} != kinds:
            raise ValueError(
                "All rows must have the same tags, each of ints or of words, got "
                f"{dict(rows[0].tags)} in {names[0]} and {dict(row.tags)} in "
                f"{row_name}."
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
