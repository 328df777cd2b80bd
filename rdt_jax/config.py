"""What a run is: load a config, override it, name it, write it and read it back."""

import ast
import collections
import copy
import difflib
import hashlib
import importlib.machinery
import importlib.util
import inspect
import itertools
import json
import math
import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import ml_collections
from ml_collections import config_dict

from rdt_jax import registry, schema, user_code

_PACKAGE = pathlib.Path(__file__).resolve().parent
_IS_REPOSITORY = (_PACKAGE.parent / "configs" / "base.py").is_file()
# The folder of `configs`, which a wheel holds inside the package.
_ROOT = _PACKAGE.parent if _IS_REPOSITORY else _PACKAGE

Overrides = Mapping[str, Any]  # dotted key -> value

_ARGUMENTS = "task.kwargs."  # before each argument of a task

_SECTIONS = (ml_collections.ConfigDict, Mapping)

_SMALLEST, _LARGEST = 2.0**-126, 2.0**128 - 2.0**104  # sizes of normal float32 numbers


def load(spec: str) -> ml_collections.ConfigDict:
    """Builds the config that `file.py:preset` or `name:preset` names.

    Args:
      spec: path of a Python file with `get_config(preset)`, or a name of
        `named_configs`, a colon, a preset.

    Raises:
      ValueError: if the file does not exist, has no `get_config`, or does not know
        the preset (its own error lists the choices); if the config has not the keys
        of schema.py, or a value that `override` would refuse.
    """
    path, preset = locate(spec)
    module = load_module(path, "config")
    build = getattr(module, "get_config", None)
    if not callable(build) or not inspect.signature(build).parameters:
        raise ValueError(
            f"{path} must define get_config(preset); a named config such as "
            "configs/knowledge_composition.py does."
        )
    found = user_code.call(
        path.resolve(),
        build,
        preset,
        expected="get_config must return an ml_collections.ConfigDict"
        + _shadows(path.resolve()),
        is_valid=lambda value: isinstance(value, ml_collections.ConfigDict),
    )
    result = schema.defaults()
    declared, values = dict(_items(result)), dict(_items(found))
    problems = [f"{key} is missing." for key in declared if key not in values]
    is_section = lambda value: isinstance(value, ml_collections.ConfigDict)
    more = _replace(
        result,
        {
            key: value
            for key, value in values.items()
            if not _is_argument(key)  # The task's function declares them.
            and not (is_section(value) and key in declared)
        },
    )
    raise_problems([*problems, *more], f"config {spec}")
    result.task.kwargs = found.task.kwargs
    return result.lock()


def locate(spec: str) -> tuple[pathlib.Path, str]:
    """Returns the file and preset of `file.py:preset` or `name:preset`; ValueError."""
    path, _, preset = spec.rpartition(":")  # A folder's name may hold colons.
    if not path or not preset or "/" in preset:
        raise ValueError(
            "A config must be FILE.py:PRESET or NAME:PRESET, such as "
            f"configs/modular.py:cpu or modular:cpu, got {spec!r}."
        )
    return path_of(path), preset


def load_module(path: pathlib.Path, kind: str) -> Any:
    """Imports a Python file by path; it may import its siblings from their root.

    A file outside of the repository may import the repository's `configs`; a package of
    that name beside it comes first. ValueError if the file does not exist, and the
    message lists its siblings; if it cannot be imported.
    """
    path = path.resolve()
    if not path.is_file():
        siblings = sorted(p.name for p in path.parent.glob("*.py"))
        raise ValueError(
            f"No {kind} file {path}; the folder holds {', '.join(siblings) or 'none'}."
        )
    root = _root_of(path)
    place = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"_{kind}_{path.stem.replace('.', '_')}_{place}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    loader = spec.loader
    module = importlib.util.module_from_spec(spec)
    before = [*sys.path]
    sys.path[:] = [str(root), *before, str(_ROOT)]
    sys.modules[name] = module  # Where dataclasses look up what annotations name.

    expected = f"The {kind} file must be importable{_shadows(path)}"
    try:
        for package in ("configs", "experiments"):
            _choose_package(package, root, expected)
        user_code.call(path, loader.exec_module, module, expected=expected)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path[:] = before
    return module


