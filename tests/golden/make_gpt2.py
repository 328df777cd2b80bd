"""GPT-2 blocks of Hugging Face's transformers, looped, with one norm and a tied head.

Reference: Kohli et al. (2026), arXiv:2604.07822, Section 4. The weights have the names
of their released checkpoints.
"""

import numpy as np
import torch
import transformers
from transformers.models.gpt2 import modeling_gpt2

from tests.golden import inputs

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

    def forward(self, tokens, learned: bool):
        """Returns the states [R, B, T, D] and the logits [B, T, V]."""
        length = tokens.shape[1]
        state = self.token_embedding(tokens)
        if learned:
            state = state + self.position_embedding(torch.arange(length))
        # The blocks of transformers 5 add no causal triangle of their own.
        visible = torch.ones(length, length, dtype=torch.bool).tril()
        visible = visible & (tokens != 0)[:, None, None, :]
        mask = torch.zeros(visible.shape, dtype=state.dtype)
        mask = mask.masked_fill(~visible, torch.finfo(state.dtype).min)
        states = []
        for _ in range(LOOPS):
            for block in self.blocks:
                state = block(state, attention_mask=mask)
            states.append(state)
        return torch.stack(states), self.lm_head(self.ln_f(state))


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
        for name, learned in (("learned", True), ("none", False)):
            states, logits = model(torch.tensor(tokens).long(), learned)
            found[f"{name}/states"] = states.numpy()
            found[f"{name}/logits"] = logits.numpy()
    return found
