"""What a study says of its runs: its functions, called, and their results checked.

    from rdt_jax.figures import study as studies

    print(studies.table(study, runs))
    claims = studies.claims(study, runs)

A study without `summary`, `table`, `figures` or `claims` has those of DEFAULTS.
"""

import os
import pathlib
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ml_collections
from matplotlib.figure import Figure
from rich.protocol import is_renderable

from rdt_jax import tasks, user_code
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import stored
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import curves, diagram, palette, sentences, tables, words
from rdt_jax.figures.cells import Sweep
from rdt_jax.store import environment
from rdt_jax.training import phases

_MOST_COMPARED = 16  # panels with a line for each value of the first axis
_LONGEST_NAME = 200  # bytes; file systems take 255, and a suffix is appended


def summary(study: Any, runs: Sequence[Run]) -> list[str]:
    """Returns what happened, in sentences; ValueError if its function is wrong."""
    are_sentences = lambda value: (
        isinstance(value, list) and all(isinstance(each, str) for each in value)
    )
    return _call(study, "summary", runs, "return a list of sentences", are_sentences)


def table(study: Any, runs: Sequence[Run]) -> Any:
    """Returns the table of a study; ValueError if its function is wrong."""
    is_table = lambda value: is_renderable(value) and not isinstance(value, str)
    return _call(study, "table", runs, "return a rich.table.Table", is_table)


def claims(study: Any, runs: Sequence[Run]) -> list[Claim]:
    """Returns the claims of a study, their tests adjusted for each other (Holm).

    Raises:
      ValueError: if its function is wrong.
    """
    are_claims = lambda value: (
        isinstance(value, list) and all(isinstance(each, Claim) for each in value)
    )
    found = _call(study, "claims", runs, "return a list of Claims", are_claims)
    return judging.after_holm(found)


def figures(study: Any, runs: Sequence[Run]) -> Mapping[str, Figure]:
    """Returns the figures of a study by the names of their files.

    Raises:
      ValueError: if its function is wrong, or a name leads out of a folder.
    """
    are_figures = lambda value: (
        isinstance(value, Mapping)
        and all(
            isinstance(name, str) and isinstance(figure, Figure)
            for name, figure in value.items()
        )
    )
    expected = "return a dict of name -> matplotlib.figure.Figure"
    found = _call(study, "figures", runs, expected, are_figures)
    for name in found:
        path = pathlib.PurePath(name)
        longest = max(map(len, map(os.fsencode, path.parts)), default=0)
        if (
            path.is_absolute()
            or not path.name
            or ".." in path.parts
            or "\0" in name
            or longest > _LONGEST_NAME
        ):
            raise ValueError(
                f"{study.__file__}: the name of a figure must be that of a file in the "
                f"folder of the figures, of at most {_LONGEST_NAME} bytes, got "
                f"{name!r}."
            )
    return found


def rehearse(study: Any, planned: Mapping[str, ml_collections.ConfigDict]) -> None:
    """Calls the functions of a study on its planned runs, none of them evaluated.

    A mistake in them, such as a misspelt name or config key, then shows before hours of
    training. That a study refuses to draw before there is an evaluation is none.

    Raises:
      ValueError: if a function raises anything but a ValueError, returns something
        else than it must, or asks for a config key or a split that does not exist; if
        ANALYSES names no analysis, or a kind of checkpoint that no run keeps.
    """
    _check_analyses(study, planned.values())
    status = {"state": "missing", "reason": None}
    runs = [
        Run(pathlib.Path(name), config, status, metrics=[], events=[])
        for name, config in planned.items()
    ]
    for function in (summary, table, claims, figures):
        try:
            with warnings.catch_warnings(action="ignore"):  # Of means of nothing.
                function(study, runs)
        except ValueError as error:
            cause: BaseException = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            if cause is error or not isinstance(cause, ValueError):
                raise


def _check_analyses(study: Any, planned: Iterable[ml_collections.ConfigDict]) -> None:
    analyses = getattr(study, "ANALYSES", {})
    declared = [p.name for config in planned for p in phases.declared(config)]
    events = dict.fromkeys([*phases.BUILT_IN, *declared])
    event = "|".join((*events, rf"{phases.HOP_LEARNED}_\d+"))
    kind = re.compile(rf"(final|run|(snapshot-at|({event})-(before|after))(-\d+)?)")
    are_kinds = lambda kinds: (
        isinstance(kinds, list | tuple)
        and len(kinds) > 0
        and all(isinstance(each, str) and kind.fullmatch(each) for each in kinds)
    )
    names = stored.MEASURES | stored.RUN_MEASURES
    if (
        not isinstance(analyses, Mapping)
        or not names.keys() >= set(analyses)
        or not all(map(are_kinds, analyses.values()))
    ):
        raise ValueError(
            f"{study.__file__}: ANALYSES must be a dict of {', '.join(sorted(names))} "
            "-> list of final, run, snapshot-at, or EVENT-before or EVENT-after with "
            f"EVENT one of {', '.join(events)}, {phases.HOP_LEARNED}_HOPS, got "
            f"{analyses!r}."
        )


def _call(study: Any, name: str, runs: Sequence[Run], expected: str, is_valid: Any):
    return user_code.call(
        pathlib.Path(study.__file__),
        getattr(study, name, DEFAULTS[name]),
        runs,
        expected=f"{name} must {expected}",
        is_valid=is_valid,
    )


def of_sweep(members: Sequence[Run]) -> dict[str, Figure]:
    """Draws the figures of any sweep; its axes are those of `runs.shown_axes`.

    They are `accuracy` and `phase_diagram` of all cells and, where lines can tell the
    values of the first axis, the split of the last phase in one figure: `ood_by_depth`
    by loops, `id_by_width` by model.width.

    Raises:
      ValueError: as the functions that draw them.
    """
    sweep, chances = Sweep.of(members), chances_of(members)
    figures = {"accuracy": curves.accuracy(members, chances)}
    event = words.last_event(members, chances)
    fits = len(sweep.first) <= len(palette.MARKS) and len(sweep.rest) <= _MOST_COMPARED
    if event is not None and sweep.is_full and fits:
        split = phases.BUILT_IN[event]
        name = sweep.name(sweep.keys[0]).replace(" ", "_").replace("R", "depth")
        chance = chances.get(split)
        drawn = curves.split_by_axis(members, event=event, chance=chance)
        figures[f"{split}_by_{name}"] = drawn
    return figures | {"phase_diagram": diagram.phase_diagram(members)}


def chances_of(members: Sequence[Run]) -> Mapping[str, float]:
    """Returns the chance of each split of the runs' table; empty if they have several.

    Tables that differ in their seed only are as one. It makes that of the first run. It
    is empty, too, if that is another one than a run was trained on, or cannot be made,
    such as where the file of its task has changed or is gone.
    """
    told = [run.config.task.to_dict() | {"seed": None} for run in members]
    if any(task != told[0] for task in told):
        return {}
    try:
        table, made = (
            tasks.make_table(members[0].config),
            tasks.hash_of(members[0].config),
        )
        for run in members:
            if run.config.task.seed == members[0].config.task.seed:
                environment.check_table(run.folder, made, run.config)
    except ValueError:
        return {}
    return table.certificate.chance


# Of any sweep, by the axes in which its runs differ.
DEFAULTS: Mapping[str, Any] = {
    "summary": sentences.of_sweep,
    "table": tables.updates_to_phases,
    "figures": of_sweep,
    "claims": lambda runs: [],
}
