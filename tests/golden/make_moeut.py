"""MoEUT from its equations: every token fetches the matrices of its own experts.

Reference: Csordas et al. (2024), arXiv:2405.16039; its attention is that of Csordas et
al. (2023), arXiv:2312.07987. Rotations are products of complex numbers.
"""

import math

import numpy as np
import torch
from torch.nn import functional

from tests.golden import inputs

WIDTH, HEADS, HEAD, GROUP, REPEATS = 12, 2, 8, 2, 3
EXPERTS, EXPERT_WIDTH, CHOSEN = 7, 5, 3
ATTENTION_EXPERTS, ATTENTION_CHOSEN = 4, 2

LAYER = {
    "w_q": (HEADS, WIDTH, HEAD),
    "w_k": (HEADS, WIDTH, HEAD),
    "w_v": (HEADS, ATTENTION_EXPERTS, WIDTH, HEAD),
    "w_o": (HEADS, ATTENTION_EXPERTS, HEAD, WIDTH),
    "select_v": (HEADS, WIDTH, ATTENTION_EXPERTS),
    "select_o": (HEADS, WIDTH, ATTENTION_EXPERTS),
    "select": (WIDTH, EXPERTS),
    "keys": (EXPERTS, WIDTH, EXPERT_WIDTH),
    "values": (EXPERTS, EXPERT_WIDTH, WIDTH),
    "attention_norm_scale": (WIDTH,),
    "attention_norm_bias": (WIDTH,),
    "mlp_norm_scale": (WIDTH,),
    "mlp_norm_bias": (WIDTH,),
}
SHAPES = {
    "embedding": (inputs.VOCAB, WIDTH),
    **{f"{i}/{name}": shape for i in range(GROUP) for name, shape in LAYER.items()},
    "final_norm_scale": (WIDTH,),
    "final_norm_bias": (WIDTH,),
    "w_head": (WIDTH, inputs.VOCAB),
    "b_head": (inputs.VOCAB,),
}


def norm(w, place: str, x: torch.Tensor) -> torch.Tensor:
    """Normalizes the last axis."""
    scale, bias = w[f"{place}_norm_scale"], w[f"{place}_norm_bias"]
    return functional.layer_norm(x, (WIDTH,), scale, bias, eps=1e-5)


def turn(x: torch.Tensor) -> torch.Tensor:
    """Rotates the first half of a head by its position, [B, T, K]."""
    pairs = HEAD // 4
    rate = 10_000.0 ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
    angle = torch.arange(x.shape[1], dtype=torch.float64)[:, None] * rate
    number = torch.complex(x[..., :pairs], x[..., pairs : 2 * pairs])
    number = number * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([number.real, number.imag, x[..., 2 * pairs :]], dim=-1)


def attend(w, x: torch.Tensor, is_word: torch.Tensor, history) -> torch.Tensor:
    """Returns the attention branch of raw states, [B, T, D]."""
    normed = norm(w, "attention", x)
    length = x.shape[1]
    visible = torch.ones(length, length, dtype=torch.bool).tril() & is_word[:, None]
    branch = torch.zeros_like(x)
    for head in range(HEADS):
        query, key = (turn(normed @ w[n][head]) / HEAD**0.25 for n in ("w_q", "w_k"))
        router_v, router_o = (normed @ w[n][head] for n in ("select_v", "select_o"))
        history.setdefault(f"v{head}", []).append(router_v)
        history.setdefault(f"o{head}", []).append(router_o)
        best, chosen = router_v.sigmoid().topk(ATTENTION_CHOSEN, dim=-1)
        experts = w["w_v"][head][chosen]  # [B, T, k, D, K]
        value = torch.einsum("btd,btedk,bte->btk", x, experts, best)
        scores = (query @ key.transpose(1, 2)).masked_fill(~visible, -math.inf)
        mixed = scores.softmax(dim=-1) @ value
        best, chosen = router_o.sigmoid().topk(ATTENTION_CHOSEN, dim=-1)
        experts = w["w_o"][head][chosen]  # [B, T, k, K, D]
        branch = branch + torch.einsum("btk,btekd,bte->btd", mixed, experts, best)
    return branch


def mix(w, x: torch.Tensor, history) -> torch.Tensor:
    """Returns the feed-forward branch of raw states, [B, T, D]."""
    router = norm(w, "mlp", x) @ w["select"]
    history.setdefault("mlp", []).append(router)
    best, chosen = router.sigmoid().topk(CHOSEN, dim=-1)
    hidden = torch.einsum("btd,btedf->btef", x, w["keys"][chosen]).relu()
    return torch.einsum("btef,btefd,bte->btd", hidden, w["values"][chosen], best)


def negative_entropy(history: list[torch.Tensor]) -> torch.Tensor:
    """Returns that of the mean distribution over repeats and time, mean over rows."""
    p = torch.stack(history).softmax(dim=-1).mean(dim=(0, 2))  # [B, E]
    return (p * p.log()).sum(dim=-1).mean()


def make() -> dict[str, np.ndarray]:
    """Returns weights (`weights/NAME`, float32) and float64 results."""
    drawn = inputs.draw(SHAPES, seed=2)
    w = {k: torch.tensor(v).double() for k, v in drawn.items()}
    layers = [{n: w[f"{i}/{n}"] for n in LAYER} for i in range(GROUP)]
    tokens = inputs.tokens()
    is_word = torch.tensor(tokens != 0)
    state = w["embedding"][torch.tensor(tokens).long()]
    histories, states = [{} for _ in layers], []
    for _ in range(REPEATS):
        for layer, history in zip(layers, histories, strict=True):
            state = state + attend(layer, state, is_word, history)
            state = state + mix(layer, state, history)
        states.append(state)
    logits = norm(w, "final", state) @ w["w_head"] + w["b_head"]
    regularizers = {"mlp": 0.0, "attention": 0.0}
    for history in histories:
        regularizers["mlp"] += negative_entropy(history["mlp"])
        for kind in ("v", "o"):
            heads = [negative_entropy(history[f"{kind}{h}"]) for h in range(HEADS)]
            regularizers["attention"] += sum(heads) / HEADS
    found = {f"weights/{k}": v for k, v in drawn.items()}
    found |= {"tokens": tokens, "states": torch.stack(states).numpy()}
    found["logits"] = logits.numpy()
    for name, value in regularizers.items():
        found[f"router_entropy_{name}"] = value.numpy()
    return found
