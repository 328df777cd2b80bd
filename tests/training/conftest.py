"""The toy run of the training tests; equal programs are compiled once a session."""

import dataclasses
import json
import pathlib

import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.training import hyper, run, validation
from rdt_jax.training.pack import build as build_pack

OPTIONS = {field.name for field in dataclasses.fields(run.TrainOptions)}

# Keys that change what a program is fed or when it is called, but not the program.
_NOT_COMPILED = {
    "seed",
    "num_steps",  # With a constant schedule.
    "stop_after_phases",
    "eval_every_steps",
    "checkpoint_every_steps",
    "snapshot_steps",
    "evaluation.schedule",
    "evaluation.per_decade",
    *hyper.LANE_KEYS,
}


@pytest.fixture(scope="session")
def toy(tiny_config):
    """Returns a function from overrides to a config of 15 evaluations."""
    base = configs.override(
        tiny_config,
        {
            "num_steps": 56,
            "eval_every_steps": 4,
            "checkpoint_every_steps": 16,
            "task.kwargs.ood_share": 0.3,
            "task.kwargs.phi": 1.3,
            "model.mlp_ratio": 3,
            "model.remat": "none",  # Compiles faster.
            "recurrence.eval_loops": (1, 3),
            "optimizer.learning_rate": 1e-2,
            "optimizer.warmup_steps": 5,
            # Key biases have no gradient but rounding; 1e-8 would let Adam amplify it.
            "optimizer.epsilon": 1e-6,
            "evaluation.batch_size": 37,  # Of 125 rows: the last batch is padded.
            "phases.memorized": 0.45,  # These two complete early,
            "phases.id_generalized": 0.4,
            "phases.ood_generalized": 1.0,  # and this one never.
        },
    )
    return lambda overrides=None: configs.override(base, overrides or {})


@pytest.fixture(scope="session")
def build():
    """Returns `build_pack`, which here builds equal programs once."""
    original, built = build_pack, {}

    def build(pack, table, exact=False):
        key = (_program_key(pack), exact)
        if key not in built:
            built[key] = original(pack, table, exact)
        return built[key]

    return build


@pytest.fixture(scope="session")
def table(toy):
    return tasks.make_table(toy())


@pytest.fixture(scope="session")
def program(build, toy, table):
    """The pack of the toy run alone."""
    return build([toy()], table)


@pytest.fixture(scope="session")
def train(build):
    """Returns `run.train` on checked configs, with the programs of `build`."""

    def train(pack, workdir: pathlib.Path, **named):
        for config in pack:
            validation.check(config)
        options = {"build": build} | {k: named.pop(k) for k in OPTIONS & named.keys()}
        return run.train(pack, workdir, options=run.TrainOptions(**options), **named)

    return train


@pytest.fixture(scope="session")
def undisturbed(train, toy, tmp_path_factory):
    """Returns the workdir of a toy run that went from start to end."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    train([toy()], workdir)
    return workdir


def _program_key(pack) -> str:
    config = pack[0]
    assert config.optimizer.schedule == "constant"
    values = config.to_dict()
    del values["phases"]
    for key in _NOT_COMPILED:
        *sections, name = key.split(".")
        parent = values[sections[0]] if sections else values
        del parent[name]
    parts = sorted(hyper.parts_of(pack))
    return json.dumps([values, len(pack), parts], sort_keys=True)
