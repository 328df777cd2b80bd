"""`rdt report`: one page of HTML that shows sweeps, offline, in any browser."""

import argparse
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rdt_jax.cli import exits, stopping, subject
from rdt_jax.cli import options as shared
from rdt_jax.store import files
from rdt_jax.sweep import plan as plans
from rdt_jax.sweep import spec

NAME = "report.html"
WATCH_SECONDS = 30.0  # Time between two pages of `--watch`.
_LOOK_SECONDS = 0.2  # Time between two looks whether it was asked to stop.


def add(report: argparse.ArgumentParser) -> None:
    """Adds the options of `rdt report`."""
    report.add_argument(
        "subjects",
        nargs="*",
        metavar=f"{subject.METAVAR}|WORKDIR",
        help="as of `rdt figures`; a workdir stands for all of its sweeps; default: "
        "--workdir",
    )
    shared.add_task(report)
    report.add_argument("--preset", help="of studies or a task; default: cpu")
    shared.add_workdir(report, buckets=True, default=None)
    report.add_argument(
        "--out",
        type=_read_out,
        metavar="FILE.html",
        help=f"default: {NAME} in the folder of the sweep; of several, in the workdir",
    )
    report.add_argument(
        "--watch",
        action="store_true",
        help=f"write it again every {WATCH_SECONDS:.0f} seconds, until all runs are "
        "over",
    )
    report.set_defaults(verb=_report, takes_overrides=True, reads="records")


def _read_out(text: str) -> pathlib.Path:
    path = pathlib.Path(text)
    shared.folder(str(path.parent))
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"must be a file, and {text} is a folder")
    return path


def of_sweep(workdir: pathlib.Path, plan: spec.Plan) -> None:
    """Writes the page of a sweep into its folder, and prints where it is."""
    out = workdir / "sweeps" / plan.name / NAME
    _write([(workdir, plan)], out)
    print(f"All of it on a page for a browser:\n{out}")


def _report(options: argparse.Namespace) -> int:
    sweeps, problems = _sweeps(options)
    (workdir, plan), *others = sweeps
    out = options.out or workdir / ("" if others else f"sweeps/{plan.name}") / NAME
    found = _write(sweeps, out, problems, WATCH_SECONDS if options.watch else None)
    print(out, flush=True)
    if options.watch:
        with stopping.on_signal() as stop:
            while _goes_on(found) and not stop():
                _wait(options, stop)
                found = _write(sweeps, out, problems, WATCH_SECONDS)
        found = _write(sweeps, out, problems)  # Which is not written again.
    told = [f"{s['name']}: {text}" for s in found["sweeps"] for text in s["problems"]]
    for text in (*problems, *told):
        exits.tell(text)
    is_lost = any(sweep["provenance"].get("lost") for sweep in found["sweeps"])
    return exits.FAILED if is_lost or problems else exits.WELL


def _goes_on(found: Mapping[str, Any]) -> bool:
    """Says whether a run may still train, by the data of a page."""
    states = [run["state"] for sweep in found["sweeps"] for run in sweep["runs"]]
    return not {"pending", "running", "preempted"}.isdisjoint(states)


def _wait(options: argparse.Namespace, stop: Callable[[], int]) -> None:
    """Waits until a page is due, and brings what buckets have then."""
    due = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < due and not stop():
        time.sleep(_LOOK_SECONDS)
    from rdt_jax.store import bucket_copy

    for url in options.urls.values():
        bucket_copy.refresh(url, exits.tell, with_parameters=False)


def _write(
    sweeps: Sequence[tuple[pathlib.Path, spec.Plan]],
    out: pathlib.Path,
    problems: Sequence[str] = (),
    refresh: float | None = None,
) -> dict[str, Any]:
    """Writes a page, whole or not at all, and returns its data."""
    from rdt_jax.report import data, rendering  # Which takes a second.

    found = data.of_sweeps(sweeps, refresh=refresh, problems=problems)
    with exits.writing_elsewhere("report", "FILE.html"):
        out.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(out, rendering.render(found))
    return found


def _sweeps(
    options: argparse.Namespace,
) -> tuple[list[tuple[pathlib.Path, spec.Plan]], list[str]]:
    """Returns workdir and plan of each sweep, and which cannot be read and why."""
    default = None if options.task else str(options.workdir or "runs")
    planned, problems = [], []
    for text in options.subjects or [default]:
        asked = argparse.Namespace(**vars(options) | {"subject": text})
        if text is None or subject.kind_of(asked):
            planned.append(_planned(asked))
            continue
        found = sorted(pathlib.Path(text).glob("sweeps/*/plan.json"))
        if not found and (text == default or pathlib.Path(text).is_dir()):
            raise exits.Mistake(f"{text} has no sweep; `rdt sweep` plans and trains.")
        for folder in [str(path.parent) for path in found] or [text]:
            asked = argparse.Namespace(**vars(options) | {"subject": folder})
            try:
                planned.append(_planned(asked))
            except exits.Mistake as mistake:
                problems.append(str(mistake))
    if not planned:
        raise exits.Mistake("\n".join(problems))
    by_place = {(place.resolve(), plan.name): (place, plan) for place, plan in planned}
    return [*by_place.values()], problems


def _planned(options: argparse.Namespace) -> tuple[pathlib.Path, spec.Plan]:
    """Returns the workdir of a subject, and its plan as it is stored, if it is."""
    plan, workdir = subject.plan(options), options.workdir
    is_planned = plans.exists(workdir / "sweeps" / plan.name)
    if not is_planned and not any((workdir / n).exists() for n in plan.run_ids):
        raise exits.Mistake(
            f"{workdir} has no run of {plan.name}; `rdt sweep` trains them."
        )
    return workdir, shared.with_stored_trials(workdir, plan)
