import numpy as np
import pytest

from experiments.halting import drawing, study
from tests import fake_depth, fake_runs
from tests.experiments import verdicts
from tests.experiments.verdicts import texts
from tests.fake_depth import drawn, run

CLAIMS = ("beyond", "learned", "grows_more")  # each of R > 4, and of drawn loops

ask = verdicts.asked(
    study.claims, [f"{part}{name}" for name in CLAIMS for part in ("", "drawn_")]
)


def rules(kl, both, accuracy=lambda k, r: float(r >= k)):
    return fake_depth.stopped({"kl_now": kl, "kl_entropy": both}, accuracy)


# Each hop takes a loop; KL stops after two, KL and entropy when it is done, or later.
BETTER = (lambda k: 2, lambda k: k)
WORSE = (lambda k: 5, lambda k: 9, lambda k, r: float(r < 7))


@pytest.mark.parametrize("way", ["", "drawn_"])
def test_a_rule_that_waits_for_the_answer_is_better(keep, way):
    """On learned hops, on deeper ones, and up to the last that is answered."""
    found = rules(*BETTER, lambda k, r: float(k <= 8 and r >= k))
    member = keep(drawn(6) if way else run(6, 5), found)
    ask(f"{way}learned", [member], True, "1.00 0.20")
    ask(f"{way}beyond", [member], True, "0.67 0.00")
    ask(f"{way}grows_more", [member], True, "6.0 0.0 8")


def test_few_loops_and_drawn_ones_of_few_hops_are_not_judged(keep):
    few, short = keep(run(5, 4), rules(*BETTER)), keep(drawn(5), rules(*BETTER))
    for name in CLAIMS:
        found = ask(name, [few, short], None, "", "a run with R > 4")
        assert "not judged: R = 4" in found.measured
        ask(f"drawn_{name}", [few, short], None, "", "learns 6 hops")


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
    assert "not more" in found.measured


def test_loops_may_grow_less_than_by_kl(keep):
    member = keep(run(5, 5), rules(lambda k: 2 * k, lambda k: 3 + k))
    ask("grows_more", [member], False)


@pytest.mark.parametrize(("rows", "holds"), [(1, False), (18, None), (30, True)])
def test_loops_that_grow_within_their_errors_do_not_count(keep, rows, holds):
    """So many of 40 rows take one loop more: .5 are asked for, beyond the errors."""
    found = rules(lambda k: 2, lambda k: 4)
    both = found.rule == "kl_entropy"
    loops = found.loops.copy()
    loops[np.ix_(both, np.flatnonzero(found.hops == 9)[:rows])] += 1
    means = np.stack([loops[:, found.hops == k].mean(1) for k in found.levels], axis=1)
    member = keep(run(5, 5), found._replace(loops=loops, mean_loops=means))
    waits = "" if holds is not None else "more rows or loops for 1 open case"
    ask("grows_more", [member], holds, "", waits)


def test_rules_that_answer_alike_are_no_better(keep):
    member = keep(run(5, 5), rules(lambda k: k, lambda k: k + 1))
    ask("learned", [member], False)
    ask("beyond", [member], False)


@pytest.mark.parametrize(("share", "holds"), [(0.975, None), (0.9, True)])
def test_a_small_difference_of_accuracy_is_open(keep, share, holds):
    """40 rows: one that KL misses is one error, four are two."""
    right = lambda k, r: share if r == 1 else 1.0
    member = keep(run(2, 5), rules(lambda k: 1, lambda k: 2, right))
    ask("learned", [member], holds)


def test_only_learned_hops_of_looped_runs_that_are_over_are_judged(keep):
    training = run(5, 5, state="running", reason=None)
    for members in ((run(1, 5), run(3, 1)), (training,)):
        kept = [keep(member, rules(*BETTER)) for member in members]
        assert {claim.holds for claim in study.claims(kept)} == {None}
    two = keep(run(2, 5), rules(lambda k: 1, lambda k: k))
    ask("learned", [two], True, "1.00 0.00")


MEASURED = rules(*BETTER)


