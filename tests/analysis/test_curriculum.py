import pytest

from rdt_jax.analysis import curriculum, stored
from tests import fake_depth, fake_runs


def test_hops_that_were_learned_before_they_were_trained_are_passed_once_they_are():
    """Four hops are learned before three are: their stage has no update of its own."""
    found = curriculum.progress(
        fake_depth.make(passed={2: 500, 4: 700, 3: 900, 5: 1_000}, loops=2)
    )
    # From 900 on, up to five hops are trained; what that made of four is seen at 1,000.
    assert dict(found.passed) == {2: 500, 3: 900, 4: 1_000, 5: 1_000}
    assert dict(found.untrained) == {4: 700}
    assert (found.learned, found.deepest, found.is_bounded) == (5, 6, True)
    assert (found.last_step, found.outcome) == (fake_depth.BUDGET, "over")


def test_hops_that_are_never_trained_do_not_count():
    """The run ends where all that is left is passed through at once."""
    run = fake_depth.make(passed={2: 500, 3: 400, 4: 300}, loops=2, until=500)
    found = curriculum.progress(run)
    assert dict(found.passed) == {2: 500}
    assert dict(found.untrained) == {3: 400, 4: 300}
    assert found.learned == 2


def test_what_is_learned_beyond_a_stage_that_does_not_end_does_not_count():
    found = curriculum.progress(fake_depth.make(passed={2: 500, 4: 700}, loops=2))
    assert dict(found.passed) == {2: 500}
    assert dict(found.untrained) == {4: 700}
    assert found.learned == 2


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


def test_a_run_that_passed_the_last_stage_could_have_learned_more():
    passed = {k: 100 * k for k in range(2, 7)}
    found = curriculum.progress(fake_depth.make(passed=passed, loops=2))
    assert (found.learned, found.is_bounded) == (6, False)


def test_a_run_without_a_passed_stage_learned_no_depth():
    found = curriculum.progress(fake_depth.make(passed={}, loops=2))
    assert (found.learned, found.is_bounded) == (None, True)


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
    passed = {k: 100 * k for k in range(2, 7)}
    assert not curriculum.open_accuracy(fake_depth.make(passed=passed, loops=2)).size


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
    passed = {k: 100 * k for k in range(2, 7)}
    assert not curriculum.is_cut_short(fake_depth.make(passed=passed, loops=2))


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
