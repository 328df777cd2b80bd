"""A sweep is a list of flat overrides; a study and a preset make it a plan."""

import hashlib
import itertools
import math
import pathlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections

from rdt_jax import config as configs
from rdt_jax import user_code

Overrides = dict[str, Any]  # dotted config key -> value

_MOST_TRIALS = 100_000
_REPORT_SECONDS = 5.0  # Between two reports of trials that are checked.

_NEEDED = ("CONFIG", "sweep")  # of a study
_OPTIONAL = ("table", "figures", "claims")  # with defaults, see figures/study.py


class Plan(NamedTuple):
    """What a sweep trains.

    Attributes:
      name: the folder of the sweep: `<study>-<preset>`, and `-<changes>` if there are
        any.
      study: the study's module: CONFIG and sweep, and what it has of table, figures
        and claims.
      overrides: of each trial, on top of the preset and the changes.
      configs: of each trial, resolved, in the same order; no two are alike.
      study_name: of the study's folder.
      preset: of the study and of its config.
      changes: of the preset, by the command line, for all trials.
      repeated: number of trials left out since they are the run of one before.
      config_file: the file of the preset.
      names: of the trials where plan.json gives them; None for those of the configs.
    """

    name: str
    study: Any
    overrides: list[Overrides]
    configs: list[ml_collections.ConfigDict]
    study_name: str = ""
    preset: str = ""
    changes: Overrides = {}
    repeated: int = 0
    config_file: pathlib.Path | None = None
    names: Sequence[str] | None = None

    @property
    def run_ids(self) -> list[str]:
        """The names of the trials, in the order of the sweep."""
        return list(self.names or map(configs.run_id, self.configs))

    @property
    def budgets(self) -> dict[str, int]:
        """The updates that are asked of each trial, by their names."""
        return {name: config.num_steps for name, config in self.planned.items()}

    @property
    def trials(self) -> list[tuple[str, Overrides]]:
        """The name of each trial, and what sets it apart."""
        return list(zip(self.run_ids, self.overrides, strict=True))

    @property
    def planned(self) -> dict[str, ml_collections.ConfigDict]:
        """The configs of the trials by their names."""
        return dict(zip(self.run_ids, self.configs, strict=True))


def grid(key: str, *values: Any) -> list[Overrides]:
    """Returns one override of `key` per value."""
    return [{key: value} for value in values]


def seeds(count: int, first: int = 0) -> list[Overrides]:
    """Returns `count` seeds, from `first` on.

    Raises:
      ValueError: if `count` is below 1, or above what a sweep may have.
    """
    _check_number(count)
    if count < 1:
        raise ValueError(f"seeds needs a count of at least 1, got {count}.")
    return grid("seed", *range(first, first + count))


