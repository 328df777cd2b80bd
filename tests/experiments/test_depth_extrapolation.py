import itertools

import pytest
from rich.console import Console

from rdt_jax import config as configs
from rdt_jax.analysis import stored
from tests import fake_depth
from tests.fake_depth import DYNAMIC

CLAIMS = (
    "learn_more", "drawn", "four_hops_long", "not_at_r", "scaling", "few_lose",
    "most_decide", "two_hops_only", "many_extend",
)  # fmt: skip


@pytest.fixture(scope="module")
def study(root):
    return configs.load_module(
        root / "experiments/depth_extrapolation/study.py", "study"
    )


@pytest.fixture
def keep(monkeypatch):
    """Lets runs have measurements: `keep(run, hops, depth)` when it passed hops."""
    kept = {}

    def keep(run, hops, found):
        kept[run.run_id, f"hop_learned_{hops}-after-1"] = found

    monkeypatch.setattr(
        stored,
        "of_kind",
        lambda run, kind: [n for r, n in kept if r == run.run_id and n[:-2] == kind],
    )
    monkeypatch.setattr(
        stored, "load", lambda run, what, name: kept.get((run.run_id, name))
    )
    return keep


def run(learned, loops, *, first=1_000, each=200, **options):
    """A run that learns two hops after `first` updates, and more every `each`."""
    passed = {k: first + each * (k - 2) for k in range(2, learned + 1)}
    return fake_depth.make(passed=passed, loops=loops, **options)


def drawn(learned, **options):
    overrides = {key.replace(".", "__"): value for key, value in DYNAMIC.items()}
    return run(learned, 8, **overrides, **options)


UNFINISHED = {"state": "running", "reason": None}


def learning(hops):
    """Options of a run that ends with .7 of the rows of so many hops right."""
    return {"partly": {hops: lambda step: 0.7}}


def judge(study, *members):
    found = dict(zip(CLAIMS, study.claims(members), strict=True))
    assert all(claim.source.startswith("Kohli et al.") for claim in found.values())
    return found


def up_to(hops, before=1.0, beyond=0.0):
    """Rows of up to so many hops are answered, whatever the loops."""
    return fake_depth.measured(lambda k, r: before if k <= hops else beyond)


@pytest.mark.parametrize(
    ("preset", "fixed", "drawn", "seeds"),
    [
        ("smoke", (2,), 3, 1),
        ("cpu", (2, 5), 8, 2),
        ("cpu_long", (2, 4, 8), 8, 3),
        ("paper", tuple(range(1, 9)), 8, 1),
    ],
)
def test_a_sweep_has_fixed_and_drawn_loops(study, root, preset, fixed, drawn, seeds):
    trials = study.sweep(preset)
    base = configs.load(f"{root / study.CONFIG}:{preset}")
    resolved = [configs.override(base, trial) for trial in trials]
    ways = [(c.recurrence.sampling, c.recurrence.num_loops, c.seed) for c in resolved]
    expected = [("fixed", r) for r in fixed] + [("poisson", drawn)]
    assert sorted(ways) == sorted(
        (*way, seed) for way, seed in itertools.product(expected, range(seeds))
    )


def test_without_runs_that_pass_anything_no_claim_is_tested(study, keep):
    found = judge(study, run(1, 2), run(1, 5), drawn(1))
    tested = {
        name: claim.holds for name, claim in found.items() if claim.holds is not None
    }
    # No run got as far as what would tell them apart.
    assert tested == {}
    assert all("missing" in c.measured for c in found.values() if c.holds is None)


def test_more_loops_learn_more(study, keep):
    grows = judge(study, run(2, 2), run(2, 3), run(4, 5))["learn_more"]
    assert grows.holds is True
    assert "R = 2: 2, R = 3: 2, R = 5: 4" in grows.measured
    assert judge(study, run(2, 2), run(4, 3), run(3, 5))["learn_more"].holds is False
    assert judge(study, run(3, 2), run(3, 5))["learn_more"].holds is False
    assert "within 4k updates" in grows.measured
    both_end = judge(study, run(6, 2), run(6, 5))["learn_more"]
    assert both_end.holds is None and "more hops for R = 5" in both_end.measured
    # What learned less than the last stage there is cannot be helped by further ones.
    assert judge(study, run(6, 2), run(5, 5))["learn_more"].holds is False
    alone = judge(study, run(3, 2))["learn_more"]
    assert alone.holds is None and "two fixed loop counts" in alone.measured


