"""From a run's config to a model: names stand for choices of components."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import ml_collections

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.models import (
    act,
    attention,
    components,
    cost,
    feedforward,
    inits,
    layers,
    loop,
)
from rdt_jax.models.architecture import ModelConfig

# Every component of the skeleton: model key -> its choices.
COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "attention": tuple(attention.ATTENTIONS),
    "feedforward": tuple(feedforward.FEEDFORWARDS),
    "norm_placement": tuple(layers.PLACEMENTS),
    "norm": tuple(layers.NORMS),
    "position": layers.POSITIONS,
    "injection": tuple(components.INJECTIONS),
    "initial_state": tuple(components.INITIAL_STATES),
    "step_embedding": tuple(components.STEP_EMBEDDINGS),
    "residual": components.RESIDUALS,
    "branch_scale": tuple(components.BRANCH_SCALES),
    "halting": act.HALTINGS,
    "readout": tuple(components.READOUTS),
    "bias": attention.BIASES,
    "weight_init": tuple(inits.WEIGHT_INITS),
    "output_init": tuple(inits.OUTPUT_INITS),
}


class Preset(NamedTuple):
    """A published model."""

    source: str  # whose it is
    summary: str  # what sets it apart
    # Model keys and the values that they may have under this name. A preset sets
    # nothing: a named config does, and `problems` compares the two.
    keys: Mapping[str, tuple[Any, ...]]


# The keys that `size_problems` reads.
SIZES = {
    f"model.{key}"
    for key in (
        "width", "num_heads", "head_width", "prelude_blocks", "core_blocks",
        "coda_blocks",
    )
}  # fmt: skip
_MOST_BLOCKS = 1000

# What a plain stack of blocks lacks; injection `diagonal` and a scale of the branches
# may be tried with any model.
_NO_EXTRAS: Mapping[str, tuple[Any, ...]] = {
    "initial_state": ("embedding",),
    "step_embedding": ("none",),
    "residual": ("plain",),
    "halting": ("none",),
    "position_every_loop": (False,),
    "norm_before_coda": (False,),
}
_GPT2: Mapping[str, tuple[Any, ...]] = {
    "attention": ("dense",),
    "norm_placement": ("pre",),
    "norm": ("layer",),
    "bias": ("all",),
}

PRESETS: Mapping[str, Preset] = {
    "rdt": Preset(
        "Kohli et al. (2026), arXiv:2604.07822, Section 4",
        "GPT-2 blocks, L of them, run R times",
        {
            **_GPT2,
            **_NO_EXTRAS,
            "feedforward": ("gelu",),
            "injection": ("none", "add", "diagonal"),
            "position": ("learned", "sinusoidal", "none"),
        },
    ),
    "feedforward": Preset(
        "what every claim about loops is compared with (Saunshi et al. 2025, "
        "arXiv:2502.17416)",
        "one loop: as many parameters or as many FLOPs as a looped model",
        {
            **_NO_EXTRAS,
            "injection": ("none",),
            "residual": ("plain", "layerscale"),
            "branch_scale": ("none", "depth"),  # The others are 1 in one loop.
        },
    ),
    "universal": Preset(
        "Dehghani et al. (2018), arXiv:1807.03819, Section 2",
        "post-norm, coordinates at every loop, halting per position (or none)",
        {
            **_GPT2,
            **_NO_EXTRAS,
            "feedforward": ("relu",),
            "norm_placement": ("post",),
            "bias": ("all", "none"),
            "position": ("sinusoidal",),
            "position_every_loop": (True,),
            "injection": ("none", "diagonal"),
            "step_embedding": ("sinusoidal",),
            "halting": act.HALTINGS,
        },
    ),
    "moeut": Preset(
        "Csordas et al. (2024), arXiv:2405.16039",
        "a looped group of blocks with experts in both branches, peri-norm, half-RoPE",
        {
            **_NO_EXTRAS,
            "attention": ("switch_head",),
            "feedforward": ("sigma_moe",),
            "norm_placement": ("peri",),
            "norm": ("layer",),
            "bias": ("none",),
            "position": ("rope",),
            "rope_fraction": (0.5,),
            "injection": ("none", "diagonal"),
            "weight_init": ("moeut",),
            "readout": ("untied",),
        },
    ),
    "huginn": Preset(
        "Geiping et al. (2025), arXiv:2502.05171, Section 3",
        "prelude, core, coda; sandwich norms, adapter, random initial state",
        {
            **_NO_EXTRAS,
            "attention": ("dense",),
            "feedforward": ("swiglu",),
            "norm_placement": ("sandwich",),
            "norm": ("rms",),
            "norm_before_coda": (True,),
            "bias": ("query_key",),
            "position": ("rope",),
            "injection": ("concat", "add", "diagonal"),
            "initial_state": ("normal",),
            "weight_init": ("huginn",),
            "scale_embedding": (True,),
            "readout": ("tied",),
        },
    ),
    "gated": Preset(
        "Chen (2026), arXiv:2603.21676",
        "pre-norm, step embeddings, a gate that begins nearly shut, LayerScale",
        {
            **_GPT2,
            **_NO_EXTRAS,
            "injection": ("none", "diagonal"),
            "step_embedding": ("learned",),
            "residual": ("gated", "gated_layerscale"),
        },
    ),
    "custom": Preset("no paper", "any valid choice of components", {}),
}


def model_config(config: ml_collections.ConfigDict, table: tasks.Table) -> ModelConfig:
    """Returns the model that a run trains on `table`."""
    return sized(config, len(table.vocab), table.tokens.shape[1])


def sized(
    config: ml_collections.ConfigDict, vocab_size: int, max_length: int
) -> ModelConfig:
    """Returns the model of a run whose table has so many words, V, and tokens, T."""
    section = config.model.to_dict()
    del section["preset"]  # A name; the keys beside it say what the model is.
    for key in ("dropout", "embedding_dropout", "init_scale"):  # Traced, no shapes.
        del section[key]
    if section["branch_scale"] in ("loops", "depth"):
        section["branch_loops"] = loop.mean_loops(config.recurrence)
    return ModelConfig(vocab_size=vocab_size, max_length=max_length, **section)


class Matched(NamedTuple):
    """A feed-forward comparison, and how well it matches."""

    config: ml_collections.ConfigDict  # of the feed-forward run
    parameters: int  # numbers in its parameters
    target_parameters: int  # those of the looped model
    flops: int  # floating-point operations per row of an update, without recomputation
    target_flops: int  # those of the looped model at its training loop count


def feedforward_like(config: ml_collections.ConfigDict, match: str) -> Matched:
    """Builds the feed-forward transformer that a looped model is compared with.

    Its blocks are those of the looped model, each run once; what belongs to the loop
    (injection, initial state, step embedding, gate, halting, 1 / R on branches) is left
    out. `match` is `params`: as many blocks (iso-parameter); or `flops`: as many as the
    looped model runs, each with weights of its own (iso-FLOP); another is a ValueError.
    """
    if match not in ("params", "flops"):
        raise ValueError(f"match must be params or flops, got {match!r}.")
    times = config.recurrence.num_loops if match == "flops" else 1
    has_scale = "layerscale" in config.model.residual
    by_depth = config.model.branch_scale == "depth"
    like = configs.override(
        config,
        {
            **{f"model.{key}": values[0] for key, values in _NO_EXTRAS.items()},
            "model.preset": "feedforward",
            "model.core_blocks": times * config.model.core_blocks,
            "model.injection": "none",
            "model.residual": "layerscale" if has_scale else "plain",
            "model.branch_scale": "depth" if by_depth else "none",
            **loop.fixed_count(1),
            "recurrence.backprop_depth": None,
        },
    )
    table = tasks.make_table(config)
    (ours, our_flops), (theirs, their_flops) = (
        (
            sum(cost.parameters(model_config(one, table)).values()),
            update_flops(one, table) // one.batch_size,
        )
        for one in (like, config)
    )
    return Matched(like, ours, theirs, our_flops, their_flops)


def update_flops(
    config: ml_collections.ConfigDict,
    table: tasks.Table,
    length: int | None = None,
    batch_size: int | None = None,
) -> int:
    """Counts the operations of an update of a run, the mean over drawn loop counts.

    `length` is T, None for that of the table; `batch_size` is that of `cost.passes`.
    """
    per_row = cost.training_flops(
        model_config(config, table),
        config.recurrence,
        length=length or table.tokens.shape[1],
        num_answers=table.targets.shape[1],
        batch_size=batch_size,
    )
    return config.batch_size * sum(per_row)


def size_problems(config: ml_collections.ConfigDict) -> list[str]:
    """Lists what of SIZES does not go together."""
    model, found = config.model, []
    blocks = model.prelude_blocks + model.core_blocks + model.coda_blocks
    if blocks > _MOST_BLOCKS:
        found.append(
            "model.prelude_blocks, core_blocks and coda_blocks must be at most "
            f"{_MOST_BLOCKS} together, since each is compiled, got {blocks}."
        )
    if model.head_width is None and model.width % model.num_heads:
        found.append(
            f"model.width ({model.width}) must be a multiple of model.num_heads "
            f"({model.num_heads}), or model.head_width must be given."
        )
    return found


def problems(config: ml_collections.ConfigDict) -> list[str]:
    """Lists what of the `model` and `recurrence` sections does not go together."""
    model, found = config.model, []
    if model.dtype == "float64" and not jax.config.read("jax_enable_x64"):
        found.append("model.dtype float64 needs JAX_ENABLE_X64=1 in the environment.")
    return found or _preset_problems(config) + _combination_problems(config)


def _preset_problems(config: ml_collections.ConfigDict) -> list[str]:
    """Lists the keys that are not what the preset's name says."""
    model = config.model
    found = [
        f"model.{key} must be {' or '.join(str(v).lower() for v in values)} in preset "
        f"{model.preset}, got {str(model[key]).lower()}; model.preset custom allows "
        "any valid choice."
        for key, values in PRESETS[model.preset].keys.items()
        if model[key] not in values
    ]
    loops = config.recurrence.num_loops
    if model.preset == "feedforward" and loops != 1:
        found.append(
            f"recurrence.num_loops must be 1 in preset feedforward, got {loops}."
        )
    return found


