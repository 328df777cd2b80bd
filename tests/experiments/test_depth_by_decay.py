"""The headline study: a verdict of each kind for each claim, and what is said first."""

import functools

import pytest

from rdt_jax.figures import study as studies
from rdt_jax.sweep import spec
from tests import fake_runs
from tests.conftest import ROOT
from tests.experiments import verdicts

# The claims, in their order.
VANILLA, DEEP, TWO, FOUR, EIGHT, SOONER = range(6)

study = spec.read_study(ROOT / "experiments" / "depth_by_decay")
ask = verdicts.asked(study.claims, range(6))


def run(loops, ood, seed=0, decay=0.1, *, graph=0, blocks=2, level=None, **options):
    if level is not None:
        options["top"] = {"ood": level}
    keys = {"task__seed": graph, "model__core_blocks": blocks} | options
    return fake_runs.staged(loops, ood, seed, decay, **keys)


waiting = functools.partial(run, until=90, state="running", reason=None)
broken = functools.partial(run, until=60, state="failed", reason="nan")


def test_figures_and_table_of_the_study():
    members = [run(1, None), run(1, None, blocks=4), run(2, 150)]
    drawn = studies.figures(study, members)
    names = [t.get_text() for f in drawn.values() for p in f.axes for t in p.texts]
    assert any(name.startswith("chance") for name in names)
    printed = verdicts.printed(studies.table(study, members))
    assert "1 x 4" in printed and "2 x 2" in printed and "170" in printed


@pytest.mark.parametrize(("claim", "blocks"), [(VANILLA, 2), (DEEP, 4)])
@pytest.mark.parametrize(
    ("made", "holds", "missing"),
    [
        ([(run, None)], True, ""),
        ([(run, None), (run, 150)], False, ""),  # One is enough.
        ([(waiting, None), (run, 150)], False, ""),
        ([(run, None), (waiting, None)], None, "the end of 1 run"),
        ([(run, None), (broken, None)], True, ""),
        ([(broken, None)], None, "a run whose loss stays finite"),
        ([], None, "runs with R = 1"),
    ],
)
def test_without_loops_ood_never_leaves_chance(claim, blocks, made, holds, missing):
    members = [
        make(1, ood, seed, blocks=blocks) for seed, (make, ood) in enumerate(made)
    ]
    ask(claim, [*members, run(2, 150)], holds, "", missing)


def test_the_level_that_is_near_chance_is_of_smoothed_accuracy():
    for level, holds in ((0.09, True), (0.11, False)):
        member = run(1, 60, level=level, stop_after_phases=False)
        ask(VANILLA, [member], holds, f"1 {level}")


def test_models_without_loops_are_told_apart_by_their_blocks():
    members = [run(1, 150, blocks=4), run(1, None), run(2, 150)]
    ask(VANILLA, members, True, "0 1")
    ask(DEEP, members, False, "1 1")


@pytest.mark.parametrize(("claim", "loops"), [(TWO, 2), (FOUR, 4), (EIGHT, 8)])
@pytest.mark.parametrize(
    ("made", "holds", "missing"),
    [
        ([(run, 60), (run, 90), (run, None)], True, ""),
        ([(run, 60), (run, None)], False, ""),  # Half is not most.
        ([(run, 60), (broken, None)], False, ""),
        ([(run, 60), (run, 90), (waiting, None)], True, ""),
        ([(run, 60), (waiting, None)], None, "the end of 1 run"),
        ([(run, 60), (run, None), (waiting, None)], None, "the end of 1 run"),
        ([(run, None), (run, None), (waiting, None)], False, ""),
        ([], None, "runs with R = "),
    ],
)
def test_most_runs_complete_ood_within_the_budget(claim, loops, made, holds, missing):
    members = [make(loops, ood, seed) for seed, (make, ood) in enumerate(made)]
    claim = ask(claim, [*members, run(1, None)], holds, "", missing)
    assert "within the budget of 230 updates" in claim.text


def test_a_majority_is_over_weight_decays_which_are_told():
    members = [run(2, 60), run(2, 90, decay=0.3), run(2, None, 1, decay=0.3)]
    claim = ask(TWO, members, True, "2 3 1 1 0.1 1 2 0.3 110")
    assert claim.test == "count of runs" and claim.p_value is None


@pytest.mark.parametrize(
    ("two", "four", "holds"),
    [
        (150, 60, True),
        (None, 60, True),
        (60, 150, False),
        (60, None, False),
        (150, 150, None),
        (150, 140, None),  # One evaluation.
        (150, 130, True),  # Two.
        (None, None, None),
        # At 230, the last evaluation: the other may come at the next.
        (210, None, None),
        (200, None, False),
        (60, "broken", False),
    ],
)
def test_four_loops_are_sooner_than_two(two, four, holds):
    deep = broken(4, None) if four == "broken" else run(4, four)
    found = ask(SOONER, [run(2, two), deep], holds, "1")
    assert found.p_value is None  # Of one pair.


