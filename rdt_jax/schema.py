"""Every key a run can have: its default, its meaning and what it may be.

    rdt train --config=configs/modular.py:cpu --config.model.width=128 --workdir=runs

A step is one optimizer update. Losses are in nats, accuracies and shares in [0, 1].
Relations between keys are checked where they are used.

A default never changes its meaning, since a run is named by what differs from the
defaults (`config.run_id`): a new behavior is a new key, or a new value.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ml_collections
from ml_collections import config_dict

from rdt_jax import events


class Key(NamedTuple):
    """The declaration of a key."""

    default: Any  # None where a key may be left out
    meaning: str  # with its unit, as a phrase
    # Choices, or an interval such as `(0, 1]` of a number or of each of a tuple.
    values: tuple[str, ...] | str | None = None
    kind: type | None = None  # of a value that is not None, where the default is
    # Runs that differ in it may share one compiled program, which then gets the value
    # as an argument (training/hyper.py).
    per_lane: bool = False
    # Of a tuple of texts, which may be given as one with commas: writes each in the one
    # way that is kept; ValueError says what it must be.
    spelled: Callable[[str], str] | None = None

    @property
    def type(self) -> type:
        """The type of a value that is not None."""
        return self.kind or type(self.default)

    @property
    def may_be(self) -> str:
        """Says what a value may be: `at least 1`, `in [0, 1)`, `one of layer, rms`."""
        if self.values is None:
            return "any"
        if isinstance(self.values, tuple):
            return f"one of {', '.join(self.values)}"
        low, high = self.values[1:-1].split(", ")
        said = f"in {self.values}"
        if high == "inf":
            said = f"{'at least' if self.values[0] == '[' else 'above'} {low}"
            said = "positive" if said == "above 0" else said
        if self.type is tuple:
            said = f"ints {said}"
        return said if self.default is not None else f"none or {said}"

    def allows(self, value: Any) -> bool:
        """Says whether a value of the key's type may stand there."""
        if self.values is None or (value is None and self.default is None):
            return True
        if isinstance(self.values, tuple):
            return value in self.values
        if self.type is tuple:
            return all(type(x) is int and self._holds(x) for x in value)
        return self._holds(value)

    def _holds(self, value: float) -> bool:
        assert isinstance(self.values, str)
        ends = self.values[1:-1].split(", ")
        low, high = (2**32 if e == "2**32" else float(e) for e in ends)
        above = value >= low if self.values[0] == "[" else value > low
        return above and (value <= high if self.values[-1] == "]" else value < high)


