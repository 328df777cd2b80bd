"""Who works on what: the plan of a sweep, its packs, and what is left to do.

status.json of a run alone says what became of it. Who trains a pack, and how its
leases ended, is in the workdir (`store.leases`), since sweeps share packs. What is
left follows from these; nobody keeps a list of it, so nobody can lose one.
"""

import contextlib
import functools
import pathlib
import sys
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.profile import memory
from rdt_jax.store import environment, files, leases, packs, records, run_folder
from rdt_jax.store.leases import Leases, LocalLeases, Observer
from rdt_jax.sweep import packing, spec
from rdt_jax.training import multiprocess, recording
from rdt_jax.training.multiprocess import Build
from rdt_jax.training.pack import build as build_pack
from rdt_jax.training.run import TrainOptions, never_end, train

# How often each class of failure is tried again. A NaN would repeat. A pack that needs
# too much memory is split in two until it is one lane. `error` and `preempted` (an
# attempt was lost) count attempts since the newest checkpoint.
RETRIES = {"nan": 0, "oom": 0, "error": 1, "preempted": 3}

OVER = ("done", "failed")  # States of runs that no worker takes.

# Of each entry of packs.json.
_ENTRY: Mapping[str, type] = {
    "runs": list,
    "exact": bool,
    "max_pins": int,
    "flops": int,
    "program": str,
    "retry_from": dict,
}
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
      workdir: of the runs.
      runs: names of all its runs.
      exact: as in Options.
      max_pins: transitions of each run that may keep their parameters.
      flops: of its whole budget, at the least.
      program: names what it compiles, alike for packs that can share it.
      retry_from: attempts up to this number are forgiven.
      budget: updates that the plan asks of its runs, at the least.
    """

    workdir: pathlib.Path
    runs: Sequence[str]
    exact: bool
    max_pins: int
    flops: int
    program: str
    retry_from: int = 0
    budget: int = 0

    @property
    def name(self) -> str:
        """The name of the pack."""
        return packs.pack_of(self.runs)

    @property
    def configs(self) -> packing.Pack:
        """Reads the configs of its runs, with the budget of the plan."""
        found = [configs.read_run(self.workdir / name) for name in self.runs]
        if not self.budget:  # The plan, of an earlier version, does not say.
            return found
        asked = {"num_steps": self.budget}
        return [configs.override(config, asked) for config in found]


def write_plan(
    workdir: pathlib.Path,
    plan: spec.Plan,
    options: Options,
    retry_failed: bool = False,
    refresh: Callable[[], None] = lambda: None,
) -> pathlib.Path:
    """Writes or extends the plan of a sweep and creates its run folders.

    Runs keep the pack they began in, also if that was in another sweep, and runs that
    are over are in no new one, so a sweep can be extended at any time. A run that is
    unreadable stays as it is, and so does its pack.

    Args:
      workdir: of the runs.
      plan: what to train.
      options: for runs that have no pack yet.
      retry_failed: failed runs become pending again, with all their retries, unless
        they failed with a NaN, which would repeat.
      refresh: brings the claims of others here, where the workdir is a copy.

    Returns:
      The sweep's folder.

    Raises:
      ValueError: if an option is out of range, packs.json is damaged, or a run has
        lost its checkpoints; if the sweep is being trained and unfinished trials of its
        plan are not in the new one; or as `leases.check_links`.
    """
    leases.check_links(workdir)
    folder = workdir / "sweeps" / plan.name
    check_version(folder)
    run_folder.check_version(workdir)
    _check_replaceable(folder, plan, refresh)
    for name, config in zip(plan.run_ids, plan.configs, strict=True):
        if not is_readable(workdir, [name]):
            continue
        run_folder.create(workdir / name, config)
        environment.check_table(workdir / name, tasks.hash_of(config), config)
        packs.check_kept(workdir, name, config.num_steps)
    path = folder / "state" / "packs.json"
    formed = form_packs(workdir, plan, options)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, formed)
    files.write_json(
        folder / "plan.json",
        {
            "name": plan.name,
            "study": plan.study_name,
            "preset": plan.preset,
            "overrides": plan.changes,
            "config_file": (
                environment.of_files([plan.config_file]) if plan.config_file else None
            ),
            "runs": [
                {
                    "run_id": name,
                    "overrides": overrides,
                    "config": config.to_dict(),
                    "table": tasks.hash_of(config),
                }
                for name, overrides, config in zip(
                    plan.run_ids, plan.overrides, plan.configs, strict=True
                )
            ],
        },
    )
    (folder / "state" / "stop").unlink(missing_ok=True)
    if retry_failed:
        _forgive(workdir, plan.run_ids, path)
    settle(folder, Observer())
    return folder


def dropped(folder: pathlib.Path, plan: spec.Plan) -> list[str]:
    """Returns the trials of a sweep's stored plan, if any, that a new one lacks."""
    if not (folder / "plan.json").exists():
        return []
    return [name for name, _ in read_plan(folder) if name not in set(plan.run_ids)]


