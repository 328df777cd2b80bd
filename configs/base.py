"""Every key a run can have, as rdt_jax/schema.py declares it: default, meaning, values.

seed = 0                                  parameters, batch order and dropout; not the
                                          task; in [0, 2**32)
num_steps = 10000                         optimizer updates, the budget of the run; at
                                          least 1
eval_every_steps = 100                    must divide num_steps; at least 1
checkpoint_every_steps = 500              a multiple of eval_every_steps; at least 1
snapshot_steps = ()                       evaluations whose parameters are kept,
                                          ascending; ints at least 0
batch_size = 256                          rows per update, shuffled anew every epoch; at
                                          least 1
stop_after_phases = true                  end once every phase below has completed

task.name = ''                            a name of `rdt tasks`, or FILE.py:FUNCTION
task.seed = 0                             of the table and its splits; the run's seed
                                          plays no part; at least 0

model.preset = 'rdt'                      whose model this is; its keys are checked; one
                                          of rdt, feedforward, universal, moeut, huginn,
                                          gated, custom
model.width = 64                          D; at least 1
model.num_heads = 4                       H, must divide width unless head_width is
                                          given; at least 1
model.head_width = none                   K; None: width / H; none or at least 1
model.mlp_ratio = 4                       feed-forward width F divided by D; at least 1
model.mlp_width = none                    F; None: mlp_ratio * D; none or at least 1
model.prelude_blocks = 0                  run once, before the loops; at least 0
model.core_blocks = 2                     L, run num_loops times with the same weights;
                                          at least 1
model.coda_blocks = 0                     run once, after the loops; at least 0
model.attention = 'dense'                 switch_head: experts per head; one of dense,
                                          switch_head
model.attention_experts = 4               of switch_head, per head; at least 1
model.attention_experts_per_token = 2     of switch_head, that a token uses; at least 1
model.feedforward = 'gelu'                sigma_moe: experts; one of gelu, relu, swiglu,
                                          sigma_moe
model.num_experts = 16                    E of sigma_moe; at least 1
model.expert_width = 32                   hidden numbers of one expert of sigma_moe; at
                                          least 1
model.experts_per_token = 4               of sigma_moe, that a token uses; at least 1
model.expert_dispatch = 'auto'            speed, no result; one of auto, dense, sorted
model.bias = 'all'                        dense projections with a bias; one of all,
                                          query_key, none
model.norm_placement = 'pre'              where norms stand; one of pre, post, sandwich,
                                          peri
model.norm = 'layer'                      of every norm; one of layer, rms
model.norm_before_coda = false            the final norm stands there as well
model.position = 'learned'                how tokens know their place; one of learned,
                                          sinusoidal, rope, none
model.position_every_loop = false         added at each loop, not to the input
model.rope_fraction = 1.0                 share of a head that rope turns; in (0, 1]
model.rope_base = 10000.0                 longest wavelength of rope over 2 pi, tokens;
                                          above 1
model.injection = 'none'                  input, every loop; one of none, add, concat,
                                          diagonal
model.initial_state = 'embedding'         of the loops; one of embedding, zeros, normal
model.initial_state_std = 0.632           of `normal`; positive
model.step_embedding = 'none'             of the loop; one of none, learned, sinusoidal
model.step_table = 32                     loops that a learned step embedding knows; at
                                          least 1
model.residual = 'plain'                  how a loop changes the state; one of plain,
                                          gated, layerscale, gated_layerscale
model.gate_bias = -2.0                    at the start; a loop changes sigmoid(bias)
model.layer_scale = 0.0001                factor of every branch at the start; positive
model.branch_scale = 'none'               fixed factor of every residual branch of the
                                          core; loops: 1 / R, R the mean loop count of
                                          the updates; depth: 1 / (R root L);
                                          pass_loops: 1 / n in a pass of n loops; one of
                                          none, loops, depth, pass_loops
model.halting = 'none'                    act: positions stop by themselves; one of
                                          none, act
model.halting_bias = -3.0                 at the start; sigmoid(bias) is spent per loop
model.halting_threshold = 0.99            a position that spent more has halted; in (0,
                                          1)
model.readout = 'tied'                    tied: the output matrix is the embedding; one
                                          of tied, untied
model.weight_init = 'gpt2'                all other matrices; with huginn they, tables
                                          and normal states end at three deviations; one
                                          of gpt2, moeut, huginn
model.output_init = 'zero'                output projections; one of zero, gpt2, normal,
                                          depth
model.init_depth = none                   blocks that a pass runs, of inits moeut and
                                          depth; none or at least 1
model.init_scale = 1.0                    times all parameters at the start, norms' too;
                                          positive
model.embedding_std = 0.02                of token, position, step tables at the start;
                                          positive
model.scale_embedding = false             token embeddings times the root of width
model.dropout = 0.0                       share of attention weights and branch outputs;
                                          in [0, 1)
model.embedding_dropout = 0.0             share of the embedded input; in [0, 1)
model.dtype = 'float32'                   activations; parameters are always float32;
                                          one of float32, bfloat16, float64
model.remat = 'full'                      what the backward pass recomputes; one of
                                          none, dots, full

recurrence.num_loops = 2                  R of the evaluation and of the phases below,
                                          and of every update if sampling is fixed; in
                                          [1, 65536]
recurrence.eval_loops = ()                further loop counts at every evaluation; ints
                                          in [1, 65536]
recurrence.sampling = 'fixed'             how the loop count of an update is drawn; all
                                          rows and lanes share it; one of fixed,
                                          uniform, poisson, lognormal_poisson
recurrence.mean_loops = none              of the two Poissons, before clipping;
                                          lognormal_poisson adds 1; none or in (0,
                                          65536]
recurrence.min_loops = none               of uniform and poisson; none or at least 1
recurrence.max_loops = none               of all but fixed; none or in [1, 65536]
recurrence.sigma = none                   of lognormal_poisson; none or positive
recurrence.backprop_depth = none          last loops; None: all; none or at least 1
recurrence.seed = 0                       of the sampled depths, folded with the step;
                                          in [0, 2**32)

optimizer.name = 'adamw'                  the direction; one of adamw, muon, lion, sgd
optimizer.learning_rate = 0.001           at the end of the warm-up; positive
optimizer.weight_decay = 0.1              times the rate (optax); at least 0
optimizer.decayed = 'all'                 what decays; blocks: their matrices; one of
                                          all, matrices, blocks
optimizer.b1 = 0.9                        decay of the first moment, of adamw and lion;
                                          in [0, 1)
optimizer.b2 = 0.98                       decay of the second moment; of lion's only
                                          one; in [0, 1)
optimizer.momentum = 0.95                 decay of the momentum, of muon and sgd; in [0,
                                          1)
optimizer.epsilon = 1e-08                 added to the root of the second moment;
                                          positive
optimizer.warmup_steps = 500              linear, from learning_rate / warmup_steps; at
                                          least 0
optimizer.schedule = 'constant'           after the warm-up; wsd: constant, then linear
                                          over the last steps; one of constant, linear,
                                          cosine, wsd
optimizer.decay_fraction = 0.2            of num_steps, the last steps of wsd; in (0, 1]
optimizer.final_fraction = 0.1            of learning_rate at num_steps, if it decays;
                                          in [0, 1]
optimizer.constant_norm = false           all weights keep the L2 norm of the start

gradient.micro_batches = 1                equal parts of a batch, one after another; at
                                          least 1
gradient.clip_norm = none                 most L2 norm; None: any; none or positive
gradient.filter = 'none'                  add the slow part; one of none, grokfast_ema,
                                          grokfast_ma
gradient.filter_strength = 2.0            times the slow part; at least 0
gradient.filter_decay = 0.98              of grokfast_ema, per update; in [0, 1)
gradient.filter_window = 100              of grokfast_ma, updates; at least 1
gradient.orthogonal = false               without its part along each tensor of weights

curriculum.by = none                      a tag; None: all rows at once
curriculum.start = 2                      the first stage trains rows with values up to
                                          this one
curriculum.reset_optimizer = false        begin each stage with a fresh optimizer

loss.function = 'softmax'                 cross-entropy over it; one of softmax,
                                          stablemax
loss.dtype = 'float32'                    of loss and its logit gradient; one of
                                          float32, float64
loss.label_smoothing = 0.0                share given to the uniform distribution; in
                                          [0, 1)
loss.deep_supervision = 0.0               share of the mean loss over all loops; in [0,
                                          1]
loss.block_similarity = 0.0               times 1 - cosine of corresponding weights of
                                          consecutive groups of core blocks; at least 0
loss.similarity_period = 1                core blocks of such a group; at least 1
loss.ponder = 0.01                        times loops taken plus remainder, of halting
                                          act; at least 0
loss.router_entropy_mlp = 0.01            times negative nats, of sigma_moe; at least 0
loss.router_entropy_attention = 0.001     the same, of switch_head; at least 0

evaluation.schedule = 'uniform'           log: more often at first, too; one of uniform,
                                          log
evaluation.per_decade = 10                evaluations of log for each factor of ten
                                          steps; at least 1
evaluation.train_rows = 4096              at most so many train rows, a fixed sample; at
                                          least 1
evaluation.batch_size = 1024              rows per forward pass; changes no result; at
                                          least 1

phases.memorized = 0.99                   train; in (0, 1]
phases.id_generalized = 0.95              id; in (0, 1]
phases.ood_generalized = 0.5              ood; in (0, 1]
phases.hop_learned = 0.95                 id rows of a curriculum's stage; in (0, 1]
phases.depth_generalized = none           depth; None: not awaited, only drawn; none or
                                          in (0, 1]
phases.depth_loops = none                 R of depth, one that is evaluated; None:
                                          num_loops; none or in [1, 65536]
phases.further = ()                       more phases, such as 'half: id >= 0.5' or
                                          'deep: id[hops=2]@8 >= 0.9'
phases.shown = ()                         names of phases that a run does not wait for
"""

