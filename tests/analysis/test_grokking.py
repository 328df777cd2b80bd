import statistics

import numpy as np
import pytest

from rdt_jax.analysis import grokking
from rdt_jax.analysis.grokking import Bound
from tests import fake_runs

KEYS = ("recurrence.num_loops", "optimizer.weight_decay")
EVENT = "ood_generalized"


def run(seed, ood, **options):
    return fake_runs.make(
        jumps={"train": 0, "id": 30, "ood": ood}, seed=seed, **options
    )


def at(steps):
    """An exact number of updates; a negative one is a bound."""
    return Bound(abs(steps), steps < 0)


def test_times_are_those_the_detector_declared():
    found = grokking.grok_times(
        fake_runs.make(jumps={"train": 20, "id": 50, "ood": None})
    )
    # The median of four evaluations, two of them 0, lies between.
    assert found.phases["memorized"] == (30, 40, None)
    assert found.phases["id_generalized"] == (70, 70, None)
    assert found.phases[EVENT] == (None, None, None)
    assert found.censored_at == fake_runs.BUDGET


def test_only_first_occurrences_count_and_an_onset_has_its_own_date():
    fake = run(0, 100)
    rows = [
        ("onset", 60, 40),
        ("completed", 80, 40),
        ("lost", 120, 40),
        ("onset", 150, 130),
        ("completed", 160, 130),
    ]
    fake.events[:] = [
        {"event": EVENT, "kind": kind, "hops": None, "step": step, "onset": onset}
        for kind, step, onset in rows
    ]
    assert grokking.grok_times(fake).phases[EVENT] == (40, 80, 120)


@pytest.mark.parametrize(
    ("options", "censored_at"),
    [
        ({}, fake_runs.BUDGET),
        ({"until": 70, "state": "running", "reason": None}, 70),
        ({"until": -1, "state": "pending", "reason": None}, 0),
        ({"until": 70, "state": "failed", "reason": "nan"}, fake_runs.BUDGET),
        ({"until": 70, "state": "failed", "reason": "oom"}, 70),
    ],
)
def test_what_is_known_of_a_run_that_did_not_arrive(options, censored_at):
    assert grokking.grok_times(run(0, None, **options)).censored_at == censored_at


def test_runs_arrive_or_are_awaited_or_neither():
    waiting = {"until": 70, "state": "running", "reason": None}
    here, early = run(0, 50), run(1, 10, **waiting)
    later, never = run(2, None, **waiting), run(3, None)
    broken = run(4, None, until=70, state="failed", reason="nan")
    every = [here, early, later, never, broken]
    assert grokking.arrived(every, EVENT) == [here, early]
    assert grokking.awaited(every, EVENT) == [later]


def test_a_claim_that_awaits_runs_says_how_many():
    assert grokking.ends_of([]) == []
    assert grokking.ends_of([run(0, None)]) == ["the end of 1 run"]
    two = [run(0, None), run(1, None)]
    assert grokking.ends_of(two, "with R = 2") == ["the end of 2 runs with R = 2"]


BROKEN = {"ood": None, "until": 20, "state": "failed", "reason": "nan"}
EARLY, LATE = (
    {"ood": None, "until": until, "state": "running", "reason": None}
    for until in (40, 150)
)


@pytest.mark.parametrize(
    ("jumps", "median", "low", "high", "reached"),
    [
        ([150, 50, 70], 90, 70, 170, 3),
        ([50, 80, 90, 180], 105, 70, 200, 4),  # The mean of the middle two.
        ([50, None, None], -230, 70, -230, 1),  # One lucky seed is not the median,
        ([50, None], -230, 70, -230, 1),  # and half of the runs are not enough.
        ([50, 70, None], 90, 70, -230, 2),  # A minority leaves it exact.
        ([50, 90, BROKEN], 110, 70, -230, 2),  # It never arrives.
        ([50, BROKEN], -230, 70, -230, 1),
        ([50, 90, EARLY], -70, -40, -110, 2),  # It may be 70, 110, or between them.
        ([50, 90, LATE], 110, 70, -150, 2),
    ],
)
def test_the_times_of_a_cell_are_known_as_far_as_those_of_its_runs(
    jumps, median, low, high, reached
):
    options = [jump if isinstance(jump, dict) else {"ood": jump} for jump in jumps]
    members = [run(seed, **given) for seed, given in enumerate(options)]
    (cell,) = grokking.cells(members, KEYS)
    ends = map(at, (median, low, high))
    assert cell.times[EVENT] == (*ends, reached, len(members))


