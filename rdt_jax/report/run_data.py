"""The data of a run in a report: what it is, reached and cost, and its curves."""

import datetime
import json
import math
import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from rdt_jax import config as configs
from rdt_jax import schema
from rdt_jax.analysis import compute, grokking, runs, stored
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import words
from rdt_jax.store import environment, records
from rdt_jax.sweep import spec
from rdt_jax.tasks import presets
from rdt_jax.training import phases

FEWEST = 20  # evaluations that are shown of a run, however many runs there are


class Preset(NamedTuple):
    """What the configs of runs are told as differences from.

    Attributes:
      name: name of the preset, such as `modular:cpu`; empty: the defaults of schema.py.
      options: options of `rdt train` that name it; empty if none do.
      values: its config by dotted key.
    """

    name: str
    options: str
    values: Mapping[str, Any]

    @classmethod
    def of(cls, plan: spec.Plan) -> "Preset":
        """Returns the preset of a sweep, as far as it can be found here."""
        task, file = plan.trials[0].config.task.name, plan.config_file
        named = configs.named_configs()
        if isinstance(file, Mapping):  # Of a stored plan, without the folder.
            stems = [pathlib.PurePath(name).stem for name in file["sha256"]]
            file = next((named[stem] for stem in stems if stem in named), None)
        try:
            if file is not None:
                known = named.get(file.stem) == file
                name = f"{file.stem if known else file}:{plan.preset}"
                config, options = configs.load(name), f"--config={quoted(name)}"
                return cls(name, options, configs.leaves(config))
            if plan.preset:
                options = f"--task={quoted(task)} --preset={quoted(plan.preset)}"
                config = presets.config_of(task, plan.preset)
                return cls(f"{task}:{plan.preset}", options, configs.leaves(config))
        except ValueError:  # The file or the preset is no longer there.
            pass
        return cls("", "", configs.leaves(schema.defaults()))

    def difference(self, config: ml_collections.ConfigDict) -> dict[str, Any]:
        """Returns what a config sets to other values, by dotted key."""
        base, found = self.values, configs.leaves(config)
        return {k: v for k, v in found.items() if k not in base or base[k] != v}

    def train(self, run: Run, difference: Mapping[str, Any]) -> str:
        """Returns the command that trains a run again, in another workdir."""
        if not self.options or self.values.keys() != configs.leaves(run.config).keys():
            return _in_python(run, 'rdt.train({}.config, workdir="again")')
        changes = [f"--config.{k}={quoted(value)}" for k, value in difference.items()]
        return " ".join(["rdt train", self.options, *changes, "--workdir=again"])


def quoted(text: object) -> str:
    """Returns a word of a command line."""
    return shlex.quote(str(text))


def of_run(
    run: Run,
    groups: Sequence[str],
    preset: Preset,
    most: int,
    problems: list[str],
) -> dict[str, Any]:
    """Returns the data of a run.

    Args:
      run: run, as read.
      groups: groups of rows whose accuracies are shown.
      preset: preset of its sweep.
      most: number of numbers in its curves, at most.
      problems: list to which is added what is wrong with the records of the run.
    """
    difference = preset.difference(run.config)
    checkpoints = list(stored.checkpoints(run))
    return {
        "loops": run.num_loops,
        "state": run.status["state"],
        "reason": run.status.get("reason"),
        "message": run.status.get("message") or "",
        "preset": preset.name,
        "difference": difference,
        "phases": {
            event: times.completed
            for event, times in grokking.grok_times(run).phases.items()
        },
        "final": {
            group: float(grokking.smooth(values[-phases.SMOOTHING :])[-1])
            for group in groups
            if runs.has_group(run, group)
            for values in [runs.accuracy(run, group).values]
        },
        **_curves(run, groups, most),
        "events": _events(run),
        **_history(run, problems),
        "checkpoints": checkpoints,
        "commands": _commands(run, preset.train(run, difference), checkpoints),
    }