def _root_of(path: pathlib.Path) -> pathlib.Path:
    return next((p for p in path.parents if (p / "configs").is_dir()), path.parent)


def _shadows(path: pathlib.Path) -> str:
    """Says which files beside a user's file are imported for the repository's."""
    own = sorted(_root_of(path).glob("configs/*.py"))
    twice = [p for p in own if p != path and (_ROOT / "configs" / p.name).is_file()]
    found = [str(p) for p in twice if p.stem != "__init__" and _ROOT not in p.parents]
    return f" ({', '.join(found)} is imported for rdt_jax's)" if found else ""


def _choose_package(name: str, root: pathlib.Path, expected: str) -> None:
    """Lets a package be the one of `root`, and the repository's in what that lacks."""
    folders = [str(p) for p in (root / name, _ROOT / name) if p.is_dir()]
    folders = list(dict.fromkeys(folders))
    imported = sys.modules.get(name)
    if [os.path.realpath(p) for p in getattr(imported, "__path__", [])] == folders:
        return
    for other in [n for n in sys.modules if f"{n}.".startswith(f"{name}.")]:
        del sys.modules[other]
    if len(folders) < 2:
        return  # An import finds it.
    spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
    first = pathlib.Path(folders[0], "__init__.py")
    if first.is_file():
        found = importlib.util.spec_from_file_location(name, first)
        assert found is not None
        spec = found
    spec.submodule_search_locations = folders
    sys.modules[name] = importlib.util.module_from_spec(spec)
    if spec.loader is not None:
        package = sys.modules[name]
        user_code.call(first, spec.loader.exec_module, package, expected=expected)


def load_function(text: str, kind: str) -> Callable[..., Any]:
    """Returns the function of `FILE.py:FUNCTION`; ValueError lists the choices."""
    path, _, name = text.rpartition(":")
    if not path.endswith(".py"):
        raise ValueError(f"A {kind} of your own is FILE.py:FUNCTION, got {text!r}.")
    functions = functions_of(load_module(pathlib.Path(path), kind))
    return registry.lookup(f"{kind} of {path}", functions, name)


def functions_of(module: Any) -> dict[str, Callable[..., Any]]:
    """Returns the functions that a module defines itself, by name."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    }


def named_configs() -> dict[str, pathlib.Path]:
    """Returns the repository's configs, or those of the installed package, by name."""
    paths = sorted((_ROOT / "configs").glob("*.py"))
    return {p.stem: p for p in paths if p.stem not in ("__init__", "base")}


def path_of(name: str) -> pathlib.Path:
    """Returns the path of a config's file, or of a named config; ValueError."""
    if "/" in name or name.endswith(".py"):
        return pathlib.Path(name)
    return registry.lookup("config", named_configs(), name)


def preset_names(path: pathlib.Path) -> tuple[str, ...]:
    """Names the presets of a config file; ValueError without a file, or its PRESETS."""
    module = load_module(path, "config")
    presets = getattr(module, "PRESETS", None)
    if not isinstance(presets, Mapping):
        raise ValueError(f"{path} must define PRESETS, a dict of its presets.")
    return tuple(presets)