def test_loops_that_learn_fewer_hops_must_have_been_able_to_learn_more(study, keep):
    """Which loop counts learn more is open while those behind still learn."""
    found = judge(study, run(3, 2), run(3, 5, **learning(4)))["learn_more"]
    assert found.holds is None
    assert "still learning at the end: R = 5" in found.measured
    assert "missing: a longer budget for R = 5." in found.measured
    # One in the middle may catch up, too.
    members = (run(3, 2), run(2, 3, **learning(3)), run(4, 5))
    assert judge(study, *members)["learn_more"].holds is None
    # Were those with fewer loops to learn more yet, that would not help the claim.
    found = judge(study, run(3, 2, **learning(4)), run(3, 5))["learn_more"]
    assert found.holds is False and "still learning at the end: R = 2" in found.measured
    # What is behind for good decides, whatever becomes of those between.
    members = (run(4, 2), run(3, 3, **learning(4)), run(3, 5))
    assert judge(study, *members)["learn_more"].holds is False


def test_half_of_the_seeds_must_be_able_to_learn_more(study, keep):
    others = [run(2, 5), run(2, 5, seed=1)]
    one = judge(study, run(3, 2), *others, run(2, 5, seed=2, **learning(3)))
    assert one["learn_more"].holds is False
    others[1] = run(2, 5, seed=1, **learning(3))
    two = judge(study, run(3, 2), *others, run(2, 5, seed=2, **learning(3)))
    assert two["learn_more"].holds is None


def test_an_unfinished_run_may_still_learn(study, keep):
    late = run(2, 5, until=1_500, **UNFINISHED)
    found = judge(study, run(3, 2), late)
    assert found["learn_more"].holds is None
    assert "the end of 1 run" in found["learn_more"].measured
    # Of two finished ones the deeper learned less: that will not change.
    found = judge(study, run(3, 2), run(2, 3), late)
    assert found["learn_more"].holds is False


def test_a_group_counts_with_the_median_of_its_seeds(study, keep):
    lucky = [run(hops, 5, seed=seed) for seed, hops in enumerate((2, 2, 5))]
    found = judge(study, run(3, 2), *lucky)["learn_more"]
    assert found.holds is False
    assert found.seeds == 1


def test_drawn_loops_learn_most(study, keep):
    assert judge(study, run(3, 2), run(4, 5), drawn(5))["drawn"].holds is True
    assert judge(study, run(3, 2), run(4, 5), drawn(4))["drawn"].holds is False
    tied = judge(study, run(6, 5), drawn(6))["drawn"]
    assert tied.holds is None and "more hops for R drawn from 2 to 8" in tied.measured
    assert judge(study, run(3, 2), run(4, 5))["drawn"].holds is None
    slow = judge(study, run(3, 2), run(4, 5), drawn(3, **learning(4)))["drawn"]
    assert slow.holds is None and "within 4k updates" in slow.measured
    assert "a longer budget for R drawn from 2 to 8." in slow.measured
    others = (run(4, 5, **learning(5)), drawn(3))
    assert judge(study, *others)["drawn"].holds is False
    late = run(3, 4, **UNFINISHED)
    assert judge(study, *others, late)["drawn"].holds is False
    assert judge(study, run(3, 2), late, drawn(5))["drawn"].holds is None


def test_the_first_hops_take_most(study, keep):
    quick = run(8, 5, first=1_600, each=400, hops=8)
    found = judge(study, quick)["four_hops_long"]
    assert found.holds is True
    assert "updates to 4 hops: R = 5 (seed 0) 2.4k of 4k for 8 hops." in found.measured
    slow = run(8, 5, first=600, each=400, hops=8)
    assert judge(study, slow)["four_hops_long"].holds is False
    # Two hops took long, and so did four; but too few were learned after that.
    few = judge(study, run(5, 5, first=2_000, hops=8))["four_hops_long"]
    assert few.holds is None and "a run that learns 6 hops" in few.measured


