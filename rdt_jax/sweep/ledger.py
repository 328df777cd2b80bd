"""The packs of a sweep: which of them workers can train, and which to train again.

The state of a run is in its status.json. The leases of a pack, past and present, are in
the workdir (`store.leases`), since sweeps share packs. What is left to train follows
from these two and is not stored, so it cannot be lost.
"""

import dataclasses
import itertools
import pathlib
import sys
import time
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.store import environment, files, leases, packs, records, run_folder
from rdt_jax.sweep import links, packing, spec
from rdt_jax.sweep import plan as plans

# How often a pack is tried again after each class of failure. A NaN would repeat. One
# that needs too much memory is split in two until it is one lane. `error` and
# `preempted` (a lease was lost) count leases since the newest checkpoint.
RETRIES = {"nan": 0, "oom": 0, "error": 1, "preempted": 3}

OVER = ("done", "failed")  # States of runs that no worker takes.

WAIT_SECONDS = 1.0  # Time between two checks for free packs.


class Options(NamedTuple):
    """How the packs of a sweep that are not formed yet will train."""

    lanes: int | None = 1  # trials per pack, at the most; None for as many as fit
    memory_bytes: int = sys.maxsize  # memory of a worker's device
    # whether lanes train one after another, bit for bit like solo runs
    exact: bool = False
    # disk for the transitions of each run; None for no limit
    pin_bytes: int | None = None


@dataclasses.dataclass(frozen=True)
class Entry:
    """A pack as packs.json has it, as it was formed."""

    runs: list[str]  # names of its runs
    exact: bool  # whether lanes train one after another, as in Options
    max_pins: int  # transitions of each run that may keep their parameters
    flops: int  # operations of its whole budget, at the least
    program: str  # name of what it compiles, alike for packs that can share it
    # number of first leases that do not count as tries, by the name of this pack, or of
    # the part of it that they were of
    retry_from: dict[str, int]


@dataclasses.dataclass(frozen=True, eq=False)
class SweepPack:
    """A pack of a sweep as it is trained: an entry of packs.json, or a part of one.

    Attributes:
      workdir: folder of the runs.
      runs: names of all its runs.
      trials: trials of the plan that are in it, by the names of their runs.
      exact, max_pins, flops, program: as in Entry, for this part alone.
      retry_from: number of first leases that do not count as tries.
    """

    workdir: pathlib.Path
    runs: Sequence[str]
    trials: Mapping[str, spec.Trial]
    exact: bool
    max_pins: int
    flops: int
    program: str
    retry_from: int = 0

    @property
    def name(self) -> str:
        """The name of the pack."""
        return packs.pack_of(self.runs)

    @property
    def configs(self) -> packing.Pack:
        """Reads the configs of its runs, with the largest budget of its trials."""
        run_configs = [configs.read_run(self.workdir / name) for name in self.runs]
        if not self.trials:
            return run_configs
        budget = {"num_steps": max(trial.budget for trial in self.trials.values())}
        return [configs.override(config, budget) for config in run_configs]

    def read_statuses(self) -> dict[str, dict[str, Any]]:
        """Returns the status of each run at the budget that the plan asks of it."""
        budgets = {name: trial.budget for name, trial in self.trials.items()}
        return {
            name: records.planned_status(self.workdir / name, budget=budgets.get(name))
            for name in self.runs
        }

    def past_leases(self) -> list[leases.PastLease]:
        """Returns the leases of this pack in order; the last may still be held."""
        return leases.history(self.workdir, self.name)

    def is_open(self) -> bool:
        """Says whether a run of the plan is left to train, and none is unreadable."""
        states = {name: s["state"] for name, s in self.read_statuses().items()}
        unfinished = {name for name, state in states.items() if state not in OVER}
        return (
            bool(self.trials.keys() & unfinished)
            and "unreadable" not in states.values()
        )

    def spent(self) -> tuple[str, str] | None:
        """Returns the class and the message of the failure that spent its retries.

        The newest lease must have ended.
        """
        past = self.past_leases()[self.retry_from :]
        since = [ended for ended in past if ended.step == past[-1].step]
        for reason, counted in (("oom", past), ("error", since)):
            failed = [ended for ended in counted if ended.outcome == reason]
            if len(failed) > RETRIES[reason]:
                return reason, failed[-1].message
        is_vain = lambda e: e.outcome == leases.LOST and e.step == past[-1].step
        lost = len([*itertools.takewhile(is_vain, reversed(past))])
        if lost > RETRIES["preempted"]:
            message = f"{lost} attempts in a row were lost without a new checkpoint"
            return "preempted", message
        return None


