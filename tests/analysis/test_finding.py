import json

import pytest

from rdt_jax.analysis import finding
from rdt_jax.sweep import spec
from tests import fake_runs

JUMPS = {"train": 20, "id": 50}


def _sweep(workdir, runs, name="depth-cpu", keys=("recurrence.num_loops", "seed")):
    """Writes runs and a plan of them whose trials set these keys."""
    trials = []
    for run in runs:
        fake_runs.write(run, workdir)
        values = run.config.to_dict()
        overrides = {key: run.config[key] for key in keys}
        trials.append({"run_id": run.run_id, "overrides": overrides, "config": values})
    folder = workdir / "sweeps" / name
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps({"runs": trials}))
    return folder


@pytest.fixture
def runs(tmp_path):
    members = [
        fake_runs.make(jumps=JUMPS, loops=loops, seed=seed)
        for loops in (1, 2)
        for seed in (0, 1)
    ]
    _sweep(tmp_path, members)
    return members


@pytest.mark.parametrize(
    ("text", "which"),
    [
        ("depth-cpu/num_loops=1,seed=0", 0),
        ("depth-cpu/seed=1,num_loops=2", 3),  # In any order.
        ("depth-cpu/recurrence.num_loops=2,seed=0", 2),
        ("depth-cpu/runs/num_loops=1,seed=1", 1),  # As `ls` completes it.
    ],
)
def test_a_run_is_found_by_what_sets_it_apart(tmp_path, runs, text, which):
    assert finding.find(tmp_path, text) == tmp_path / runs[which].run_id
    path = f"{tmp_path}/sweeps/{text}"
    assert finding.find(tmp_path / "elsewhere", path).name == runs[which].run_id


def test_a_run_is_found_by_its_path_a_link_and_a_beginning(tmp_path, runs, monkeypatch):
    folder = tmp_path / runs[0].run_id
    (tmp_path / "link").symlink_to(folder)
    assert finding.find(tmp_path / "none", str(folder)) == folder
    assert finding.find(tmp_path / "none", str(tmp_path / "link")) == folder.resolve()
    names = sorted(run.run_id for run in runs)
    for name in names:
        alone = [other for other in names if other.startswith(name[:4])] == [name]
        assert alone and finding.find(tmp_path, name[:4]) == tmp_path / name
        path = f"{tmp_path}/{name[:4]}"
        assert finding.find(tmp_path / "none", path) == tmp_path / name
    monkeypatch.chdir(tmp_path)
    assert finding.find(tmp_path, runs[0].run_id).name == runs[0].run_id


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "depth-cpu/num_loops=1",
            "2 runs with num_loops=1; choose from num_loops=1,se",
        ),
        ("depth-cpu", "4 runs with any values; choose from num_loops=1,seed=0, num_l"),
        ("depth-cpu/num_loops=7", "no run with num_loops=7; choose from num_loops=1,s"),
        ("depth-cpu/num_lops=1", "'num_lops'; did you mean num_loops"),
        ("depth-cpu/num_loops=x", "recurrence.num_loops must be an int, got 'x'"),
        ("depth-cpu/first", "expected KEY=VALUE,.. such as num_loops=1,seed=0, got 'f"),
        ("deep-cpu/seed=1", "a sweep of depth-cpu."),
        ("zz", "no run 'zz': expected a folder of a run, the beginning of"),
        ("", "no run ''"),
    ],
)
def test_what_names_no_run_is_refused_with_candidates(tmp_path, runs, text, message):
    with pytest.raises(ValueError) as error:
        finding.find(tmp_path, text)
    assert message in str(error.value)


def test_a_beginning_of_two_runs_is_refused(tmp_path):
    for name in ("abc000000000", "abd000000000"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    with pytest.raises(ValueError, match="of 2 runs .*: abc000000000, abd000000000"):
        finding.find(tmp_path, "ab")
    assert finding.find(tmp_path, "abd").name == "abd000000000"


def test_where_selects_by_typed_values(runs):
    found = finding.where(runs, {"num_loops": 2, "seed": "1"})
    assert found == [runs[3]]
    assert finding.where(runs, {"optimizer.weight_decay": "1e-1"}) == runs
    assert finding.where(runs, {"weight_decay": 1}) == []
    assert finding.where(runs, {"head_width": None}) == runs
    assert finding.where(runs, {"head_width": "none"}) == runs
    assert finding.where(runs, {"task.name": "knowledge_composition"}) == runs
    assert finding.where(runs, {"stop_after_phases": "false"}) == [
        run for run in runs if not run.config.stop_after_phases
    ]
    assert finding.where(runs, {"eval_loops": "(1,)"}) == [
        run for run in runs if run.config.recurrence.eval_loops == (1,)
    ]
    assert finding.where(runs, {"preset": "x"}) == []
    assert finding.where([], {"num_loops": 2}) == []


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"loops": 2}, "No run has a key 'loops'; did you mean num_loops"),
        ({"dtype": "x"}, "'dtype' may be any of loss.dtype, model.dtype"),
        ({"num_loops": 2.5}, "recurrence.num_loops must be an int, got 2.5"),
        ({"num_loops": "two"}, "recurrence.num_loops must be an int, got 'two'"),
    ],
)
def test_where_refuses_what_no_config_has(runs, conditions, message):
    with pytest.raises(ValueError) as error:
        finding.where(runs, conditions)
    assert message in str(error.value)


def test_where_takes_trials(runs):
    trials = [spec.Trial(run.run_id, {}, run.config) for run in runs]
    assert finding.where(trials, {"seed": 1}) == [trials[1], trials[3]]
