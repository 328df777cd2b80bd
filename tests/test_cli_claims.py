"""The scorecard and the check of figures, on runs that were never trained."""

import errno
import json
import pathlib
import shutil

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from rdt_jax import cli
from rdt_jax.figures import save
from rdt_jax.store import files
from tests import fake_runs

ROOT = pathlib.Path(__file__).parents[1]
STUDY = ROOT / "experiments" / "depth_by_decay"
# What makes the runs of the smoke preset those of fake_runs.
CHANGES = "eval_every_steps=10,num_steps=230"
BUDGET = ["--config.num_steps=230", "--config.eval_every_steps=10"]


def member(loops, ood, **options):
    jumps = {"train": 20, "id": 40, "ood": ood}
    return fake_runs.make(jumps=jumps, loops=loops, **options)


def write(workdir, sweep, members):
    folder = workdir / "sweeps" / sweep
    folder.mkdir(parents=True)
    runs = [
        {
            "run_id": run.run_id,
            "overrides": {"recurrence.num_loops": run.num_loops},
            "config": run.config.to_dict(),
        }
        for run in members
    ]
    files.write_json(folder / "plan.json", {"name": sweep, "runs": runs})
    for run in members:
        fake_runs.write(run, workdir)


@pytest.fixture
def workdir(tmp_path):
    """A workdir with one sweep of the headline study, of two runs."""
    write(tmp_path, "depth_by_decay-smoke", [member(1, None), member(2, 150)])
    return tmp_path


def test_the_scorecard_is_printed_and_written(workdir, capsys):
    assert cli.main(["claims", f"--workdir={workdir}"]) == 0
    out = capsys.readouterr().out
    assert "3 claims: 2 holds, 0 fails, 1 not tested at this preset." in out
    listed = json.loads((workdir / "claims.json").read_text())
    assert [claim["holds"] for claim in listed] == [True, True, None]
    assert {claim["study"] for claim in listed} == {"depth_by_decay"}
    assert {(claim["preset"], claim["seeds"]) for claim in listed} == {("smoke", 1)}
    text = (workdir / "claims.md").read_text()
    assert "| holds | With the same blocks and budget" in text


def test_every_preset_that_was_swept_is_judged(workdir, capsys):
    later = [member(1, None, seed=4), member(2, 60, seed=4), member(4, 150, seed=4)]
    write(workdir, "depth_by_decay-cpu_long", later)
    arguments = ["claims", str(STUDY), f"--workdir={workdir}"]
    assert cli.main(arguments) == 0
    listed = json.loads((workdir / "claims.json").read_text())
    assert [(claim["preset"], claim["holds"]) for claim in listed] == [
        ("cpu_long", True), ("cpu_long", True), ("cpu_long", False),
        ("smoke", True), ("smoke", True), ("smoke", None),
    ]  # fmt: skip
    smoke = ["claims", f"{workdir}/sweeps/depth_by_decay-smoke"]
    for words in ([*arguments, "--preset=smoke"], smoke):
        (workdir / "claims.json").unlink()
        assert cli.main(words) == 0
        listed = json.loads((workdir / "claims.json").read_text())
        assert [claim["preset"] for claim in listed] == ["smoke"] * 3


def test_a_sweep_says_its_study_preset_and_overrides_itself(workdir, capsys):
    write(workdir, "any_name", [member(1, None, seed=4)])
    path = workdir / "sweeps" / "any_name" / "plan.json"
    changes = {"optimizer.beta2": 0.5}
    origin = {"study": "depth_by_decay", "preset": "cpu", "overrides": changes}
    files.write_json(path, files.read_json(path) | origin)
    # Not one of depth_by_decay at a preset that its name seems to tell.
    write(workdir, "depth_by_decay-x", [member(2, None, seed=5)])
    path = workdir / "sweeps" / "depth_by_decay-x" / "plan.json"
    files.write_json(path, files.read_json(path) | origin | {"study": "another"})
    assert cli.main(["claims", f"--workdir={workdir}"]) == 0
    listed = json.loads((workdir / "claims.json").read_text())
    presets = {claim["preset"] for claim in listed}
    assert presets == {"smoke", "cpu beta2=0.5"} and len(listed) == 6
    assert cli.main(["claims", "--preset=cpu", f"--workdir={workdir}"]) == 0
    assert len(json.loads((workdir / "claims.json").read_text())) == 3