def _combination_problems(config: ml_collections.ConfigDict) -> list[str]:
    """Lists components that do not go together; names and ranges are well."""
    model, found = config.model, []
    if model.injection == "none" and model.initial_state != "embedding":
        found.append(
            f"model.injection none with model.initial_state {model.initial_state} "
            "hides the tokens from the core; choose injection add, concat or diagonal, "
            "or initial_state embedding."
        )
    if model.position_every_loop and model.position not in ("learned", "sinusoidal"):
        found.append(
            "model.position_every_loop needs model.position learned or sinusoidal, "
            f"which are added to the state, got {model.position}."
        )
    if model.position_every_loop and model.prelude_blocks:
        found.append(
            "model.position_every_loop hides positions from the prelude; "
            f"model.prelude_blocks must be 0, got {model.prelude_blocks}."
        )
    if model.norm_before_coda and not model.coda_blocks:
        found.append("model.norm_before_coda needs model.coda_blocks above 0, got 0.")
    if model.position == "rope":
        head = model.head_width or model.width // model.num_heads
        if int(head * model.rope_fraction) < 2:
            found.append(
                f"model.rope_fraction ({model.rope_fraction}) of a head of {head} "
                "numbers must hold at least one pair of them."
            )
    chosen = {
        "sigma_moe": ("feedforward", "experts_per_token", "num_experts", 1),
        "switch_head": (
            "attention", "attention_experts_per_token", "attention_experts", 2,
        ),
    }  # fmt: skip
    for name, (component, key, number, least) in chosen.items():
        if model[component] != name:
            continue
        if model[number] < least:
            found.append(
                f"model.{number} must be at least {least} with model.{component} "
                f"{name}, got {model[number]}."
            )
        if model[key] > model[number]:
            found.append(
                f"model.{key} must be at most model.{number} ({model[number]}), "
                f"got {model[key]}."
            )
    for key in ("weight_init", "output_init"):
        if model[key] in inits.NEED_DEPTH and model.init_depth is None:
            found.append(
                f"model.{key} {model[key]} needs model.init_depth, the number of "
                "blocks that a pass runs, got none."
            )
    recurrence = config.recurrence
    drawn = recurrence.max_loops or 1
    most = max(recurrence.num_loops, *recurrence.eval_loops, drawn)
    if model.step_embedding == "learned" and most > model.step_table:
        found.append(
            f"model.step_table must be at least {most}, the most loops of recurrence."
            f"num_loops and eval_loops, with model.step_embedding learned, got "
            f"{model.step_table}."
        )
    return found
