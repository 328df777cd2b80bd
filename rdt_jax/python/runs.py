"""Runs that were trained: what they measured and kept, and how they answer.

runs = rdt.open("runs/sweeps/depth_by_decay-cpu")
frame = runs.where(num_loops=2).metrics().to_pandas()
params = runs[0].params("ood_generalized-before")
runs[0].ask("entity_3 relation_0 relation_4", loops=6).answers
runs[0].lens().accuracy  # as of `rdt analyze --what=lens`: stored, and found again
"""

import dataclasses
import functools
import importlib
import pathlib
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import ml_collections
from matplotlib.figure import Figure

from rdt_jax import config as configs
from rdt_jax import wording
from rdt_jax.analysis import asking, finding, stored
from rdt_jax.analysis import runs as run_folders
from rdt_jax.figures import study as studies
from rdt_jax.models import recurrent
from rdt_jax.python.models import Model, make_table
from rdt_jax.sweep import plan as plans

_METRIC = re.compile(r"(\w+)/(\w+)(?:@(\d+))?(?:\[(.*)\])?")  # id/loss@2[hops=1]
_COLUMNS = ("run", "seed", "step", "split", "loops", "part")  # then measurements


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Rows:
    """Rows with the same columns: `rows[0]`, a dict, is one; `rows["step"]` a column.

    Attributes:
      data: a dict per row; a value that a row does not have is None.
    """

    data: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> "Rows":
        """Returns rows with all the columns that any of them has."""
        rows = list(rows)
        columns = list(dict.fromkeys(name for row in rows for name in row))
        return cls([{name: row.get(name) for name in columns} for row in rows])

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, key: int | slice | str) -> Any:
        if isinstance(key, str):
            return [row[key] for row in self.data]
        return Rows(self.data[key]) if isinstance(key, slice) else self.data[key]

    def __repr__(self) -> str:
        names = ", ".join(self.data[0]) if self.data else "no columns"
        return f"<{wording.count(len(self), 'row')} of {names}>"

    def to_pandas(self) -> Any:
        """Returns a `pandas.DataFrame`; ImportError without pandas."""
        return _import("pandas").DataFrame(self.data)

    def to_polars(self) -> Any:
        """Returns a `polars.DataFrame`; ImportError without polars."""
        return _import("polars").DataFrame(self.data, infer_schema_length=None)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        how = f"pip install {name}; without it the rows are dicts, in .data"
        raise ImportError(f"{name} is not installed: {how}.") from error