def parse_overrides(
    config: ml_collections.ConfigDict, arguments: Sequence[str]
) -> dict[str, Any]:
    """Reads `--config.model.width=128` arguments as {"model.width": 128}.

    A value is read as a Python literal where the key is not a string; `none` and `null`
    are None; `true` and `false` may be written in lower case. ValueError if an argument
    has another form.
    """
    literals = {"none": None, "null": None, "true": True, "false": False}
    overrides: dict[str, Any] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not key.startswith("--config.") or not equals:
            raise ValueError(
                f"Unknown argument {argument!r}; an override is --config.KEY=VALUE."
            )
        key = key.removeprefix("--config.")
        if key in leaves(config) and leaf_type(config, key)[0] is str:
            overrides[key] = text
        elif text.lower() in literals:
            overrides[key] = literals[text.lower()]
        else:
            try:
                overrides[key] = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                overrides[key] = text  # `override` reports it with the expected type.
    return overrides


def override(
    config: ml_collections.ConfigDict, overrides: Overrides
) -> ml_collections.ConfigDict:
    """Returns a copy of `config` with some leaves replaced.

    An int is taken for a float, one int for a tuple of one, None for an optional
    key, -0.0 for 0.0; nothing else is converted.

    Raises:
      ValueError: for an unknown key (with the nearest ones), a value of another type,
        or a number that float32 cannot hold; all of them are reported at once.
    """
    result = copy.deepcopy(config).unlock()
    raise_problems(_replace(result, overrides))
    return result.lock()


def _replace(config: ml_collections.ConfigDict, overrides: Overrides) -> list[str]:
    """Replaces some leaves, and returns what is wrong with the others."""
    problems = []
    for key, value in overrides.items():
        try:
            kind, optional = leaf_type(config, key)
        except ValueError as error:
            problems.append(str(error))
            continue
        if kind is float and type(value) is int:
            value = to_float(value)
        if kind is float and type(value) is float:
            value += 0.0  # -0.0 becomes 0.0: equal values are one run.
        if kind is tuple and isinstance(value, int):
            value = (value,)
        if kind is tuple and isinstance(value, list):
            value = tuple(value)
        if key in schema.KEYS and (spell := schema.KEYS[key].spelled):
            try:
                value = _spelled(key, spell, value)
            except ValueError as error:
                problems.append(str(error))
                continue
        if type(value) is not kind and not (optional and value is None):
            wanted = _type_name(kind) + (" or none" if optional else "")
            problems.append(f"{key} must be {wanted}, got {value!r}.")
            continue
        if found := number_problems(key, value):
            problems += found
            continue
        section, _, name = key.rpartition(".")
        (config[section] if section else config)[name] = value
    return problems


def _spelled(key: str, spell: Callable[[str], str], value: Any) -> tuple[str, ...]:
    """Returns texts as they are kept, of a tuple or of one text with commas."""
    texts = tuple(value.split(",")) if isinstance(value, str) else value
    if type(texts) is not tuple or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{key} must be texts, commas between them, got {value!r}.")
    return tuple(spell(text) for text in texts if text.strip())


def to_float(value: int) -> float:
    """Returns a number as a float, which is infinite where none is as large."""
    return float(value) if abs(value) < 2**1023 else math.inf


def number_problems(key: str, value: Any) -> list[str]:
    """Lists the numbers of a value, or of a tuple of them, that devices cannot hold."""
    if isinstance(value, tuple | list):
        return [problem for item in value for problem in number_problems(key, item)]
    if type(value) is int:
        most = 2**32 if key.endswith("seed") else 2**31
        bits = value.bit_length()
        text = str(value) if bits < 200 else f"one of {bits} bits"
        return [] if abs(value) < most else [f"{key} must be below {most}, got {text}."]
    if not isinstance(value, float) or value == 0:
        return []
    if not math.isfinite(value):
        return [f"{key} must be finite, got {value}."]
    if not _SMALLEST <= abs(value) <= _LARGEST:
        return [
            f"{key} must be 0 or from {_SMALLEST:.3g} to {_LARGEST:.3g} in size, as "
            f"float32 holds it, got {value}."
        ]
    return []


