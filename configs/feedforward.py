"""Feed-forward transformers: what is a loop worth beside more layers?

As many blocks as the looped model of knowledge_composition.py runs, each with weights
of its own (iso-FLOP). `presets.feedforward_like` builds the same from any config, and
the comparison with as many parameters.

Presets (`rdt train --config=configs/feedforward.py:cpu --workdir=runs`):
  cpu         4 blocks of width 64, on the graph of knowledge_composition.py with phi
              7.2. After 10,000 updates id .99 and ood .01 (no loop, one seed), in 2
              minutes on one CPU core
  cpu_long    the same run to the end of its budget
  paper       Kohli et al. (2026), arXiv:2604.07822, Section 5: the control of 8 layers
  paper_code  the same with the training defaults of the authors' released code
"""

from configs import knowledge_composition
from rdt_jax.named import getter

_KNOWLEDGE = knowledge_composition.DENSE
_COMPONENTS = {"model.preset": "feedforward", "recurrence.num_loops": 1}
_SMALL = _COMPONENTS | {"model.core_blocks": 2 * 2, "model.output_init": "gpt2"}
_PAPER = _COMPONENTS | {"model.core_blocks": 8}  # L = 4 and R = 2
PRESETS = {
    "cpu": _KNOWLEDGE["cpu"] | _SMALL,
    "smoke": _KNOWLEDGE["smoke"] | _SMALL,
    "cpu_long": _KNOWLEDGE["cpu_long"] | _SMALL,
    "paper": _KNOWLEDGE["paper"] | _PAPER,
    "paper_code": _KNOWLEDGE["paper_code"] | _PAPER,
}
get_config = getter(PRESETS)
