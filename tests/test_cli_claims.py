"""The scorecard and the check of figures, on runs that were never trained."""

import errno
import json
import shutil

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from rdt_jax import cli
from rdt_jax.figures import save
from rdt_jax.store import files
from tests import fake_runs
from tests.conftest import ROOT
from tests.fake_runs import staged, write_planned

STUDY = ROOT / "experiments" / "depth_by_decay"
# What makes the runs of the smoke preset those of fake_runs.
CHANGES = "eval_every_steps=10,num_steps=230"
BUDGET = ["--config.num_steps=230", "--config.eval_every_steps=10"]


@pytest.fixture
def workdir(tmp_path):
    """A workdir with one sweep of the headline study, of two runs."""
    write_planned(tmp_path, "depth_by_decay-smoke", [staged(1, None), staged(2, 150)])
    return tmp_path


def test_the_scorecard_is_printed_and_written(workdir, command):
    out = command(["claims", f"--workdir={workdir}"]).out
    assert "6 claims: 2 holds, 0 fails, 4 not tested at this preset." in out
    listed = json.loads((workdir / "claims.json").read_text())
    assert [claim["holds"] for claim in listed] == [True, None, True, None, None, None]
    assert {claim["study"] for claim in listed} == {"depth_by_decay"}
    tested = [claim for claim in listed if claim["holds"]]
    assert {(claim["preset"], claim["seeds"]) for claim in tested} == {("smoke", 1)}
    text = (workdir / "claims.md").read_text()
    assert "| holds | Without loops, at equal parameters" in text


def test_every_preset_that_was_swept_is_judged(workdir, capsys):
    later = [staged(1, None, seed=4), staged(2, 60, seed=4), staged(4, 150, seed=4)]
    write_planned(workdir, "depth_by_decay-cpu_long", later)
    arguments = ["claims", str(STUDY), f"--workdir={workdir}"]
    assert cli.main(arguments) == 0
    listed = json.loads((workdir / "claims.json").read_text())
    assert [(claim["preset"], claim["holds"]) for claim in listed] == [
        *(("cpu_long", holds) for holds in (True, None, True, True, None, False)),
        *(("smoke", holds) for holds in (True, None, True, None, None, None)),
    ]
    smoke = ["claims", f"{workdir}/sweeps/depth_by_decay-smoke"]
    for words in ([*arguments, "--preset=smoke"], smoke):
        (workdir / "claims.json").unlink()
        assert cli.main(words) == 0
        listed = json.loads((workdir / "claims.json").read_text())
        assert [claim["preset"] for claim in listed] == ["smoke"] * 6


def test_a_sweep_says_its_study_preset_and_overrides_itself(workdir, capsys):
    origin = {"preset": "cpu", "overrides": {"optimizer.beta2": 0.5}}
    runs = [staged(1, None, seed=4)]
    write_planned(workdir, "any_name", runs, study="depth_by_decay", **origin)
    # Not one of depth_by_decay at a preset that its name seems to tell.
    runs = [staged(2, None, seed=5)]
    write_planned(workdir, "depth_by_decay-x", runs, study="another", **origin)
    assert cli.main(["claims", f"--workdir={workdir}"]) == 0
    listed = json.loads((workdir / "claims.json").read_text())
    presets = {claim["preset"] for claim in listed}
    assert presets == {"smoke", "cpu beta2=0.5"} and len(listed) == 12
    assert cli.main(["claims", "--preset=cpu", f"--workdir={workdir}"]) == 0
    assert len(json.loads((workdir / "claims.json").read_text())) == 6


def test_a_damaged_plan_is_named_and_the_others_are_judged(workdir, tmp_path, command):
    damaged = workdir / "sweeps" / "depth_by_decay-paper" / "plan.json"
    damaged.parent.mkdir()
    damaged.write_text('{"name"')
    arguments = ["claims", f"--workdir={workdir}", f"--out={tmp_path / 'out'}"]
    assert str(damaged) in command(arguments, 1).err
    listed = json.loads((tmp_path / "out" / "claims.json").read_text())
    assert {claim["preset"] for claim in listed} == {"smoke"}
    assert not (workdir / "claims.json").exists()