def raise_problems(problems: Sequence[str], of: str = "config") -> None:
    """Raises one ValueError that lists all `problems`; does nothing without any."""
    if problems:
        unique = dict.fromkeys(problems)
        raise ValueError(f"Invalid {of}:\n" + "\n".join(f"  {p}" for p in unique))


def leaves(
    values: ml_collections.ConfigDict | Mapping[str, Any],
) -> dict[str, Any]:
    """Returns what a config, or its nested values, holds by dotted key."""
    found = _items(values)
    return {key: value for key, value in found if not isinstance(value, _SECTIONS)}


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Returns dotted keys by the shortest ending, in whole parts, that is theirs alone.

    A key that is the ending of another one keeps its own name: of `seed` and
    `task.seed`, `seed` is the first.
    """
    parts = {key: key.split(".") for key in keys}
    endings = {
        key: [".".join(names[-count:]) for count in range(1, len(names) + 1)]
        for key, names in parts.items()
    }
    counts = collections.Counter(itertools.chain(*endings.values()))
    return {
        next((name for name in names if counts[name] == 1), key): key
        for key, names in endings.items()
    }


def _near(name: str, keys: Sequence[str]) -> list[str]:
    """Returns up to three keys whose last parts are like a name, the likest first."""
    names = [key.rpartition(".")[2] for key in keys]
    alike = difflib.get_close_matches(name, dict.fromkeys(names))
    pairs = [*zip(keys, names, strict=True)]
    return [key for like in alike for key, name in pairs if name == like][:3]


def run_id(config: ml_collections.ConfigDict) -> str:
    """Names a run by what of its config differs from the declared defaults.

    So a key that is new, at its default, renames no run. `num_steps` is a budget, which
    can grow, unless the schedule reads it. The arguments of a task are those that the
    config gives: its function declares the others.
    """
    values = changed(config)
    if config.optimizer.schedule == "constant":
        values.pop("num_steps", None)
    return hash_of(values)


def changed(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns what a config sets to other values than the defaults, by dotted key."""
    return {
        key: value + 0.0 if isinstance(value, float) else value  # -0.0 is 0.0.
        for key, value in leaves(config).items()
        if key not in schema.KEYS or value != schema.KEYS[key].default
    }


def to_json(config: ml_collections.ConfigDict) -> str:
    """Writes a resolved config so that `from_json` gives an equal one."""
    return json.dumps(config.to_dict(), indent=2) + "\n"


def from_json(text: str) -> ml_collections.ConfigDict:
    """Reads what `to_json` wrote, now or when fewer keys were declared.

    Keys that it lacks have their default, and all have the declared types. ValueError
    if it has a key that is not declared, or a value of another type.
    """
    return from_values(json.loads(text))


