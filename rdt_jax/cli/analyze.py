"""`rdt analyze`: analyses of the stored parameters of runs, kept beside them."""

import argparse
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from rdt_jax.analysis import finding
from rdt_jax.analysis import runs as run_folders
from rdt_jax.cli import exits, subject
from rdt_jax.cli import options as shared
from rdt_jax.sweep import plan as plans

SECONDS_UNTOLD = 30  # where no bar is drawn


def add(analyze: argparse.ArgumentParser) -> None:
    """Adds the options of `rdt analyze`."""
    subject.add(analyze, also="RUN")
    analyze.add_argument(
        "--what",
        metavar="NAME,..",
        help="analyses, such as lens; --list names all. Or FILE.py:FUNCTION of your "
        "own, from (params, config, table) to a dict of arrays",
    )
    analyze.add_argument("--list", action="store_true", help="list the analyses")
    analyze.add_argument(
        "--checkpoint",
        metavar="KIND,..",
        help="which parameters, such as final, memorized-after or one of a step; "
        "default: final",
    )
    analyze.add_argument(
        "--transition",
        action="store_true",
        help="compare the parameters before and after each transition that was kept",
    )
    analyze.set_defaults(verb=_analyze, reads="parameters")


def _analyze(options: argparse.Namespace) -> int:
    shared.use_compile_cache()

    from rdt_jax.analysis import stored

    if options.list:
        shared.check_used(options, "rdt analyze --list", ["list"])
        for name in sorted(stored.MEASURES | stored.RUN_MEASURES):
            print(f"{name}: {stored.describe(name)}")
        return exits.WELL
    kind = subject.kind_of(options)
    if (options.subject is None and not kind) or options.what is None:
        raise exits.Mistake(
            "rdt analyze needs RUN or WORKDIR/sweeps/NAME, and "
            "--what=NAME,..; --list says the names."
        )
    if options.transition and options.checkpoint:
        raise exits.Mistake("--transition says which parameters: give no --checkpoint.")
    analyses = options.what.split(",")
    workdir = options.workdir or pathlib.Path("runs")
    with exits.mistakes():
        stored.jobs([], analyses, ())  # Reports an unknown name.
        if stored.RUN_MEASURES.keys() >= set(analyses):  # Of all parameters of a run.
            form = f"rdt analyze --what={options.what}"
            used = ["subject", "task", "preset", "workdir", "what"]
            shared.check_used(options, form, used)
        if kind:
            folder = pathlib.Path(subject.folder_of(options))
        else:
            subject.refuse(options, ("preset",), f"{options.subject}, a run")
            folder = finding.find(workdir, options.subject)
        planned, axes = _runs(folder)
    exit_code = exits.report_lost(planned, folder.resolve().name)
    runs = [run for run in planned if not run.is_lost]
    asked_kinds = (options.checkpoint or "final").split(",")
    kinds: dict[Any, Sequence[str]] = dict.fromkeys(runs, asked_kinds)
    if options.transition:
        for run in runs:
            pairs = stored.transitions(run)
            kinds[run] = [name for pair in pairs for name in pair[1:]]
    _check_kept(options, planned, kinds, analyses)
    refused = compute({run: dict.fromkeys(analyses, kinds[run]) for run in runs})
    _print(options, folder, planned, axes, analyses)
    is_stored = lambda run, analysis: any(
        stored.is_current(run, analysis, name)
        for name in stored.names_of(run, analysis, kinds[run])
    )
    if refused.runs:
        return exits.MISTAKE if len(planned) == 1 else exits.FAILED
    applies = all(
        any(is_stored(run, analysis) for run in runs) for analysis in analyses
    )
    if runs and (not applies or (refused.analyses and len(planned) == 1)):
        return exit_code or exits.MISTAKE
    return exit_code


def _check_kept(
    options: argparse.Namespace,
    planned: Sequence[Any],
    kinds: Mapping[Any, Sequence[str]],
    analyses: Sequence[str],
) -> None:
    """Tells of runs without the parameters that are asked for; Mistake if it is all."""
    from rdt_jax.analysis import stored

    for run in kinds:
        if any(stored.names_of(run, analysis, kinds[run]) for analysis in analyses):
            continue
        names = ", ".join(stored.checkpoints(run)) or "none"
        lacks = (
            "transition with parameters" if options.transition else "such parameters"
        )
        problem = f"{run.run_id} has no {lacks}; it kept {names}."
        passed_budget = "final" in kinds[run] and stored.describe_passed([run])
        if len(planned) == 1:
            raise exits.Mistake(passed_budget or problem)
        if not passed_budget:  # `compute` says so of all runs.
            exits.tell(problem)