def test_a_stage_that_did_not_end_counts_as_time_after_the_first_hops(study, keep):
    """Four hops after 1,800 updates, six after 2,200, and no seventh up to 4,000."""
    found = judge(study, run(6, 5, first=1_400, hops=8))["four_hops_long"]
    assert found.holds is False
    assert "1.8k of 4k for 6 hops and a stage that did not end" in found.measured
    # With all stages passed, nothing is known of what came after.
    assert judge(study, run(6, 5, first=1_400))["four_hops_long"].holds is True


def test_most_runs_must_take_most_updates_for_the_first_hops(study, keep):
    quick, other = (run(6, 5, first=2_400, hops=8, seed=seed) for seed in (0, 1))
    slow = run(6, 5, first=600, each=400, hops=8, seed=2)
    late = run(6, 5, first=600, each=400, hops=8, seed=3, **UNFINISHED)
    assert judge(study, quick, slow, other)["four_hops_long"].holds is True
    assert judge(study, quick, slow)["four_hops_long"].holds is False
    open_ = judge(study, quick, late)["four_hops_long"]
    assert open_.holds is None and "the end of 1 run" in open_.measured
    assert "seed 3" not in open_.measured
    assert judge(study, slow, late)["four_hops_long"].holds is False


def test_nothing_deeper_is_answered_with_the_loops_of_training(study, keep):
    only = run(3, 5)
    keep(only, 3, up_to(3))
    found = judge(study, only)["not_at_r"]
    assert found.holds is True and "0.00 on 4 hops" in found.measured
    keep(only, 3, up_to(4))
    assert judge(study, only)["not_at_r"].holds is False
    every = run(3, 5)
    keep(every, 3, up_to(9))
    assert judge(study, every)["not_at_r"].holds is False


def needs_loops(hops, share):
    """Learned hops need no more than 5 loops, each further one needs two more."""
    return fake_depth.measured(
        lambda k, r: 1.0 if k <= hops else share * (r >= 5 + 2 * (k - hops))
    )


def test_more_loops_answer_more_hops(study, keep):
    deep = run(3, 5)
    keep(deep, 3, needs_loops(3, 0.7))
    found = judge(study, deep)["scaling"]
    assert found.holds is True
    assert "0.70 on 4 hops after 7 loops, 0.00 after 5" in found.measured
    keep(deep, 3, needs_loops(3, 0.2))  # Chance is .1: not above it.
    assert judge(study, deep)["scaling"].holds is False
    keep(deep, 3, up_to(5))  # Answered without more loops: nothing is gained.
    assert judge(study, deep)["scaling"].holds is False
    fewer = fake_depth.measured(lambda k, r: 1.0 if k <= 3 else 0.7 * (r == 4))
    keep(deep, 3, fewer)  # Gained by less loops than in training.
    assert judge(study, deep)["scaling"].holds is False
    shallow = run(3, 4)
    keep(shallow, 3, needs_loops(3, 0.7))
    assert judge(study, shallow)["scaling"].holds is None
    two = run(2, 5)
    keep(two, 2, needs_loops(2, 0.7))
    assert judge(study, two)["scaling"].holds is None
    most = drawn(3)  # To 8, at a mean of 4: no fixed R.
    keep(most, 3, up_to(3))
    keep(deep, 3, needs_loops(3, 0.7))
    assert judge(study, most)["scaling"].holds is None
    assert judge(study, deep, most)["scaling"].holds is True


def test_a_tie_of_runs_does_not_hold(study, keep):
    one, other = run(3, 5), run(3, 5, seed=1)
    keep(one, 3, needs_loops(3, 0.7))
    keep(other, 3, up_to(3))
    found = judge(study, one, other)["scaling"]
    assert found.holds is False and found.seeds == 2