def from_values(values: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """Returns the config of nested values, as `from_json`."""
    given = leaves(_with_tuples(values))
    unknown = [k for k in given if k not in schema.KEYS and not _is_argument(k)]
    problems = [f"{key} is not a key of this version." for key in unknown]
    is_default = lambda key, default: (
        given[key] == default and type(given[key]) is type(default)
    )
    result = schema.defaults()
    more = _replace(  # Of some keys alone, which takes a third of the time.
        result,
        {
            key: given[key]
            for key, declared in schema.KEYS.items()
            if key in given and not is_default(key, declared.default)
        },
    )
    raise_problems([*problems, *more])
    result.task.kwargs = {
        key.removeprefix(_ARGUMENTS): v for key, v in given.items() if _is_argument(key)
    }
    return result.lock()


def read_run(folder: pathlib.Path) -> ml_collections.ConfigDict:
    """Reads the config of a run folder, also one of an earlier version.

    ValueError if there is none; if it has a key that no longer exists, with the version
    that had it; or if it does not hash to the folder's name.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} is not a run folder: it has no config.json.")
    values = read_json(path)
    try:
        return of_run(values, folder.name)
    except ValueError as error:
        raise ValueError(f"{path} {error}{_version_of(folder)}") from error


def of_run(values: Mapping[str, Any], name: str) -> ml_collections.ConfigDict:
    """Returns the config of a run from its nested values.

    ValueError if they do not hash to its name, by the rule of now or of before 0.2.
    """
    try:
        config = from_values(values)
    except ValueError as error:
        raise ValueError(f"cannot be read: {error}") from error
    if name not in (run_id(config), hash_of(values)):
        raise ValueError(
            f"hashes to {run_id(config)}, but its run is named {name}: it was edited "
            "or moved. A changed config is another run."
        )
    return config


def _version_of(folder: pathlib.Path) -> str:
    """Says with which version a run was trained, as far as its folder tells."""
    path = folder / "environment.json"
    try:
        segment = read_json(path)["segments"][-1]
        return f" It was trained by commit {segment['commit']} of rdt_jax."
    except (ValueError, OSError, KeyError, IndexError, TypeError):
        return ""


def read_json(path: pathlib.Path, kind: type = dict) -> Any:
    """Reads a JSON file that holds a `kind`; ValueError names one that is damaged.

    FileNotFoundError if it does not exist.
    """
    try:
        value = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}.") from error
    if not isinstance(value, kind):
        raise ValueError(
            f"{path} is damaged: it must hold a {kind.__name__}, got a "
            f"{type(value).__name__}."
        )
    return value


def check_run_ids(names: Any, path: pathlib.Path) -> None:
    """Raises ValueError unless `names`, read from a file, is a list of run ids.

    A name becomes a path: any other could lead out of the workdir.
    """
    if not isinstance(names, list) or not names:
        raise ValueError(f"{path} is damaged: it must list run ids, got {names!r}.")
    for name in names:
        if not is_run_id(name):
            raise ValueError(
                f"{path} is damaged: a run id has 12 hexadecimal digits, got {name!r}."
            )


def is_run_id(name: Any) -> bool:
    """Says whether a value is the name of a run, or of a pack: 12 hex digits."""
    return isinstance(name, str) and bool(re.fullmatch("[0-9a-f]{12}", name))


def hash_of(values: Any) -> str:
    """Returns a name for JSON values: 12 hexadecimal digits."""
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _is_argument(key: str) -> bool:
    return key.startswith(_ARGUMENTS)


def _with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_with_tuples(item) for item in value)
    return value


def leaf_type(config: ml_collections.ConfigDict, key: str) -> tuple[type, bool]:
    """Returns the type of a dotted key and whether it may be None; ValueError."""
    if key in schema.KEYS:
        declared = schema.KEYS[key]
        return declared.type, declared.default is None
    keys = leaves(config)
    if key not in keys:
        section, _, name = key.rpartition(".")
        siblings = [k for k in keys if k.rpartition(".")[0] == section]
        elsewhere = [k for k in keys if k.endswith(f".{name}")]
        near = elsewhere or _near(name, siblings) or _near(name, list(keys))
        hint = (
            f"did you mean {' or '.join(near)}?"
            if near
            else f"choose from {', '.join(siblings or keys)}."
        )
        raise ValueError(f"Unknown config key {key!r}; {hint}")
    section, _, name = key.rpartition(".")
    parent = config[section] if section else config
    # Optional keys are placeholders, and nothing else in a config is a reference.
    field = dict(parent.items(preserve_field_references=True))[name]
    return parent.get_type(name), isinstance(field, config_dict.FieldReference)


def _items(
    values: ml_collections.ConfigDict | Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yields all dotted keys of a config, those of sections as well."""
    for name, value in values.items():
        yield prefix + name, value
        if isinstance(value, _SECTIONS):
            yield from _items(value, f"{prefix}{name}.")


def _type_name(kind: type) -> str:
    names = {int: "an int", float: "a float", str: "a string", bool: "true or false"}
    return names.get(kind, "a tuple such as (1,2)" if kind is tuple else kind.__name__)