def _print(
    options: argparse.Namespace,
    folder: pathlib.Path,
    planned: Sequence[Any],
    axes: Any,
    analyses: Sequence[str],
) -> None:
    """Prints what is stored: of each transition, of a run, or of a sweep over axes."""
    from rdt_jax.analysis import stored
    from rdt_jax.figures import summaries

    asked_kinds = (options.checkpoint or "final").split(",")
    console = Console()
    if options.transition:
        for run in planned:
            if run.is_lost:
                continue
            console.print(f"Run {run.run_id}", highlight=False)
            for table in summaries.of_transitions(run, analyses):
                shared.print_table(table)
    elif axes is None:
        for table in summaries.of_run(planned[0], analyses, asked_kinds):
            shared.print_table(table)
        for analysis in analyses:
            for name in stored.names_of(planned[0], analysis, asked_kinds):
                if stored.is_current(planned[0], analysis, name):
                    print(stored.path_of(planned[0], analysis, name))
    else:
        with exits.mistakes():
            tables = summaries.of_sweep(planned, axes, analyses, asked_kinds)
        for table in tables:
            shared.print_table(table)
        arrays = _workdir(folder) / "RUN" / "analysis"
        console.print(f"Arrays are in {arrays}", highlight=False, soft_wrap=True)


class Refused(NamedTuple):
    """Numbers of what could not be computed."""

    analyses: int  # that do not apply to their run, or whose parameters are damaged
    runs: int  # trained on another table than their config makes now


def compute(wanted: Mapping[Any, Mapping[str, Sequence[str]]]) -> Refused:
    """Computes the analyses that are not stored yet; shows progress, reports refusals.

    It also names the runs whose final parameters are wanted but were not kept. Kinds of
    checkpoints are `wanted` by run and analysis; ValueError if one is unknown.
    """
    from rdt_jax.analysis import stored

    jobs, final_runs = [], set()
    for run, analyses in wanted.items():
        for what, kinds in analyses.items():
            jobs += stored.jobs([run], [what], kinds)
            if "final" in kinds or what in stored.RUN_MEASURES:
                final_runs.add(run)
    if not_kept := stored.describe_passed(run for run in wanted if run in final_runs):
        exits.tell(not_kept)
    of_other_tables = set()
    for run in dict.fromkeys(job.run for job in jobs):
        try:
            stored.check_table(run)
        except ValueError as error:
            of_other_tables.add(run)
            exits.tell(str(error))
    jobs = [job for job in jobs if job.run not in of_other_tables]
    num_refused = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    said = time.monotonic()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("analyze", total=len(jobs))
        for index, job in enumerate(jobs):
            title = f"{job.what} of {job.run.run_id} at {job.checkpoint}"
            if not console.is_terminal and time.monotonic() - said > SECONDS_UNTOLD:
                said = time.monotonic()
                exits.tell(f"{title} ({index} of {len(jobs)} done)")
            progress.update(task, description=title)
            try:
                stored.compute(job)
            except ValueError as error:
                num_refused += 1
                console.print(f"{title}: {error}", markup=False, highlight=False)
            progress.advance(task)
    return Refused(num_refused, len(of_other_tables))


def _workdir(folder: pathlib.Path) -> pathlib.Path:
    """Returns the workdir of a run's folder or of a sweep's."""
    folder = folder.resolve()
    return folder.parents[1] if (folder / "plan.json").exists() else folder.parent


def _runs(folder: pathlib.Path) -> tuple[list[Any], Sequence[str] | None]:
    """Returns the planned runs of a sweep and its axes; of a run: that, and None."""
    if not plans.exists(folder):
        return [run_folders.read_run(folder)], None
    configs = plans.read(folder).configs()
    planned = run_folders.read_runs(_workdir(folder), configs)
    return planned, run_folders.axes_of(planned)
