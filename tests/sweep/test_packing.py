import pathlib
import sys

import pytest

from rdt_jax import config as configs
from rdt_jax.profile import memory
from rdt_jax.store import checkpoint
from rdt_jax.sweep import packing
from rdt_jax.training import hyper

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def base():
    return configs.load(f"{ROOT / 'configs/knowledge_composition.py'}:smoke")


def test_trials_that_differ_in_lane_keys_share_a_program(base):
    different = [
        {"seed": 3},
        {"optimizer.weight_decay": 0.7},
        {"optimizer.learning_rate": 1e-4, "optimizer.warmup_steps": 7},
        {"loss.label_smoothing": 0.0},
        {"model.init_scale": 3.0, "gradient.filter_strength": 1.0},
    ]
    for overrides in different:
        other = configs.override(base, overrides)
        assert packing.signature(other) == packing.signature(base)


@pytest.mark.parametrize(
    "overrides",
    [
        {"recurrence.num_loops": 3},
        {"model.width": 64},
        {"task.seed": 1},
        {"num_steps": 600},
        {"optimizer.schedule": "cosine"},
        {"model.dropout": 0.1},  # From none to some: another program.
        {"gradient.clip_norm": 1.0},
        {"loss.deep_supervision": 0.1},
        {"loss.block_similarity": 0.1},
    ],
)
def test_anything_else_is_another_program(base, overrides):
    other = configs.override(base, overrides)
    assert packing.signature(other) != packing.signature(base)


def test_every_lane_key_reaches_the_lanes(base):
    """A key that is left out of the signature must be traced, or it is lost."""
    values = {
        "optimizer.warmup_steps": 13,
        "optimizer.learning_rate": 0.5,
        "optimizer.weight_decay": 0.5,
        "optimizer.b1": 0.5,
        "optimizer.b2": 0.5,
        "optimizer.momentum": 0.5,
        "gradient.clip_norm": 0.5,
        "gradient.filter_strength": 0.5,
        "gradient.filter_decay": 0.5,
        "loss.deep_supervision": 0.5,
        "loss.block_similarity": 0.5,
        "model.init_scale": 0.5,
        "loss.label_smoothing": 0.5,
        "model.dropout": 0.5,
        "model.embedding_dropout": 0.5,
        "seed": 5,
    }
    assert set(values) == set(packing.LANE_KEYS)
    before = hyper.make_lanes([base])
    for key, value in values.items():
        after = hyper.make_lanes([configs.override(base, {key: value})])
        changed = [k for k in hyper.LANE_KEYS if before.hyper[k] != after.hyper[k]]
        if key == "seed":
            assert not changed and after.seed[0] == 5
        else:
            assert changed == [key]


def predict(config):
    """Ten bytes for the rows, a hundred for each lane and loop."""
    return memory.Bytes(10, 100 * config.recurrence.num_loops, state=7, params=3)


def grid(base, loops, seeds):
    return [
        configs.override(base, {"recurrence.num_loops": r, "seed": s})
        for r in loops
        for s in seeds
    ]


def test_form_keeps_order_and_size(base):
    trials = grid(base, (1, 2), range(5))
    packs = packing.form(trials, 2, sys.maxsize, predict)
    assert [len(p) for p in packs] == [2, 2, 1, 2, 2, 1]
    assert [configs.run_id(c) for p in packs for c in p] == [
        configs.run_id(c) for c in trials
    ]
    assert all(len({packing.signature(c) for c in p}) == 1 for p in packs)
    with pytest.raises(ValueError, match="--lanes must be at least 1, got 0"):
        packing.form(trials, 0, sys.maxsize, predict)


@pytest.mark.parametrize(
    ("memory_bytes", "sizes"),
    [
        (10**6, [5, 5]),
        (510, [5, 2, 2, 1]),  # Just five lanes of one loop, two of two.
        (509, [4, 1, 2, 2, 1]),
        (0, [1] * 10),  # A prediction is no reason not to try.
    ],
)
def test_packs_that_would_not_fit_are_split(base, memory_bytes, sizes):
    packs = packing.form(grid(base, (1, 2), range(5)), None, memory_bytes, predict)
    assert [len(p) for p in packs] == sizes


def test_nothing_is_predicted_for_packs_of_one(base):
    packs = packing.form(grid(base, (1,), range(3)), 1, 0, pytest.fail)
    assert [len(p) for p in packs] == [1, 1, 1]


def test_needs_add_up(base):
    packs = [grid(base, (1,), range(3)), grid(base, (2,), (0,)), grid(base, (2,), (1,))]
    needs = packing.needs(packs, [4, 6, 0], predict)
    assert needs.programs == 2
    assert needs.memory == 10 + 3 * 100
    assert needs.pins == 3 * 3 * (1 + 4) + 3 * (1 + 6) + 3
    assert needs.checkpoints == (3 + 1 + 1) * 7 * (checkpoint.KEEP + 1)
    packs[0] = [configs.override(c, {"snapshot_steps": (0, 2)}) for c in packs[0]]
    more = packing.needs(packs, [4, 6, 0], predict)
    assert more.pins == needs.pins + 3 * 3 * 2


def test_transitions_that_fit_in_a_budget(base):
    assert packing.max_pins(base, None, 1000) == 6  # Both sides of three phases.
    assert packing.max_pins(base, 5999, 1000) == 5
    assert packing.max_pins(base, 0, 1000) == 0
    assert packing.max_pins(base, 10**9, 1000) == 6
    stages = configs.load(f"{ROOT / 'configs/knowledge_depth.py'}:smoke")
    assert packing.max_pins(stages, None, 1000) == 2 * (2 + 2)  # And of hops 2 and 3.


def test_flops_grow_with_loops_and_budget(base):
    deeper = configs.override(base, {"recurrence.num_loops": 8})
    longer = configs.override(base, {"num_steps": 600})
    assert packing.flops([deeper]) > 2 * packing.flops([base])
    assert packing.flops([longer]) == 2 * packing.flops([base])
    assert packing.flops([base, base]) == 2 * packing.flops([base])
