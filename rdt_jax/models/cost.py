"""What a model costs, by formula: its parameters, and the operations of an update.

Two counts of operations, of which a multiply-add is two. What a pass needs at the
least, to compare models: causal pairs of positions, of experts the chosen ones. And
what the program here multiplies: all pairs of rows above a few tokens, below that a
matrix of heads, all experts or padded blocks of tokens; it is XLA's count but for
elementwise work. Neither has recomputation or the optimizer; both count the gradient of
the first state, which up to four loops without remat leave out where it has none.
"""

from collections.abc import Mapping
from typing import NamedTuple

import ml_collections

from rdt_jax import wording
from rdt_jax.models import attention, experts, loop
from rdt_jax.models.architecture import ModelConfig

# Norms of a block; `peri` has one for each branch that reads a norm.
_NORMS = {"pre": 2, "post": 2, "sandwich": 4}
_MOST_PARAMETERS = 10**12
_GATED = ("swiglu", "sigma_moe")
_MATRICES = {"gelu": 2, "relu": 2, "swiglu": 3}  # D x F, of a dense feed-forward


class Passes(NamedTuple):
    """Operations of one row."""

    forward: int  # of the forward pass
    # Of the backward pass, twice those of the matrices that it goes through; once those
    # of the constant matrix of heads, which has no gradient.
    backward: int


def problems(config: ModelConfig) -> list[str]:
    """Lists why no machine could train a valid model."""
    numbers = sum(parameters(config).values())
    if numbers < _MOST_PARAMETERS:
        return []
    return [
        f"The model must have fewer than {_MOST_PARAMETERS:.0e} parameters, got "
        f"{float(numbers):.3g} with {describe(config)}."
    ]


def describe(config: ModelConfig) -> str:
    """Says how large a model is, in keys of its config."""
    return (
        f"model.width = {config.width}, {wording.count(config.num_blocks, 'block')}, "
        f"{config.vocab_size} words"
    )


def parameters(config: ModelConfig) -> dict[str, int]:
    """Returns the numbers in each part of what `recurrent.init` draws.

    A part that has none is left out, but for the three stages.
    """
    width, vocab, norm = config.width, config.vocab_size, _norm_parameters(config)
    block = _block_parameters(config)
    inject = {"concat": 2 * width**2, "diagonal": width**2 + 2 * width + norm}
    gated = config.residual.startswith("gated")
    stages = {
        "prelude": config.prelude_blocks * block,
        "core": config.core_blocks * block,
        "coda": config.coda_blocks * block,
    }
    around = {
        "embedding": vocab * width,
        "position": config.max_length * width * (config.position == "learned"),
        "inject": inject.get(config.injection, 0),
        "step": config.step_table * width * (config.step_embedding == "learned"),
        "gate": (2 * width**2 + width) * gated,
        "halting": (width + 1) * (config.halting == "act"),
        "final_norm": norm,
        "readout": (width * vocab + vocab) * (config.readout == "untied"),
    }
    return stages | {name: count for name, count in around.items() if count}


def passes(
    config: ModelConfig,
    *,
    num_loops: int,
    length: int,
    num_answers: int,
    backprop_depth: int | None = None,
    batch_size: int | None = None,
) -> Passes:
    """Counts the operations of one row, of length T, forward and backward.

    Gradients flow through the last `backprop_depth` loops only; None, or more than
    there are, for all. What stands before the loops then has a gradient through the
    injection alone. `batch_size` is B, for what the program multiplies in its share of
    a batch of so many rows; None for what a row needs at the least.
    """
    width = config.width
    block, constant = _block_flops(config, length, batch_size)
    position = length * 2 * width  # One number out of D, at every position.
    drive, enter = {"concat": (1, 1), "diagonal": (1, 0)}.get(config.injection, (0, 0))
    numbers = enter * width
    if config.residual.startswith("gated"):
        numbers += 2 * width
    if config.halting == "act":
        numbers += 1
    before = config.prelude_blocks * block + drive * width * position
    each = config.core_blocks * block + numbers * position
    after = config.coda_blocks * block + 2 * width * config.vocab_size * num_answers
    depth = num_loops if backprop_depth is None else min(backprop_depth, num_loops)
    reached = depth == num_loops or config.injection != "none"
    backward = 2 * (before * reached + depth * each + after)
    blocks = config.prelude_blocks * reached + depth * config.core_blocks
    return Passes(
        forward=round(before + num_loops * each + after),
        backward=round(backward - constant * (blocks + config.coda_blocks)),
    )


