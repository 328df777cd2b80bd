"""`rdt figures`: the table, the claims and the figures of a study or of a sweep."""

import argparse
import pathlib
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from rdt_jax import config as configs
from rdt_jax import user_code
from rdt_jax.analysis import runs as run_folders
from rdt_jax.cli import analyze, exits, subject
from rdt_jax.cli import options as shared
from rdt_jax.figures import claims as drawing
from rdt_jax.sweep import spec


def add(figures: argparse.ArgumentParser) -> None:
    """Adds the options of `rdt figures`."""
    subject.add(figures)
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
    figures.add_argument(
        "--figures",
        metavar="FILE.py:FUNCTION",
        help="draw what a function of your own returns: from rdt_jax.Runs to a figure "
        "of matplotlib, or a dict of names and figures",
    )
    figures.set_defaults(verb=_figures, takes_overrides=True, reads="records")


def _figures(options: argparse.Namespace) -> int:
    shared.use_compile_cache()
    plan = subject.plan(options)
    if options.figures or getattr(plan.study, "ANALYSES", {}):
        shared.bring_parameters(options)
    if options.figures is not None:
        with exits.mistakes():
            plan = plan._replace(study=_drawn_by(options.figures, plan.study))
    if options.check:
        return _check(options, plan)
    runs, is_whole = show(options.workdir, plan, options.out)
    exit_code = exits.report_lost(runs, plan.name)
    return exit_code if is_whole else exits.FAILED


def _drawn_by(text: str, study: Any) -> Any:
    """Returns a study with the figures of a function of the user's own; ValueError."""
    from rdt_jax.python.runs import Runs

    function = configs.load_function(text, "figure")
    path, _, name = text.rpartition(":")
    stem, expected = pathlib.Path(path).stem, f"{name} must draw an rdt_jax.Runs"

    def draw(runs: Sequence[Any]) -> Any:
        given = (pathlib.Path(path), function, Runs.of(runs))
        drawn = user_code.call(*given, expected=expected)
        drawn = {name: drawn} if hasattr(drawn, "savefig") else drawn
        named = isinstance(drawn, Mapping)  # Beside those of the study.
        return {f"{stem}-{key}": drawn[key] for key in drawn} if named else drawn

    return types.SimpleNamespace(**{**vars(study), "__file__": path, "figures": draw})


def show(
    workdir: pathlib.Path, plan: spec.Plan, out: pathlib.Path | None = None
) -> tuple[list[Any], bool]:
    """Prints what happened, the table and the claims of a study; draws its figures.

    If no run has an evaluation, since some are lost, it does nothing. The figures are
    in the folder `out`, by default the sweep's.

    Returns:
      The runs of the plan, and whether all of them could be analyzed.
    """
    from rdt_jax.figures import save, sentences
    from rdt_jax.figures import study as studies

    with exits.mistakes():
        runs = _evaluated(workdir, plan)
        if not any(run.metrics for run in runs):
            return runs, True
        claims, is_whole = judge(plan.study, runs)
        summary = studies.summary(plan.study, runs)
        table = studies.table(plan.study, runs)
    console = Console()
    say = lambda text: console.print(text, markup=False, highlight=False)
    say(" ".join(summary) + "\n" if summary else "")
    shared.print_table(table)
    say(f"{sentences.ELSEWHERE}\n")
    for claim in drawing.by_verdict(claims):
        say(drawing.text(claim))
    folder = out or _folder(workdir, plan)
    provenance = save.provenance(runs, pathlib.Path(plan.study.__file__))
    with exits.mistakes():  # There may be too few runs to draw any.
        figures = studies.figures(plan.study, runs)
    print("Figures, each beside it as PDF and with its numbers as JSON:")
    for name, figure in figures.items():
        save.mark(figure, run_folders.describe_lost(runs))
        with exits.writing_elsewhere("figures"):
            image, *_ = save.save(figure, folder / name, provenance)
        print(f"  {image}")
    return runs, is_whole


def is_any_evaluated(workdir: pathlib.Path, run_ids: Sequence[str]) -> bool:
    """Says whether any of some runs has been evaluated: its metrics are not empty."""
    paths = [workdir / run_id / "metrics.jsonl" for run_id in run_ids]
    return any(path.exists() and path.stat().st_size > 0 for path in paths)


def judge(study: Any, runs: Sequence[Any]) -> tuple[list[Any], bool]:
    """Computes the analyses that a study needs, and judges its claims.

    Returns the claims, with the runs that are lost; and whether all runs could be
    analyzed: one that was trained on another table is refused.
    """
    from rdt_jax.figures import study as studies

    is_whole = True
    if analyses := getattr(study, "ANALYSES", {}):
        is_whole = not analyze.compute({run: analyses for run in runs}).runs
    return drawing.with_lost(studies.claims(study, runs), runs), is_whole


def _check(options: argparse.Namespace, plan: spec.Plan) -> int:
    """Compares the numbers of the figures with the stored ones."""
    from rdt_jax.figures import numbers, save
    from rdt_jax.figures import study as studies

    with exits.mistakes():
        runs = _evaluated(options.workdir, plan)
        has_metrics = any(run.metrics for run in runs)
        figures = studies.figures(plan.study, runs) if has_metrics else {}
    lost_runs = run_folders.describe_lost(runs)
    folder = options.out or _folder(options.workdir, plan)
    failed = bool(exits.report_lost(runs, plan.name))
    for name, figure in figures.items():
        save.mark(figure, lost_runs)
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


def _evaluated(workdir: pathlib.Path, plan: spec.Plan) -> list[Any]:
    """Returns the runs of a plan; ValueError if none is evaluated and none lost."""
    configs = spec.configs_of(shared.with_stored_trials(workdir, plan).trials)
    runs = run_folders.read_runs(workdir, configs)
    planned = (workdir / "sweeps" / plan.name / "plan.json").exists()
    if not any(run.metrics or (planned and run.is_lost) for run in runs):
        raise ValueError(
            f"No run of {plan.name} in {workdir} has been evaluated yet; "
            "`rdt sweep` trains them."
        )
    return runs


def _folder(workdir: pathlib.Path, plan: spec.Plan) -> pathlib.Path:
    return workdir / "sweeps" / plan.name / "figures"
