import pytest
from rich.console import Console

from rdt_jax import config as configs
from rdt_jax.figures import study as studies
from tests import fake_runs

LOOPS, DECAY = "recurrence.num_loops", "optimizer.weight_decay"


@pytest.fixture(scope="module")
def study(root):
    path = root / "experiments" / "depth_by_decay" / "study.py"
    return configs.load_module(path, "study")


def run(loops, ood, seed=0, decay=0.1, train=20, id=40, **options):
    jumps = {"train": train, "id": id, "ood": ood}
    return fake_runs.make(jumps=jumps, loops=loops, decay=decay, seed=seed, **options)


def judged(study, *members):
    return [claim.holds for claim in study.claims(members)]


def test_figures_and_table_of_the_study(study):
    members = [run(1, None), run(2, 150)]
    made = studies.figures(study, members)
    assert list(made) == ["accuracy", "ood_by_depth", "phase_diagram"]
    names = [t.get_text() for panel in made["ood_by_depth"].axes for t in panel.texts]
    assert any(name.startswith("chance") for name in names)
    console = Console(width=80)
    with console.capture() as capture:
        console.print(studies.table(study, members))
    assert "170" in capture.get()


def test_claims_have_a_source_and_evidence_in_numbers(study):
    loops, order, depth = study.claims([run(1, None), run(2, 150), run(4, 60)])
    for claim in (loops, order, depth):
        assert claim.holds is True
        assert "arXiv:2604.07822" in claim.source
    assert "0 of 1 run with R = 1 and in 2 of 2 runs with R >= 2" in loops.measured
    assert "first after 80 updates)" in loops.measured
    assert "R = 2 0.1 (1 of 1 run), R = 4 0.1 (1 of 1 run)" in loops.measured
    assert "R = 1 trained for 230" in loops.measured
    assert "of 2 runs that completed OOD, 2 in order" in order.measured
    assert "R = 2 -> 4 170 -> 80 (weight decay 0.1, 1 seed)" in depth.measured


@pytest.mark.parametrize(
    ("vanilla", "looped", "holds"),
    [
        ({"ood": None}, {"ood": 150}, True),
        ({"ood": 200}, {"ood": 150}, False),
        ({"ood": None}, {"ood": None}, None),  # The budget may be too short.
        ({"ood": None, "state": "running", "until": 90}, {"ood": 150}, None),
        (
            {"ood": None, "state": "failed", "reason": "nan", "until": 90},
            {"ood": 150},
            None,
        ),
        (
            {"ood": 60, "state": "running", "until": 90},
            {"ood": None, "until": -1, "state": "pending"},
            False,
        ),
    ],
)
def test_loops_are_needed(study, vanilla, looped, holds):
    assert judged(study, run(1, **vanilla), run(2, **looped))[0] is holds


def test_loops_are_needed_wants_both_kinds_of_runs(study):
    assert judged(study, run(2, 150))[0] is None
    assert judged(study, run(1, None))[0] is None


def test_what_loops_are_needed_waits_for(study):
    waiting = run(1, None, until=90, state="running", reason=None)
    over = run(1, None, seed=1)
    claim = study.claims([waiting, over, run(2, 150)])[0]
    assert claim.holds is None
    assert claim.measured.endswith("missing: the end of 1 run with R = 1.")


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
def test_most_runs_of_every_looped_depth_complete_ood(study, arrivals, holds):
    members = [run(1, None)] + [
        run(loops, ood, seed, decay)
        for loops, by_decay in arrivals.items()
        for decay, jumps in by_decay.items()
        for seed, ood in enumerate(jumps)
    ]
    assert judged(study, *members)[0] is holds


