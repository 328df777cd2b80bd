"""`rdt aot`: the cost of a run on TPU chips, from their compiler, without a TPU."""

import argparse
import os

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.cli import exits
from rdt_jax.cli import options as shared
from rdt_jax.profile import chips


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `rdt aot`."""
    parser.epilog = shared.ANY_KEY
    shared.add_config(parser)
    parser.add_argument(
        "--topology", required=True, metavar="CHIP:SIDES", help="such as v5e:4x4"
    )
    shared.add_mesh(parser, "all chips along trial")
    parser.add_argument(
        "--lanes", type=int, help="of the pack; default: one per part of axis trial"
    )
    parser.set_defaults(verb=_aot, takes_overrides=True)


def _aot(options: argparse.Namespace) -> int:
    os.environ["JAX_PLATFORMS"] = "cpu"  # The program is compiled for chips, not run.

    from rdt_jax import sharding
    from rdt_jax.figures import aot as tables
    from rdt_jax.models import presets
    from rdt_jax.profile import aot

    with exits.mistakes():
        config = shared.config(options)
        chip = chips.of_topology(options.topology)
        if options.mesh is None:
            axes = sharding.Axes(trial=len(aot.devices_of(options.topology)))
        else:
            axes = sharding.parse(options.mesh)
        model = presets.model_config(config, tasks.make_table(config))
        configs.raise_problems(sharding.problems(axes, config, model))
        lanes = axes.trial if options.lanes is None else options.lanes
        if lanes < 1 or lanes % axes.trial:
            raise ValueError(
                f"--lanes must be a multiple of the axis trial of --mesh ({axes.trial})"
                f", got {lanes}."
            )
        pack = [configs.override(config, {"seed": config.seed + i})
                for i in range(lanes)]  # fmt: skip
        compiled = aot.compile_chunk(pack, axes, options.topology)
    mesh = ", ".join(f"{name} {size}" for name, size in axes._asdict().items())
    title = f"{options.config or options.task} on {options.topology}, mesh {mesh}"
    shared.print_table(tables.table(compiled, chip, title))
    return exits.WELL
