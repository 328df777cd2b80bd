"""Is what PyTorch trains the same model? The loss of the same weights on one batch.

    python -m experiments.throughput.same_loss --torch-python=PYTHON [CASE]

Prints both losses and both numbers of parameters, and exits with 1 if the losses differ
by more than 1e-4 or the numbers at all. Every zero weight is replaced by a random one,
since blocks that start as the identity would hide a difference.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rdt_jax import tasks
from rdt_jax.data import batches
from rdt_jax.models import import_ltg, presets, recurrent
from rdt_jax.profile import bench, bench_cases, throughput
from rdt_jax.training import curriculum, losses

CASES = pathlib.Path(__file__).with_name("cases.py")
TOLERANCE = 1e-4  # nats


def main() -> int:
    """Compares one case and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("case", nargs="?", default="composition")
    parser.add_argument("--torch-python", required=True)
    options = parser.parse_args()
    (case,) = bench_cases.read_cases(CASES, [options.case]).values()
    assert isinstance(case, bench_cases.Updates), "a case of updates"
    config = bench_cases.resolve(case)
    facts = throughput.compile_pack([config]).facts
    table = tasks.make_table(config)
    model = presets.model_config(config, table)
    key = jax.random.key(1)
    params = jax.tree.map(
        lambda x: jnp.where(x == 0, 0.02 * jax.random.normal(key, x.shape), x),
        recurrent.init(jax.random.key(0), model),
    )
    # The longest rows, which theirs reads at the last position too.
    length = curriculum.stages_of(config, table).lengths[0]
    rows = batches.epoch_rows(table)
    rows = rows[batches.lengths_of(table)[rows] == length]
    rows = np.random.default_rng(0).choice(rows, config.batch_size)
    tokens, positions, targets = (
        x[rows] for x in (table.tokens, table.answer_positions, table.targets)
    )
    assert (positions == length - 1).all()

    @jax.jit
    def loss_of(params):
        logits = recurrent.apply(
            params,
            jnp.asarray(tokens[:, :length]),
            jnp.asarray(positions),
            model,
            num_loops=config.recurrence.num_loops,
        ).logits
        smoothing = jnp.float32(config.loss.label_smoothing)
        return losses.answer_cross_entropy(logits, jnp.asarray(targets), smoothing)

    ours = float(loss_of(params).mean())
    settings = bench.torch_case(config, facts)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "weights.npz"
        weights: Any = {f"weights/{k}": w for k, w in import_ltg.export(params).items()}
        np.savez(path, tokens=tokens[:, :length], targets=targets[:, 0], **weights)
        command = [options.torch_python, str(bench.reference()), f"--loss={path}"]
        said = subprocess.check_output(command, input=json.dumps(settings), text=True)
    theirs = json.loads(said)
    print(f"loss: ours {ours:.7f}, theirs {theirs['loss']:.7f}")
    print(f"parameters: ours {facts.parameters}, theirs {theirs['parameters']}")
    same = abs(ours - theirs["loss"]) <= TOLERANCE
    return 0 if same and facts.parameters == theirs["parameters"] else 1


if __name__ == "__main__":
    sys.exit(main())