def is_earlier(folder: pathlib.Path) -> bool:
    """Says whether a sweep, if there is one, was planned before version 0.2."""
    if not (folder / "plan.json").exists():
        return False
    (name, config), *_ = planned_configs(folder, first=1).items()
    return config is None or configs.run_id(config) != name


def check_version(folder: pathlib.Path) -> None:
    """Raises ValueError if a sweep, if there is one, was planned before version 0.2."""
    if is_earlier(folder):
        raise ValueError(
            f"{folder} was planned by a version before 0.2, which drew other batches "
            "and named runs in another way. It can be read (figures, claims, analyze) "
            "and not be gone on with: use another --workdir."
        )


def _check_replaceable(
    folder: pathlib.Path, plan: spec.Plan, refresh: Callable[[], None]
) -> None:
    """Raises ValueError if replacing the plan would take trials from its workers."""
    workdir, observer = folder.parents[1], Observer()
    statuses = [records.planned_status(workdir / n) for n in dropped(folder, plan)]
    lost = [status for status in statuses if not packs.is_final(status)]
    while lost:
        refresh()
        planned = [name for name, _ in read_plan(folder)]
        holders = leases.holders(workdir, observer)
        holder = leases.holder_of(holders, "", planned)
        if holder is None:
            return
        if holder.is_alive:
            raise ValueError(
                f"The sweep {plan.name} is being trained, and {len(lost)} of its "
                "unfinished trials are not in this plan: its study or its config was "
                "changed. Stop it first (--stop), or use another --workdir."
            )
        time.sleep(_WAIT_SECONDS)  # Of another machine: a live one changes.


def form_packs(
    workdir: pathlib.Path, plan: spec.Plan, options: Options
) -> list[dict[str, Any]]:
    """Returns the packs of a plan as packs.json has them; writes nothing.

    Raises:
      ValueError: if an option is out of range, or packs.json is damaged.
    """
    path = workdir / "sweeps" / plan.name / "state" / "packs.json"
    formed = read_packs(path.parents[1]) if path.exists() else []
    known = {name for entry in formed for name in entry["runs"]}
    new = []
    predict = predictor()
    for name, config in zip(plan.run_ids, plan.configs, strict=True):
        if name in known or not is_readable(workdir, [name]):
            continue
        status = run_folder.read_status(workdir / name, config.num_steps)
        if packs.is_final(status):
            continue
        if began := packs.began_in(workdir, status):
            if not is_readable(workdir, began):
                continue
            runs = [configs.read_run(workdir / other) for other in began]
            entry = _entry(runs, options, predict)
            if packs.is_final(run_folder.read_status(workdir / name)):
                # It has ended well with its budget, whatever failed on the way.
                packed = packs.pack_of(began)
                entry["retry_from"] = {packed: len(leases.history(workdir, packed))}
            formed.append(entry)
            known |= set(began)
        else:
            new.append(config)
            known.add(name)
    for pack in packing.form(new, options.lanes, options.memory_bytes, predict):
        formed.append(_entry(pack, options, predict))
    return formed


