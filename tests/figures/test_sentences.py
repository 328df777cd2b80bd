from rdt_jax.figures import sentences
from tests import fake_runs
from tests.fake_runs import staged as run
from tests.fake_runs import waiting


def test_a_sweep_is_told_by_its_first_axis():
    members = [run(1, None), run(1, None, 1), run(2, 60), run(2, 150, 1)]
    assert sentences.of_sweep(members) == [
        "OOD accuracy reached 0.50 with R = 1 (no loop) in 0 of 2 runs; with R = 2 "
        "loops in 2 of 2 runs, after 80 to 170 updates."
    ]
    by_decay = [run(2, 60, decay=0.3), run(2, None, decay=0.1)]
    assert sentences.of_sweep(by_decay) == [
        "OOD accuracy reached 0.50 with weight decay 0.1 in 0 of 1 run; with weight "
        "decay 0.3 in 1 of 1 run, after 80 updates."
    ]
    assert "with R = 2 loops in 1 of 1" in sentences.of_sweep([run(2, 60)])[0]


def test_runs_that_broke_or_still_train_are_told():
    broken = run(2, None, 1, until=60, state="failed", reason="nan")
    lost = fake_runs.lost(run(2, 60, 2))
    assert sentences.of_sweep([run(2, 60), broken, waiting(2, seed=3), lost])[1:] == [
        "2 of 4 runs are not finished: this may change.",
        "1 of 4 runs broke down (the loss was not finite) and counts as not arrived.",
    ]


def test_many_values_are_left_to_the_table():
    members = [run(2, 60, model__width=8 * k) for k in range(1, 9)]
    (said,) = sentences.of_sweep(members)
    assert said.count("1 of 1 run") == 6 and "for 2 more values see the table" in said


def test_nothing_is_said_of_runs_without_a_phase():
    assert sentences.of_sweep([fake_runs.make(jumps={"mixed": 20})]) == []
