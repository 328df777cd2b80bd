import functools

import pytest

from experiments.depth_extrapolation import study
from rdt_jax import config as configs
from rdt_jax.analysis import curriculum, stored
from tests import fake_depth
from tests.experiments import verdicts

CLAIMS = (
    "learn_more", "once_fewer", "drawn", "four_hops_long", "four_hops_drawn",
    "not_at_r", "scaling", "only_many", "without_loops", "two_lose", "four_lose",
    "most_decide", "two_hops_only", "many_extend", "drawn_extend",
)  # fmt: skip
UNFINISHED = {"state": "running", "reason": None}

ask = verdicts.asked(study.claims, CLAIMS)


@pytest.fixture(autouse=True)
def keep(monkeypatch):
    """Lets runs have measurements: `keep(run, hops, depth)` when it passed hops."""
    kept = {}

    def keep(run, hops, found):
        kept[run.run_id, f"hop_learned_{hops}-after-1"] = found
        return run

    monkeypatch.setattr(
        stored,
        "of_kind",
        lambda run, kind: [n for r, n in kept if r == run.run_id and n[:-2] == kind],
    )
    monkeypatch.setattr(
        stored, "load", lambda run, what, name: kept.get((run.run_id, name))
    )
    return keep


run = functools.partial(fake_depth.run, each=200)
drawn = functools.partial(fake_depth.drawn, each=200)


def learning(hops):
    """Options of a run that ends with .7 of the rows of so many hops right."""
    return {"partly": {hops: lambda step: 0.7}}


def up_to(hops, beyond=0.0):
    """Rows of up to so many hops are answered, whatever the loops."""
    return fake_depth.measured(lambda k, r: 1.0 if k <= hops else beyond)


@pytest.mark.parametrize(
    ("preset", "fixed", "blocks", "most", "pairs"),
    [
        ("smoke", (1, 2), (), (3,), {(0, 0)}),
        ("cpu", (1, 2, 5), (8,), (), {(1, 1), (2, 2)}),
        ("cpu_long", (1, 2, 4, 8), (8,), (8,), {(1, 1), (2, 2)}),
        ("paper", tuple(range(1, 9)), (8, 16), (8,), {(0, 0)}),
    ],
)
def test_a_sweep_has_loops_and_blocks_without(root, preset, fixed, blocks, most, pairs):
    base = configs.load(f"{root / study.CONFIG}:{preset}")
    resolved = [configs.override(base, trial) for trial in study.sweep(preset)]
    core = base.model.core_blocks
    ways = [
        (c.recurrence.sampling, c.recurrence.num_loops, c.model.core_blocks)
        + (c.task.seed, c.seed)
        for c in resolved
    ]
    expected = [("fixed", r, core) for r in fixed] + [("fixed", 1, b) for b in blocks]
    expected += [("poisson", r, core) for r in most]
    assert sorted(ways) == sorted((*way, *pair) for way in expected for pair in pairs)
    assert all(trial["recurrence.num_loops"] > 1 for trial in study.looped(preset))


def test_without_runs_that_pass_anything_no_claim_is_tested():
    """No run got as far as what would tell them apart."""
    for claim in study.claims([run(1, 2), run(1, 5), drawn(1)]):
        assert claim.holds is None and "missing" in claim.measured
        assert claim.source.startswith("Kohli et al.")


def test_more_loops_learn_more():
    ask("learn_more", [run(2, 2), run(2, 3), run(4, 5)], True, "4k 2 2 3 2 5 4")
    ask("learn_more", [run(2, 2), run(4, 3), run(3, 5)], False)
    ask("learn_more", [run(3, 2), run(3, 5)], False)
    ask("learn_more", [run(6, 2), run(6, 5)], None, "", "more hops for R = 5")
    # What learned less than the last stage there is cannot be helped by further ones.
    ask("learn_more", [run(6, 2), run(5, 5)], False)
    ask("learn_more", [run(3, 2)], None, "", "two fixed loop counts")


