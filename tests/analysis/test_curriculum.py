import pytest

from rdt_jax.analysis import curriculum
from tests import fake_depth, fake_runs


def test_a_stage_is_over_when_it_and_all_before_it_are_learned():
    """Four hops are learned before three are: their stage then ends as it begins."""
    found = curriculum.progress(
        fake_depth.make(passed={2: 500, 4: 700, 3: 900, 5: 1_000}, loops=2)
    )
    assert dict(found.passed) == {2: 500, 3: 900, 4: 900, 5: 1_000}
    assert (found.learned, found.deepest, found.is_bounded) == (5, 6, True)
    assert (found.last_step, found.outcome) == (fake_depth.BUDGET, "over")


def test_what_is_learned_beyond_a_stage_that_does_not_end_does_not_count():
    found = curriculum.progress(fake_depth.make(passed={2: 500, 4: 700}, loops=2))
    assert dict(found.passed) == {2: 500}
    assert found.learned == 2


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
    assert dict(curriculum.progress(run).passed) == {2: 500, 3: 800}


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
