"""The study of stages: its runs are those of depth_by_decay, and claims can fail."""

import dataclasses
import functools

import numpy as np
import pytest

from experiments.grokking_stages import study
from rdt_jax.figures import study as studies
from rdt_jax.store import files, records
from tests import fake_runs
from tests.experiments import verdicts
from tests.fake_runs import waiting

(VANILLA, LOOPED, TRAIN_ID, ID_OOD, EARLY, LATE, PLATEAU, UPDATES, OPERATIONS,
 SECONDS) = range(10)  # fmt: skip

ask = verdicts.asked(study.claims, range(10))


run = functools.partial(fake_runs.staged, id=60)


def with_ood(made, values):
    """The run with other OOD accuracies, the last one repeated to its end."""
    metrics = []
    for index, row in enumerate(made.metrics):
        value = values[min(index, len(values) - 1)]
        metrics.append(row | {f"ood/accuracy@{made.num_loops}": value})
    return dataclasses.replace(made, metrics=metrics)


def test_without_loops_ood_stays_near_zero():
    ask(VANILLA, [run(1, None)], True)
    ask(VANILLA, [run(1, None), run(1, 150, seed=1)], False)
    ask(VANILLA, [waiting(1)], None)
    for level, holds in ((0.09, True), (0.11, False)):
        ask(VANILLA, [with_ood(run(1, None), [0.0] * 9 + [level])], holds)


def test_with_loops_ood_leaves_zero_in_every_run():
    for other, holds in ((run(4, 60), True), (run(4, None), False), (waiting(4), None)):
        ask(LOOPED, [run(2, 150), other], holds)
    ask(LOOPED, [run(2, None), waiting(4)], False)


@pytest.mark.parametrize(
    ("train", "id", "ood", "train_id", "id_ood"),
    [
        (20, 60, 150, True, True),
        (60, 20, 150, False, True),
        (None, 60, 150, False, True),
        (20, 150, 60, True, False),
        (20, None, 60, None, False),
        (60, 60, 60, None, None),  # Of equal ones none is first.
        (20, 60, None, True, None),
    ],
)
def test_stages_have_an_order(train, id, ood, train_id, id_ood):
    member = run(2, ood, train=train, id=id)
    ask(TRAIN_ID, [member], train_id)
    ask(ID_OOD, [member], id_ood)


def test_one_run_out_of_order_is_enough_and_vanilla_runs_do_not_count():
    good = [run(2, 150), run(1, 60, id=150)]
    ask(ID_OOD, [*good], True)
    ask(ID_OOD, [*good, run(4, 60, id=150)], False)


def test_an_order_counts_ties_and_says_so():
    members = [run(2, 150, train=60), run(4, 150, train=20)]
    assert "at the same evaluation" in ask(TRAIN_ID, members, True, "1 2 1").text


@pytest.mark.parametrize(
    ("claim", "good", "bad"),
    [
        (TRAIN_ID, {}, {"train": 60, "id": 20}),
        (ID_OOD, {}, {"id": 180}),
        (EARLY, {"ood": 60, "id": 150}, {}),
    ],
)
def test_a_run_that_still_trains_may_break_what_all_runs_do(claim, good, bad):
    of = lambda options, seed: run(2, seed=seed, **{"ood": 150} | options)
    later = waiting(2, seed=2, id=None)
    ask(claim, [of(good, 0)], True)
    ask(claim, [of(good, 0), later], None, "", "the end of 1 run")
    ask(claim, [of(good, 0), of(bad, 1), later], False)
    ask(EARLY, [run(2, None)], None)


def test_ood_comes_long_after_memorization():
    # Memorized at 20, OOD at 200 and at 100.
    ask(LATE, [run(2, 180, train=10)], True)
    ask(LATE, [run(2, 80, train=10)], False)
    # Not within 230 updates: at least 7 times 30, and 5 times 40.
    early = run(2, None, train=10)
    ask(LATE, [early, run(2, 180, seed=1, train=10)], True)
    ask(LATE, [early], None)  # It may never come.
    ask(LATE, [run(2, None, train=20)], None)


def test_runs_without_ood_decide_its_wait_where_their_rank_does():
    # 3, 4 and 7 times, and beyond 2.9 times: whatever these are, 7 at the most.
    known = [run(2, ood, seed, train=10) for seed, ood in enumerate((40, 60, 120))]
    never = [run(4, None, seed, train=60) for seed in range(2)]
    ask(LATE, [*known, *never], False, "3 7 5 5")
    ask(LATE, [*known[:2], *never], None, "", "a longer budget")
    later = waiting(4, seed=5, train=None)
    ask(LATE, [*known, *never, later], None, "", "the end of 1 run")


def test_ood_without_memorization_is_not_late():
    late, not_late = run(2, 180, train=10), run(4, 60, train=None)
    ask(LATE, [late], True)
    ask(LATE, [late, not_late, run(4, 60, seed=1, train=None)], False, "3 3 2 3")
    # What came to neither says nothing of the ratio.
    ask(LATE, [late, run(4, None, train=None)], True, "1 2")
    ask(LATE, [late, waiting(4, train=None)], None)


