"""The study of stages: its runs are those of depth_by_decay, and claims can fail."""

import dataclasses

import numpy as np
import pytest

from experiments.grokking_stages import study
from rdt_jax.figures import study as studies
from rdt_jax.store import files, records
from tests import fake_runs

(VANILLA, LOOPED, TRAIN_ID, ID_OOD, EARLY, LATE, PLATEAU, UPDATES, OPERATIONS,
 SECONDS) = range(10)  # fmt: skip


def run(loops, ood, seed=0, train=20, id=60, **options):
    jumps = {"train": train, "id": id, "ood": ood}
    return fake_runs.make(jumps=jumps, loops=loops, seed=seed, **options)


def judged(*members):
    return [claim.holds for claim in study.claims(members)]


def with_ood(made, values):
    """The run with other OOD accuracies, the last one repeated to its end."""
    metrics = []
    for index, row in enumerate(made.metrics):
        value = values[min(index, len(values) - 1)]
        metrics.append(row | {f"ood/accuracy@{made.num_loops}": value})
    return dataclasses.replace(made, metrics=metrics)


def waiting(loops, ood=None, **options):
    """A run that has been evaluated up to update 90 and still trains."""
    return run(loops, ood, until=90, state="running", reason=None, **options)


def test_without_loops_ood_stays_near_zero():
    assert judged(run(1, None))[VANILLA] is True
    assert judged(run(1, None), run(1, 150, seed=1))[VANILLA] is False
    assert judged(waiting(1))[VANILLA] is None
    assert judged(with_ood(run(1, None), [0.0] * 9 + [0.09]))[VANILLA] is True
    assert judged(with_ood(run(1, None), [0.0] * 9 + [0.11]))[VANILLA] is False


def test_with_loops_ood_leaves_zero_in_every_run():
    assert judged(run(2, 150), run(4, 60))[LOOPED] is True
    assert judged(run(2, 150), run(4, None))[LOOPED] is False
    assert judged(run(2, 150), waiting(4))[LOOPED] is None
    assert judged(run(2, None), waiting(4))[LOOPED] is False


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
    found = judged(run(2, ood, train=train, id=id))
    assert (found[TRAIN_ID], found[ID_OOD]) == (train_id, id_ood)


def test_one_run_out_of_order_is_enough_and_vanilla_runs_do_not_count():
    good = [run(2, 150), run(1, 60, id=150)]
    assert judged(*good)[ID_OOD] is True
    assert judged(*good, run(4, 60, id=150))[ID_OOD] is False


def test_an_order_counts_ties_and_says_so():
    found = study.claims([run(2, 150, train=60), run(4, 150, train=20)])[TRAIN_ID]
    assert found.holds is True
    assert "before ID, or at the same evaluation, in every run" in found.text
    assert "in 1 of 2 such runs train completes before, in 1 both" in found.measured


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
    assert judged(of(good, 0))[claim] is True
    found = study.claims([of(good, 0), later])[claim]
    assert found.holds is None and "the end of 1 run" in found.measured
    assert judged(of(good, 0), of(bad, 1), later)[claim] is False


def test_ood_starts_before_id_is_done():
    assert judged(run(2, 60, id=150))[EARLY] is True
    assert judged(run(2, 150, id=60))[EARLY] is False
    assert judged(run(2, None, id=60))[EARLY] is None


def test_ood_comes_long_after_memorization():
    # Memorized at 20, OOD at 200 and at 100.
    assert judged(run(2, 180, train=10))[LATE] is True
    assert judged(run(2, 80, train=10))[LATE] is False
    # Not within 230 updates: at least 7 times 30, and 5 times 40.
    early = run(2, None, train=10)
    assert judged(early, run(2, 180, seed=1, train=10))[LATE] is True
    assert judged(early)[LATE] is None  # It may never come.
    assert judged(run(2, None, train=20))[LATE] is None


def test_runs_without_ood_decide_its_wait_where_their_rank_does():
    # 3, 4 and 7 times, and beyond 2.9 times: whatever these are, 7 at the most.
    known = [run(2, ood, seed, train=10) for seed, ood in enumerate((40, 60, 120))]
    never = [run(4, None, seed, train=60) for seed in range(2)]
    found = study.claims([*known, *never])[LATE]
    assert found.holds is False
    assert "median 3 to 7 times, over 5 of 5 runs" in found.measured
    found = study.claims([*known[:2], *never])[LATE]
    assert found.holds is None and "missing: a longer budget" in found.measured
    found = study.claims([*known, *never, waiting(4, seed=5, train=None)])[LATE]
    assert found.holds is None and "missing: the end of 1 run" in found.measured


