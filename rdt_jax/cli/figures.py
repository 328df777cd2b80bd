"""`rdt figures`: the table, the claims and the figures of a study."""

import argparse
from collections.abc import Sequence
from typing import Any

from rdt_jax.cli import analyze, exits
from rdt_jax.cli import options as shared


def add(verbs: argparse._SubParsersAction) -> None:
    """Registers `rdt figures`."""
    figures = verbs.add_parser("figures", help="draw the figures of a study again")
    shared.add_study(figures)
    shared.add_workdir(figures)
    figures.set_defaults(verb=_figures, takes_overrides=True)


def _figures(options: argparse.Namespace) -> int:
    show(options, shared.plan(options))
    return exits.WELL


def show(options: argparse.Namespace, plan) -> None:
    """Prints the table and the claims of a study and draws its figures."""
    from rich.console import Console

    from rdt_jax.analysis import runs as run_folders
    from rdt_jax.figures import claims as drawing
    from rdt_jax.figures import save

    with exits.mistakes():
        runs = run_folders.read_runs(options.workdir, plan.run_ids)
        if not any(run.metrics for run in runs):
            raise ValueError(
                f"No run of {plan.name} in {options.workdir} has been evaluated yet; "
                "`rdt sweep` trains them."
            )
        _analyze(plan.study, runs)
    console = Console()
    console.print(plan.study.table(runs))
    for claim in plan.study.claims(runs):
        console.print(drawing.text(claim), markup=False, highlight=False)
    folder = options.workdir / "sweeps" / plan.name / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    provenance = save.provenance(runs)
    for name, figure in plan.study.figures(runs).items():
        for path in save.save(figure, folder / name, provenance):
            print(path)


def _analyze(study: Any, runs: Sequence[Any]) -> None:
    """Computes what the study's figures and claims read of its models."""
    analyses = getattr(study, "ANALYSES", {})
    if analyses:  # A study without any needs no JAX here.
        analyze.compute({run: analyses for run in runs})
