"""From a config to a model, and what is wrong with a config's model."""

import dataclasses

import pytest

from configs import base
from rdt_jax import config as configs
from rdt_jax.models import loop, presets
from rdt_jax.models.architecture import ModelConfig
from tests.models import combinations

UNIFORM = {
    "recurrence.sampling": "uniform",
    "recurrence.min_loops": 2,
    "recurrence.max_loops": 6,
}
POISSON = {
    "recurrence.sampling": "poisson",
    "recurrence.mean_loops": 4.0,
    "recurrence.min_loops": 2,
    "recurrence.max_loops": 8,
}
LOGNORMAL = {
    "recurrence.sampling": "lognormal_poisson",
    "recurrence.mean_loops": 32.0,
    "recurrence.sigma": 0.5,
    "recurrence.max_loops": 64,
}


def test_dropout_does_not_change_the_model(tiny_config, tiny_table):
    noisy = configs.override(
        tiny_config, {"model.dropout": 0.1, "model.embedding_dropout": 0.2, "seed": 3}
    )
    one, other = (presets.model_config(c, tiny_table) for c in (noisy, tiny_config))
    assert (one, hash(one)) == (other, hash(other))


def test_a_good_config_has_no_problems(tiny_config):
    assert presets.problems(tiny_config) == []
    for changes in (
        {"recurrence.backprop_depth": 2, "recurrence.eval_loops": (1, 31)},
        UNIFORM,
        POISSON | {"recurrence.backprop_depth": 8, "recurrence.num_loops": 9},
        LOGNORMAL | {"recurrence.max_loops": 1},
        {"model.dropout": 0.99, "model.prelude_blocks": 1, "model.dtype": "bfloat16"},
    ):
        assert presets.problems(configs.override(tiny_config, changes)) == []


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("model.width", 15, "model.width (15) must be a multiple of model.num_heads"),
        (
            "model.num_heads",
            3,
            "model.width (14) must be a multiple of model.num_heads",
        ),
        (
            "recurrence.backprop_depth",
            3,
            "recurrence.backprop_depth must be in [1, recurrence.num_loops = 2], got ",
        ),
    ],
)
def test_problems(tiny_config, key, value, problem):
    config = configs.override(tiny_config, {key: value})
    (found,) = [*presets.size_problems(config), *loop.problems(config)]
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("base", "key", "value", "problem"),
    [
        ({}, "max_loops", 4, "must be none with recurrence.sampling = fixed, got 4."),
        ({}, "sigma", 0.5, "must be none with recurrence.sampling = fixed, got 0.5."),
        (POISSON, "max_loops", None, "must be given with recurrence.sampling = poi"),
        (POISSON, "mean_loops", None, "sampling = poisson, got none."),
        (POISSON, "sigma", 0.5, "must be none with recurrence.sampling = poisson"),
        (POISSON, "min_loops", 9, "(9) must be at most recurrence.max_loops (8)."),
        (POISSON, "backprop_depth", 9, "in [1, recurrence.max_loops = 8], got 9."),
        (UNIFORM, "mean_loops", 3.0, "must be none with recurrence.sampling = uni"),
        (LOGNORMAL, "min_loops", 1, "sampling = lognormal_poisson, got 1."),
    ],
)
def test_problems_of_drawn_depths(tiny_config, base, key, value, problem):
    key = f"recurrence.{key}"
    found = loop.problems(configs.override(tiny_config, base | {key: value}))
    assert any(text.startswith(f"{key} ") and problem in text for text in found), found


# Presets name what a config says.


@pytest.mark.parametrize("name", sorted(combinations.PRESETS))
def test_a_preset_accepts_its_own_keys_and_no_others(tiny_config, name):
    config = combinations.make(tiny_config, combinations.PRESETS[name], name)
    for key, allowed in presets.PRESETS[name].keys.items():
        if key not in presets.COMPONENTS:
            continue
        for value in presets.COMPONENTS[key]:
            found = presets.problems(configs.override(config, {f"model.{key}": value}))
            named = [text for text in found if f"in preset {name}" in text]
            assert len(named) == (value not in allowed), (key, value)
            if named:
                assert named[0].startswith(f"model.{key} must be {allowed[0]}")
                assert named[0].endswith("custom allows any valid choice.")


@pytest.mark.parametrize("name", sorted(combinations.PRESETS))
def test_a_preset_sets_no_key(tiny_config, tiny_table, name):
    config = combinations.make(tiny_config, combinations.PRESETS[name], name)
    custom = configs.override(config, {"model.preset": "custom"})
    one, other = (presets.model_config(c, tiny_table) for c in (config, custom))
    assert one == other
    assert (one.vocab_size, one.max_length) == (1 + 11 + 5, 3)
    for key, value in config.model.items():
        if key not in ("preset", "dropout", "embedding_dropout", "init_scale"):
            assert getattr(one, key) == value


