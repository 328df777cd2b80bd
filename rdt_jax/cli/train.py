"""`rdt train`: one run, trained or gone on with."""

import argparse

from rdt_jax.cli import exits
from rdt_jax.cli import options as shared


def add(verbs: argparse._SubParsersAction) -> None:
    """Registers `rdt train`."""
    train = verbs.add_parser(
        "train", help="train one run, or go on with it", epilog=shared.ANY_KEY
    )
    shared.add_config(train)
    shared.add_workdir(train)
    train.add_argument(
        "--devices",
        type=int,
        help="that share each batch; default: on a CPU its cores, for narrow models "
        "whose batches divide by them, else 1",
    )
    shared.add_transition_budget(train)
    train.set_defaults(verb=_train, takes_overrides=True)


def _train(options: argparse.Namespace) -> int:
    shared.use_compile_cache(options.workdir)

    import functools

    from rich.console import Console
    from rich.live import Live

    from rdt_jax import config as configs
    from rdt_jax.sweep import ledger, progress
    from rdt_jax.sweep import pack as packs
    from rdt_jax.training import loop, records, step

    with exits.mistakes():
        budget = shared.size(options, "transition_budget")
        config = shared.config(options)
        mesh = _mesh(options.devices, config)
        name = configs.run_id(config)
        records.create(options.workdir / name, config)
        records.check(options.workdir / name)
        max_pins = None
        if budget is not None:
            params = ledger.predictor()(config).params
            max_pins = packs.max_pins(config, budget, params)
    console = Console(stderr=True)
    monitor = progress.Monitor(options.workdir, [(name, {"run": name})], console)
    with shared.stop_on_signal() as stop:
        train = lambda: loop.train(
            [config],
            options.workdir,
            max_pins=max_pins,
            build=functools.partial(step.build, mesh=mesh),
            stop_requested=stop,
            report=console.print,
        )
        with exits.mistakes(BlockingIOError):
            if console.is_terminal:
                with Live(monitor, console=console, refresh_per_second=2):
                    (status,) = train()
            else:
                (status,) = train()
                monitor.log()
    print(options.workdir / name)
    return exits.FAILED if status["state"] == "failed" else exits.WELL


def _mesh(devices: int | None, config):
    """Returns the mesh of the devices that share a run's batches."""
    from rdt_jax import sharding
    from rdt_jax.sweep import engines

    has_accelerator = engines.has_accelerator()
    if devices is None:
        devices = 1 if has_accelerator else sharding.cores_for(config)
    if devices < 1:
        raise ValueError(f"--devices must be at least 1, got {devices}.")
    parts = devices * config.gradient.micro_batches
    if config.batch_size % parts:
        raise ValueError(
            f"batch_size ({config.batch_size}) must be a multiple of --devices times "
            f"gradient.micro_batches ({parts})."
        )
    return sharding.make_mesh(devices, on_cpu=not has_accelerator)
