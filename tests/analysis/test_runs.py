import dataclasses
import pathlib

import numpy as np
import pytest

from rdt_jax.analysis import runs
from tests import fake_runs

JUMPS = {"train": 20, "id": 50, "ood": 90}


def test_a_run_folder_is_read_back(tmp_path):
    run = fake_runs.make(jumps=JUMPS, state="running", reason=None)
    folder = fake_runs.write(run, tmp_path)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 999, "torn')  # A crash while the row was written.
    read = runs.read_run(folder)
    assert read.run_id == run.run_id
    assert read.config.to_dict() == run.config.to_dict()
    assert (read.status, read.metrics, read.events) == (
        run.status,
        run.metrics,
        run.events,
    )
    assert read.last_step == fake_runs.BUDGET


def test_an_edited_config_is_refused(tmp_path):
    folder = fake_runs.write(fake_runs.make(jumps=JUMPS), tmp_path)
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 5', 1))
    with pytest.raises(ValueError, match="hashes to"):
        runs.read_run(folder)


def test_every_planned_run_is_read_in_the_order_of_the_plan(tmp_path):
    """Also one that is removed, renamed, replaced, edited, damaged or half made."""
    members = [fake_runs.make(jumps=JUMPS, seed=seed) for seed in range(7)]
    whole, removed, renamed, replaced, edited, damaged, half_made = members
    pending = fake_runs.make(jumps=JUMPS, seed=9, until=-1, state="pending")
    for run in (whole, renamed, edited, damaged, pending):
        fake_runs.write(run, tmp_path)
    (tmp_path / renamed.run_id).rename(tmp_path / "elsewhere")
    stranger = fake_runs.write(fake_runs.make(jumps=JUMPS, seed=99), tmp_path)
    stranger.rename(tmp_path / replaced.run_id)
    path = tmp_path / edited.run_id / "config.json"
    path.write_text(path.read_text().replace('"seed": 4', '"seed": 5', 1))
    (tmp_path / damaged.run_id / "metrics.jsonl").write_text('{"st\n{"step": 9}\n')
    (tmp_path / half_made.run_id).mkdir()
    planned = {run.run_id: run.config for run in [*members, pending]}
    found = runs.read_runs(tmp_path, planned)
    assert [run.run_id for run in found] == list(planned)
    assert [run.config for run in found] == list(planned.values())
    states = {run.config.seed: run.status["state"] for run in found}
    assert states == {
        0: "done", 1: "missing", 2: "missing", 3: "unreadable", 4: "unreadable",
        5: "unreadable", 6: "missing", 9: "pending",
    }  # fmt: skip
    assert [run.is_lost for run in found] == 1 * [False] + 6 * [True] + [False]
    for run in found[1:]:
        assert (run.metrics, run.events, run.outcome) == ([], [], "unfinished")
    assert "hashes to" in found[3].status["message"]
    assert "line 1 is damaged" in found[5].status["message"]
    said = runs.describe_lost(found)
    assert said.startswith("6 of 8 planned runs missing or unreadable, counted as")
    assert removed.run_id in said and whole.run_id not in said
    assert runs.describe_lost([found[0], found[7]]) == ""


@pytest.mark.parametrize(
    ("state", "reason", "outcome"),
    [
        ("done", "budget", "over"),
        ("done", "phases_passed", "over"),
        ("failed", "nan", "failed"),
        ("failed", "oom", "unfinished"),
        ("running", None, "unfinished"),
        ("preempted", None, "unfinished"),
        ("pending", None, "unfinished"),
    ],
)
def test_outcome(state, reason, outcome):
    run = fake_runs.make(jumps=JUMPS, state=state, reason=reason)
    assert run.outcome == outcome


def test_series_leaves_out_evaluations_that_did_not_measure():
    run = fake_runs.make(jumps=JUMPS, until=30)
    steps, values = runs.series(run, "model/gradient_norm")  # null at step 0
    np.testing.assert_array_equal(steps, [10, 20, 30])
    np.testing.assert_array_equal(values, [10, 20, 30])
    with pytest.raises(ValueError, match=r"'ood/acc'; choose from id/accuracy@2"):
        runs.series(run, "ood/acc")
    pending = fake_runs.make(jumps=JUMPS, until=-1)
    assert runs.series(pending, "anything").steps.size == 0


def test_accuracy_is_that_of_the_training_loop_count():
    run = fake_runs.make(jumps=JUMPS, loops=3)
    for row in run.metrics:
        row["ood/accuracy@5"] = 0.75
    assert set(runs.accuracy(run, "ood").values) == {0.0, 1.0}
    assert runs.has_group(run, "ood") and not runs.has_group(run, "depth")


