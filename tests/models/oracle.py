"""The model once more, in numpy: one row, one token, one head, one expert at a time.

Slow and obvious on purpose. It shares nothing with the package but the names of the
parameters and the drawing of the random initial state.
"""

import functools
import math

import jax
import numpy as np


def run(params, tokens, answers, config, num_loops, written_out=True):
    """Runs a batch row by row, in float64.

    Args:
      params: leaves of any float dtype.
      tokens: [B, T].
      answers: [B, A].
      config: the model, whatever its dtype.
      num_loops: R.
      written_out: whether attention is that of short rows. The two differ in what a
        query takes that sees nothing: the mean of all values, or of those up to it.

    Returns:
      A dict: states [R, B, T, D], logits [B, A, V] of the last loop, penalties, and
      ponder, halted, used_mlp: [R, B].
    """
    rows = [
        Row(params, *row, config, num_loops, written_out).run()
        for row in zip(tokens, answers, strict=True)
    ]
    found = {
        "states": np.stack([row.states for row in rows], axis=1),
        "logits": np.stack([row.logits for row in rows]),
        "penalties": {},
    }
    counts = sum(len(row.counted) for row in rows)
    if config.halting == "act":
        cost = sum(sum(row.cost[t] for t in row.counted) for row in rows)
        found["penalties"]["ponder"] = cost / counts
        found["ponder"] = np.stack([row.ponder for row in rows], axis=1)
        found["halted"] = np.stack([row.halted for row in rows], axis=1)
    names = {"mlp": "mlp", "value": "attention", "output": "attention"}
    for kind, name in names.items():
        terms = [row.entropies(kind) for row in rows]
        if terms[0]:
            key = f"router_entropy_{name}"
            total = sum(sum(row) for row in terms) / len(rows)
            found["penalties"][key] = found["penalties"].get(key, 0) + total
    if config.feedforward == "sigma_moe":
        found["used_mlp"] = np.stack([row.used for row in rows], axis=1)
    return found


