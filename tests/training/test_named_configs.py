"""Every named config trains, at toy size: its components, not its sizes."""

import chex
import numpy as np
import pytest

from configs import knowledge_composition
from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.training import hyper, validation

SMALL = {
    "num_steps": 14,
    "eval_every_steps": 7,
    "checkpoint_every_steps": 7,
    "batch_size": 13,
    "task.kwargs.num_entities": 11,
    "task.kwargs.num_relations": 5,
    "task.kwargs.out_degree": 3,
    "task.kwargs.ood_share": 0.3,
    "task.kwargs.phi": 1.3,
    "task.kwargs.max_heldout": 7,
    "model.width": 24,  # The paper has twelve heads.
    "model.core_blocks": 1,
    "optimizer.warmup_steps": 3,
}


# A penalty with this weight is most of the loss, with the sign that it must have.
MODELS = {
    "feedforward": {},
    "universal": {"loss.ponder": 1e3},
    "moeut": {"loss.router_entropy_mlp": 1e3, "loss.router_entropy_attention": 1e3},
    "huginn": {"recurrence.num_loops": 3},
    "gated": {"recurrence.num_loops": 3},
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", MODELS)
def test_a_model_trains_two_updates(build, root, name):
    config = configs.load(f"{root}/configs/{name}.py:smoke")
    config = configs.override(config, SMALL | MODELS[name])
    loss, state = _train(build, config)
    if name == "universal":
        assert loss > 1e3  # No position takes less than one loop.
    elif name == "moeut":
        assert loss < -1e3  # Routers start nearly even, so their entropy is high.
    else:
        assert 0 < loss < 10


@pytest.mark.parametrize(
    "preset",
    [
        pytest.param(name, marks=[] if name == "smoke" else [pytest.mark.exhaustive])
        for name in knowledge_composition.PRESETS
    ],
)
def test_trains_two_updates(build, preset):
    small = SMALL | {"optimizer.schedule": "constant"}
    config = configs.override(knowledge_composition.get_config(preset), small)
    loss, _ = _train(build, config)
    assert loss > 0


def _train(build, config):
    validation.check(config)
    program = build([config], tasks.make_table(config))
    lanes = hyper.make_lanes([config])
    before = program.init(lanes)
    embedding = np.array(before.params["embedding"])
    state = program.train(before, lanes, 2)
    chex.assert_tree_all_finite(state)
    assert (state.step, state.finite_steps[0]) == (2, 2)
    assert np.abs(state.params["embedding"] - embedding).max() > 1e-6
    return state.loss_sum[0] / 2, state