def test_without_runs_it_is_a_mistake(tmp_path, capsys, command):
    arguments = ["claims", f"--workdir={tmp_path}"]
    assert "`rdt sweep` trains them" in command(arguments, 2).err
    assert not list(tmp_path.iterdir())
    assert cli.main([*arguments, "experiments/none"]) == 2
    assert "No study 'experiments/none'" in capsys.readouterr().err


def test_a_preset_that_was_not_swept_is_named_with_those_that_were(workdir, command):
    """Those that are listed can be chosen, also one with overrides."""
    origin = {"study": "depth_by_decay", "preset": "smoke"}
    changes = {"num_steps": 230}
    slow = [staged(1, None, seed=4)]
    write_planned(workdir, "decay-slow", slow, **origin, overrides=changes)
    begun = staged(2, None, seed=4, until=-1, state="pending", reason=None)
    write_planned(workdir, "depth_by_decay-paper", [begun])
    arguments = ["claims", str(STUDY), f"--workdir={workdir}"]
    for typo in ("typo", "paper", "depth_by_decay-smoke"):
        error = command([*arguments, f"--preset={typo}"], 2).err
        assert f"'{typo}'" in error
        assert error.endswith("choose from smoke, smoke num_steps=230.\n")
    for preset, shown in (
        ("smoke num_steps=230", {"smoke num_steps=230"}),
        ("smoke", {"smoke", "smoke num_steps=230"}),
    ):
        assert cli.main([*arguments, f"--preset={preset}"]) == 0
        listed = json.loads((workdir / "claims.json").read_text())
        assert {claim["preset"] for claim in listed} == shown


def test_sweeps_of_studies_that_are_not_judged_are_named(
    workdir, tmp_path, capsys, command
):
    there = tmp_path / "there"
    write_planned(there, "mine-cpu", [staged(1, None)], study="mine")
    assert cli.main(["claims", f"--workdir={there}"]) == 2
    told = "there are sweeps of mine: `rdt claims FOLDER/STUDY` judges a study in ano"
    assert told in capsys.readouterr().err
    shutil.copytree(there, workdir, dirs_exist_ok=True)
    assert told in command(["claims", f"--workdir={workdir}"]).err
    assert command(["claims", str(STUDY), f"--workdir={workdir}"]).err == ""


def smoke(verb, workdir, *options, study=STUDY):
    """Returns a command on the study at its smoke preset, as fake runs have it."""
    where = f"--workdir={workdir}"
    return [verb, str(study), "--preset=smoke", where, *BUDGET, *options]


@pytest.fixture
def changed_study(tmp_path):
    """Returns a function that writes a study which is the headline study with more."""

    def write(more):
        folder = tmp_path / "studies" / "depth_by_decay"
        folder.mkdir(parents=True)
        (folder / "study.py").write_text(
            "from experiments.depth_by_decay.study import *\n"
            f"CONFIG = {str(ROOT / 'configs/knowledge_composition.py')!r}\n{more}"
        )
        return folder

    return write


@pytest.fixture
def keep(workdir, changed_study, command):
    """Returns a function that keeps the verdicts of a study in its repository."""
    repository = changed_study("").parents[1]

    def judge(*options, code=0):
        where = [str(repository / "studies" / "depth_by_decay"), f"--workdir={workdir}"]
        card = f"--write={repository / 'docs' / 'card.json'}"
        return command(["claims", *where, card, *options], code)

    judge.repository = repository
    judge.content = lambda: {
        path.name: path.read_text()
        for folder in ("docs", "studies/depth_by_decay")
        for path in (repository / folder).glob("*.[!p]*")
    }
    return judge


