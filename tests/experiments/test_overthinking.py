import numpy as np
import pytest
from rich.console import Console

from rdt_jax import config as configs
from rdt_jax.analysis import depth
from tests import fake_depth, fake_runs
from tests.fake_depth import DYNAMIC

CLAIMS = ("declines", "drawn_less", "peaks_later", "hit_later")


@pytest.fixture(scope="module")
def study(root):
    return configs.load_module(root / "experiments/overthinking/study.py", "study")


@pytest.fixture
def keep(monkeypatch):
    return fake_depth.keep_deepest(monkeypatch)


def run(learned, loops, **options):
    passed = {k: 500 * k for k in range(2, learned + 1)}
    return fake_depth.make(passed=passed, loops=loops, **options)


def drawn(learned, **options):
    dynamic = {k.replace(".", "__"): v for k, v in DYNAMIC.items()}
    return run(learned, 8, **dynamic | options)


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


def judge(study, *members):
    return dict(zip(CLAIMS, study.claims(members), strict=True))


def test_a_margin_that_falls_from_its_peak(study, keep):
    member = run(4, 5)
    keep[member.run_id] = hill(0.2)
    found = judge(study, member)["declines"]
    assert found.holds is True
    assert "falls for 3 of 3 numbers of hops, peaks at loop 2, 3, 4" in found.measured
    keep[member.run_id] = hill(0.0)
    assert judge(study, member)["declines"].holds is False
    keep[member.run_id] = fake_depth.measured(
        lambda k, r: 0.0, lambda k, r: -1.0 - 0.1 * r
    )  # It falls without ever having been right.
    assert judge(study, member)["declines"].holds is False


def test_a_run_that_is_gone_leaves_open_what_it_could_turn(study, keep):
    one, two, three = (run(5, 5, seed=seed) for seed in range(3))
    for member in (one, two, three):
        keep[member.run_id] = hill(0.2)
    apart = ("declines", "peaks_later", "hit_later")
    found = judge(study, one, fake_runs.lost(two))
    for name in apart:
        assert found[name].holds is None, name
        assert "missing: the end of 1 run" in found[name].measured
    found = judge(study, one, two, fake_runs.lost(three))
    assert [found[name].holds for name in apart] == [True, True, True]
    keep[one.run_id] = hill(0.0)
    assert judge(study, one, fake_runs.lost(two))["declines"].holds is False
    pair = (run(5, 5), drawn(5))
    keep.update({pair[0].run_id: hill(0.4), pair[1].run_id: hill(0.1)})
    assert judge(study, *pair)["drawn_less"].holds is True
    larger = fake_runs.lost(run(5, 7))  # It would be the reference.
    found = judge(study, *pair, larger)["drawn_less"]
    assert found.holds is None and "the end of 1 run" in found.measured


def test_a_decline_is_no_tiny_one_however_sure_it_is(study, keep):
    member = run(4, 5)
    keep[member.run_id] = hill(0.015)  # .33 of 8 from loop 2 on, without any noise.
    claim = judge(study, member)["declines"]
    assert claim.holds is False and "falls for 0 of 3" in claim.measured
    keep[member.run_id] = hill(0.03)
    assert judge(study, member)["declines"].holds is True
    keep[member.run_id] = hill(0.03, noise=5.0)  # It is as large, but for the rows.
    assert judge(study, member)["declines"].holds is False


def test_a_margin_that_only_falls_has_no_peak_that_it_rose_to(study, keep):
    member = run(4, 5)
    keep[member.run_id] = fake_depth.measured(
        lambda k, r: 1.0, lambda k, r: 8.0 - 0.1 * r
    )
    assert judge(study, member)["declines"].holds is False


def test_nothing_is_judged_of_runs_that_learned_nothing(study, keep):
    member = run(1, 5)
    keep[member.run_id] = hill(0.2)
    assert all(claim.holds is None for claim in judge(study, member).values())


def test_drawn_loops_decline_less(study, keep):
    shallow, deep, random = run(4, 2), run(4, 5), drawn(4)
    keep[shallow.run_id] = hill(0.0)  # Not the largest fixed R.
    keep[deep.run_id] = hill(0.3)
    keep[random.run_id] = hill(0.1)
    found = judge(study, shallow, deep, random)["drawn_less"]
    assert found.holds is True
    assert "R drawn from 2 to 8, seed 0, 2 to 4 hops: 0.26 and 0.79" in found.measured
    for slope in (0.4, 0.3, 0.29):  # More, as much, and hardly less.
        keep[random.run_id] = hill(slope)
        assert judge(study, shallow, deep, random)["drawn_less"].holds is False
    assert judge(study, shallow, deep)["drawn_less"].holds is None


def test_drawn_and_fixed_loops_are_compared_on_hops_that_both_learned(study, keep):
    """Two hops fall alike; fixed loops learned more, and these fall the most."""
    deep, random = run(5, 5), drawn(2)
    keep[deep.run_id] = hill(lambda hops: 0.1 if hops == 2 else 0.4)
    keep[random.run_id] = hill(0.1)
    found = judge(study, deep, random)["drawn_less"]
    assert found.holds is False
    assert "seed 0, 2 hops: 0.28 and 0.28, apart 0.00" in found.measured
    keep[random.run_id] = hill(lambda hops: 0.02 if hops == 2 else 0.4)
    assert judge(study, deep, random)["drawn_less"].holds is True


