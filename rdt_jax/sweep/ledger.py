"""Who works on what: the plan of a sweep, its packs, and what is left to do.

status.json of a run alone says what became of it. A pack is claimed by holding the lock
of its folder while it trains (`training.lock`), so a claim ends with its process.
"""

import json
import pathlib
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import ml_collections

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.sweep import pack as packs
from rdt_jax.sweep import spec
from rdt_jax.training import lock, loop, memory, records, standing, step

_WAIT_SECONDS = 1.0
_PROGRAMS = 4  # that a worker keeps


class Options(NamedTuple):
    """How the packs of a sweep that are not formed yet will train.

    Attributes:
      lanes: trials per pack, at the most; None for as many as fit.
      memory_bytes: of a worker's device.
      exact: lanes one after another, bit for bit like solo runs.
      pin_bytes: disk for the transitions of each run; None for no limit.
    """

    lanes: int | None = 1
    memory_bytes: int = sys.maxsize
    exact: bool = False
    pin_bytes: int | None = None


class OpenPack(NamedTuple):
    """A pack of a sweep that has unfinished runs of its plan.

    Attributes:
      configs: of all its runs.
      exact: as in Options.
      max_pins: transitions of each run that may keep their parameters.
    """

    configs: packs.Pack
    exact: bool
    max_pins: int


def write_plan(
    workdir: pathlib.Path, plan: spec.Plan, options: Options
) -> pathlib.Path:
    """Writes or extends the plan of a sweep and creates its run folders.

    Runs keep the pack they began in, also if that was in another sweep, and runs that
    are over are in no new one, so a sweep can be extended at any time.
    Failed runs become pending again, unless they failed with a NaN, which would repeat;
    runs whose process was killed become preempted, and so do finished ones that lost
    their last row, which training on restores.

    Args:
      workdir: of the runs.
      plan: what to train.
      options: for runs that have no pack yet.

    Returns:
      The sweep's folder.

    Raises:
      ValueError: if an option is out of range, or the records of a run are damaged.
    """
    folder = workdir / "sweeps" / plan.name
    (folder / "state").mkdir(parents=True, exist_ok=True)
    by_id = dict(zip(plan.run_ids, plan.configs, strict=True))
    for name, config in by_id.items():
        records.create(workdir / name, config)
        records.check(workdir / name)
        _reopen(workdir, name)
    path = folder / "state" / "packs.json"
    formed = records.read_json(path) if path.exists() else []
    known = {name for entry in formed for name in entry["runs"]}
    new = []
    predict = predictor()
    for name, config in by_id.items():
        status = records.read_status(workdir / name)
        if name in known or loop.is_final(status):
            continue
        if began := loop.began_in(workdir, status):
            formed.append(_entry([configs.read_run(workdir / n) for n in began],
                                 options, predict))  # fmt: skip
            known |= set(began)
        else:
            new.append(config)
    for pack in packs.form(new, options.lanes, options.memory_bytes, predict):
        formed.append(_entry(pack, options, predict))
    records.write_json(path, formed)
    records.write_json(
        folder / "plan.json",
        {
            "name": plan.name,
            "runs": [
                {"run_id": name, "overrides": overrides}
                for name, overrides in zip(by_id, plan.overrides, strict=True)
            ],
        },
    )
    return folder


def read_plan(folder: pathlib.Path) -> list[tuple[str, spec.Overrides]]:
    """Returns the (run_id, overrides) of a sweep's trials, in their order.

    Raises:
      ValueError: if `folder` has no plan.
    """
    path = folder / "plan.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no plan.json; start it with `rdt sweep`.")
    return [
        (run["run_id"], run["overrides"])
        for run in json.loads(path.read_text())["runs"]
    ]


def open_packs(folder: pathlib.Path) -> list[OpenPack]:
    """Returns the packs with unfinished runs of the plan, the most expensive first.

    Starting with the longest keeps the workers busy to the end.
    """
    workdir = folder.parents[1]
    planned = {name for name, _ in read_plan(folder)}
    unfinished = []
    for entry in records.read_json(folder / "state" / "packs.json"):
        names = entry["runs"]
        if any(name in planned and _waits(workdir / name) for name in names):
            runs = [configs.read_run(workdir / name) for name in names]
            unfinished.append(OpenPack(runs, entry["exact"], entry["max_pins"]))
    return sorted(unfinished, key=lambda p: packs.flops(p.configs), reverse=True)