def test_a_damaged_plan_is_named_and_the_others_are_judged(workdir, tmp_path, capsys):
    damaged = workdir / "sweeps" / "depth_by_decay-paper" / "plan.json"
    damaged.parent.mkdir()
    damaged.write_text('{"name"')
    arguments = ["claims", f"--workdir={workdir}", f"--out={tmp_path / 'out'}"]
    assert cli.main(arguments) == 1
    assert str(damaged) in capsys.readouterr().err
    listed = json.loads((tmp_path / "out" / "claims.json").read_text())
    assert {claim["preset"] for claim in listed} == {"smoke"}
    assert not (workdir / "claims.json").exists()


def test_without_runs_it_is_a_mistake(tmp_path, capsys):
    arguments = ["claims", f"--workdir={tmp_path}"]
    assert cli.main(arguments) == 2
    assert "`rdt sweep` trains them" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert cli.main([*arguments, "experiments/none"]) == 2
    assert "No study 'experiments/none'" in capsys.readouterr().err


def test_a_preset_that_was_not_swept_is_named_with_those_that_were(workdir, capsys):
    """Those that are listed can be chosen, also one with overrides."""
    write(workdir, "decay-slow", [member(1, None, seed=4)])
    plan = workdir / "sweeps" / "decay-slow" / "plan.json"
    origin = {"study": "depth_by_decay", "preset": "smoke"}
    changes = {"overrides": {"num_steps": 230}}
    files.write_json(plan, files.read_json(plan) | origin | changes)
    begun = member(2, None, seed=4, until=-1, state="pending", reason=None)
    write(workdir, "depth_by_decay-paper", [begun])
    arguments = ["claims", str(STUDY), f"--workdir={workdir}"]
    for typo in ("typo", "paper", "depth_by_decay-smoke"):
        assert cli.main([*arguments, f"--preset={typo}"]) == 2
        error = capsys.readouterr().err
        assert f"'{typo}'" in error
        assert error.endswith("choose from smoke, smoke num_steps=230.\n")
    for preset, shown in (
        ("smoke num_steps=230", {"smoke num_steps=230"}),
        ("smoke", {"smoke", "smoke num_steps=230"}),
    ):
        assert cli.main([*arguments, f"--preset={preset}"]) == 0
        listed = json.loads((workdir / "claims.json").read_text())
        assert {claim["preset"] for claim in listed} == shown


def test_sweeps_of_studies_that_are_not_judged_are_named(workdir, tmp_path, capsys):
    there = tmp_path / "there"
    write(there, "mine-cpu", [member(1, None)])
    plan = there / "sweeps" / "mine-cpu" / "plan.json"
    files.write_json(plan, files.read_json(plan) | {"study": "mine"})
    assert cli.main(["claims", f"--workdir={there}"]) == 2
    told = "there are sweeps of mine: `rdt claims FOLDER/STUDY` judges a study in ano"
    assert told in capsys.readouterr().err
    shutil.copytree(there, workdir, dirs_exist_ok=True)
    assert cli.main(["claims", f"--workdir={workdir}"]) == 0
    assert told in capsys.readouterr().err
    assert cli.main(["claims", str(STUDY), f"--workdir={workdir}"]) == 0
    assert capsys.readouterr().err == ""


def smoke(verb, workdir, *options):
    """Runs a command on the study at its smoke preset, as fake runs have it."""
    arguments = [verb, str(STUDY), "--preset=smoke", f"--workdir={workdir}"]
    return cli.main([*arguments, *BUDGET, *options])


def test_the_plan_is_what_is_counted_and_not_the_study_as_it_is_now(tmp_path, capsys):
    sweep = f"depth_by_decay-smoke-{CHANGES}"
    write(tmp_path, sweep, [member(1, None, seed=7), member(2, 150, seed=7)])
    told = f"rdt: {tmp_path}/sweeps/{sweep}/plan.json is what is counted, with 2 trials"
    assert smoke("figures", tmp_path) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith(told) and "One seed" in printed.out
    assert smoke("figures", tmp_path, "--check") == 0
    assert smoke("sweep", tmp_path, "--status") == 0
    printed = capsys.readouterr()
    assert printed.err.count(told) == 2 and "2 trials: 2 done" in printed.out


