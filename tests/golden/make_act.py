"""A Universal Transformer with adaptive computation time, from its equations.

References: Dehghani et al. (2018), arXiv:1807.03819, Section 2.1 and Appendix C; Graves
(2016), arXiv:1603.08983, Section 2. How much of each step a position keeps is worked
out position by position, after all steps have been taken.
"""

import math

import numpy as np
import torch
from torch.nn import functional

from tests.golden import inputs

WIDTH, HEADS, HIDDEN, STEPS, THRESHOLD = 12, 3, 20, 6, 0.99

SHAPES = {
    "embedding": (inputs.VOCAB, WIDTH),
    **{f"w_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "o")},
    **{f"b_{name}": (WIDTH,) for name in ("q", "k", "v", "o")},
    "w_hidden": (WIDTH, HIDDEN),
    "b_hidden": (HIDDEN,),
    "w_out": (HIDDEN, WIDTH),
    "b_out": (WIDTH,),
    **{
        f"{place}_norm_{name}": (WIDTH,)
        for place in ("attention", "transition", "final")
        for name in ("scale", "bias")
    },
    "w_halt": (WIDTH, 1),
    "b_halt": (1,),
}


def coordinates(step: int, length: int) -> torch.Tensor:
    """Returns the signal of positions from 0 and a step from 1, [T, D]."""
    signal = torch.zeros(length, WIDTH, dtype=torch.float64)
    for i in range(length):
        for j in range(WIDTH // 2):
            wavelength = 10_000 ** (2 * j / WIDTH)
            signal[i, 2 * j] = math.sin(i / wavelength) + math.sin(step / wavelength)
            signal[i, 2 * j + 1] = math.cos(i / wavelength) + math.cos(
                step / wavelength
            )
    return signal


def norm(w, place: str, x: torch.Tensor) -> torch.Tensor:
    """Normalizes the last axis."""
    scale, bias = w[f"{place}_norm_scale"], w[f"{place}_norm_bias"]
    return functional.layer_norm(x, (WIDTH,), scale, bias, eps=1e-5)


def transform(w, x: torch.Tensor, is_word: torch.Tensor) -> torch.Tensor:
    """Takes one step from states with coordinates, [B, T, D]."""
    query, key, value = (
        (x @ w[f"w_{name}"] + w[f"b_{name}"]).split(WIDTH // HEADS, dim=-1)
        for name in ("q", "k", "v")
    )
    length = x.shape[1]
    visible = torch.ones(length, length, dtype=torch.bool).tril() & is_word[:, None]
    heads = []
    for q, k, v in zip(query, key, value, strict=True):
        scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
        scores = scores.masked_fill(~visible, -math.inf)
        heads.append(scores.softmax(dim=-1) @ v)
    attended = torch.cat(heads, dim=-1) @ w["w_o"] + w["b_o"]
    a = norm(w, "attention", x + attended)
    hidden = torch.relu(a @ w["w_hidden"] + w["b_hidden"])
    return norm(w, "transition", a + hidden @ w["w_out"] + w["b_out"])


def shares(probabilities: list[torch.Tensor]):
    """Returns how much a position takes of each step, the steps, and the remainder."""
    taken, sum_before = [], torch.zeros((), dtype=torch.float64)
    for p in probabilities:
        if sum_before + p > THRESHOLD:
            remainder = 1 - sum_before
            return [*taken, remainder], len(taken) + 1, remainder
        taken.append(p)
        sum_before = sum_before + p
    return taken, len(taken), torch.zeros((), dtype=torch.float64)


def make() -> dict[str, np.ndarray]:
    """Returns weights (`weights/NAME`, float32) and float64 results."""
    drawn = inputs.draw(SHAPES, seed=1)
    drawn["w_halt"] *= 3  # Positions differ in their steps, and some never halt.
    drawn["b_halt"][:] = -2
    w = {k: torch.tensor(v).double().requires_grad_() for k, v in drawn.items()}
    tokens = inputs.tokens()
    state = w["embedding"][torch.tensor(tokens).long()]
    is_word = torch.tensor(tokens != 0)
    halting, transformed = [], []
    for step in range(1, STEPS + 1):
        entered = state + coordinates(step, inputs.LENGTH)
        halting.append(torch.sigmoid(entered @ w["w_halt"] + w["b_halt"])[..., 0])
        state = transform(w, entered, is_word)
        transformed.append(state)
    rows, costs = [], []
    updates, remainders = np.zeros(tokens.shape), np.zeros(tokens.shape)
    for b, t in np.ndindex(tokens.shape):
        taken, steps, remainder = shares([p[b, t] for p in halting])
        output = torch.zeros(WIDTH, dtype=torch.float64)
        for share, new in zip(taken, transformed, strict=False):
            output = share * new[b, t] + (1 - share) * output
        rows.append(output)
        updates[b, t], remainders[b, t] = steps, remainder.item()
        costs.append(steps + remainder)
    outputs = torch.stack(rows).reshape(*tokens.shape, WIDTH)
    ponder = torch.stack(costs).mean()
    gradients = torch.autograd.grad(
        ponder, [w["w_halt"], w["b_halt"], w["w_v"]], retain_graph=True
    )
    logits = norm(w, "final", outputs) @ w["embedding"].T
    found = {f"weights/{k}": v for k, v in drawn.items()}
    found |= {"tokens": tokens, "updates": updates, "remainders": remainders}
    for name, value in (("outputs", outputs), ("logits", logits), ("ponder", ponder)):
        found[name] = value.detach().numpy()
    for name, value in zip(("w_halt", "b_halt", "w_v"), gradients, strict=True):
        found[f"ponder_gradient/{name}"] = value.numpy()
    return found
