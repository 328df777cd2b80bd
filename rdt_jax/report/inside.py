"""What stored analyses say of the runs of a sweep: views of arrays, stage by stage.

    found = inside.of_runs(runs, problems)
    found["views"][0]["title"]                  # "Lens: what can be decoded .."
    found["views"][0]["entries"][0]["values"]   # of one run at one stage, flat

A view names the axes of its arrays, slowest first. Charts (inside_charts.py) draw rows
with a value and one of each axis: `x`, `y`, `line`, `dash` and `column` are places in
them; of another axis the page shows one value at a time. Numbers have 4 digits.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rdt_jax import wording
from rdt_jax.analysis import (
    fourier,
    geometry,
    grokking,
    knockout,
    lens,
    patching,
    questions,
    stages,
    stored,
)
from rdt_jax.analysis.runs import Run
from rdt_jax.figures.palette import SPLITS as SPLIT_COLORS
from rdt_jax.figures.words import SPLIT_NAMES, event_name
from rdt_jax.models import trace

MOST_NUMBERS = 500_000  # of all arrays of a sweep, which are about 6 bytes each

# Lines of charts, with their colors, or the two kinds of them.
GROUPS = {SPLIT_NAMES[group]: SPLIT_COLORS[group] for group in questions.GROUPS}
DECODED = ("bridge at r1", "target at the answer")
HOPS = {"r1 attends to h": "#0072b2", "the answer attends to r1": "#d55e00"}
READ = GROUPS | {"untrained, most of any": "#767676"}
ASKED = ("ID questions", "OOD questions")
SPECTRA = {"logits": "#0072b2", "embeddings": "#d55e00"}
LOSSES = {
    "train": SPLIT_COLORS["train"], "ID": SPLIT_COLORS["id"],
    "ID, key frequencies alone": "#009e73", "train, without them": "#e69f00",
}  # fmt: skip
COLORS = {color for each in (READ, HOPS, SPECTRA, LOSSES) for color in each.values()}
_WHOLE = "the whole run"


class View(NamedTuple):
    """One way to look at one measure."""

    what: str  # name of a stored measure
    title: str
    note: str
    # name -> its values; the first of 0, 1, ..; or the field of the result with them.
    axes: Mapping[str, Sequence[str] | int | str]
    read: Callable[[Any], np.ndarray]  # by the axes, from a result of the measure


class _Seen(NamedTuple):
    """A stored result of a run, by its index, and when in training it was so."""

    run: int
    what: str
    stage: str
    step: int | None
    result: Any


def of_runs(members: Sequence[Run], problems: list[str]) -> dict[str, Any]:
    """Returns the views of all runs; they are none where no analysis is stored.

    `stages` are in the order of training. `answers` and `numbers`, the summaries of all
    measures, have an entry per run and stage, as views have.

    Args:
      members: runs of a sweep; entries tell them by their index.
      problems: list to which is added what is stored and cannot be shown.
    """
    seen = [one for i, run in enumerate(members) for one in _read(i, run, problems)]
    steps: dict[str, list[float]] = {}
    for one in seen:
        steps.setdefault(one.stage, []).append(np.inf if one.step is None else one.step)
    names = sorted(steps, key=lambda stage: np.median(steps[stage]))

    def entries(what: str, told: Callable[[Any], Mapping[str, Any]]) -> list[Any]:
        return [
            {"run": s.run, "stage": names.index(s.stage), "step": s.step, **told(s)}
            for s in seen
            if what in (s.what, "")
        ]

    views, left = [], MOST_NUMBERS
    for name, view in VIEWS.items():
        found = entries(view.what, functools.partial(_array, view))
        size = sum(len(entry["values"]) for entry in found)
        if size > left:
            problems.append(
                f"{view.title}: its {size:,} numbers are too many for this page; they "
                "are stored beside the runs."
            )
        elif found:
            left -= size
            told = {"name": name, "title": view.title, "note": view.note}
            views.append(told | {"axes": [*view.axes], "entries": found})
    summary = lambda s: {"what": s.what, "numbers": stored.summarize(s.what, s.result)}
    return {
        "stages": names,
        "views": views,
        "answers": entries("answers", lambda one: _answers(one.result)),
        "numbers": [each for each in entries("", summary) if each["numbers"]],
    }


def _read(index: int, run: Run, problems: list[str]) -> Iterator[_Seen]:
    """Yields what is stored of a run and still holds; `problems` tell the rest."""
    if run.is_lost or not (run.folder / "analysis").is_dir():
        return
    old, stage_of = [], _stages_of(run)
    wanted = [(what, name) for what in stored.MEASURES for name in stage_of]
    for what, name in [*wanted, *((what, stored.RUN) for what in stored.RUN_MEASURES)]:
        path = stored.path_of(run, what, name)
        if not path.exists():
            continue
        try:
            result = stored.load(run, what, name)
        except ValueError as error:  # Of a damaged JSON, or another's.
            problems.append(f"{path}: {error}")
            continue
        except KeyError as error:
            told = f"is damaged: it has no {error.args[0]}."
            problems.append(f"{path.with_suffix('.json')} {told}")
            continue
        if result is None:
            old.append(path.stem)
            continue
        step = None if name == stored.RUN else _step(run, name)
        yield _Seen(index, what, stage_of.get(name, _WHOLE), step, result)
    if old:
        problems.append(
            f"Run {run.run_id} has {wording.count(len(old), 'analysis', 'analyses')} "
            "of older code or other parameters, or "
            f"damaged, not shown: {', '.join(old[:3])}{', ..' * (len(old) > 3)}. "
            "`rdt analyze` makes them again."
        )


def _stages_of(run: Run) -> dict[str, str]:
    """Returns words for the checkpoints of a run, those of `stages.NAMES` as there."""
    found = {}
    for name in stored.checkpoints(run):
        event, _, side = name.rpartition("-")[0].rpartition("-")
        found[name] = f"{event_name(event)}, {side}" if event else "the end"
        if event == "snapshot":
            found[name] = f"update {_step(run, name):,}"
    for stage, words in stages.NAMES.items():
        checkpoint = stages.checkpoint_of(run, stage)
        if checkpoint is not None:
            has_ood = stages.EVENTS["end"] in grokking.grok_times(run).phases
            found[checkpoint] = words if stage != "end" or has_ood else "the end"
            if checkpoint != "final" and _step(run, checkpoint) == run.status["step"]:
                found.pop("final", None)  # The same parameters.
    return found


def _step(run: Run, checkpoint: str) -> int:
    return stages.step_of(stages.Seen(run, checkpoint, None))


def _array(view: View, seen: _Seen) -> dict[str, Any]:
    """Returns the array of a view, flat, with the values of its axes."""
    result = seen.result
    array = view.read(result)
    axes: list[list[Any]] = []
    for values, size in zip(view.axes.values(), array.shape, strict=True):
        if isinstance(values, int):
            axes.append([*range(values, values + size)])
        elif isinstance(values, str):
            axes.append(getattr(result, values).tolist())
        else:  # Words; of positions there may be more than have a name, or fewer.
            axes.append([*values[:size], *range(len(values) + 1, size + 1)])
    found: dict[str, Any] = {"axes": axes}
    if hasattr(result, "loop"):  # The last axis is of blocks, or the states they made.
        each = np.stack([result.stage, result.loop, result.block], axis=1).tolist()
        of_block = lambda stage, loop: f"loop {loop}" if loop else trace.STAGES[stage]
        found["places"] = [f"{of_block(s, loop)}, block {b}" for s, loop, b in each]
        ends = (result.loop[:-1] > 0) & (result.loop[1:] > result.loop[:-1])
        # Between two loops: at the state that ends one; between blocks, counted from 1.
        found["ends"] = (np.flatnonzero(ends) + 1.5 * axes[-1][0]).tolist()
    return found | {"values": _rounded(array)}


def _answers(found: Any) -> dict[str, Any]:
    words = {name: getattr(found, name).tolist() for name in ("question", "target")}
    split = [SPLIT_NAMES.get(name, name) for name in found.split.tolist()]
    chances = [_rounded(row) for row in found.probability]
    each = {"answer": found.answer.tolist(), "right": found.right.astype(int).tolist()}
    return words | each | {"split": split, "probability": chances}


def _rounded(array: np.ndarray) -> list[float | None]:
    flat = np.asarray(array, np.float64).ravel().tolist()
    return [float(f"{x:.4g}") if np.isfinite(x) else None for x in flat]


def _decoded(result: lens.Lens) -> np.ndarray:
    """Returns the accuracy [G + 1, W, E + 1]; the last is the most without training."""
    trained = lens.where_looked_for(result, result.accuracy)
    untrained = lens.where_looked_for(result, result.untrained)
    return np.concatenate([trained, np.fmax.reduce(untrained)[None]])


def _recovered(result: patching.Patching) -> np.ndarray:
    """Returns [G, T, E]; groups with too few questions that count have no number."""
    few = result.rows[:, None, None] < patching.FEWEST
    return np.where(few, np.nan, result.recovered).transpose(0, 2, 1)


def _losses(result: fourier.Progress) -> np.ndarray:
    """Returns the losses of LOSSES after each loop, [R, 4, C]."""
    train, id_ = (fourier.GROUPS.index(name) for name in ("train", "id"))
    found = [result.loss[..., train], result.loss[..., id_]]
    found += [result.restricted_loss[..., id_], result.excluded_loss[..., train]]
    return np.stack(found).transpose(2, 0, 1)


# The words are those of the figures of experiments/mechanism and modular_addition.
VIEWS = {
    "lens": View(
        "lens", "Lens: what can be decoded on the way",
        "Share of two-hop questions h r1 r2 whose bridge, or target, ranks first among "
        "all words: final norm and output matrix on every state. Controls: at depth 0 "
        "the embedding alone; untrained, the parameters that the run began with.",
        {"line": [*READ], "dash": DECODED, "x": 0}, _decoded,
    ),
    "patching": View(
        "patching", "Patching: which states bring the answer back",
        "h and r1 are replaced, then one state of the clean pass is restored. Color: "
        "share with the clean answer again, of questions that the clean pass answers "
        f"and the corrupted does not; empty where runs have fewer than "
        f"{patching.FEWEST} such questions.",
        {"column": [*GROUPS], "y": questions.TOKENS, "x": 0}, _recovered,
    ),
    "knockout": View(
        "knockout", "Knockout: which reading answers need",
        "Share of the answered questions that are lost when a head reads a word no "
        "more: of the head that loses the most, of every block in the order in which "
        "they run.",
        {"line": [*HOPS], "dash": ASKED, "x": 1},
        lambda x: x.head.max(axis=2)[1:, :, knockout.hops(x)].transpose(2, 0, 1),
    ),
    "geometry": View(
        "geometry", "Geometry: is a retrieved bridge its entity",
        "Mean cosine of the state at r1 with the bridge's embedding, less that with "
        "all other entities; states and embeddings centered.",
        {"line": [*GROUPS], "x": 0}, geometry.alignment,
    ),
    "losses": View(
        "progress", "Fourier: losses without and with the key frequencies alone",
        "Addition of residues; the key frequencies are those at a run's end.",
        {"loop": 1, "line": [*LOSSES], "x": "step"}, _losses,
    ),
    "spectrum": View(
        "progress", "Fourier: share of the variance along each frequency",
        "Of the logits of all pairs, and of the embeddings of the residues.",
        {"step": "step", "loop": 1, "line": [*SPECTRA], "x": 1},
        lambda x: np.stack(np.broadcast_arrays(x.share, x.embedding_share[:, None]), 2),
    ),
}  # fmt: skip