def read_plan(folder: pathlib.Path) -> list[tuple[str, spec.Overrides]]:
    """Returns the (run_id, overrides) of a sweep's trials, in their order.

    Raises:
      ValueError: if `folder` has no plan, or if it is damaged.
    """
    runs = {run["run_id"]: run["overrides"] for run in stored_plan(folder)["runs"]}
    return list(runs.items())


def planned_configs(
    folder: pathlib.Path, first: int | None = None
) -> dict[str, ml_collections.ConfigDict | None]:
    """Returns run id -> config of a sweep's trials, in their order, or of the first.

    The config is None in a plan of an earlier version, which does not hold it.

    Raises:
      ValueError: if `folder` has no plan, or if a config does not hash to its run id.
    """
    found = {}
    for run in stored_plan(folder)["runs"][:first]:
        config = run.get("config")
        if config is not None:
            try:
                config = configs.of_run(config, run["run_id"])
            except ValueError as error:
                raise ValueError(
                    f"{folder / 'plan.json'}: the config of a run {error}"
                ) from error
        found[run["run_id"]] = config
    return found


def budgets(folder: pathlib.Path) -> dict[str, int | None]:
    """Returns the updates that a plan asks of each run; None if it does not say.

    Raises:
      ValueError: as `stored_plan`.
    """
    runs = stored_plan(folder)["runs"]
    return {
        run["run_id"]: run["config"]["num_steps"] if "config" in run else None
        for run in runs
    }


def stored_plan(folder: pathlib.Path) -> dict[str, Any]:
    """Returns the plan of a sweep as plan.json has it.

    Raises:
      ValueError: if `folder` has no plan, or if it is damaged.
    """
    path = folder / "plan.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no plan.json; start it with `rdt sweep`.")
    plan = files.read_json(path)
    runs = plan.get("runs")
    if (
        not isinstance(runs, list)
        or not runs
        or not all(
            isinstance(run, dict) and isinstance(run.get("overrides"), dict)
            for run in runs
        )
    ):
        raise ValueError(
            f"{path} is damaged: runs must list objects with run_id and overrides."
        )
    configs.check_run_ids([run.get("run_id") for run in runs], path)
    return plan