from rdt_jax import schema
from rdt_jax.named import Overrides, budget

get_config = schema.defaults

# Seconds; the whole path, no science.
SMOKE: Overrides = {
    "model.width": 32,
    "optimizer.warmup_steps": 50,
    **budget(300, every=50, checkpoint=100),
}
# The same where an update takes long.
SMOKE_OF_LONG_ROWS: Overrides = {
    **SMOKE,
    "optimizer.warmup_steps": 20,
    "batch_size": 32,
    **budget(60, every=20, checkpoint=40),
}
# The tasks split by depth, as measured with the models of 64 wide.
CPU_BY_DEPTH: Overrides = {
    "model.remat": "none",  # Of so few loops all is kept: a tenth faster.
    "recurrence.num_loops": 4,
    "optimizer.name": "muon",
    "optimizer.learning_rate": 2e-3,
    "optimizer.warmup_steps": 200,
}
# The tables of groups and of modular arithmetic.
CPU_OF_A_TABLE: Overrides = {
    "model.core_blocks": 1,
    "model.output_init": "gpt2",
    "recurrence.num_loops": 2,
    "optimizer.learning_rate": 2e-3,
    "optimizer.weight_decay": 1.0,
    "optimizer.warmup_steps": 10,
}
SMOKE_BY_DEPTH: Overrides = SMOKE | {"recurrence.num_loops": 2, "num_steps": 200}
# To the end of the budget, also when every phase has completed.
LONG: Overrides = {"stop_after_phases": False}
LONG_BY_DEPTH: Overrides = LONG | budget(40_000, every=500, checkpoint=5_000)
# The tasks split by depth for which no looped transformer has been published.
OWN_BY_DEPTH: Overrides = {
    **LONG,
    "model.width": 256,
    "model.num_heads": 8,
    "model.dropout": 0.1,
    "model.remat": "full",
    "recurrence.num_loops": 8,
    "optimizer.name": "adamw",
    "optimizer.learning_rate": 3e-4,
    "optimizer.weight_decay": 0.01,
    **budget(100_000, every=1_000, checkpoint=5_000),
}
# The model and optimizer of Kohli et al. (2026), arXiv:2604.07822, Section 5.
KOHLI_2026: Overrides = {
    "model.width": 768,
    "model.num_heads": 12,
    "model.core_blocks": 4,
    "model.embedding_std": 1.0,
    "model.dropout": 0.1,
    "model.dtype": "bfloat16",
    "optimizer.name": "adamw",
    "optimizer.learning_rate": 1e-4,
    "optimizer.weight_decay": 0.01,
    "optimizer.b2": 0.999,
    "optimizer.warmup_steps": 2_000,
    **LONG,
}
# The same on the rows of tasks that are not theirs.
KOHLI_2026_ROWS: Overrides = {
    **KOHLI_2026,
    "batch_size": 512,
    **budget(200_000, every=1_000, checkpoint=5_000),
}
# What they train on questions of two hops; below, as their released code does.
KOHLI_2026_FACTS: Overrides = {
    **KOHLI_2026,
    "task.kwargs.answer_at": "pad",
    "model.embedding_dropout": 0.1,
    "recurrence.num_loops": 4,
    "loss.label_smoothing": 0.0,
    "batch_size": 512,
    **budget(1_500_000, every=1_000, checkpoint=5_000),
}
KOHLI_2026_FACTS_CODE: Overrides = {
    **KOHLI_2026_FACTS,
    "model.output_init": "normal",
    "optimizer.weight_decay": 0.1,
    "loss.label_smoothing": 0.1,
    "batch_size": 128,
    "num_steps": 6_000_000,
}
# The training of Chen (2026), arXiv:2603.21676.
CHEN_2026: Overrides = {
    **LONG,
    "model.width": 128,
    "model.mlp_ratio": 2,
    "model.core_blocks": 1,
    "model.dropout": 0.1,
    "model.remat": "full",
    "recurrence.num_loops": 8,
    "optimizer.name": "adamw",
    "optimizer.learning_rate": 3e-4,
    "optimizer.weight_decay": 0.01,
    "optimizer.schedule": "cosine",
    **budget(7_500, every=250, checkpoint=2_500),
}
# The training of Saunshi et al. (2025), arXiv:2502.17416.
SAUNSHI_2025: Overrides = {
    **LONG,
    "model.width": 256,
    "model.num_heads": 8,
    "model.core_blocks": 1,
    "model.output_init": "gpt2",
    "optimizer.learning_rate": 1e-3,
    "batch_size": 1_024,
    **budget(200_000, every=1_000, checkpoint=5_000),
}
# The training of Power et al. (2022), arXiv:2201.02177.
POWER_2022: Overrides = {
    **LONG,
    "model.width": 128,
    "model.core_blocks": 2,
    "recurrence.num_loops": 1,
    "optimizer.learning_rate": 1e-3,
    "batch_size": 512,
    **budget(100_000, every=100, checkpoint=5_000),
}
