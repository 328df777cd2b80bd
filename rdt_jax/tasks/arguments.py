"""The arguments of a task's function: checked, read from text, filled in from presets.

The seed is an argument like any other here; a config has it apart, as `task.seed`.
"""

import ast
import functools
import inspect
import pathlib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import config_dict

from rdt_jax import config as configs
from rdt_jax import user_code

_KINDS = (int, float, bool, str, tuple, types.NoneType)  # what a config can hold


def problems(function: Callable, kwargs: Mapping[str, Any]) -> list[str]:
    """Lists what keeps `function` from being called with a seed and `kwargs`."""
    declared = parameters(function)
    if declared.pop("seed", None) is None:
        return ["A task's function must take a keyword argument `seed`."]
    found = [
        "Arguments of a task's function must be annotated with int, float, bool, str, "
        f"tuple, None or a union of them, such as `size: int`, got `{parameter}`."
        for parameter in declared.values()
        if not all(kind in _KINDS for kind in _kinds(parameter.annotation))
    ]
    if found:
        return found
    found = [
        f"task.kwargs.{name} is no argument of the task; choose from "
        f"{', '.join(declared)}."
        for name in kwargs
        if name not in declared
    ]
    for name, parameter in declared.items():
        if name not in kwargs:
            if parameter.default is parameter.empty:
                found.append(f"task.kwargs.{name} is missing.")
            continue
        kinds = _kinds(parameter.annotation)
        value = kwargs[name]
        if value is None and types.NoneType not in kinds:
            found.append(f"task.kwargs.{name} is missing: {parameter}.")
            continue
        if type(value) not in kinds and not (float in kinds and type(value) is int):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            found.append(f"task.kwargs.{name} must be {wanted}, got {value!r}.")
        found += configs.number_problems(f"task.kwargs.{name}", value)
    return found


def parse(function: Callable, settings: Sequence[str]) -> dict[str, Any]:
    """Reads `key=value` texts as arguments of `function`; the last of a key counts.

    A value is read as a Python literal unless the argument is a string; `none` is None,
    `true` and `false` are booleans. ValueError if a text has another form or names no
    argument.
    """
    literals = {"none": None, "true": True, "false": False}
    declared = parameters(function)
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"--set takes KEY=VALUE, got {setting!r}.")
        if name not in declared:
            raise ValueError(
                f"Unknown argument {name!r}; choose from {', '.join(declared)}."
            )
        kinds = _kinds(declared[name].annotation)
        if text.lower() in literals and type(literals[text.lower()]) in kinds:
            values[name] = literals[text.lower()]
        elif str in kinds:
            values[name] = text
        else:
            try:
                values[name] = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                values[name] = text  # `problems` reports it with the expected type.
            if float in kinds and int not in kinds and type(values[name]) is int:
                values[name] = configs.to_float(values[name])
    return values


def of_presets(task: str) -> dict[str, dict[str, Any]]:
    """Returns the arguments that each preset of a task gives it, seed included.

    The presets are those of `configs/<task>.py`; there are none for a task of another
    package, nor where this one is installed without its repository.
    """
    named = configs.named_configs()
    if task not in named:
        return {}
    path = named[task]
    return {
        preset: of_section(configs.load(f"{path}:{preset}").task)
        for preset in configs.preset_names(path)
    }


def of_section(section: Any) -> dict[str, Any]:
    """Returns the arguments in the `task` section of a config, seed included."""
    return {"seed": section.seed} | section.kwargs.to_dict()


def parameters(function: Callable) -> dict[str, inspect.Parameter]:
    """Returns the arguments of a task's function by name, as of `signature`."""
    return dict(signature(function).parameters)


def signature(function: Callable) -> inspect.Signature:
    """Returns the signature of a task's function.

    An argument without an annotation is of the type of its default. ValueError if an
    annotation cannot be evaluated.
    """
    signature = user_code.call(
        pathlib.Path(inspect.getfile(inspect.unwrap(function))),
        functools.partial(inspect.signature, function, eval_str=True),
        expected="Annotations of a task's function must be types that its file knows",
    )
    empty = inspect.Parameter.empty
    typed = [
        parameter.replace(annotation=type(parameter.default))
        if parameter.annotation is empty and parameter.default is not empty
        else parameter
        for parameter in signature.parameters.values()
    ]
    return signature.replace(parameters=typed)


def of_config(function: Callable) -> dict[str, Any]:
    """Returns `task.kwargs` of a config that leaves every argument at its default.

    One that may be none, or has no default, is a reference, which may be overridden.
    """
    kwargs = {}
    for name, parameter in parameters(function).items():
        kinds = _kinds(parameter.annotation)
        value = parameter.default
        is_missing = value is parameter.empty
        if type(value) is int and int not in kinds:
            value = configs.to_float(value)
        if is_missing or types.NoneType in kinds:
            kind = next(k for k in kinds if k is not types.NoneType)
            reference = config_dict.placeholder(kind)
            if not is_missing:
                reference.set(value)
            value = reference
        kwargs[name] = value
    kwargs.pop("seed", None)  # It is `task.seed`.
    return kwargs


def defaults(function: Callable) -> dict[str, Any]:
    """Returns the arguments that the signature gives a value, and seed 0."""
    given = {
        name: parameter.default
        for name, parameter in parameters(function).items()
        if parameter.default is not parameter.empty
    }
    return {"seed": 0} | given


def _kinds(annotation: Any) -> tuple[type, ...]:
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return tuple(_kinds(part)[0] for part in typing.get_args(annotation))
    return (typing.get_origin(annotation) or annotation,)
