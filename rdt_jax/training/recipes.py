"""What is said to bring generalization forward, and which config keys switch it on."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Recipe(NamedTuple):
    """A way to train."""

    summary: str  # its effect, in at most eight words
    overrides: Mapping[str, Any]  # values that switch it on, by dotted config key
    source: str  # authors, year and place


_GROKFAST = "Lee et al. 2024, arXiv:2405.20233"
_PRIETO = "Prieto et al. 2025, arXiv:2501.04697"
_OMNIGROK = "Liu et al. 2022, arXiv:2210.01117"

RECIPES: Mapping[str, Recipe] = {
    "weight_decay": Recipe(
        "shrinks the weights by rate times decay",
        {"optimizer.weight_decay": 1.0},
        "Power et al. 2022, arXiv:2201.02177",
    ),
    "decay_blocks": Recipe(
        "decays the matrices of the blocks only",
        {"optimizer.decayed": "blocks"},
        "common practice",
    ),
    "muon": Recipe(
        "orthogonalizes the updates of the blocks' matrices",
        {"optimizer.name": "muon"},
        "Tveit et al. 2025, arXiv:2504.16041",
    ),
    "lion": Recipe(
        "updates by the sign of a momentum",
        {"optimizer.name": "lion"},
        "Chen et al. 2023, arXiv:2302.06675",
    ),
    "sgd": Recipe(
        "updates by the momentum itself",
        {"optimizer.name": "sgd"},
        "Polyak 1964",
    ),
    "wsd": Recipe(
        "constant rate, linear decay at the end",
        {"optimizer.schedule": "wsd"},
        "Hu et al. 2024, arXiv:2404.06395",
    ),
    "clip": Recipe(
        "bounds the L2 norm of the gradient",
        {"gradient.clip_norm": 1.0},
        "Pascanu et al. 2013, arXiv:1211.5063",
    ),
    "micro_batches": Recipe(
        "averages gradients part by part, saving memory",
        {"gradient.micro_batches": 4},
        "common practice",
    ),
    "grokfast_ema": Recipe(
        "adds the gradient's moving average to it",
        {"gradient.filter": "grokfast_ema"},
        _GROKFAST,
    ),
    "grokfast_ma": Recipe(
        "adds the mean of the last gradients",
        {"gradient.filter": "grokfast_ma", "gradient.filter_strength": 5.0},
        _GROKFAST,
    ),
    "orthogonal": Recipe(
        "removes the gradient's part along the weights",
        {"gradient.orthogonal": True},
        _PRIETO,
    ),
    "stablemax": Recipe(
        "a softmax that grows linearly, without collapse",
        {"loss.function": "stablemax"},
        _PRIETO,
    ),
    "float64_loss": Recipe(
        "computes the loss in float64, without collapse",
        {"loss.dtype": "float64"},
        _PRIETO,
    ),
    "init_scale": Recipe(
        "starts from smaller or larger weights",
        {"model.init_scale": 0.8},
        _OMNIGROK,
    ),
    "constant_norm": Recipe(
        "keeps the weights at their first norm",
        {"optimizer.constant_norm": True},
        _OMNIGROK,
    ),
    "label_smoothing": Recipe(
        "gives every word a share of the target",
        {"loss.label_smoothing": 0.1},
        "Szegedy et al. 2016, arXiv:1512.00567",
    ),
    "dropout": Recipe(
        "zeroes a share of attention and branch outputs",
        {"model.dropout": 0.1},
        "Srivastava et al. 2014, JMLR 15",
    ),
    "deep_supervision": Recipe(
        "trains the answer after every loop",
        {"loss.deep_supervision": 0.5},
        "Chen 2026, arXiv:2603.21676",
    ),
    "block_similarity": Recipe(
        "pulls unlooped blocks towards a looped stack",
        {"loss.block_similarity": 1.0, "model.core_blocks": 2},
        "Saunshi et al. 2025, arXiv:2502.17416",
    ),
    "bfloat16": Recipe(
        "computes activations in bfloat16",
        {"model.dtype": "bfloat16"},
        "common practice",
    ),
}
