"""Runs that were never trained: accuracies that jump from 0 to 1 at a given step."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from rdt_jax import config as configs
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.runs import Run
from rdt_jax.store import files, records, run_folder
from rdt_jax.sweep import plan as plans
from rdt_jax.sweep import spec
from rdt_jax.training import phases

ROOT = pathlib.Path(__file__).resolve().parent.parent
EVERY = 10  # updates between evaluations
BUDGET = 230
# The median of the last 5 evaluations is 1 at the third evaluation from the jump.
DELAY = 2 * EVERY

# What every row of events.jsonl has, beside its step.
EVENT = {
    "event": "memorized", "kind": "onset", "hops": None, "split": "train", "loops": 2,
    "onset": 0, "completed": None, "threshold": 0.95, "value": 0.5, "occurrence": 1,
}  # fmt: skip

_BASE = configs.load(f"{ROOT}/configs/knowledge_composition.py:smoke")


def make(
    *,
    jumps: Mapping[str, int | None],
    loops: int = 2,
    decay: float = 0.1,
    seed: int = 0,
    until: int | None = None,
    state: str = "done",
    reason: str | None = "budget",
    top: Mapping[str, float] | None = None,
    base: ml_collections.ConfigDict = _BASE,
    **overrides: Any,
) -> Run:
    """Returns a run whose accuracy on a split is `top` (1) from its jump on.

    A split, or `id[hops=2]@8`, that never jumps has None; others do not exist. The run
    was evaluated `until` a step: None for the budget, -1 for never. In `overrides`,
    further config keys, `__` stands for a dot.
    """
    config = configs.override(
        base,
        {
            "num_steps": BUDGET,
            "eval_every_steps": EVERY,
            "recurrence.num_loops": loops,
            "optimizer.weight_decay": decay,
            "seed": seed,
            **{key.replace("__", "."): value for key, value in overrides.items()},
        },
    )
    watched = [
        phases.Phase(each.name, each.watched, each.loops, each.threshold, 0.03, 97)
        for each in phases.declared(config)
        if each.watched in jumps
    ]
    detector = phases.new_state(watched)
    metrics: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    for step in range(0, (BUDGET if until is None else until) + 1, EVERY):
        scores = {
            split: (top or {}).get(split, 1.0) * (jump is not None and step >= jump)
            for split, jump in jumps.items()
        }
        accuracies = {
            _metric(config, watched): value for watched, value in scores.items()
        }
        row: dict[str, Any] = {"step": step, **accuracies}
        if step > 0:  # There is no update before the first evaluation.
            row["model/gradient_norm"] = step
        metrics.append(row)
        detector, rows = phases.observe(detector, watched, step, scores)
        events += rows
    return of(config, metrics, events, state=state, reason=reason, step=BUDGET)


def of(
    config: ml_collections.ConfigDict,
    metrics: list[dict[str, Any]],
    events: list[dict[str, Any]],
    **status: Any,
) -> Run:
    """Returns a run with these records, whose folder does not exist."""
    folder = pathlib.Path(configs.run_id(config))
    status = {"pack": None, "lane": 0, **status}
    return Run(folder, config, status, metrics, events)


def _metric(config: ml_collections.ConfigDict, watched: str) -> str:
    group, loops = phases.rows_and_loops(watched)
    split, bracket, tag = group.partition("[")
    loops = loops or phases.loops_of(config, split)
    return f"{split}/accuracy@{loops}{bracket}{tag}"


def staged(
    loops: int, ood: int | None, seed: int = 0, decay: float = 0.1,
    *, train: int | None = 20, id: int | None = 40, **options: Any,
) -> Run:  # fmt: skip
    """Returns a run with a jump on each of train, ID and OOD, at given steps."""
    jumps = {"train": train, "id": id, "ood": ood}
    return make(jumps=jumps, loops=loops, seed=seed, decay=decay, **options)


def waiting(loops: int, ood: int | None = None, **options: Any) -> Run:
    """Returns one that has been evaluated up to update 90 and still trains."""
    how = {"until": 90, "state": "running", "reason": None}
    return staged(loops, ood, **how | options)


def row(name: str, step: int, **more: Any) -> dict[str, Any]:
    """Returns a row of a run's file of that name."""
    return {"step": step} | (EVENT if name == "events.jsonl" else {}) | more


def lost(run: Run) -> Run:
    """Returns a run as a plan knows it whose folder is gone."""
    status = {"state": "missing", "reason": None, "message": "no folder"}
    return dataclasses.replace(run, status=status, metrics=[], events=[])


def write(run: Run, workdir: pathlib.Path) -> pathlib.Path:
    """Writes a run as a run folder and returns it."""
    folder = workdir / run.run_id
    run_folder.create(folder, run.config)
    for name in ("metrics", "events"):
        for row in getattr(run, name):
            records.append(folder / f"{name}.jsonl", row)
    files.write_json(folder / "status.json", run.status)
    return folder


def write_planned(
    workdir: pathlib.Path, name: str, runs: Sequence[Run], **plan: Any
) -> spec.Plan:
    """Writes runs and their sweep over loops, what else they differ in, and seeds.

    Runs that are lost get no folder. `plan` is of plan.json; the plan is returned.
    """
    axes = ["recurrence.num_loops", *run_folders.axes_of(runs), "seed"]
    trials = [
        {
            "run_id": run.run_id,
            "overrides": {key: run_folders.value_of(run, key) for key in axes},
            "config": run.config.to_dict(),
        }
        for run in runs
    ]
    for run in runs:
        if not run.is_lost:
            write(run, workdir)
    folder = workdir / "sweeps" / name
    folder.mkdir(parents=True)
    files.write_json(folder / "plan.json", {"name": name, "runs": trials, **plan})
    return plans.read(folder).as_plan()


def measured_at(run: Run, loops: Sequence[int]) -> Run:
    """Returns a run with losses, evaluated at further loop counts, too."""
    rows = []
    for row in run.metrics:
        more = {}
        for key, value in row.items():
            if "/accuracy@" not in key:
                continue
            split, _, own = key.partition("/accuracy@")
            more[f"{split}/loss@{own}"] = 3.5 - 3 * value + 0.1 * (row["step"] % 7)
            for r in {*loops} - {int(own.partition("[")[0])}:
                more[f"{split}/accuracy@{r}"] = value * r / (r + 1)
        rows.append(row | more)
    return dataclasses.replace(run, metrics=rows)