def statuses_of(
    workdir: pathlib.Path, trials: Iterable[spec.Trial], in_full: bool = False
) -> list[dict[str, Any]]:
    """Returns the status of each run at the budget of its trial (`planned_status`)."""
    return [
        records.planned_status(workdir / trial.run_id, in_full, trial.budget)
        for trial in trials
    ]


def write_plan(
    workdir: pathlib.Path,
    plan: spec.Plan,
    options: Options,
    retry_failed: bool = False,
    refresh: Callable[[], None] = lambda: None,
    log: Callable[[str], None] = lambda message: None,
) -> pathlib.Path:
    """Writes or extends a plan and makes its run folders; returns that of the sweep.

    Runs keep the pack they began in, also if that was in another sweep, and runs that
    are over are in no new one, so a sweep can be extended at any time. A run that is
    unreadable stays as it is, and so does its pack.

    The options are those of packs that are formed now. With `retry_failed` failed runs
    become pending again, with all their retries, unless they failed with a NaN, which
    would repeat. `refresh` brings the leases of others here, where the workdir is a
    copy of a bucket.

    Raises:
      ValueError: if an option is out of range, packs.json is damaged, or a run has
        lost its checkpoints; if the sweep is being trained and unfinished trials of its
        plan are not in the new one; or as `leases.check_links`.
    """
    leases.check_links(workdir)
    folder = workdir / "sweeps" / plan.name
    plans.check_version(folder)
    run_folder.check_version(workdir)
    _check_replaceable(folder, plan, refresh)
    for trial in plan.trials:
        run = workdir / trial.run_id
        if not is_readable(workdir, [trial.run_id]):
            continue
        run_folder.create(run, trial.config)
        environment.check_table(run, tasks.hash_of(trial.config), trial.config)
        packs.check_kept(workdir, trial.run_id, trial.budget)
    entries = form_packs(workdir, plan, options)
    (folder / "state").mkdir(parents=True, exist_ok=True)
    _write_packs(folder, entries)
    plans.write(folder, plan)
    links.write(folder, plan.trials, log)
    (folder / "state" / "stop").unlink(missing_ok=True)
    if retry_failed:
        _forgive(folder, plan.trials)
    settle(folder, leases.Observer())
    return folder


def _check_replaceable(
    folder: pathlib.Path, plan: spec.Plan, refresh: Callable[[], None]
) -> None:
    """Raises ValueError if replacing the plan would take trials from its workers."""
    workdir, observer = folder.parents[1], leases.Observer()
    dropped = plans.dropped(folder, plan)
    statuses = [records.planned_status(workdir / name) for name in dropped]
    lost = [status for status in statuses if not packs.is_final(status)]
    while lost:
        refresh()
        planned = plans.read_run_ids(folder)
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
        time.sleep(WAIT_SECONDS)  # Of another machine: a live one changes.


def form_packs(workdir: pathlib.Path, plan: spec.Plan, options: Options) -> list[Entry]:
    """Returns the packs of a plan as packs.json has them; writes nothing.

    ValueError if an option is out of range, or packs.json is damaged.
    """
    folder = workdir / "sweeps" / plan.name
    entries = read_packs(folder) if _packs_path(folder).exists() else []
    packed = {name for entry in entries for name in entry.runs}
    new: list[ml_collections.ConfigDict] = []
    for trial in plan.trials:
        name = trial.run_id
        if name in packed or not is_readable(workdir, [name]):
            continue
        status = run_folder.read_status(workdir / name, trial.budget)
        if packs.is_final(status):
            continue
        if began := packs.began_in(workdir, status):
            if not is_readable(workdir, began):
                continue
            entry = _entry([configs.read_run(workdir / n) for n in began], options)
            if packs.is_final(run_folder.read_status(workdir / name)):
                # Over at its own, smaller budget: what failed on the way is forgiven.
                pack = packs.pack_of(began)
                entry.retry_from[pack] = len(leases.history(workdir, pack))
            entries.append(entry)
            packed |= set(began)
        else:
            new.append(trial.config)
            packed.add(name)
    predict = packing.predictor()
    formed = packing.form(new, options.lanes, options.memory_bytes, predict)
    return entries + [_entry(pack, options) for pack in formed]