def test_blocks_without_loops_are_no_loop_count():
    """They learn more than R = 2, and are of another core."""
    once = run(4, 1, model__core_blocks=8)
    ask("learn_more", [run(1, 1), run(2, 2), once, run(3, 5)], True, "1 2 1 2 2 5 3")


def test_blocks_that_run_once_learn_fewer_hops():
    """R = 4 runs two blocks four times; R = 5 is of other operations."""
    once = functools.partial(run, loops=1, model__core_blocks=8)
    ask("once_fewer", [once(2), run(4, 4), run(2, 5)], True, "1 8 2 4 4")
    ask("once_fewer", [once(4), run(4, 4), run(5, 5)], False)
    ask("once_fewer", [once(5), run(4, 4, **learning(5))], None, "", "longer budget")
    still = once(2, **learning(3))
    ask("once_fewer", [still, run(4, 4)], None, "", "longer budget for R = 1, 8 blocks")
    ask("once_fewer", [run(2, 1), run(4, 4)], None, "", "blocks without loops")


def test_loops_that_learn_fewer_hops_must_have_been_able_to_learn_more():
    """Which loop counts learn more is open while those behind still learn."""
    still = run(3, 5, **learning(4))
    claim = ask("learn_more", [run(3, 2), still], None, "", "longer budget for R = 5.")
    assert "still learning at the end: R = 5" in claim.measured
    # One in the middle may catch up, too.
    ask("learn_more", [run(3, 2), run(2, 3, **learning(3)), run(4, 5)], None)
    # Were those with fewer loops to learn more yet, that would not help the claim.
    claim = ask("learn_more", [run(3, 2, **learning(4)), run(3, 5)], False)
    assert "still learning at the end: R = 2" in claim.measured
    # What is behind for good decides, whatever becomes of those between.
    ask("learn_more", [run(4, 2), run(3, 3, **learning(4)), run(3, 5)], False)


@pytest.mark.parametrize(("able", "holds"), [(1, False), (2, None)])
def test_half_of_the_seeds_must_be_able_to_learn_more(able, holds):
    seeds = [run(2, 5, seed=k, **(learning(3) if k < able else {})) for k in range(3)]
    ask("learn_more", [run(3, 2), *seeds], holds)


def test_an_unfinished_run_may_still_learn():
    late = run(2, 5, until=1_500, **UNFINISHED)
    ask("learn_more", [run(3, 2), late], None, "", "end of 1 run")
    # Of two finished ones the deeper learned less: that will not change.
    ask("learn_more", [run(3, 2), run(2, 3), late], False)


def test_a_group_counts_with_the_median_of_its_seeds():
    lucky = [run(hops, 5, seed=seed) for seed, hops in enumerate((2, 2, 5))]
    assert ask("learn_more", [run(3, 2), *lucky], False).seeds == 1


def test_drawn_loops_learn_most():
    fixed = [run(3, 2), run(4, 5)]
    ask("drawn", [*fixed, drawn(5)], True)
    ask("drawn", [*fixed, drawn(4)], False)
    more = "more hops for R drawn from 2 to 8"
    ask("drawn", [run(6, 5), drawn(6)], None, "", more)
    ask("drawn", fixed, None)
    longer = "a longer budget for R drawn from 2 to 8."
    ask("drawn", [*fixed, drawn(3, **learning(4))], None, "4k", longer)
    others = (run(4, 5, **learning(5)), drawn(3))
    late = run(3, 4, **UNFINISHED)
    # With more updates only: the fixed R that learns most might have caught up.
    short = {"num_steps": 2_000, "until": 2_000}
    more = [run(3, 5, **short, **learning(4)), drawn(4)]
    found = ask("drawn", more, None, "", "a longer budget for R = 5.")
    assert "R = 5: 3 by 2k, R drawn from 2 to 8: 4 by 4k" in found.measured
    ask(
        "drawn", [run(2, 2, **short, **learning(3)), run(3, 5, **short), drawn(4)], True
    )
    ask("drawn", others, False)
    ask("drawn", [*others, late], False)
    ask("drawn", [run(3, 2), late, drawn(5)], None)


