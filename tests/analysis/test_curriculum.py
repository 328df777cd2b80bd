import pytest

from rdt_jax.analysis import curriculum, stored
from tests import fake_depth, fake_runs

ALL = {k: 100 * k for k in range(2, 7)}
END = fake_depth.BUDGET


@pytest.mark.parametrize(
    ("learned_at", "until", "passed", "untrained", "learned"),
    [
        # Four hops are learned before three are: their stage has no update of its own.
        # From 900 on five are trained; what that made of four is seen at 1,000.
        (
            {2: 500, 4: 700, 3: 900, 5: 1_000},
            END,
            {2: 500, 3: 900, 4: 1_000, 5: 1_000},
            {4: 700},
            5,
        ),
        # The run ends where all that is left is passed through at once.
        ({2: 500, 3: 400, 4: 300}, 500, {2: 500}, {3: 400, 4: 300}, 2),
        ({2: 500, 4: 700}, END, {2: 500}, {4: 700}, 2),  # Three are never learned.
        (ALL, END, ALL, {}, 6),  # More could have been learned.
        ({}, END, {}, {}, None),
    ],
)
def test_a_stage_is_passed_once_its_hops_are_trained_and_learned(
    learned_at, until, passed, untrained, learned
):
    found = curriculum.progress(
        fake_depth.make(passed=learned_at, loops=2, until=until)
    )
    assert (dict(found.passed), dict(found.untrained)) == (passed, untrained)
    assert (found.learned, found.deepest) == (learned, 6)
    assert found.is_bounded == (learned != 6)
    assert (found.last_step, found.outcome) == (until, "over")


def test_hops_that_were_lost_before_they_were_trained_must_be_learned_again():
    run = fake_depth.make(passed={2: 500, 3: 900}, loops=2)
    early = {"event": "hop_learned", "hops": 3, "split": "id"}
    run.events[:0] = [
        early | {"step": 200, "kind": "completed"},
        early | {"step": 400, "kind": "lost"},
    ]
    found = curriculum.progress(run)
    assert dict(found.passed) == {2: 500, 3: 900}
    assert dict(found.untrained) == {3: 200}


def test_only_first_completions_count():
    run = fake_depth.make(passed={2: 500, 3: 800}, loops=2)
    run.events.append(run.events[0] | {"step": 2_000})
    run.events.append(run.events[0] | {"step": 2_500, "kind": "lost"})
    found = curriculum.progress(run)
    assert dict(found.passed) == {2: 500, 3: 800}
    assert not found.untrained


def open_run(accuracy, **options):
    """A run that trains three hops from step 500 on and does not learn them."""
    return fake_depth.make(passed={2: 500}, loops=2, partly={3: accuracy}, **options)


def test_the_open_accuracy_is_that_of_the_stage_that_did_not_end():
    found = curriculum.open_accuracy(open_run(lambda step: step / 10_000))
    # Of 600 to 4,000, each time the median of five evaluations.
    assert found.tolist() == pytest.approx([s / 10_000 for s in range(400, 3_801, 100)])
    assert not curriculum.open_accuracy(fake_depth.make(passed=ALL, loops=2)).size


@pytest.mark.parametrize(
    ("accuracy", "cut_short"),
    [
        (lambda step: 0.61, True),  # Chance is .1.
        (lambda step: 0.59, False),
        (lambda step: 0.4 + 0.06 * (step >= 3_500), True),
        (lambda step: 0.4 + 0.04 * (step >= 3_500), False),
        (lambda step: 0.4 + 0.06 * (step >= 2_500), False),  # Before the last quarter.
        (lambda step: 0.4 + 0.2 * (step >= fake_depth.BUDGET), False),  # Once only.
    ],
)
def test_a_run_is_cut_short_while_it_learns_its_stage(accuracy, cut_short):
    assert curriculum.is_cut_short(open_run(accuracy)) is cut_short


def test_a_run_is_cut_short_where_its_stage_has_just_begun():
    flat = {"accuracy": lambda step: 0.0}
    assert curriculum.is_cut_short(open_run(**flat, until=900))
    assert not curriculum.is_cut_short(open_run(**flat, until=1_000))


def test_only_a_run_that_its_budget_ended_is_cut_short():
    high = lambda step: 0.8
    assert not curriculum.is_cut_short(open_run(high, state="running", reason=None))
    assert not curriculum.is_cut_short(open_run(high, state="failed", reason="nan"))
    assert not curriculum.is_cut_short(fake_depth.make(passed=ALL, loops=2))


def test_the_common_stage_is_the_deepest_that_two_loop_counts_passed_in_all_runs():
    four = fake_depth.make(passed={2: 500, 3: 600, 4: 700}, loops=4)
    five = fake_depth.make(passed={2: 500, 3: 600}, loops=5)
    two = fake_depth.make(passed={2: 500}, loops=2)
    never = fake_depth.make(passed={}, loops=1)
    assert curriculum.common_stage([two, four, five, never]) == (3, [four, five])
    # A seed that passed less takes its loop count with it.
    late = fake_depth.make(passed={2: 500}, loops=5, seed=1)
    hops, runs = curriculum.common_stage([two, four, five, late])
    assert hops == 2 and len(runs) == 4
    assert curriculum.common_stage([four, never]) is None
    assert curriculum.common_stage([]) is None


def test_a_run_without_a_curriculum_is_refused():
    with pytest.raises(ValueError, match="has no curriculum"):
        curriculum.progress(fake_runs.make(jumps={"train": 0, "id": 30, "ood": None}))


def test_the_deepest_stage_is_the_last_that_kept_its_own_parameters(monkeypatch):
    """Those of four hops were kept before four hops were trained."""
    kept = ["hop_learned_2-after-500", "hop_learned_4-after-700", "final"]
    monkeypatch.setattr(
        stored,
        "of_kind",
        lambda run, kind: [n for n in kept if n.rpartition("-")[0] == kind],
    )
    run = fake_depth.make(passed={2: 500, 3: 900, 4: 700}, loops=2)
    assert curriculum.progress(run).learned == 4
    assert curriculum.kept_stages(run) == {2: "hop_learned_2-after-500"}
    assert curriculum.deepest(run) == (2, "hop_learned_2-after-500")
    nothing = fake_depth.make(passed={}, loops=2)
    assert curriculum.deepest(nothing) == (None, "final")
