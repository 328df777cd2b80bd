"""The stored plan of a sweep: its runs, the updates it asks of each, and their tables.

stored = plan.read(workdir / "sweeps" / "depth_by_decay-cpu")
for trial in stored.trials:
    print(trial.run_id, trial.budget, spec.describe(trial.overrides))
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.store import environment, files
from rdt_jax.sweep import spec


@dataclasses.dataclass(frozen=True, eq=False)
class StoredPlan:
    """What plan.json of a sweep says.

    Attributes:
      study: name of the study, empty without one; None in a plan of before version
        0.2.
      study_file: its study.py when it was planned; None if it has none or is earlier.
      preset: name of the study's preset; empty where there is no study.
      changes: values by which the command line changed the preset.
      config_file: commit and hash of the preset's file, as `environment.of_files`.
    """

    path: pathlib.Path
    trials: Sequence[spec.Trial]
    study: str | None
    preset: str
    changes: spec.Overrides
    config_file: Mapping[str, Any] | None
    study_file: pathlib.Path | None = None

    @property
    def run_ids(self) -> list[str]:
        """The names of the runs, in the order of the sweep."""
        return [trial.run_id for trial in self.trials]

    @property
    def is_earlier(self) -> bool:
        """Whether the sweep was planned before version 0.2."""
        first = self.trials[0]
        return configs.run_id(first.config) != first.run_id

    def as_plan(self, study: Any = spec.NO_STUDY) -> spec.Plan:
        """Returns the plan of which this is stored, with the module of its study."""
        return spec.Plan(
            name=self.path.parent.name,
            study=study,
            trials=self.trials,
            study_name=self.study or "",
            preset=self.preset,
            changes=self.changes,
            config_file=self.config_file,
        )

    def configs(self) -> dict[str, ml_collections.ConfigDict]:
        """Returns the configs of the trials by the names of their runs; ValueError."""
        try:
            return spec.configs_of(self.trials)
        except ValueError as error:  # It names plan.json without its folder.
            raise ValueError(f"{self.path.parent}/{error}") from error


def read(folder: pathlib.Path) -> StoredPlan:
    """Reads the plan of a sweep; ValueError if there is none, or it is damaged.

    A plan of before version 0.2 may not hold the configs: they are those of the runs,
    which must be there.
    """
    path, plan = _read(folder)
    runs = {run["run_id"]: run for run in plan["runs"]}
    return StoredPlan(
        path=path,
        trials=[_trial(run, folder.parents[1]) for run in runs.values()],
        study=plan.get("study"),
        preset=plan.get("preset", ""),
        changes=plan.get("overrides", {}),
        config_file=plan.get("config_file"),
        study_file=pathlib.Path(file) if (file := plan.get("study_file")) else None,
    )


def read_run_ids(folder: pathlib.Path) -> list[str]:
    """Returns the names of a plan's runs, in its order; ValueError as of `read`."""
    return list(dict.fromkeys(run["run_id"] for run in _read(folder)[1]["runs"]))


def write(folder: pathlib.Path, plan: spec.Plan) -> None:
    """Writes the plan of a sweep, with the hash of the table that each run has now."""
    config_file = plan.config_file
    if isinstance(config_file, pathlib.Path):
        config_file = environment.of_files([config_file])
    content = {
        "name": plan.name,
        "study": plan.study_name,
        "study_file": plan.study.__file__ if plan.study_name else None,
        "preset": plan.preset,
        "overrides": plan.changes,
        "config_file": config_file,
        "runs": [
            {
                "run_id": trial.run_id,
                "overrides": trial.overrides,
                "config": trial.config.to_dict(),
                "table": tasks.hash_of(trial.config),
            }
            for trial in plan.trials
        ],
    }
    files.write_json(folder / "plan.json", content)


def exists(folder: pathlib.Path) -> bool:
    """Says whether a sweep has been planned."""
    return (folder / "plan.json").exists()


def with_stored(folder: pathlib.Path, plan: spec.Plan) -> spec.Plan:
    """Returns a plan with the trials that its sweep has already, without a study.

    All trials have the largest budget that was asked of any. ValueError if the folder
    has another sweep: of another study, config or axes.
    """
    if not exists(folder) or (stored := read(folder)).study is None:
        return plan  # Of before version 0.2, which is never gone on with.
    if problem := _other_sweep(stored, plan):
        raise ValueError(
            f"{folder} is {problem}. Use another "
            f"{'' if plan.study_name else '--name or '}--workdir."
        )
    if plan.study_name:
        return plan
    return plan._replace(trials=spec.merge(stored.trials, plan.trials))


