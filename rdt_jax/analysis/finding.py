"""Runs by what people know of them: a beginning of the name, or what sets them apart.

finding.find(workdir, "3164b")  # workdir / "3164bd979594"
finding.find(workdir, "depth_by_decay-cpu/num_loops=2,weight_decay=0.1,seed=0")
finding.where(runs, {"num_loops": 2, "optimizer.weight_decay": 0.1})
"""

import difflib
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import ml_collections

from rdt_jax import config as configs
from rdt_jax import wording
from rdt_jax.sweep import links
from rdt_jax.sweep import plan as plans

_SHOWN = 8  # candidates in a message

Values = Mapping[str, Any]  # dotted config key -> value


class HasConfig(Protocol):
    """A run, or a trial of a plan."""

    @property
    def config(self) -> ml_collections.ConfigDict:
        """The resolved config."""


R = TypeVar("R", bound=HasConfig)


def find(workdir: pathlib.Path, text: str) -> pathlib.Path:
    """Returns the folder of the run that a text names; its name is the run id.

    Args:
      text: the path of a run's folder, or of a link to it; or a beginning of the name
        of a run, in `workdir` if there is no path before it; or `SWEEP/KEY=VALUE,..`, a
        sweep of `workdir` or the path of its folder, and as much of what sets the run
        apart as it needs. The folder of a run that a sweep has planned may be missing.

    Raises:
      ValueError: if there is no such run, or more than one; it lists candidates.
    """
    path = pathlib.Path(text)
    if (path / "config.json").is_file():
        is_named = configs.is_run_id(path.name)
        return path if is_named else path.resolve()
    for position in [match.start() for match in re.finditer("/|$", text)]:
        name, what = text[:position], text[position + 1 :]
        for folder in (workdir / "sweeps" / name, pathlib.Path(name)):
            if name and plans.exists(folder):
                return _in_sweep(folder, what.removeprefix("runs/"))
    place = path.parent if "/" in text and path.parent.is_dir() else workdir
    names = run_ids(place)
    begun = [name for name in names if path.name and name.startswith(path.name)]
    if len(begun) == 1:
        return place / begun[0]
    if begun:
        raise ValueError(
            f"{text!r} is the beginning of {len(begun)} runs of {place}: "
            f"{_listed(begun)}."
        )
    if text and path.is_dir():
        raise ValueError(f"{path} is not a run folder: it has no config.json.")
    sweeps = _sweeps(workdir)
    raise ValueError(
        f"{place} has no run {text!r}: expected a folder of a run, the beginning of "
        f"a run's name ({_listed(names)}), or SWEEP/KEY=VALUE,.. with a sweep of "
        f"{_listed(sweeps)}."
    )


def sweep(workdir: pathlib.Path, text: str) -> pathlib.Path:
    """Returns the folder of a sweep by its path or by its name in a workdir.

    Raises:
      ValueError: if there is no such sweep; it lists those of the workdir.
    """
    for folder in (workdir / "sweeps" / text, pathlib.Path(text)):
        if text and plans.exists(folder):
            return folder.resolve()
    raise ValueError(
        f"No sweep {text!r}: expected its folder, or a name in {workdir}, which has "
        f"{_listed(_sweeps(workdir))}."
    )


def where(runs: Sequence[R], conditions: Mapping[str, Any]) -> list[R]:
    """Returns the runs, or trials, whose configs have these values, in their order.

    A condition's key may be an ending of a dotted key that is no other key's, such as
    `num_loops`; a str is read as on the command line.

    Raises:
      ValueError: if no config has such a key, if several keys end so, or if a value is
        not of the key's type.
    """
    values = [configs.leaves(run.config) for run in runs]
    return [runs[index] for index in select(values, conditions)]


def select(values: Sequence[Values], conditions: Mapping[str, Any]) -> list[int]:
    """Returns the positions of the configs, as of `configs.leaves`, as `where` does."""
    keys = list(dict.fromkeys(key for config in values for key in config))
    wanted = {}
    for name, value in conditions.items() if values else ():
        key = key_of(name, keys)
        samples = [config[key] for config in values if key in config]
        wanted[key] = _typed(key, value, samples)
    return [
        index
        for index, config in enumerate(values)
        if all(
            key in config and _plain(config[key]) == value
            for key, value in wanted.items()
        )
    ]


def key_of(name: str, keys: Iterable[str]) -> str:
    """Returns the dotted key that a name stands for: itself, or the one ending so.

    Raises:
      ValueError: if there is none, or more than one.
    """
    keys = list(keys)
    if name in keys:
        return name
    found = [key for key in keys if key.endswith(f".{name}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{name!r} may be any of {_listed(found)}: write it in full.")
    last_parts = [key.rpartition(".")[2] for key in keys]
    near = difflib.get_close_matches(name, [*keys, *last_parts], n=3)
    hint = (
        f"did you mean {' or '.join(near)}?"
        if near
        else f"choose from {_listed(keys)}."
    )
    raise ValueError(f"No run has a key {name!r}; {hint}")


def _in_sweep(folder: pathlib.Path, what: str) -> pathlib.Path:
    """Returns the folder of the run of a sweep that a label, or a part of it, names."""
    trials = {trial.run_id: trial for trial in plans.read(folder).trials}
    labels = links.labels(list(trials.values()))
    found = [run_id for run_id, label in labels.items() if label == what]
    if not found:
        swept = configs.short_names(key for t in trials.values() for key in t.overrides)
        values = [configs.leaves(trial.values) for trial in trials.values()]
        conditions = {}
        for part in re.split(r",(?=[^,=]+=)", what) if what else ():
            name, equals, value = part.partition("=")
            if not equals:
                raise ValueError(
                    f"{folder.name}/{what}: expected KEY=VALUE,.. such as "
                    f"{next(iter(labels.values()))}, got {part!r}."
                )
            conditions[swept.get(name, name)] = value
        found = [list(trials)[index] for index in select(values, conditions)]
    if len(found) != 1:
        candidates = [labels[run_id] for run_id in found or labels]
        runs = wording.count(len(found), "run") if found else "no run"
        raise ValueError(
            f"{folder.name} has {runs} with {what or 'any values'}; choose from "
            f"{_listed(candidates)}."
        )
    return folder.parents[1] / found[0]


def _sweeps(workdir: pathlib.Path) -> list[str]:
    return sorted(path.parent.name for path in workdir.glob("sweeps/*/plan.json"))


def run_ids(workdir: pathlib.Path) -> list[str]:
    """Returns the names of the runs in a workdir, ascending."""
    names = (path.parent.name for path in workdir.glob("*/config.json"))
    return sorted(filter(configs.is_run_id, names))


def _typed(key: str, value: Any, samples: Sequence[Any]) -> Any:
    """Returns a value as a config would hold it; ValueError if it would not."""
    nested = next(filter(None, map(_plain, samples)), _plain(samples[0]))
    for part in reversed(key.split(".")):
        nested = {part: nested}
    config = ml_collections.ConfigDict(nested)
    if isinstance(value, str):
        value = configs.parse_overrides(config, [f"--config.{key}={value}"])[key]
    return configs.leaves(configs.override(config, {key: value}))[key]


def _plain(value: Any) -> Any:
    """Returns a value of a config, a list as the tuple that JSON made it of."""
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + ", .." * (len(names) > _SHOWN) or "none"
