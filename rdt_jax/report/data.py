"""The data of a report: all that its page shows of some sweeps, as one JSON value.

    found = data.of_sweeps([(workdir, plan)])
    found["sweeps"][0]["cells"][3]["phases"]["ood_generalized"]["text"]  # "8.25k"

Its numbers are those of `rdt figures`: medians and bounds of `analysis/grokking.py`,
words of `figures/cells.py` and `figures/words.py`. Curves are rounded to 4 digits.
Runs, cells and values of axes are told by their index in the list that holds them.
"""

import base64
import datetime
import importlib.metadata
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rdt_jax import wording
from rdt_jax.analysis import grokking, runs, stored
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.runs import Run
from rdt_jax.figures import claims as drawing
from rdt_jax.figures import palette, save, words
from rdt_jax.figures import study as studies
from rdt_jax.figures.cells import Sweep
from rdt_jax.report import inside, run_data
from rdt_jax.sweep import links, spec
from rdt_jax.training import phases

# Kinds of parameters that runs keep, at the stages of training.
KEPT = (*(f"{event}-after" for event in phases.BUILT_IN), "final")
MOST_IMAGE_BYTES = 2_000_000  # of the figures of a sweep, as PNG
MOST_NUMBERS = 2_000_000  # of the curves of a page, which are about 6 bytes each


