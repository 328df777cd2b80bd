"""What is to be learned: tables with an oracle and a certified split, in numpy.

Every task raises ValueError if an argument is out of range, if there are not so many
rows, or if training is too small for a held-out row; the message begins with the key,
`task.kwargs.` and the name of the argument. Those of rows at each of several lengths,
such as min_hops and train_per_hop, stand at `splits.Plan`.
"""

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections

from rdt_jax import registry
from rdt_jax.tasks import arguments, identity, in_files, installed, oracles, words
from rdt_jax.tasks.base import SPLITS, Certificate, Table
from rdt_jax.tasks.words import Row

__all__ = [
    "BUILT_IN",
    "ORACLES",
    "SPLITS",
    "TASKS",
    "Certificate",
    "Row",
    "Table",
    "hash_of",
    "lookup",
    "make_table",
    "oracle_of",
    "problems",
    "table_of",
]

# Task -> its file in this folder. There stand the function of its name, its oracle
# `<task>_oracle`, and in EXAMPLES the arguments of small tables for the tests: first
# all of them, then what further examples change.
FILES = {
    "arithmetic_expression": "expressions",
    "boolean_expression": "expressions",
    "cogs": "cogs",
    "dag_arithmetic": "dag",
    "dyck": "dyck",
    "graph_next_step": "graphs",
    "graph_reachability": "graphs",
    "group_composition": "groups",
    "group_operation": "groups",
    "kinship": "logic",
    "knowledge_comparison": "comparison",
    "knowledge_composition": "knowledge",
    "knowledge_depth": "knowledge",
    "knowledge_hops": "knowledge",
    "listops": "expressions",
    "lookup_tables": "lookup_tables",
    "ltg_folder": "ltg_folder",
    "modular": "modular",
    "nary_addition": "sequences",
    "p_hop_induction": "sequences",
    "pcfg": "pcfg",
    "rows": "json_rows",
    "scan": "scan",
    "transitive_inference": "logic",
}
# TASKS and ORACLES are these functions, their oracles, and those of installed packages.
BUILT_IN: Mapping[str, Callable[..., Table]] = {
    name: words.task(getattr(importlib.import_module(f"rdt_jax.tasks.{file}"), name))
    for name, file in FILES.items()
}
TASKS: Mapping[str, Callable[..., Table]]  # This and the next come by `__getattr__`.
ORACLES: Mapping[str, oracles.Oracle]


def __getattr__(name: str) -> Any:
    # Read when first asked for, so that a package that does not load is reported by
    # whoever asks, and not by every import.
    if name == "TASKS":
        is_table = lambda value, **_: isinstance(value, Table)
        expected = "an rdt_jax.tasks.Table, or yield rows"
        group = "rdt_jax.tasks"
        return installed.extend(group, BUILT_IN, expected, is_table, words.task)
    if name == "ORACLES":
        expected = "the words of the answer of each row, lists of strings"
        found = {n: oracles.beside(task) for n, task in __getattr__("TASKS").items()}
        beside = {name: oracle for name, oracle in found.items() if oracle}
        own = {name: oracle for name, oracle in beside.items() if name in BUILT_IN}
        are_answers = oracles.are_answers
        return {
            **beside,
            **installed.extend("rdt_jax.oracles", own, expected, are_answers),
        }
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def lookup(name: str) -> Callable[..., Table]:
    """Returns the function of a task, of TASKS or `FILE.py:FUNCTION` by its path.

    ValueError lists the choices.
    """
    if in_files.is_file(name):
        return in_files.load(name)
    return registry.lookup("task", __getattr__("TASKS"), name)


def oracle_of(name: str) -> oracles.Oracle | None:
    """Returns the oracle of a task; None if it has none."""
    if in_files.is_file(name):
        return in_files.oracle(name)
    return __getattr__("ORACLES").get(name)


def make_table(config: ml_collections.ConfigDict) -> Table:
    """Makes the table of a run's `task` section; equal sections share one table.

    ValueError if the task is unknown or refuses its arguments.
    """
    return table_of(config.task.name, config.task.seed, config.task.kwargs.to_dict())


def table_of(name: str, seed: int, kwargs: Mapping[str, Any]) -> Table:
    """Makes a table; a few of the latest are kept, and equal arguments share one.

    ValueError if the task is unknown or refuses its arguments.
    """
    return _make_table(*_key(name, seed, kwargs))


def hash_of(config: ml_collections.ConfigDict) -> str:
    """Returns the SHA-256 of the arrays of a run's table, kept once it was made."""
    section = config.task
    return _hash_of(*_key(section.name, section.seed, section.kwargs.to_dict()))


def problems(config: ml_collections.ConfigDict) -> list[str]:
    """Lists what is wrong with the `task` section, up to making the table."""
    try:
        function = lookup(config.task.name)
    except ValueError as error:
        return [f"task.name: {error}"]
    found = arguments.problems(function, config.task.kwargs.to_dict())
    if found:
        return found
    try:
        make_table(config)
    except ValueError as error:
        return [str(error)]
    except MemoryError as error:
        return [f"task.kwargs must give a table that fits in memory, got {error}."]
    return []


_Kwargs = tuple[tuple[str, Any], ...]


def _key(
    name: str, seed: int, kwargs: Mapping[str, Any]
) -> tuple[str, int, _Kwargs, str]:
    return name, seed, tuple(sorted(kwargs.items())), in_files.stamp(name)


@functools.cache
def _hash_of(name: str, seed: int, kwargs: _Kwargs, stamp: str) -> str:
    return identity.hash_arrays(_make_table(name, seed, kwargs, stamp))


@functools.lru_cache(maxsize=4)
def _make_table(name: str, seed: int, kwargs: _Kwargs, stamp: str) -> Table:
    del stamp  # A file of the user's that has changed is another task.
    return lookup(name)(seed=seed, **dict(kwargs))
