import numpy as np
import pytest
from rich.console import Console

from rdt_jax import config as configs
from rdt_jax.analysis import stored
from tests import fake_depth
from tests.fake_depth import DYNAMIC

CLAIMS = ("declines", "drawn_less", "peaks_later", "hit_later")


@pytest.fixture(scope="module")
def study(root):
    return configs.load_module(root / "experiments/overthinking/study.py", "study")


@pytest.fixture
def keep(monkeypatch):
    kept = {}
    monkeypatch.setattr(
        stored,
        "load",
        lambda run, what, name: kept.get(run.run_id) if name == "final" else None,
    )
    return kept


def run(learned, loops, **options):
    passed = {k: 500 * k for k in range(2, learned + 1)}
    return fake_depth.make(passed=passed, loops=loops, **options)


def drawn(learned):
    return run(learned, 8, **{k.replace(".", "__"): v for k, v in DYNAMIC.items()})


def hill(slope, later=1):
    """A margin that peaks at 8 after so many loops per hop, and falls by `slope`."""
    return fake_depth.measured(
        lambda k, r: float(r >= later * k),
        lambda k, r: 8.0 - (2.0 if r < later * k else slope) * abs(r - later * k),
    )


def judge(study, *members):
    return dict(zip(CLAIMS, study.claims(members), strict=True))


def test_the_runs_are_those_of_depth_extrapolation(study, root):
    path = root / "experiments/depth_extrapolation/study.py"
    other = configs.load_module(path, "study")
    assert study.CONFIG == other.CONFIG
    assert study.sweep("cpu") == other.sweep("cpu")


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
    assert "R = 5: 0.79, R drawn from 2 to 8: 0.26" in found.measured
    keep[random.run_id] = hill(0.4)
    assert judge(study, shallow, deep, random)["drawn_less"].holds is False
    assert judge(study, shallow, deep)["drawn_less"].holds is None


def test_peaks_and_first_hits_come_later_for_more_hops(study, keep):
    member = run(4, 5)
    keep[member.run_id] = hill(0.2)
    found = judge(study, member)
    assert found["peaks_later"].holds is True
    assert found["hit_later"].holds is True
    assert "2.0, 3.0, 4.0" in found["hit_later"].measured
    keep[member.run_id] = hill(0.2, later=0)
    found = judge(study, member)
    assert found["peaks_later"].holds is False
    assert found["hit_later"].holds is False
    short = run(3, 5)
    keep[short.run_id] = hill(0.2)
    assert judge(study, short)["peaks_later"].holds is None


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
