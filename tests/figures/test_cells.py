import pytest

from rdt_jax.figures import cells
from tests import fake_runs

WIDTH, RATE = "model.width", "optimizer.learning_rate"


def run(**keys):
    return fake_runs.make(jumps={"train": 20}, until=-1, **keys)


def sweep_of(**axes):
    """The sweep over all combinations of values of dotted keys, `__` for a dot."""
    combined = [{}]
    for key, values in axes.items():
        combined = [c | {key: value} for c in combined for value in values]
    return cells.Sweep.of([run(**keys) for keys in combined])


def test_axes_are_those_that_differ_and_loops_and_decay_where_no_other_does():
    fixed = ("recurrence.num_loops", "optimizer.weight_decay")
    assert cells.Sweep.of([run()]).keys == sweep_of(loops=(1, 2)).keys == fixed
    assert sweep_of(model__width=(16, 32)).keys == (WIDTH,)
    assert sweep_of(model__width=(16, 32), loops=(1, 2)).keys == (fixed[0], WIDTH)


@pytest.mark.parametrize(
    ("key", "values", "written"),
    [
        ("optimizer__learning_rate", (1e-3, 0.1 / 3), ["0.001", "0.0333"]),
        ("optimizer__learning_rate", (0.0012345, 0.0012346),
         ["0.0012345", "0.0012346"]),
        ("optimizer__learning_rate", (0.1 / 3, 0.1 / 3 + 1e-6),
         ["0.0333333", "0.0333343"]),
        ("gradient__clip_norm", (None, 0.5), ["none", "0.5"]),
        ("recurrence__eval_loops", ((), (1, 4)), ["()", "(1,4)"]),
        ("optimizer__name", ("muon", "adamw"), ["adamw", "muon"]),
        ("stop_after_phases", (False, True), ["false", "true"]),
        ("snapshot_steps", (tuple(range(0, 90, 10)), (0,)),
         ["(0)", "(0,10,20,..60,70,80)"]),
    ],
)  # fmt: skip
def test_a_value_is_written_as_briefly_as_it_differs(key, values, written):
    sweep = sweep_of(**{key: values})
    (axis,) = sweep.keys
    assert [sweep.written(axis, value) for value in sweep.first] == written


def test_cells_are_named_by_their_axes():
    sweep = sweep_of(loops=(1, 2), optimizer__name=("adamw", "muon"))
    assert sweep.label((2, "muon")) == "R = 2, optimizer muon"
    assert sweep.title(sweep.keys[0], 1) == "R = 1 (no loop)"
    (axis,) = sweep_of(decay=(0.1, 0.3)).keys[1:]
    assert sweep_of(decay=(0.1, 0.3)).title(axis, 0.3) == "weight decay 0.3"
    schedules = {
        "optimizer__schedule": ("linear", "wsd"),
        "evaluation__schedule": ("log", "uniform"),
    }
    sweep = sweep_of(**schedules)
    assert sweep.label(("linear", "log")) == (
        "optimizer.schedule linear, evaluation.schedule log"
    )


def test_a_label_breaks_between_its_axes():
    label = "R = 2, decay 0.1, optimizer muon"
    assert cells.folded(label, 20) == "R = 2, decay 0.1,\noptimizer muon"
    assert cells.folded("optimizer adamw", 12) == "optimizer\nadamw"


def test_panels_are_a_grid_of_two_axes_and_else_a_list():
    two = sweep_of(loops=(1, 2, 4), model__width=(16, 32))
    grid = two.panels(columns=3, most=60)
    assert grid.rows == [[(1, 16), (2, 16), (4, 16)], [(1, 32), (2, 32), (4, 32)]]
    assert grid.titles == [["R = 1 (no loop)", "R = 2 loops", "R = 4 loops"]]
    assert (grid.sides, grid.is_list) == (["width 16", "width 32"], False)
    turned = two.panels(columns=2, most=60)
    assert turned.rows == [[(1, 16), (1, 32)], [(2, 16), (2, 32)], [(4, 16), (4, 32)]]
    assert turned.titles == [["width 16", "width 32"]]
    narrow = two.panels(columns=3, most=5)
    assert [len(row) for row in narrow.rows] == [3, 2]
    assert (narrow.is_list, narrow.left_out) == (True, 1)
    alone = sweep_of(model__width=(16, 24, 32, 40, 48)).panels(columns=6, most=60)
    assert alone.titles == [
        ["width 16", "width 24", "width 32"], ["width 40", "width 48"],
    ]  # fmt: skip


def test_a_diagram_is_a_grid_a_strip_or_a_list():
    two = sweep_of(loops=(1, 2), model__width=(16, 32))
    grid = two.diagram(columns=2, most=60)
    assert grid.rows == [[(1, 16), (1, 32)], [(2, 16), (2, 32)]]
    assert (grid.sides, grid.titles) == (["1", "2"], [["16", "32"]])
    assert two.diagram(columns=1, most=60).is_list
    assert two.diagram(columns=2, most=3).is_list  # Its rows would be twice as high.
    strip = sweep_of(optimizer__name=("adamw", "muon")).diagram(columns=2, most=60)
    assert (strip.rows, strip.sides) == ([[("adamw",)], [("muon",)]], ["adamw", "muon"])
    three = sweep_of(loops=(1, 2), model__width=(16, 32), seed=(0, 1), decay=(0, 1))
    found = three.diagram(columns=9, most=7)
    assert (len(found.rows), found.is_list, found.left_out) == (7, True, 1)
    assert found.sides[0] == "R = 1, decay 0, width 16"


def test_cells_that_fill_little_of_a_grid_are_a_list():
    drawn = cells.Sweep.of(
        [run(decay=x / 10, optimizer__learning_rate=x / 100) for x in range(1, 6)]
    )
    assert not drawn.is_full
    assert drawn.panels(columns=6, most=60).is_list
    assert drawn.diagram(columns=6, most=60).is_list


def test_repetitions_name_the_seeds_that_differ():
    of = lambda **axes: sweep_of(**axes)
    assert of(seed=(0, 1, 2)).repetitions == "3 seeds"
    assert of(seed=(0, 1, 2)).repeats == "seed"
    several = of(seed=(0, 1, 2), task__seed=(5, 6), model__width=(16, 32))
    assert several.repetitions == "6 runs: 2 graphs x 3 seeds"
    assert (several.repeats, several.most_runs) == ("run", 6)
    pairs = [run(seed=0), run(seed=1, task__seed=1), run(seed=1)]
    assert cells.Sweep.of(pairs).repetitions == "3 runs: 2 graphs, 2 seeds"
