"""Analyses of the parameters that a run kept, computed once and stored beside them.

`<run>/analysis/<what>-<checkpoint>.npz` has the arrays of one measure at one checkpoint
and the `.json` beside it, written last, where they come from and their hash. It is
*current* while the parameters, the VERSION of the measure's module (of a user's own
measure: its source), and its arguments are those that it was made from; what is not
current, or was torn by a kill, is computed again.
"""

import collections
import functools
import hashlib
import importlib.metadata
import inspect
import json
import os
import pathlib
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rdt_jax import config as configs
from rdt_jax import registry, tasks, user_code, wording
from rdt_jax.analysis import (
    answers,
    depth,
    fourier,
    geometry,
    halting,
    knockout,
    lens,
    patching,
    stability,
    weights,
)
from rdt_jax.analysis.runs import Run
from rdt_jax.models import presets, recurrent
from rdt_jax.store import checkpoint as checkpoints_on_disk
from rdt_jax.store import environment, files, run_folder
from rdt_jax.tasks import identity

# name -> measure(params, config, table) -> NamedTuple of arrays.
MEASURES: dict[str, Callable[..., Any]] = {
    "geometry": geometry.measure,
    "knockout": knockout.measure,
    "lens": lens.measure,
    "patching": patching.measure,
    "fourier": fourier.measure,
    "stability": stability.measure,
    "weights": weights.measure,
    "depth": depth.measure,
    "depth_far": depth.measure_far,
    "halting": halting.measure,
    "answers": answers.measure,
}
# name -> measure({step: params}, config, table), of all the parameters that a run kept
# at snapshots and at its end, by ascending step: for what needs several at once.
RUN_MEASURES: dict[str, Callable[..., Any]] = {"progress": fourier.progress}
RUN = "run"  # stands for the checkpoint in the name of a stored run measure
# name -> the numbers of a result that are worth a line; of a measure that is not named
# here, its fields without axes.
SUMMARIES: dict[str, Callable[[Any], Mapping[str, float]]] = {
    "answers": answers.summarize,
    "geometry": geometry.summarize,
    "knockout": knockout.summarize,
    "lens": lens.summarize,
    "patching": patching.summarize,
    "depth": depth.summary,
    "depth_far": depth.summary,
    "halting": halting.summary,
    "progress": fourier.summarize,
    "stability": stability.summarize,
}

_PACKAGES = ("jax", "numpy", "rdt_jax")


class Job(NamedTuple):
    """One measure to be made of one checkpoint of a run, or of the run."""

    run: Run
    what: str  # of MEASURES or RUN_MEASURES
    checkpoint: str  # of `checkpoints`, or RUN


class Transition(NamedTuple):
    """The checkpoints on both sides of a phase transition."""

    event: str  # with its hops: hop_learned_3
    before: str
    after: str


def describe(what: str) -> str:
    """Returns the question that a measure answers, in one line.

    It is the first line of the measure's module, or of the function itself where that
    is not called `measure`.
    """
    measure = inspect.unwrap(_lookup(what))
    is_only = measure.__name__ == "measure"
    asked = inspect.getmodule(measure) if is_only else measure
    return (inspect.getdoc(asked) or "").partition("\n")[0]


def checkpoints(run: Run) -> dict[str, pathlib.Path]:
    """Returns the parameters that a run kept, by ascending step.

    Names are `<event>-before-<step>`, `<event>-after-<step>`, and `final` for those at
    the end of the run.
    """
    if run.is_lost:  # What lies in its place may be another run's.
        return {}
    pins = run_folder.pins(run.folder)
    # A run that was asked for several budgets has a last of each.
    is_over = run.status["state"] == "done"
    final = f"final-after-{run.status['step']}" if is_over else None
    return {
        "final" if path.name == final else path.name: path
        for path in sorted(pins, key=lambda path: (pins[path], path.name))
        if path.name == final
        or (
            pins[path] <= run.config.num_steps
            and not path.name.startswith("final-after-")
        )
    }


def describe_passed(runs: Iterable[Run]) -> str:
    """Says which runs kept no last parameters of the budget at which they are read.

    They had been given more updates, and had passed the smaller budget by the time a
    plan asked for it. The text is empty if there is none.
    """
    passed = [run for run in runs if _has_passed(run)]
    if not passed:
        return ""
    budgets = ", ".join(f"{n:,}" for n in sorted({r.config.num_steps for r in passed}))
    names = ", ".join(run.run_id for run in passed[:3]) + ", .." * (len(passed) > 3)
    return (
        f"no final parameters were kept at num_steps {budgets} by "
        f"{wording.count(len(passed), 'run')}, trained past it before it was planned, "
        f"so that nothing is measured of them there: {names}."
    )


def _has_passed(run: Run) -> bool:
    if run.is_lost or run.status["state"] != "done" or "final" in checkpoints(run):
        return False
    given = run_folder.read_status(run.folder).get("num_steps", 0)
    return given > run.config.num_steps