def _entry(pack: packing.Pack, options: Options) -> Entry:
    params = packing.predictor()(pack[0]).params
    return Entry(
        runs=[configs.run_id(config) for config in pack],
        exact=options.exact,
        max_pins=packing.max_pins(pack[0], options.pin_bytes, params),
        flops=packing.flops(pack),
        program=packing.program_id(pack[0]),
        retry_from={},
    )


def read_packs(folder: pathlib.Path) -> list[Entry]:
    """Returns the entries of packs.json of a sweep; ValueError if it is damaged."""
    path = _packs_path(folder)
    fields = typing.get_type_hints(Entry).items()
    kinds: dict[str, type] = {key: typing.get_origin(t) or t for key, t in fields}
    entries = []
    for number, values in enumerate(files.read_json(path, list)):
        for key, kind in kinds.items():
            if not isinstance(values, dict) or type(values.get(key)) is not kind:
                raise ValueError(
                    f"{path} is damaged: entry {number} must have {key}, a "
                    f"{kind.__name__}, got {values}."
                )
        configs.check_run_ids(values["runs"], path)
        entries.append(Entry(**{key: values[key] for key in kinds}))
    return entries


def _packs_path(folder: pathlib.Path) -> pathlib.Path:
    return folder / "state" / "packs.json"


def _write_packs(folder: pathlib.Path, entries: Iterable[Entry]) -> None:
    files.write_json(_packs_path(folder), [*map(dataclasses.asdict, entries)])


def packs_of(folder: pathlib.Path) -> list[SweepPack]:
    """Returns all packs of a sweep, the most expensive first.

    Those that needed too much memory are there as the parts that they were split in.
    """
    workdir = folder.parents[1]
    trials = {trial.run_id: trial for trial in plans.read(folder).trials}
    sweep_packs = [
        SweepPack(
            workdir=workdir,
            runs=runs,
            trials={name: trials[name] for name in runs if name in trials},
            exact=entry.exact,
            max_pins=entry.max_pins,
            flops=entry.flops * len(runs) // len(entry.runs),
            program=f"{entry.program}-{len(runs)}",
            retry_from=entry.retry_from.get(packs.pack_of(runs), 0),
        )
        for entry in read_packs(folder)
        for runs in _split(workdir, entry.runs)
    ]
    return sorted(sweep_packs, key=lambda pack: pack.flops, reverse=True)


