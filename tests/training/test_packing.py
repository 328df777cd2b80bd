"""The first hundred updates of runs in a pack and of the same runs alone.

In float32 a product of a pack rounds differently from a solo one, by 6e-8 of its value.
Training amplifies that, the faster the sooner a run memorizes: measured over these
three, losses differ by at most 2e-7 of their value after 10 updates, 6e-7 after 30,
2e-6 after 60, 1.2e-4 after 100, 8e-3 after 150 and 6e-2 after 200; parameters by 1.2e-4
after 100. So a hundred updates are compared at about ten times what was measured, which
is a fortieth of what a rate that is off by a thousandth does. What comes later is a
question of statistics (experiments/packing).
"""

import chex
import jax
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.training import hyper

UPDATES = 100
LOSS = 1e-3  # relative
PARAMS = 1e-3  # absolute; rates add up to 0.3 over the updates

LANES = (
    {"seed": 0},
    {"seed": 1, "optimizer.learning_rate": 2e-3, "optimizer.warmup_steps": 30},
    {"seed": 2, "optimizer.weight_decay": 0.3, "loss.label_smoothing": 0.1},
)


@pytest.fixture(scope="module")
def pack(root):
    toy = {
        "task.kwargs.train_fraction": 0.5,
        "optimizer.learning_rate": 3e-3,
        # Key biases have no gradient but rounding; 1e-8 would let Adam amplify it.
        "optimizer.epsilon": 1e-6,
        "model.remat": "none",  # Compiles faster.
    }
    smoke = configs.load(f"{root}/configs/modular.py:smoke")
    return [configs.override(smoke, toy | lane) for lane in LANES]


def train(build, members, updates=UPDATES):
    """Returns losses [updates, S] and the last parameters."""
    program = build(members, tasks.make_table(members[0]))
    lanes = hyper.make_lanes(members)
    state, losses = program.init(lanes), []
    for _ in range(updates):
        state = program.train(program.start_window(state), lanes, 1)
        losses.append(np.array(state.loss_sum))
    return np.array(losses), jax.device_get(state.params)


@pytest.fixture(scope="module")
def packed(build, pack):
    return train(build, pack)


def lane_of(params, index):
    return jax.tree.map(lambda x: x[index], params)


@pytest.mark.parametrize(
    "lane", [0, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in (1, 2))]
)
def test_a_lane_stays_with_its_solo_run_for_a_hundred_updates(
    build, pack, packed, lane
):
    losses, params = packed
    alone, alone_params = train(build, [pack[lane]])
    np.testing.assert_allclose(losses[:, lane], alone[:, 0], rtol=LOSS)
    chex.assert_trees_all_close(
        lane_of(params, lane), lane_of(alone_params, 0), rtol=0, atol=PARAMS
    )
    # The comparison says something: the loss has fallen, and parameters have moved.
    assert alone[-1, 0] < 0.8 * alone[0, 0]
    apart = lane_of(params, lane - 1), lane_of(alone_params, 0)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(*apart, rtol=0, atol=PARAMS)


@pytest.mark.parametrize(
    "change", [{"optimizer.learning_rate": 3.003e-3}, {"optimizer.weight_decay": 1.01}]
)
def test_the_tolerances_see_a_small_change(build, pack, packed, change):
    losses, params = packed
    changed, changed_params = train(build, [configs.override(pack[0], change)])
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(losses[:, 0], changed[:, 0], rtol=LOSS)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(
            lane_of(params, 0), lane_of(changed_params, 0), rtol=0, atol=PARAMS
        )


@pytest.mark.exhaustive
def test_rounding_drives_them_apart_later(build, pack, packed):
    # Else a pack and its solo runs would be one program, and nothing here a test.
    alone, _ = train(build, pack[2:], 200)
    both, _ = train(build, pack, 200)
    np.testing.assert_array_equal(both[:UPDATES], packed[0])
    apart = np.abs(both[:, 2] / alone[:, 0] - 1)
    assert apart[:10].max() < 1e-6 < LOSS < apart[150:].max()
