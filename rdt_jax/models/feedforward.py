"""The feed-forward branch: dense, gated, or a mixture of experts."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rdt_jax.models import experts, inits, products
from rdt_jax.models.architecture import ModelConfig

_ACTIVATIONS = {
    "gelu": lambda x: nn.gelu(x, approximate=True),  # The tanh form, GPT-2's.
    "relu": nn.relu,
}


class Mlp(nn.Module):
    """Two matrices and, between them, the function that `config.feedforward` names."""

    # Reads mlp_width, feedforward, bias and the keys of the initialization.
    config: ModelConfig

    @nn.compact
    def __call__(
        self, x: jax.Array, normed: jax.Array
    ) -> tuple[jax.Array, dict[str, experts.Route]]:
        """Maps [B, T, D] to [B, T, D]; reads `x` alone, and has no routes."""
        del normed
        hidden = _dense(self.config, x, self.config.size_of_mlp, "input")
        hidden = _ACTIVATIONS[self.config.feedforward](hidden)
        return _dense(self.config, hidden, x.shape[-1], "output"), {}


class SwiGlu(nn.Module):
    """A matrix, gated by the SiLU of another, and an output matrix.

    Reference: Shazeer (2020), arXiv:2002.05202.
    """

    config: ModelConfig  # reads mlp_width, bias and the keys of the initialization

    @nn.compact
    def __call__(
        self, x: jax.Array, normed: jax.Array
    ) -> tuple[jax.Array, dict[str, experts.Route]]:
        """Maps [B, T, D] to [B, T, D]; the gate reads `normed`, the rest `x`."""
        width = self.config.size_of_mlp
        gate = nn.silu(_dense(self.config, normed, width, "gate"))
        hidden = gate * _dense(self.config, x, width, "input")
        return _dense(self.config, hidden, x.shape[-1], "output"), {}


class SigmaMoe(nn.Module):
    """A mixture of small ReLU networks, weighted by sigmoids, without biases.

    Reference: Csordas et al. (2024), arXiv:2405.16039.
    """

    # Reads num_experts, expert_width, experts_per_token, expert_dispatch and the keys
    # of the initialization.
    config: ModelConfig

    @nn.compact
    def __call__(
        self, x: jax.Array, normed: jax.Array
    ) -> tuple[jax.Array, dict[str, experts.Route]]:
        """Maps [B, T, D] to [B, T, D]; the router reads `normed`, the experts `x`.

        Returns the branch, and the route `mlp` of [B, T, 1] routers.
        """
        config = self.config
        width, num_experts, inner = x.shape[-1], config.num_experts, config.expert_width
        router = self.param(
            "router", inits.router(config, width), (width, 1, num_experts)
        ).astype(x.dtype)
        logits = jnp.einsum("btd,dge->btge", normed, router)
        route = experts.route(logits, config.experts_per_token)
        keys = self.param(
            "keys", inits.weight(config, width), (num_experts, width, inner)
        ).astype(x.dtype)
        values = self.param(
            "values", inits.output(config, num_experts * inner),
            (num_experts, inner, width),
        ).astype(x.dtype)  # fmt: skip
        rows = x.reshape(-1, width)
        mix = (
            _mix_sorted
            if experts.use_sorted(
                config.expert_dispatch,
                num_experts=num_experts,
                chosen=config.experts_per_token,
                tokens=len(rows),
            )
            else _mix_dense
        )
        flat = jax.tree.map(lambda part: part.reshape(len(rows), -1), route)
        return mix(rows, keys, values, flat).reshape(x.shape), {"mlp": route}


FEEDFORWARDS: Mapping[str, type[Any]] = {
    "gelu": Mlp,
    "relu": Mlp,
    "swiglu": SwiGlu,
    "sigma_moe": SigmaMoe,
}


def _dense(config: ModelConfig, x: jax.Array, features: int, name: str) -> jax.Array:
    draw = inits.output if name == "output" else inits.weight
    init = draw(config, x.shape[-1])
    return products.dense(x, features, name, init=init, use_bias=config.bias == "all")


def _mix_dense(x, keys, values, route: experts.Route):
    """All experts on all rows [N, D]; what was not chosen is multiplied by zero."""
    num_experts, width, inner = keys.shape
    joined = keys.transpose(1, 0, 2).reshape(width, num_experts * inner)
    hidden = nn.relu(x @ joined).reshape(-1, num_experts, inner)
    hidden = hidden * experts.gates(route).astype(x.dtype)[:, :, None]
    return hidden.reshape(len(x), -1) @ values.reshape(-1, width)


def _mix_sorted(x, keys, values, route: experts.Route):
    """Each expert on the rows that chose it."""
    count = route.chosen.shape[-1]
    groups = experts.group(route.chosen.reshape(-1), len(keys))
    blocks = experts.gather(jnp.repeat(x, count, axis=0), groups)
    hidden = nn.relu(experts.multiply(blocks, keys, groups))
    rows = experts.scatter(experts.multiply(hidden, values, groups), groups)
    rows = rows.reshape(len(x), count, -1) * route.scores.astype(x.dtype)[:, :, None]
    return rows.sum(axis=1)
