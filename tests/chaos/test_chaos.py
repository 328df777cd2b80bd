"""Killed at any moment and trained on, a pack ends as one that was left alone.

A few kills and damages of each test run, at moments drawn anew every time; `make chaos`
does hundreds. The runs are subprocesses without the test session's JAX settings.
"""

import random
import time

import pytest

from tests.chaos import damage, harness

SEED = time.time_ns() % 10**6
FLIPS = 20
QUICK = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # Halves compile time.


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A pack in which one lane breaks, one ends early and one spends its budget."""
    folder = tmp_path_factory.mktemp("chaos")
    return harness.leave_alone("pack", folder, "alone", QUICK)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kinds",
    [
        ("twice",),  # The second time while it recovers.
        pytest.param(
            ("saving", "appending", "time", None), marks=pytest.mark.exhaustive
        ),
    ],
)
def test_kills_leave_no_trace(alone, tmp_path, kinds):
    """None stands for one of the other kinds of moments."""
    chance = random.Random(SEED)
    others = sorted(
        set(harness.kinds(alone)) - {"saving", "appending", "twice", "time"}
    )
    for kind in (kind or chance.choice(others) for kind in kinds):
        outcome = harness.kill_once(alone, chance, kind, tmp_path / kind)
        assert outcome.difference is None, f"Seed {SEED}: {outcome.difference}"
        # A process with all programs compiled; the first had to compile them.
        alone = alone._replace(lasted=min(alone.lasted, outcome.lasted))


@pytest.mark.slow
def test_a_lane_of_each_end(alone):
    ends = harness.ends(alone)
    assert sorted(ends) == ["budget", "nan", "phases_passed"]
    assert ends["nan"] < ends["phases_passed"] < ends["budget"]


@pytest.mark.slow
def test_every_kind_of_moment_is_seen(alone):
    kinds = {
        "any", "appending", "ending", "evaluating", "pinning", "removing", "restoring",
        "saving", "starting", "training", "writing",
    }  # fmt: skip
    assert set(alone.counts) == kinds
    assert min(count for kind, count in alone.counts.items() if kind != "ending") > 10


@pytest.mark.slow
def test_every_damage_is_noticed(alone, tmp_path):
    chance = random.Random(SEED)
    (checkpoints,) = harness.checkpoints(alone)
    for index in range(FLIPS):
        kind = damage.KINDS[index % len(damage.KINDS)]
        missed = damage.unnoticed(checkpoints, chance, kind, tmp_path / str(index))
        assert missed is None, f"Seed {SEED}: {missed}"


def test_kills_are_read_as_they_are_printed():
    kills = (harness.Kill("saving", 17, 0.03), harness.Kill("any", 9, 0.0))
    assert harness.write(kills) == "saving:17+0.030000,any:9"
    assert harness.parse(harness.write(kills)) == kills
