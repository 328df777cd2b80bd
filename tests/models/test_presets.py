"""From a config to a model, and what is wrong with a config's model."""

import pytest

from rdt_jax import config as configs
from rdt_jax.models import presets

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


def test_a_config_becomes_a_model(tiny_config, tiny_table):
    config = configs.override(
        tiny_config, {"model.prelude_blocks": 2, "model.coda_blocks": 3}
    )
    model = presets.model_config(config, tiny_table)
    assert (model.vocab_size, model.max_length) == (1 + 11 + 5, 3)
    assert (model.width, model.num_heads, model.mlp_ratio) == (14, 2, 4)
    assert (model.prelude_blocks, model.core_blocks, model.coda_blocks) == (2, 1, 3)
    assert (model.position, model.output_init) == ("learned", "zero")
    assert (model.embedding_std, model.dtype, model.remat) == (0.02, "float32", "full")


def test_dropout_does_not_change_the_model(tiny_config, tiny_table):
    noisy = configs.override(
        tiny_config, {"model.dropout": 0.1, "model.embedding_dropout": 0.2, "seed": 3}
    )
    one, other = (presets.model_config(c, tiny_table) for c in (noisy, tiny_config))
    assert (one, hash(one)) == (other, hash(other))
    assert one.block == other.block


def test_an_unknown_preset_is_refused(tiny_config, tiny_table):
    config = configs.override(tiny_config, {"model.preset": "lstm"})
    message = "Unknown model preset 'lstm'; choose from .*rdt"
    with pytest.raises(ValueError, match=message):
        presets.model_config(config, tiny_table)


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
        ("model.preset", "x", "must be one of rdt"),
        ("model.position", "x", "must be one of learned, sinusoidal, none, got 'x'."),
        ("model.output_init", "x", "must be one of zero, gpt2, normal, got 'x'."),
        ("model.dtype", "float16", "must be one of float32, bfloat16, got 'float16'."),
        ("model.remat", "x", "must be one of none, dots, full, got 'x'."),
        (
            "recurrence.sampling",
            "x",
            "must be one of fixed, uniform, poisson, lognormal_poisson, got 'x'.",
        ),
        ("recurrence.seed", -1, "must be in [0, 2**32), got -1."),
        ("model.width", 0, "must be at least 1, got 0."),
        ("model.width", 15, "(15) must be a multiple of model.num_heads (2)."),
        ("model.num_heads", 0, "must be at least 1, got 0."),
        ("model.num_heads", 3, None),
        ("model.mlp_ratio", 0, "must be at least 1, got 0."),
        ("model.core_blocks", 0, "must be at least 1, got 0."),
        ("model.prelude_blocks", -1, "must be at least 0, got -1."),
        ("model.coda_blocks", -1, "must be at least 0, got -1."),
        ("model.dropout", 1.0, "must be in [0, 1), got 1.0."),
        ("model.embedding_dropout", -0.1, "must be in [0, 1), got -0.1."),
        ("model.embedding_std", 0.0, "must be positive, got 0.0."),
        ("recurrence.num_loops", 0, "must be at least 1, got 0."),
        ("recurrence.eval_loops", (1, 0), "must hold ints of at least 1, got (1, 0)."),
        ("recurrence.eval_loops", ("a",), "must hold ints of at least 1, got ('a',)."),
        ("recurrence.eval_loops", (True,), "must hold ints of at least 1, got (True"),
        (
            "recurrence.backprop_depth",
            3,
            "must be in [1, recurrence.num_loops = 2], got 3.",
        ),
        (
            "recurrence.backprop_depth",
            0,
            "must be in [1, recurrence.num_loops = 2], got 0.",
        ),
    ],
)
def test_problems(tiny_config, key, value, problem):
    (found,) = presets.problems(configs.override(tiny_config, {key: value}))
    if problem is None:
        key, problem = "model.width", "(14) must be a multiple of model.num_heads (3)."
    assert found.startswith(f"{key} ")
    assert problem in found


@pytest.mark.parametrize(
    ("base", "key", "value", "problem"),
    [
        ({}, "max_loops", 4, "must be none with recurrence.sampling = fixed, got 4."),
        ({}, "sigma", 0.5, "must be none with recurrence.sampling = fixed, got 0.5."),
        (POISSON, "max_loops", None, "must be given with recurrence.sampling = poi"),
        (POISSON, "mean_loops", None, "sampling = poisson, got none."),
        (POISSON, "mean_loops", 0.0, "must be positive, got 0.0."),
        (POISSON, "sigma", 0.5, "must be none with recurrence.sampling = poisson"),
        (POISSON, "min_loops", 9, "(9) must be at most recurrence.max_loops (8)."),
        (POISSON, "min_loops", 0, "must be at least 1, got 0."),
        (POISSON, "backprop_depth", 9, "in [1, recurrence.max_loops = 8], got 9."),
        (UNIFORM, "mean_loops", 3.0, "must be none with recurrence.sampling = uni"),
        (UNIFORM, "max_loops", 0, "must be at least 1, got 0."),
        (LOGNORMAL, "sigma", -1.0, "must be positive, got -1.0."),
        (LOGNORMAL, "min_loops", 1, "sampling = lognormal_poisson, got 1."),
    ],
)
def test_problems_of_drawn_depths(tiny_config, base, key, value, problem):
    key = f"recurrence.{key}"
    found = presets.problems(configs.override(tiny_config, base | {key: value}))
    assert any(text.startswith(f"{key} ") and problem in text for text in found), found


def test_all_problems_are_listed(tiny_config):
    wrong = {"model.width": 15, "model.dropout": 2.0, "recurrence.num_loops": -1}
    found = presets.problems(configs.override(tiny_config, wrong))
    assert [text.split()[0] for text in found] == list(wrong)
