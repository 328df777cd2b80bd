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

ORDER, TWICE, EARLY, LATE, PLATEAU = range(5)  # the claims, in their order

ask = verdicts.asked(study.claims, range(5))
run = functools.partial(fake_runs.staged, id=60)


def with_ood(made, values):
    """The run with other OOD accuracies, the last one repeated to its end."""
    metrics = []
    for index, row in enumerate(made.metrics):
        value = values[min(index, len(values) - 1)]
        metrics.append(row | {f"ood/accuracy@{made.num_loops}": value})
    return dataclasses.replace(made, metrics=metrics)


def plateau(level, seed=0, **options):
    options = {"stop_after_phases": False, "top": {"ood": level}} | options
    return run(2, 60, seed, **options)


def of_stages(train, id, ood):
    """Returns a function of a seed: a run with these jumps, each complete 20 later."""
    return lambda seed: run(2, ood, seed, train=train, id=id)


# claim -> what a run that does as claimed did, one that does not, and one that does not
# tell; evaluations are 10 updates apart.
TOLD = {
    ORDER: (of_stages(20, 60, 150), of_stages(60, 20, 150), of_stages(20, 30, 150)),
    # ID is complete at 70 to 80, OOD at 160 to 170; at 120 to 130; at 140 to 150.
    TWICE: (of_stages(20, 60, 150), of_stages(20, 60, 110), of_stages(20, 60, 130)),
    EARLY: (of_stages(20, 90, 50), of_stages(20, 40, 90), of_stages(20, 60, 50)),
    LATE: (of_stages(10, 40, 190), of_stages(20, 40, 150), of_stages(10, 40, 100)),
    PLATEAU: (
        functools.partial(plateau, 0.75),
        functools.partial(plateau, 0.95),
        functools.partial(plateau, 0.75, stop_after_phases=True),
    ),
}


@pytest.mark.parametrize("claim", TOLD)
def test_a_claim_is_about_most_runs(claim):
    makes = dict(zip(("right", "wrong", "silent"), TOLD[claim], strict=True))

    def members(**counts):
        kinds = [makes[kind] for kind, count in counts.items() for _ in range(count)]
        return [make(seed) for seed, make in enumerate(kinds)]

    for counts, holds in (
        ({"right": 1}, True),
        ({"wrong": 1}, False),
        ({"silent": 1}, None),
        ({"right": 2, "wrong": 1}, True),
        ({"right": 1, "wrong": 1}, False),  # Half is not most.
        ({"right": 2, "silent": 1}, True),
        ({"right": 1, "silent": 1}, None),
        ({"right": 3, "wrong": 1, "silent": 2}, None),
        ({"wrong": 2, "silent": 1}, False),
    ):
        right, wrong = counts.get("right", 0), counts.get("wrong", 0)
        total = sum(counts.values())
        ask(claim, members(**counts), holds, f"{right} {wrong} {total} {total}")
    one = members(right=1)
    later = waiting(2, seed=9, id=None)
    ask(claim, [*one, later], None, "", "the end of 1 run with loops")
    ask(claim, [*members(right=2), later], True)
    ask(claim, [*members(wrong=2), later], False)
    # What never comes says nothing of the order, nor does a model without loops.
    never = [run(2, None, 8, id=None), run(1, 60, 7, train=90, id=90)]
    ask(claim, [*one, *never], True, "1 0 1 2")
    ask(claim, never, None, "", "more runs that complete")
    all_right = ask(claim, members(right=6), True)
    assert all_right.p_value == pytest.approx(2 / 2**6)
    assert all_right.test == "sign test over runs"


def test_what_never_memorizes_is_not_late():
    ask(LATE, [run(2, 150, train=None)], False)
    ask(ORDER, [run(2, 150, train=None)], False)
    ask(TWICE, [run(2, 150, id=None)], False)


def test_the_coverage_of_the_graph_is_told_where_the_source_has_another():
    members = [run(2, 150, seed, task__seed=seed) for seed in (0, 1)]
    for claim in (ORDER, LATE):
        found = ask(claim, members, claim == ORDER)
        assert "38 %" in found.expected and "coverage " in found.measured


def test_ood_settles_where_it_moves_little_in_the_last_quarter():
    for level in (0.6, 0.95):
        ask(PLATEAU, [plateau(level)], False)
    rising = with_ood(plateau(0.75), [0.0] * 8 + list(np.linspace(0.6, 0.84, 16)))
    ask(PLATEAU, [rising], None)
    slow = with_ood(plateau(0.75), [0.0] * 8 + list(np.linspace(0.7, 0.75, 16)))
    ask(PLATEAU, [slow], True)


def test_a_run_that_came_there_and_still_trains_may_settle_elsewhere():
    later = plateau(0.75, 5, until=180, state="running", reason=None)
    ask(PLATEAU, [plateau(0.75), later], None, "", "the end of 1 run with loops")


def test_the_table_has_what_stages_cost(tmp_path):
    def timed(made, seconds, lanes=1):
        folder = fake_runs.write(made, tmp_path)
        files.write_json(folder / "environment.json", {"lanes": lanes})
        for row in made.metrics:
            timing = {"step": row["step"], "train_seconds": seconds}
            records.append(folder / "timing.jsonl", timing)
        return dataclasses.replace(made, folder=folder)

    members = [timed(run(1, None), 1.0), timed(run(2, 90), 2.0), timed(run(4, 70), 3.0)]
    columns = verdicts.columns(studies.table(study, members))
    assert columns["R"] == ["1", "2", "4"] and columns["runs"] == ["0/1", "1/1", "1/1"]
    assert columns["OOD"] == ["> 230", "110", "90"]
    # An evaluation every 10 updates; the first is at 0.
    assert columns["seconds"] == ["> 24", "24", "30"]
    one, two, four = (float(x.strip("> ")) for x in columns["10¹²\noperations"])
    assert one / 230 < two / 110 < four / 90 < 2 * two / 110
    assert columns["at the\nend"] == ["0.00", "1.00", "1.00"]
    packed = [timed(run(2, 60, 3), 1.0, lanes=3), run(4, 60, 3)]
    assert verdicts.columns(studies.table(study, packed))["seconds"] == ["-", "-"]
    waits = verdicts.columns(studies.table(study, [waiting(2)]))
    assert waits["OOD"] == waits["10¹²\noperations"] == waits["moved"] == ["..."]


def test_the_figures_are_of_one_weight_decay():
    members = [
        run(loops, ood, seed)
        for loops, times in ((1, (None, None)), (2, (150, None)), (4, (60, 90)))
        for seed, ood in enumerate(times)
    ]
    made = study.figures([*members, run(2, 60, decay=0.03), run(4, None, decay=0.3)])
    assert list(made) == ["stages", "arrivals"]
    left, middle, right = made["stages"].axes
    # A line of medians for each depth; of the others there is no run here.
    for panel in (left, middle):
        long = [line.get_xdata() for line in panel.lines if len(line.get_xdata()) > 9]
        assert len(long) == 3
    assert max(long[0]) < max(long[1]) < max(long[2]) < 2 * max(long[1])
    assert right.get_xscale() == "log" and "R = 4" in right.get_title()
    (panel,) = made["arrivals"].axes
    ends = [line.get_ydata()[-1] for line in panel.lines if line.get_marker() == "None"]
    assert ends == [1.0, 0.5, 0.0]
