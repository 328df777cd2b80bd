import numpy as np
import pytest
from rich.console import Console

from rdt_jax import config as configs
from tests import fake_depth, fake_runs

CLAIMS = ("accurate", "grows", "grows_more")


@pytest.fixture(scope="module")
def study(root):
    return configs.load_module(root / "experiments/halting/study.py", "study")


@pytest.fixture
def keep(monkeypatch):
    return fake_depth.keep_deepest(monkeypatch)


def run(learned, loops, **options):
    passed = {k: 500 * k for k in range(2, learned + 1)}
    return fake_depth.make(passed=passed, loops=loops, **options)


def rules(kl, both, accuracy=lambda k, r: float(r >= k)):
    return fake_depth.stopped({"kl": kl, "kl_entropy": both}, accuracy)


def judge(study, *members):
    return dict(zip(CLAIMS, study.claims(members), strict=True))


def test_a_rule_that_waits_for_the_answer_is_better(study, keep):
    """Each hop takes a loop; KL stops after two, KL and entropy when it is done."""
    member = run(5, 5)
    keep[member.run_id] = rules(lambda k: 2, lambda k: k)
    found = judge(study, member)
    assert {name: claim.holds for name, claim in found.items()} == {
        "accurate": True, "grows": True, "grows_more": True,
    }  # fmt: skip
    assert "1.00 against 0.25" in found["accurate"].measured
    assert "2.0 on 2 hops, 5.0 on 5" in found["grows"].measured
    assert "3.0 against 0.0" in found["grows_more"].measured


def test_a_run_that_is_gone_leaves_open_what_it_could_turn(study, keep):
    better, worse = (lambda k: 2, lambda k: k), (lambda k: 5, lambda k: 9)
    one, two, three = (run(5, 5, seed=seed) for seed in range(3))
    for member in (one, two, three):
        keep[member.run_id] = rules(*better)
    for claim in judge(study, one, fake_runs.lost(two)).values():
        assert claim.holds is None and "missing: the end of 1 run" in claim.measured
    for claim in judge(study, one, two, fake_runs.lost(three)).values():
        assert claim.holds is True
    keep[one.run_id] = rules(*worse, lambda k, r: float(r < 7))
    for claim in judge(study, one, fake_runs.lost(two)).values():
        assert claim.holds is False  # A tie is no majority.
    del keep[two.run_id]  # Not measured, or its parameters are gone.
    keep[one.run_id] = rules(*better)
    for claim in judge(study, one, two).values():
        assert claim.holds is None and "the measure of 1 run" in claim.measured


def test_a_rule_that_overthinks_is_worse(study, keep):
    member = run(5, 5)
    keep[member.run_id] = rules(lambda k: 5, lambda k: 9, lambda k, r: float(r < 7))
    found = judge(study, member)
    assert (
        found["accurate"].holds is False and "less: R = 5" in found["accurate"].measured
    )
    assert found["grows"].holds is False
    assert found["grows_more"].holds is False


def test_loops_may_grow_less_than_by_kl(study, keep):
    member = run(5, 5)
    keep[member.run_id] = rules(lambda k: 2 * k, lambda k: 3 + k)
    found = judge(study, member)
    assert found["grows"].holds is True
    assert found["grows_more"].holds is False


def test_loops_that_grow_within_their_errors_do_not_count(study, keep):
    member = run(5, 5)
    found = rules(lambda k: 2, lambda k: 4)
    both = found.rule == "kl_entropy"
    loops = found.loops.copy()
    loops[np.ix_(both, np.flatnonzero(found.hops == 5)[:1])] += 1  # Of a single row.
    means = np.stack([loops[:, found.hops == k].mean(1) for k in found.levels], axis=1)
    keep[member.run_id] = found._replace(loops=loops, mean_loops=means)
    judged = judge(study, member)
    assert judged["grows"].holds is False
    assert judged["grows_more"].holds is False


def test_rules_that_answer_alike_decide_nothing(study, keep):
    member = run(5, 5)
    keep[member.run_id] = rules(lambda k: k, lambda k: k + 1)
    found = judge(study, member)["accurate"]
    assert found.holds is None and "beyond 2 standard errors" in found.measured


def test_only_learned_hops_of_looped_runs_are_judged(study, keep):
    nothing, once = run(1, 5), run(3, 1)
    for member in (nothing, once):
        keep[member.run_id] = rules(lambda k: 2, lambda k: k)
    assert all(claim.holds is None for claim in judge(study, nothing, once).values())
    two = run(2, 5)
    keep[two.run_id] = rules(lambda k: 1, lambda k: k)
    found = judge(study, two)
    assert found["accurate"].holds is True
    assert found["grows"].holds is None


def test_figures_and_table(study, keep):
    members = [run(3, 2), run(5, 5)]
    for member in members:
        keep[member.run_id] = rules(lambda k: 2, lambda k: k)
    made = study.figures(members)
    assert list(made) == ["by_hops", "pareto"]
    loops, accuracy = made["by_hops"].axes[1], made["by_hops"].axes[3]
    assert loops.lines[2].get_ydata().tolist() == list(range(2, 10))
    assert accuracy.lines[1].get_ydata().tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    console = Console(width=80)
    with console.capture() as capture:
        console.print(study.table(members))
    assert "5.0 / 1.00" in capture.get()
    other = run(2, 4)
    assert study.figures([other]) == {}
    assert study.table([other]).title.startswith("Hops learned")


def test_a_run_that_still_trains_is_not_judged(study, keep):
    member = run(5, 5, state="running", reason=None)
    keep[member.run_id] = rules(lambda k: 2, lambda k: k)
    assert {claim.holds for claim in judge(study, member).values()} == {None}
