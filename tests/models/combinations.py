"""Models to compare with the oracle: every preset, and every pair of components."""

import functools
import itertools
import random

import jax
import numpy as np

from rdt_jax import config as configs
from rdt_jax.models import presets, recurrent

# The components of the forward pass; initial scales are not among them.
FACTORS = {
    name: presets.COMPONENTS[name]
    for name in (
        "norm_placement", "norm", "position", "injection", "initial_state",
        "step_embedding", "residual", "feedforward", "attention", "halting", "readout",
        "bias",
    )
} | {"expert_dispatch": ("dense", "sorted")}  # fmt: skip

# Small, and distinct where an axis could be swapped for another.
SIZES = {
    "model.width": 14,
    "model.num_heads": 2,
    "model.head_width": 4,
    "model.mlp_width": 11,
    "model.core_blocks": 1,
    "model.num_experts": 7,
    "model.expert_width": 5,
    "model.experts_per_token": 2,
    "model.attention_experts": 6,
    "model.attention_experts_per_token": 2,
    "model.step_table": 64,
    "model.layer_scale": 0.7,
    "model.halting_bias": -1.0,
    "model.init_depth": 9,
    "model.remat": "none",
    "recurrence.num_loops": 3,
}

# The published models, as far as their components go.
PRESETS = {
    "rdt": {"core_blocks": 2},
    "feedforward": {"core_blocks": 2, "position": "none"},
    "universal": {
        "feedforward": "relu", "norm_placement": "post", "position": "sinusoidal",
        "position_every_loop": True, "step_embedding": "sinusoidal", "halting": "act",
    },
    "moeut": {
        "core_blocks": 2, "attention": "switch_head", "feedforward": "sigma_moe",
        "norm_placement": "peri", "bias": "none", "position": "rope",
        "rope_fraction": 0.5, "weight_init": "moeut", "readout": "untied",
    },
    "huginn": {
        "prelude_blocks": 1, "coda_blocks": 1, "feedforward": "swiglu",
        "norm_placement": "sandwich", "norm": "rms", "norm_before_coda": True,
        "bias": "query_key", "position": "rope", "injection": "concat",
        "initial_state": "normal", "weight_init": "huginn", "scale_embedding": True,
    },
    "gated": {
        "step_embedding": "learned", "residual": "gated_layerscale",
        "position": "rope",
    },
}  # fmt: skip


def make(tiny_config, keys, preset="custom"):
    """The config of a small model with these `model` keys; it must be valid."""
    overrides = SIZES | {"model.preset": preset}
    overrides |= {f"model.{key}": value for key, value in keys.items()}
    if preset == "feedforward":
        overrides["recurrence.num_loops"] = 1
    config = configs.override(tiny_config, overrides)
    assert presets.problems(config) == []
    return config


def is_valid(row):
    """Says whether two components of a row, or one, rule the others out."""
    return not (row["injection"] == "none" and row["initial_state"] != "embedding")


def pairs_of(row):
    return set(itertools.combinations(sorted(row.items()), 2))


def required_pairs():
    """Every two values of different factors that some valid model has."""
    found = set()
    for one, other in itertools.combinations(sorted(FACTORS), 2):
        for values in itertools.product(FACTORS[one], FACTORS[other]):
            pair = {one: values[0], other: values[1]}
            if is_valid({"injection": "add", "initial_state": "embedding"} | pair) or (
                set(pair) != {"injection", "initial_state"}
            ):
                found.add(((one, values[0]), (other, values[1])))
    return found


def covering_rows():
    """Rows of FACTORS such that every required pair stands in one of them."""
    draw = random.Random(0)
    missing, rows = required_pairs(), []
    while missing:
        best, gain = None, 0
        for _ in range(60):
            # Begin with a pair that is missing; the rest is chance.
            row = {key: draw.choice(values) for key, values in FACTORS.items()}
            row |= dict(draw.choice(sorted(missing)))
            if is_valid(row) and len(pairs_of(row) & missing) > gain:
                best, gain = row, len(pairs_of(row) & missing)
        if best is not None:
            rows.append(best)
            missing -= pairs_of(best)
    return rows


# Every second one has scaled branches, and so has every component in some row.
ROWS = [
    row | {"branch_scale": ("none", "loops")[number % 2]}
    for number, row in enumerate(covering_rows())
]
CASES = [*PRESETS.items(), *(("custom", row) for row in ROWS)]
NAMES = [*PRESETS, *(f"row{len(PRESETS) + i}" for i in range(len(ROWS)))]


@functools.cache
def shapes(model):
    """Shapes of a model's parameters."""
    init = functools.partial(recurrent.init, config=model)
    return jax.eval_shape(init, jax.random.key(0))


@functools.cache
def draw(model, seed, scale):
    """Parameters without the structure of an init: nothing is zero or one."""
    random = np.random.default_rng(seed)
    normal = lambda leaf: np.float32(scale * random.standard_normal(leaf.shape))
    return jax.tree.map(normal, shapes(model))
