"""What runs are and what became of them, a row each, from the ends of their records.

runs = listing.read(workdir)  # or of a sweep: listing.read(workdir, plan.trials)
for row in listing.rows(runs, listing.labels_in(workdir)):
    print(row["run"], row["apart"], row["state"], row.get("id/accuracy"))
"""

import contextlib
import itertools
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from rdt_jax import config as configs
from rdt_jax import events as phases_of
from rdt_jax import schema, tasks
from rdt_jax.analysis import finding, grokking
from rdt_jax.analysis.runs import LOOPS, SEEDS, WEIGHT_DECAY, Run
from rdt_jax.store import records, run_folder
from rdt_jax.sweep import links, spec
from rdt_jax.sweep import plan as plans
from rdt_jax.training import phases


def read(
    workdir: pathlib.Path, trials: Sequence[spec.Trial] | None = None
) -> list[Run]:
    """Reads runs, of their metrics the last rows alone: damage before is not seen.

    A run that is missing or unreadable has a status that says so, and without a plan an
    empty config.

    Args:
      trials: trials whose runs are read, at their budgets; None for every run there.
    """
    if trials is None:
        return [_read(workdir / name, None) for name in finding.run_ids(workdir)]
    return [_read(workdir / trial.run_id, trial) for trial in trials]


def _read(folder: pathlib.Path, trial: spec.Trial | None) -> Run:
    budget = None if trial is None else trial.budget
    status = records.planned_status(folder, budget=budget)
    if status["state"] not in run_folder.LOST:
        try:
            config = configs.read_run(folder)
            if budget is not None:
                config.unlock().num_steps = budget
            up_to = config.num_steps
            events = records.read_rows(folder / "events.jsonl")
            metrics = records.last_rows(
                folder / "metrics.jsonl", phases.SMOOTHING, up_to
            )
            events = [row for row in events if row["step"] <= up_to]
            return Run(folder, config, status, metrics, events)
        except (ValueError, OSError) as error:
            message = {"state": "unreadable", "message": str(error)}
            status = run_folder.PENDING | message
    config = ml_collections.ConfigDict() if trial is None else trial.config
    return Run(folder, config, status, metrics=[], events=[])


def labels_in(workdir: pathlib.Path) -> dict[str, str]:
    """Returns `SWEEP/label` of the runs of all sweeps of a workdir, in their order."""
    found: dict[str, str] = {}
    for path in sorted(workdir.glob("sweeps/*/plan.json")):
        with contextlib.suppress(ValueError, OSError):  # Damaged, which its verbs say.
            for run_id, label in links.labels(plans.read(path.parent).trials).items():
                found.setdefault(run_id, f"{path.parent.name}/{label}")
    return found


def rows(runs: Sequence[Run], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Returns what a listing says of runs, all with the same names.

    Args:
      labels: what sets a run apart, by run id. Those without one are told by the config
        keys in which they differ, and one that is alone by what is not default.

    Returns:
      `run`, `apart`, `task`, `state`, `reason`, `message`, `step`, `num_steps`; config
      keys in which runs differ; `<phase>/step` at which phases have first completed;
      `<split>/accuracy` at the end as phases see it, the median of the last
      `phases.SMOOTHING` evaluations, and the loop count `<split>/loops` that it is at.
      None where a run has no such value.
    """
    values = {run.run_id: configs.leaves(run.config) for run in runs}
    apart = _labels({k: v for k, v in values.items() if v and k not in labels})
    keys = _differing(values.values())
    found = [
        {
            "run": run.run_id,
            "apart": {**apart, **labels}.get(run.run_id, ""),
            "task": values[run.run_id].get("task.name"),
            **{key: run.status.get(key) for key in ("state", "reason", "message")},
            "step": run.status["step"],
            **{key: values[run.run_id].get(key) for key in ("num_steps", *keys)},
            **{
                f"{event}/step": step
                for (event, kind), step in grokking.first_steps(run).items()
                if kind == "completed"
            },
            **_accuracies(run),
        }
        for run in runs
    ]
    names = dict.fromkeys(itertools.chain(*found))
    return [{name: row.get(name) for name in names} for row in found]


def _labels(values: Mapping[str, finding.Values]) -> dict[str, str]:
    """Returns what sets runs of one task apart, by run id."""
    by_task: dict[str, dict[str, finding.Values]] = {}
    for run_id, config in values.items():
        by_task.setdefault(config["task.name"], {})[run_id] = config
    found: dict[str, str] = {}
    for group in by_task.values():
        keys = _differing(group.values())
        if len(group) == 1:
            (config,) = group.values()
            default = {key: declared.default for key, declared in schema.KEYS.items()}
            keys = [k for k in config if config[k] != default.get(k)]
        keys = sorted(set(keys) - {"task.name"}, key=_place)
        found |= links.labels(
            [
                spec.Trial(run_id, {k: config[k] for k in keys if k in config}, {})
                for run_id, config in group.items()
            ]
        )
    return found


def _place(key: str) -> tuple:
    return (key in SEEDS, key not in (LOOPS, WEIGHT_DECAY), key)


def _differing(values: Iterable[finding.Values]) -> list[str]:
    keys = dict.fromkeys(itertools.chain(*(config for config in values)))
    return [key for key in keys if len({str(v.get(key)) for v in values if v}) > 1]


def _accuracies(run: Run) -> dict[str, float]:
    """Returns the accuracy on each split, smoothed, at the loop count of its phase."""
    found: dict[str, float] = {}
    for split in tasks.SPLITS if run.metrics else ():
        loops = phases_of.loops_of(run.config, split)
        name = f"{split}/accuracy@{loops}"
        values = [row[name] for row in run.metrics if row.get(name) is not None]
        if values:
            found[f"{split}/accuracy"] = float(np.median(values))
            found[f"{split}/loops"] = loops
    return found


def short_ids(run_ids: Iterable[str], among: Iterable[str]) -> dict[str, str]:
    """Returns the shortest beginning of at least 4 digits that is each run's alone."""
    ordered = sorted({*run_ids, *among})
    found = {}
    for before, name, after in zip(
        ["", *ordered], ordered, [*ordered[1:], ""], strict=False
    ):
        shared = (os.path.commonprefix([name, other]) for other in (before, after))
        found[name] = name[: max(4, 1 + max(map(len, shared)))]
    return found
