"""The training of Kohli et al. (2026) in PyTorch: what JAX is measured against.

    python torch_reference.py < CASES.json       medians of all cases, as JSON
    python torch_reference.py --serve            what `rdt bench --torch-python` starts

Needs torch and transformers (`pip install -e '.[torch]'`) and nothing of rdt_jax, so it
may run in an environment of its own.

GPT-2 blocks of Hugging Face's transformers, looped, with eager attention, one norm and
a tied head that is computed at every position, as their code does; AdamW with PyTorch's
defaults and a linear warm-up; everything in float32. Batches are prepared beforehand
and indexed, so that no data loading is timed.

Reference: Kohli et al. (2026), arXiv:2604.07822, Section 4, and their code,
OSU-NLP-Group/Loop-Think-Generalize at 4e47341. Differs from it: float32 instead of
bfloat16 autocast, and no value of the loss is read back at each update.

A case is a dict: width, heads, blocks, loops, batch_size, length (tokens of a row,
padded), words (of these, not padding), vocab_size, position (learned, none), dropout,
embedding_dropout, embedding_std, label_smoothing, learning_rate, weight_decay, b1, b2,
epsilon, warmup_steps, threads.
"""

import argparse
import json
import statistics
import sys
import time

import numpy as np
import torch
import transformers
from transformers.models.gpt2 import modeling_gpt2

NUM_BATCHES = 16
PILOT_SECONDS = 0.1
ROUNDS = 5
SECONDS = 2.0  # of a round


class Looped(torch.nn.Module):
    """The released model's modules, named as there."""

    def __init__(self, case):
        super().__init__()
        config = transformers.GPT2Config(
            n_embd=case["width"],
            n_head=case["heads"],
            attn_pdrop=case["dropout"],
            resid_pdrop=case["dropout"],
            attn_implementation="eager",
        )
        self.num_loops = case["loops"]
        self.token_embedding = torch.nn.Embedding(case["vocab_size"], case["width"])
        torch.nn.init.normal_(self.token_embedding.weight, std=case["embedding_std"])
        self.position_embedding = None
        if case["position"] == "learned":
            self.position_embedding = torch.nn.Embedding(case["length"], case["width"])
            torch.nn.init.normal_(
                self.position_embedding.weight, std=case["embedding_std"]
            )
        self.embedding_dropout = torch.nn.Dropout(case["embedding_dropout"])
        self.blocks = torch.nn.ModuleList(
            modeling_gpt2.GPT2Block(config, layer_idx=i) for i in range(case["blocks"])
        )
        self.ln_f = torch.nn.LayerNorm(case["width"], eps=config.layer_norm_epsilon)
        self.lm_head = torch.nn.Linear(case["width"], case["vocab_size"], bias=False)
        self.lm_head.weight = self.token_embedding.weight

    def forward(self, tokens):
        """Returns the logits [B, T, V] of tokens [B, T]."""
        length = tokens.shape[1]
        state = self.token_embedding(tokens)
        if self.position_embedding is not None:
            state = state + self.position_embedding(torch.arange(length))
        state = self.embedding_dropout(state)
        # The blocks of transformers 5 add no causal triangle of their own.
        visible = torch.ones(length, length, dtype=torch.bool).tril()
        visible = visible & (tokens != 0)[:, None, None, :]
        mask = torch.zeros(visible.shape, dtype=state.dtype)
        mask = mask.masked_fill(~visible, torch.finfo(state.dtype).min)
        for _ in range(self.num_loops):
            for block in self.blocks:
                state = block(state, attention_mask=mask)
        return self.lm_head(self.ln_f(state))


def loss_of(model, tokens, targets, label_smoothing):
    """Returns the mean loss at the last position."""
    return torch.nn.functional.cross_entropy(
        model(tokens)[:, -1], targets, label_smoothing=label_smoothing
    )


