"""A Universal Transformer: post-norm, coordinates every loop, halting per position.

Reference: Dehghani et al. (2018), arXiv:1807.03819, Section 2. The most loops of a
position are recurrence.num_loops. The final norm of the skeleton stays.

Presets (`rdt train --config=configs/universal.py:cpu --workdir=runs`):
  cpu         one block of width 64 looped up to 6 times, on the graph of
              knowledge_composition.py with phi 7.2. By 9,000 updates id 1.00 and ood
              .53 (up to 6 loops, one seed), in 4 minutes on one CPU core
  cpu_long    the same run to the end of its budget
  paper       the base model of the paper, on the task of Kohli et al.; halting bias,
              threshold and ponder weight are tensor2tensor's
"""

from configs import knowledge_composition
from rdt_jax.named import by_preset, getter

PRESETS = knowledge_composition.with_model(
    {
        "model.preset": "universal",
        "model.core_blocks": 1,
        "model.norm_placement": "post",
        "model.feedforward": "relu",
        "model.position": "sinusoidal",
        "model.position_every_loop": True,
        "model.step_embedding": "sinusoidal",
        "model.halting": "act",  # none: every position takes all loops
        "model.output_init": "normal",
        "model.scale_embedding": True,
        # Of the size of the coordinates, beside which a word would else not be seen.
        "model.embedding_std": by_preset(64**-0.5, smoke=32**-0.5, paper=1024**-0.5),
        "recurrence.num_loops": by_preset(6, paper=12),
        "optimizer.learning_rate": by_preset(2e-3, paper=1e-4),
    },
    paper={
        "model.width": 1024,
        "model.num_heads": 16,
        "model.mlp_width": 4096,
        "model.halting_bias": 1.0,  # halts after two loops at the start
        "model.dropout": 0.3,
    },
)
get_config = getter(PRESETS)
