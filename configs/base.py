"""Every key a run can have, with its default, its meaning and its unit.

A step is one optimizer update. Losses are in nats, accuracies and shares in [0, 1].

A run keeps its parameters at transitions and at its end, wherever these fall. A measure
of the inside of a model over its whole training needs them at chosen steps too: those
of `snapshot_steps` are kept beside the others, as `transitions/snapshot-at-<step>`. A
run that ends before one of these steps keeps none there.
"""

import ml_collections
from ml_collections import config_dict


def get_config() -> ml_collections.ConfigDict:
    """Returns the keys that all runs share; a named config fills in its task."""
    return ml_collections.ConfigDict(
        {
            "seed": 0,  # parameters, batch order and dropout; not the task
            "num_steps": 10_000,  # optimizer updates, the budget of the run
            "eval_every_steps": 100,  # must divide num_steps
            "checkpoint_every_steps": 500,  # a multiple of eval_every_steps
            "snapshot_steps": (),  # evaluations whose parameters are kept, ascending
            "batch_size": 256,  # rows per update, shuffled anew every epoch
            "stop_after_phases": True,  # end once every phase below has completed
            "task": {
                "name": "",  # a name of `rdt tasks`
                "seed": 0,  # of the table and its splits; the run's seed plays no part
                "kwargs": {},  # the arguments of the task's function
            },
            "model": {  # rdt_jax/models; `rdt models` lists presets and components
                "preset": "rdt",  # whose model this is; its keys are checked
                "width": 64,  # D
                "num_heads": 4,  # H, must divide width unless head_width is given
                "head_width": config_dict.placeholder(int),  # K; None: width / H
                "mlp_ratio": 4,  # feed-forward width F divided by D
                "mlp_width": config_dict.placeholder(int),  # F; None: mlp_ratio * D
                "prelude_blocks": 0,  # run once, before the loops
                "core_blocks": 2,  # L, run num_loops times with the same weights
                "coda_blocks": 0,  # run once, after the loops
                "attention": "dense",  # dense, switch_head: experts per head
                "attention_experts": 4,  # of switch_head, per head
                "attention_experts_per_token": 2,  # of switch_head, that a token uses
                "feedforward": "gelu",  # gelu, relu, swiglu, sigma_moe: experts
                "num_experts": 16,  # E of sigma_moe
                "expert_width": 32,  # hidden numbers of one expert of sigma_moe
                "experts_per_token": 4,  # of sigma_moe, that a token uses
                "expert_dispatch": "auto",  # auto, dense, sorted: speed, no result
                "bias": "all",  # all, query_key, none: dense projections with a bias
                "norm_placement": "pre",  # pre, post, sandwich, peri
                "norm": "layer",  # layer, rms
                "norm_before_coda": False,  # the final norm stands there as well
                "position": "learned",  # learned, sinusoidal, rope, none
                "position_every_loop": False,  # added at each loop, not to the input
                "rope_fraction": 1.0,  # share of a head that rope turns
                "rope_base": 10_000.0,  # longest wavelength of rope over 2 pi, tokens
                "injection": "none",  # none, add, concat, diagonal: input, every loop
                "initial_state": "embedding",  # embedding, zeros, normal
                "initial_state_std": 0.632,  # of `normal`
                "step_embedding": "none",  # none, learned, sinusoidal: of the loop
                "step_table": 32,  # loops that a learned step embedding knows
                "residual": "plain",  # plain, gated, layerscale, gated_layerscale
                "gate_bias": -2.0,  # at the start; a loop changes sigmoid(bias)
                "layer_scale": 1e-4,  # factor of every branch at the start
                "halting": "none",  # none, act: positions stop by themselves
                "halting_bias": -3.0,  # at the start; sigmoid(bias) is spent per loop
                "halting_threshold": 0.99,  # a position that spent more has halted
                "readout": "tied",  # tied, untied: the output matrix and the embedding
                "weight_init": "gpt2",  # gpt2, moeut, huginn: all other matrices; with
                # huginn they, tables and normal states end at three deviations
                "output_init": "zero",  # zero, gpt2, normal, depth: output projections
                "init_depth": config_dict.placeholder(int),  # blocks run, moeut, depth
                "init_scale": 1.0,  # times all parameters at the start, norms' too
                "embedding_std": 0.02,  # of token, position, step tables at the start
                "scale_embedding": False,  # token embeddings times the root of width
                "dropout": 0.0,  # share of attention weights and branch outputs
                "embedding_dropout": 0.0,  # share of the embedded input
                "dtype": "float32",  # activations; parameters are always float32
                "remat": "full",  # none, dots, full: what the backward pass recomputes
            },
            "recurrence": {
                "num_loops": 2,  # R of the evaluation and of the phases below, and of
                # every update if sampling is fixed
                "eval_loops": (),  # further loop counts at every evaluation
                "sampling": "fixed",  # fixed, uniform, poisson, lognormal_poisson: how
                # the loop count of an update is drawn; all rows and lanes share it
                "mean_loops": config_dict.placeholder(float),  # of the two Poissons,
                # before clipping; lognormal_poisson adds 1
                "min_loops": config_dict.placeholder(int),  # of uniform and poisson
                "max_loops": config_dict.placeholder(int),  # of all but fixed
                "sigma": config_dict.placeholder(float),  # of lognormal_poisson
                "backprop_depth": config_dict.placeholder(int),  # last loops; None: all
                "seed": 0,  # of the sampled depths, folded with the step
            },
            "optimizer": {  # w <- w - rate * (direction + weight_decay * w), always
                "name": "adamw",  # adamw, muon, lion, sgd: the direction
                "learning_rate": 1e-3,  # at the end of the warm-up
                "weight_decay": 0.1,  # times the rate (optax)
                "decayed": "all",  # all, matrices, blocks: their matrices; what decays
                "b1": 0.9,  # decay of the first moment, of adamw and lion
                "b2": 0.98,  # decay of the second moment; of lion's only one
                "momentum": 0.95,  # decay of the momentum, of muon and sgd
                "epsilon": 1e-8,  # added to the root of the second moment
                "warmup_steps": 500,  # linear, from learning_rate / warmup_steps
                "schedule": "constant",  # constant, linear, cosine: after the warm-up;
                # wsd: constant, then linear over the last steps
                "decay_fraction": 0.2,  # of num_steps, the last steps of wsd
                "final_fraction": 0.1,  # of learning_rate at num_steps, if it decays
                "constant_norm": False,  # all weights keep the L2 norm of the start
            },
            "gradient": {  # before the optimizer, in the order of training/gradients.py
                "micro_batches": 1,  # equal parts of a batch, one after another
                "clip_norm": config_dict.placeholder(float),  # most L2 norm; None: any
                "filter": "none",  # none, grokfast_ema, grokfast_ma: add the slow part
                "filter_strength": 2.0,  # times the slow part
                "filter_decay": 0.98,  # of grokfast_ema, per update
                "filter_window": 100,  # of grokfast_ma, updates
                "orthogonal": False,  # without its part along each tensor of weights
            },
            "curriculum": {
                "by": config_dict.placeholder(str),  # a tag; None: all rows at once
                "start": 2,  # the first stage trains rows with values up to this one
                "reset_optimizer": False,  # begin each stage with a fresh optimizer
            },
            "loss": {
                "function": "softmax",  # softmax, stablemax: cross-entropy over it
                "dtype": "float32",  # float32, float64: of loss and its logit gradient
                "label_smoothing": 0.0,  # share given to the uniform distribution
                "deep_supervision": 0.0,  # share of the mean loss over all loops
                "block_similarity": 0.0,  # times 1 - cosine of corresponding weights of
                "similarity_period": 1,  # consecutive groups of so many core blocks
                "ponder": 0.01,  # times loops taken plus remainder, of halting act
                "router_entropy_mlp": 0.01,  # times negative nats, of sigma_moe
                "router_entropy_attention": 0.001,  # the same, of switch_head
            },
            "evaluation": {
                "schedule": "uniform",  # log: more often at first, too
                "per_decade": 10,  # evaluations of log for each factor of ten steps
                "train_rows": 4096,  # at most so many train rows, a fixed sample
                "batch_size": 1024,  # rows per forward pass; changes no result
            },
            "phases": {  # thresholds on accuracy, smoothed (training/phases.py)
                "memorized": 0.99,  # train
                "id_generalized": 0.95,  # id
                "ood_generalized": 0.5,  # ood
                "hop_learned": 0.95,  # id rows of a curriculum's stage
                "depth_generalized": config_dict.placeholder(float),  # depth; None: not
                # awaited, only drawn
                "depth_loops": config_dict.placeholder(int),  # R of depth, one that is
                # evaluated; None: num_loops
            },
        }
    )