def differing(stored: StoredPlan, plan: spec.Plan) -> dict[str, tuple[Any, Any]]:
    """Returns what the configs of two sweeps differ in beside their axes, by key.

    Each key has its value in the stored one and in the other one.
    """
    first, second = stored.trials[0], plan.trials[0]
    old, new = configs.leaves(first.config), configs.leaves(second.config)
    apart = {"seed", *first.overrides, *second.overrides}
    apart |= {"num_steps"} if first.has_budget and second.has_budget else set()
    pairs = {key: (old.get(key), new.get(key)) for key in {**old, **new}}
    return {k: (a, b) for k, (a, b) in pairs.items() if k not in apart and a != b}


def _other_sweep(stored: StoredPlan, plan: spec.Plan) -> str:
    """Says which sweep a stored one is, if it is another than a plan; else empty."""
    if stored.study != plan.study_name:
        return (
            f"a sweep of {f'the study {stored.study}' if stored.study else 'no study'}"
        )
    if plan.study_name:
        return ""
    axes = stored.as_plan().axes
    if set(axes) != set(plan.axes):
        old, new = (", ".join(names) or "the seed alone" for names in (axes, plan.axes))
        return f"a sweep over {old}, and this one is over {new}"
    found = differing(stored, plan)
    differences = sorted(found.items(), key=lambda pair: pair[0] != "task.name")
    listed = [f"{key} is {old}, and here {new}" for key, (old, new) in differences]
    more = f"; {len(listed) - 3} more" if len(listed) > 3 else ""
    return f"of another config ({'; '.join(listed[:3])}{more})" if listed else ""


def dropped(folder: pathlib.Path, plan: spec.Plan) -> list[str]:
    """Returns the runs of a sweep's stored plan, if any, that a new one lacks."""
    if not exists(folder):
        return []
    run_ids = set(plan.run_ids)
    return [run_id for run_id in read_run_ids(folder) if run_id not in run_ids]


def check_version(folder: pathlib.Path) -> None:
    """Raises ValueError if a sweep, if there is one, was planned before version 0.2."""
    if exists(folder) and read(folder).is_earlier:
        raise ValueError(
            f"{folder} was planned by a version before 0.2, which drew other batches "
            "and named runs in another way. It can be read (figures, claims, analyze) "
            "and not be gone on with: use another --workdir."
        )


def check_table(trial: spec.Trial) -> None:
    """Raises ValueError if a task makes another table than when it was planned."""
    before, now = trial.table, tasks.hash_of(trial.config)
    if before not in (None, now):
        raise ValueError(
            f"Run {trial.run_id} was planned with another table of "
            f"{trial.config.task.name} (SHA-256 {before[:12]}) than it makes here "
            f"({now[:12]}): its code, its files or numpy differ. Bring the same here, "
            "or plan the sweep again with `rdt sweep`."
        )


def budgets_of(workdir: pathlib.Path, run_ids: Sequence[str]) -> set[int]:
    """Returns the updates that all sweeps of a workdir ask of some runs."""
    budgets: set[int] = set()
    for path in workdir.glob("sweeps/*/plan.json"):
        with contextlib.suppress(ValueError, OSError):  # Of another sweep, damaged.
            trials = read(path.parent).trials
            budgets |= {trial.budget for trial in trials if trial.run_id in run_ids}
    return budgets


def _read(folder: pathlib.Path) -> tuple[pathlib.Path, dict[str, Any]]:
    """Returns the path of a plan and its content; ValueError if it is damaged."""
    path = folder / "plan.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no plan.json; start it with `rdt sweep`.")
    plan = files.read_json(path)
    runs = plan.get("runs")
    if not isinstance(runs, list) or not runs or not all(map(_is_run, runs)):
        raise ValueError(
            f"{path} is damaged: runs must list objects with run_id and overrides."
        )
    configs.check_run_ids([run.get("run_id") for run in runs], path)
    return path, plan


def _is_run(run: Any) -> bool:
    if not isinstance(run, dict) or not isinstance(run.get("overrides"), dict):
        return False
    values = run.get("config", {"num_steps": 0})
    return isinstance(values, dict) and type(values.get("num_steps")) is int


def _trial(run: Mapping[str, Any], workdir: pathlib.Path) -> spec.Trial:
    name = run["run_id"]
    values = run.get("config")
    if values is None:
        path = workdir / name / "config.json"
        if not path.exists():
            raise ValueError(
                f"{path} does not exist. The plan, of a version before 0.2, does not "
                "tell what this run was: bring its folder back, or plan the sweep in "
                "another --workdir."
            )
        values = configs.read_json(path)
    return spec.Trial(name, run["overrides"], values, run.get("table"))