def test_noise_over_rows_does_not_make_drawn_loops_better(study, keep):
    deep, random = run(3, 5), drawn(3)
    keep[random.run_id] = hill(0.1)
    keep[deep.run_id] = hill(0.2, noise=2.0)
    found = judge(study, deep, random)["drawn_less"]
    assert found.holds is None and "less than 3 errors apart" in found.measured
    keep[deep.run_id] = hill(0.2, noise=0.2)
    assert judge(study, deep, random)["drawn_less"].holds is True


def test_drawn_and_fixed_loops_are_compared_seed_by_seed(study, keep):
    members = [run(3, 5, seed=seed) for seed in range(3)]
    members += [drawn(3, seed=seed) for seed in range(3)]
    slopes = (0.1, 0.2, 0.3, 0.05, 0.15, 0.35)
    for member, slope in zip(members, slopes, strict=True):
        keep[member.run_id] = hill(slope)
    assert judge(study, *members)["drawn_less"].holds is True  # 2 of 3
    keep[members[4].run_id] = hill(0.25)
    assert judge(study, *members)["drawn_less"].holds is False
    other = [members[0], members[4]]
    found = judge(study, *other)["drawn_less"]
    assert found.holds is None and "that share seed and hops" in found.measured


def test_every_way_to_draw_loops_must_decline_less(study, keep):
    """One that declines more is not hidden by one that declines less."""
    deep, slow, fast = run(3, 5), drawn(3), drawn(3, recurrence__max_loops=6)
    keep[deep.run_id] = hill(0.2)
    keep[slow.run_id] = hill(0.1)
    keep[fast.run_id] = hill(0.3)
    assert judge(study, deep, slow, fast)["drawn_less"].holds is False
    assert judge(study, deep, slow)["drawn_less"].holds is True
    keep[fast.run_id] = hill(0.15)
    assert judge(study, deep, slow, fast)["drawn_less"].holds is True
    alone = drawn(3, seed=1, recurrence__max_loops=6)  # Without a run to compare with.
    keep[alone.run_id] = hill(0.1)
    assert judge(study, deep, slow, alone)["drawn_less"].holds is None


def test_peaks_and_first_hits_come_later_for_more_hops(study, keep):
    member = run(5, 5)
    keep[member.run_id] = hill(0.2)
    found = judge(study, member)
    assert found["peaks_later"].holds is True
    assert found["hit_later"].holds is True
    assert "2.0, 3.0, 4.0, 5.0" in found["hit_later"].measured
    keep[member.run_id] = hill(0.2, later=0)
    found = judge(study, member)
    assert found["peaks_later"].holds is False
    assert found["hit_later"].holds is False
    short = run(4, 5)
    keep[short.run_id] = hill(0.2)
    found = judge(study, short)["peaks_later"]
    assert found.holds is None and "that learns 5 hops" in found.measured


def test_an_order_that_is_hardly_one_decides_nothing(study, keep):
    """Hops 2 to 5 have their peaks at loops of another order."""
    member = run(5, 5)
    for loops, holds in (
        ((3, 5, 2, 4), False),  # Rank correlation 0
        ((2, 5, 3, 4), None),  # .4
        ((3, 2, 4, 5), True),  # .8
        ((5, 3, 4, 2), False),
    ):
        at = dict(zip(range(2, 6), loops, strict=True))
        keep[member.run_id] = fake_depth.measured(
            lambda k, r, at=at: float(r >= at.get(k, 6)),
            lambda k, r, at=at: 8.0 - abs(r - at.get(k, 6)),
        )
        found = judge(study, member)
        assert found["peaks_later"].holds is holds, loops
        assert found["hit_later"].holds is holds, loops


def test_figures_and_table(study, keep):
    members = [run(3, 2), run(4, 5)]
    for member in members:
        keep[member.run_id] = hill(0.2)
    made = study.figures(members)
    assert list(made) == ["margins", "changes"]
    lines = made["margins"].axes[1].lines
    learned = [line for line in lines if line.get_linewidth() > 1.5]
    assert len(learned) == 2  # of the five drawn, 2 and 4 hops
    np.testing.assert_allclose(learned[0].get_ydata()[:3], [6.0, 8.0, 7.8])
    console = Console(width=80)
    with console.capture() as capture:
        console.print(study.table(members))
    assert "4.4 +- 0.0" in capture.get()
    other = run(2, 4)
    assert study.figures([other]) == {}
    assert study.table([other]).title.startswith("Hops learned")


def test_a_run_that_still_trains_is_not_judged(study, keep):
    member = run(5, 5, state="running", reason=None)
    keep[member.run_id] = hill(0.2)
    assert {claim.holds for claim in judge(study, member).values()} == {None}