def zipped(**values: Sequence[Any]) -> list[Overrides]:
    """Returns overrides that set several keys together, one per position.

    Args:
      **values: dotted key -> its values, as `**{"model.width": (64, 128), ...}`.

    Raises:
      ValueError: if the keys have different numbers of values.
    """
    lengths = {key: len(each) for key, each in values.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise ValueError(f"zipped needs equally many values per key, got {counts}.")
    return [
        dict(zip(values, each, strict=True))
        for each in zip(*values.values(), strict=True)
    ]


def chain(*sweeps: list[Overrides]) -> list[Overrides]:
    """Returns one sweep after another; a trial that stands in several comes once."""
    chained: list[Overrides] = []
    for trial in itertools.chain(*sweeps):
        if trial not in chained:
            chained.append(trial)
    return chained


def product(*sweeps: list[Overrides]) -> list[Overrides]:
    """Returns every combination, the last sweep varying fastest.

    Raises:
      ValueError: if two sweeps set the same key, or if there are too many.
    """
    _check_number(math.prod(map(len, sweeps)))
    combined = []
    for parts in itertools.product(*sweeps):
        merged: Overrides = {}
        for part in parts:
            if twice := merged.keys() & part.keys():
                raise ValueError(f"Two sweeps set {', '.join(sorted(twice))}.")
            merged |= part
        combined.append(merged)
    return combined


def _check_number(trials: int) -> None:
    if trials > _MOST_TRIALS:
        raise ValueError(
            f"A sweep must have at most {_MOST_TRIALS:,} trials, got {trials:,}."
        )


def read_study(folder: pathlib.Path) -> Any:
    """Imports `study.py` of a study's folder.

    Raises:
      ValueError: if there is no such study, and the message lists its siblings; if it
        lacks something that a study has.
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
        found = getattr(study, name)
        if not (isinstance(found, str) if name == "CONFIG" else callable(found)):
            raise ValueError(
                f"{folder / 'study.py'}: {name} must be {kind}, got {found!r}."
            )
    return study


def make_plan(
    folder: pathlib.Path,
    preset: str,
    arguments: list[str],
    check: Callable[[ml_collections.ConfigDict], None],
    log: Callable[[str], None] = lambda text: None,
) -> Plan:
    """Resolves and checks every trial of a study at a preset.

    Args:
      folder: of the study, such as `experiments/<study>`; CONFIG is a path from the
        folder that holds `experiments`, else from the repository of this package.
      preset: of the study and of its config.
      arguments: `--config.KEY=VALUE` for all trials; of no key that the sweep sets.
      check: raises ValueError with all that is wrong with a config.
      log: told now and then how many trials are checked, if that takes a while.

    Raises:
      ValueError: if the study, the preset, an override or a config is wrong.
    """
    study = read_study(folder)
    roots = (folder.resolve().parents[1], pathlib.Path(__file__).resolve().parents[2])
    paths = [root / study.CONFIG for root in roots]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise ValueError(
            f"{study.__file__}: CONFIG must be a config file, got {study.CONFIG!r}, "
            f"and there is no {' and no '.join(map(str, dict.fromkeys(paths)))}."
        )
    preset_config = configs.load(f"{path}:{preset}")
    given = configs.parse_overrides(preset_config, arguments)
    trials = user_code.call(
        pathlib.Path(study.__file__),
        study.sweep,
        preset,
        expected="sweep must return a list of overrides, at least one, such as "
        '[{"seed": 0}]',
        is_valid=_are_overrides,
    )
    _check_number(len(trials))
    _check_free(given, trials)
    base = configs.override(preset_config, given)
    changes = {k: base[k] for k in sorted(given) if base[k] != preset_config[k]}
    runs: dict[str, tuple[Overrides, ml_collections.ConfigDict]] = {}
    reported = time.monotonic()
    for number, trial in enumerate(trials):
        if time.monotonic() - reported > _REPORT_SECONDS:
            log(f"{number:,} of {len(trials):,} trials are checked")
            reported = time.monotonic()
        config = configs.override(base, trial)
        check(config)
        overrides = {key: config[key] for key in trial}
        _, known = runs.setdefault(configs.run_id(config), (overrides, config))
        if known.num_steps != config.num_steps:
            raise ValueError(
                f"Two trials differ in num_steps alone, {known.num_steps} and "
                f"{config.num_steps}. With a constant optimizer.schedule that is one "
                "run: plan the larger number, whose metrics show the smaller one, too."
            )
    name = folder.resolve().name
    return Plan(
        name="-".join([name, preset, *([_suffix(changes)] if changes else [])]),
        study=study,
        overrides=[overrides for overrides, _ in runs.values()],
        configs=[config for _, config in runs.values()],
        study_name=name,
        preset=preset,
        changes=changes,
        repeated=len(trials) - len(runs),
        config_file=path,
    )


def _are_overrides(trials: Any) -> bool:
    return (
        isinstance(trials, list | tuple)
        and len(trials) > 0
        and all(isinstance(trial, Mapping) for trial in trials)
        and all(isinstance(key, str) for trial in trials for key in trial)
    )


def _check_free(given: Overrides, trials: Sequence[Overrides]) -> None:
    """Raises ValueError if a key is given that trials set: they would win."""
    problems = []
    for key in given:
        values = list(dict.fromkeys(str(t[key]) for t in trials if key in t))
        if values:
            said = ", ".join(values[:6]) + ", .." * (len(values) > 6)
            problems.append(
                f"--config.{key} does nothing where the sweep itself sets {key} (to "
                f"{said}); leave it out, or change the sweep of the study."
            )
    configs.raise_problems(problems, "override")


def _suffix(changes: Overrides) -> str:
    """Names changes by their keys and values if these make a short name of a folder."""
    said = ",".join(f"{key}={value}" for key, value in changes.items())
    if re.fullmatch(r"[\w.,=+-]{1,100}", said):
        return said
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def describe(overrides: Mapping[str, Any]) -> str:
    """Says what sets a trial apart, shortly: `num_loops=2 weight_decay=0.1 seed=0`."""
    return " ".join(f"{k.rpartition('.')[2]}={v}" for k, v in overrides.items())
