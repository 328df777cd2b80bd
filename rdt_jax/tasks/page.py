"""A task on one page of text: its arguments, some of its rows, its certificate."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rdt_jax import wording
from rdt_jax.tasks import arguments, rows
from rdt_jax.tasks.base import SPLITS, Table

SAMPLES = 3  # rows of each split, at equal distances


def title(name: str, function: Callable[..., Table]) -> str:
    """Returns the name of a task and the first line of its docstring."""
    return f"{name}: {(inspect.getdoc(function) or '').partition(chr(10))[0]}"


def describe(
    name: str, function: Callable[..., Table], kwargs: Mapping[str, Any], table: Table
) -> Iterator[str]:
    """Yields the lines of the page, of the table that `function` made of `kwargs`."""
    yield title(name, function)
    yield ""
    yield "arguments"
    for parameter in arguments.parameters(function).values():
        bare = parameter.replace(default=inspect.Parameter.empty)
        yield f"  {bare} = {kwargs[parameter.name]!r}"
    for split in SPLITS:
        part = table.rows_of(split)
        if not part.size:
            continue
        yield ""
        yield f"{split}: {wording.count(part.size, 'row')}"
        for row in part[:: max(1, part.size // SAMPLES)][:SAMPLES]:
            asked, answer = (" ".join(words) for words in rows.decode(table, row))
            tags = [f"{tag}={value}" for tag, value in rows.tags(table, row).items()]
            yield "  " + "   ".join([f"{asked} -> {answer}", *tags])
    yield ""
    yield "certificate"
    for field in dataclasses.fields(table.certificate):
        yield f"  {field.name}: {_text(getattr(table.certificate, field.name))}"
    for warning in table.certificate.warnings:
        yield f"  warning: {warning}"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