def test_ood_without_memorization_is_not_late():
    late, not_late = run(2, 180, train=10), run(4, 60, train=None)
    assert judged(late)[LATE] is True
    found = study.claims([late, not_late, run(4, 60, seed=1, train=None)])[LATE]
    assert found.holds is False
    assert "over 3 of 3 runs with R >= 2, 3 of which completed OOD" in found.measured
    # What came to neither says nothing of the ratio.
    neither = run(4, None, train=None)
    found = study.claims([late, neither])[LATE]
    assert found.holds is True and "over 1 of 2 runs" in found.measured
    assert judged(late, waiting(4, train=None))[LATE] is None


def plateau(level, **options):
    options = {"stop_after_phases": False, "top": {"ood": level}} | options
    return run(2, 60, **options)


def test_ood_settles_below_one():
    assert judged(plateau(0.75))[PLATEAU] is True
    assert judged(plateau(0.95))[PLATEAU] is False
    assert judged(plateau(0.6))[PLATEAU] is False
    assert judged(plateau(0.75, stop_after_phases=True))[PLATEAU] is None
    rising = with_ood(plateau(0.75), [0.0] * 8 + list(np.linspace(0.6, 0.84, 16)))
    assert judged(rising)[PLATEAU] is None
    assert judged(plateau(0.75), rising)[PLATEAU] is None  # Not of most runs.


def test_a_run_that_still_trains_may_settle_elsewhere():
    low = [plateau(0.6, seed=seed) for seed in range(3)]
    fine = [plateau(0.75, seed=seed) for seed in range(2)]
    later = waiting(2, seed=7, stop_after_phases=False)
    assert judged(*fine)[PLATEAU] is True
    assert judged(*fine, later)[PLATEAU] is None
    assert judged(*low, later)[PLATEAU] is False  # Of four, two or three are low.


def test_more_loops_need_fewer_updates_and_operations():
    soon = judged(run(2, 180), run(4, 20))
    assert (soon[UPDATES], soon[OPERATIONS]) == (True, True)
    slightly = judged(run(2, 180), run(4, 150))  # An update costs nearly twice.
    assert (slightly[UPDATES], slightly[OPERATIONS]) == (True, False)
    late = judged(run(2, 60), run(4, 150))
    assert (late[UPDATES], late[OPERATIONS]) == (False, False)
    assert judged(run(2, 60), run(4, None))[UPDATES] is False
    assert judged(run(2, None), run(4, None))[UPDATES] is None
    assert judged(run(4, 60))[UPDATES] is None


def test_a_bound_for_want_of_an_arrival_is_called_one():
    updates, operations, _ = study.claims([run(2, 60), run(4, None)])[UPDATES:]
    for found in (updates, operations):
        assert found.holds is False
        assert "no run with R = 4 completes OOD: a bound" in found.measured
    assert "the verdict is that of updates again" in operations.measured
    assert "updates again" not in updates.measured
    found = study.claims([run(2, None), run(4, 60)])[OPERATIONS]
    assert found.holds is True
    assert "no run with R = 2 completes OOD: a bound" in found.measured
    assert "updates again" not in found.measured
    assert "bound" not in study.claims([run(2, 180), run(4, 60)])[UPDATES].measured


def test_a_run_without_an_evaluation_may_move_a_median():
    pair = run(2, 180), run(4, 20)
    pending = run(4, None, seed=1, until=-1, state="pending", reason=None)
    assert judged(*pair)[UPDATES] is True
    assert judged(*pair, pending)[UPDATES] is None


def test_a_bound_in_updates_may_not_decide_operations():
    # R = 2 ends after 230 cheap updates, before what R = 4 had spent at 220.
    found = judged(run(2, None), run(4, 200))
    assert (found[UPDATES], found[OPERATIONS]) == (True, None)


def test_more_loops_need_less_time(tmp_path):
    def timed(made, seconds, lanes=1):
        folder = fake_runs.write(made, tmp_path)
        files.write_json(folder / "environment.json", {"lanes": lanes})
        for row in made.metrics:
            timing = {"step": row["step"], "train_seconds": seconds}
            records.append(folder / "timing.jsonl", timing)
        return dataclasses.replace(made, folder=folder)

    assert judged(run(2, 180), run(4, 60))[SECONDS] is None  # No record of it.
    shallow = timed(run(2, 180), 1.0)
    assert judged(shallow, timed(run(4, 60), 2.0))[SECONDS] is True
    assert judged(shallow, timed(run(4, 61, seed=1), 9.0))[SECONDS] is False
    assert judged(shallow, timed(run(4, 62, seed=2), 2.0, lanes=3))[SECONDS] is None


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
