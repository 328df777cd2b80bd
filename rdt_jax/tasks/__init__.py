"""What is to be learned: tables with an oracle and a certified split, in numpy."""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections

from rdt_jax import registry
from rdt_jax.tasks import (
    cogs,
    comparison,
    groups,
    knowledge,
    lookup_tables,
    ltg_folder,
    modular,
    pcfg,
    scan,
    sequences,
)
from rdt_jax.tasks.base import SPLITS, Certificate, Table

__all__ = ["SPLITS", "TASKS", "Certificate", "Table", "make_table", "problems"]

TASKS: Mapping[str, Callable[..., Table]] = {
    "cogs": cogs.cogs,
    "group_composition": groups.group_composition,
    "group_operation": groups.group_operation,
    "knowledge_comparison": comparison.comparison,
    "knowledge_composition": knowledge.composition,
    "knowledge_depth": knowledge.depth,
    "lookup_tables": lookup_tables.lookup_tables,
    "ltg_folder": ltg_folder.ltg_folder,
    "modular": modular.modular,
    "nary_addition": sequences.nary_addition,
    "p_hop_induction": sequences.p_hop_induction,
    "pcfg": pcfg.pcfg,
    "scan": scan.scan,
}


def make_table(config: ml_collections.ConfigDict) -> Table:
    """Makes the table of a run's `task` section; equal sections share one table.

    Raises:
      ValueError: if the task is unknown or refuses its arguments.
    """
    kwargs = tuple(sorted(config.task.kwargs.to_dict().items()))
    return _make_table(config.task.name, config.task.seed, kwargs)


def problems(config: ml_collections.ConfigDict) -> list[str]:
    """Lists what is wrong with the `task` section, up to making the table."""
    try:
        function = registry.lookup("task", TASKS, config.task.name)
    except ValueError as error:
        return [f"task.name: {error}"]
    found = _signature_problems(function, config.task.kwargs.to_dict())
    if config.task.seed < 0:
        found.append(f"task.seed must be at least 0, got {config.task.seed}.")
    if found:
        return found
    try:
        make_table(config)
    except ValueError as error:
        return [str(error)]
    return []


@functools.lru_cache(maxsize=4)
def _make_table(name: str, seed: int, kwargs: tuple[tuple[str, Any], ...]) -> Table:
    return registry.lookup("task", TASKS, name)(seed=seed, **dict(kwargs))


def _signature_problems(function: Callable, kwargs: Mapping[str, Any]) -> list[str]:
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "seed"
    }
    found = [
        f"task.kwargs.{name} is no argument of the task; choose from "
        f"{', '.join(parameters)}."
        for name in kwargs
        if name not in parameters
    ]
    for name, parameter in parameters.items():
        if name not in kwargs:
            if parameter.default is parameter.empty:
                found.append(f"task.kwargs.{name} is missing.")
            continue
        kinds = _kinds(parameter.annotation)
        value = kwargs[name]
        if type(value) not in kinds and not (float in kinds and type(value) is int):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            found.append(f"task.kwargs.{name} must be {wanted}, got {value!r}.")
    return found


def _kinds(annotation: Any) -> tuple[type, ...]:
    if isinstance(annotation, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)
