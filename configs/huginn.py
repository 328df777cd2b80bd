"""Huginn: prelude, core and coda; where a loop starts is random.

Reference: Geiping et al. (2025), arXiv:2502.05171, Section 3. The loops of an update
are drawn (log-normal Poisson, sigma 1/2), and gradients flow through the last ones only
(recurrence.backprop_depth).

Presets (`rdt train --config=configs/huginn.py:cpu --workdir=runs`):
  cpu         blocks of width 64, 1 + 2 + 1, the loops 4 in the mean, on the graph of
              knowledge_composition.py with phi 7.2. After 10,000 updates id .98 and ood
              .06 (R = 4, one seed; measured when its tables and states did not yet end
              at three deviations), in 6 minutes on one CPU core
  cpu_long    the same run to the end of its budget
  paper       the main model and its optimizer, on the task of Kohli et al.; the
              released code agrees with the paper in these keys
"""

from configs import knowledge_composition
from rdt_jax.named import by_preset, getter

PRESETS = knowledge_composition.with_model(
    {
        "model.preset": "huginn",
        "model.norm_placement": "sandwich",
        "model.norm": "rms",
        "model.norm_before_coda": True,
        "model.feedforward": "swiglu",
        "model.bias": "query_key",
        "model.position": "rope",
        "model.rope_base": 50_000.0,
        "model.injection": "concat",
        "model.initial_state": "normal",
        "model.weight_init": "huginn",
        "model.output_init": "depth",
        "model.scale_embedding": True,
        "recurrence.sampling": "lognormal_poisson",
        "recurrence.sigma": 0.5,
        "model.prelude_blocks": by_preset(1, paper=2),
        "model.coda_blocks": by_preset(1, paper=2),
        "model.init_depth": by_preset(1 + 2 * 4 + 1, paper=2 + 4 * 32 + 2),
        "model.embedding_std": by_preset(
            (2 / (5 * 64)) ** 0.5,
            smoke=(2 / (5 * 32)) ** 0.5,
            paper=(2 / (5 * 5280)) ** 0.5,
        ),
        "recurrence.num_loops": by_preset(4, paper=32),
        "recurrence.mean_loops": by_preset(4.0, paper=32.0),
        # Of the paper's, more are drawn in 2 of 1,000 updates.
        "recurrence.max_loops": by_preset(16, paper=128),
        "recurrence.backprop_depth": by_preset(2, paper=8),
        "optimizer.learning_rate": by_preset(1e-3, paper=4e-5),
    },
    paper={
        "model.width": 5280,
        "model.num_heads": 55,
        "model.mlp_width": 17_920,
        "model.dropout": 0.0,
        "model.embedding_dropout": 0.0,
        "optimizer.b2": 0.95,
        "optimizer.weight_decay": 4e-5,
        "optimizer.warmup_steps": 4_096,
    },
)
get_config = getter(PRESETS)
