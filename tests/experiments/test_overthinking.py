import numpy as np
import pytest

from experiments.overthinking import study
from rdt_jax.analysis import depth
from tests import fake_depth, fake_runs
from tests.experiments import verdicts
from tests.fake_depth import drawn, run

APART = ("declines", "peaks_later")  # These judge each run by itself.

ask = verdicts.asked(
    study.claims,
    ("declines", "drawn_declines", "drawn_less", "peaks_later", "drawn_peaks"),
)
RISING = fake_depth.measured(lambda k, r: 1.0, lambda k, r: 0.1 * r)


def hill(slope, later=1, noise=0.0):
    """A margin that peaks at 8 after so many loops per hop, and falls by `slope`.

    Args:
      slope: of the fall, or a function of the hops.
      later: loops per hop until the peak.
      noise: standard deviation over rows of the slope, as a share of it.
    """
    of = slope if callable(slope) else lambda k: slope
    found = fake_depth.measured(
        lambda k, r: float(r >= later * k),
        lambda k, r: 8.0 - (2.0 if r < later * k else of(k)) * abs(r - later * k),
    )
    factor = 1 + noise * np.random.default_rng(0).normal(size=(found.hops.size, 1))
    falls = found.loops >= later * found.hops[:, None]
    margin = np.where(falls, 8.0 - factor * (8.0 - found.margin), found.margin)
    return depth.assemble(
        margin=margin.astype(np.float32),
        **{k: getattr(found, k) for k in ("row", "hops", "correct", "change", "flops")},
    )


def test_a_margin_that_falls_from_its_peak(keep):
    ask("declines", [keep(run(4, 5), hill(0.2))], True, "3 3 2 3 4")
    right, wrong = lambda k, r: 1.0, lambda k, r: 0.0
    for measured in (
        hill(0.0),
        # It falls without ever having been right, or a peak that it rose to.
        fake_depth.measured(wrong, lambda k, r: -1.0 - 0.1 * r),
        fake_depth.measured(right, lambda k, r: 8.0 - 0.1 * r),
    ):
        ask("declines", [keep(run(4, 5), measured)], False)


def test_a_run_that_is_gone_leaves_open_what_it_could_turn(keep):
    one, two, three = (keep(run(5, 5, seed=seed), hill(0.2)) for seed in range(3))
    for name in APART:
        ask(name, [one, fake_runs.lost(two)], None, "", "the end of 1 run")
        ask(name, [one, two, fake_runs.lost(three)], True)
    keep(one, hill(0.0))
    ask("declines", [one, fake_runs.lost(two)], False)
    pair = [keep(run(5, 5), hill(0.4)), keep(drawn(6), hill(0.1))]
    ask("drawn_less", pair, True)
    larger = fake_runs.lost(run(5, 7))  # It would be the reference.
    ask("drawn_less", [*pair, larger], None, "", "the end of 1 run")


@pytest.mark.parametrize(
    ("slope", "noise", "expected"),
    [
        (0.015, 0.0, (False, "0 3")),  # .33 of 8 from loop 2 on, however sure.
        (0.03, 0.0, (True,)),
        (0.03, 5.0, (None, "", "1 open case")),  # It is as large, but for the rows.
    ],
)
def test_a_decline_is_no_tiny_one_and_beyond_noise(keep, slope, noise, expected):
    ask("declines", [keep(run(4, 5), hill(slope, noise=noise))], *expected)


@pytest.mark.parametrize("how", [{}, {"state": "running", "reason": None}])
def test_nothing_is_judged_of_runs_that_learned_nothing_or_still_train(keep, how):
    member = keep(run(5 if how else 1, 5, **how), hill(0.2))
    assert {claim.holds for claim in study.claims([member])} == {None}


def test_a_peak_at_the_last_loop_is_open(keep):
    member = keep(run(5, 5), RISING)
    for name in APART:
        ask(name, [member], None, "", "more rows or loops for 1 open case")
    falling = [keep(run(5, 5, seed=seed), hill(0.2)) for seed in (1, 2)]
    ask("declines", [member, *falling], True)


def test_few_loops_are_listed_and_not_judged(keep):
    few = keep(run(5, 4), hill(0.2))
    for name in APART:
        found = ask(name, [few], None, "", "a run with R > 4")
        assert "not judged: R = 4" in found.measured
    many = [keep(run(5, 5, seed=seed), hill(0.0)) for seed in (0, 1)]
    ask("declines", [few, *many], False)


