"""Every recipe trains; what several share a program for stays apart in its lanes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.store import records
from rdt_jax.training import hyper, recipes, validation
from rdt_jax.training.pack import build as build_pack
from tests.training import bits

# The smallest run: every recipe compiles a program of its own.
TINY = {
    "batch_size": 12,
    "num_steps": 20,
    "eval_every_steps": 10,
    "checkpoint_every_steps": 10,
    "stop_after_phases": False,
    "task.kwargs.modulus": 7,
    "model.width": 8,
    "model.num_heads": 2,
    "model.remat": "none",
    "optimizer.epsilon": 1e-6,
    "optimizer.weight_decay": 0.1,
    "gradient.filter_window": 2,
    "loss.label_smoothing": 0.05,
}


# The formulas of the other recipes stand in test_optimizers.py, test_gradients.py and
# test_losses.py; that they reach a program, below.
QUICK = (
    "bfloat16", "constant_norm", "float64_loss", "init_scale", "label_smoothing",
    "micro_batches", "stablemax", "weight_decay",
)  # fmt: skip
# What these do is to be the same but for rounding.
ROUNDING = ("micro_batches", "float64_loss")


@pytest.fixture(scope="module")
def tiny(root):
    smoke = configs.load(f"{root}/configs/modular.py:smoke")
    start = configs.override(smoke, TINY)
    return lambda overrides=None: configs.override(start, overrides or {})


def trained(build, pack, steps):
    program = build(pack, tasks.make_table(pack[0]))
    lanes = hyper.make_lanes(pack)
    state = program.train(program.init(lanes), lanes, steps)
    chex.assert_tree_all_finite(state.params)
    return state


@pytest.fixture(scope="module")
def baseline(build, tiny):
    return bits.copy(trained(build, [tiny()], 2))


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_recipe_has_keys_that_exist_and_few_words(name):
    recipe = recipes.RECIPES[name]
    assert recipe.overrides and recipe.source
    assert 1 <= len(recipe.summary.split()) <= 8
    defaults = base.get_config()
    changed = []
    for key, value in recipe.overrides.items():
        section, leaf = key.split(".")
        default = defaults[section][leaf]
        assert default is None or type(value) is type(default)
        changed.append(value != default)
    assert any(changed)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[] if n in QUICK else [pytest.mark.exhaustive])
        for n in recipes.RECIPES
    ],
)
def test_a_recipe_trains_in_its_own_way(build, tiny, baseline, name):
    overrides = dict(recipes.RECIPES[name].overrides)
    if name == "wsd":
        overrides |= {"num_steps": 10, "optimizer.decay_fraction": 1.0,
                      "optimizer.warmup_steps": 0}  # fmt: skip
    if name == "clip":
        overrides["gradient.clip_norm"] = 1e-6  # Adam sees no scale but its epsilon.
    config = tiny(overrides)
    validation.check(config)
    # These differ in what is traced, or in what is not compiled.
    own = build if name != "wsd" else build_pack
    state = trained(own, [config], 2)
    assert state.finite_steps[0] == 2
    for leaf in jax.tree.leaves((state.params, state.opt_state)):
        assert leaf.dtype in (jnp.float32, jnp.int32)
    found, expected = (jax.tree.leaves(s.params) for s in (state, baseline))
    if [x.shape for x in found] == [x.shape for x in expected]:
        apart = max(np.abs(x - y).max() for x, y in zip(found, expected, strict=True))
        assert apart > (0 if name in ROUNDING else 1e-6)
    if name == "bfloat16":  # And it learns.
        program, lanes = (
            own([config], tasks.make_table(config)),
            hyper.make_lanes([config]),
        )
        later = program.start_window(trained(own, [config], 400))
        last = program.train(later, lanes, 20)
        assert last.loss_sum[0] / 20 < 0.7 * np.log(8)


# All strengths that a lane may have of its own, in one program.
STRONG = {
    "model.core_blocks": 2,
    "optimizer.name": "muon",
    "gradient.filter": "grokfast_ema",
}
LANES = (
    {
        "gradient.clip_norm": 0.5,
        "gradient.filter_strength": 1.0,
        "gradient.filter_decay": 0.5,
        "optimizer.momentum": 0.8,
        "model.init_scale": 1.5,
        "loss.deep_supervision": 0.3,
        "loss.block_similarity": 0.2,
    },
    {
        "seed": 1,
        "gradient.clip_norm": 2.0,
        "gradient.filter_strength": 3.0,
        "gradient.filter_decay": 0.9,
        "optimizer.momentum": 0.5,
        "model.init_scale": 0.7,
        "loss.deep_supervision": 0.9,
        "loss.block_similarity": 2.0,
    },
)


@pytest.mark.exhaustive
def test_lanes_of_all_strengths_equal_separate_runs(build, tiny):
    pack = [tiny(STRONG | lane) for lane in LANES]
    together = trained(build, pack, 4)
    for index, config in enumerate(pack):
        alone = trained(build, [config], 4)
        for name in ("params", "loss_sum", "gradient_norm"):
            chex.assert_trees_all_close(
                jax.tree.map(lambda x, i=index: x[i], getattr(together, name)),
                jax.tree.map(lambda x: x[0], getattr(alone, name)),
                rtol=2e-4,
                atol=2e-5,
            )


@pytest.mark.parametrize("key", LANES[0])
def test_every_strength_has_an_effect(build, tiny, key):
    """On parameters, after two updates of one compiled program."""
    one, other = tiny(STRONG | LANES[0]), tiny(STRONG | LANES[0] | {key: LANES[1][key]})
    found = [trained(build, [config], 3).params for config in (one, other)]
    found = [jax.tree.leaves(bits.copy(params)) for params in found]
    assert any(np.abs(x - y).max() > 1e-6 for x, y in zip(*found, strict=True))


def test_parameters_start_at_their_scale(build, tiny):
    scaled, plain = (
        tiny(STRONG | LANES[0] | {"model.init_scale": scale}) for scale in (1.5, 1.0)
    )
    program = build([plain], tasks.make_table(plain))
    first, expected = (
        program.init(hyper.make_lanes([config])).params for config in (scaled, plain)
    )
    expected = jax.tree.map(lambda x: 1.5 * x, expected)
    chex.assert_trees_all_close(first, expected, rtol=1e-6)


@pytest.mark.exhaustive
def test_a_run_of_filter_muon_and_constant_norm_resumes_bit_identical(
    train, tiny, tmp_path
):
    config = tiny(
        {
            "gradient.filter": "grokfast_ma",
            "gradient.filter_window": 3,
            "optimizer.name": "muon",
            "optimizer.constant_norm": True,
        }
    )
    train([config], tmp_path / "whole")
    calls = []

    def stop():
        calls.append(None)
        return len(calls) == 3  # After the first evaluation: the ring is turned once.

    (status,) = train([config], tmp_path / "cut", should_stop=stop)
    assert status["state"] == "preempted" and 3 < status["step"] < 20
    train([config], tmp_path / "cut", log=pytest.fail)
    bits.assert_same_runs(tmp_path / "cut", tmp_path / "whole")
    rows = [
        row["model/weight_norm"]
        for row in records.read_rows(
            tmp_path / "cut" / configs.run_id(config) / "metrics.jsonl"
        )
    ]
    np.testing.assert_allclose(rows, rows[0], rtol=1e-5)
