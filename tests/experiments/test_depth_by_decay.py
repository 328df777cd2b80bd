import pytest

from rdt_jax.figures import study as studies
from rdt_jax.sweep import spec
from tests.conftest import ROOT
from tests.experiments import verdicts
from tests.fake_runs import staged as run
from tests.fake_runs import waiting

LOOPS, ORDER, DEPTH = range(3)  # the claims, in their order

study = spec.read_study(ROOT / "experiments" / "depth_by_decay")
ask = verdicts.asked(study.claims, range(3))


def test_figures_and_table_of_the_study():
    members = [run(1, None), run(2, 150)]
    panels = studies.figures(study, members)["ood_by_depth"].axes
    names = [text.get_text() for panel in panels for text in panel.texts]
    assert any(name.startswith("chance") for name in names)
    assert "170" in verdicts.printed(studies.table(study, members))


def test_claims_have_evidence_in_numbers():
    members = [run(1, None), run(2, 150), run(4, 60)]
    ask(LOOPS, members, True, "0 1 1 2 2 2 80 2 0.1 1 1 4 0.1 1 1 1 230")
    ask(ORDER, members, True, "2 2")
    ask(DEPTH, members, True, "2 4 170 80 0.1 1")


@pytest.mark.parametrize(
    ("members", "holds"),
    [
        ([run(1, None), run(2, 150)], True),
        ([run(1, 200), run(2, 150)], False),
        ([run(1, None), run(2, None)], None),  # The budget may be too short.
        ([waiting(1), run(2, 150)], None),
        ([waiting(1, state="failed", reason="nan"), run(2, 150)], None),
        ([waiting(1, 60), waiting(2, until=-1, state="pending")], False),
        ([run(2, 150)], None),
        ([run(1, None)], None),
    ],
)
def test_loops_are_needed(members, holds):
    ask(LOOPS, members, holds)


def test_what_loops_are_needed_waits_for():
    members = [waiting(1), run(1, None, seed=1), run(2, 150)]
    ask(LOOPS, members, None, "", "the end of 1 run with R = 1.")


@pytest.mark.parametrize(
    ("arrivals", "holds"),  # loops -> {decay: step of each seed's jump}
    [
        ({2: {0.1: (60, 90, None)}}, True),
        ({2: {0.1: (60, None, None)}}, None),  # A minority; the budget may be short.
        ({2: {0.1: (60, None)}}, None),  # Half is not most.
        ({2: {0.1: (None,), 0.3: (60,)}}, True),  # One weight decay is enough.
        ({2: {0.1: (60,)}, 4: {0.1: (60,)}, 8: {0.1: (90,)}}, True),
        ({2: {0.1: (60, 60, 60)}, 4: {0.1: (90, None, None)}}, False),
        ({2: {0.1: (60,), 0.3: (60,)}, 4: {0.1: (None,), 0.3: (None,)}}, False),
        # Half of the runs of R = 4, but most of no weight decay.
        ({2: {0.1: (60,)}, 4: {0.1: (60, None), 0.3: (60, None)}}, False),
    ],
)
def test_most_runs_of_every_looped_depth_complete_ood(arrivals, holds):
    members = [run(1, None)] + [
        run(loops, ood, seed, decay)
        for loops, by_decay in arrivals.items()
        for decay, jumps in by_decay.items()
        for seed, ood in enumerate(jumps)
    ]
    ask(LOOPS, members, holds)


def test_a_looped_depth_that_still_trains_is_waited_for():
    known = [run(1, None), run(2, 60), run(4, None), run(4, 60, seed=1)]
    one_more = waiting(4, seed=2)
    ask(LOOPS, [*known, one_more], None, "", "the end of 1 run with R >= 2.")
    # One of two more cannot be most of four.
    stuck = [run(4, None, seed=2), waiting(4, seed=3)]
    ask(LOOPS, [*known, *stuck], False)
    # Another weight decay may still be the one.
    ask(LOOPS, [*known, *stuck, waiting(4, decay=0.3)], None)
    # Where most have arrived none is waited for.
    others = [*known[:2], run(2, 90, seed=1)]
    ask(LOOPS, [*others, waiting(4)], None)
    ask(LOOPS, [*others, waiting(2, seed=2)], True)


