"""GPT-2 blocks of Hugging Face's transformers, looped, with one norm and a tied head.

Reference: Kohli et al. (2026), arXiv:2604.07822, Section 4. The weights have the names
of their released checkpoints, and the options are those of train_extrapolation.py of
OSU-NLP-Group/Loop-Think-Generalize at 4e47341: kinds of positions, input injection, and
rows that are all padded to one length and answered at its last position.
"""

import json
import math
import pathlib
import re

import numpy as np
import torch
import transformers
from transformers.models.gpt2 import modeling_gpt2

from tests.golden import inputs
from tests.tasks import ltg_folders

WIDTH, HEADS, BLOCKS, LOOPS = 12, 3, 2, 3


class Looped(torch.nn.Module):
    """The released model's modules, named as there."""

    def __init__(self):
        super().__init__()
        config = transformers.GPT2Config(
            n_embd=WIDTH,
            n_head=HEADS,
            attn_pdrop=0.0,
            resid_pdrop=0.0,
            attn_implementation="eager",
        )
        self.token_embedding = torch.nn.Embedding(inputs.VOCAB, WIDTH)
        self.position_embedding = torch.nn.Embedding(inputs.LENGTH, WIDTH)
        self.blocks = torch.nn.ModuleList(
            modeling_gpt2.GPT2Block(config, layer_idx=i) for i in range(BLOCKS)
        )
        self.ln_f = torch.nn.LayerNorm(WIDTH, eps=config.layer_norm_epsilon)
        self.lm_head = torch.nn.Linear(WIDTH, inputs.VOCAB, bias=False)
        self.lm_head.weight = self.token_embedding.weight

    def forward(self, tokens, position: str, injects: bool = False):
        """Returns the states [R, B, T, D] and the logits [B, T, V]."""
        length = tokens.shape[1]
        state = self.token_embedding(tokens)
        if position == "learned":
            state = state + self.position_embedding(torch.arange(length))
        if position == "sinusoidal":
            state = state + sinusoids().to(state.dtype)[:length]
        embedded = state
        # The blocks of transformers 5 add no causal triangle of their own.
        visible = torch.ones(length, length, dtype=torch.bool).tril()
        visible = visible & (tokens != 0)[:, None, None, :]
        mask = torch.zeros(visible.shape, dtype=state.dtype)
        mask = mask.masked_fill(~visible, torch.finfo(state.dtype).min)
        states = []
        for loop in range(LOOPS):
            if injects and loop > 0:
                state = state + embedded
            for block in self.blocks:
                state = block(state, attention_mask=mask)
            states.append(state)
        return torch.stack(states), self.lm_head(self.ln_f(state))


def sinusoids() -> torch.Tensor:
    """Returns the buffer `pe`, float32 [T, D]: sine and cosine of each pair of numbers.

    Pair i of position p has the angle p / 10000^(2 i / D).
    """
    table = torch.empty(inputs.LENGTH, WIDTH)
    for position in range(inputs.LENGTH):
        for pair in range(WIDTH // 2):
            angle = position / 10_000 ** (2 * pair / WIDTH)
            table[position, 2 * pair] = math.sin(angle)
            table[position, 2 * pair + 1] = math.cos(angle)
    return table


def many_hops() -> np.ndarray:
    """Returns the rows of a folder of many hops, int64 [N, T], as the script pads them.

    Every third row of each file; the longest has 6 of the 11 tokens.
    """
    folder = pathlib.Path(ltg_folders.example("extrapolation"))
    words = ["<pad>", *json.loads((folder / "vocab.json").read_text())]
    found = []
    for name in ("train.json", "test.json"):
        for item in json.loads((folder / name).read_text())[::3]:
            row = [words.index(w) for w in re.findall("<[^>]+>", item["input_text"])]
            found.append(row + (inputs.LENGTH - len(row)) * [0])
    return np.array(found)


def make() -> dict[str, np.ndarray]:
    """Returns weights (`weights/NAME`, float32) and float64 results."""
    torch.manual_seed(0)
    model = Looped().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = torch.randn_like(parameter)
            if ".ln_" in name or name.startswith("ln_f"):
                parameter.copy_(0.3 * drawn + name.endswith("weight"))
            elif parameter.ndim == 2 and "embedding" not in name:
                parameter.copy_(drawn / parameter.shape[0] ** 0.5)
            else:
                parameter.copy_(0.3 * drawn)
        found = {
            f"weights/{k}": v.numpy().copy() for k, v in model.state_dict().items()
        }
        tokens = inputs.tokens()
        found["tokens"] = tokens
        model = model.double()
        for name in ("learned", "none"):
            states, logits = model(torch.tensor(tokens).long(), name)
            found[f"{name}/states"] = states.numpy()
            found[f"{name}/logits"] = logits.numpy()
        found["pe"] = sinusoids().numpy()
        found["many_hops/tokens"] = many_hops().astype(np.int8)
        for position in ("learned", "sinusoidal", "none"):
            for injection in ("none", "add"):
                rows = torch.tensor(many_hops())
                _, logits = model(rows, position, injection == "add")
                key = f"many_hops/{position}/{injection}"
                found[key] = logits[:, -1].float().numpy()
    return found