def test_cells_are_ordered_and_count_their_troubles():
    found = grokking.cells(
        [
            run(0, 50, loops=10),
            run(1, None, until=40, state="failed", reason="nan"),
            run(0, 50),
            run(2, None, until=-1, state="pending", reason=None),
        ],
        KEYS,
    )
    assert [cell.values["recurrence.num_loops"] for cell in found] == [2, 10]
    assert [len(cell.run_ids) for cell in found] == [3, 1]
    assert (found[0].failed, found[0].unfinished) == (1, 1)
    assert (found[1].failed, found[1].unfinished) == (0, 0)


def test_accuracies_are_smoothed_and_taken_over_all_evaluated_seeds():
    members = [run(seed, 50, top={"ood": 0.5 + 0.1 * seed}) for seed in range(4)]
    for row in members[0].metrics[-2:]:
        row["ood/accuracy@2"] = 0.0  # Two bad evaluations do not undo the others.
    for row in members[3].metrics[-3:]:
        row["ood/accuracy@2"] = 0.1
    (cell,) = grokking.cells([*members, run(4, 50, until=-1, state="pending")], KEYS)
    assert cell.final["ood"] == pytest.approx((0.55, 0.1, 0.7))


def test_smoothing_is_that_of_the_phase_detector():
    rng = np.random.default_rng(3)
    values = rng.random(17)
    expected = [
        statistics.median(values[max(0, end - 5) : end].tolist())
        for end in range(1, 18)
    ]
    np.testing.assert_array_equal(grokking.smooth(values), expected)
    assert grokking.smooth(np.zeros(0)).size == 0


def test_the_median_run_is_that_of_the_middle_rank():
    slow, fast, never = run(0, 150), run(1, 50), run(2, None)
    assert grokking.median_run([never, slow, fast], EVENT) is slow
    assert grokking.median_run([slow, fast], EVENT) is slow  # the later of two
    pending = run(3, None, until=-1, state="pending", reason=None)
    assert grokking.median_run([pending], EVENT) is None


def test_runs_that_never_arrive_are_ranked_by_their_final_accuracy():
    partly = [
        run(seed, 50, top={"ood": top}) for seed, top in enumerate((0.1, 0.4, 0.2))
    ]
    assert grokking.median_run(partly, EVENT) is partly[2]
    assert grokking.median_run(partly[:2], EVENT) is partly[0]  # the worse of two


def test_a_split_that_the_task_lacks_is_not_an_event():
    fake = fake_runs.make(jumps={"train": 0, "id": 30})
    assert grokking.watched_events([fake]) == ("memorized", "id_generalized")
    (cell,) = grokking.cells([fake], KEYS)
    assert list(cell.times) == ["memorized", "id_generalized"]
    unknown = fake_runs.make(jumps={"train": 0}, until=-1)
    assert len(grokking.watched_events([unknown])) == 3


def test_further_phases_come_after_the_built_in_ones():
    jumps = {"train": 0, "id": 30, "id@8": 60, "depth": 90}
    late = {"phases__further": "late: id@8 >= 0.9", "recurrence__eval_loops": (8,)}
    deep = {"phases__depth_generalized": 0.5, "seed": 1}
    one, other = (fake_runs.make(jumps=jumps, **keys) for keys in (late, deep))
    events = ("memorized", "id_generalized", "depth_generalized", "late")
    assert grokking.watched_events([one, other]) == events
    assert grokking.drawn_splits([one, other]) == ("train", "id", "depth", "id@8")
    assert grokking.completion(grokking.grok_times(one), "late").steps == 80
    assert grokking.watched([other], "ood_generalized") == "ood"
    assert grokking.thresholds([one, other], "late") == [0.9]
    (cell,) = grokking.cells([one], KEYS)
    assert cell.final["id@8"].median == 1.0
    assert "late" not in grokking.cells([other], KEYS)[0].times
    with pytest.raises(ValueError, match="Unknown event 'late'; choose from depth_gen"):
        grokking.watched([other], "late")
    same = fake_runs.make(jumps=jumps, phases__further="late: depth >= 0.9")
    with pytest.raises(ValueError, match="differ in what late is about: depth, id@8"):
        grokking.watched([one, same], "late")


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        (0, "0"),
        (950, "950"),
        (999, "999"),
        (999.5, "1k"),
        (3200, "3.2k"),
        (12345, "12.3k"),
        (999_499, "999k"),
        (999_500, "1M"),
        (1_234_567, "1.23M"),
    ],
)
def test_steps_are_written_in_three_digits(steps, text):
    assert grokking.format_steps(steps) == text
    assert str(Bound(steps, False)) == text
    assert str(Bound(steps, True)) == f"> {text}"