def test_verdicts_are_kept_in_a_repository(keep, workdir):
    printed = keep().out
    first = keep.content()
    assert set(first) == {"card.json", "card.md", "results.csv"}
    assert all(name in printed for name in first)
    assert (
        first["results.csv"].count("\n") == 3 and "claims: 2 holds" in first["card.md"]
    )
    assert "[README](../studies/depth_by_decay/README.md)" in first["card.md"]
    keep()
    assert keep.content() == first
    # Another workdir, with a sweep that still trains and one that did not begin.
    shutil.rmtree(workdir / "sweeps")
    runs = [staged(1, None, seed=4), fake_runs.waiting(2, seed=4)]
    write_planned(workdir, "depth_by_decay-cpu_long", runs)
    begun = staged(2, None, seed=5, until=-1, state="pending", reason=None)
    write_planned(workdir, "depth_by_decay-paper", [begun])
    keep()
    card = json.loads(keep.content()["card.json"])
    assert [(s["sweep"], s["unfinished"], s["updates"]) for s in card["sweeps"]] == [
        ("depth_by_decay-smoke", 0, 460), ("depth_by_decay-cpu_long", 1, 320),
    ]  # fmt: skip
    assert card["not_run"] == []
    lines = keep.content()["results.csv"].splitlines()
    assert {line.partition(",")[0] for line in lines[1:]} == {
        "depth_by_decay-cpu_long", "depth_by_decay-smoke",
    }  # fmt: skip
    assert set(first["results.csv"].splitlines()[1:]) <= set(lines)


def test_what_is_no_scorecard_is_left_alone(keep, workdir, capsys):
    with pytest.raises(SystemExit, match="2"):
        keep("--write=page.md")
    assert "--write: must end in .json, got page.md" in capsys.readouterr().err
    keep()
    for name, text in (("docs/card.json", "{}"), ("results.csv", "run,loss\n")):
        path = next(keep.repository.rglob(name.rpartition("/")[2]))
        before = path.read_text()
        path.write_text(text)
        (workdir / "claims.json").unlink(missing_ok=True)
        content = keep.content()
        error = keep(code=2).err
        assert error.count("\n") == 1 and str(path) in error
        assert "nothing is written" in error
        assert keep.content() == content and not (workdir / "claims.json").exists()
        path.write_text(before)


def test_of_a_study_elsewhere_the_verdicts_alone_are_kept(workdir, tmp_path, command):
    card = tmp_path / "mine" / "card.json"
    kept = (STUDY / "results.csv").read_bytes()
    command(["claims", f"--workdir={workdir}", f"--write={card}"])
    content = json.loads(card.read_text())
    assert content["sweeps"][0]["page"] == "" and "packing" in content["not_run"]
    assert "README" not in card.with_suffix(".md").read_text().partition("## ")[2]
    assert (STUDY / "results.csv").read_bytes() == kept


def test_the_plan_is_what_is_counted_and_not_the_study_as_it_is_now(tmp_path, command):
    sweep = f"depth_by_decay-smoke-{CHANGES}"
    write_planned(tmp_path, sweep, [staged(1, None, seed=7), staged(2, 150, seed=7)])
    told = f"rdt: {tmp_path}/sweeps/{sweep}/plan.json is what is counted, with 2 trials"
    printed = command(smoke("figures", tmp_path))
    assert printed.err.startswith(told) and "One seed" in printed.out
    assert cli.main(smoke("figures", tmp_path, "--check")) == 0
    printed = command(smoke("sweep", tmp_path, "--status"))
    assert printed.err.count(told) == 2 and "2 trials: 2 done" in printed.out