def read_packs(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the entries of packs.json of a sweep.

    Raises:
      ValueError: if it is damaged.
    """
    path = folder / "state" / "packs.json"
    entries = files.read_json(path, list)
    for number, entry in enumerate(entries):
        for key, kind in _ENTRY.items():
            if not isinstance(entry, dict) or type(entry.get(key)) is not kind:
                raise ValueError(
                    f"{path} is damaged: entry {number} must have {key}, a "
                    f"{kind.__name__}, got {entry}."
                )
        configs.check_run_ids(entry["runs"], path)
    return entries


def open_packs(folder: pathlib.Path) -> list[OpenPack]:
    """Returns the packs with unfinished runs of the plan, the most expensive first.

    Starting with the longest keeps the workers busy to the end. Packs with a run whose
    status is unreadable are left out.
    """
    asked, workdir = budgets(folder), folder.parents[1]
    found = []
    for pack in _packs(folder):
        states = {
            name: records.planned_status(workdir / name, budget=asked.get(name))[
                "state"
            ]
            for name in pack.runs
        }
        left = {name for name, state in states.items() if state not in OVER}
        if asked.keys() & left and "unreadable" not in states.values():
            found.append(pack)
    return found


def trainable_packs(folder: pathlib.Path) -> list[OpenPack]:
    """Returns the open packs without an unreadable run.

    That reads all their records, which `open_packs` alone does not.
    """
    found = open_packs(folder)
    return [pack for pack in found if is_readable(pack.workdir, pack.runs)]


def is_readable(workdir: pathlib.Path, run_ids: Sequence[str]) -> bool:
    """Says whether no record of these runs is damaged, as far as they have any."""
    statuses = (records.planned_status(workdir / n, in_full=True) for n in run_ids)
    return all(status["state"] != "unreadable" for status in statuses)


@functools.cache
def predictor() -> packing.Predict:
    """Returns a function that predicts bytes once for each signature."""
    known: dict[str, memory.Bytes] = {}

    def predict(config: ml_collections.ConfigDict) -> memory.Bytes:
        name = packing.signature(config)
        if name not in known:
            known[name] = memory.predict(config, tasks.make_table(config))
        return known[name]

    return predict


def work(
    folder: pathlib.Path,
    *,
    stop_requested: Callable[[], int],
    log: Callable[[str], None],
    may_end: recording.MayEnd = never_end,
    pack_leases: Leases | None = None,
    refresh: Callable[[], None] = lambda: None,
    build: Build = build_pack,
) -> None:
    """Trains packs of a sweep until all are finished, by this worker or by others.

    A pack that fails is recorded and reported, and tried again as RETRIES say. One with
    an unreadable run is reported and left as it is.

    Args:
      folder: of the sweep.
      stop_requested: asked after every dispatch and between packs.
      log: takes what the user should know.
      may_end: a context in which this process may end, as of `run.train`.
      pack_leases: leases of the packs of the workdir; None for those of a disk.
      refresh: brings here what others have done, where it is.
      build: makes the programs.
    """
    workdir = folder.parents[1]
    pack_leases = pack_leases or LocalLeases(workdir)
    built = remembering(build)
    stop = lambda: stop_requested() or is_stopped(folder)
    refused: set[str] = set()  # Packs that could not even be claimed.
    latest = None  # program
    while not stop():
        with may_end(lambda: None):
            refresh()
        pack_leases.tell(settle(folder, pack_leases.observer))
        left = [pack for pack in open_packs(folder) if pack.name not in refused]
        if not left:
            return
        holders = leases.holders(workdir, pack_leases.observer)
        free = [p for p in left if leases.holder_of(holders, p.name, p.runs) is None]
        if not free:
            time.sleep(_WAIT_SECONDS)  # A holder may end without finishing its pack.
            continue
        others = {pack.program for pack in left if pack not in free}
        pack = choose(free, latest, others)
        if not is_readable(workdir, pack.runs):
            refused.add(pack.name)
            continue
        latest = pack.program
        attempts = len(leases.history(workdir, pack.name))
        try:
            _check_tables(folder, pack)
            train(
                pack.configs,
                workdir,
                options=TrainOptions(
                    exact=pack.exact,
                    max_pins=pack.max_pins,
                    budgets=_budgets_of(workdir, pack.runs),
                    config_file=stored_plan(folder).get("config_file"),
                    build=built,
                ),
                leases=pack_leases,
                should_stop=stop,
                may_end=may_end,
                log=log,
            )
        except ConnectionError:  # The store is away.
            raise
        except leases.TakenOver as error:
            log(str(error))
        except BlockingIOError:
            pass  # Another worker was faster.
        except Exception as error:
            said = " ".join(str(error).split())
            log(f"Pack {pack.name} failed: {said}\n{traceback.format_exc()}")
            built = remembering(build)  # What it kept may be what was too much.
            if len(leases.history(workdir, pack.name)) == attempts:
                refused.add(pack.name)


def _budgets_of(workdir: pathlib.Path, runs: Sequence[str]) -> set[int]:
    """Returns the updates that all sweeps of a workdir ask of some runs."""
    found: set[int | None] = set()
    for path in workdir.glob("sweeps/*/plan.json"):
        with contextlib.suppress(ValueError, OSError):  # Of another sweep, damaged.
            asked = budgets(path.parent)
            found |= {asked[name] for name in runs if name in asked}
    return {budget for budget in found if budget is not None}


def _check_tables(folder: pathlib.Path, pack: OpenPack) -> None:
    """Raises ValueError if a task makes another table than when it was planned."""
    planned = {run["run_id"]: run.get("table") for run in stored_plan(folder)["runs"]}
    for name, config in zip(pack.runs, pack.configs, strict=True):
        before, now = planned.get(name), tasks.hash_of(config)
        if before not in (None, now):
            raise ValueError(
                f"Run {name} was planned with another table of {config.task.name} "
                f"(SHA-256 {before[:12]}) than it makes here ({now[:12]}): its code, "
                "its files or numpy differ. Bring the same here, or plan the sweep "
                "again with `rdt sweep`."
            )


def choose(
    free: Sequence[OpenPack], latest: str | None, others: Collection[str]
) -> OpenPack:
    """Returns the pack to train next: a dearest one, of a program to be made least.

    Among those as dear, that is one of the program `latest` that this worker used, else
    one of a program that no other worker uses now.

    Args:
      free: packs that nobody trains, the most expensive first.
      latest: None before the first.
      others: programs that other workers use.
    """
    dearest = [pack for pack in free if pack.flops == free[0].flops]
    return min(dearest, key=lambda p: (p.program != latest, p.program in others))


def settle(folder: pathlib.Path, observer: Observer) -> list[str]:
    """Writes into the runs of packs that nobody trains what follows from their leases.

    Those whose retries are spent have failed; the others that failed or were running
    are preempted: they go on.

    Returns:
      The names of runs that are now known to have failed.
    """
    workdir, failed, asked = folder.parents[1], [], budgets(folder)
    holders = leases.holders(workdir, observer)
    for pack in _packs(folder):
        try:
            statuses = {
                name: run_folder.read_status(workdir / name, asked.get(name))
                for name in pack.runs
            }
        except ValueError:
            continue
        open_ = {n: s for n, s in statuses.items() if not packs.is_final(s)}
        if not open_ or leases.holder_of(holders, pack.name, pack.runs) is not None:
            continue
        spent = _spent(pack)
        if spent is not None:  # Unless a lease has begun since we looked.
            holders = leases.holders(workdir, observer)
            held = leases.holder_of(holders, pack.name, pack.runs) is not None
            if held or _spent(pack) != spent:
                continue
        for name, status in open_.items():
            if spent is None and status["state"] in ("running", "failed"):
                _set_status(workdir / name, state="preempted", reason=None)
            if spent is not None and (status["state"], status["reason"]) != (
                "failed",
                spent[0],
            ):
                reason, message = spent
                _set_status(
                    workdir / name, state="failed", reason=reason, message=message
                )
                failed.append(name)
    return failed


def num_attempts(folder: pathlib.Path) -> int:
    """Counts the attempts at the packs of a sweep so far."""
    workdir = folder.parents[1]
    return sum(len(leases.history(workdir, pack.name)) for pack in _packs(folder))


def failures(
    workdir: pathlib.Path,
    trials: Sequence[tuple[str, spec.Overrides]],
    asked: Mapping[str, int | None] = {},
) -> list[tuple[spec.Overrides, str, dict[str, Any]]]:
    """Returns (overrides, run_id, status) of those of the trials that failed.

    Args:
      workdir: of the runs.
      trials: run id and overrides of each.
      asked: budgets by run id; of others it is their own.
    """
    found = [
        (
            overrides,
            name,
            records.planned_status(workdir / name, budget=asked.get(name)),
        )
        for name, overrides in trials
    ]
    return [each for each in found if each[2]["state"] == "failed"]


def request_stop(folder: pathlib.Path) -> None:
    """Asks all workers of a sweep, wherever they are, to checkpoint and end."""
    (folder / "state" / "stop").touch()


def is_stopped(folder: pathlib.Path) -> bool:
    """Says whether the workers of a sweep are asked to end."""
    return (folder / "state" / "stop").exists()


def remembering(build: Build) -> Build:
    """Returns `build`, which here makes the program of a signature and size once.

    The newest few are kept: each holds its task's rows on the device.
    """
    built: dict[tuple[str, int, bool], multiprocess.AnyPack] = {}

    def build_once(pack, table, exact=False) -> multiprocess.AnyPack:
        key = (packing.signature(pack[0]), len(pack), exact)
        program = built.pop(key, None) or build(pack, table, exact)
        while len(built) >= _PROGRAMS:
            del built[next(iter(built))]
        return built.setdefault(key, program)

    return build_once


def _packs(folder: pathlib.Path) -> list[OpenPack]:
    """Returns all packs of a sweep, those that were split as their parts."""
    workdir, asked = folder.parents[1], budgets(folder)
    found = []
    for entry in read_packs(folder):
        for runs in _split(workdir, entry["runs"]):
            budget = max(asked.get(name) or 0 for name in runs)
            found.append(
                OpenPack(
                    workdir,
                    runs,
                    entry["exact"],
                    entry["max_pins"],
                    entry["flops"] * len(runs) // len(entry["runs"]),
                    f"{entry['program']}-{len(runs)}",
                    entry["retry_from"].get(packs.pack_of(runs), 0),
                    budget,
                )
            )
    return sorted(found, key=lambda pack: pack.flops, reverse=True)


def _split(workdir: pathlib.Path, runs: Sequence[str]) -> list[Sequence[str]]:
    """Returns the packs that a pack has become: two halves if it needed too much."""
    past = leases.history(workdir, packs.pack_of(runs)) if len(runs) > 1 else []
    if not past or past[-1].outcome != "oom":
        return [runs]
    left = [name for name in past[-1].unfinished if name in runs]
    half = -(-len(left) // 2)
    parts = [part for part in (left[:half], left[half:]) if part]
    return [each for part in parts for each in _split(workdir, part)]


def _spent(pack: OpenPack) -> tuple[str, str] | None:
    """Returns the class and the message of the failure that used up a pack's retries.

    The newest attempt must not be under way.
    """
    past = leases.history(pack.workdir, pack.name)[pack.retry_from :]
    since = [each for each in past if each.step == past[-1].step]
    for reason, counted in (("oom", past), ("error", since)):
        ended = [each for each in counted if each.outcome == reason]
        if len(ended) > RETRIES[reason]:
            return reason, ended[-1].message
    lost = 0
    for each in reversed(past):
        if each.outcome != leases.LOST or each.step != past[-1].step:
            break
        lost += 1
    if lost > RETRIES["preempted"]:
        message = f"{lost} attempts in a row were lost without a new checkpoint"
        return "preempted", message
    return None


def is_retried(status: dict[str, Any]) -> bool:
    """Says whether `retry_failed` gives a run with this status another try."""
    return status["state"] == "failed" and not packs.is_final(status)


def _forgive(workdir: pathlib.Path, run_ids: Sequence[str], path: pathlib.Path) -> None:
    """Makes failed runs pending again, and their packs' attempts so far not count."""
    formed = read_packs(path.parents[1])
    retried = set()
    asked = budgets(path.parents[1])
    for name in run_ids:
        status = records.planned_status(workdir / name, budget=asked.get(name))
        if is_retried(status):
            retried.add(name)
            _set_status(workdir / name, state="pending", reason=None)
    for entry in formed:
        for runs in _split(workdir, entry["runs"]):
            if retried & set(runs):
                pack = packs.pack_of(runs)
                entry["retry_from"][pack] = len(leases.history(workdir, pack))
    files.write_json(path, formed)


def _entry(pack: packing.Pack, options: Options, predict: packing.Predict):
    params = predict(pack[0]).params
    return {
        "runs": [configs.run_id(config) for config in pack],
        "exact": options.exact,
        "max_pins": packing.max_pins(pack[0], options.pin_bytes, params),
        "flops": packing.flops(pack),
        "program": packing.program_id(pack[0]),
        "retry_from": {},
    }


def _set_status(folder: pathlib.Path, **fields: Any) -> None:
    status = {k: v for k, v in run_folder.read_status(folder).items() if k != "message"}
    files.write_json(folder / "status.json", status | fields)
