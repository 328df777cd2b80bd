"""Sweeps as lists of flat overrides, and the plan of a study at a preset.

SIZES = spec.zipped(**{"model.width": (64, 128), "batch_size": (512, 256)})
DECAYS = spec.grid("optimizer.weight_decay", 0.1, 1.0)
sweep = spec.by_preset({"smoke": (DECAYS,), "cpu": (SIZES, DECAYS, spec.seeds(5))})
"""

import dataclasses
import functools
import hashlib
import itertools
import math
import pathlib
import re
import time
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections

from rdt_jax import config as configs
from rdt_jax import registry, user_code

Overrides = dict[str, Any]  # dotted config key -> value

_MOST_TRIALS = 100_000
_LONGEST_AXES = 100  # characters of the axes in a sweep's name
_REPORT_SECONDS = 5.0  # Time between two reports of the trials checked so far.

# Names that a study defines; the optional ones have defaults in figures/study.py.
_NEEDED = ("CONFIG", "sweep")
_OPTIONAL = ("summary", "table", "figures", "claims")

# What stands for the study of a sweep without one: the file of all defaults.
_DEFAULTS = pathlib.Path(__file__).parents[1] / "figures" / "study.py"
NO_STUDY = types.SimpleNamespace(__file__=str(_DEFAULTS))


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """One run that a sweep asks for.

    Attributes:
      run_id: name of the run.
      overrides: values in which it differs from the other trials of its sweep.
      values: resolved config, or its nested values as plan.json has them.
      table: SHA-256 of the arrays of its table when it was planned; None before that.
    """

    run_id: str
    overrides: Overrides
    values: ml_collections.ConfigDict | Mapping[str, Any]
    table: str | None = None

    @classmethod
    def of(cls, base: ml_collections.ConfigDict, overrides: Overrides) -> "Trial":
        """Returns the trial of a config with overrides; ValueError if these are wrong.

        The overrides get the types of the config: 1 becomes 1.0 where a key is a float.
        """
        config = configs.override(base, overrides)
        resolved = {key: config[key] for key in overrides}
        return cls(configs.run_id(config), resolved, config)

    @property
    def budget(self) -> int:
        """Number of updates that the trial needs; its run may have more."""
        return self.values["num_steps"]

    @functools.cached_property
    def config(self) -> ml_collections.ConfigDict:
        """The resolved config, with the budget of the trial.

        ValueError if the values of plan.json do not give the name of the run.
        """
        if isinstance(self.values, ml_collections.ConfigDict):
            return self.values
        try:
            return configs.of_run(self.values, self.run_id)
        except ValueError as error:
            raise ValueError(f"plan.json: the config of a run {error}") from error

    @property
    def has_budget(self) -> bool:
        """Whether more updates make no other run."""
        return self.config.optimizer.schedule == "constant"

    def with_budget(self, budget: int) -> "Trial":
        """Returns the trial with a larger budget, unless that makes another run."""
        if not self.has_budget or budget <= self.budget:
            return self
        values = configs.override(self.config, {"num_steps": budget})
        return dataclasses.replace(self, values=values)


class Named(NamedTuple):
    """A config that a sweep without a study varies."""

    config: ml_collections.ConfigDict  # config of the preset, without overrides
    # beginning of the sweep's name, such as `modular-cpu`; empty: of its values
    name: str = ""
    preset: str = ""  # name of the preset; empty if there is none
    file: pathlib.Path | None = None  # file of the preset; None if there is none

    @classmethod
    def load(cls, text: str) -> "Named":
        """Returns the config of `FILE.py:PRESET` or `modular:cpu`; ValueError."""
        path, preset = configs.locate(text)
        return cls(configs.load(text), f"{path.stem}-{preset}", preset, path)