def test_the_first_hops_take_most():
    quick = run(8, 5, first=1_600, each=400, hops=8)
    ask("four_hops_long", [quick], True, "4 5 0 2.4k 4k 8")
    ask("four_hops_long", [run(8, 5, first=600, each=400, hops=8)], False)
    # Two hops took long, and so did four; but too few were learned after that.
    few = run(5, 5, first=2_000, hops=8)
    ask("four_hops_long", [few], None, "", "learns 6 hops")


def test_a_stage_that_did_not_end_counts_as_time_after_the_first_hops():
    """Four hops after 1,800 updates, six after 2,200, and no seventh up to 4,000."""
    found = ask("four_hops_long", [run(6, 5, first=1_400, hops=8)], False, "1.8k 4k 6")
    assert "did not end" in found.measured
    # With all stages passed, nothing is known of what came after.
    ask("four_hops_long", [run(6, 5, first=1_400)], True)


def test_most_runs_must_take_most_updates_for_the_first_hops():
    quick, other = (run(6, 5, first=2_400, hops=8, seed=seed) for seed in (0, 1))
    slow = run(6, 5, first=600, each=400, hops=8, seed=2)
    late = run(6, 5, first=600, each=400, hops=8, seed=3, **UNFINISHED)
    ask("four_hops_long", [quick, slow, other], True)
    ask("four_hops_long", [quick, slow], False)
    open_ = ask("four_hops_long", [quick, late], None, "", "end of 1 run")
    assert "seed 3" not in open_.measured
    ask("four_hops_long", [slow, late], False)


def test_fixed_and_drawn_loops_are_judged_apart():
    slow = drawn(6, first=600, each=400, hops=8)
    members = [slow, run(6, 5, first=2_400, hops=8)]
    ask("four_hops_long", members, True)
    ask("four_hops_drawn", members, False)
    ask("four_hops_drawn", members[1:], None, "", "with drawn loops that learns 6 hops")


def test_nothing_deeper_is_answered_with_the_loops_of_training(keep):
    only = run(3, 5)
    for answered, verdict in ((3, (True, "0.00 4")), (4, (False,)), (9, (False,))):
        keep(only, 3, up_to(answered))
        ask("not_at_r", [only], *verdict)


def needs_loops(hops, share):
    """Learned hops need no more than 5 loops, each further one needs two more."""
    return fake_depth.measured(
        lambda k, r: 1.0 if k <= hops else share * (r >= 5 + 2 * (k - hops))
    )


def test_more_loops_answer_more_hops(keep):
    deep = keep(run(3, 5), 3, needs_loops(3, 0.7))
    ask("scaling", [deep], True, "0.70 4 7 0.00 5")
    for measured in (
        needs_loops(3, 0.2),  # Chance is .1: not above it.
        up_to(5),  # Answered without more loops: nothing is gained.
        fake_depth.measured(lambda k, r: 1.0 if k <= 3 else 0.7 * (r == 4)),  # By less.
    ):
        ask("scaling", [keep(deep, 3, measured)], False)
    ask("scaling", [keep(run(3, 4), 3, needs_loops(3, 0.7))], None)
    ask("scaling", [keep(run(2, 5), 2, needs_loops(2, 0.7))], None)
    most = keep(drawn(3), 3, up_to(3))  # To 8, at a mean of 4: no fixed R.
    ask("scaling", [most], None)
    ask("scaling", [keep(deep, 3, needs_loops(3, 0.7)), most], True)


def test_a_tie_of_runs_does_not_hold(keep):
    one = keep(run(3, 5), 3, needs_loops(3, 0.7))
    other = keep(run(3, 5, seed=1), 3, up_to(3))
    assert ask("scaling", [one, other], False).seeds == 2