def test_loops_stand_above_accuracy():
    runs = [run(4, 5), fake_depth.make(passed={}, loops=5, seed=1)]
    figure = drawing.by_hops(
        runs, [(run, hops, MEASURED) for run, hops in zip(runs, (4, None), strict=True)]
    )
    loops, other, accuracy, _ = figure.axes
    drawn = [list(line.get_ydata())[:2] for line in loops.lines[:3]]
    assert drawn == [[5, 5], [2, 2], [2, 3]]
    assert list(accuracy.lines[2].get_ydata()) == [1.0] * 8
    for panel, hops in ((loops, 4), (accuracy, 4), (other, 2)):
        assert [line.get_xdata()[0] for line in panel.lines[3:]] == [hops]
    assert loops.lines[3].get_linestyle() != other.lines[3].get_linestyle()
    assert texts(figure.legends[0]) == [
        "same for all rows", "KL", "KL and entropy", "hops learned", "hops trained",
    ]  # fmt: skip


def pareto(rules, accuracy):
    """Draws settings that cost 1, 2, 3 million and answer such shares of ten rows."""
    shares = np.array(accuracy)
    found = MEASURED._replace(
        rule=np.array(rules),
        threshold=np.ones(len(rules)),
        hops=np.full(10, 2),
        levels=np.array([2]),
        flops=1e6 * np.arange(1, 4)[:, None],
        correct=np.arange(10) < np.round(10 * shares)[:, None],
    )
    member = run(2, 5)
    return drawing.pareto([member], [(member, 2, found)])


def test_the_front_goes_through_its_settings():
    figure = pareto(["fixed", "kl", "fixed"], [0.2, 0.9, 0.8])
    front, fixed, kl = figure.axes[0].lines
    assert list(front.get_ydata()) == [0.2, 0.9]
    assert list(fixed.get_ydata()) == [0.2, 0.8]
    assert list(kl.get_xdata()) == [2e6]
    assert figure.axes[0].get_xscale() == "log"


def test_accuracies_near_1_have_room_and_rules_are_explained():
    figure = pareto(["fixed", "state", "confidence"], [0.0, 0.9, 1.0])
    figure.draw_without_rendering()
    (panel,) = figure.axes
    place = lambda value: panel.transData.transform((1e6, value))[1]
    low, high = (panel.transAxes.transform((0, at))[1] for at in (0, 1))
    assert low < place(0) < place(0.9) < place(1) < high
    assert 0.25 < (place(1) - place(0.9)) / (high - low) < 0.5
    labels = [label.get_text() for label in panel.get_yticklabels()]
    assert labels == ["0", "0.5", "0.8", "0.9", "0.95", "0.99", "1"]
    notes = " ".join(texts(figure))
    assert "by state once the state at its answers hardly moves" in notes
    assert "by confidence once one answer is probable" in notes
    assert "KL" not in notes


def test_the_study_says_what_was_trained_and_whose_run_is_drawn(keep):
    """Where a stage was passed no more hops had been trained than were learned."""
    members = [keep(run(2 + s, 5, seed=s), MEASURED) for s in range(3)]
    made = study.figures(members)
    loops = made["by_hops"].axes[0]
    assert [line.get_xdata()[0] for line in loops.lines[3:]] == [3]
    labels = texts(made["by_hops"].legends[0])
    assert labels[-1] == "hops learned"
    for figure in made.values():
        notes = " ".join(texts(figure))
        assert "the median run of 3 seeds by hops learned." in notes
    notes = " ".join(texts(study.figures(members[:2])["pareto"]))
    assert "2 seeds by hops learned, of the middle two the higher." in notes
    alone = study.figures(members[:1])["by_hops"]
    assert "One seed." in texts(alone)
    none = keep(fake_depth.make(passed={}, loops=5), MEASURED)
    loops = study.figures([none])["by_hops"].axes[0]
    assert [line.get_xdata()[0] for line in loops.lines[3:]] == [2]


def test_the_table_and_what_stands_for_it_where_nothing_was_measured(keep):
    members = [keep(run(3, 2), MEASURED), keep(run(5, 5), MEASURED)]
    made = study.figures(members)
    assert list(made) == ["by_hops", "pareto"]
    deeper = MEASURED.levels > 5
    shares = [MEASURED.accuracy[k][deeper].mean() for k in drawing.published(MEASURED)]
    said = ", ".join(f"{share:.2f}" for share in shares)
    assert " ".join(texts(made["by_hops"])[:2]).endswith(f"5: {said}")
    assert "5.0 / 1.00" in verdicts.printed(study.table(members))
    other = run(2, 4)
    assert study.figures([other]) == {}
    assert study.table([other]).title.startswith("Hops learned")