@pytest.mark.parametrize("content", ['{"name"', "[]", "{}", '{"runs": []}'])
def test_figures_and_status_name_a_damaged_plan(tmp_path, capsys, content):
    sweep = f"depth_by_decay-smoke-{CHANGES}"
    write(tmp_path, sweep, [member(1, None)])
    plan = tmp_path / "sweeps" / sweep / "plan.json"
    plan.write_text(content)
    for command in (["figures"], ["sweep", "--status"], ["sweep", "--stop"]):
        assert smoke(command[0], tmp_path, *command[1:]) == 2
        assert f"{plan} is damaged" in capsys.readouterr().err


def test_runs_that_are_all_gone_are_counted_as_missing(tmp_path, capsys):
    sweep = f"depth_by_decay-smoke-{CHANGES}"
    members = [member(1, None), member(2, 150)]
    write(tmp_path, sweep, members)
    for run in members:
        shutil.rmtree(tmp_path / run.run_id)
    told = f"rdt: {sweep}: 2 of 2 planned runs missing, counted as not arrived"
    for options in ([], ["--check"]):
        assert smoke("figures", tmp_path, *options) == 1
        assert told in capsys.readouterr().err
    assert cli.main(["claims", str(STUDY), f"--workdir={tmp_path}"]) == 1
    assert told in capsys.readouterr().err


def test_a_study_that_cannot_be_judged_is_reported(workdir, capsys):
    (run,) = [member(2, 60, seed=9)]
    write(workdir, "packing-cpu", [run])
    (workdir / run.run_id / "metrics.jsonl").write_text('{"step": 0}\n{\n{"step": 9}\n')
    assert cli.main(["claims", f"--workdir={workdir}"]) == 1
    printed = capsys.readouterr()
    assert "rdt: packing-cpu: " in printed.err and "line 2 is damaged" in printed.err
    assert "3 claims" in printed.out