def test_the_gain_that_is_missing_is_named(study, keep):
    """A run that learned three hops lacks an analysis, deeper rows, or neither."""
    deep, shallow = run(3, 5), run(2, 5, seed=1)
    unknown = judge(study, deep, shallow)["scaling"]
    assert unknown.holds is None and "an analysis of 1 run" in unknown.measured
    keep(shallow, 2, up_to(2))
    none = judge(study, shallow)["scaling"]
    assert none.holds is None and "learns 3 hops" in none.measured
    every = run(9, 5, hops=9)
    keep(every, 9, up_to(9))
    last = judge(study, every)["scaling"]
    assert last.holds is None and "missing: deeper rows of 1 run." in last.measured


def test_runs_without_a_measurement_are_counted(study, keep):
    known, unknown = run(3, 5), run(3, 5, seed=1)
    keep(known, 3, needs_loops(3, 0.7))
    found = judge(study, known, unknown)
    for name in ("not_at_r", "scaling"):
        assert found[name].holds is True
        assert "; 1 of 2 runs measured (1 without an analysis)" in found[name].measured
        assert "runs measured" not in judge(study, known)[name].measured


def slips(early, late):
    """Shares of rows of learned hops: up to three loops, and after more of them."""
    return fake_depth.measured(
        lambda k, r: (early if r <= 3 else late) if k <= 3 else 0.0
    )


def test_few_loops_of_training_lose_by_looping_on(study, keep):
    few = run(3, 2)
    keep(few, 3, slips(1.0, 0.4))
    found = judge(study, few)["few_lose"]
    assert found.holds is True
    assert "lost: R = 2 (seed 0) 1.00 after 2 loops, 0.40 after 4" in found.measured
    keep(few, 3, up_to(3))
    kept = judge(study, few)["few_lose"]
    assert kept.holds is False and "kept: R = 2 (seed 0)" in kept.measured
    many = run(3, 5)
    keep(many, 3, slips(1.0, 0.4))
    assert judge(study, many)["few_lose"].holds is None


def test_a_loss_that_rows_do_not_settle_is_no_contradiction(study, keep):
    """80 rows: .1 is three standard errors, more than 0 and less than .05 in no way."""
    one, other = run(3, 2), run(3, 2, seed=1)
    keep(one, 3, slips(1.0, 0.9))
    found = judge(study, one)["few_lose"]
    assert found.holds is None
    assert "open: R = 2 (seed 0)" in found.measured
    assert "missing: more rows of 1 run." in found.measured
    keep(other, 3, slips(1.0, 0.4))
    assert judge(study, one, other)["few_lose"].holds is None
    keep(other, 3, up_to(3))
    assert judge(study, one, other)["few_lose"].holds is False
    # A small loss on rows of which a few are right at first is not seen, either.
    keep(one, 3, slips(0.5, 0.475))
    assert "open: R = 2 (seed 0)" in judge(study, one)["few_lose"].measured
    keep(one, 3, slips(0.5, 1.0))
    gained = judge(study, one)["few_lose"]
    assert gained.holds is False and "kept: R = 2 (seed 0)" in gained.measured


def matched(keep, beyond):
    """Runs that passed three hops, by (loops, seed), and what they answer beyond."""
    members = []
    for (loops, seed), accuracy in beyond.items():
        member = drawn(3, seed=seed) if loops == "drawn" else run(3, loops, seed=seed)
        keep(member, 3, up_to(3, beyond=accuracy))
        members.append(member)
    return members


def test_most_loops_of_training_decide_at_the_same_data(study, keep):
    few, many = run(3, 2), run(5, 5)
    keep(few, 3, up_to(3, beyond=0.1))
    keep(many, 3, up_to(3, beyond=0.5))
    keep(many, 5, up_to(3, beyond=0.0))  # Later than the same data: not used.
    found = judge(study, few, many)["most_decide"]
    assert found.holds is True
    assert "on all hops beyond 3: R = 2: 0.100, R = 5: 0.500" in found.measured
    keep(few, 3, up_to(3, beyond=0.5))
    keep(many, 3, up_to(3, beyond=0.1))
    assert judge(study, few, many)["most_decide"].holds is False
    keep(many, 3, up_to(3, beyond=0.5))
    tied = judge(study, few, many)["most_decide"]
    assert tied.holds is None and "a difference beyond" in tied.measured
    assert judge(study, few)["most_decide"].holds is None