def test_diagonal_injection_goes_with_every_looped_preset(tiny_config):
    for name, keys in combinations.PRESETS.items():
        if name != "feedforward":
            combinations.make(tiny_config, keys | {"injection": "diagonal"}, name)


def test_every_preset_has_a_source_and_a_config(root):
    files = {"rdt": "knowledge_composition"}
    for name, preset in presets.PRESETS.items():
        assert preset.source and preset.summary
        if name != "custom":
            config = configs.load(f"{root}/configs/{files.get(name, name)}.py:cpu")
            assert config.model.preset == name


def test_what_may_be_left_out_of_a_model_is_what_base_says(tiny_config):
    section = base.get_config().model.to_dict()
    section["branch_loops"] = None  # Counted from the `recurrence` section.
    for field in dataclasses.fields(ModelConfig):
        if field.default is not dataclasses.MISSING:
            assert section[field.name] == field.default, field.name


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"dtype": "float64"}, "model.dtype float64 needs JAX_ENABLE_X64=1"),
        (
            {"position_every_loop": True, "position": "rope"},
            "model.position_every_loop needs model.position learned or sinusoidal, "
            "which are added to the state, got rope.",
        ),
        (
            {"position_every_loop": True, "prelude_blocks": 1},
            "model.position_every_loop hides positions from the prelude; ",
        ),
        (
            {"norm_before_coda": True},
            "model.norm_before_coda needs model.coda_blocks above 0, got 0.",
        ),
        (
            {"position": "rope", "rope_fraction": 0.2},
            "model.rope_fraction (0.2) of a head of 7 numbers must hold at least one ",
        ),
        (
            {"feedforward": "sigma_moe", "num_experts": 3},
            "model.experts_per_token must be at most model.num_experts (3), got 4.",
        ),
        (
            {"attention": "switch_head", "attention_experts": 1},
            "model.attention_experts must be at least 2 with model.attention switch_",
        ),
        (
            {"weight_init": "moeut"},
            "model.weight_init moeut needs model.init_depth, the number of blocks that",
        ),
        (
            {"output_init": "depth"},
            "model.output_init depth needs model.init_depth, the number of blocks that",
        ),
        (
            {"step_embedding": "learned", "step_table": 1},
            "model.step_table must be at least 2, the most loops of recurrence.num_",
        ),
    ],
)
def test_problems_of_components(tiny_config, changes, problem):
    keys = {"model.preset": "custom"}
    keys |= {f"model.{key}": value for key, value in changes.items()}
    found = presets.problems(configs.override(tiny_config, keys))
    assert found[0].startswith(problem)


# The comparison with a feed-forward transformer.


@pytest.mark.parametrize("name", sorted(combinations.PRESETS))
@pytest.mark.parametrize("match", ["params", "flops"])
def test_feedforward_like_is_valid_and_matches(tiny_config, name, match):
    config = combinations.make(tiny_config, combinations.PRESETS[name], name)
    config = configs.override(config, {"recurrence.eval_loops": (1,)})
    loops = config.recurrence.num_loops
    found = presets.feedforward_like(config, match)
    assert presets.problems(found.config) == []
    assert found.config.model.preset == "feedforward"
    assert found.config.recurrence.num_loops == 1
    blocks = config.model.core_blocks * (loops if match == "flops" else 1)
    assert found.config.model.core_blocks == blocks
    if name == "rdt":
        # Nothing but its blocks: the match is exact, and only that.
        same = found.parameters == found.target_parameters
        assert same == (match == "params")
        assert (found.flops == found.target_flops) == (match == "flops")
        assert found.flops < found.target_flops or match == "flops"
        assert found.parameters > found.target_parameters or match == "params"
    if name == "gated":  # Its gate, as large as two blocks here, is left out.
        assert found.flops < found.target_flops
        assert found.parameters < found.target_parameters or match == "flops"
    elif match == "flops":
        assert found.flops == pytest.approx(found.target_flops, rel=0.2)
    else:
        assert found.parameters == pytest.approx(found.target_parameters, rel=0.25)


def test_feedforward_like_leaves_its_argument_alone(tiny_config):
    before = configs.to_json(tiny_config)
    again = configs.from_json(before)
    one, other = (presets.feedforward_like(c, "flops") for c in (tiny_config, again))
    assert one[1:] == other[1:]
    assert configs.to_json(tiny_config) == before
    with pytest.raises(ValueError, match="must be params or flops, got 'memory'"):
        presets.feedforward_like(tiny_config, "memory")