def test_figures_are_checked_against_their_run_folders(workdir, capsys):
    arguments = ["figures", str(STUDY), "--preset=smoke", f"--workdir={workdir}"]
    arguments += BUDGET
    assert cli.main([*arguments, "--check"]) == 1
    assert "accuracy.json does not exist" in capsys.readouterr().err
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "HOLDS: With the same blocks" in printed and "  expected: OOD" in printed
    folder = workdir / "sweeps" / f"depth_by_decay-smoke-{CHANGES}" / "figures"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(before) == 9
    assert cli.main([*arguments, "--check"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{name}: every number comes out again."
        for name in ("accuracy", "ood_by_depth", "phase_diagram")
    ]
    path = workdir / member(2, 150).run_id / "metrics.jsonl"
    text = path.read_text()
    path.write_text(text.replace('"ood/accuracy@2": 1.0', '"ood/accuracy@2": 0.9'))
    assert cli.main([*arguments, "--check"]) == 1
    printed = capsys.readouterr()
    assert "1.0 stored, 0.9 drawn" in printed.err.splitlines()[0]
    assert printed.err.splitlines()[0].startswith("accuracy: panels[1] lines[")
    assert printed.out == "phase_diagram: every number comes out again.\n"
    assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_figures_of_a_workdir_that_cannot_be_written(
    workdir, tmp_path_factory, capsys, monkeypatch
):
    arguments = ["figures", str(STUDY), "--preset=smoke", f"--workdir={workdir}"]
    arguments += BUDGET
    everything = lambda: {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    before, out = everything(), tmp_path_factory.mktemp("out") / "figures"
    saved = save.save

    def refuse(figure, path, provenance):
        if path.is_relative_to(workdir):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return saved(figure, path, provenance)

    monkeypatch.setattr(save, "save", refuse)
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert "Permission denied" in error and "--out=DIR" in error
    assert "same command" not in error
    assert cli.main([*arguments, f"--out={out}"]) == 0
    assert len([*out.iterdir()]) == 9 and everything() == before
    assert cli.main([*arguments, f"--out={out}", "--check"]) == 0


def test_a_study_that_can_draw_nothing_says_why(workdir, tmp_path, capsys):
    folder = tmp_path / "studies" / "depth_by_decay"
    folder.mkdir(parents=True)
    (folder / "study.py").write_text(
        "from experiments.depth_by_decay.study import *\n"
        f"CONFIG = {str(ROOT / 'configs/knowledge_composition.py')!r}\n"
        "def figures(runs):\n"
        "    raise ValueError('No figure of two runs.')\n"
    )
    arguments = ["figures", str(folder), "--preset=smoke", f"--workdir={workdir}"]
    for more in ([], ["--check"]):
        assert cli.main([*arguments, *BUDGET, *more]) == 2
        error = capsys.readouterr().err
        assert "No figure of two runs." in error and "Traceback" not in error


def test_a_run_that_is_gone_counts_as_not_arrived_everywhere(workdir, capsys):
    lost = member(1, None)
    note = f"1 of 2 planned runs missing, counted as not arrived: {lost.run_id}"
    shutil.rmtree(workdir / lost.run_id)
    sweep = workdir / "sweeps" / "depth_by_decay-smoke"
    where = f"--workdir={workdir}"
    arguments = [str(STUDY), "--preset=smoke", where, *BUDGET]
    assert cli.main(["claims", where]) == 1
    assert f"depth_by_decay-smoke: {note}" in capsys.readouterr().err
    claims = json.loads((workdir / "claims.json").read_text())
    # What a run without loops may still contradict is open.
    assert [claim["holds"] for claim in claims] == [None, None, None]
    assert all(claim["measured"].endswith(f"{note}.") for claim in claims)

    assert cli.main(["figures", *arguments]) == 1
    printed = capsys.readouterr()
    assert note in printed.err and str(workdir / lost.run_id) in printed.err
    assert "... marks 1 of 2 runs" in " ".join(printed.out.split())
    figures = list(workdir.glob("sweeps/*/figures/*.json"))
    assert len(figures) == 3
    for path in figures:
        stored = json.loads(path.read_text())
        assert note in stored["numbers"]["texts"]
        assert stored["provenance"]["lost"] == {lost.run_id: "missing"}
        assert lost.run_id in stored["provenance"]["runs"]
    assert cli.main(["figures", *arguments, "--check"]) == 1
    assert note in capsys.readouterr().err

    assert cli.main(["analyze", str(sweep), "--what=lens"]) == 1
    assert note in capsys.readouterr().err
    shutil.copy(sweep / "plan.json", figures[0].parents[1])
    assert cli.main(["sweep", *arguments, "--status"]) == 1
    printed = " ".join("".join(capsys.readouterr()).split())
    assert "missing: no run folder" in printed and "1 done, 1 missing" in printed
    assert "1 trial is unfinished" in printed
    # In its place another run.
    shutil.copytree(workdir / member(2, 150).run_id, workdir / lost.run_id)
    assert cli.main(["sweep", *arguments, "--status"]) == 1
    said = capsys.readouterr().err
    assert "unreadable: " in said and "hashes to" in said


def test_a_run_of_another_table_is_not_measured_and_the_exit_code_says_so(
    workdir, tmp_path, capsys
):
    folder = tmp_path / "studies" / "depth_by_decay"
    folder.mkdir(parents=True)
    (folder / "study.py").write_text(
        "from experiments.depth_by_decay.study import *\n"
        f"CONFIG = {str(ROOT / 'configs/knowledge_composition.py')!r}\n"
        'ANALYSES = {what: ["final"] for what in ("lens", "patching")}\n'
    )
    run = workdir / member(1, None).run_id
    pin = run / "transitions" / f"final-after-{fake_runs.BUDGET}"
    pin.mkdir(parents=True)
    (pin / "manifest.json").write_text("{}")
    files.write_json(run / "environment.json", {"table": 64 * "0"})
    figures = ["figures", str(folder), "--preset=smoke", *BUDGET]
    for command in (figures, ["claims", str(folder)]):
        assert cli.main([*command, f"--workdir={workdir}"]) == 1
        said = capsys.readouterr()
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
