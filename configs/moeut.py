"""MoEUT: a looped group of blocks with experts in the feed-forward and the attention.

Reference: Csordas et al. (2024), arXiv:2405.16039.

Presets (`rdt train --config=configs/moeut.py:cpu --workdir=runs`):
  cpu         two blocks of width 64 looped twice, on the graph of
              knowledge_composition.py with phi 7.2. By 4,750 updates id 1.00 and ood
              .62 (R = 2, one seed), in 4 minutes on one CPU core
  cpu_long    the same run to the end of its budget
  paper       the model of 44M parameters and its optimizer, on the task of Kohli et
              al.; what is said of it here comes from the released code
"""

from configs import knowledge_composition
from rdt_jax.named import by_preset, getter

PRESETS = knowledge_composition.with_model(
    {
        "model.preset": "moeut",
        "model.core_blocks": 2,  # G
        "model.norm_placement": "peri",
        "model.attention": "switch_head",
        "model.feedforward": "sigma_moe",
        "model.bias": "none",
        "model.position": "rope",
        "model.rope_fraction": 0.5,
        "model.readout": "untied",
        "model.weight_init": "moeut",
        "model.output_init": "normal",
        "model.head_width": by_preset(16, paper=82),
        "model.init_depth": by_preset(2 * 2, paper=2 * 8),
        "model.embedding_std": by_preset(64**-0.5, smoke=32**-0.5, paper=412**-0.5),
        "optimizer.learning_rate": by_preset(2e-3, paper=2.5e-4),
    },
    paper={
        "model.width": 412,
        "model.num_heads": 4,
        "model.num_experts": 155,
        "model.expert_width": 128,
        "model.experts_per_token": 12,
        "model.attention_experts": 8,
        "model.dropout": 0.0,
        "model.embedding_dropout": 0.0,
        "recurrence.num_loops": 8,
        "optimizer.schedule": "cosine",
        "optimizer.warmup_steps": 1,  # none at this size
    },
)
get_config = getter(PRESETS)
