import numpy as np
import pytest

from experiments.halting import study
from tests import fake_depth, fake_runs
from tests.experiments import verdicts
from tests.fake_depth import run

CLAIMS = ("accurate", "grows", "grows_more")

ask = verdicts.asked(study.claims, CLAIMS)


def rules(kl, both, accuracy=lambda k, r: float(r >= k)):
    return fake_depth.stopped({"kl": kl, "kl_entropy": both}, accuracy)


# Each hop takes a loop; KL stops after two, KL and entropy when it is done, or later.
BETTER = (lambda k: 2, lambda k: k)
WORSE = (lambda k: 5, lambda k: 9, lambda k, r: float(r < 7))


def test_a_rule_that_waits_for_the_answer_is_better(keep):
    member = keep(run(5, 5), rules(*BETTER))
    ask("accurate", [member], True, "1.00 0.25")
    ask("grows", [member], True, "2.0 2 5.0 5")
    ask("grows_more", [member], True, "3.0 0.0")


@pytest.mark.parametrize("name", CLAIMS)
def test_a_run_that_is_gone_leaves_open_what_it_could_turn(keep, name):
    one, two, three = (keep(run(5, 5, seed=s), rules(*BETTER)) for s in range(3))
    ask(name, [one, fake_runs.lost(two)], None, "", "the end of 1 run")
    ask(name, [one, two, fake_runs.lost(three)], True)
    keep(two, None)  # Not measured, or its parameters are gone.
    ask(name, [one, two], None, "", "the measure of 1 run")
    keep(one, rules(*WORSE))
    ask(name, [one, fake_runs.lost(two)], False)  # A tie is no majority.


@pytest.mark.parametrize("name", CLAIMS)
def test_a_rule_that_overthinks_is_worse(keep, name):
    found = ask(name, [keep(run(5, 5), rules(*WORSE))], False)
    assert name != "accurate" or "less: R = 5" in found.measured


def test_loops_may_grow_less_than_by_kl(keep):
    member = keep(run(5, 5), rules(lambda k: 2 * k, lambda k: 3 + k))
    ask("grows", [member], True)
    ask("grows_more", [member], False)


def test_loops_that_grow_within_their_errors_do_not_count(keep):
    found = rules(lambda k: 2, lambda k: 4)
    both = found.rule == "kl_entropy"
    loops = found.loops.copy()
    loops[np.ix_(both, np.flatnonzero(found.hops == 5)[:1])] += 1  # Of a single row.
    means = np.stack([loops[:, found.hops == k].mean(1) for k in found.levels], axis=1)
    member = keep(run(5, 5), found._replace(loops=loops, mean_loops=means))
    ask("grows", [member], False)
    ask("grows_more", [member], False)


def test_rules_that_answer_alike_decide_nothing(keep):
    member = keep(run(5, 5), rules(lambda k: k, lambda k: k + 1))
    ask("accurate", [member], None, "", "beyond 2 standard errors")


def test_only_learned_hops_of_looped_runs_that_are_over_are_judged(keep):
    training = run(5, 5, state="running", reason=None)
    for members in ((run(1, 5), run(3, 1)), (training,)):
        kept = [keep(member, rules(*BETTER)) for member in members]
        assert {claim.holds for claim in study.claims(kept)} == {None}
    two = keep(run(2, 5), rules(lambda k: 1, lambda k: k))
    ask("accurate", [two], True)
    ask("grows", [two], None)


def test_figures_and_table(keep):
    members = [keep(run(3, 2), rules(*BETTER)), keep(run(5, 5), rules(*BETTER))]
    made = study.figures(members)
    assert list(made) == ["by_hops", "pareto"]
    loops, accuracy = made["by_hops"].axes[1], made["by_hops"].axes[3]
    assert loops.lines[2].get_ydata().tolist() == list(range(2, 10))
    assert accuracy.lines[1].get_ydata().tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert "5.0 / 1.00" in verdicts.printed(study.table(members))
    other = run(2, 4)
    assert study.figures([other]) == {}
    assert study.table([other]).title.startswith("Hops learned")
