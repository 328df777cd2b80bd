"""Two-hop knowledge composition: does a looped model combine facts it never combined?

Presets (`rdt train --config=configs/knowledge_composition.py:cpu --workdir=runs`):
  cpu         50 entities and 10 relations at width 64, two-hop questions as sparse as
              the paper's (38 %), so that memorizing and generalizing come apart
              (R = 2; experiments/depth_by_decay)
  cpu_long    the same run, for the wider sweep
  paper       Kohli et al. (2026), arXiv:2604.07822, Section 5, Appendix C, as written
  paper_code  the defaults of the authors' released code where they differ
"""

from typing import Any

from ml_collections import config_dict

from configs.base import KOHLI_2026_FACTS, KOHLI_2026_FACTS_CODE, LONG, SMOKE
from rdt_jax.named import Overrides, at_presets, budget, by_preset, getter, presets

# The graph of facts and its training on a laptop, for two hops and for more.
GRAPH = {
    "num_entities": by_preset(50, smoke=20),
    "num_relations": by_preset(10, smoke=5),
    "out_degree": by_preset(10, smoke=5),
    "atomic_repeats": 6,  # of each fact in an epoch
    # Rows in id, ood, each pattern (in knowledge_hops: per hop); None: all rows.
    "max_heldout": config_dict.FieldReference(500),
    "answer_at": "last",
}
CPU: Overrides = {
    "model.remat": "none",  # Of so few loops all is kept: a tenth faster.
    "optimizer.learning_rate": 5e-3,
    "loss.label_smoothing": 0.1,
    "batch_size": by_preset(128, smoke=64),
    "evaluation.batch_size": 256,  # Fits a cache.
    **LONG,
    **budget(10_000, every=100, checkpoint=5_000),
}
_PAPER = {
    "task.kwargs.num_entities": 2_000,
    "task.kwargs.num_relations": 200,
    "task.kwargs.out_degree": 20,
    "task.kwargs.ood_share": 0.05,
    "task.kwargs.atomic_repeats": 1,
    "task.kwargs.max_heldout": config_dict.FieldReference(3_000),
    # Sixteen blocks written out compile on a TPU in no bearable time, and keeping the
    # products moves a seventh less than computing them again.
    "model.remat": "dots",
}


def _of_cpu(value: Any, others: Any) -> Any:
    return by_preset(value, smoke=others, paper=others, paper_code=others)


PRESETS = presets(
    task=(
        "knowledge_composition",
        {
            **GRAPH,
            "ood_share": 0.2,  # of the facts
            # Two-hop training rows per ID fact: of all such questions the share that
            # is trained is that of the paper, whose graph has more of them.
            "phi": by_preset(3.0, paper=7.2, paper_code=7.2),
        },
    ),
    cpu={
        **CPU,
        # Without it R = 4 would need another rate than R = 2, and at a constant rate
        # OOD accuracy never settles.
        "model.branch_scale": _of_cpu("loops", "none"),
        "optimizer.schedule": _of_cpu("cosine", "constant"),
        "optimizer.final_fraction": _of_cpu(0.0, 0.1),
    },
    smoke=SMOKE | {"stop_after_phases": True},
    cpu_long={},
    paper=KOHLI_2026_FACTS | _PAPER,
    paper_code=KOHLI_2026_FACTS_CODE | _PAPER,
)
get_config = getter(PRESETS)
_DENSE = {
    "task.kwargs.phi": 7.2,
    "model.branch_scale": "none",
    "optimizer.schedule": "constant",
    "optimizer.final_fraction": 0.1,
    "eval_every_steps": 250,
}
# On what the published models were measured: 89 % of the questions, a constant rate.
DENSE = PRESETS | {
    "cpu": PRESETS["cpu"] | _DENSE | {"stop_after_phases": True},
    "cpu_long": PRESETS["cpu_long"] | _DENSE | {"num_steps": 8_000},
}


def with_model(model: Overrides, *, paper: Overrides) -> dict[str, Overrides]:
    """Returns the presets of a published model on this task.

    Args:
      model: what makes the model; values may be `by_preset`.
      paper: what the published size sets besides.
    """
    at = at_presets(model, ("cpu", "smoke", "cpu_long", "paper"))
    tables = {preset: DENSE[preset] | values for preset, values in at.items()}
    return tables | {"paper": tables["paper"] | paper}
