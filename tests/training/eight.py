"""Trains one pack on meshes of eight devices, and on one; prints what came of it.

    python -m tests.training.eight WORKDIR [--model=NAME] SHAPE..

A SHAPE is the devices along trial, data and model, such as 2,2,2.
"""

import functools
import itertools
import json
import math
import pathlib
import sys

import jax

from rdt_jax import config as configs
from rdt_jax import sharding
from rdt_jax.store import environment, records
from rdt_jax.training import run
from rdt_jax.training.pack import build as build_pack

SHAPES = [
    f"{trial},{data},{model}"
    for trial, data, model in itertools.product((1, 2, 4, 8), repeat=3)
    if trial * data * model == 8
]
ROOT = pathlib.Path(__file__).parents[2]


def make_pack(name: str, lanes: int):
    """Returns lanes whose heads, experts, widths and batches all divide by eight."""
    config = configs.override(
        configs.load(f"{ROOT}/configs/{name}.py:smoke"),
        {
            "num_steps": 6, "eval_every_steps": 3, "checkpoint_every_steps": 6,
            "batch_size": 16, "optimizer.warmup_steps": 2, "optimizer.epsilon": 1e-6,
            "task.kwargs.num_entities": 11, "task.kwargs.num_relations": 5,
            "task.kwargs.out_degree": 3, "task.kwargs.phi": 1.5,
            "model.width": 16, "model.num_heads": 8, "model.core_blocks": 1,
            "recurrence.num_loops": 1, "recurrence.eval_loops": (1,),
            "evaluation.batch_size": 40,
        },
    )  # fmt: skip
    if config.model.initial_state == "normal":  # A part of a batch draws other numbers.
        config = configs.override(config, {"model.initial_state": "zeros"})
    return [configs.override(config, {"seed": seed}) for seed in range(lanes)]


def train(pack, workdir: pathlib.Path, shape: str) -> dict:
    mesh = sharding.make_mesh(sharding.Axes(*map(int, shape.split(","))), on_cpu=False)
    build = functools.partial(build_pack, mesh=mesh)
    run.train(pack, workdir, options=run.TrainOptions(build=build))
    folders = [workdir / configs.run_id(config) for config in pack]
    segment = environment.read(folders[0])["segments"][-1]
    losses = [
        [row["train/loss@1"] for row in records.read_rows(folder / "metrics.jsonl")]
        for folder in folders
    ]
    return {
        "losses": losses,
        "devices": len(segment["devices"]),
        "mesh": segment["mesh"],
    }


def main() -> None:
    workdir, *rest = sys.argv[1:]
    name = "knowledge_composition"
    if rest[0].startswith("--model="):
        name = rest.pop(0).partition("=")[2]
    jax.config.update("jax_num_cpu_devices", 8)
    jax.config.update("jax_disable_most_optimizations", True)
    lanes = max(2, *(int(shape.split(",")[0]) for shape in rest), 2)
    pack = make_pack(name, lanes)
    found = {}
    for shape in ["1,1,1", *rest]:
        assert math.prod(map(int, shape.split(","))) in (1, 8)
        found[shape] = train(pack, pathlib.Path(workdir) / shape, shape)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
