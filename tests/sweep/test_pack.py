import pathlib

import pytest

from rdt_jax import config as configs
from rdt_jax.sweep import pack
from rdt_jax.training import step

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
    ]
    for overrides in different:
        other = configs.override(base, overrides)
        assert pack.signature(other) == pack.signature(base)


@pytest.mark.parametrize(
    "overrides",
    [
        {"recurrence.num_loops": 3},
        {"model.width": 64},
        {"task.seed": 1},
        {"num_steps": 600},
        {"optimizer.schedule": "cosine"},
        {"model.dropout": 0.1},  # From none to some: another program.
    ],
)
def test_anything_else_is_another_program(base, overrides):
    other = configs.override(base, overrides)
    assert pack.signature(other) != pack.signature(base)


def test_every_lane_key_reaches_the_lanes(base):
    """A key that is left out of the signature must be traced, or it is lost."""
    values = {
        "optimizer.warmup_steps": 13,
        "optimizer.learning_rate": 0.5,
        "optimizer.weight_decay": 0.5,
        "optimizer.b1": 0.5,
        "optimizer.b2": 0.5,
        "loss.label_smoothing": 0.5,
        "model.dropout": 0.5,
        "model.embedding_dropout": 0.5,
        "seed": 5,
    }
    assert set(values) == set(pack.LANE_KEYS)
    before = step.make_lanes([base])
    for key, value in values.items():
        after = step.make_lanes([configs.override(base, {key: value})])
        changed = [
            name
            for name in before.hyper._fields
            if getattr(before.hyper, name) != getattr(after.hyper, name)
        ]
        if key == "seed":
            assert not changed and after.seed[0] == 5
        else:
            assert changed == [key.split(".")[1]]


def test_form_keeps_order_and_size(base):
    trials = [
        configs.override(base, {"recurrence.num_loops": r, "seed": s})
        for r in (1, 2)
        for s in range(5)
    ]
    packs = pack.form(trials, max_lanes=2)
    assert [len(p) for p in packs] == [2, 2, 1, 2, 2, 1]
    assert [configs.run_id(c) for p in packs for c in p] == [
        configs.run_id(c) for c in trials
    ]
    assert all(len({pack.signature(c) for c in p}) == 1 for p in packs)
    with pytest.raises(ValueError, match="--lanes must be at least 1, got 0"):
        pack.form(trials, max_lanes=0)


def test_flops_grow_with_loops_and_budget(base):
    deeper = configs.override(base, {"recurrence.num_loops": 8})
    longer = configs.override(base, {"num_steps": 600})
    assert pack.flops([deeper]) > 2 * pack.flops([base])
    assert pack.flops([longer]) == 2 * pack.flops([base])
    assert pack.flops([base, base]) == 2 * pack.flops([base])