def of_kind(run: Run, kind: str) -> list[str]:
    """Returns the checkpoints of a run that are of a kind, by ascending step.

    A kind is a checkpoint, or its name without the step, such as `memorized-after`.
    """
    return [
        name
        for name in checkpoints(run)
        if kind == name or (name != "final" and kind == name.rpartition("-")[0])
    ]


def only(run: Run, kind: str) -> str:
    """Returns the one checkpoint of a run that is of a kind, as of `of_kind`.

    Raises:
      ValueError: if there is none, or more than one; it lists those of the run, or says
        when it keeps its first.
    """
    names = of_kind(run, kind)
    if len(names) == 1:
        return names[0]
    kept = names or list(checkpoints(run))
    if run.is_lost or not kept:
        config, status = run.config, run.status
        first = min((*config.snapshot_steps, config.num_steps))
        told = status.get("message") or f"it is {status['state']}"
        raise ValueError(
            f"Run {run.run_id} has kept no parameters yet ({told}): it keeps the first "
            f"at update {first:,}, or at a phase transition before that."
        )
    raise ValueError(
        f"Run {run.run_id} has {'several' if names else 'no'} parameters {kind!r}; "
        f"choose from {', '.join(kept)}."
    )


def names_of(run: Run, what: str, kinds: Sequence[str]) -> list[str]:
    """Returns the checkpoints of some kinds; for a run measure RUN, whatever kinds."""
    if what not in RUN_MEASURES:
        return [name for kind in kinds for name in of_kind(run, kind)]
    return [RUN] if _sources_of(run, RUN) else []


def transitions(run: Run) -> list[Transition]:
    """Returns the transitions with parameters on both sides, as they were completed."""
    names = list(checkpoints(run))
    pairs = []
    for after in names:
        event, _, side = after.rpartition("-")[0].rpartition("-")
        before = [name for name in names if name.startswith(f"{event}-before-")]
        if side == "after" and before:
            pairs.append(Transition(event, before[0], after))
    return pairs


def jobs(runs: Iterable[Run], what: Sequence[str], kinds: Sequence[str]) -> list[Job]:
    """Lists what of these measures and kinds of checkpoints is not stored yet.

    Raises:
      ValueError: if a measure is unknown; it lists the choices.
    """
    for name in what:
        _lookup(name)
    return [
        Job(run, name, checkpoint)
        for run in runs
        for name in what
        for checkpoint in names_of(run, name, kinds)
        if not is_current(run, name, checkpoint)
    ]


def read_params(run: Run, checkpoint: str) -> dict[int, recurrent.Params]:
    """Reads parameters that a run kept, by their step, ascending.

    Args:
      checkpoint: one of `checkpoints`; RUN for those of all snapshots and of the end.

    Raises:
      ValueError: if the run did not keep them (the message lists those that it did), or
        if they are damaged.
    """
    config = presets.model_config(run.config, tasks.make_table(run.config))
    init = lambda key: recurrent.init(key, config)
    shapes = checkpoints_on_disk.shapes_of(jax.eval_shape(init, jax.random.key(0)))
    params_by_step = {}
    for path in _sources_of(run, checkpoint):
        params, extra = checkpoints_on_disk.load(path, lambda _: shapes)
        params_by_step[extra["step"]] = params
    if not params_by_step:
        raise ValueError(
            f"Run {run.run_id} has no parameters {checkpoint!r}; it kept "
            f"{', '.join(checkpoints(run)) or 'none'}."
        )
    return params_by_step


def check_table(run: Run) -> None:
    """Raises ValueError if a run was trained on another table than is made now."""
    environment.check_table(run.folder, tasks.hash_of(run.config), run.config)