def training_flops(
    config: ModelConfig,
    recurrence: ml_collections.ConfigDict,
    *,
    length: int,
    num_answers: int,
    batch_size: int | None = None,
) -> Passes:
    """Counts the operations of one row of an update, the mean over drawn loop counts.

    Of the config's section `recurrence`; other arguments are those of `passes`.
    """
    forward = backward = 0.0
    for num_loops, share in enumerate(loop.loop_distribution(recurrence)):
        if share > 0:
            found = passes(
                config,
                num_loops=num_loops,
                length=length,
                num_answers=num_answers,
                backprop_depth=recurrence.backprop_depth,
                batch_size=batch_size,
            )
            forward += share * found.forward
            backward += share * found.backward
    return Passes(round(forward), round(backward))


def _norm_parameters(config: ModelConfig) -> int:
    sizes: Mapping[str, int] = {"layer": 2, "rms": 1}
    return sizes[config.norm] * config.width


def _block_parameters(config: ModelConfig) -> int:
    width, inner = config.width, config.num_heads * config.size_of_head
    hidden, biased = config.size_of_mlp, config.bias == "all"
    if config.attention == "switch_head":
        number = config.attention_experts
        attend = 2 * width * inner + 2 * inner * (config.bias != "none")
        attend += 2 * number * width * (inner + config.num_heads)  # And routers.
    else:
        biases = {"all": 3 * inner + width, "query_key": 2 * inner, "none": 0}
        attend = 4 * width * inner + biases[config.bias]
    if config.feedforward == "sigma_moe":
        mlp = config.num_experts * width * (1 + 2 * config.expert_width)
    else:
        matrices = _MATRICES[config.feedforward]
        mlp = matrices * width * hidden + ((matrices - 1) * hidden + width) * biased
    norms = _NORMS.get(config.norm_placement, 1 + (config.feedforward in _GATED))
    scales = 2 * width if config.residual.endswith("layerscale") else 0
    return attend + mlp + norms * _norm_parameters(config) + scales


def _block_flops(
    config: ModelConfig, length: int, batch_size: int | None
) -> tuple[float, float]:
    """Counts one block on one row, and those of its products with a constant."""
    width, heads = config.width, config.num_heads
    inner = heads * config.size_of_head
    tokens = None if batch_size is None else batch_size * length
    if config.attention == "switch_head":
        number, chosen = config.attention_experts, config.attention_experts_per_token
        used, is_sorted = _experts_used(config, number, chosen, heads, tokens)
        attend = 2 * width * (2 + 2 * used) * inner + 2 * width * 2 * heads * number
        if tokens is not None:  # Their weighted sums are products as well.
            sums = chosen * (inner + heads * width) if is_sorted else number * inner
            attend += 2 * sums
    else:
        attend = 2 * width * 4 * inner
    if config.feedforward == "sigma_moe":
        number, chosen = config.num_experts, config.experts_per_token
        used, _ = _experts_used(config, number, chosen, 1, tokens)
        mlp = 2 * width * (number + 2 * used * config.expert_width)
    else:
        mlp = 2 * width * _MATRICES[config.feedforward] * config.size_of_mlp
    pair = 2 * 2 * inner  # Scores and mixing.
    pairs = length * (length + 1) / 2
    constant = 0.0
    if batch_size is not None:
        if attention.is_short(length):
            pair *= heads  # By products with the 0/1 matrix of heads.
            constant = pairs * pair
        else:
            pairs = length**2
    return length * (attend + mlp) + pairs * pair, constant


def _experts_used(
    config: ModelConfig, number: int, chosen: int, routers: int, tokens: int | None
) -> tuple[float, bool]:
    """Returns experts per token and router, and whether tokens are sorted by them."""
    if tokens is None:
        return chosen, False
    if not experts.use_sorted(
        config.expert_dispatch, num_experts=number, chosen=chosen, tokens=tokens
    ):
        return number, False
    blocks, size = experts.blocks_of(tokens * routers * chosen, routers * number)
    return blocks * size / (tokens * routers), True