KEYS: Mapping[str, Key] = {
    "seed": Key(0, "parameters, batch order and dropout; not the task", "[0, 2**32)"),
    "num_steps": Key(10_000, "optimizer updates, the budget of the run", "[1, inf)"),
    "eval_every_steps": Key(100, "must divide num_steps", "[1, inf)"),
    "checkpoint_every_steps": Key(500, "a multiple of eval_every_steps", "[1, inf)"),
    "snapshot_steps": Key(
        (), "evaluations whose parameters are kept, ascending", "[0, inf)"
    ),
    "batch_size": Key(256, "rows per update, shuffled anew every epoch", "[1, inf)"),
    "stop_after_phases": Key(True, "end once every phase below has completed"),
    "task.name": Key("", "a name of `rdt tasks`, or FILE.py:FUNCTION"),
    "task.seed": Key(
        0, "of the table and its splits; the run's seed plays no part", "[0, inf)"
    ),
    # `rdt models` explains presets and components.
    "model.preset": Key(
        "rdt",
        "whose model this is; its keys are checked",
        ("rdt", "feedforward", "universal", "moeut", "huginn", "gated", "custom"),
    ),
    "model.width": Key(64, "D", "[1, inf)"),
    "model.num_heads": Key(
        4, "H, must divide width unless head_width is given", "[1, inf)"
    ),
    "model.head_width": Key(None, "K; None: width / H", "[1, inf)", kind=int),
    "model.mlp_ratio": Key(4, "feed-forward width F divided by D", "[1, inf)"),
    "model.mlp_width": Key(None, "F; None: mlp_ratio * D", "[1, inf)", kind=int),
    "model.prelude_blocks": Key(0, "run once, before the loops", "[0, inf)"),
    "model.core_blocks": Key(
        2, "L, run num_loops times with the same weights", "[1, inf)"
    ),
    "model.coda_blocks": Key(0, "run once, after the loops", "[0, inf)"),
    "model.attention": Key(
        "dense", "switch_head: experts per head", ("dense", "switch_head")
    ),
    "model.attention_experts": Key(4, "of switch_head, per head", "[1, inf)"),
    "model.attention_experts_per_token": Key(
        2, "of switch_head, that a token uses", "[1, inf)"
    ),
    "model.feedforward": Key(
        "gelu", "sigma_moe: experts", ("gelu", "relu", "swiglu", "sigma_moe")
    ),
    "model.num_experts": Key(16, "E of sigma_moe", "[1, inf)"),
    "model.expert_width": Key(
        32, "hidden numbers of one expert of sigma_moe", "[1, inf)"
    ),
    "model.experts_per_token": Key(4, "of sigma_moe, that a token uses", "[1, inf)"),
    "model.expert_dispatch": Key(
        "auto", "speed, no result", ("auto", "dense", "sorted")
    ),
    "model.bias": Key(
        "all", "dense projections with a bias", ("all", "query_key", "none")
    ),
    "model.norm_placement": Key(
        "pre", "where norms stand", ("pre", "post", "sandwich", "peri")
    ),
    "model.norm": Key("layer", "of every norm", ("layer", "rms")),
    "model.norm_before_coda": Key(False, "the final norm stands there as well"),
    "model.position": Key(
        "learned",
        "how tokens know their place",
        ("learned", "sinusoidal", "rope", "none"),
    ),
    "model.position_every_loop": Key(False, "added at each loop, not to the input"),
    "model.rope_fraction": Key(1.0, "share of a head that rope turns", "(0, 1]"),
    "model.rope_base": Key(
        10_000.0, "longest wavelength of rope over 2 pi, tokens", "(1, inf)"
    ),
    "model.injection": Key(
        "none", "input, every loop", ("none", "add", "concat", "diagonal")
    ),
    "model.initial_state": Key(
        "embedding", "of the loops", ("embedding", "zeros", "normal")
    ),
    "model.initial_state_std": Key(0.632, "of `normal`", "(0, inf)"),
    "model.step_embedding": Key(
        "none", "of the loop", ("none", "learned", "sinusoidal")
    ),
    "model.step_table": Key(
        32, "loops that a learned step embedding knows", "[1, inf)"
    ),
    "model.residual": Key(
        "plain",
        "how a loop changes the state",
        ("plain", "gated", "layerscale", "gated_layerscale"),
    ),
    "model.gate_bias": Key(-2.0, "at the start; a loop changes sigmoid(bias)"),
    "model.layer_scale": Key(1e-4, "factor of every branch at the start", "(0, inf)"),
    "model.branch_scale": Key(
        "none",
        "fixed factor of every residual branch of the core; loops: 1 / R, R the mean "
        "loop count of the updates; depth: 1 / (R root L); pass_loops: 1 / n in a pass "
        "of n loops",
        ("none", "loops", "depth", "pass_loops"),
    ),
    "model.halting": Key("none", "act: positions stop by themselves", ("none", "act")),
    "model.halting_bias": Key(-3.0, "at the start; sigmoid(bias) is spent per loop"),
    "model.halting_threshold": Key(
        0.99, "a position that spent more has halted", "(0, 1)"
    ),
    "model.readout": Key(
        "tied", "tied: the output matrix is the embedding", ("tied", "untied")
    ),
    "model.weight_init": Key(
        "gpt2",
        "all other matrices; with huginn they, tables and normal states end at three "
        "deviations",
        ("gpt2", "moeut", "huginn"),
    ),
    "model.output_init": Key(
        "zero", "output projections", ("zero", "gpt2", "normal", "depth")
    ),
    "model.init_depth": Key(
        None, "blocks that a pass runs, of inits moeut and depth", "[1, inf)", kind=int
    ),
    "model.init_scale": Key(
        1.0, "times all parameters at the start, norms' too", "(0, inf)", per_lane=True
    ),
    "model.embedding_std": Key(
        0.02, "of token, position, step tables at the start", "(0, inf)"
    ),
    "model.scale_embedding": Key(False, "token embeddings times the root of width"),
    "model.dropout": Key(
        0.0, "share of attention weights and branch outputs", "[0, 1)", per_lane=True
    ),
    "model.embedding_dropout": Key(
        0.0, "share of the embedded input", "[0, 1)", per_lane=True
    ),
    "model.dtype": Key(
        "float32",
        "activations; parameters are always float32",
        ("float32", "bfloat16", "float64"),
    ),
    "model.remat": Key(
        "full", "what the backward pass recomputes", ("none", "dots", "full")
    ),
    "recurrence.num_loops": Key(
        2,
        "R of the evaluation and of the phases below, and of every update if sampling "
        "is fixed",
        "[1, 65536]",
    ),
    "recurrence.eval_loops": Key(
        (), "further loop counts at every evaluation", "[1, 65536]"
    ),
    "recurrence.sampling": Key(
        "fixed",
        "how the loop count of an update is drawn; all rows and lanes share it",
        ("fixed", "uniform", "poisson", "lognormal_poisson"),
    ),
    "recurrence.mean_loops": Key(
        None,
        "of the two Poissons, before clipping; lognormal_poisson adds 1",
        "(0, 65536]",
        kind=float,
    ),
    "recurrence.min_loops": Key(None, "of uniform and poisson", "[1, inf)", kind=int),
    "recurrence.max_loops": Key(None, "of all but fixed", "[1, 65536]", kind=int),
    "recurrence.sigma": Key(None, "of lognormal_poisson", "(0, inf)", kind=float),
    "recurrence.backprop_depth": Key(
        None, "last loops; None: all", "[1, inf)", kind=int
    ),
    "recurrence.seed": Key(
        0, "of the sampled depths, folded with the step", "[0, 2**32)"
    ),
    # The update: w <- w - rate * (direction + weight_decay * w), always.
    "optimizer.name": Key("adamw", "the direction", ("adamw", "muon", "lion", "sgd")),
    "optimizer.learning_rate": Key(
        1e-3, "at the end of the warm-up", "(0, inf)", per_lane=True
    ),
    "optimizer.weight_decay": Key(
        0.1, "times the rate (optax)", "[0, inf)", per_lane=True
    ),
    "optimizer.decayed": Key(
        "all", "what decays; blocks: their matrices", ("all", "matrices", "blocks")
    ),
    "optimizer.b1": Key(
        0.9, "decay of the first moment, of adamw and lion", "[0, 1)", per_lane=True
    ),
    "optimizer.b2": Key(
        0.98, "decay of the second moment; of lion's only one", "[0, 1)", per_lane=True
    ),
    "optimizer.momentum": Key(
        0.95, "decay of the momentum, of muon and sgd", "[0, 1)", per_lane=True
    ),
    "optimizer.epsilon": Key(
        1e-8, "added to the root of the second moment", "(0, inf)"
    ),
    "optimizer.warmup_steps": Key(
        500, "linear, from learning_rate / warmup_steps", "[0, inf)", per_lane=True
    ),
    "optimizer.schedule": Key(
        "constant",
        "after the warm-up; wsd: constant, then linear over the last steps",
        ("constant", "linear", "cosine", "wsd"),
    ),
    "optimizer.decay_fraction": Key(
        0.2, "of num_steps, the last steps of wsd", "(0, 1]"
    ),
    "optimizer.final_fraction": Key(
        0.1, "of learning_rate at num_steps, if it decays", "[0, 1]"
    ),
    "optimizer.constant_norm": Key(False, "all weights keep the L2 norm of the start"),
    # Before the optimizer, in the order of training/gradients.py.
    "gradient.micro_batches": Key(
        1, "equal parts of a batch, one after another", "[1, inf)"
    ),
    "gradient.clip_norm": Key(
        None, "most L2 norm; None: any", "(0, inf)", kind=float, per_lane=True
    ),
    "gradient.filter": Key(
        "none", "add the slow part", ("none", "grokfast_ema", "grokfast_ma")
    ),
    "gradient.filter_strength": Key(
        2.0, "times the slow part", "[0, inf)", per_lane=True
    ),
    "gradient.filter_decay": Key(
        0.98, "of grokfast_ema, per update", "[0, 1)", per_lane=True
    ),
    "gradient.filter_window": Key(100, "of grokfast_ma, updates", "[1, inf)"),
    "gradient.orthogonal": Key(False, "without its part along each tensor of weights"),
    "curriculum.by": Key(None, "a tag; None: all rows at once", kind=str),
    "curriculum.start": Key(
        2, "the first stage trains rows with values up to this one"
    ),
    "curriculum.reset_optimizer": Key(False, "begin each stage with a fresh optimizer"),
    "loss.function": Key("softmax", "cross-entropy over it", ("softmax", "stablemax")),
    "loss.dtype": Key(
        "float32", "of loss and its logit gradient", ("float32", "float64")
    ),
    "loss.label_smoothing": Key(
        0.0, "share given to the uniform distribution", "[0, 1)", per_lane=True
    ),
    "loss.deep_supervision": Key(
        0.0, "share of the mean loss over all loops", "[0, 1]", per_lane=True
    ),
    "loss.block_similarity": Key(
        0.0,
        "times 1 - cosine of corresponding weights of consecutive groups of core "
        "blocks",
        "[0, inf)",
        per_lane=True,
    ),
    "loss.similarity_period": Key(1, "core blocks of such a group", "[1, inf)"),
    "loss.ponder": Key(
        0.01, "times loops taken plus remainder, of halting act", "[0, inf)"
    ),
    "loss.router_entropy_mlp": Key(
        0.01, "times negative nats, of sigma_moe", "[0, inf)"
    ),
    "loss.router_entropy_attention": Key(0.001, "the same, of switch_head", "[0, inf)"),
    "evaluation.schedule": Key(
        "uniform", "log: more often at first, too", ("uniform", "log")
    ),
    "evaluation.per_decade": Key(
        10, "evaluations of log for each factor of ten steps", "[1, inf)"
    ),
    "evaluation.train_rows": Key(
        4096, "at most so many train rows, a fixed sample", "[1, inf)"
    ),
    "evaluation.batch_size": Key(
        1024, "rows per forward pass; changes no result", "[1, inf)"
    ),
    # Thresholds on accuracy, smoothed (training/phases.py).
    "phases.memorized": Key(0.99, "train", "(0, 1]"),
    "phases.id_generalized": Key(0.95, "id", "(0, 1]"),
    "phases.ood_generalized": Key(0.5, "ood", "(0, 1]"),
    "phases.hop_learned": Key(0.95, "id rows of a curriculum's stage", "(0, 1]"),
    "phases.depth_generalized": Key(
        None, "depth; None: not awaited, only drawn", "(0, 1]", kind=float
    ),
    "phases.depth_loops": Key(
        None,
        "R of depth, one that is evaluated; None: num_loops",
        "[1, 65536]",
        kind=int,
    ),
    "phases.further": Key(
        (),
        "more phases, such as 'half: id >= 0.5' or 'deep: id[hops=2]@8 >= 0.9'",
        spelled=events.spelled,
    ),
    "phases.shown": Key(
        (), "names of phases that a run does not wait for", spelled=str.strip
    ),
}


def defaults() -> ml_collections.ConfigDict:
    """Returns a config of all keys at their defaults, unlocked, for a task to be named.

    `task.kwargs` is empty: the arguments of a task are declared by its function.
    """
    config = ml_collections.ConfigDict()
    for name, key in KEYS.items():
        *sections, leaf = name.split(".")
        parent = config
        for section in sections:
            if section not in parent:
                parent[section] = ml_collections.ConfigDict()
            parent = parent[section]
        is_optional = key.default is None
        parent[leaf] = config_dict.placeholder(key.type) if is_optional else key.default
    config.task.kwargs = ml_collections.ConfigDict()
    return config


def problems(config: ml_collections.ConfigDict) -> dict[str, str]:
    """Returns what is wrong with each key whose value it may not have."""
    found = {}
    for name, key in KEYS.items():
        section, _, leaf = name.rpartition(".")
        value = (config[section] if section else config)[leaf]
        if not key.allows(value):
            said = "hold" if key.type is tuple else "be"
            shown = "none" if value is None else repr(value)
            found[name] = f"{name} must {said} {key.may_be}, got {shown}."
    return found