def test_chance_is_that_of_the_certificate(tiny_config, tiny_table):
    run = runs.Run(pathlib.Path("x"), tiny_config, {}, [], [])
    answers = np.unique(tiny_table.targets[tiny_table.rows_of("train"), 0])
    ood = tiny_table.targets[tiny_table.rows_of("ood"), 0]
    expected = np.isin(ood, answers).mean() / answers.size
    assert runs.chance(run, "ood") == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"no split 'depth'; choose from train"):
        runs.chance(run, "depth")


def test_config_values():
    members = [
        fake_runs.make(jumps=JUMPS, loops=loops, decay=0.3) for loops in (10, 2, 2)
    ]
    assert runs.value_of(members[0], "recurrence.num_loops") == 10
    assert runs.values_of(members, "recurrence.num_loops") == [2, 10]
    assert runs.shared_value(members, "optimizer.weight_decay") == 0.3
    for unknown in ("seed.loops", "recurrence.loops"):
        with pytest.raises(ValueError, match=f"no config key '{unknown}'"):
            runs.value_of(members[0], unknown)
    with pytest.raises(ValueError, match="share one recurrence.num_loops, got 2, 10"):
        runs.shared_value(members, "recurrence.num_loops")
    with pytest.raises(ValueError, match="got no run"):
        runs.shared_value([], "seed")


def test_groups_are_ordered_by_value_and_then_by_seed():
    members = [
        fake_runs.make(jumps=JUMPS, loops=loops, seed=seed)
        for loops, seed in ((10, 0), (2, 1), (2, 0))
    ]
    cells = runs.group(members, ("recurrence.num_loops",))
    assert list(cells) == [(2,), (10,)]
    assert cells[(2,)] == [members[2], members[1]]


def test_a_cell_of_unlike_runs_is_refused():
    members = [fake_runs.make(jumps=JUMPS, decay=decay) for decay in (0.1, 0.3)]
    with pytest.raises(ValueError, match=r"num_loops=2 differ in optimizer\.weight_de"):
        runs.group(members, ("recurrence.num_loops",))


def test_axes_are_what_differs_and_is_no_repetition():
    make = lambda **keys: fake_runs.make(jumps=JUMPS, until=-1, **keys)
    assert runs.axes_of([]) == runs.axes_of([make()]) == ()
    again = [make(seed=1), make(task__seed=1), make(recurrence__seed=2)]
    assert runs.axes_of([make(), *again]) == ()
    assert list(runs.group([make(), *again], ())) == [()]
    other = make(
        decay=0.3, loops=4, model__width=24, batch_size=7, optimizer__name="muon",
        task__kwargs__num_entities=23, phases__depth_generalized=0.5,
    )  # fmt: skip
    assert runs.axes_of([make(), other]) == (
        "recurrence.num_loops", "optimizer.weight_decay", "batch_size",
        "task.kwargs.num_entities", "model.width", "optimizer.name",
        "phases.depth_generalized",
    )  # fmt: skip
    cells = runs.group([make(), other], ("phases.depth_generalized",))
    assert list(cells) == [(None,), (0.5,)]


def test_a_budget_is_an_axis_only_where_a_schedule_reads_it():
    jumps = {"train": 0}
    make = lambda steps, schedule: fake_runs.make(
        jumps=jumps, until=-1, num_steps=steps, optimizer__schedule=schedule
    )
    constant, longer = (make(steps, "constant") for steps in (200, 400))
    assert runs.axes_of([constant, longer]) == ()
    assert list(runs.group([constant, longer], ())) == [()]
    linear = [make(steps, "linear") for steps in (200, 400)]
    assert runs.axes_of(linear) == ("num_steps",)
    mixed = ("optimizer.schedule",)
    assert runs.axes_of([constant, longer, linear[0]]) == mixed
    assert runs.axes_of([constant, *linear]) == ("num_steps", *mixed)


def test_an_argument_that_a_run_leaves_to_its_task_is_none():
    key = "task.kwargs.stray"
    base = fake_runs.make(jumps=JUMPS, until=-1)
    given = dataclasses.replace(base, config=base.config.copy_and_resolve_references())
    with given.config.unlocked():
        given.config.task.kwargs.stray = (3, 5)
    assert runs.axes_of([given, base]) == (key,)
    assert runs.values_of([given, base], key) == [None, (3, 5)]
    assert list(runs.group([given, base], (key,))) == [(None,), ((3, 5),)]
    with pytest.raises(ValueError, match=f"no config key '{key}'"):
        runs.values_of([base], key)
