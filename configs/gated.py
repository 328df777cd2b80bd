"""A gated loop: step embeddings, a gate that begins nearly shut, LayerScale.

Reference: Chen (2026), arXiv:2603.21676. The loops of an update are drawn from 5 to 8,
as for the paper's graph task.

Presets (`rdt train --config=configs/gated.py:cpu --workdir=runs`):
  cpu         one block of width 64, on the graph of knowledge_composition.py with phi
              7.2. After 10,000 updates id .97 and ood .30 (R = 6, one seed), in 5
              minutes on one CPU core
  cpu_long    the same run to the end of its budget
  paper       the small model and optimizer of the paper, on the task of Kohli et al.;
              no released code is known to differ
"""

from configs import knowledge_composition
from rdt_jax.named import by_preset, getter

PRESETS = knowledge_composition.with_model(
    {
        "model.preset": "gated",
        "model.core_blocks": 1,
        "model.position": "rope",
        "model.step_embedding": "learned",
        "model.residual": "gated_layerscale",
        "model.output_init": "normal",
        "recurrence.sampling": "uniform",
        "recurrence.min_loops": 5,
        "recurrence.max_loops": 8,
        "recurrence.num_loops": by_preset(6, paper=8),
        "optimizer.learning_rate": by_preset(2e-3, paper=3e-4),
    },
    paper={
        "model.width": 128,
        "model.num_heads": 4,
        "model.mlp_width": 256,
        "model.step_table": 20,
        "optimizer.schedule": "cosine",
        "batch_size": 64,
    },
)
get_config = getter(PRESETS)
