"""What a run folder says, read once and never written.

found = runs.read_runs(workdir, planned)
runs.axes_of(found)  # ("recurrence.num_loops", "model.width")
cells = runs.group(found, runs.axes_of(found))
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import ml_collections
import numpy as np

from rdt_jax import config as configs
from rdt_jax import schema, tasks, wording
from rdt_jax.store import records, run_folder
from rdt_jax.training import phases

LOOPS = "recurrence.num_loops"
BLOCKS = "model.core_blocks"
WEIGHT_DECAY = "optimizer.weight_decay"
# Runs that differ in these alone repeat each other.
SEEDS = ("seed", "task.seed", "recurrence.seed")

Outcome = Literal["over", "failed", "unfinished"]


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """The content of a run folder."""

    folder: pathlib.Path  # where it was read; its name is the run id
    config: ml_collections.ConfigDict  # resolved
    # Of status.json; with the state `missing` or `unreadable` and a message if a plan
    # names the run and its folder is not there, or cannot be read.
    status: Mapping[str, Any]
    # One row per evaluation, by ascending step; empty before the first.
    metrics: Sequence[Mapping[str, Any]]
    # One row per phase change, in the order in which they were declared.
    events: Sequence[Mapping[str, Any]]

    @property
    def run_id(self) -> str:
        """The hash of the config."""
        return self.folder.name

    @property
    def num_loops(self) -> int:
        """The training loop count R."""
        return self.config.recurrence.num_loops

    @property
    def pair(self) -> tuple[int, int]:
        """The seeds of its task and of all else, by which runs of cells are paired."""
        return self.config.task.seed, self.config.seed

    @property
    def last_step(self) -> int | None:
        """Step of the last evaluation; None before the first."""
        return self.metrics[-1]["step"] if self.metrics else None

    @property
    def outcome(self) -> Outcome:
        """What a missing event means.

        `over`: the run spent its budget or passed its phases. `failed`: its loss was
        not finite, which would repeat. `unfinished`: it may still get there (pending,
        running, preempted, or stopped by an error that can be resumed), or nobody can
        tell whether it did (missing, unreadable).
        """
        if self.status["state"] == "done":
            return "over"
        return "failed" if self.status.get("reason") == "nan" else "unfinished"

    @property
    def is_lost(self) -> bool:
        """Whether the run was planned, and its folder is missing or unreadable."""
        return self.status.get("state") in run_folder.LOST


class Series(NamedTuple):
    """A quantity over evaluations."""

    steps: np.ndarray  # int64 [E], optimizer updates, ascending
    values: np.ndarray  # float64 [E]


def read_run(folder: pathlib.Path, budget: int | None = None) -> Run:
    """Reads a run folder.

    Args:
      budget: updates that are asked of it: what it did beyond them is left out, and
        with fewer it is unfinished. None for its own.

    Raises:
      ValueError: as `records.read`.
    """
    config, status, metrics, events = records.read(folder)
    if budget is None:
        return Run(folder, config, status, metrics, events)
    if budget != config.num_steps:
        config = configs.override(config, {"num_steps": budget})
    return Run(
        folder,
        config,
        run_folder.at_budget(status, budget),
        [row for row in metrics if row["step"] <= budget],
        [row for row in events if row["step"] <= budget],
    )


def read_runs(
    workdir: pathlib.Path, planned: Mapping[str, ml_collections.ConfigDict]
) -> list[Run]:
    """Reads all runs of a plan, in its order.

    A run whose folder is missing or unreadable counts like any other: it has the config
    of the plan, no evaluation, and a status that says what is wrong.
    """
    return [_read_planned(workdir / name, config) for name, config in planned.items()]


def _read_planned(folder: pathlib.Path, config: ml_collections.ConfigDict) -> Run:
    state = "missing"
    message = f"{folder / 'config.json'} does not exist"
    if (folder / "config.json").exists():
        try:
            return read_run(folder, config.num_steps)
        except (ValueError, OSError) as error:
            state, message = "unreadable", str(error)
    status = {"state": state, "reason": None, "message": message}
    return Run(folder, config, status, metrics=[], events=[])


def unfinished(runs: Sequence[Run]) -> list[Run]:
    """Returns the runs that may still train, and those of which nobody can tell."""
    return [run for run in runs if run.outcome == "unfinished"]


def describe_lost(runs: Sequence[Run]) -> str:
    """Says how many of the planned runs are missing or unreadable; empty if none is."""
    lost = [run for run in runs if run.is_lost]
    if not lost:
        return ""
    states = sorted({run.status["state"] for run in lost})
    names = ", ".join(run.run_id for run in lost[:3]) + ", .." * (len(lost) > 3)
    return (
        f"{len(lost)} of {wording.count(len(runs), 'planned run')} "
        f"{' or '.join(states)}, counted as not arrived: {names}"
    )


def series(run: Run, name: str) -> Series:
    """Returns a quantity of metrics.jsonl over the evaluations that measured it.

    Without any evaluation the result is empty.

    Raises:
      ValueError: if there are evaluations and none has the name, such as
        `ood/accuracy@2`; it lists the choices.
    """
    if run.metrics and not any(name in row for row in run.metrics):
        choices = sorted({key for row in run.metrics for key in row} - {"step"})
        raise ValueError(
            f"Run {run.run_id} has no metric {name!r}; choose from "
            f"{', '.join(choices)}."
        )
    rows = [row for row in run.metrics if row.get(name) is not None]
    return Series(
        np.array([row["step"] for row in rows], np.int64),
        np.array([row[name] for row in rows], np.float64),
    )


def accuracy(run: Run, group: str) -> Series:
    """Returns the accuracy on a group of rows at the loop count of its phase.

    That is the training loop count, of depth rows `phases.depth_loops` if it is given.
    A group is a split, or a part of one by tag, such as `mixed[pattern=id-ood]`; with
    `@8` behind it, after 8 loops.

    Raises:
      ValueError: if the run's task has no such group.
    """
    return series(run, metric_name(run, group))


def has_group(run: Run, group: str) -> bool:
    """Says whether the run has been evaluated on a group of rows, as in `accuracy`."""
    name = metric_name(run, group)
    return any(name in row for row in run.metrics)


def metric_name(
    run: Run, group: str, quantity: str = "accuracy", loops: int | None = None
) -> str:
    """Names a quantity in the rows of metrics: `id/loss@2[hops=1]`.

    Args:
      group: group of rows, as in `accuracy`.
      loops: loop count; None for that of the group's phase.

    Raises:
      ValueError: if the group begins with no split.
    """
    rows, named = phases.rows_and_loops(group)
    split, bracket, tag = rows.partition("[")
    if split not in tasks.SPLITS:
        raise ValueError(
            f"A group must begin with one of {', '.join(tasks.SPLITS)}, got {group!r}."
        ) from KeyError(split)
    loops = loops or named or phases.loops_of(run.config, split)
    return f"{split}/{quantity}@{loops}{bracket}{tag}"


def chance(run: Run, split: str) -> float:
    """Returns the accuracy of a uniform guess on a split, from the certificate.

    It makes the run's table, which the process then keeps.

    Raises:
      ValueError: if the table has no such split.
    """
    known = tasks.make_table(run.config).certificate.chance
    if split not in known:
        raise ValueError(
            f"The table of {run.config.task.name} has no split {split!r}; choose from "
            f"{', '.join(known)}."
        ) from KeyError(split)
    return known[split]


def value_of(run: Run, key: str) -> Any:
    """Returns the value of a dotted config key, such as `recurrence.num_loops`.

    Raises:
      ValueError: if the config has no such key.
    """
    value: Any = run.config
    for name in key.split("."):
        if not isinstance(value, ml_collections.ConfigDict) or name not in value:
            problem = f"Run {run.run_id} has no config key {key!r}."
            raise ValueError(problem) from KeyError(key)
        value = value[name]
    return value


def axes_of(runs: Sequence[Run]) -> tuple[str, ...]:
    """Returns the dotted config keys in which runs differ, other than as repetitions.

    SEEDS are none. `num_steps` is one only where a schedule reads it: elsewhere it is a
    budget, and one run may have been asked for more. Loops come first, then blocks of
    the core and weight decay, then the others in the order of schema.py, a task's
    arguments after its seed.
    """
    flat = [configs.leaves(run.config) for run in runs]

    def differs(key: str) -> bool:
        reads = lambda f: key != "num_steps" or f["optimizer.schedule"] != "constant"
        values = [f.get(key) for f in filter(reads, flat)]
        return any(value != values[0] for value in values)

    order = [LOOPS, BLOCKS, WEIGHT_DECAY, *schema.KEYS]
    place = lambda key: order.index(key if key in order else "task.seed")
    names = {key for f in flat for key in f} - set(SEEDS)
    return tuple(sorted(filter(differs, names), key=lambda key: (place(key), key)))


def shown_axes(runs: Sequence[Run]) -> tuple[str, ...]:
    """Returns the axes by which runs are shown: loops and decay if no other differs."""
    found = axes_of(runs)
    return found if set(found) - {LOOPS, WEIGHT_DECAY} else (LOOPS, WEIGHT_DECAY)


def values_of(runs: Sequence[Run], key: str) -> list[Any]:
    """Returns the distinct values of a config key, ascending, None before all others.

    Raises:
      ValueError: if a config has no such key; None stands for an argument of a task
        that some runs leave to its default.
    """
    return sorted(set(_column(runs, key)), key=_rank)


def shared_value(runs: Sequence[Run], key: str) -> Any:
    """Returns the value of a config key that all runs agree on.

    Raises:
      ValueError: if they do not, or if there is no run or no such key.
    """
    values = values_of(runs, key)
    if len(values) != 1:
        found = ", ".join(map(str, values)) or "no run"
        raise ValueError(f"All runs must share one {key}, got {found}.")
    return values[0]


def group(runs: Sequence[Run], keys: Sequence[str]) -> dict[tuple, list[Run]]:
    """Groups runs into cells by the values of keys: those of one repeat each other.

    Cells are in ascending order of the values, their runs by ascending seeds.

    Raises:
      ValueError: if runs of a cell differ in more than their seeds and their budget,
        since a median over them would mix what differs.
    """
    rows = zip(*(_column(runs, key) for key in (*keys, *SEEDS)), strict=True)
    ordered = sorted(
        zip(rows, runs, strict=True), key=lambda row: [*map(_rank, row[0])]
    )
    cells: dict[tuple, list[Run]] = {}
    for values, run in ordered:
        cells.setdefault(values[: len(keys)], []).append(run)
    for values, members in cells.items():
        if differing := axes_of(members):
            cell = ", ".join(f"{k}={v}" for k, v in zip(keys, values, strict=True))
            raise ValueError(
                f"Runs of one cell must differ in their seed only, but those of {cell} "
                f"differ in {', '.join(differing)}; group by that too."
            )
    return cells


def _column(runs: Sequence[Run], key: str) -> list[Any]:
    """Returns a key's value in each run; None where only others give an argument."""
    section, _, name = key.rpartition(".")
    given = [run.config.task.kwargs.to_dict() for run in runs]
    if section == "task.kwargs" and any(name in arguments for arguments in given):
        return [arguments.get(name) for arguments in given]
    return [value_of(run, key) for run in runs]


def _rank(value: Any) -> tuple:
    """Returns what sorts values of a key: None first, then numbers, then the rest."""
    if value is None:
        return ()
    return (
        (0, value) if isinstance(value, int | float) else (1, str(type(value)), value)
    )
