"""Depth extrapolation: does a looped model follow more hops than it was trained on?

Stage k of the curriculum trains rows of up to k hops until held-out k-hop rows are
learned. The paper draws the loops of an update from a clipped Poisson distribution in
its main setting; these presets train its fixed R, and `recurrence.sampling` chooses
another, as experiments/depth_extrapolation does. In the paper presets every number of
hops has train rows: what is deeper than trained depends on the stage that a run
reaches, read off the tag `hops`.

Presets (`rdt train --config=configs/knowledge_depth.py:cpu --workdir=runs`):
  cpu         up to 8 hops trained, 10 asked, at width 64. By 2,800 updates 5 hops are
              learned, id .95 of 5 hops (R = 5, two seeds), and .97 and .82 of 6 hops,
              never trained, are answered after 6 loops; 7 minutes on one CPU core
  cpu_long    a quarter of an hour and more; up to 10 hops trained, 14 asked, and 8,000
              updates
  paper       Kohli et al. (2026), arXiv:2604.07822, Section 6, Appendix C, as written;
              the defaults of the authors' released code are the same: their decay of
              the rate over 100,001 epochs is constant in effect
"""

from configs.base import KOHLI_2026, SMOKE
from rdt_jax.named import budget, by_preset, getter, presets

# What `cpu` and `cpu_long` alone change, for the presets that do not.
_NOT_CPU = {
    "task.kwargs.answer_at": "answer_token",
    "model.remat": "full",
    "optimizer.name": "adamw",
    "evaluation.train_rows": 4096,
}
PRESETS = presets(
    task=(
        "knowledge_depth",
        {
            "num_entities": by_preset(30, smoke=10, paper=200),
            "num_relations": by_preset(6, smoke=5, paper=10),
            "max_hops": by_preset(10, smoke=4, cpu_long=14, paper=40),
            "max_train_hops": by_preset(8, smoke=3, cpu_long=10, paper=40),
            # Of the 1,080 questions of two hops
            "train_per_hop": by_preset(900, smoke=200, paper=15_000),
            "heldout_per_hop": by_preset(160, smoke=40, paper=750),
            "answer_at": "last",
        },
    ),
    cpu={
        "model.position": "none",
        "model.remat": "none",  # Of so few loops all is kept: a tenth faster.
        "recurrence.num_loops": by_preset(5, smoke=2, paper=8),
        # AdamW at 1e-3 had not learned two hops in 16,000 updates.
        "optimizer.name": "muon",
        "optimizer.learning_rate": by_preset(2e-3, smoke=3e-3),
        "curriculum.by": "hops",
        "batch_size": by_preset(128, smoke=64),
        "evaluation.train_rows": 512,
        # A stage takes five evaluations or more.
        **budget(4_000, every=100, checkpoint=1_000),
    },
    smoke={
        **SMOKE,
        **_NOT_CPU,
    },
    cpu_long=budget(8_000, every=100, checkpoint=2_000),
    paper={
        **_NOT_CPU,
        **KOHLI_2026,
        "curriculum.reset_optimizer": True,
        **budget(1_500_000, every=1_000, checkpoint=5_000),
    },
)
get_config = getter(PRESETS)