class Plan(NamedTuple):
    """What a sweep trains.

    Attributes:
      name: name of the sweep's folder: `<study>-<preset>`, or
        `<study>-<preset>-<changes>` if there are changes; without a study
        `<config>-<preset>-<axes>`, or as it was asked for.
      study: module of the study: CONFIG, sweep, and those of summary, table, figures
        and claims that it defines; NO_STUDY without one.
      trials: trials in the order of the sweep, each of another run.
      study_name: name of the study's folder; empty without one.
      preset: name of the preset of the study and of its config.
      changes: values by which the command line changes the preset, for all trials.
      repeated: number of trials left out since an earlier trial is the same run.
      config_file: file of the preset, or what plan.json says of it.
    """

    name: str
    study: Any
    trials: Sequence[Trial]
    study_name: str = ""
    preset: str = ""
    changes: Overrides = {}
    repeated: int = 0
    config_file: pathlib.Path | Mapping[str, Any] | None = None

    @property
    def axes(self) -> tuple[str, ...]:
        """The dotted keys that its trials set, the seed apart, in the order asked."""
        keys = dict.fromkeys(key for trial in self.trials for key in trial.overrides)
        return tuple(key for key in keys if key != "seed")

    @property
    def run_ids(self) -> list[str]:
        """The names of the runs, in the order of the sweep."""
        return [trial.run_id for trial in self.trials]

    @property
    def configs(self) -> list[ml_collections.ConfigDict]:
        """The configs of the trials, in the order of the sweep."""
        return [trial.config for trial in self.trials]


def configs_of(trials: Iterable[Trial]) -> dict[str, ml_collections.ConfigDict]:
    """Returns the configs of trials by the names of their runs."""
    return {trial.run_id: trial.config for trial in trials}


def grid(key: str, *values: Any) -> list[Overrides]:
    """Returns one override of `key` per value."""
    return [{key: value} for value in values]


def seeds(count: int, first: int = 0) -> list[Overrides]:
    """Returns `count` seeds, from `first` on; ValueError for none, or too many."""
    check_number(count)
    if count < 1:
        raise ValueError(f"seeds needs a count of at least 1, got {count}.")
    return grid("seed", *range(first, first + count))


def zipped(**values: Sequence[Any]) -> list[Overrides]:
    """Returns overrides that set several keys together, one per position.

    The values stand by dotted key, as in `**{"model.width": (64, 128), ...}`.
    ValueError if the keys have different numbers of values.
    """
    if len({len(column) for column in values.values()}) > 1:
        counts = ", ".join(f"{key} {len(column)}" for key, column in values.items())
        raise ValueError(f"zipped needs equally many values per key, got {counts}.")
    rows = zip(*values.values(), strict=True)
    return [dict(zip(values, row, strict=True)) for row in rows]


