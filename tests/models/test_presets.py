"""From a config to a model, and what is wrong with a config's model."""

import pytest

from rdt_jax import config as configs
from rdt_jax.models import presets


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


def test_an_unknown_preset_is_refused(tiny_config):
    config = configs.override(tiny_config, {"model.preset": "lstm"})
    (found,) = presets.problems(config)
    assert found == (
        "model.preset must be one of rdt, feedforward, universal, moeut, huginn, "
        "gated, custom, got 'lstm'."
    )


def test_a_good_config_has_no_problems(tiny_config):
    assert presets.problems(tiny_config) == []
    for changes in (
        {"recurrence.backprop_depth": 2, "recurrence.eval_loops": (1, 31)},
        {"model.dropout": 0.99, "model.prelude_blocks": 1, "model.dtype": "bfloat16"},
    ):
        assert presets.problems(configs.override(tiny_config, changes)) == []


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("model.preset", "x", "must be one of rdt"),
        ("model.position", "x", "must be one of learned, sinusoidal, rope, none, got "),
        ("model.output_init", "x", "must be one of zero, gpt2, normal, depth, got "),
        ("model.dtype", "float16", "must be one of float32, bfloat16, float64, got "),
        ("model.remat", "x", "must be one of none, dots, full, got 'x'."),
        ("recurrence.sampling", "x", "must be one of fixed"),
        ("model.width", 0, "must be at least 1, got 0."),
        ("model.width", 15, "(15) must be a multiple of model.num_heads (2), or "),
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
        key, problem = "model.width", "(14) must be a multiple of model.num_heads (3), or "
    assert found.startswith(f"{key} ")
    assert problem in found


def test_all_problems_are_listed(tiny_config):
    wrong = {"model.width": 15, "model.dropout": 2.0, "recurrence.num_loops": -1}
    found = presets.problems(configs.override(tiny_config, wrong))
    assert [text.split()[0] for text in found] == list(wrong)
