import math

import pytest

from rdt_jax.analysis import compare, statistics
from tests import fake_runs

R = "recurrence.num_loops"


def _sweep(oods, loops=(1, 2), **options):
    """Runs with a seed for each of the steps at which OOD jumps."""
    return [
        fake_runs.staged(n, ood, seed=seed, **options)
        for n in loops
        for seed, ood in enumerate(oods)
    ]


def _row(found, what, cell):
    return next(row for row in found.rows if (row.what, row.cell) == (what, cell))


def test_common_cells_are_tested_by_rank():
    first = _sweep([80, 90, 100, None])
    second = _sweep([120, 130, None, None], loops=(2, 4), model__width=64)
    found = compare.compare(first, second)
    assert (found.keys, found.budget, found.shared) == ([R], 230, 0)
    assert found.apart == {"model.width": (32, 64)}
    assert found.alone == ([(1,)], [(4,)])
    assert {row.cell for row in found.rows} == {(2,)}
    row = _row(found, "ood_generalized", (2,))
    late = fake_runs.DELAY
    assert row.first == [80 + late, 90 + late, 100 + late, math.inf]
    assert row.second == [120 + late, 130 + late, math.inf, math.inf]
    test = statistics.rank_sum(row.first, row.second, seed=0)
    assert row.test == test and test.later > 0.75
    raw = [row.test.p_value for row in found.rows]
    assert [row.p_value for row in found.rows] == statistics.holm(raw)
    end = _row(found, "ood at the end", (2,))
    assert end.first == [1, 1, 1, 0] and end.second == [1, 1, 0, 0] and end.is_accuracy


def test_an_axis_of_one_sweep_alone_chooses_the_cells():
    first = [r for d in (0.1, 0.2) for r in _sweep([80, 90], loops=(2,), decay=d)]
    found = compare.compare(first, _sweep([80, 90], loops=(1, 2), decay=0.2))
    assert found.keys == ["optimizer.weight_decay", R]
    assert {row.cell for row in found.rows} == {(0.2, 2)}
    assert found.alone == ([(0.1, 2)], [(0.2, 1)])
    assert found.shared == 2


def test_runs_are_compared_up_to_the_smaller_budget():
    first = _sweep([80, 90], loops=(2,))
    second = _sweep([80, 90], loops=(2,), num_steps=100, until=100, model__width=64)
    found = compare.compare(first, second)
    assert found.budget == 100
    row = _row(found, "ood_generalized", ())
    assert row.first == [100, math.inf] and row.second == [100, math.inf]
    assert row.test.later == 0.5
    assert _row(found, "ood at the end", ()).first == [1, 0]


def test_open_and_single_runs_are_not_tested():
    first = _sweep([80, 90], loops=(2,))
    waiting = [fake_runs.waiting(2, seed=seed, model__width=64) for seed in (0, 1)]
    found = compare.compare(first, waiting)
    row = _row(found, "ood_generalized", ())
    assert row.second == [None, None] and (row.test, row.p_value) == (None, None)
    assert _row(found, "memorized", ()).test is not None  # Has happened.
    lost = [fake_runs.lost(run) for run in first]
    assert all(row.test is None for row in compare.compare(first, lost).rows)
    single = compare.compare(first[:1], waiting[:1])
    assert all(row.test is None for row in single.rows)


def test_a_run_that_failed_never_arrives():
    failed = _sweep([None, None], loops=(2,), until=40, state="failed", reason="nan")
    found = compare.compare(_sweep([80, 90], loops=(2,)), failed)
    assert _row(found, "ood_generalized", ()).second == [math.inf, math.inf]


def test_sweeps_of_two_tasks_are_refused():
    other = fake_runs.make(jumps={"train": 20}, task__name="modular")
    with pytest.raises(ValueError, match=r"must share one task\.name, got"):
        compare.compare(_sweep([80]), [other])