def of_sweeps(
    sweeps: Sequence[tuple[pathlib.Path, spec.Plan]],
    *,
    refresh: float | None = None,
    problems: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns the data of a page.

    Args:
      sweeps: workdir and plan of each, in the order of the page.
      refresh: seconds after which the page is written again; None: never.
      problems: what cannot be shown, such as sweeps whose plans are damaged.
    """
    most = MOST_NUMBERS // max(1, sum(len(plan.trials) for _, plan in sweeps))
    now = datetime.datetime.now(datetime.UTC)
    names = [plan.name for _, plan in sweeps]
    return {
        "title": ", ".join(names[:3]) + ", .." * (len(names) > 3),
        "made": now.isoformat(timespec="seconds"),
        "version": importlib.metadata.version("rdt_jax"),
        "refresh": refresh,
        "problems": [*problems],
        "sweeps": [
            {"id": name} | of_sweep(workdir, plan, most)
            for name, (workdir, plan) in zip(_ids(names), sweeps, strict=True)
        ],
    }


def _ids(names: Sequence[str]) -> list[str]:
    """Returns what addresses call sweeps: their names, or the places of odd ones."""
    is_plain = lambda n: re.fullmatch(r"[\w.,=+-]+", n, re.ASCII) and names.count(n) < 2
    places = enumerate(names, start=1)
    return [name if is_plain(name) else f"sweep-{place}" for place, name in places]


def of_sweep(
    workdir: pathlib.Path, plan: spec.Plan, most: int = MOST_NUMBERS
) -> dict[str, Any]:
    """Returns the data of a sweep; where something is wrong, its `problems` say what.

    Args:
      workdir: folder of the runs.
      plan: plan of the sweep.
      most: numbers in the curves of a run; of more evaluations only some are shown.
    """
    head = {
        "name": plan.name,
        "study": plan.study_name or None,
        "preset": plan.preset,
        "task": "",
        "repeats": "run",
        "commands": _commands(workdir, plan),
        "analyze": f"rdt analyze {run_data.quoted(workdir / 'sweeps' / plan.name)} "
        f"--what=answers --checkpoint={','.join(KEPT)}",
    }
    lists = ("summary", "axes", "phases", "groups", "cells", "runs", "claims", "notes")
    rest: dict[str, Any] = {name: [] for name in lists}
    rest |= {"figures": [], "inside": {}, "provenance": {}}
    try:
        members = runs.read_runs(workdir, spec.configs_of(plan.trials))
        problems = _problems(members)
        rest |= _measured(workdir, plan, members, most, problems)
    except ValueError as error:  # Of what cannot be shown together.
        problems = [str(error)]
    return {**head, **rest, "problems": problems}


def _measured(
    workdir: pathlib.Path,
    plan: spec.Plan,
    members: Sequence[Run],
    most: int,
    problems: list[str],
) -> dict[str, Any]:
    """Returns what runs say; what is wrong with some of it is added to `problems`."""
    sweep = Sweep.of(members)
    cells = grokking.cells(members, sweep.keys)
    groups = list(dict.fromkeys(group for cell in cells for group in cell.final))
    groups = groups or list(grokking.drawn_splits(members))
    place = {run.run_id: index for index, run in enumerate(members)}
    cell_of = {n: index for index, cell in enumerate(cells) for n in cell.run_ids}
    labels, preset = links.labels(plan.trials), run_data.Preset.of(plan)
    seeds = [key for key in runs.SEEDS if len(runs.values_of(members, key)) > 1]
    found = []
    for run in members:
        told = run_data.of_run(run, groups, preset, most, problems)
        where = {"cell": cell_of[run.run_id], "name": labels[run.run_id]}
        where["seed"] = _seed(run, seeds)
        found.append({"id": run.run_id, **told, **where})
    shown = {len(run["steps"]) for run in found}
    evaluated = max((len(run.metrics) for run in members), default=0)
    thinned = f"Curves show {max(shown)} of up to {evaluated} evaluations of each run."
    notes = [thinned] if max(shown) < evaluated else []
    return {
        "task": words.task_name(members),
        "repeats": sweep.repeats,
        "axes": [
            {
                "key": key,
                "name": sweep.name(key),
                "title": sweep.axis_title(key),
                "values": [sweep.written(key, value) for value in sweep.values[key]],
            }
            for key in sweep.keys
        ],
        "phases": [_phase(members, e) for e in grokking.watched_events(members)],
        "groups": [
            {
                "id": group,
                "words": words.split_name(members, group),
                "color": style["color"],
                "dash": style["ls"],
            }
            for group, style in palette.of_groups(groups).items()
        ],
        "cells": [
            _cell(sweep, values, cell, place)
            for values, cell in zip(sweep.cells, cells, strict=True)
        ],
        "runs": found,
        "notes": notes,
        "summary": _summary(plan, members, problems),
        "claims": _claims(plan, members, problems),
        "figures": _figures(workdir / "sweeps" / plan.name / "figures", notes),
        "inside": inside.of_runs(members, problems),
        "provenance": _provenance(plan, members, found),
    }


def _seed(run: Run, keys: Sequence[str]) -> int | str:
    """Returns the seed of a run, in words with those others of `keys` that differ."""
    others = [key for key in keys if key != "seed"]
    words = [f"{key.replace('.', ' ')} {runs.value_of(run, key)}" for key in others]
    return ", ".join([str(run.config.seed), *words]) if others else run.config.seed


def _phase(members: Sequence[Run], event: str) -> dict[str, Any]:
    watched = grokking.watched(members, event)
    return {
        "name": event,
        "words": words.event_name(event),
        "split": watched,
        "split_words": words.split_name(members, watched),
        "threshold": words.level_name(members, event),
        "loops": phases.rows_and_loops(watched)[1],
    }


def _cell(
    sweep: Sweep, values: tuple, cell: grokking.Cell, place: Mapping[str, int]
) -> dict[str, Any]:
    """Returns the data of a cell; `place` has the index of each run."""
    members = sweep.cells[values]
    own = grokking.watched_events(members)
    bold = grokking.median_run(members, own[-1]) if own else None
    pairs = zip(sweep.keys, values, strict=True)
    return {
        "values": [sweep.values[key].index(value) for key, value in pairs],
        "label": sweep.label(values),
        "runs": [place[run_id] for run_id in cell.run_ids],
        "median_run": None if bold is None else place[bold.run_id],
        "phases": {
            event: _times(times, cell.unfinished) for event, times in cell.times.items()
        },
        "final": {
            group: {
                **accuracy._asdict(),
                "text": "..." if cell.unfinished else f"{accuracy.median:.2f}",
            }
            for group, accuracy in cell.final.items()
        },
        "unfinished": cell.unfinished,
        "failed": cell.failed,
    }


def _times(times: grokking.CellTimes, unfinished: int) -> dict[str, Any]:
    number = lambda bound: None if bound.beyond else bound.steps
    median, low, high = times.median, times.low, times.high
    return {
        "median": number(median),
        "text": "..." if median.beyond and unfinished else str(median),
        "beyond": median.beyond,
        "bound": median.steps,
        "low": number(low),
        "high": number(high),
        "spread": times.spread if times.runs > 1 else "",
        "reached": times.reached,
        "runs": times.runs,
    }


def _summary(plan: spec.Plan, members: Sequence[Run], problems: list[str]) -> list[str]:
    """Returns what happened in sentences, before an evaluation none."""
    try:
        is_begun = any(run.metrics for run in members)
        return studies.summary(plan.study, members) if is_begun else []
    except ValueError as error:
        problems.append(f"Nothing is summed up: {error}")
        return []


def _claims(
    plan: spec.Plan, members: Sequence[Run], problems: list[str]
) -> list[dict[str, Any]]:
    claims: list[Claim] = []
    try:
        if any(run.metrics for run in members):
            claims = drawing.with_lost(studies.claims(plan.study, members), members)
    except ValueError as error:
        problems.append(f"Nothing is judged: {error}")
    analyses = getattr(plan.study, "ANALYSES", {}).items()
    try:
        lacks = any(stored.jobs(members, [what], kinds) for what, kinds in analyses)
    except (ValueError, KeyError):  # One is damaged, which `inside` names.
        lacks = True
    if lacks:
        told = "Analyses that claims read are missing, damaged or of other code"
        problems.append(f"{told}: `rdt figures` makes them.")
    claims = drawing.by_verdict(claims)
    names = ("text", "source", "expected", "measured", "verdict", "judged_by")
    return [
        {name: getattr(claim, name) for name in names} | {"study": plan.study_name}
        for claim in claims
    ]


def _figures(folder: pathlib.Path, notes: list[str]) -> list[dict[str, Any]]:
    """Returns the figures that `rdt figures` wrote: name, when, image, and its notes.

    What would make the page too large is left out, and named in `notes`.
    """
    found, room = [], MOST_IMAGE_BYTES
    for path in sorted(folder.rglob("*.png")):
        name, size = str(path.relative_to(folder).with_suffix("")), path.stat().st_size
        if size > room:
            notes.append(f"{path.name} ({size:,} bytes) is left out of this page.")
            continue
        room -= size
        drawn = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
        image = base64.b64encode(path.read_bytes()).decode()
        when = drawn.isoformat(timespec="minutes")
        told = save.read_notes(folder / name)
        found.append({"name": name, "drawn": when, "image": image, "notes": told})
    return found


def _provenance(
    plan: spec.Plan, members: Sequence[Run], found: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Says where the numbers come from, as `save.provenance`, and on what and when."""
    has_study = plan.study is not spec.NO_STUDY
    study = pathlib.Path(plan.study.__file__) if has_study else None
    times = [time for run in found for time in run["trained"]]
    on = [run["environment"] for run in found if run["environment"]]
    distinct = lambda values: sorted(set(values))
    told = lambda key: [each[key] for each in on if each[key]]  # By older versions none
    return {
        **save.provenance(members, study),
        "devices": distinct(map(", ".join, told("devices"))),
        "processes": distinct(told("processes")),
        "trained": [min(times), max(times)] if times else [],
    }


def _problems(members: Sequence[Run]) -> list[str]:
    """Says which runs are lost, failed or unfinished, and that none is evaluated."""
    lost = runs.describe_lost(members)
    found = [f"{lost}."] if lost else []
    found += [str(run.status["message"]) for run in members if run.is_lost]
    waiting = [run for run in runs.unfinished(members) if not run.is_lost]
    if waiting:
        total = wording.count(len(members), "run")
        found.append(f"{len(waiting)} of {total} not yet finished.")
    if failed := [run.run_id for run in members if run.outcome == "failed"]:
        found.append(f"Loss not finite: {', '.join(failed)}.")
    if not any(run.metrics for run in members):
        found.append("No run has been evaluated yet; `rdt sweep` trains them.")
    return found


def _commands(workdir: pathlib.Path, plan: spec.Plan) -> list[dict[str, str]]:
    """Returns the commands that go on with a sweep and draw it, with what they do."""
    folder = run_data.quoted(workdir / "sweeps" / plan.name)
    return [
        {"does": "trains what is missing", "text": f"rdt sweep {folder}"},
        {"does": "draws the figures again", "text": f"rdt figures {folder}"},
        {"does": "writes this page again", "text": f"rdt report {folder}"},
    ]