class Row:
    """One row: tokens [T] and the places of its answers [A]."""

    def __init__(self, params, tokens, answers, config, num_loops, written_out):
        wide = lambda x: np.asarray(x, np.float64)
        self.params = jax.tree.map(wide, params)
        self.tokens = [int(t) for t in tokens]
        self.answers = [int(a) for a in answers]
        self.config, self.num_loops = config, num_loops
        self.written_out = written_out
        self.counted = [
            t for t, word in enumerate(tokens) if word != 0 or t in self.answers
        ]
        self.router_softmax = {}  # (kind, block, head) -> list of [E]
        self.chosen_mlp = {}  # block -> set of experts

    def run(self):
        config, params = self.config, self.params
        x = np.stack([params["embedding"][word] for word in self.tokens])
        x = x * (math.sqrt(config.width) if config.scale_embedding else 1)
        if not config.position_every_loop:
            x = x + self.positions()
        embedded = self.stage("prelude", x)
        state = self.initial(embedded)
        output = np.zeros_like(state)
        spent, left, taken = (np.zeros(len(self.tokens)) for _ in range(3))
        self.states, self.ponder, self.halted, self.used = [], [], [], []
        for loop in range(self.num_loops):
            entered = self.inject(state, embedded, loop)
            entered = entered + self.step(loop)
            if config.position_every_loop:
                entered = entered + self.positions()
            new = self.stage("core", entered)
            if config.residual.startswith("gated"):
                for t in range(len(new)):
                    both = np.concatenate([new[t], state[t]])
                    gate = params["gate"]
                    z = sigmoid(both @ gate["kernel"] + gate["bias"])
                    new[t] = z * new[t] + (1 - z) * state[t]
            state = new
            if config.halting == "act":
                unit = params["halting"]
                for t in range(len(state)):
                    p = sigmoid(entered[t] @ unit["kernel"][:, 0] + unit["bias"][0])
                    if spent[t] >= 1:
                        continue
                    taken[t] += 1
                    if spent[t] + p > config.halting_threshold:
                        left[t] = u = 1 - spent[t]
                        spent[t] = 1
                    else:
                        spent[t] += p
                        u = p
                    output[t] = state[t] * u + output[t] * (1 - u)
            self.states.append((output if config.halting == "act" else state).copy())
            self.cost = taken + left
            count = max(len(self.counted), 1)
            self.ponder.append(sum(self.cost[t] for t in self.counted) / count)
            self.halted.append(sum(left[t] > 0 for t in self.counted) / count)
            blocks = [b for b in self.chosen_mlp if b[0] != "coda"]
            shares = [len(self.chosen_mlp[b]) / config.num_experts for b in blocks]
            self.used.append(np.mean(shares) if shares else 0.0)
        self.logits = self.read(self.states[-1])
        return self

    def read(self, state):
        if self.params["coda"]:
            if self.config.norm_before_coda:
                state = self.norm(self.params["final_norm"], state)
            state = self.stage("coda", state)
        logits = []
        for place in self.answers:
            final = self.norm(self.params["final_norm"], state[place][None])[0]
            if self.config.readout == "tied":
                logits.append(self.params["embedding"] @ final)
            else:
                unit = self.params["readout"]
                logits.append(final @ unit["kernel"] + unit["bias"])
        return np.stack(logits)

    def positions(self):
        if self.config.position == "learned":
            return self.params["position"][: len(self.tokens)]
        if self.config.position == "sinusoidal":
            return np.stack(
                [sinusoid(t, self.config.width) for t in range(len(self.tokens))]
            )
        return 0.0

    def step(self, loop):
        if self.config.step_embedding == "learned":
            return self.params["step"]["table"][loop]
        if self.config.step_embedding == "sinusoidal":
            return sinusoid(loop + 1, self.config.width)
        return 0.0

    def initial(self, embedded):
        if self.config.initial_state == "embedding":
            return embedded
        if self.config.initial_state == "zeros":
            return np.zeros_like(embedded)
        draw = jax.random.normal
        if self.config.weight_init == "huginn":
            draw = functools.partial(jax.random.truncated_normal, lower=-3.0, upper=3.0)
        return self.config.initial_state_std * _draw(draw, *embedded.shape)

    def inject(self, state, embedded, loop):
        kind = self.config.injection
        if kind == "none":
            return state
        if kind == "add":
            first = loop == 0 and self.config.initial_state == "embedding"
            return state if first else state + embedded
        params = self.params["inject"]
        if kind == "concat":
            return np.concatenate([state, embedded], axis=1) @ params["kernel"]
        delta = np.log(1 + np.exp(params["step"]))
        decay = np.exp(-delta * np.exp(params["log_rate"]))
        assert (decay > 0).all() and (decay < 1).all()
        drive = self.norm(params["norm"], embedded) @ params["kernel"]
        return decay * state + delta * drive

    def factor(self, stage):
        """What every branch of a stage is multiplied by."""
        if stage != "core" or self.config.branch_scale == "none":
            return 1.0
        if self.config.branch_scale == "pass_loops":
            return 1 / self.num_loops
        blocks = self.config.core_blocks if self.config.branch_scale == "depth" else 1
        return 1 / self.config.branch_loops / math.sqrt(blocks)

    def stage(self, name, x):
        for index, params in enumerate(self.params[name]):
            attend = lambda v, n, i=index, p=params: (
                self.attention(p["attention"], v, n, (name, i))
                * p.get("attention_scale", 1.0)
                * self.factor(name)
            )
            feed = lambda v, n, i=index, p=params: (
                self.feed(p["mlp"], v, n, (name, i))
                * p.get("mlp_scale", 1.0)
                * self.factor(name)
            )
            x = self.branch(params, "attention", x, attend, True)
            gated = self.config.feedforward in ("swiglu", "sigma_moe")
            x = self.branch(params, "mlp", x, feed, gated)
        return x

    def branch(self, params, name, x, function, gated):
        before = lambda: self.norm(params[f"{name}_norm"], x)
        placement = self.config.norm_placement
        if placement == "pre":
            return x + function(before(), before())
        if placement == "post":
            return self.norm(params[f"{name}_norm"], x + function(x, x))
        if placement == "sandwich":
            inside = x + function(before(), before())
            return self.norm(params[f"{name}_out_norm"], inside)
        return x + function(x, before() if gated else None)

    def norm(self, params, x):
        rows = []
        for row in x:
            if self.config.norm == "rms":
                size = math.sqrt((row**2).mean() + 1e-6)
                rows.append(row / size * params["scale"])
            else:
                size = math.sqrt(row.var() + 1e-5)
                normed = (row - row.mean()) / size
                rows.append(normed * params["scale"] + params["bias"])
        return np.stack(rows)

    def attention(self, params, x, normed, block):
        config = self.config
        heads, size = config.num_heads, config.size_of_head
        if "qkv" in params:
            q, k, v = np.split(dense(params["qkv"], x), 3, axis=1)
        else:
            q, k = np.split(dense(params["query_key"], normed), 2, axis=1)
            v = None if config.attention == "switch_head" else dense(params["value"], x)
        out = np.zeros_like(x)
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            qh, kh = q[:, part].copy(), k[:, part].copy()
            if config.position == "rope":
                for t in range(len(x)):
                    qh[t], kh[t] = (self.turn(z[t], t) for z in (qh, kh))
            if v is None:
                vh = np.zeros((len(x), size))
                for t in range(len(x)):
                    route = self.route(params["value_router"], normed[t], h, t)
                    for e, score in self.choose(route, "value", block, h):
                        vh[t] += score * (x[t] @ params["value"][h, e])
            else:
                vh = v[:, part]
            mixed = np.zeros((len(x), size))
            for t in range(len(x)):
                seen = [s for s in range(t + 1) if self.tokens[s] != 0]
                if not seen:
                    # Finite, and read by nobody.
                    limit = t + 1 if self.written_out else len(x)
                    mixed[t] = vh[:limit].mean(axis=0)
                    continue
                scores = np.array([qh[t] @ kh[s] for s in seen]) / math.sqrt(size)
                weights = np.exp(scores - scores.max())
                weights /= weights.sum()
                for s, weight in zip(seen, weights, strict=True):
                    mixed[t] += weight * vh[s]
            for t in range(len(x)):
                if v is None:
                    route = self.route(params["output_router"], normed[t], h, t)
                    for e, score in self.choose(route, "output", block, h):
                        out[t] += score * (mixed[t] @ params["output"][h, e])
                else:
                    out[t] += mixed[t] @ params["output"]["kernel"][part]
        if v is not None and "bias" in params["output"]:
            out += params["output"]["bias"]
        return out

    def turn(self, vector, t):
        pairs = math.floor(len(vector) * self.config.rope_fraction / 2)
        turned = vector.copy()
        for i in range(pairs):
            angle = t * self.config.rope_base ** (-2 * i / (2 * pairs))
            number = complex(vector[i], vector[i + pairs]) * complex(
                math.cos(angle), math.sin(angle)
            )
            turned[i], turned[i + pairs] = number.real, number.imag
        return turned

    def feed(self, params, x, normed, block):
        kind = self.config.feedforward
        if kind == "sigma_moe":
            out = np.zeros_like(x)
            for t in range(len(x)):
                route = self.route(params["router"], normed[t], 0, t)
                for e, score in self.choose(route, "mlp", block, 0):
                    hidden = np.maximum(x[t] @ params["keys"][e], 0)
                    out[t] += score * (hidden @ params["values"][e])
            return out
        if kind == "swiglu":
            gate = dense(params["gate"], normed)
            hidden = gate * sigmoid(gate) * dense(params["input"], x)
        else:
            hidden = dense(params["input"], x)
            hidden = np.maximum(hidden, 0) if kind == "relu" else gelu(hidden)
        return dense(params["output"], hidden)

    def route(self, router, vector, head, t):
        """The logits of one token, and whether it counts."""
        return vector @ router[:, head], t in self.counted

    def choose(self, route, kind, block, head):
        logits, counts = route
        number = (
            self.config.experts_per_token
            if kind == "mlp"
            else self.config.attention_experts_per_token
        )
        best = sorted(range(len(logits)), key=lambda e: -logits[e])[:number]
        if counts:
            softmax = np.exp(logits - logits.max())
            key = (kind, block, head)
            self.router_softmax.setdefault(key, []).append(softmax / softmax.sum())
            if kind == "mlp":
                self.chosen_mlp.setdefault(block, set()).update(best)
        return [(e, sigmoid(logits[e])) for e in best]

    def entropies(self, kind):
        """Sum of p log p of every router, heads averaged: one term per block."""
        terms = {}
        for (name, block, _), softmaxes in self.router_softmax.items():
            if name == kind:
                p = np.mean(softmaxes, axis=0)
                terms.setdefault(block, []).append((p * np.log(p)).sum())
        return [np.mean(heads) for heads in terms.values()]


@functools.cache
def _draw(draw, length, width):
    with jax.enable_x64(True):
        keys = [jax.random.fold_in(jax.random.key(0), t) for t in range(length)]
        return np.stack([draw(key, shape=(width,), dtype=np.float64) for key in keys])


def dense(params, x):
    return x @ params["kernel"] + params.get("bias", 0.0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gelu(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def sinusoid(place, width):
    vector = np.zeros(width)
    for i in range(width):
        angle = place / 10_000 ** (2 * (i // 2) / width)
        vector[i] = math.sin(angle) if i % 2 == 0 else math.cos(angle)
    return vector