def test_the_gain_that_is_missing_is_named(keep):
    """A run that learned three hops lacks an analysis, deeper rows, or neither."""
    deep, shallow = run(3, 5), run(2, 5, seed=1)
    ask("scaling", [deep, shallow], None, "", "an analysis of 1 run")
    ask("scaling", [keep(shallow, 2, up_to(2))], None, "", "learns 3 hops")
    every = keep(run(9, 5, hops=9), 9, up_to(9))
    ask("scaling", [every], None, "", "deeper rows of 1 run")


@pytest.mark.parametrize("name", ["not_at_r", "scaling"])
def test_runs_without_a_measurement_are_counted(keep, name):
    known, unknown = keep(run(3, 5), 3, needs_loops(3, 0.7)), run(3, 5, seed=1)
    found = ask(name, [known, unknown], True, "1 2 1")
    assert "1 without an analysis" in found.measured
    assert "runs measured" not in ask(name, [known], True).measured


def slips(early, late, until=3):
    """Shares of rows of learned hops: up to so many loops, and after more of them."""
    return fake_depth.measured(
        lambda k, r: (early if r <= until else late) if k <= 3 else 0.0
    )


def test_few_loops_gain_as_well(keep):
    """It takes a run at the border: two loops say nothing of four."""
    two, four = keep(run(3, 2), 3, up_to(3)), run(3, 4)
    ask("only_many", [two], None, "", "a run with R = 4")
    ask("only_many", [two, keep(four, 3, up_to(3))], True)
    ask("only_many", [keep(four, 3, needs_loops(3, 0.7))], False, "0.70 4 7 0.00 4")
    ask("only_many", [keep(run(3, 5), 3, needs_loops(3, 0.7))], None)


def test_without_loops_nothing_deeper_is_answered(keep):
    once = run(3, 1, model__core_blocks=8)
    ask("without_loops", [keep(once, 3, up_to(3, beyond=0.3))], True, "0.30")
    ask("without_loops", [keep(once, 3, needs_loops(3, 0.7))], False)
    ask("without_loops", [keep(run(3, 2), 3, up_to(3))], None)


def test_few_loops_of_training_lose_by_looping_on(keep):
    few = keep(run(3, 2), 3, slips(1.0, 0.4))
    lost = ask("two_lose", [few], True, "2 1.00 2 0.40 4")
    kept = ask("two_lose", [keep(few, 3, up_to(3))], False)
    assert "lost: R = 2" in lost.measured and "kept: R = 2" in kept.measured
    four = keep(run(3, 4), 3, slips(1.0, 0.4, until=4))
    ask("four_lose", [few, four], True)
    ask("two_lose", [four], None)


def test_a_loss_that_rows_do_not_settle_is_no_contradiction(keep):
    """80 rows: .025 is 1.4 standard errors, so neither 0 nor less than .05 for sure."""
    one = keep(run(3, 2), 3, slips(1.0, 0.97))
    other = keep(run(3, 2, seed=1), 3, slips(1.0, 0.4))
    found = ask("two_lose", [one], None, "", "for 1 open case")
    assert "open: R = 2" in found.measured
    ask("two_lose", [one, other], None)
    ask("two_lose", [one, keep(other, 3, up_to(3))], False)
    ask("two_lose", [keep(one, 3, slips(0.5, 0.475))], None)
    gained = ask("two_lose", [keep(one, 3, slips(0.5, 1.0))], False)
    assert "kept: R = 2" in gained.measured


def matched(keep, beyond):
    """Runs that passed three hops, by (loops, seed), and what they answer beyond."""
    return [
        keep(
            drawn(3, seed=seed) if loops == "drawn" else run(3, loops, seed=seed),
            3,
            up_to(3, beyond=accuracy),
        )
        for (loops, seed), accuracy in beyond.items()
    ]


