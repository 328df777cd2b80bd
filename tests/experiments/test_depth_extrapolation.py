import itertools

import pytest
from rich.console import Console

from rdt_jax import config as configs
from rdt_jax.analysis import stored
from rdt_jax.training import loop
from tests import fake_depth
from tests.fake_depth import DYNAMIC

CLAIMS = (
    "learn_more", "drawn", "two_hops_long", "not_at_r", "scaling", "few_lose",
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
        ("cpu_long", (2, 4, 6, 8), 8, 3),
        ("paper", tuple(range(1, 9)), 8, 1),
        ("paper_code", tuple(range(1, 9)), 8, 1),
    ],
)
def test_every_trial_is_a_run_of_its_own(study, root, preset, fixed, drawn, seeds):
    trials = study.sweep(preset)
    base = configs.load(f"{root / study.CONFIG}:{preset}")
    resolved = [configs.override(base, trial) for trial in trials]
    assert len({configs.run_id(c) for c in resolved}) == len(trials)
    ways = [(c.recurrence.sampling, c.recurrence.num_loops, c.seed) for c in resolved]
    expected = [("fixed", r) for r in fixed] + [("poisson", drawn)]
    assert sorted(ways) == sorted(
        (*way, seed) for way, seed in itertools.product(expected, range(seeds))
    )
    if preset == "smoke":
        for config in resolved:
            loop.check(config)


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
    both_end = judge(study, run(6, 2), run(6, 5))["learn_more"]
    assert both_end.holds is None and "more hops" in both_end.measured
    alone = judge(study, run(3, 2))["learn_more"]
    assert alone.holds is None and "two fixed loop counts" in alone.measured


def test_an_unfinished_run_may_still_learn(study, keep):
    late = run(2, 5, until=1_500, state="running", reason=None)
    found = judge(study, run(3, 2), late)
    assert found["learn_more"].holds is None
    assert "the end of 1 runs" in found["learn_more"].measured


def test_a_group_counts_with_the_median_of_its_seeds(study, keep):
    lucky = [run(hops, 5, seed=seed) for seed, hops in enumerate((2, 2, 5))]
    found = judge(study, run(3, 2), *lucky)["learn_more"]
    assert found.holds is False
    assert found.seeds == 1


def test_drawn_loops_learn_most(study, keep):
    assert judge(study, run(3, 2), run(4, 5), drawn(5))["drawn"].holds is True
    assert judge(study, run(3, 2), run(4, 5), drawn(4))["drawn"].holds is False
    tied = judge(study, run(6, 5), drawn(6))["drawn"]
    assert tied.holds is None and "the last stage was passed by both" in tied.measured
    assert judge(study, run(3, 2), run(4, 5))["drawn"].holds is None


def test_two_hops_take_most(study, keep):
    quick = judge(study, run(4, 5, first=1_000, each=200))["two_hops_long"]
    assert quick.holds is True
    assert "1k of 1.4k for 4 hops" in quick.measured
    slow = run(4, 5, first=600, each=400)
    assert judge(study, slow)["two_hops_long"].holds is False
    assert judge(study, run(3, 5))["two_hops_long"].holds is None


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


def test_a_tie_of_runs_does_not_hold(study, keep):
    one, other = run(3, 5), run(3, 5, seed=1)
    keep(one, 3, needs_loops(3, 0.7))
    keep(other, 3, up_to(3))
    found = judge(study, one, other)["scaling"]
    assert found.holds is False and found.seeds == 2


def test_few_loops_of_training_lose_by_looping_on(study, keep):
    few = run(3, 2)
    keep(few, 3, fake_depth.measured(lambda k, r: 1.0 if r <= 3 else 0.4))
    found = judge(study, few)["few_lose"]
    assert found.holds is True
    assert "1.00 after 2 loops, 0.40 after 4" in found.measured
    keep(few, 3, up_to(3))
    assert judge(study, few)["few_lose"].holds is False
    many = run(3, 5)
    keep(many, 3, fake_depth.measured(lambda k, r: 1.0 if r <= 5 else 0.4))
    assert judge(study, many)["few_lose"].holds is None


def test_most_loops_of_training_decide_at_the_same_data(study, keep):
    few, many = run(3, 2), run(5, 5)
    keep(few, 3, up_to(3, beyond=0.1))
    keep(many, 3, up_to(3, beyond=0.5))
    keep(many, 5, up_to(3, beyond=0.0))  # Later than the same data: not used.
    found = judge(study, few, many)["most_decide"]
    assert found.holds is True
    assert "beyond 3, by the most loops of training: 2 loops 0.100" in found.measured
    keep(few, 3, up_to(3, beyond=0.5))
    keep(many, 3, up_to(3, beyond=0.1))
    assert judge(study, few, many)["most_decide"].holds is False
    keep(many, 3, up_to(3, beyond=0.5))
    tied = judge(study, few, many)["most_decide"]
    assert tied.holds is None and "a difference beyond" in tied.measured
    assert judge(study, few)["most_decide"].holds is None


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
    keep(deep, 5, up_to(5))
    assert judge(study, deep)["many_extend"].holds is False
    few = drawn(3, seed=1)
    keep(few, 3, up_to(6))
    assert judge(study, few)["many_extend"].holds is None
    assert judge(study, run(5, 5))["many_extend"].holds is None


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


def test_runs_that_learned_nothing_are_drawn_as_far_as_they_go(study, keep):
    made = study.figures([run(1, 2), run(1, 5)])
    assert list(made) == ["updates_to_hops", "accuracy_by_compute"]
    assert study.table([run(1, 2)]).row_count == 1


def test_analyses_are_of_the_parameters_that_runs_keep(study):
    kinds = study.ANALYSES["depth"]
    assert kinds[0] == "hop_learned_2-after" and kinds[-1] == "final"