def _measured(what: str) -> Callable[..., Any]:
    """Returns the method of Run that measures `what`."""

    def measure(run: "Run", checkpoint: str = "final") -> Any:
        return run.measure(what, checkpoint)

    measure.__doc__ = stored.describe(what)
    return measure


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A run folder, as it was when it was read.

    Attributes:
      record: its content, as the functions of rdt_jax/analysis take it.
      apart: values by which it differs from the runs that it was opened with.
    """

    record: run_folders.Run
    apart: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def id(self) -> str:
        """The name of its folder, a hash of the config."""
        return self.record.run_id

    @property
    def config(self) -> ml_collections.ConfigDict:
        """The config: `run.config.recurrence.num_loops`."""
        return self.record.config

    @property
    def state(self) -> str:
        """How far it is: pending, running, preempted, done or failed; or lost."""
        return self.record.status["state"]

    @property
    def checkpoints(self) -> list[str]:
        """The names of the parameters that it kept, by ascending step."""
        return list(stored.checkpoints(self.record))

    @functools.cached_property
    def model(self) -> Model:
        """Its model: `run.model.apply(run.params(), rows)`."""
        return Model(self.config, make_table(self.config))

    def metrics(self, *, parts: bool = False) -> Rows:
        """Returns a row for each evaluation, split and loop count.

        Its columns are run, what sets the run apart, seed, step, split, loops, part,
        then accuracy, loss and what else is measured. That of the parameters has the
        split `model`. With `parts`, there are rows for parts of splits (`hops=2`) too.
        """
        return Rows.of(_metrics(self, parts))

    def events(self) -> Rows:
        """Returns a row for each beginning, completion and loss of a phase."""
        return Rows.of(_name(self) | {**event} for event in self.record.events)

    def params(self, checkpoint: str = "final") -> recurrent.Params:
        """Returns parameters that it kept, a tree of float32 arrays.

        Args:
          checkpoint: of `checkpoints`; its step may be left out where no other has the
            same name: `ood_generalized-before`.

        Raises:
          ValueError: if there are none, or several; it lists what the run kept.
        """
        (params,) = stored.read_params(
            self.record, stored.only(self.record, checkpoint)
        ).values()
        return params

    def ask(
        self,
        words: str | Sequence[str],
        loops: int | None = None,
        checkpoint: str = "final",
    ) -> asking.Asked:
        """Returns the answers to a question after 1 to `loops` loops.

        Each has words, a probability, and whether it is right, if the table knows.

        Args:
          words: question, as `rdt tasks export` writes it.
          loops: loop count; None for that of training.
          checkpoint: parameters, as of `params`.
        """
        model, params = self.model, self.params(checkpoint)
        return asking.ask(params, model.config, model.table, words, loops)

    def measure(self, what: str | Callable[..., Any], checkpoint: str = "final") -> Any:
        """Returns a measure of kept parameters, a tuple of named arrays.

        Args:
          what: name of `rdt analyze --list`, or FILE.py:FUNCTION of your own: stored
            beside the run, and computed once. Or a function of (params, config, table),
            called now.
          checkpoint: parameters, as of `params`; a measure of the whole run reads all.

        Raises:
          ValueError: as `params`; if the run cannot have the measure, with the reason.
        """
        if callable(what):
            return what(self.params(checkpoint), self.config, self.model.table)
        is_of_run = what in stored.RUN_MEASURES
        name = stored.RUN if is_of_run else stored.only(self.record, checkpoint)
        if stored.load(self.record, what, name) is None:
            stored.compute(stored.Job(self.record, what, name))
        return stored.load(self.record, what, name)

    answers = _measured("answers")
    depth = _measured("depth")
    depth_far = _measured("depth_far")
    fourier = _measured("fourier")
    geometry = _measured("geometry")
    halting = _measured("halting")
    knockout = _measured("knockout")
    lens = _measured("lens")
    patching = _measured("patching")
    progress = _measured("progress")
    stability = _measured("stability")
    weights = _measured("weights")

    def __repr__(self) -> str:
        _, *apart = (f"{key}={value}" for key, value in _name(self).items())
        step = f"{self.state}, step {self.record.last_step}"
        return f"<Run {self.id} {' '.join(apart)}, {step}>"


def _name(run: Run) -> dict[str, Any]:
    """Returns the columns that say which run a row is of."""
    return {"run": run.id, **run.apart, "seed": run.config.seed}


def _metrics(run: Run, parts: bool) -> Iterator[dict[str, Any]]:
    for evaluation in run.record.metrics:
        rows: dict[tuple, dict[str, Any]] = {}
        for key, value in evaluation.items():
            if not (found := _METRIC.fullmatch(key)):
                continue  # The step.
            split, name, loops, part = found.groups()
            place = (evaluation["step"], split, loops and int(loops), part)
            if part is None or parts:
                columns = dict(zip(_COLUMNS[2:], place, strict=True))
                rows.setdefault(place, _name(run) | columns)[name] = value
        yield from rows.values()


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Runs:
    """Runs of a sweep or a workdir: `len(runs)`, `runs[0]`, `for run in runs`."""

    runs: Sequence[Run]

    @classmethod
    def of(cls, records: Sequence[run_folders.Run]) -> "Runs":
        """Returns runs of rdt_jax/analysis; a warning names those that are lost."""
        if lost := run_folders.describe_lost(records):
            warnings.warn(f"{lost}.", stacklevel=3)
        axes = run_folders.axes_of(records) if records else ()
        names = {
            key if name in _COLUMNS else name: key
            for name, key in configs.short_names([*axes, "seed"]).items()
            if key != "seed"
        }
        all_leaves = [configs.leaves(record.config) for record in records]
        return cls(
            [
                Run(record, {name: leaves.get(key) for name, key in names.items()})
                for record, leaves in zip(records, all_leaves, strict=True)
            ]
        )

    @property
    def records(self) -> list[run_folders.Run]:
        """The runs as the functions of rdt_jax/analysis take them."""
        return [run.record for run in self.runs]

    def __len__(self) -> int:
        return len(self.runs)

    @overload
    def __getitem__(self, index: int) -> Run: ...

    @overload
    def __getitem__(self, index: slice) -> "Runs": ...

    def __getitem__(self, index: int | slice) -> "Run | Runs":
        found = self.runs[index]
        return found if isinstance(found, Run) else Runs(found)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.runs)) or "<no runs>"

    def where(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> "Runs":
        """Returns the runs whose configs have these values, by key as of `load_config`.

        Raises:
          ValueError: if no config has such a key, or a value is of another type; a text
            is read as on the command line.
        """
        return Runs(finding.where(self.runs, {**(values or {}), **more}))

    def metrics(self, *, parts: bool = False) -> Rows:
        """Returns the rows of all runs, as `Run.metrics`."""
        return Rows.of(row for run in self.runs for row in _metrics(run, parts))

    def events(self) -> Rows:
        """Returns the phases of all runs, as `Run.events`."""
        return Rows.of(row for run in self.runs for row in run.events().data)

    def table(self) -> Any:
        """Returns the table of updates to each phase, of rich; a notebook shows it."""
        return studies.DEFAULTS["table"](self.records)

    def figures(self) -> Mapping[str, Figure]:
        """Returns what a sweep without figures of its own draws, by name."""
        return studies.DEFAULTS["figures"](self.records)


def open(path: str | pathlib.Path) -> Run | Runs:
    """Reads a sweep or a workdir, which are Runs, or a run.

    Args:
      path: folder; for a run also `WORKDIR/3164b`, where no other name begins so, or
        `WORKDIR/sweeps/NAME/num_loops=2,seed=0`.

    Raises:
      ValueError: if it is none of these, or damaged, or in a bucket.
    """
    if "://" in str(path):
        raise ValueError(f"{path} is in a bucket; rdt.open reads folders.")
    folder = pathlib.Path(path)
    if plans.exists(folder):
        planned = plans.read(folder).configs()
        return Runs.of(run_folders.read_runs(folder.resolve().parents[1], planned))
    names = sorted(inner.parent.name for inner in folder.glob("*/config.json"))
    if run_ids := [name for name in names if configs.is_run_id(name)]:
        planned = {name: configs.read_run(folder / name) for name in run_ids}
        return Runs.of(run_folders.read_runs(folder, planned))
    is_in_sweep = any(map(plans.exists, folder.parents))
    text = str(path) if is_in_sweep else folder.name
    return Run(run_folders.read_run(finding.find(folder.parent, text)))