def chain(*sweeps: list[Overrides]) -> list[Overrides]:
    """Returns one sweep after another, each different trial once."""
    chained: dict[Any, Overrides] = {}
    for trial in itertools.chain(*sweeps):
        chained.setdefault(_hashable(trial), trial)
    return list(chained.values())


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return frozenset((key, _hashable(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return type(value), *map(_hashable, value)
    return value


def product(*sweeps: list[Overrides]) -> list[Overrides]:
    """Returns every combination, the last sweep varying fastest.

    ValueError if two sweeps set the same key, or if there are too many.
    """
    check_number(math.prod(map(len, sweeps)))
    combined = []
    for parts in itertools.product(*sweeps):
        merged: Overrides = {}
        for part in parts:
            if repeated := merged.keys() & part.keys():
                raise ValueError(f"Two sweeps set {', '.join(sorted(repeated))}.")
            merged |= part
        combined.append(merged)
    return combined


def by_preset(
    sweeps: Mapping[str, Sequence[list[Overrides]]],
) -> Callable[[str], list[Overrides]]:
    """Returns the `sweep` of a study: of each preset the product of its sweeps."""
    return lambda preset: product(*registry.lookup("preset", sweeps, preset))


def check_number(trials: int) -> None:
    """Raises ValueError if a sweep may not have so many trials."""
    if trials > _MOST_TRIALS:
        raise ValueError(
            f"A sweep must have at most {_MOST_TRIALS:,} trials, got {trials:,}."
        )


def read_study(folder: pathlib.Path) -> Any:
    """Imports `study.py` of a study's folder.

    ValueError if there is no such study (the message lists those beside it), or if it
    lacks something that a study must define.
    """
    if not (folder / "study.py").is_file():
        studies = sorted(p.parent.name for p in folder.parent.glob("*/study.py"))
        raise ValueError(
            f"No study {str(folder)!r} (a folder with study.py); "
            f"choose from {', '.join(studies) or 'none here'}."
        )
    study = configs.load_module(folder / "study.py", "study")
    missing = [name for name in _NEEDED if not hasattr(study, name)]
    if missing:
        raise ValueError(
            f"{folder / 'study.py'} must define {' and '.join(_NEEDED)}; it lacks "
            f"{', '.join(missing)}."
        )
    for name in (*_NEEDED, *_OPTIONAL):
        kind = "a string" if name == "CONFIG" else "a function"
        if not hasattr(study, name):
            continue
        value = getattr(study, name)
        if not (isinstance(value, str) if name == "CONFIG" else callable(value)):
            raise ValueError(
                f"{folder / 'study.py'}: {name} must be {kind}, got {value!r}."
            )
    return study


def make_plan(
    folder: pathlib.Path,
    preset: str,
    arguments: list[str],
    check: Callable[[ml_collections.ConfigDict], None],
    log: Callable[[str], None] = lambda message: None,
) -> Plan:
    """Resolves and checks every trial of a study at a preset of it and its config.

    CONFIG of a study is a path relative to its folder, to one of the two above, or to
    this repository. `arguments` are overrides of all trials, `--config.KEY=VALUE`, for
    keys that the sweep does not set; `check` raises ValueError with all problems of a
    config.

    Raises:
      ValueError: if the study, the preset, an override or a config is wrong.
    """
    study = read_study(folder)
    config_file = _config_file(folder, study)
    preset_config = configs.load(f"{config_file}:{preset}")
    overrides = configs.parse_overrides(preset_config, arguments)
    swept = user_code.call(
        pathlib.Path(study.__file__),
        study.sweep,
        preset,
        expected="sweep must return a list of overrides, at least one, such as "
        '[{"seed": 0}]',
        is_valid=_are_overrides,
    )
    check_number(len(swept))
    _check_not_swept(overrides, swept)
    base = configs.override(preset_config, overrides)
    changes = {k: base[k] for k in sorted(overrides) if base[k] != preset_config[k]}
    trials = _checked_trials(base, swept, check, log)
    name = folder.resolve().name
    return Plan(
        name="-".join(filter(None, [name, preset, _suffix(changes)])),
        study=study,
        trials=trials,
        study_name=name,
        preset=preset,
        changes=changes,
        repeated=len(swept) - len(trials),
        config_file=config_file,
    )


def plan_of_config(
    config: str | ml_collections.ConfigDict | Named,
    over: Mapping[str, Sequence[Any]],
    seeds: int | Sequence[int] | None = None,
    *,
    check: Callable[[ml_collections.ConfigDict], None],
    draws: Sequence[Overrides] = (),
    changes: Mapping[str, Any] = types.MappingProxyType({}),
    name: str | None = None,
    log: Callable[[str], None] = lambda message: None,
) -> Plan:
    """Resolves and checks every trial of a sweep without a study.

    plan = spec.plan_of_config("modular:cpu", {"recurrence.num_loops": (1, 2)}, 3, ..)

    Every combination of the values of `over`, by dotted key, of the `draws`, as of
    `axes.draw`, and of the seeds is a trial: so many, from 0 on, or those listed, or
    with None that of the config. `changes` are values of all trials, by dotted key. The
    name is by default that of the config, its axes and its changes.

    Raises:
      ValueError: if a key, a value or a name is wrong, a value stands twice, two axes
        have the same key, or there are too many trials.
    """
    named = Named.load(config) if isinstance(config, str) else config
    if not isinstance(named, Named):
        named = Named(named)
    base, changes = configs.override(named.config, changes), dict(changes)
    if seeds is None and "seed" not in over:
        seeds = [base.seed]  # Which further seeds extend.
        changes.pop("seed", None)
    parts = _parts(base, over, draws, seeds)
    swept = product(*parts)
    _check_not_swept(changes, swept)
    trials = _checked_trials(base, swept, check, log)
    if all(trial.has_budget for trial in trials):
        changes.pop("num_steps", None)  # A budget, which a further command extends.
    changes = {k: base[k] for k in sorted(changes) if base[k] != named.config[k]}
    plan = Plan(
        name="",
        study=NO_STUDY,
        trials=trials,
        preset=named.preset,
        changes=changes,
        repeated=len(swept) - len(trials),
        config_file=named.file,
    )
    name = _default_name(named, plan) if name is None else _check_name(name)
    return plan._replace(name=name)


def _parts(
    base: ml_collections.ConfigDict,
    over: Mapping[str, Sequence[Any]],
    draws: Sequence[Overrides],
    asked_seeds: int | Sequence[int] | None,
) -> list[list[Overrides]]:
    """Returns what a sweep is the product of; the arguments are of `plan_of_config`."""
    parts = []
    listed = [] if asked_seeds is None else [("seed", asked_seeds)]
    for key, values in (*over.items(), *listed):
        if key == "seed" and isinstance(values, int):
            parts.append(seeds(values))
            continue
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ValueError(f"{key} must have a list of values, got {values!r}.")
        part = [{key: configs.override(base, {key: v})[key]} for v in values]
        if len(chain(part)) < len(part):
            shown = ", ".join(map(str, values))
            raise ValueError(f"{key} must have each value once, got {shown}.")
        parts.append(part)
    return parts[: len(over)] + ([list(draws)] if draws else []) + parts[len(over) :]


def _default_name(named: Named, plan: Plan) -> str:
    """Returns the name of a sweep: its config, its axes, what all trials change."""
    config = plan.trials[0].config
    stem = named.name
    if not stem:
        apart = (*plan.axes, "seed", "num_steps")
        values = {k: v for k, v in configs.changed(config).items() if k not in apart}
        stem = f"{config.task.name}-{configs.hash_of(values)[:6]}"
    names = {
        k: short for short, k in configs.short_names(configs.leaves(config)).items()
    }
    labels = "-".join(sorted(names[key] for key in plan.axes))
    if len(labels) > _LONGEST_AXES:
        labels = hashlib.sha256(labels.encode()).hexdigest()[:12]
    parts = [re.sub(r"[^\w.,=+-]+", "_", stem), labels, _suffix(plan.changes)]
    return "-".join(part for part in parts if part)


def _check_name(name: str) -> str:
    """Returns the name of a sweep; ValueError if it makes no name of a folder."""
    if not re.fullmatch(r"\w[\w.,=+-]{0,99}", name):
        raise ValueError(
            "--name must be letters, digits and .,=+-_, at most 100 of them and a "
            f"letter or digit first, got {name!r}."
        )
    return name


def extend(
    plan: Plan,
    over: Mapping[str, Sequence[Any]],
    seeds: int | Sequence[int] | None,
    *,
    check: Callable[[ml_collections.ConfigDict], None],
    draws: Sequence[Overrides] = (),
    log: Callable[[str], None] = lambda message: None,
) -> Plan:
    """Returns a plan of a sweep without a study with further trials.

    These are its own with other values of some axes. The other arguments, and what is
    raised, are as in `plan_of_config`; ValueError also if a key is none of its axes.
    """
    base = plan.trials[0].config
    parts = _parts(base, over, draws, seeds)
    asked = {key for part in parts for key in part[0]}
    if other := sorted(asked - {*plan.axes, "seed"}):
        axes = ", ".join(plan.axes) or "seed alone"
        raise ValueError(
            f"{plan.name} varies {axes}, and not {', '.join(other)}: that is another "
            "sweep, of its config."
        )
    cells = [
        {k: v for k, v in trial.overrides.items() if k not in asked}
        for trial in plan.trials
    ]
    swept = [
        {key: trial[key] for key in plan.trials[0].overrides}
        for trial in product(chain(cells), *parts)
    ]
    return plan._replace(
        trials=merge(plan.trials, _checked_trials(base, swept, check, log))
    )


def merge(first: Sequence[Trial], second: Sequence[Trial]) -> list[Trial]:
    """Returns the trials of both, each run once, all with the largest budget of any.

    A trial keeps its budget where another number of updates is another run.
    """
    trials = {trial.run_id: trial for trial in (*second, *first)}
    budget = max(trial.budget for trial in (*first, *second))
    ordered = dict.fromkeys(trial.run_id for trial in (*first, *second))
    return [trials[run_id].with_budget(budget) for run_id in ordered]


def _config_file(folder: pathlib.Path, study: Any) -> pathlib.Path:
    above = [*folder.resolve().parents[:2], pathlib.Path(__file__).resolve().parents[2]]
    paths = dict.fromkeys(root / study.CONFIG for root in (folder.resolve(), *above))
    for path in paths:
        if path.is_file():
            return path
    raise ValueError(
        f"{study.__file__}: CONFIG must be a config file, got {study.CONFIG!r}, "
        f"and there is no {' and no '.join(map(str, paths))}."
    )


def _checked_trials(
    base: ml_collections.ConfigDict,
    swept: Sequence[Overrides],
    check: Callable[[ml_collections.ConfigDict], None],
    log: Callable[[str], None],
) -> list[Trial]:
    """Returns the checked trials of a sweep, one for each run."""
    trials: dict[str, Trial] = {}
    reported = time.monotonic()
    for number, overrides in enumerate(swept):
        if time.monotonic() - reported > _REPORT_SECONDS:
            log(f"{number:,} of {len(swept):,} trials are checked")
            reported = time.monotonic()
        trial = Trial.of(base, overrides)
        try:
            check(trial.config)
        except ValueError as error:
            if len(swept) == 1:
                raise
            which = f"This is the trial {describe(overrides)}."
            raise ValueError(f"{error}\n  {which}") from error
        first = trials.setdefault(trial.run_id, trial)
        if first.budget != trial.budget:
            raise ValueError(
                f"Two trials differ in num_steps alone, {first.budget} and "
                f"{trial.budget}. With a constant optimizer.schedule that is one "
                "run: plan the larger number, whose metrics show the smaller one, too."
            )
    return list(trials.values())


def _are_overrides(trials: Any) -> bool:
    return (
        isinstance(trials, list | tuple)
        and len(trials) > 0
        and all(isinstance(trial, Mapping) for trial in trials)
        and all(isinstance(key, str) for trial in trials for key in trial)
    )


def _check_not_swept(overrides: Overrides, trials: Sequence[Overrides]) -> None:
    """Raises ValueError if trials set a key of the overrides, and so overwrite it."""
    problems = []
    for key in overrides:
        values = list(dict.fromkeys(str(t[key]) for t in trials if key in t))
        if values:
            listed = ", ".join(values[:6]) + ", .." * (len(values) > 6)
            problems.append(
                f"--config.{key} does nothing where the sweep itself sets {key} (to "
                f"{listed}); leave it out, or change the sweep."
            )
    configs.raise_problems(problems, "override")


def _suffix(changes: Mapping[str, Any]) -> str:
    """Returns the changes as text for a folder's name; a hash if they do not fit."""
    text = ",".join(f"{key}={value}" for key, value in changes.items())
    if not text or re.fullmatch(r"[\w.,=+-]{1,100}", text):
        return text
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def describe(overrides: Mapping[str, Any]) -> str:
    """Returns overrides as a short text: `num_loops=2 weight_decay=0.1 seed=0`."""
    names = configs.short_names(overrides)
    return " ".join(f"{name}={overrides[key]}" for name, key in names.items())