def make_trainer(case):
    """Returns the facts of a case and `dispatch`: number of updates -> seconds."""
    torch.set_num_threads(case["threads"])
    torch.manual_seed(0)
    model = Looped(case).train()
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=case["learning_rate"],
        betas=(case["b1"], case["b2"]),
        eps=case["epsilon"],
        weight_decay=case["weight_decay"],
    )
    warm_up = lambda step: min(1.0, (step + 1) / max(1, case["warmup_steps"]))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_up)
    batches = []
    for _ in range(NUM_BATCHES):
        shape = (case["batch_size"], case["length"])
        tokens = torch.randint(1, case["vocab_size"], shape)
        tokens[:, case["words"] :] = 0
        batches.append((tokens, torch.randint(1, case["vocab_size"], shape[:1])))
    updates = 0

    def dispatch(num_updates):
        nonlocal updates
        begin = time.perf_counter()
        for _ in range(num_updates):
            tokens, targets = batches[updates % NUM_BATCHES]
            optimizer.zero_grad(set_to_none=True)
            loss_of(model, tokens, targets, case["label_smoothing"]).backward()
            optimizer.step()
            scheduler.step()
            updates += 1
        return time.perf_counter() - begin

    facts = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
    }
    return facts, dispatch


def updates_lasting(seconds, dispatch):
    """Returns how many updates last about `seconds`, at least one, by trying a few."""
    first = dispatch(1)
    if first > seconds:  # What lasts that long has little to warm up.
        return 1
    pilot = max(1, int(PILOT_SECONDS / dispatch(1)))
    return max(1, round(seconds * pilot / dispatch(pilot)))


def matmul_peak():
    """Returns the most operations per second of a float32 product of two matrices."""
    left, right = torch.randn(2048, 2048), torch.randn(2048, 2048)
    left @ right
    best = 0.0
    for _ in range(5):
        begin = time.perf_counter()
        left @ right
        best = max(best, 2 * 2048**3 / (time.perf_counter() - begin))
    return best


def serve(lines, answer):
    """Answers as `rdt_jax.profile.throughput.serve` does."""
    asked = iter(lines)
    case = json.loads(next(asked))
    facts, dispatch = make_trainer(case)
    answer(facts)
    questions = {
        "pilot": lambda seconds: {"updates": updates_lasting(seconds, dispatch)},
        "dispatch": lambda number: {"seconds": dispatch(int(number))},
        "peak": lambda _: {"flops_per_second": matmul_peak()},
    }
    for line in asked:
        word, number = line.split()
        answer(questions[word](float(number)))


def medians(cases):
    """Returns name -> the median updates per second of ROUNDS dispatches, and facts."""
    found = {}
    for name, case in cases.items():
        facts, dispatch = make_trainer(case)
        number = updates_lasting(SECONDS, dispatch)
        rates = [number / dispatch(number) for _ in range(ROUNDS)]
        found[name] = facts | {"updates_per_second": statistics.median(rates)}
    return found


def loss_with_weights(case, path):
    """Returns the loss of the weights and the batch in an npz file, without dropout."""
    content = np.load(path)
    model = Looped(case).eval()
    weights = {
        name.removeprefix("weights/"): torch.tensor(content[name])
        for name in content.files
        if name.startswith("weights/")
    }
    weights["lm_head.weight"] = weights["token_embedding.weight"]
    model.load_state_dict(weights)
    tokens = torch.tensor(content["tokens"]).long()
    targets = torch.tensor(content["targets"]).long()
    with torch.no_grad():
        return float(loss_of(model, tokens, targets, case["label_smoothing"]))


def main():
    """Reads cases from standard input and prints what was measured as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--serve", action="store_true", help="one case, step by step")
    parser.add_argument("--loss", metavar="FILE.npz", help="of one case, see same_loss")
    options = parser.parse_args()
    if options.serve:
        serve(sys.stdin, lambda value: print(json.dumps(value), flush=True))
    elif options.loss:
        case = json.load(sys.stdin)
        facts, _ = make_trainer(case)
        loss = loss_with_weights(case, options.loss)
        print(json.dumps({"loss": loss, "parameters": facts["parameters"]}))
    else:
        print(json.dumps(medians(json.load(sys.stdin)), indent=2))


if __name__ == "__main__":
    main()