@pytest.mark.parametrize(
    ("jumps", "holds"),
    [
        ({"train": 20, "id": 40, "ood": 90}, True),
        ({"train": 20, "id": 90, "ood": 40}, False),
        ({"train": 90, "id": 40, "ood": 150}, False),
        ({"train": 20, "id": None, "ood": 90}, False),
        ({"train": 20, "id": 90, "ood": 90}, None),
        ({"train": 90, "id": 20, "ood": None}, None),
    ],
)
def test_stages_are_ordered(jumps, holds):
    ask(ORDER, [run(2, **jumps)], holds)


def test_an_order_counts_ties_and_says_so():
    claim = ask(ORDER, [run(2, 150), run(4, 90, id=90)], True, "1 1")
    assert "at the same evaluation" in claim.text


def test_a_run_that_still_trains_may_be_out_of_order():
    ask(ORDER, [run(2, 150), waiting(4)], None, "", "the end of 1 run")
    ask(ORDER, [run(2, 150), run(2, 60, 1, id=150), waiting(4)], False)


def test_one_run_out_of_order_is_enough_and_is_named():
    wrong = run(2, 60, id=150, seed=1)
    assert wrong.run_id in ask(ORDER, [run(2, 150), wrong], False).measured


@pytest.mark.parametrize(
    ("times", "holds"),  # (loops, step of the jump), one seed, one weight decay
    [
        ([(2, 150), (4, 60)], True),
        ([(2, None), (4, 60)], True),
        ([(2, 60), (4, 150)], False),
        ([(2, 60), (4, None)], False),
        ([(2, 150), (4, 150)], None),
        ([(2, None), (4, None)], None),
        ([(1, None), (2, 150)], None),  # R = 1 is the matter of claim 1.
        ([(2, 180), (4, 120), (8, 150)], True),  # R = 8 takes about as long.
        ([(2, 120), (4, 180), (8, 60)], False),
        ([(2, 180), (8, 60)], None),
        ([(4, 180), (8, 60)], None),
    ],
)
def test_four_loops_are_sooner_than_two(times, holds):
    members = [run(loops, ood) for loops, ood in times]
    ask(DEPTH, members, holds)


def test_more_than_four_loops_are_reported():
    members = [run(2, 180), run(4, 120), run(8, 150)]
    found = ask(DEPTH, members, True, "2 4 200 140 4 8 140 170 0.1")
    assert "; not judged: R = 4 -> 8" in found.measured


@pytest.mark.parametrize(
    ("sooner", "later", "holds"), [(1, 1, None), (2, 1, None), (1, 2, False)]
)
def test_weight_decays_may_disagree(sooner, later, holds):
    jumps = sooner * [(150, 60)] + later * [(60, 150)]
    members = [
        run(loops, ood, decay=0.1 * index)
        for index, pair in enumerate(jumps, start=1)
        for loops, ood in zip((2, 4), pair, strict=True)
    ]
    ask(DEPTH, members, holds)


def test_a_pair_that_still_trains_is_waited_for():
    other = [run(2, 150, decay=0.3), waiting(4, decay=0.3)]
    missing = "the end of 1 run with R = 2 or 4."
    ask(DEPTH, [run(2, 150), run(4, 60), *other], None, "", missing)
    ask(DEPTH, [run(2, 60), run(4, 150), *other], None)
    more = [run(2, 60, decay=0.2), run(4, 150, decay=0.2)]
    ask(DEPTH, [run(2, 60), run(4, 150), *more, *other], False)


def test_depths_are_compared_at_equal_weight_decay_only():
    members = [run(2, 150, decay=0.1), run(4, 60, decay=0.3)]
    ask(DEPTH, members, None)


def test_an_unfinished_shallow_run_is_not_called_later():
    ask(DEPTH, [waiting(2, until=40), run(4, 60)], None)
    ask(DEPTH, [waiting(2, until=120), run(4, 60)], True)
