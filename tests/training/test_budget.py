"""A budget that grows: a finished run goes on, and each plan sees what it asked for."""

import json

import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis import stored
from rdt_jax.store import records, run_folder
from rdt_jax.training import run
from tests.training import bits
from tests.training.test_run_interrupted import stop_at_call


@pytest.fixture(scope="module")
def extended(train, toy, tmp_path_factory):
    """Two lanes that spent 20 updates and were given 40; and 40 at once."""
    first, whole = (tmp_path_factory.mktemp(name) for name in ("first", "whole"))
    pack = lambda steps: [
        toy({"seed": s, "num_steps": steps, "stop_after_phases": False}) for s in (5, 6)
    ]
    train(pack(20), first)
    statuses = train(pack(40), first)
    train(pack(40), whole)
    return first, whole, [configs.run_id(c) for c in pack(20)], statuses


def test_it_ends_as_one_that_was_asked_for_all_at_once(extended):
    first, whole, names, statuses = extended
    assert [(s["state"], s["step"], s["num_steps"]) for s in statuses] == 2 * [
        ("done", 40, 40)
    ]
    for name in names:
        for file in ("metrics.jsonl", "events.jsonl", "config.json"):
            assert (first / name / file).read_text() == (
                whole / name / file
            ).read_text()
        final = [w / name / "transitions" / "final-after-40" for w in (first, whole)]
        bits.assert_same_checkpoint(*final)


def test_each_plan_sees_the_run_at_its_own_budget(extended):
    first, _, (name, _), _ = extended
    small, own, large = (
        run_folders.read_run(first / name, budget) for budget in (20, None, 60)
    )
    assert [r.last_step for r in (small, own, large)] == [20, 40, 40]
    assert [r.outcome for r in (small, own, large)] == ["over", "over", "unfinished"]
    assert [r.config.num_steps for r in (small, own, large)] == [20, 40, 60]
    kept = [stored.checkpoints(run)["final"].name for run in (small, own)]
    assert kept == ["final-after-20", "final-after-40"]
    assert stored.path_of(small, "weights", "final") != stored.path_of(
        own, "weights", "final"
    )


def test_what_is_over_at_a_budget_is_not_trained(extended, toy):
    first, _, names, _ = extended
    before = (first / names[0] / "status.json").read_bytes()
    pack = [
        toy({"seed": s, "num_steps": 20, "stop_after_phases": False}) for s in (5, 6)
    ]
    statuses = run.train(pack, first, options=run.TrainOptions(build=pytest.fail))
    assert [(s["state"], s["step"]) for s in statuses] == 2 * [("done", 20)]
    assert (first / names[0] / "status.json").read_bytes() == before


def test_fewer_updates_than_before_are_a_budget_like_any_other(train, toy, tmp_path):
    """Of a run that has not spent the larger one; it can be given that again."""
    config = lambda steps: toy({"num_steps": steps, "stop_after_phases": False})
    name = configs.run_id(config(40))
    train([config(40)], tmp_path, should_stop=stop_at_call(2))
    assert run_folder.read_status(tmp_path / name)["step"] < 20
    for steps in (20, 40):
        (status,) = train([config(steps)], tmp_path)
        assert (status["state"], status["step"]) == ("done", steps)
        assert records.read(tmp_path / name).config.num_steps == steps