def test_loop_counts_between_must_be_in_order_too(study, keep):
    low = matched(keep, {(2, 0): 0.3, (5, 0): 0.0, (8, 0): 0.8})
    assert judge(study, *low)["most_decide"].holds is False
    high = matched(keep, {(2, 0): 0.1, (5, 0): 0.9, (8, 0): 0.5})
    assert judge(study, *high)["most_decide"].holds is False
    # Out of order, but by less than the rows can tell.
    near = matched(keep, {(2, 0): 0.3, (5, 0): 0.25, (8, 0): 0.8})
    found = judge(study, *near)["most_decide"]
    assert found.holds is None and "an order of the loop counts" in found.measured
    even = matched(keep, {(2, 0): 0.1, (5, 0): 0.4, (8, 0): 0.8})
    assert judge(study, *even)["most_decide"].holds is True


def test_fixed_and_drawn_loops_of_the_same_most_are_seen_apart(study, keep):
    agree = matched(keep, {(2, 0): 0.1, (8, 0): 0.5, ("drawn", 0): 0.45})
    found = judge(study, *agree)["most_decide"]
    assert found.holds is True
    assert "R = 8: 0.500, R drawn from 2 to 8: 0.450" in found.measured
    # The mean of both would be above that of two loops.
    apart = matched(keep, {(2, 0): 0.3, (8, 0): 0.9, ("drawn", 0): 0.0})
    assert judge(study, *apart)["most_decide"].holds is False


def test_loop_counts_are_compared_by_the_median_of_their_seeds(study, keep):
    lucky = {(5, 0): 0.1, (5, 1): 0.1, (5, 2): 1.0}
    members = matched(keep, {(2, 0): 0.3, **lucky})
    found = judge(study, *members)["most_decide"]
    assert found.holds is False and "R = 5: 0.100" in found.measured


def test_stages_that_were_learned_before_they_were_trained_are_not_measured(
    study, keep
):
    skipping = fake_depth.make(passed={2: 1_000, 3: 500, 4: 1_500}, loops=5)
    for hops in (2, 3, 4):
        keep(skipping, hops, up_to(hops))
    assert list(study.judging.stages_of(skipping)) == [2, 4]


def test_two_hops_alone_do_not_extend(study, keep):
    two = run(2, 5)
    keep(two, 2, up_to(2, beyond=0.3))
    found = judge(study, two)["two_hops_only"]
    assert found.holds is True and "0.30" in found.measured
    keep(two, 2, needs_loops(2, 0.8))
    assert judge(study, two)["two_hops_only"].holds is False
    assert judge(study, run(2, 5, seed=1))["two_hops_only"].holds is None


def test_many_hops_extend(study, keep):
    deep = drawn(5)
    keep(deep, 5, up_to(6))
    found = judge(study, deep)["many_extend"]
    assert found.holds is True and "1.20" in found.measured
    assert found.text.startswith("Models with 8 loops of training or more")
    keep(deep, 5, up_to(5))
    assert judge(study, deep)["many_extend"].holds is False
    few = drawn(3, seed=1)
    keep(few, 3, up_to(6))
    assert judge(study, few)["many_extend"].holds is None
    assert judge(study, run(5, 5))["many_extend"].holds is None
    # Nine of eight hops, the most that were asked, are no 1.2 times as many.
    most = drawn(8, hops=8)
    keep(most, 8, up_to(9))
    found = judge(study, most)["many_extend"]
    assert found.holds is None and "deeper rows of 1 run" in found.measured


def holding(keep):
    """Finished runs for which all claims about measurements hold."""
    few, some, many = run(3, 2), run(5, 5), drawn(5)
    keep(few, 2, up_to(2))
    keep(few, 3, slips(1.0, 0.4))
    keep(some, 5, needs_loops(5, 0.6))
    later = lambda k, r: 1.0 if k <= 5 else 0.95 * (r >= 8 + 2 * (k - 5))
    keep(many, 5, fake_depth.measured(later))
    return few, some, many