def test_most_loops_of_training_decide_at_the_same_data(keep):
    few = keep(run(3, 2), 3, up_to(3, beyond=0.1))
    many = keep(run(5, 5), 3, up_to(3, beyond=0.5))
    keep(many, 5, up_to(3, beyond=0.0))  # Later than the same data: not used.
    ask("most_decide", [few, many], True, "3 2 0.100 5 0.500")
    ask("most_decide", [few, keep(many, 3, up_to(3, beyond=0.125))], None, "", "rows")
    ask("most_decide", [few, keep(many, 3, up_to(3, beyond=0.0))], False)
    ask("most_decide", [few], None)


def test_two_hops_in_common_say_nothing_of_how_deep_more_loops_reach(keep):
    few = keep(run(2, 2), 2, up_to(2))
    many = keep(run(5, 5), 2, up_to(2, beyond=0.5))
    ask("most_decide", [few, many], None, "", "a stage of 3 hops")


@pytest.mark.parametrize(
    ("beyond", "expected"),  # of loops, seed 0, and the verdict with its numbers
    [
        ({2: 0.3, 5: 0.0, 8: 0.8}, (False,)),
        ({2: 0.1, 5: 0.9, 8: 0.5}, (False,)),
        # Out of order, but by less than the rows can tell.
        ({2: 0.3, 5: 0.275, 8: 0.8}, (None, "", "more rows")),
        ({2: 0.1, 5: 0.4, 8: 0.8}, (True,)),
        # Fixed and drawn loops of the same most are not compared.
        ({2: 0.1, 8: 0.5, "drawn": 0.45}, (True, "2 0.100 8 0.500 2 8 0.450")),
        # The mean of both would be above that of two loops.
        ({2: 0.3, 8: 0.9, "drawn": 0.0}, (False,)),
    ],
)
def test_loop_counts_between_must_be_in_order_too(keep, beyond, expected):
    members = matched(keep, {(loops, 0): share for loops, share in beyond.items()})
    ask("most_decide", members, *expected)


def test_loop_counts_are_compared_on_one_graph_and_most_graphs_decide(keep):
    beyond = {(2, 0): 0.3, (5, 0): 0.5, (2, 1): 0.6, (5, 1): 0.8}
    assert ask("most_decide", matched(keep, beyond), True, "0.500 0.800").seeds == 2
    ask("most_decide", matched(keep, beyond | {(5, 1): 0.1}), False)
    ask("most_decide", matched(keep, {(2, 0): 0.3, (5, 1): 0.5}), None, "", "two loop")


def test_stages_that_were_learned_before_they_were_trained_are_not_measured(keep):
    skipping = fake_depth.make(passed={2: 1_000, 3: 500, 4: 1_500}, loops=5)
    for hops in (2, 3, 4):
        keep(skipping, hops, up_to(hops))
    assert list(study.judging.stages_of(skipping)) == [2, 4]


def test_two_hops_alone_do_not_extend(keep):
    two = keep(run(2, 5), 2, up_to(2, beyond=0.3))
    ask("two_hops_only", [two], True, "0.30")
    ask("two_hops_only", [keep(two, 2, needs_loops(2, 0.8))], False)
    ask("two_hops_only", [run(2, 5, seed=1)], None)


@pytest.mark.parametrize(
    ("name", "way"),
    [("many_extend", lambda n, **o: run(n, 8, **o)), ("drawn_extend", drawn)],
)
def test_many_hops_extend(keep, name, way):
    deep = keep(way(5), 5, up_to(6))
    assert "8 loops" in ask(name, [deep], True, "1.20").text
    ask(name, [keep(deep, 5, up_to(5))], False)
    ask(name, [keep(way(3, seed=1), 3, up_to(6))], None)
    ask(name, [keep(run(5, 5), 5, up_to(9))], None)
    ask(name, [way(5, seed=2)], None)
    # Nine of eight hops, the most that were asked, are no 1.2 times as many.
    most = keep(way(8, hops=8), 8, up_to(9))
    ask(name, [most], None, "", "deeper rows of 1 run")


