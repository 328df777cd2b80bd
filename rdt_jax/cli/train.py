"""`rdt train`: trains one run, or goes on with it."""

import argparse
import sys
from typing import TYPE_CHECKING

import ml_collections
from rich.console import Console

from rdt_jax import config as configs
from rdt_jax import machine, tasks
from rdt_jax.cli import exits, ranks, stopping, supervisor
from rdt_jax.cli import options as shared
from rdt_jax.devices import has_accelerator
from rdt_jax.store import environment, records, run_folder
from rdt_jax.sweep import spec

if TYPE_CHECKING:
    from rdt_jax import sharding
    from rdt_jax.training import multiprocess


def add(train: argparse.ArgumentParser) -> None:
    """Adds the options of `rdt train`."""
    train.epilog = shared.ANY_KEY
    shared.add_config(train)
    shared.add_workdir(train)
    shared.add_mesh(
        train,
        "on a CPU its cores along data, for narrow models whose batches divide by "
        "them, else one device",
    )
    shared.add_transition_budget(train)
    ranks.add(train)
    train.set_defaults(verb=_train, check=_check, takes_overrides=True)


def _train(options: argparse.Namespace) -> int:
    with exits.mistakes():
        job = ranks.job_of(options)
    shared.use_compile_cache()
    if job is not None and not supervisor.is_child():
        return supervisor.run([sys.executable, "-m", "rdt_jax", *options.arguments])

    from rdt_jax.profile import estimate

    with exits.mistakes():
        config = shared.config(options, options.workdir)
        axes = _axes(options.mesh, config, job)
        if job is None and not has_accelerator():  # Which tells what does not fit.
            table = tasks.make_table(config)
            estimate.check_memory(config, table, machine.memory())
            for warning in estimate.slow(config, table):
                exits.tell(warning)
    return ranks.run(job, axes, lambda build: _train_here(options, config, job, build))


def _train_here(
    options: argparse.Namespace,
    config: ml_collections.ConfigDict,
    job: ranks.Job | None,
    build: "multiprocess.Build",
) -> int:
    from rdt_jax.profile import estimate
    from rdt_jax.store import leases, packs
    from rdt_jax.sweep import packing, progress
    from rdt_jax.training import run

    with exits.mistakes():
        # JAX has its devices by now, so that the program can be traced.
        if job is None and not has_accelerator():
            table = tasks.make_table(config)
            estimate.check_predicted_memory(config, table, machine.memory())
        budget = shared.size(options, "transition_budget")
        name = configs.run_id(config)
        leases.check_links(options.workdir)
        run_folder.check_version(options.workdir)
        run_folder.create(options.workdir / name, config)
        records.check(options.workdir / name)
        environment.check_table(options.workdir / name, tasks.hash_of(config), config)
        packs.if_over(options.workdir, [name], config.num_steps)
        packs.check_kept(options.workdir, name, config.num_steps)
        config_file = None
        if options.config is not None:
            path = configs.path_of(options.config.rpartition(":")[0])
            config_file = environment.of_files([path])
        max_pins = None
        if budget is not None:
            params = packing.predictor()(config).params
            max_pins = packing.max_pins(config, budget, params)
    console = Console(stderr=True)
    trial = spec.Trial(name, {"run": name}, config)
    monitor = progress.Monitor(options.workdir, [trial], console)

    def before_exit() -> None:
        console.show_cursor()
        monitor.log()
        print(options.workdir / name, flush=True)
        supervisor.say_stopped()

    with stopping.on_signal(before_exit=before_exit) as stop:
        with exits.mistakes(BlockingIOError), monitor.live():
            (status,) = run.train(
                [config],
                options.workdir,
                options=run.TrainOptions(
                    max_pins=max_pins, config_file=config_file, build=build
                ),
                should_stop=stop,
                may_end=stop.may_end,
                log=console.print,
            )
        monitor.log()
    print(options.workdir / name)
    return exits.FAILED if status["state"] == "failed" else exits.WELL


def _check(options: argparse.Namespace) -> None:
    """Raises ValueError if an option or the config is wrong on any machine."""
    job = ranks.job_of(options)
    config = shared.config(options)
    shared.size(options, "transition_budget")
    if options.mesh is not None:
        _axes(options.mesh, config, job)


def _axes(
    text: str | None, config: ml_collections.ConfigDict, job: ranks.Job | None
) -> "sharding.Axes | None":
    """Returns the axes of the mesh of a run; None for all devices."""
    from rdt_jax import sharding
    from rdt_jax.models import presets

    if text is None:
        if job is not None:
            return None
        cores = 1 if has_accelerator() else sharding.cores_for(config)
        return sharding.Axes(data=cores)
    axes = sharding.parse(text)
    if axes.trial > 1:
        raise ValueError(
            f"--mesh must have trial=1, since `rdt train` trains one run, got {text}."
        )
    model = presets.model_config(config, tasks.make_table(config))
    configs.raise_problems(sharding.problems(axes, config, model))
    return axes