def _curves(run: Run, groups: Sequence[str], most: int) -> dict[str, Any]:
    """Returns the evaluations of a run by column, at most so many numbers."""
    measured = set().union(*run.metrics[:1], *run.metrics[-1:])
    loops = {int(n) for key in measured for n in re.findall(r"/accuracy@(\d+)", key)}
    accuracy, loss = (
        {group: runs.metric_name(run, group, quantity) for group in groups}
        for quantity in ("accuracy", "loss")
    )
    by_loops = {
        group: {
            str(r): name
            for r in sorted(loops)
            if (name := runs.metric_name(run, group, loops=r)) in measured
        }
        for group in groups
        if "@" not in group
    }
    by_loops = {group: names for group, names in by_loops.items() if len(names) > 1}
    columns = [accuracy, loss, *by_loops.values()]
    number = sum(name in measured for names in columns for name in names.values())
    rows = _thinned(run, most // max(1, number))
    drawn = lambda names: {
        key: [_rounded(row.get(name)) for row in rows]
        for key, name in names.items()
        if name in measured
    }
    return {
        "steps": [row["step"] for row in rows],
        "curves": {
            "accuracy": drawn(accuracy),
            "loss": drawn(loss),
            "accuracy_by_loops": {g: drawn(names) for g, names in by_loops.items()},
        },
    }


def _thinned(run: Run, most: int) -> Sequence[Mapping[str, Any]]:
    """Returns about so many evaluations: half evenly, half by the logarithm of steps.

    The first, the last and those at which phases changed are among them.
    """
    rows, most = run.metrics, max(most, FEWEST)
    if len(rows) <= most:
        return rows
    evenly = np.linspace(0, len(rows) - 1, most // 2)
    early = np.geomspace(1, len(rows) - 1, most // 2)
    shown = {int(index) for index in np.round([*evenly, *early])}
    changes = {event["step"] for event in run.events}
    return [r for i, r in enumerate(rows) if i in shown or r["step"] in changes]


def _rounded(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None  # JSON has neither infinity nor NaN.
    return float(f"{value:.4g}")


def _events(run: Run) -> list[dict[str, Any]]:
    """Returns the changes of phases, an onset at the update that it is dated to."""
    found = []
    for row in run.events:
        name = row["event"] + ("" if row["hops"] is None else f"_{row['hops']}")
        told = {"step": row["step"], "phase": name, "kind": row["kind"]}
        if row["kind"] == "onset":
            told["step"] = row["onset"]
        found.append(told | {"name": f"{words.event_name(name)}: {row['kind']}"})
    return found


def _history(run: Run, problems: list[str]) -> dict[str, Any]:
    """Returns when, on what and at what cost a run was trained, with warnings."""
    empty: dict[str, Any] = {"cost": {}, "environment": {}}
    empty |= {"trained": [], "warnings": []}
    if run.is_lost:
        return empty
    try:
        path = run.folder / "timing.jsonl"
        timing = records.read_rows(path) if path.exists() else []
        history = environment.read(run.folder)
    except ValueError as error:
        problems.append(str(error))
        return empty
    segments = history["segments"]
    timing = [row for row in timing if row["step"] <= run.config.num_steps]
    seconds = [v for row in timing for k, v in row.items() if k.endswith("_seconds")]
    date = lambda at: datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat()
    times = [row["time"] for row in timing if "time" in row]
    return {
        "trained": [date(int(at)) for at in (min(times), max(times))] if times else [],
        "cost": {
            "flops": _flops(run, problems),
            "seconds": round(sum(seconds), 1) if seconds else None,
            "updates_per_second": run.status.get("updates_per_second"),
        },
        "environment": {
            key: entry.get(key)
            for entry in segments[-1:]
            for key in ("commit", "versions", "devices", "processes", "threads")
        },
        "warnings": environment.warnings(segments),
    }


def _flops(run: Run, problems: list[str]) -> float | None:
    """Returns the operations that its updates needed; None where its table is gone."""
    try:
        flops = compute.training_flops(run)
    except (ValueError, TypeError) as error:  # Or an argument is no longer known.
        if (problem := f"No operations are counted: {error}") not in problems:
            problems.append(problem)
        return None
    return float(flops[-1]) if flops.size else None


def _commands(run: Run, again: str, checkpoints: Sequence[str]) -> list[dict[str, str]]:
    """Returns the commands that make a run again and open what it kept."""
    found = {"trains it again": again, "opens it": _in_python(run, "run = {}", "-ic")}
    if checkpoints:
        last = "final" if "final" in checkpoints else checkpoints[-1]
        ask = f"rdt ask {quoted(run.folder)} --checkpoint={last}"
        found["asks its last kept parameters"] = ask
    return [{"does": does, "text": text} for does, text in found.items()]


def _in_python(run: Run, code: str, option: str = "-c") -> str:
    """Returns the command that runs code, in which `{}` stands for the opened run."""
    opened = f"rdt.open({json.dumps(str(run.folder))})"
    code = f"import rdt_jax as rdt; {code.format(opened)}"
    return f"python {option} {quoted(code)}"