@pytest.mark.parametrize(
    ("sooner", "later", "tied", "holds"),
    [
        (2, 1, 0, True),
        (2, 1, 1, None),
        (1, 1, 0, False),
        (1, 2, 1, False),
        (0, 1, 2, None),
    ],
)
def test_a_pair_has_graph_seed_and_decay_in_common(sooner, later, tied, holds):
    places = [
        {"graph": graph, "seed": seed, "decay": decay}
        for graph in (0, 1)
        for seed in (0, 1)
        for decay in (0.1, 0.3)
    ]
    jumps = sooner * [(150, 60)] + later * [(60, 150)] + tied * [(60, 60)]
    members = [
        run(loops, ood, **place)
        for place, pair in zip(places, jumps, strict=False)
        for loops, ood in zip((2, 4), pair, strict=True)
    ]
    total = sooner + later + tied
    found = ask(SOONER, members, holds, f"{sooner} {later} {total} {tied}")
    assert 0 < found.p_value <= 1
    # Neither of these has a partner.
    ask(SOONER, [*members, run(2, 60, 7), run(4, 150, 8)], holds, f"{total}")


def test_p_is_small_where_all_pairs_agree():
    members = [
        run(loops, ood, seed) for seed in range(8) for loops, ood in ((2, 60), (4, 150))
    ]
    assert ask(SOONER, members, False).p_value == pytest.approx(2 / 2**8)
    tied = [run(loops, 60, seed) for seed in range(3) for loops in (2, 4)]
    assert ask(SOONER, tied, None, "0 0 3 3").p_value == 1


def test_a_pair_that_still_trains_is_waited_for_where_it_can_matter():
    known = [run(2, 150), run(4, 60)]
    ask(SOONER, [*known, run(2, 150, 1), waiting(4, None, 1)], None, "", "of 1 run")
    # It has not come by 90, and the other has by 70.
    ask(SOONER, [run(2, 50), waiting(4, None)], False, "0 1 1")
    more = [run(4, 60, 2), run(2, 150, 2)]
    ask(SOONER, [*known, *more, run(2, 150, 1), waiting(4, None, 1)], True)


def said(*members):
    return study.summary(list(members))


def test_what_was_found_is_said_in_sentences_made_from_the_runs():
    vanilla = [run(1, None, seed) for seed in range(2)]
    deep = [run(1, None, seed, blocks=4) for seed in range(2)]
    two = [run(2, 60), run(2, 90, 1)]
    four = [run(4, 150), run(4, None, 1)]
    assert said(*vanilla, *deep, *two, *four) == [
        "Without looping, the model never learned to answer half of the questions that "
        "combine facts it had not combined before (0 of 2 runs); without looping but "
        "with twice the layers, it never learned to (0 of 2 runs).",
        "With two passes over the same layers, it learned to (2 of 2 runs, after 80 to "
        "110 updates); with four passes over the same layers, it learned to in some "
        "runs (1 of 2 runs, after 170 updates).",
        "So it takes looping to combine facts in new ways, and more layers do not "
        "replace it; four passes got there later than two in 2 of 2 comparisons.",
    ]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        # As the paper has it.
        ([run(1, None), run(2, 150), run(4, 60)], "sooner than two in 1 of 1"),
        ([run(1, None), run(1, 60, blocks=4), run(2, 60)], "new ways, or more layers."),
        # The opposite.
        ([run(1, 60), run(2, 60)], "So the model combines facts in new ways with loo"),
        ([run(1, 60), run(2, None)], "So looping was no help"),
        ([run(1, None), run(2, None)], "So looping made no difference within 230"),
        (
            [run(1, None), run(2, 60), run(2, None, 1), run(2, None, 2)],
            "So looping helped, but not in most runs within 230 updates",
        ),
        # What still trains, or is gone, or broke down.
        ([run(1, None), waiting(2, None)], "So far looping made no difference"),
        ([run(1, None), waiting(2, None)], "it has not yet learned to (0 of 1 run)"),
        (
            [run(1, None), waiting(2, None)],
            "1 of 2 runs is not finished: this may change.",
        ),
        ([fake_runs.lost(run(1, None)), run(2, 60)], "has not yet learned to answer"),
        (
            [run(1, None), broken(2, None)],
            "1 of 2 runs broke down (the loss was not finite)",
        ),
        # One run.
        (
            [run(2, 60)],
            "With two passes over the same layers, it learned to answer half",
        ),
        ([run(2, 60)], "can be said only of runs with and without it."),
        ([run(1, None)], "can be said only of runs with and without it."),
        ([run(1, None), run(2, 60, phases__ood_generalized=0.75)], "half or 75 %"),
    ],
)
def test_other_runs_have_other_sentences(members, words):
    assert words in " ".join(said(*members))


def test_nothing_is_said_of_no_runs_that_would_need_some():
    assert said() == ["What looping does can be said only of runs with and without it."]