def test_what_is_kept_at_another_budget_is_the_last_of_that_budget(
    train, toy, tmp_path
):
    """Also where the larger came first; a run on its way has none of its own."""
    config = toy({"num_steps": 40, "stop_after_phases": False})
    folder = tmp_path / configs.run_id(config)
    train([config], tmp_path, budgets={20, 40}, should_stop=stop_at_call(9))
    step = run_folder.read_status(folder)["evaluated"]
    assert 20 < step < 40
    small, own = (run_folders.read_run(folder, budget) for budget in (20, None))
    assert stored.checkpoints(small)["final"].name == "final-after-20"
    assert "final" not in stored.checkpoints(own)
    train([config], tmp_path, budgets={20, 40})
    own = run_folders.read_run(folder)
    assert stored.checkpoints(own)["final"].name == "final-after-40"
    paths = [stored.path_of(run, "progress", stored.RUN) for run in (small, own)]
    assert paths[0] != paths[1]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_pack_that_shrinks_at_a_budget_goes_on_as_if_it_had_not_ended(
    train, root, tmp_path
):
    """Two of four lanes pass their phases just where the other two spend theirs."""
    base = configs.override(
        configs.load(f"{root}/configs/modular.py:smoke"),
        {
            "eval_every_steps": 20,
            "checkpoint_every_steps": 100,
            "batch_size": 64,
            "task.kwargs.train_fraction": 0.8,
            "optimizer.weight_decay": 1.0,
            "phases.memorized": 0.5,
            "phases.id_generalized": 0.05,
        },
    )
    rates = (1e-2, 5e-3, 1e-3, 1e-4)
    pack = lambda steps: [
        configs.override(
            base, {"seed": s, "optimizer.learning_rate": rate, "num_steps": steps}
        )
        for s, rate in enumerate(rates)
    ]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    statuses = train(pack(300), whole)
    passed = sorted(s["step"] for s in statuses if s["reason"] == "phases_passed")
    assert len(passed) >= 2, "two lanes must end before the others"
    train(pack(passed[1]), parts)
    train(pack(300), parts)
    for config in pack(300):
        file = f"{configs.run_id(config)}/metrics.jsonl"
        assert (parts / file).read_text() == (whole / file).read_text()


STATUS = {"state": "done", "reason": "budget", "step": 20, "num_steps": 20}


@pytest.mark.parametrize(
    ("status", "budget", "expected"),
    [  # fmt: skip
        ({}, 20, ("done", "budget", 20)),
        ({}, 30, ("preempted", None, 20)),
        ({"reason": "phases_passed", "step": 12}, 30, ("done", "phases_passed", 12)),
        ({"reason": "phases_passed", "step": 12}, 10, ("done", "budget", 10)),
        ({"state": "running", "reason": None, "step": 25}, 20, ("done", "budget", 20)),
        # Its evaluation may not be recorded yet.
        ({"state": "running", "reason": None}, 20, ("running", None, 20)),
        ({"state": "failed", "reason": "nan", "step": 25}, 20, ("done", "budget", 20)),
        ({"state": "failed", "reason": "nan", "step": 15}, 20, ("failed", "nan", 15)),
        ({"state": "failed", "reason": "nan"}, 20, ("failed", "nan", 20)),
        # Evaluated at the budget and gone on since: over, whatever became of it.
        *(
            (
                {"state": state, "reason": reason, "evaluated": 20, "num_steps": 40},
                20,
                ("done", "budget", 20),
            )
            for state, reason in (
                ("running", None),
                ("preempted", None),
                ("pending", None),
                ("failed", "oom"),
                ("failed", "error"),
            )
        ),
        (
            {"state": "running", "reason": None, "evaluated": 15, "num_steps": 40},
            20,
            ("running", None, 20),
        ),
        ({"reason": "imported", "step": 9}, 20, ("done", "imported", 9)),
    ],
)
def test_the_status_at_a_budget(status, budget, expected):
    found = run_folder.at_budget(STATUS | status, budget)
    assert (found["state"], found["reason"], found["step"]) == expected


def test_another_table_is_not_gone_on_with(train, toy, tmp_path):
    """Whatever changed it: the task's code, a file that it reads, numpy."""
    config = toy({"num_steps": 20, "stop_after_phases": False})
    train([config], tmp_path)
    path = tmp_path / configs.run_id(config) / "environment.json"
    environment = json.loads(path.read_text())
    assert len(environment["table"]) == 64
    path.write_text(json.dumps(environment | {"table": 64 * "0"}))
    rows = (path.parent / "metrics.jsonl").read_text()
    longer = configs.override(config, {"num_steps": 40})
    with pytest.raises(ValueError, match="trained on another table of"):
        train([longer], tmp_path)
    assert (path.parent / "metrics.jsonl").read_text() == rows


def test_a_run_of_an_earlier_version_is_read_and_not_gone_on_with(train, toy, tmp_path):
    config = toy({"num_steps": 20})
    train([config], tmp_path)
    now = tmp_path / configs.run_id(config)
    values = json.loads((now / "config.json").read_text())
    before = now.rename(tmp_path / configs.hash_of(values))
    assert run_folders.read_run(before).last_step == 20
    for other in (config, configs.override(config, {"seed": 99})):
        with pytest.raises(ValueError, match=r"trained by a version before 0\.2"):
            train([other], tmp_path)
    assert not now.exists()
    assert np.isfinite(
        run_folders.accuracy(run_folders.read_run(before), "id").values
    ).all()
