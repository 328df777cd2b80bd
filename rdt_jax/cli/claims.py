"""`rdt claims`: the verdicts on the published claims, over all studies with runs."""

import argparse
import collections
import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rdt_jax.analysis import results, scorecard
from rdt_jax.analysis import runs as run_folders
from rdt_jax.cli import exits, figures, subject
from rdt_jax.cli import options as shared
from rdt_jax.figures import claims as drawing
from rdt_jax.store import files
from rdt_jax.sweep import plan as plans
from rdt_jax.sweep import spec
from rdt_jax.sweep.plan import StoredPlan


def add(claims: argparse.ArgumentParser) -> None:
    """Adds the options of `rdt claims`."""
    claims.add_argument(
        "subjects",
        nargs="*",
        metavar="STUDY|WORKDIR/sweeps/NAME",
        help="folders of studies, or of sweeps of one; default: all studies",
    )
    claims.add_argument(
        "--preset",
        help="such as cpu, or 'cpu num_steps=60' for its sweep with that override; "
        "default: every one that was swept",
    )
    shared.add_workdir(claims, buckets=True, default=None)
    claims.add_argument(
        "--out",
        type=shared.folder,
        metavar="DIR",
        help="where claims.md and claims.json are written; default: the workdir",
    )
    claims.add_argument(
        "--write",
        type=_scorecard,
        metavar="FILE.json",
        help="scorecard to bring up to date, such as docs/scorecard.json, with its "
        "page FILE.md and results.csv of each study in the same repository",
    )
    claims.set_defaults(verb=_claims, task=None, reads="records")


def _scorecard(text: str) -> pathlib.Path:
    if not text.endswith(".json"):
        raise argparse.ArgumentTypeError(f"must end in .json, got {text}")
    path = pathlib.Path(text).resolve()
    return shared.folder(str(path.parent)) / path.name


class _Judged(NamedTuple):
    """A sweep of a study, its runs and what they say of its claims."""

    study: Any
    plan: StoredPlan
    runs: list[Any]
    claims: list[Any]


def _claims(options: argparse.Namespace) -> int:
    shared.use_compile_cache()

    with exits.mistakes():
        judges = _judges(options)
        if options.write:
            scorecard.read(options.write)  # A damaged one is refused at once.
    claims_by_study: dict[str, list[Any]] = {}
    judged: list[_Judged] = []
    presets: dict[str, str] = {}  # By sweep of these studies.
    plans, failed = _plans(options.workdir)
    for name, study, only in judges:
        sweeps = _sweeps(plans, name)
        if sweeps and getattr(study, "ANALYSES", {}):
            shared.bring_parameters(options)
        presets |= sweeps
        for sweep, preset in sweeps.items():
            if only not in (None, sweep):
                continue
            if options.preset not in (None, preset, preset.partition(" ")[0]):
                continue
            try:
                runs, claims, code = _judge(options.workdir, study, sweep, plans[sweep])
            except ValueError as error:
                failed = True
                exits.tell(f"{sweep}: {error}")
                continue
            failed |= code != exits.WELL
            claims = [dataclasses.replace(claim, preset=preset) for claim in claims]
            claims_by_study.setdefault(name, []).extend(claims)
            judged += [_Judged(study, plans[sweep], runs, claims)] if claims else []
    others = [(plans[sweep].study, sweep) for sweep in plans.keys() - presets]
    other_studies = {study or sweep for study, sweep in others if study != ""}
    if not any(claims_by_study.values()) and not failed:
        is_begun = lambda sweep: figures.is_any_evaluated(
            options.workdir, plans[sweep].run_ids
        )
        begun = {preset for sweep, preset in presets.items() if is_begun(sweep)}
        if options.preset is not None and begun:
            raise exits.Mistake(
                f"--preset: no sweep of {options.preset!r} with an evaluated run in "
                f"{options.workdir}; choose from {', '.join(sorted(begun))}."
            )
        studies = "these studies" if options.subjects else "a study in experiments"
        raise exits.Mistake(
            f"{options.workdir} has no evaluated run of {studies}; "
            + (_mention(other_studies) if other_studies else "`rdt sweep` trains them.")
        )
    if other_studies and not options.subjects:
        exits.tell(_mention(other_studies))
    shared.print_table(drawing.table(claims_by_study))
    out = options.out or options.workdir
    with exits.mistakes():
        kept = _kept(options.write, judges, judged) if options.write else {}
    with exits.writing_elsewhere("claims"):
        out.mkdir(parents=True, exist_ok=True)
        files.write_text(out / "claims.md", drawing.markdown(claims_by_study))
        files.write_json(out / "claims.json", _listed(claims_by_study))
    for path, text in kept.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, text)
    print(out / "claims.md", out / "claims.json", *kept, sep="\n")
    return exits.FAILED if failed else exits.WELL


