import numpy as np

from rdt_jax.analysis import bands
from tests import fake_runs


def runs(count, until=None, **options):
    return [
        fake_runs.make(
            jumps={"train": 20, "ood": 50 + 10 * seed},
            seed=seed,
            until=until,
            **options,
        )
        for seed in range(count)
    ]


def spread(band):
    """The number of evaluations at which the band has a height."""
    return int((band.high > band.low).sum())


def test_a_band_is_of_all_runs_or_of_the_middle_half_of_many():
    few, many = bands.of(runs(5), "ood"), bands.of(runs(8), "ood")
    assert few.steps[np.argmax(few.median > 0.5)] == 70  # of the third of five
    assert spread(few) == 4  # from the first jump to the last
    assert spread(many) < 7
    assert "25 to 75 %" in bands.said(8) and "lowest to highest" in bands.said(5)


def test_a_band_ends_with_its_first_run_and_not_with_one_that_broke():
    short, long = runs(1, until=100)[0], runs(2)[1]
    band = bands.of([short, long], "ood")
    assert band.steps[-1] == 100
    (rest,) = band.rest
    assert (rest.steps[0], rest.steps[-1]) == (100, fake_runs.BUDGET)
    (broken,) = runs(1, until=60, state="failed", reason="nan")
    assert bands.of([broken, long], "ood").steps[-1] == fake_runs.BUDGET
    assert bands.of(runs(1, until=-1, state="pending"), "ood") is None