@pytest.mark.parametrize(
    # Claim, runs that decide it, what they answer if it holds or fails, a further run
    ("name", "members", "right", "wrong", "late"),
    [
        ("not_at_r", [run(3, 5)], up_to(3), up_to(4), (3, 3)),
        ("scaling", [run(3, 5)], needs_loops(3, 0.7), up_to(3), (3, 6)),
        ("only_many", [run(3, 4)], up_to(3), needs_loops(3, 0.7), (3, 3)),
        ("without_loops", [run(3, 1)], up_to(3), up_to(4), (2, 1)),
        ("two_lose", [run(3, 2)], slips(1.0, 0.4), up_to(3), (3, 2)),
        ("four_lose", [run(3, 4)], slips(1.0, 0.4, 4), up_to(3), (2, 4)),
        ("two_hops_only", [run(2, 5)], up_to(2), up_to(3), (1, 3)),
        ("many_extend", [run(5, 8)], up_to(6), up_to(5), (3, 9)),
    ],
)
def test_an_unfinished_run_may_still_decide(keep, name, members, right, wrong, late):
    learned, loops = late
    open_run = run(learned, loops, seed=1, **UNFINISHED)
    for found, holds in ((right, True), (wrong, False)):
        for member in members:
            keep(member, curriculum.progress(member).learned, found)
        ask(name, members, holds)
        waits = "the end of 1 run" if holds else ""
        ask(name, [*members, open_run], None if holds else False, "", waits)


def test_a_stage_that_an_unfinished_run_passed_will_not_change(keep):
    ask("two_hops_only", [keep(run(3, 3, **UNFINISHED), 2, up_to(2))], True)


def test_a_recurrence_with_an_unfinished_run_is_not_compared(keep):
    members = matched(keep, {(2, 0): 0.5, (5, 0): 0.1})
    late = run(3, 5, seed=1, **UNFINISHED)
    ask("most_decide", [*members, late], None, "", "the end of 1 run")


def test_figures_and_table(keep):
    members = [run(3, 2), run(4, 5), drawn(5)]
    for member, hops in zip(members, (3, 4, 5), strict=True):
        for k in range(2, hops + 1):
            keep(member, k, needs_loops(k, 0.7))
    made = study.figures(members)
    assert list(made) == [
        "updates_to_hops", "accuracy_by_compute", "hops_by_loops", "matched", "ratios",
    ]  # fmt: skip
    assert [panel.get_title() for panel in made["hops_by_loops"].axes[:3]] == [
        f"{name}, seed 0, 40 rows a cell"
        for name in ("R = 2", "R = 5", "R drawn from 2 to 8")
    ]
    title = " ".join(made["hops_by_loops"].texts[0].get_text().split())
    assert title.startswith("Hops answered with the best loops (learned): R = 2: ")
    printed = verdicts.printed(study.table(members))
    assert "R drawn from 2 to 8" in printed and "9 (2.25x)" in printed


def test_no_ratio_is_drawn_where_no_more_hops_were_asked(keep):
    every = keep(run(9, 5, hops=9), 9, up_to(9))
    assert "ratios" not in study.figures([every])
    keep(every, 8, up_to(9))
    (axes,) = study.figures([every])["ratios"].axes
    low, high = axes.get_xlim()
    assert 7 < low < 8 < high < 9


def test_runs_that_learned_nothing_are_drawn_as_far_as_they_go():
    made = study.figures([run(1, 2), run(1, 5)])
    assert list(made) == ["updates_to_hops", "accuracy_by_compute"]
    assert study.table([run(1, 2)]).row_count == 1


def test_analyses_are_of_the_parameters_that_runs_keep():
    kinds = study.ANALYSES["depth"]
    assert kinds[0] == "hop_learned_2-after" and kinds[-1] == "final"