def test_a_looped_depth_that_still_trains_is_waited_for(study):
    known = [run(1, None), run(2, 60), run(4, None), run(4, 60, seed=1)]
    waiting = {"until": 90, "state": "running", "reason": None}
    found = study.claims([*known, run(4, None, seed=2, **waiting)])[0]
    assert found.holds is None
    assert "missing: the end of 1 run with R >= 2." in found.measured
    # One of two more cannot be most of four.
    stuck = [run(4, None, seed=2), run(4, None, seed=3, **waiting)]
    assert judged(study, *known, *stuck)[0] is False
    # Another weight decay may still be the one.
    assert judged(study, *known, *stuck, run(4, None, decay=0.3, **waiting))[0] is None
    # Where most have arrived none is waited for.
    assert judged(study, *known[:2], run(4, None, **waiting), run(2, 90, seed=1))[
        0
    ] is (None)
    assert judged(study, *known[:2], run(2, 90, seed=1), run(2, None, 2, **waiting))[0]


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
def test_stages_are_ordered(study, jumps, holds):
    assert judged(study, run(2, **jumps))[1] is holds


def test_an_order_counts_ties_and_says_so(study):
    claim = study.claims([run(2, 150), run(4, 90, id=90)])[1]
    assert claim.holds is True
    assert "in this order, or some of them at the same evaluation" in claim.text
    assert "1 in order, 1 with two phases at one evaluation" in claim.measured


def test_a_run_that_still_trains_may_be_out_of_order(study):
    waiting = run(4, None, until=90, state="running", reason=None)
    claim = study.claims([run(2, 150), waiting])[1]
    assert claim.holds is None and "the end of 1 run" in claim.measured
    assert judged(study, run(2, 150), run(2, 60, 1, id=150), waiting)[1] is False


def test_one_run_out_of_order_is_enough_and_is_named(study):
    wrong = run(2, 60, id=150, seed=1)
    claim = study.claims([run(2, 150), wrong])[1]
    assert claim.holds is False
    assert wrong.run_id in claim.measured


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
def test_four_loops_are_sooner_than_two(study, times, holds):
    members = [run(loops, ood) for loops, ood in times]
    assert judged(study, *members)[2] is holds


def test_more_than_four_loops_are_reported(study):
    found = study.claims([run(2, 180), run(4, 120), run(8, 150)])[2]
    assert "sooner: R = 2 -> 4 200 -> 140" in found.measured
    assert "; not judged: R = 4 -> 8 140 -> 170 (weight decay 0.1" in found.measured


@pytest.mark.parametrize(
    ("sooner", "later", "holds"), [(1, 1, None), (2, 1, None), (1, 2, False)]
)
def test_weight_decays_may_disagree(study, sooner, later, holds):
    jumps = sooner * [(150, 60)] + later * [(60, 150)]
    members = [
        run(loops, ood, decay=0.1 * index)
        for index, pair in enumerate(jumps, start=1)
        for loops, ood in zip((2, 4), pair, strict=True)
    ]
    assert judged(study, *members)[2] is holds


def test_a_pair_that_still_trains_is_waited_for(study):
    waiting = run(4, None, decay=0.3, until=90, state="running", reason=None)
    other = [run(2, 150, decay=0.3), waiting]
    found = study.claims([run(2, 150), run(4, 60), *other])[2]
    assert found.holds is None
    assert "missing: the end of 1 run with R = 2 or 4." in found.measured
    assert judged(study, run(2, 60), run(4, 150), *other)[2] is None
    more = [run(2, 60, decay=0.2), run(4, 150, decay=0.2)]
    assert judged(study, run(2, 60), run(4, 150), *more, *other)[2] is False


def test_depths_are_compared_at_equal_weight_decay_only(study):
    members = [run(2, 150, decay=0.1), run(4, 60, decay=0.3)]
    assert judged(study, *members)[2] is None


def test_an_unfinished_shallow_run_is_not_called_later(study):
    early = run(2, None, until=40, state="running", reason=None)
    assert judged(study, early, run(4, 60))[2] is None
    late = run(2, None, until=120, state="running", reason=None)
    assert judged(study, late, run(4, 60))[2] is True
