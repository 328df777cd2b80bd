"""Three updates of one small run, to six digits: numbers that must not drift.

A change that means to change them regenerates them, and says why in its commit:

    python -m tests.training.test_golden
"""

import jax
import numpy as np

from configs import base
from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.training import step

_COMMAND = "python -m tests.training.test_golden"

# Loss, L2 norm of the gradient and of the weights, after each update.
GOLDEN = [
    (3.96911, 3.78199, 10.4312),
    (3.64096, 3.85289, 10.3967),
    (4.1559, 3.39265, 10.3484),
]
# float32 has 7 digits; compiled for another processor, sums of some thousand terms keep
# their first five or six.
RTOL = 2e-5

# Many components at once; nothing is left to a preset or a default.
OVERRIDES = {
    "seed": 5,
    "num_steps": 7,
    "batch_size": 11,
    "model.preset": "rdt",
    "model.width": 10,
    "model.num_heads": 2,
    "model.mlp_ratio": 3,
    "model.prelude_blocks": 0,
    "model.core_blocks": 1,
    "model.coda_blocks": 1,
    "model.position": "learned",
    "model.output_init": "gpt2",
    "model.embedding_std": 0.5,
    "model.dropout": 0.1,
    "model.embedding_dropout": 0.05,
    "model.dtype": "float32",
    "model.remat": "full",
    "recurrence.num_loops": 3,
    "recurrence.backprop_depth": 2,
    "optimizer.name": "adamw",
    "optimizer.schedule": "cosine",
    "optimizer.warmup_steps": 2,
    "optimizer.learning_rate": 0.01,
    "optimizer.weight_decay": 0.3,
    "optimizer.b1": 0.9,
    "optimizer.b2": 0.98,
    "optimizer.epsilon": 1e-8,
    "optimizer.final_fraction": 0.1,
    "loss.label_smoothing": 0.1,
}


def measure() -> list[tuple[float, float, float]]:
    """Returns what GOLDEN holds, as this code computes it."""
    config = base.get_config()
    config.task.name = "knowledge_composition"
    config.task.kwargs = {
        "num_entities": 13,
        "num_relations": 5,
        "out_degree": 3,
        "ood_share": 0.2,
        "phi": 1.5,
        "atomic_repeats": 2,
        "max_heldout": 7,
        "answer_at": "last",
    }
    config = configs.override(config, OVERRIDES)
    program = step.build([config], tasks.make_table(config))
    lanes = step.make_lanes([config])
    state, found = program.init(lanes), []
    for _ in range(3):
        state = program.train_chunk(program.start_window(state), lanes, 1)
        weights = [np.asarray(x, np.float64) for x in jax.tree.leaves(state.params)]
        norm = np.sqrt(sum((x**2).sum() for x in weights))
        found.append((float(state.loss_sum[0]), float(state.gradient_norm[0]), norm))
    return [tuple(float(f"{value:.6g}") for value in row) for row in found]


def test_three_updates_give_the_numbers_they_always_gave():
    found = measure()
    np.testing.assert_allclose(
        found,
        GOLDEN,
        rtol=RTOL,
        err_msg=f"found {found}; if that is meant to be so, run `{_COMMAND}`, paste "
        "what it prints, and say in the commit why the numbers changed.",
    )


if __name__ == "__main__":
    # As the tests run it (tests/conftest.py).
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_disable_most_optimizations", True)
    print("GOLDEN = [", *(f"    {row}," for row in measure()), "]", sep="\n")
