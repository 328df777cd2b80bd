"""The static shape of a model and the names of its components."""

import dataclasses

import jax.numpy as jnp

# Of the activations; parameters are float32. float64 needs JAX_ENABLE_X64.
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float64": jnp.float64}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Static shape and components of a model; hashable, so a jit static argument.

    One field per key of the `model` section, explained in configs/base.py. What has a
    default here may be left out: it is then absent, as in Kohli et al.
    """

    vocab_size: int  # V
    max_length: int  # T, of the position table
    width: int  # D
    num_heads: int  # H
    mlp_ratio: int  # F / D
    prelude_blocks: int
    core_blocks: int  # L
    coda_blocks: int
    position: str  # of layers.POSITIONS
    output_init: str  # of inits.OUTPUT_INITS
    embedding_std: float
    dtype: str  # of DTYPES, of the activations; parameters are float32
    remat: str  # of loop.REMAT
    head_width: int | None = None  # K; None: D / H
    mlp_width: int | None = None  # F; None: mlp_ratio * D
    attention: str = "dense"  # of attention.ATTENTIONS
    attention_experts: int = 4
    attention_experts_per_token: int = 2
    feedforward: str = "gelu"  # of feedforward.FEEDFORWARDS
    num_experts: int = 16
    expert_width: int = 32
    experts_per_token: int = 4
    expert_dispatch: str = "auto"  # of experts.DISPATCHES
    bias: str = "all"  # of attention.BIASES
    norm_placement: str = "pre"  # of layers.PLACEMENTS
    norm: str = "layer"  # of layers.NORMS
    norm_before_coda: bool = False
    position_every_loop: bool = False
    rope_fraction: float = 1.0
    rope_base: float = 10_000.0
    injection: str = "none"  # of components.INJECTIONS
    initial_state: str = "embedding"  # of components.INITIAL_STATES
    initial_state_std: float = 0.632
    step_embedding: str = "none"  # of components.STEP_EMBEDDINGS
    step_table: int = 32
    residual: str = "plain"  # of components.RESIDUALS
    gate_bias: float = -2.0
    layer_scale: float = 1e-4
    branch_scale: str = "none"  # of components.BRANCH_SCALES
    branch_loops: float | None = None  # mean loop count of updates, if that reads it
    halting: str = "none"  # of act.HALTINGS
    halting_bias: float = -3.0
    halting_threshold: float = 0.99
    readout: str = "tied"  # of components.READOUTS
    weight_init: str = "gpt2"  # of inits.WEIGHT_INITS
    init_depth: int | None = None
    scale_embedding: bool = False

    @property
    def size_of_head(self) -> int:
        """Returns K."""
        return self.head_width or self.width // self.num_heads

    @property
    def size_of_mlp(self) -> int:
        """Returns F."""
        return self.mlp_width or self.mlp_ratio * self.width

    @property
    def num_blocks(self) -> int:
        """Returns how many blocks have weights of their own."""
        return self.prelude_blocks + self.core_blocks + self.coda_blocks


def wide(dtype: jnp.dtype) -> jnp.dtype:
    """Returns the dtype in which norms, softmax and losses of `dtype` are counted."""
    return jnp.promote_types(dtype, jnp.float32)
