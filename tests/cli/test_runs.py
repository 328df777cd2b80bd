"""`rdt runs` on runs that were never trained."""

import csv
import io
import json
import shutil

import pytest

from rdt_jax import cli
from rdt_jax.sweep import links, spec
from tests import fake_runs

JUMPS = {"train": 20, "id": 50}


@pytest.fixture
def workdir(tmp_path):
    """A workdir with a sweep of four runs, one of them without a folder."""
    members = [
        fake_runs.make(jumps={**JUMPS, "ood": ood}, loops=loops, seed=seed)
        for loops, seed, ood in ((1, 0, None), (1, 1, None), (2, 0, 90), (2, 1, 130))
    ]
    fake_runs.write_planned(tmp_path, "depth-cpu", members)
    shutil.rmtree(tmp_path / members[0].run_id)
    return tmp_path


def _out(command, *words):
    return command(["runs", *map(str, words)]).out


def test_a_line_per_run(workdir, capsys, command):
    lines = _out(command, workdir).splitlines()
    assert [line.split()[1] for line in lines[1:-1]] == [
        f"depth-cpu/num_loops={loops},seed={seed}"
        for loops, seed in ((1, 1), (2, 0), (2, 1))
    ]
    assert lines[0].split()[-6:] == ["train", "id", "ood", "phases", "completed", "at"]
    assert "1.00@2" in lines[2]
    assert lines[2].endswith("memorized 40, id_generalized 70, ood_generalized 110")
    assert lines[-1] == "3 runs: 3 done"
    for line in lines[1:-1]:  # What is shown is taken for a run.
        for shown in line.split()[:2]:
            words = ["analyze", shown, f"--workdir={workdir}", "--what=lens"]
            said = command([*words, "--transition"], 2).err
            assert line[:4] in said and "no transition with parameters; it kept" in said


def test_the_runs_of_a_sweep_are_those_of_its_plan(workdir, command):
    lines = _out(command, workdir / "sweeps" / "depth-cpu").splitlines()
    assert [line.split()[1] for line in lines[1:-1]] == [
        f"num_loops={n},seed={s}" for n in (1, 2) for s in (0, 1)
    ]
    assert "missing" in lines[1] and lines[-1] == "4 runs: 1 missing, 3 done"


def test_json_and_csv_are_whole_and_alone_on_stdout(workdir, command):
    rows = json.loads(_out(command, workdir, "--json"))
    assert [row["recurrence.num_loops"] for row in rows] == [1, 2, 2]
    table = [*csv.DictReader(io.StringIO(_out(command, workdir, "--csv")))]
    assert [list(row) for row in table] == [list(row) for row in rows]
    assert [float(r["ood/accuracy"]) for r in table] == [
        r["ood/accuracy"] for r in rows
    ]
    assert json.loads(_out(command, workdir, "--json", "--where=num_loops=7")) == []


def test_where_and_sort(workdir, command):
    words = ("--json", "--where=num_loops=2", "--where", "optimizer.weight_decay=0.1")
    rows = json.loads(_out(command, workdir, *words, "--sort=-ood_generalized/step"))
    assert [row["seed"] for row in rows] == [1, 0]
    rows = json.loads(_out(command, workdir, "--json", "--sort=ood_generalized/step"))
    assert [row["ood_generalized/step"] for row in rows] == [110, 150, None]
    rows = json.loads(_out(command, workdir, "--json", "--sort=-num_loops"))
    assert [row["recurrence.num_loops"] for row in rows] == [2, 2, 1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--where=loops=2"], "No run has a key 'loops'; did you mean num_loops"),
        (["--where=num_loops"], "--where must be KEY=VALUE, such as num_loops=2"),
        (["--where=num_loops=x"], "recurrence.num_loops must be an int, got 'x'"),
        (["--sort=acuracy"], "No run has a key 'acuracy'"),
        (["--preset=cpu"], "does not use --preset"),
    ],
)
def test_a_mistake_is_one_message(workdir, command, words, message):
    captured = command(["runs", str(workdir), *words], 2)
    assert message in captured.err and captured.out == ""
    assert len(captured.err.splitlines()) <= 2


def test_what_is_no_workdir_is_said(workdir, capsys, command):
    assert "No workdir" in command(["runs", str(workdir / "none")], 2).err
    assert cli.main(["runs", "modular:smoke", f"--workdir={workdir}"]) == 2
    assert "has no plan.json" in capsys.readouterr().err
    assert not (workdir / "none").exists()


def test_a_workdir_may_have_a_colon_and_a_space(workdir, command, monkeypatch):
    moved = workdir.rename(workdir.with_name("my runs: 1"))
    monkeypatch.chdir(moved.parent)
    assert _out(command, moved.name).endswith("3 runs: 3 done\n")
    assert _out(command, moved).endswith("3 runs: 3 done\n")
    assert _out(command, f"--workdir={moved}").endswith("3 runs: 3 done\n")


def test_labels_of_a_plan_and_of_the_list_agree(workdir, command):
    rows = json.loads(_out(command, workdir, "--json"))
    trials = [
        spec.Trial(r["run"], {k: r[k] for k in ("recurrence.num_loops", "seed")}, {})
        for r in rows
    ]
    labels = links.labels(trials)
    assert [r["apart"] for r in rows] == [f"depth-cpu/{labels[r['run']]}" for r in rows]