def plateau(level, **options):
    options = {"stop_after_phases": False, "top": {"ood": level}} | options
    return run(2, 60, **options)


def test_ood_settles_below_one():
    ask(PLATEAU, [plateau(0.75)], True)
    ask(PLATEAU, [plateau(0.95)], False)
    ask(PLATEAU, [plateau(0.6)], False)
    ask(PLATEAU, [plateau(0.75, stop_after_phases=True)], None)
    rising = with_ood(plateau(0.75), [0.0] * 8 + list(np.linspace(0.6, 0.84, 16)))
    ask(PLATEAU, [rising], None)
    ask(PLATEAU, [plateau(0.75), rising], None)  # Not of most runs.


def test_a_run_that_still_trains_may_settle_elsewhere():
    low = [plateau(0.6, seed=seed) for seed in range(3)]
    fine = [plateau(0.75, seed=seed) for seed in range(2)]
    later = waiting(2, seed=7, stop_after_phases=False)
    ask(PLATEAU, [*fine], True)
    ask(PLATEAU, [*fine, later], None)
    ask(PLATEAU, [*low, later], False)  # Of four, two or three are low.


def test_more_loops_need_fewer_updates_and_operations():
    for shallow, deep, updates, operations in (
        (180, 20, True, True),
        (180, 150, True, False),  # An update costs nearly twice.
        (60, 150, False, False),
        # R = 2 ends after 230 cheap updates, before what R = 4 had spent at 220.
        (None, 200, True, None),
    ):
        ask(UPDATES, [run(2, shallow), run(4, deep)], updates)
        ask(OPERATIONS, [run(2, shallow), run(4, deep)], operations)
    ask(UPDATES, [run(2, 60), run(4, None)], False)
    ask(UPDATES, [run(2, None), run(4, None)], None)
    ask(UPDATES, [run(4, 60)], None)


def test_a_bound_for_want_of_an_arrival_is_called_one():
    members = [run(2, 60), run(4, None)]
    for name, again in ((UPDATES, False), (OPERATIONS, True)):
        found = ask(name, members, False).measured
        assert "R = 4 completes OOD: a bound" in found
        assert ("updates again" in found) is again  # The same verdict.
    found = ask(OPERATIONS, [run(2, None), run(4, 60)], True).measured
    assert "R = 2 completes OOD: a bound" in found and "updates again" not in found
    assert "bound" not in ask(UPDATES, [run(2, 180), run(4, 60)], True).measured


def test_a_run_without_an_evaluation_may_move_a_median():
    pair = run(2, 180), run(4, 20)
    pending = run(4, None, seed=1, until=-1, state="pending", reason=None)
    ask(UPDATES, [*pair], True)
    ask(UPDATES, [*pair, pending], None)


def test_more_loops_need_less_time(tmp_path):
    def timed(made, seconds, lanes=1):
        folder = fake_runs.write(made, tmp_path)
        files.write_json(folder / "environment.json", {"lanes": lanes})
        for row in made.metrics:
            timing = {"step": row["step"], "train_seconds": seconds}
            records.append(folder / "timing.jsonl", timing)
        return dataclasses.replace(made, folder=folder)

    ask(SECONDS, [run(2, 180), run(4, 60)], None)  # No record of it.
    shallow = timed(run(2, 180), 1.0)
    ask(SECONDS, [shallow, timed(run(4, 60), 2.0)], True)
    ask(SECONDS, [shallow, timed(run(4, 61, seed=1), 9.0)], False)
    ask(SECONDS, [shallow, timed(run(4, 62, seed=2), 2.0, lanes=3)], None)


def test_the_figures():
    members = [
        run(loops, ood, seed)
        for loops, times in ((1, (None, None)), (2, (150, None)), (4, (60, 90)))
        for seed, ood in enumerate(times)
    ]
    made = study.figures(members)
    assert list(made) == ["stages", "arrivals"]
    left, middle, right = made["stages"].axes
    # Six runs, a dot for each that completed OOD, and the level of chance.
    assert len(left.lines) == len(middle.lines) == 6 + 3 + 1
    cost = [max(line.get_xdata()) for line in middle.lines if len(line.get_xdata()) > 9]
    assert np.unique(np.round(cost, 12)).size == 3  # One for each depth.
    assert cost[0] < cost[2] < cost[4] < 2 * cost[2]
    assert right.get_xscale() == "log" and "R = 4" in right.get_xlabel()
    (panel,) = made["arrivals"].axes
    ends = [line.get_ydata()[-1] for line in panel.lines if line.get_marker() == "None"]
    assert ends == [1.0, 0.5, 0.0]
    assert studies.table(study, members).row_count == 3


def test_only_runs_of_one_kind_are_drawn_together():
    with pytest.raises(ValueError, match="differ in optimizer.weight_decay"):
        study.figures([run(2, 60), run(2, 60, seed=1, decay=0.3)])