def _split(workdir: pathlib.Path, runs: Sequence[str]) -> list[Sequence[str]]:
    """Returns the packs that a pack has become: two halves if it needed too much."""
    past = leases.history(workdir, packs.pack_of(runs)) if len(runs) > 1 else []
    if not past or past[-1].outcome != "oom":
        return [runs]
    unfinished = [name for name in past[-1].unfinished if name in runs]
    half = -(-len(unfinished) // 2)
    halves = [part for part in (unfinished[:half], unfinished[half:]) if part]
    return [part for half in halves for part in _split(workdir, half)]


def open_packs(folder: pathlib.Path) -> list[SweepPack]:
    """Returns the packs with unfinished runs of the plan, the most expensive first.

    Starting with the longest keeps the workers busy to the end. Packs with a run whose
    status is unreadable are left out.
    """
    return [pack for pack in packs_of(folder) if pack.is_open()]


def trainable_packs(folder: pathlib.Path) -> list[SweepPack]:
    """Returns the open packs without an unreadable run.

    That reads all their records, which `open_packs` alone does not.
    """
    return [p for p in open_packs(folder) if is_readable(p.workdir, p.runs)]


def free_packs(
    packs: Sequence[SweepPack], observer: leases.Observer
) -> list[SweepPack]:
    """Returns those packs of a sweep that nobody trains, as far as one has observed."""
    if not packs:
        return []
    holders = leases.holders(packs[0].workdir, observer)
    return [pack for pack in packs if not _is_held(pack, holders)]


def is_readable(workdir: pathlib.Path, run_ids: Sequence[str]) -> bool:
    """Says whether no record of these runs is damaged, as far as they have any."""
    statuses = (records.planned_status(workdir / n, in_full=True) for n in run_ids)
    return all(status["state"] != "unreadable" for status in statuses)


def settle(folder: pathlib.Path, observer: leases.Observer) -> list[str]:
    """Writes into the runs of packs that nobody trains what follows from their leases.

    Those whose retries are spent have failed; the others that failed or were running
    are preempted: they go on. Returns the runs that are now known to have failed.
    """
    workdir, failed = folder.parents[1], []
    holders = leases.holders(workdir, observer)
    for pack in packs_of(folder):
        statuses = pack.read_statuses()
        unfinished = {n: s for n, s in statuses.items() if not packs.is_final(s)}
        unreadable = any(s["state"] == "unreadable" for s in unfinished.values())
        if not unfinished or unreadable or _is_held(pack, holders):
            continue
        spent = pack.spent()
        if spent is not None:  # Unless a lease has begun since we looked.
            holders = leases.holders(workdir, observer)
            if _is_held(pack, holders) or pack.spent() != spent:
                continue
        for name, status in unfinished.items():
            state = status["state"]
            if spent is None:
                if state in ("running", "failed"):
                    _set_status(workdir / name, state="preempted", reason=None)
            elif (state, status["reason"]) != ("failed", spent[0]):
                failure = {"state": "failed", "reason": spent[0], "message": spent[1]}
                _set_status(workdir / name, **failure)
                failed.append(name)
    return failed


def _is_held(pack: SweepPack, holders: Sequence[leases.Holder]) -> bool:
    return leases.holder_of(holders, pack.name, pack.runs) is not None


def num_leases(folder: pathlib.Path) -> int:
    """Counts the leases of the packs of a sweep so far."""
    return sum(len(pack.past_leases()) for pack in packs_of(folder))


def failures(
    workdir: pathlib.Path, trials: Sequence[spec.Trial]
) -> list[tuple[spec.Trial, dict[str, Any]]]:
    """Returns those of the trials that failed, with their statuses."""
    pairs = zip(trials, statuses_of(workdir, trials), strict=True)
    return [(trial, status) for trial, status in pairs if status["state"] == "failed"]


def num_unfinished(workdir: pathlib.Path, trials: Iterable[spec.Trial]) -> int:
    """Counts the trials that are not over and can be read."""
    ended = (*OVER, "unreadable")
    return sum(s["state"] not in ended for s in statuses_of(workdir, trials))


def request_stop(folder: pathlib.Path) -> None:
    """Asks all workers of a sweep, wherever they are, to checkpoint and end."""
    (folder / "state" / "stop").touch()


def is_stopped(folder: pathlib.Path) -> bool:
    """Says whether the workers of a sweep are asked to end."""
    return (folder / "state" / "stop").exists()


def is_retried(status: dict[str, Any]) -> bool:
    """Says whether `retry_failed` gives a run with this status another try."""
    return status["state"] == "failed" and not packs.is_final(status)


def _forgive(folder: pathlib.Path, trials: Sequence[spec.Trial]) -> None:
    """Makes failed runs pending again; past leases of their packs no longer count."""
    workdir, retried = folder.parents[1], set()
    for trial, status in zip(trials, statuses_of(workdir, trials), strict=True):
        if is_retried(status):
            retried.add(trial.run_id)
            _set_status(workdir / trial.run_id, state="pending", reason=None)
    entries = read_packs(folder)
    for entry in entries:
        for runs in _split(workdir, entry.runs):
            if retried & set(runs):
                pack = packs.pack_of(runs)
                entry.retry_from[pack] = len(leases.history(workdir, pack))
    _write_packs(folder, entries)


def _set_status(folder: pathlib.Path, **fields: Any) -> None:
    status = {k: v for k, v in run_folder.read_status(folder).items() if k != "message"}
    files.write_json(folder / "status.json", status | fields)