@environment.pinned()
def compute(job: Job) -> pathlib.Path:
    """Makes one measure, stores it, and returns the path of its arrays.

    Raises:
      ValueError: if the measure does not apply to the run, with the reason, or if the
        parameters are damaged; as `check_table`.
    """
    run, what, name = job
    measure = _lookup(what)
    table = tasks.make_table(run.config)
    check_table(run)
    params_by_step = read_params(run, name)
    several = what in RUN_MEASURES
    given = params_by_step if several else [*params_by_step.values()][0]
    result = measure(given, run.config, table)
    arrays = {key: np.asarray(value) for key, value in result._asdict().items()}
    arrays_path = path_of(run, what, name)
    arrays_path.parent.mkdir(exist_ok=True)
    temporary = arrays_path.with_name(f".{arrays_path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    provenance = {
        "run_id": run.run_id,
        "what": what,
        "checkpoint": name,
        "step": [*params_by_step] if several else [*params_by_step][0],
        "fields": {k: [str(a.dtype), list(a.shape)] for k, a in arrays.items()},
        "summary": summarize(what, result),
        "commit": environment.commit(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "arrays": _hash(temporary),
    }
    temporary.replace(arrays_path)
    files.write_json(
        arrays_path.with_suffix(".json"), provenance | _origin(run, what, name)
    )
    return arrays_path


def load(run: Run, what: str, checkpoint: str) -> Any | None:
    """Returns a stored result, the measure's NamedTuple; None if none is current.

    Raises:
      ValueError: if the measure is unknown; it lists the choices.
    """
    measure = _lookup(what)
    if not is_current(run, what, checkpoint):
        return None
    kind: Any = typing.get_type_hints(measure).get("return")
    kind = kind if hasattr(kind, "_fields") else None
    with np.load(path_of(run, what, checkpoint), allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    return kind(**arrays) if kind is not None else _named(arrays)


def path_of(run: Run, what: str, checkpoint: str) -> pathlib.Path:
    """Returns where the arrays of a result are stored; its JSON is beside them."""
    # A run that was asked for several budgets has one of each.
    if checkpoint == "final":
        checkpoint = f"final-after-{run.status.get('step')}"
    elif checkpoint == RUN:
        checkpoint = f"{RUN}-of-{run.config.num_steps}"
    name = pathlib.PurePath(what).name.replace(":", ".")  # FILE.py.FUNCTION
    return run.folder / "analysis" / f"{name}-{checkpoint}.npz"


def read_provenance(run: Run, what: str, checkpoint: str) -> dict[str, Any] | None:
    """Returns the JSON of a stored result, with its `step` and `summary`, or None."""
    if not is_current(run, what, checkpoint):
        return None
    return files.read_json(path_of(run, what, checkpoint).with_suffix(".json"))


def is_current(run: Run, what: str, checkpoint: str) -> bool:
    """Says whether a result is stored and whole, and still what would be computed.

    Where the parameters were removed to save disk, they are taken to be the same.
    """
    arrays = path_of(run, what, checkpoint)
    both = (arrays, arrays.with_suffix(".json"))
    if run.is_lost or not all(path.exists() for path in both):
        return False
    record = files.read_json(arrays.with_suffix(".json"))
    origin = _origin(run, what, checkpoint)
    if not origin["params"]:
        origin["params"] = record["params"]
    same = all(record.get(key) == value for key, value in origin.items())
    return same and record["arrays"] == _hash(arrays)


def summarize(what: str, result: Any) -> dict[str, float | None]:
    """Returns the numbers of a result that are worth a line, a JSON value.

    What is no number, such as a mean over no rows, is None.
    """
    if what in SUMMARIES:
        numbers = SUMMARIES[what](result)
    else:
        numbers = {
            key: value
            for key, value in result._asdict().items()
            if np.ndim(value) == 0 and np.issubdtype(np.asarray(value).dtype, np.number)
        }
    return {
        key: float(value) if np.isfinite(value) else None
        for key, value in numbers.items()
    }


def _lookup(what: str) -> Callable[..., Any]:
    if ":" not in what:
        return registry.lookup("analysis", MEASURES | RUN_MEASURES, what)
    path = pathlib.Path(what.rpartition(":")[0])
    return _own_measure(what, _hash(path) if path.is_file() else "")


@functools.lru_cache
def _own_measure(what: str, stamp: str) -> Callable[..., Any]:
    """Returns a measure of the user's own; its file is read again when it changed."""
    del stamp
    function = configs.load_function(what, "measure")
    path, _, name = what.rpartition(":")
    expected = f"{name} must return a dict of arrays"

    @functools.wraps(function)
    def measure(*arguments: Any) -> Any:
        given = (pathlib.Path(path), function, *arguments)
        value = user_code.call(*given, expected=expected, is_valid=_are_named)
        return value if hasattr(value, "_asdict") else _named(value)

    return measure


def _are_named(value: Any) -> bool:
    """Says whether a value is a NamedTuple, or a dict that could be one."""
    if not isinstance(value, dict):
        return hasattr(value, "_asdict")
    names = [isinstance(n, str) and n.isidentifier() and n[0] != "_" for n in value]
    return bool(names) and all(names)


def _named(values: Mapping[str, Any]) -> Any:
    return collections.namedtuple("Measured", values)(**values)


def _sources_of(run: Run, checkpoint: str) -> list[pathlib.Path]:
    """Returns the folders of the parameters that a result is made from."""
    folders = checkpoints(run)
    if checkpoint != RUN:
        return [folders[checkpoint]] if checkpoint in folders else []
    by_step = {
        _step_of(path): path
        for name, path in folders.items()
        if name == "final" or name.startswith("snapshot-at-")
    }
    return [by_step[step] for step in sorted(by_step)]


def _origin(run: Run, what: str, checkpoint: str) -> dict[str, Any]:
    """What a result is made from."""
    measure = _lookup(what)
    paths = _sources_of(run, checkpoint)
    module = inspect.getmodule(inspect.unwrap(measure))
    assert module is not None and module.__file__ is not None
    own = identity.is_own(measure)
    arguments = {
        name: parameter.default
        for name, parameter in inspect.signature(measure).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    return {
        "params": [_hash(path / "manifest.json") for path in paths],
        "code": module.VERSION if own else _hash(pathlib.Path(module.__file__)),
        "arguments": json.loads(json.dumps(arguments)),
    }


def _hash(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _step_of(path: pathlib.Path) -> int:
    return int(path.name.rpartition("-")[2])