@pytest.mark.parametrize("content", ['{"name"', "[]", "{}", '{"runs": []}'])
def test_figures_and_status_name_a_damaged_plan(tmp_path, command, content):
    sweep = f"depth_by_decay-smoke-{CHANGES}"
    write_planned(tmp_path, sweep, [staged(1, None)])
    plan = tmp_path / "sweeps" / sweep / "plan.json"
    plan.write_text(content)
    for verb, *options in (["figures"], ["sweep", "--status"], ["sweep", "--stop"]):
        words = smoke(verb, tmp_path, *options)
        assert f"{plan} is damaged" in command(words, 2).err


def test_runs_that_are_all_gone_are_counted_as_missing(tmp_path, command):
    sweep = f"depth_by_decay-smoke-{CHANGES}"
    members = [staged(1, None), staged(2, 150)]
    write_planned(tmp_path, sweep, members)
    for run in members:
        shutil.rmtree(tmp_path / run.run_id)
    told = f"rdt: {sweep}: 2 of 2 planned runs missing, counted as not arrived"
    for options in ([], ["--check"]):
        assert told in command(smoke("figures", tmp_path, *options), 1).err
    assert told in command(["claims", str(STUDY), f"--workdir={tmp_path}"], 1).err


def test_a_study_that_cannot_be_judged_is_reported(workdir, command):
    (run,) = [staged(2, 60, seed=9)]
    write_planned(workdir, "packing-cpu", [run])
    (workdir / run.run_id / "metrics.jsonl").write_text('{"step": 0}\n{\n{"step": 9}\n')
    printed = command(["claims", f"--workdir={workdir}"], 1)
    assert "rdt: packing-cpu: " in printed.err and "line 2 is damaged" in printed.err
    assert "6 claims" in printed.out


@pytest.mark.exhaustive
def test_figures_are_checked_against_their_run_folders(workdir, command):
    arguments = smoke("figures", workdir)
    assert "accuracy.json does not exist" in command([*arguments, "--check"], 1).err
    printed = command(arguments).out
    # What happened, the table, how far digits go, claims by verdict, and the files.
    parts = [
        "Without looping, the model never learned", "Updates to each phase",
        "R: how often", "On another processor", "HOLDS: Without loops, at equal",
        "  expected: about", "HOLDS: With R = 2", "NOT TESTED", "Figures, each",
    ]  # fmt: skip
    places = [printed.index(part) for part in parts]
    assert places == sorted(places) and "HOLDS" not in printed[places[-2] :]
    folder = workdir / "sweeps" / f"depth_by_decay-smoke-{CHANGES}" / "figures"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(before) == 9
    assert command([*arguments, "--check"]).out.splitlines() == [
        f"{name}: every number comes out again."
        for name in ("accuracy", "ood_by_depth", "phase_diagram")
    ]
    path = workdir / staged(2, 150).run_id / "metrics.jsonl"
    text = path.read_text()
    path.write_text(text.replace('"ood/accuracy@2": 1.0', '"ood/accuracy@2": 0.9'))
    printed = command([*arguments, "--check"], 1)
    assert "1.0 stored, 0.9 drawn" in printed.err.splitlines()[0]
    assert printed.err.splitlines()[0].startswith("accuracy: panels[1] lines[")
    assert printed.out == "phase_diagram: every number comes out again.\n"
    assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}