def test_drawn_loops_are_judged_if_they_learned_six_hops(keep):
    ask("drawn_declines", [keep(drawn(6), hill(0.2))], True)
    ask("drawn_peaks", [keep(drawn(6), hill(0.2))], True)
    ask("drawn_declines", [keep(drawn(6), hill(0.0))], False)
    short = keep(drawn(5), hill(0.2))
    for name in ("drawn_declines", "drawn_peaks"):
        ask(name, [short], None, "", "learns 6 hops")
    ask("drawn_less", [keep(run(5, 5), hill(0.4)), short], None)


def test_drawn_loops_decline_less(keep):
    shallow = keep(run(6, 2), hill(0.0))  # Not the largest fixed R.
    deep, random = keep(run(6, 5), hill(0.3)), keep(drawn(6), hill(0.1))
    ask("drawn_less", [shallow, deep, random], True, "5 0 0 2 6 0.25 0.75")
    for slope in (0.4, 0.3, 0.29):  # More, as much, and hardly less.
        ask("drawn_less", [shallow, deep, keep(random, hill(slope))], False)
    ask("drawn_less", [shallow, deep], None)


def test_where_nothing_declines_nothing_declines_less(keep):
    members = [keep(run(6, 5), hill(0.0)), keep(drawn(6), RISING)]
    ask("drawn_less", members, None, "", "a decline")
    keep(members[1], hill(0.1))
    ask("drawn_less", members, False)


def test_drawn_and_fixed_loops_are_compared_on_hops_that_both_learned(keep):
    """Two hops fall alike; drawn loops learned more, and these fall the least."""
    deep = keep(run(2, 5), hill(0.1))
    random = keep(drawn(6), hill(lambda hops: 0.1 if hops == 2 else 0.0))
    ask("drawn_less", [deep, random], False, "0 2 0.28 0.28 0.00")
    keep(random, hill(lambda hops: 0.02 if hops == 2 else 0.4))
    ask("drawn_less", [deep, random], True)


def test_noise_over_rows_does_not_make_drawn_loops_better(keep):
    deep, random = keep(run(6, 5), hill(0.2, noise=4.0)), keep(drawn(6), hill(0.1))
    ask("drawn_less", [deep, random], None, "", "rows to tell, in 1 pair")
    ask("drawn_less", [keep(deep, hill(0.2, noise=0.2)), random], True)


def test_drawn_and_fixed_loops_are_compared_pair_by_pair(keep):
    slopes = {run: (0.1, 0.2, 0.3), drawn: (0.05, 0.15, 0.35)}
    members = [
        keep(run(6, 5, seed=seed) if make is run else drawn(6, seed=seed), hill(slope))
        for make, falls in slopes.items()
        for seed, slope in enumerate(falls)
    ]
    ask("drawn_less", members, True)  # 2 of 3
    keep(members[4], hill(0.25))
    ask("drawn_less", members, False)
    missing = "of one graph and seed"
    ask("drawn_less", [members[0], members[4]], None, "", missing)
    elsewhere = keep(drawn(6, task__seed=1), hill(0.05))
    ask("drawn_less", [members[0], elsewhere], None, "", missing)


def test_peaks_come_later_for_more_hops(keep):
    member = keep(run(5, 5), hill(0.2))
    ask("peaks_later", [member], True, "2 3 4 5")
    ask("peaks_later", [keep(member, hill(0.2, later=0))], False)
    short = keep(run(4, 5), hill(0.2))
    ask("peaks_later", [short], None, "", "that learns 5 hops")


@pytest.mark.parametrize(
    ("loops", "holds"),  # at which hops 2 to 5 have their peaks
    [
        ((3, 5, 2, 4), False),  # Rank correlation 0
        ((2, 5, 3, 4), None),  # .4
        ((3, 2, 4, 5), True),  # .8
        ((5, 3, 4, 2), False),
    ],
)
def test_an_order_that_is_hardly_one_decides_nothing(keep, loops, holds):
    at = dict(zip(range(2, 6), loops, strict=True))
    measured = fake_depth.measured(
        lambda k, r: float(r >= at.get(k, 6)), lambda k, r: 8.0 - abs(r - at.get(k, 6))
    )
    ask("peaks_later", [keep(run(5, 5), measured)], holds)


def test_figures_and_table(keep):
    members = [keep(run(3, 2), hill(0.2)), keep(run(4, 5), hill(0.2))]
    made = study.figures(members)
    assert list(made) == ["margins", "changes"]
    lines = made["margins"].axes[1].lines
    learned = [line for line in lines if line.get_linewidth() > 1.5]
    assert len(learned) == 2  # of the five drawn, 2 and 4 hops
    np.testing.assert_allclose(learned[0].get_ydata()[:3], [6.0, 8.0, 7.8])
    assert "4.4 +- 0.0" in verdicts.printed(study.table(members))
    other = run(2, 4)
    assert study.figures([other]) == {}
    assert study.table([other]).title.startswith("Hops learned")
