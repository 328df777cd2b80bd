"""What a run is said to cost, at its own loop counts and at others."""

import re

import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.models import cost, presets
from rdt_jax.profile import estimate, memory
from rdt_jax.training import validation

DRAWN = {
    "recurrence.sampling": "uniform",
    "recurrence.min_loops": 2,
    "recurrence.max_loops": 5,
    "recurrence.backprop_depth": 3,
    "recurrence.eval_loops": (1,),
}


@pytest.fixture(scope="module")
def config(tiny_config):
    return configs.override(tiny_config, {"batch_size": 32, "model.width": 32})


def test_a_run_of_other_loops_is_valid_and_equal_but_for_its_loops(config):
    drawn = configs.override(config, DRAWN)
    for count, depth in ((1, None), (2, None), (3, 3), (9, 3)):
        found = estimate.fixed_loops(drawn, count)
        validation.check(found)
        assert found.recurrence.num_loops == count
        assert found.recurrence.backprop_depth == depth
        assert found.model == drawn.model and found.optimizer == drawn.optimizer
    assert drawn.recurrence.sampling == "uniform"
    again = estimate.fixed_loops(config, config.recurrence.num_loops)
    assert configs.run_id(again) == configs.run_id(config)


def test_the_first_line_is_the_run_itself_and_others_follow(config):
    found = estimate.estimate(config, [7])
    table = tasks.make_table(config)
    model = presets.model_config(config, table)
    assert found.parameters == cost.parameters(model)
    assert (found.batch_size, found.length) == (32, 3)
    assert [at.loops for at in found.at_loops] == [2, 7]
    own, deep = found.at_loops
    count = lambda **keys: cost.passes(model, length=3, num_answers=1, **keys)
    assert own.needed == count(num_loops=2)
    assert deep.executed == count(num_loops=7, batch_size=32)
    for policy, size in own.memory.items():
        same = configs.override(config, {"model.remat": policy})
        assert size == memory.of_update(same, table)
    # More is kept under `none` than under `dots` than under `full`, and more by more
    # loops; under `full` it is one state [B, T, D] of float32 each, twice.
    assert deep.memory["none"] > deep.memory["dots"] > deep.memory["full"]
    grown = {policy: deep.memory[policy] - own.memory[policy] for policy in own.memory}
    assert grown["none"] > grown["dots"] > grown["full"] > 0
    assert grown["full"] <= 2.5 * 5 * 32 * 3 * 32 * 4


def test_a_drawn_depth_costs_its_mean_and_keeps_the_same_whatever_the_policy(config):
    (found,) = estimate.estimate(configs.override(config, DRAWN)).at_loops
    assert (found.loops, found.is_drawn) == (3.5, True)
    assert found.needed.backward < 2 * found.needed.forward
    assert len(set(found.memory.values())) == 1


def test_a_run_is_refused_by_its_prediction_where_it_may_not_fit(config, monkeypatch):
    deep = configs.override(config, {"recurrence.num_loops": 500})
    table = tasks.make_table(deep)
    found = memory.predict(deep, table)
    needed = found.shared + found.lane
    estimate.check_memory(deep, table, needed - 1)  # Arithmetic alone is content.
    estimate.check_predicted_memory(deep, table, needed)
    message = f"need {needed:,} bytes of memory and has {needed - 1:,}"
    with pytest.raises(ValueError, match=message):
        estimate.check_predicted_memory(deep, table, needed - 1)
    monkeypatch.setattr(memory, "predict", None)
    estimate.check_predicted_memory(config, table, 10**10)  # Not even traced.


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"model.core_blocks": 900}, ["compiling 900 blocks, .* about 1.25 hours"]),
        (
            {"recurrence.eval_loops": (1, 65536), "model.width": 256},
            ["each evaluation, of 132 rows and 65,536 loops, takes about 1.14 hours"],
        ),
        (
            {"recurrence.num_loops": 65536, "model.width": 64},
            ["each update, of 32 rows and 65,536 loops, .* minutes", "each evaluation"],
        ),
    ],
)
def test_what_takes_minutes_of_a_cpu_is_told(config, changes, said):
    changed = configs.override(config, changes)
    found = estimate.slow(changed, tasks.make_table(changed))
    assert len(found) == len(said)
    assert all(re.match(*pair) for pair in zip(said, found, strict=True)), found