def predictor() -> packs.Predict:
    """Returns a function that predicts bytes once for each signature."""
    known: dict[str, memory.Bytes] = {}

    def predict(config: ml_collections.ConfigDict) -> memory.Bytes:
        name = packs.signature(config)
        if name not in known:
            known[name] = memory.predict(config, tasks.make_table(config))
        return known[name]

    return predict


def work(
    folder: pathlib.Path,
    *,
    stop_requested: Callable[[], bool],
    report: Callable[[str], None],
) -> None:
    """Trains packs of a sweep until all are finished, by this worker or by others.

    A pack that fails is recorded, reported and left behind.

    Args:
      folder: of the sweep.
      stop_requested: asked after every dispatch and between packs.
      report: takes what the user should know.
    """
    tried: set[str] = set()
    workdir = folder.parents[1]
    build = remembering(step.build)
    while not stop_requested():
        left = [p for p in open_packs(folder) if loop.pack_id(p.configs) not in tried]
        if not left:
            return
        free = [p for p in left if not _is_held(workdir, p.configs)]
        if not free:
            time.sleep(_WAIT_SECONDS)  # A holder may end without finishing its pack.
            continue
        pack = free[0]
        try:
            loop.train(
                pack.configs,
                workdir,
                exact=pack.exact,
                max_pins=pack.max_pins,
                build=build,
                stop_requested=stop_requested,
                report=report,
            )
        except BlockingIOError:
            continue  # Another worker was faster.
        except Exception:
            tried.add(loop.pack_id(pack.configs))
            report(traceback.format_exc())


def remembering(build: standing.Build) -> standing.Build:
    """Returns `build`, which here makes the program of a signature and size once.

    The newest few are kept: each holds its task's rows on the device.
    """
    built: dict[tuple[str, int, bool], step.Program] = {}

    def build_once(pack, table, exact=False) -> step.Program:
        key = (packs.signature(pack[0]), len(pack), exact)
        program = built.pop(key, None) or build(pack, table, exact)
        while len(built) >= _PROGRAMS:
            del built[next(iter(built))]
        return built.setdefault(key, program)

    return build_once


def abandon(workdir: pathlib.Path, run_ids: Sequence[str], why: str) -> list[str]:
    """Marks the runs whose process is gone as failed; returns their names.

    Args:
      workdir: of the runs.
      run_ids: runs to look at; those that are not `running`, or whose pack is held by
        a living process, are left alone.
      why: goes into status.json as `message`.
    """
    gone = []
    for name in run_ids:
        status = records.read_status(workdir / name)
        if status["state"] != "running":
            continue
        if not lock.is_held(workdir / "packs" / status["pack"]):
            failed = {"state": "failed", "reason": "error", "message": why}
            records.write_json(workdir / name / "status.json", status | failed)
            gone.append(name)
    return gone


def _entry(pack: packs.Pack, options: Options, predict: packs.Predict):
    params = predict(pack[0]).params
    return {
        "runs": [configs.run_id(config) for config in pack],
        "exact": options.exact,
        "max_pins": packs.max_pins(pack[0], options.pin_bytes, params),
    }


def _reopen(workdir: pathlib.Path, name: str) -> None:
    path = workdir / name / "status.json"
    status = records.read_status(workdir / name)
    if status["state"] == "failed" and not loop.is_final(status):
        records.write_json(path, status | {"state": "pending", "reason": None})
    if loop.is_final(status) and records.is_torn(workdir / name):
        records.write_json(path, status | {"state": "preempted", "reason": None})
    if status["state"] == "running" and not lock.is_held(
        workdir / "packs" / status["pack"]
    ):
        records.write_json(path, status | {"state": "preempted"})


def _is_held(workdir: pathlib.Path, pack) -> bool:
    """Says whether a living process trains a pack, or one of its runs elsewhere."""
    runs = [workdir / configs.run_id(config) for config in pack]
    return lock.is_held(workdir / "packs" / loop.pack_id(pack), runs)


def _waits(folder: pathlib.Path) -> bool:
    status: dict[str, Any] = records.read_status(folder)
    return status["state"] not in ("done", "failed")
