import dataclasses

import numpy as np
import pytest

from rdt_jax import tasks
from rdt_jax.analysis import compute
from rdt_jax.analysis.grokking import Bound
from rdt_jax.models import cost, presets
from rdt_jax.store import files, records
from tests import fake_depth, fake_runs


def _update(run, length):
    """Operations of one update of a run on rows of `length` tokens, by hand."""
    model = presets.model_config(run.config, tasks.make_table(run.config))
    found = cost.passes(model, num_loops=run.num_loops, length=length, num_answers=1)
    return run.config.batch_size * (found.forward + found.backward)


def test_operations_are_those_of_the_stages_that_were_trained():
    run = fake_depth.make(passed={2: 1_000, 3: 1_500}, loops=3)
    found = compute.training_flops(run)
    steps = np.array([row["step"] for row in run.metrics])
    assert found[0] == 0
    assert found[steps == 1_000] == 1_000 * _update(run, 4)  # head, r, r, <a>
    # Three and four hops are 5 and 6 tokens, and share the program of 6.
    assert found[-1] - found[steps == 1_000] == 3_000 * _update(run, 6)


def test_operations_grow_with_the_loops():
    shallow, deep = (fake_depth.make(passed={}, loops=loops) for loops in (2, 4))
    ratio = compute.training_flops(deep)[-1] / compute.training_flops(shallow)[-1]
    assert 1.9 < ratio < 2.0  # Two loops more, but one readout.


def test_a_run_without_a_curriculum_has_one_price_for_all_updates():
    run = fake_runs.make(jumps={"train": 0, "id": 30, "ood": 60})
    found = compute.curve(run, "ood")
    assert found.flops[-1] == pytest.approx(fake_runs.BUDGET * _update(run, 3))
    assert found.accuracy[0] == 0 and found.accuracy[-1] == 1


def curve(*points):
    flops, accuracy = zip(*points, strict=True)
    return compute.Curve(np.array(flops, float), np.array(accuracy, float))


LOW = curve((1, 0.2), (2, 0.4), (4, 0.4), (8, 0.4))
HIGH = curve((4, 0.1), (8, 0.9))
EARLY, SOLVED = curve((1, 0.2), (2, 0.4)), curve((1, 0.2), (2, 1.0))
SEEDS = [curve((2, a), (4, a)) for a in (0.1, 0.2, 0.9)]


@pytest.mark.parametrize(
    ("cells", "budget", "best", "accuracy", "runs"),
    [
        ({1: [LOW], 4: [HIGH]}, 2, 1, {1: 0.4}, 1),
        ({1: [LOW], 4: [HIGH]}, 4, 1, {1: 0.4, 4: 0.1}, 1),
        ({1: [LOW], 4: [HIGH]}, 8, 4, {1: 0.4, 4: 0.9}, 1),
        # A run that ended early says nothing of more, unless it solved the task.
        ({1: [EARLY], 2: [curve((2, 0.3), (8, 0.3))]}, 8, 2, {2: 0.3}, 1),
        ({1: [SOLVED]}, 8, 1, {1: 1.0}, 1),
        # What was reached and lost was reached.
        ({1: [curve((1, 0.8), (2, 0.4))]}, 2, 1, {1: 0.8}, 1),
        ({1: SEEDS}, 4, 1, {1: 0.2}, 3),  # The median over runs.
    ],
)
def test_who_is_best_depends_on_the_budget(cells, budget, best, accuracy, runs):
    (found,) = compute.best_by_budget(cells, [budget])
    assert found == (budget, best, accuracy, runs)


def test_no_budget_is_below_the_first_evaluation():
    found = compute.best_by_budget({1: SEEDS}, [1, 2])
    assert [budget.flops for budget in found] == [2]


OOD = "ood_generalized"


def run(ood):
    return fake_runs.make(jumps={"train": 20, "id": 40, "ood": ood})


@pytest.fixture
def timed(tmp_path):
    """A run folder in which each evaluation took 2 seconds of updates, and others."""
    made = run(100)
    made = dataclasses.replace(made, folder=fake_runs.write(made, tmp_path))
    for row in made.metrics:
        seconds = {"train_seconds": 2.0} if row["step"] else {}
        timing = {"step": row["step"], "compile_seconds": 50.0} | seconds
        records.append(made.folder / "timing.jsonl", timing)
    files.write_json(made.folder / "environment.json", {"lanes": 1})
    return made


def test_seconds_are_those_of_updates(timed):
    seconds = compute.training_seconds(timed)
    np.testing.assert_array_equal(seconds, 2 * np.arange(24))
    assert compute.spent_at(timed, OOD, seconds) == Bound(24, False)
    assert compute.spent_at(run(None), OOD, seconds) == Bound(46, True)


def test_seconds_of_a_pack_or_of_no_record_are_not_known(timed):
    files.write_json(timed.folder / "environment.json", {"lanes": 3})
    assert compute.training_seconds(timed) is None
    files.write_json(timed.folder / "environment.json", {"lanes": 1})
    (timed.folder / "timing.jsonl").write_text('{"step": 0}\n')
    assert compute.training_seconds(timed) is None
    assert compute.training_seconds(run(None)) is None
