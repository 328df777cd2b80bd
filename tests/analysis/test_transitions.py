import dataclasses

import numpy as np
import pytest

from rdt_jax.analysis import grokking, transitions
from rdt_jax.analysis.grokking import Bound
from rdt_jax.store import files, records
from tests import fake_runs

TRAIN, ID, OOD = "memorized", "id_generalized", "ood_generalized"


def run(train=20, id=40, ood=None, **options):
    jumps = {"train": train, "id": id, "ood": ood}
    return fake_runs.make(jumps=jumps, loops=2, **options)


def with_accuracy(values, split="ood"):
    """A run whose accuracy on a split is given, every 10 updates."""
    made = run()
    metrics = [
        row | {f"{split}/accuracy@2": value}
        for row, value in zip(made.metrics, values, strict=False)
    ]
    return dataclasses.replace(made, metrics=metrics)


def test_a_delay_is_known_bounded_or_nothing():
    times = grokking.grok_times(run(train=20, id=90))
    assert transitions.delay(times, TRAIN, ID) == Bound(70, False)
    assert transitions.delay(times, ID, TRAIN) == Bound(-70, False)
    assert transitions.delay(times, TRAIN, OOD) == Bound(230 - 40, True)
    assert transitions.delay(times, OOD, TRAIN) is None
    early = grokking.grok_times(run(until=100))
    assert transitions.delay(early, TRAIN, OOD) == Bound(60, True)
    failed = grokking.grok_times(run(until=100, state="failed", reason="nan"))
    assert transitions.delay(failed, TRAIN, OOD) == Bound(190, True)


def test_a_jump_is_as_wide_as_the_resolution():
    found = transitions.rise(run(ood=100), OOD)
    # The median of five evaluations jumps at the third of them: 120.
    assert found == (110, 120, 0.0, 1.0)
    assert (found.width, found.sharpness) == (10, 12)


def test_a_rise_is_measured_between_shares_of_what_was_reached():
    ramp = np.clip((np.arange(24) - 5) / 8, 0, 1)  # 1/8 per evaluation, from 50 on.
    full = transitions.rise(with_accuracy(ramp), OOD)
    # Smoothed by two evaluations: 0.1 is passed at 80 and 0.9 at 150.
    assert (full.begin, full.end) == (70, 150)
    half = transitions.rise(with_accuracy(0.2 + ramp / 2), OOD)
    assert (half.begin, half.end) == (70, 150)
    assert (half.base, half.top) == pytest.approx((0.2, 0.7))
    sudden = transitions.rise(with_accuracy(np.arange(24) >= 12), OOD)
    assert sudden.sharpness > 4 * full.sharpness


def test_what_did_not_rise_has_no_width():
    assert transitions.rise(run(ood=None), OOD) is None
    noise = np.where(np.arange(24) % 2, 0.05, 0.0)
    assert transitions.rise(with_accuracy(noise), OOD) is None
    assert transitions.rise(fake_runs.make(jumps={"train": 20}), OOD) is None


@pytest.fixture
def timed(tmp_path):
    """A run folder in which each evaluation took 2 seconds of updates, and others."""
    made = run(ood=100)
    made = dataclasses.replace(made, folder=fake_runs.write(made, tmp_path))
    for row in made.metrics:
        seconds = {"train_seconds": 2.0} if row["step"] else {}
        timing = {"step": row["step"], "compile_seconds": 50.0} | seconds
        records.append(made.folder / "timing.jsonl", timing)
    files.write_json(made.folder / "environment.json", {"lanes": 1})
    return made


def test_seconds_are_those_of_updates(timed):
    seconds = transitions.training_seconds(timed)
    np.testing.assert_array_equal(seconds, 2 * np.arange(24))
    assert transitions.spent_at(timed, OOD, seconds) == Bound(24, False)
    assert transitions.spent_at(run(), OOD, seconds) == Bound(46, True)


def test_seconds_of_a_pack_or_of_no_record_are_not_known(timed):
    files.write_json(timed.folder / "environment.json", {"lanes": 3})
    assert transitions.training_seconds(timed) is None
    files.write_json(timed.folder / "environment.json", {"lanes": 1})
    (timed.folder / "timing.jsonl").write_text('{"step": 0}\n')
    assert transitions.training_seconds(timed) is None
    assert transitions.training_seconds(run()) is None
