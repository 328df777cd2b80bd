"""`rdt figures`: the table, the claims and the figures of a study."""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from rdt_jax.cli import analyze, exits
from rdt_jax.cli import options as shared


def add(verbs: argparse._SubParsersAction) -> None:
    """Registers `rdt figures`."""
    figures = verbs.add_parser("figures", help="draw the figures of a study again")
    shared.add_study(figures)
    shared.add_workdir(figures)
    figures.add_argument(
        "--check",
        action="store_true",
        help="write nothing; compare the numbers of each figure with those stored",
    )
    figures.add_argument(
        "--out",
        type=shared.folder,
        metavar="DIR",
        help="where the figures are; default: WORKDIR/sweeps/NAME/figures. Analyses "
        "that are missing are stored in the workdir all the same",
    )
    figures.set_defaults(verb=_figures, takes_overrides=True)


def _figures(options: argparse.Namespace) -> int:
    shared.use_compile_cache()
    plan = shared.plan(options)
    if options.check:
        return _check(options, plan)
    return exits.report_lost(show(options, plan, options.out), plan.name)


def show(
    options: argparse.Namespace, plan, out: pathlib.Path | None = None
) -> list[Any]:
    """Prints the table and the claims of a study and draws its figures.

    Args:
      options: with the workdir.
      plan: of the study.
      out: folder for the figures; None for the sweep's.

    Returns:
      The runs of its plan. If none has an evaluation, since some are lost, nothing is
      drawn.
    """
    from rich.console import Console

    from rdt_jax.analysis import runs as run_folders
    from rdt_jax.figures import claims as drawing
    from rdt_jax.figures import save
    from rdt_jax.figures import study as studies

    with exits.mistakes():
        runs = _evaluated(options.workdir, plan)
        if not any(run.metrics for run in runs):
            return runs
        claims, table = judge(plan.study, runs), studies.table(plan.study, runs)
    shared.print_table(table)
    console = Console()
    for claim in claims:
        console.print(drawing.text(claim), markup=False, highlight=False)
    folder = out or _folder(options.workdir, plan)
    provenance = save.provenance(runs, pathlib.Path(plan.study.__file__))
    with exits.mistakes():  # There may be too few runs to draw any.
        figures = studies.figures(plan.study, runs)
    for name, figure in figures.items():
        save.mark(figure, run_folders.describe_lost(runs))
        with exits.writing_elsewhere("figures"):
            paths = save.save(figure, folder / name, provenance)
        print(*paths, sep="\n")
    return runs


def judge(study: Any, runs: Sequence[Any]) -> list[Any]:
    """Returns the claims of a study, with what they and its figures read of its models.

    What a claim measured ends with the runs that are missing or unreadable.
    """
    from rdt_jax.analysis import runs as run_folders
    from rdt_jax.figures import study as studies

    analyses = getattr(study, "ANALYSES", {})
    if analyses:
        analyze.compute({run: analyses for run in runs})
    claims, lost = studies.claims(study, runs), run_folders.describe_lost(runs)
    if not lost:
        return claims
    return [
        dataclasses.replace(claim, measured=f"{claim.measured} {lost}.")
        for claim in claims
    ]


def _check(options: argparse.Namespace, plan) -> int:
    """Compares the numbers of the figures that are drawn with those that are stored."""
    from rdt_jax.analysis import runs as run_folders
    from rdt_jax.figures import numbers, save
    from rdt_jax.figures import study as studies

    with exits.mistakes():
        runs = _evaluated(options.workdir, plan)
        begun = any(run.metrics for run in runs)
        figures = studies.figures(plan.study, runs) if begun else {}
    lost = run_folders.describe_lost(runs)
    folder = options.out or _folder(options.workdir, plan)
    failed = bool(exits.report_lost(runs, plan.name))
    for name, figure in figures.items():
        save.mark(figure, lost)
        path = save.path_of_numbers(folder / name)
        if not path.exists():
            problem = f"{path} does not exist: `rdt figures` without --check writes it"
        else:
            stored = save.read_numbers(path)
            problem = numbers.difference(stored, numbers.of(figure)) or ""
        failed |= bool(problem)
        stream = sys.stderr if problem else sys.stdout
        print(f"{name}: {problem or 'every number comes out again'}.", file=stream)
    return exits.FAILED if failed else exits.WELL


def _evaluated(workdir: pathlib.Path, plan) -> list[Any]:
    """Returns the runs of a plan.

    Raises:
      ValueError: if none is evaluated, and none is lost of what was planned here.
    """
    from rdt_jax.analysis import runs as run_folders
    from rdt_jax.sweep import spec

    counted = spec.configs_of(shared.counted(workdir, plan).trials)
    runs = run_folders.read_runs(workdir, counted)
    planned = (workdir / "sweeps" / plan.name / "plan.json").exists()
    if not any(run.metrics or (planned and run.is_lost) for run in runs):
        raise ValueError(
            f"No run of {plan.name} in {workdir} has been evaluated yet; "
            "`rdt sweep` trains them."
        )
    return runs


def _folder(workdir: pathlib.Path, plan) -> pathlib.Path:
    return workdir / "sweeps" / plan.name / "figures"