@pytest.mark.exhaustive
def test_figures_of_a_workdir_that_cannot_be_written(
    workdir, tmp_path_factory, command, monkeypatch
):
    arguments = smoke("figures", workdir)
    everything = lambda: {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    before, out = everything(), tmp_path_factory.mktemp("out") / "figures"
    saved = save.save

    def refuse(figure, path, provenance):
        if path.is_relative_to(workdir):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return saved(figure, path, provenance)

    monkeypatch.setattr(save, "save", refuse)
    error = command(arguments, 2).err
    assert "Permission denied" in error and "--out=DIR" in error
    assert "same command" not in error
    assert cli.main([*arguments, f"--out={out}"]) == 0
    assert len([*out.iterdir()]) == 9 and everything() == before
    assert cli.main([*arguments, f"--out={out}", "--check"]) == 0


def test_a_study_that_can_draw_nothing_says_why(workdir, changed_study, command):
    study = changed_study(
        "def figures(runs):\n    raise ValueError('No figure of two runs.')\n"
    )
    for more in ([], ["--check"]):
        error = command(smoke("figures", workdir, *more, study=study), 2).err
        assert "No figure of two runs." in error and "Traceback" not in error


def test_a_run_that_is_gone_counts_as_not_arrived_everywhere(workdir, command):
    lost = staged(1, None)
    note = f"1 of 2 planned runs missing, counted as not arrived: {lost.run_id}"
    shutil.rmtree(workdir / lost.run_id)
    sweep = workdir / "sweeps" / "depth_by_decay-smoke"
    where = f"--workdir={workdir}"
    arguments = [str(STUDY), "--preset=smoke", where, *BUDGET]
    assert f"depth_by_decay-smoke: {note}" in command(["claims", where], 1).err
    claims = json.loads((workdir / "claims.json").read_text())
    # What a run without loops may still contradict is open; R = 2 arrived.
    holds = [None, None, True, None, None, None]
    assert [claim["holds"] for claim in claims] == holds
    assert all(claim["measured"].endswith(f"{note}.") for claim in claims)

    printed = command(["figures", *arguments], 1)
    assert note in printed.err and str(workdir / lost.run_id) in printed.err
    assert "... marks 1 of 2 runs" in " ".join(printed.out.split())
    figures = list(workdir.glob("sweeps/*/figures/*.json"))
    assert len(figures) == 3
    for path in figures:
        stored = json.loads(path.read_text())
        assert note in stored["numbers"]["texts"]
        assert stored["provenance"]["lost"] == {lost.run_id: "missing"}
        assert lost.run_id in stored["provenance"]["runs"]
    assert note in command(["figures", *arguments, "--check"], 1).err

    assert note in command(["analyze", str(sweep), "--what=lens"], 1).err
    shutil.copy(sweep / "plan.json", figures[0].parents[1])
    printed = " ".join("".join(command(["sweep", *arguments, "--status"], 1)).split())
    assert "missing: no run folder" in printed and "1 done, 1 missing" in printed
    assert "1 trial is unfinished" in printed
    # In its place another run.
    shutil.copytree(workdir / staged(2, 150).run_id, workdir / lost.run_id)
    said = command(["sweep", *arguments, "--status"], 1).err
    assert "unreadable: " in said and "hashes to" in said


def test_a_run_of_another_table_is_not_measured_and_the_exit_code_says_so(
    workdir, changed_study, command
):
    kinds = '{what: ["final"] for what in ("lens", "patching")}'
    study = changed_study(f"ANALYSES = {kinds}\n")
    run = workdir / staged(1, None).run_id
    pin = run / "transitions" / f"final-after-{fake_runs.BUDGET}"
    pin.mkdir(parents=True)
    (pin / "manifest.json").write_text("{}")
    files.write_json(run / "environment.json", {"table": 64 * "0"})
    claims = ["claims", str(study), f"--workdir={workdir}"]
    for words in (smoke("figures", workdir, study=study), claims):
        said = command(words, 1)
        assert said.err.count(f"Run {run.name} was trained on another table") == 1
        assert "lens" not in said.err and said.out
    assert list(workdir.glob("sweeps/*/figures/*.json"))


def test_a_figure_without_lost_runs_has_no_room_for_a_warning(tmp_path):
    sizes = []
    for warning in ("", "1 of 2 planned runs missing"):
        figure = Figure(figsize=(2, 1))
        save.mark(figure, warning)
        path, *_ = save.save(figure, tmp_path / f"figure{len(sizes)}", {})
        with Image.open(path) as image:
            sizes.append(image.size)
            assert np.asarray(image.convert("RGB"))[0].min() == 255
    (width, height), marked = sizes
    assert (width, height) == (400, 200)
    assert marked[0] == width and marked[1] > height
