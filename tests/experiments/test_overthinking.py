import numpy as np
import pytest

from experiments.overthinking import study
from rdt_jax.analysis import depth
from tests import fake_depth, fake_runs
from tests.experiments import verdicts
from tests.fake_depth import drawn, run

APART = ("declines", "peaks_later", "hit_later")  # These judge each run by itself.

ask = verdicts.asked(study.claims, ("declines", "drawn_less", *APART[1:]))


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
    pair = [keep(run(5, 5), hill(0.4)), keep(drawn(5), hill(0.1))]
    ask("drawn_less", pair, True)
    larger = fake_runs.lost(run(5, 7))  # It would be the reference.
    ask("drawn_less", [*pair, larger], None, "", "the end of 1 run")


@pytest.mark.parametrize(
    ("slope", "noise", "expected"),
    [
        (0.015, 0.0, (False, "0 3")),  # .33 of 8 from loop 2 on, however sure.
        (0.03, 0.0, (True,)),
        (0.03, 5.0, (False,)),  # It is as large, but for the rows.
    ],
)
def test_a_decline_is_no_tiny_one_and_beyond_noise(keep, slope, noise, expected):
    ask("declines", [keep(run(4, 5), hill(slope, noise=noise))], *expected)


@pytest.mark.parametrize("how", [{}, {"state": "running", "reason": None}])
def test_nothing_is_judged_of_runs_that_learned_nothing_or_still_train(keep, how):
    member = keep(run(5 if how else 1, 5, **how), hill(0.2))
    assert {claim.holds for claim in study.claims([member])} == {None}


def test_drawn_loops_decline_less(keep):
    shallow = keep(run(4, 2), hill(0.0))  # Not the largest fixed R.
    deep, random = keep(run(4, 5), hill(0.3)), keep(drawn(4), hill(0.1))
    ask("drawn_less", [shallow, deep, random], True, "2 8 0 2 4 0.26 0.79")
    for slope in (0.4, 0.3, 0.29):  # More, as much, and hardly less.
        ask("drawn_less", [shallow, deep, keep(random, hill(slope))], False)
    ask("drawn_less", [shallow, deep], None)


def test_drawn_and_fixed_loops_are_compared_on_hops_that_both_learned(keep):
    """Two hops fall alike; fixed loops learned more, and these fall the most."""
    deep = keep(run(5, 5), hill(lambda hops: 0.1 if hops == 2 else 0.4))
    random = keep(drawn(2), hill(0.1))
    ask("drawn_less", [deep, random], False, "0 2 0.28 0.28 0.00")
    keep(random, hill(lambda hops: 0.02 if hops == 2 else 0.4))
    ask("drawn_less", [deep, random], True)


def test_noise_over_rows_does_not_make_drawn_loops_better(keep):
    deep, random = keep(run(3, 5), hill(0.2, noise=2.0)), keep(drawn(3), hill(0.1))
    found = ask("drawn_less", [deep, random], None)
    assert "less than 3 errors apart" in found.measured
    ask("drawn_less", [keep(deep, hill(0.2, noise=0.2)), random], True)


def test_drawn_and_fixed_loops_are_compared_seed_by_seed(keep):
    slopes = {run: (0.1, 0.2, 0.3), drawn: (0.05, 0.15, 0.35)}
    members = [
        keep(run(3, 5, seed=seed) if make is run else drawn(3, seed=seed), hill(slope))
        for make, falls in slopes.items()
        for seed, slope in enumerate(falls)
    ]
    ask("drawn_less", members, True)  # 2 of 3
    keep(members[4], hill(0.25))
    ask("drawn_less", members, False)
    missing = "that share seed and hops"
    ask("drawn_less", [members[0], members[4]], None, "", missing)


def test_every_way_to_draw_loops_must_decline_less(keep):
    """One that declines more is not hidden by one that declines less."""
    deep, slow = keep(run(3, 5), hill(0.2)), keep(drawn(3), hill(0.1))
    fast = drawn(3, recurrence__max_loops=6)
    ask("drawn_less", [deep, slow, keep(fast, hill(0.3))], False)
    ask("drawn_less", [deep, slow], True)
    ask("drawn_less", [deep, slow, keep(fast, hill(0.15))], True)
    alone = drawn(3, seed=1, recurrence__max_loops=6)  # Without a run to compare with.
    ask("drawn_less", [deep, slow, keep(alone, hill(0.1))], None)


def test_peaks_and_first_hits_come_later_for_more_hops(keep):
    member = keep(run(5, 5), hill(0.2))
    ask("peaks_later", [member], True)
    ask("hit_later", [member], True, "2.0 3.0 4.0 5.0")
    keep(member, hill(0.2, later=0))
    ask("peaks_later", [member], False)
    ask("hit_later", [member], False)
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
    for name in ("peaks_later", "hit_later"):
        ask(name, [keep(run(5, 5), measured)], holds)


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