def failing(keep):
    """Finished runs that decide against all of these claims."""
    few, some, many, other = run(3, 2), run(5, 5), drawn(5), drawn(5, seed=1)
    keep(few, 2, up_to(3))
    keep(few, 3, up_to(4))
    keep(some, 5, up_to(5, beyond=0.9))
    keep(many, 5, up_to(5))
    keep(other, 5, up_to(5))
    return few, some, many, other


# Claims about measurements -> a run that may yet decide them, when it gets further.
PENDING = {
    "not_at_r": (3, 3),
    "scaling": (3, 6),
    "few_lose": (3, 3),
    "most_decide": (3, 3),
    "two_hops_only": (1, 3),
    "many_extend": (3, 9),
}


@pytest.mark.parametrize("name", PENDING)
def test_an_unfinished_run_may_still_decide(study, keep, name):
    members = holding(keep)
    learned, loops = PENDING[name]
    late = run(learned, loops, **UNFINISHED)
    assert judge(study, *members)[name].holds is True
    found = judge(study, *members, late)[name]
    assert found.holds is None and "the end of 1 run" in found.measured


@pytest.mark.parametrize("name", PENDING)
def test_what_finished_runs_decide_against_waits_for_none(study, keep, name):
    members = failing(keep)
    learned, loops = PENDING[name]
    late = run(learned, loops, **UNFINISHED)
    assert judge(study, *members)[name].holds is False
    assert judge(study, *members, late)[name].holds is False


def test_a_stage_that_an_unfinished_run_passed_will_not_change(study, keep):
    late = run(3, 3, **UNFINISHED)
    keep(late, 2, up_to(2))
    assert judge(study, late)["two_hops_only"].holds is True


def test_a_recurrence_with_an_unfinished_run_is_not_compared(study, keep):
    members = matched(keep, {(2, 0): 0.5, (5, 0): 0.1})
    late = run(3, 5, seed=1, **UNFINISHED)
    found = judge(study, *members, late)["most_decide"]
    assert found.holds is None and "the end of 1 run" in found.measured


def test_figures_and_table(study, keep):
    members = [run(3, 2), run(4, 5), drawn(5)]
    for member, hops in zip(members, (3, 4, 5), strict=True):
        for k in range(2, hops + 1):
            keep(member, k, needs_loops(k, 0.7))
    made = study.figures(members)
    assert list(made) == [
        "updates_to_hops", "accuracy_by_compute", "hops_by_loops", "matched", "ratios",
    ]  # fmt: skip
    titles = [panel.get_title() for panel in made["hops_by_loops"].axes]
    assert titles[:3] == [
        "R = 2, seed 0", "R = 5, seed 0", "R drawn from 2 to 8, seed 0",
    ]  # fmt: skip
    console = Console(width=80)
    with console.capture() as capture:
        console.print(study.table(members))
    assert "R drawn from 2 to 8" in capture.get() and "9 (2.25x)" in capture.get()


def test_no_ratio_is_drawn_where_no_more_hops_were_asked(study, keep):
    every = run(9, 5, hops=9)
    keep(every, 9, up_to(9))
    assert "ratios" not in study.figures([every])
    keep(every, 8, up_to(9))
    (axes,) = study.figures([every])["ratios"].axes
    low, high = axes.get_xlim()
    assert 7 < low < 8 < high < 9


def test_runs_that_learned_nothing_are_drawn_as_far_as_they_go(study, keep):
    made = study.figures([run(1, 2), run(1, 5)])
    assert list(made) == ["updates_to_hops", "accuracy_by_compute"]
    assert study.table([run(1, 2)]).row_count == 1


def test_analyses_are_of_the_parameters_that_runs_keep(study):
    kinds = study.ANALYSES["depth"]
    assert kinds[0] == "hop_learned_2-after" and kinds[-1] == "final"