def _listed(claims_by_study: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [
        {"study": name, "verdict": claim.verdict, **dataclasses.asdict(claim)}
        for name, claims in claims_by_study.items()
        for claim in claims
    ]


def _kept(
    path: pathlib.Path,
    judges: Sequence[tuple[str, Any, str | None]],
    judged: Sequence[_Judged],
) -> dict[pathlib.Path, str]:
    """Returns the text of each file that a repository keeps of the verdicts.

    That is a scorecard, its page, and results.csv of each study whose folder stands,
    as experiments/STUDY does, in a folder that holds the scorecard, too.
    """
    cards: list[scorecard.JudgedSweep] = []
    rows: dict[pathlib.Path, list[results.Row]] = collections.defaultdict(list)
    for study, plan, runs, claims in judged:
        name = plan.path.parent.name
        folder = pathlib.Path(study.__file__).resolve().parent
        page = ""
        if path.is_relative_to(folder.parents[1]):
            page = os.path.relpath(folder / "README.md", path.parent)
            overrides = {trial.run_id: trial.overrides for trial in plan.trials}
            rows[folder / "results.csv"] += results.rows(name, runs, overrides)
        unfinished = len(run_folders.unfinished(runs))
        updates = sum(run.last_step or 0 for run in runs)
        counts = (len(runs), unfinished, updates)
        cards.append(scorecard.JudgedSweep(name, folder.name, page, *counts, claims))
    studies = [name for name, study, _ in judges if hasattr(study, "claims")]
    card = scorecard.read(path).updated(cards, studies)
    return {
        **{file: results.merged(file, new) for file, new in rows.items()},
        path: card.text(),
        path.with_suffix(".md"): drawing.page(card, path.name),
    }


def _judges(options: argparse.Namespace) -> list[tuple[str, Any, str | None]]:
    """Returns name, module and sweep (None: all) of each; sets `options.workdir`."""
    if not options.subjects and options.workdir is None:
        options.workdir = pathlib.Path("runs")
    judges: list[tuple[str, Any, str | None]] = []
    files = sorted(shared.ROOT.glob("experiments/*/study.py"))
    for text in options.subjects or [str(file.parent) for file in files]:
        options.subject = text
        what = subject.read(options)
        if what.kind == subject.STUDY:
            name = what.folder.resolve().name
            judges.append((name, spec.read_study(what.folder), None))
            continue
        is_sweep = what.kind == subject.SWEEP
        study = subject.study_of(plans.read(what.folder)) if is_sweep else None
        if study is None:
            raise ValueError(
                f"{text} has no study here, whose study.py says what is judged; "
                "`rdt figures` shows its table and figures."
            )
        name = pathlib.Path(study.__file__).parent.name
        judges.append((name, study, what.folder.name))
    return judges


def _plans(workdir: pathlib.Path) -> tuple[dict[str, StoredPlan], bool]:
    """Returns the readable plans of a workdir by sweep, and whether any is damaged."""
    stored_plans, is_any_damaged = {}, False
    for path in sorted(workdir.glob("sweeps/*/plan.json")):
        try:
            stored_plans[path.parent.name] = plans.read(path.parent)
        except ValueError as error:
            is_any_damaged = True
            exits.tell(str(error))
    return stored_plans, is_any_damaged


def _sweeps(plans: Mapping[str, StoredPlan], study: str) -> dict[str, str]:
    """Returns the preset and the overrides of each sweep of a study, as one text."""
    presets = {}
    for name, plan in plans.items():
        if plan.study == study:
            changes = spec.describe(plan.changes)
            presets[name] = f"{plan.preset} {changes}".strip()
        elif plan.study is None and name.startswith(f"{study}-"):  # Planned before 0.2.
            presets[name] = plan.preset or name.removeprefix(f"{study}-")
    return presets


def _mention(studies: set[str]) -> str:
    """Says which other studies have sweeps in the workdir."""
    return (
        f"there are sweeps of {', '.join(sorted(studies))}: `rdt claims FOLDER/STUDY` "
        "judges a study in another folder."
    )


def _judge(
    workdir: pathlib.Path, study: Any, sweep: str, plan: StoredPlan
) -> tuple[list[Any], list[Any], int]:
    """Returns runs, claims (none before an evaluation) and exit code of a sweep."""
    runs = run_folders.read_runs(workdir, plan.configs())
    code = exits.report_lost(runs, sweep)
    if not any(run.metrics for run in runs):
        return runs, [], code
    claims, is_whole = figures.judge(study, runs)
    return runs, claims, code if is_whole else exits.FAILED
