"""Single evaluations of a lane, made by hand: its row, its pins and its end."""

import numpy as np
import pytest

from rdt_jax.training import curriculum, lanes, phases

GROUPS = ("train", "id", "id[hops=2]")
LOOPS = (1, 2)


@pytest.fixture
def watch(toy):
    """Returns a function to a Watch of two phases that pass at once."""

    def watch(overrides=None, max_pins=None):
        awaited = [
            phases.Phase(event, split, 2, threshold=0.5, chance=0.1, rows=50)
            for event, split in (("memorized", "train"), ("id_generalized", "id"))
        ]
        stages = curriculum.Stages((), (9,), (4,))
        config = toy(overrides or {})
        return lanes.Awaited(config, awaited, stages, GROUPS, LOOPS, max_pins)

    return watch


def measured(accuracy=(0.0, 0.0), at=0, **changed):
    """Measured numbers of one lane; accuracies are those of train and id."""
    ones = np.ones((len(LOOPS), len(GROUPS)), np.float32)
    quantities = {"accuracy": ones * [*accuracy, 0.0], "loss": ones, "kl": ones}
    values = {
        "quantities": quantities, "weight_norm": 3.0, "loss_sum": 6.0,
        "gradient_norm": 0.5, "update_ratio": 0.1, "finite_steps": at,
    }  # fmt: skip
    return values | changed


BROKEN = np.ones((len(LOOPS), len(GROUPS)), np.float32)
BROKEN[1, 2] = np.nan


@pytest.mark.parametrize(
    "changed",
    [
        {"finite_steps": 7},
        {"weight_norm": np.inf},
        {"quantities": {"accuracy": BROKEN * 0, "loss": BROKEN}},
    ],
    ids=["a loss before", "weights", "a loss now"],
)
def test_each_sign_of_a_break_alone_ends_a_lane(watch, changed):
    awaited = watch()
    lane = lanes.new_lane(awaited)
    sound = lanes.observe(awaited, lane, 8, 4, measured(at=8))
    assert sound.lane["final"] is None
    seen = lanes.observe(awaited, lane, 8, 4, measured(at=8, **changed))
    last = changed.get("finite_steps", 8)
    assert seen.lane["final"] == {"state": "failed", "reason": "nan", "step": last}
    assert (seen.row, seen.events, seen.pins) == (None, [], [])


def test_the_batch_loss_is_a_mean_over_the_window(watch):
    awaited = watch()
    lane = lanes.new_lane(awaited)
    for window, expected in ((1, 6.0), (3, 2.0), (4, 1.5)):
        row = lanes.observe(awaited, lane, 8, window, measured(at=8)).row
        assert row["train/batch_loss@2"] == expected
    assert (
        "train/batch_loss@2" not in lanes.observe(awaited, lane, 0, 0, measured()).row
    )


@pytest.mark.parametrize(
    ("overrides", "max_pins"),
    [({}, None), ({"stop_after_phases": False}, None), ({}, 0)],
)
def test_a_lane_ends_with_its_phases_or_its_budget(watch, overrides, max_pins):
    awaited = watch(overrides, max_pins)
    lane, ends = lanes.new_lane(awaited), []
    for at in range(0, 57, 4):
        right = (0.9 if at >= 4 else 0.0, 0.9 if at >= 8 else 0.0)
        seen = lanes.observe(awaited, lane, at, 4, measured(right, at=at))
        lane = seen.lane
        if lane["final"] is not None:
            ends.append((lane["final"], seen.pins[-1]))
    reason, at = ("budget", 56) if overrides else ("phases_passed", 16)
    final = {"state": "done", "reason": reason, "step": at}
    assert ends[0] == (final, ("final", "after", at))


@pytest.mark.parametrize("before", [0, 1, 2, 3])
@pytest.mark.parametrize("max_pins", [None, 0, 1, 2, 3, 4])
def test_pins_of_one_evaluation_count_after_those_before(watch, before, max_pins):
    if max_pins is not None and before > max_pins:
        return
    awaited = watch({"stop_after_phases": False}, max_pins)
    lane = lanes.new_lane(awaited) | {"pins": before}
    seen = lanes.observe(awaited, lane, 8, 4, measured((0.9, 0.9), at=8))
    wanted = [
        (event, side, 8)
        for event in ("memorized", "id_generalized") for side in ("before", "after")
    ]  # fmt: skip
    left = 4 if max_pins is None else min(4, max_pins - before)
    assert seen.pins == wanted[:left]
    assert seen.lane["pins"] == before + left
    told = [
        (event["event"], side, event[side])
        for event in seen.events for side in ("before", "after")
        if event[side] is not None
    ]  # fmt: skip
    assert told == wanted[:left]


def test_a_snapshot_is_kept_at_its_step_whatever_the_budget_of_pins(watch):
    awaited = watch({"snapshot_steps": (8,)}, max_pins=0)
    lane = lanes.new_lane(awaited)
    for at, pins in ((4, []), (8, [lanes.Pin("snapshot", "at", 8)]), (12, [])):
        seen = lanes.observe(awaited, lane, at, 4, measured(at=at))
        assert seen.pins == pins
        assert seen.lane["pins"] == 0
