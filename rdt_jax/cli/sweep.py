"""`rdt sweep` and `rdt worker`: a study, trained or gone on with."""

import argparse
import contextlib
import os
import pathlib
import sys

from rdt_jax.cli import exits, figures
from rdt_jax.cli import options as shared


def add(verbs: argparse._SubParsersAction) -> None:
    """Registers `rdt sweep` and `rdt worker`."""
    sweep = verbs.add_parser(
        "sweep", help="train a study, or go on with it", epilog=shared.ANY_KEY
    )
    shared.add_study(sweep)
    shared.add_workdir(sweep)
    sweep.add_argument("--workers", type=int, help="processes; default: one per core")
    sweep.add_argument(
        "--lanes",
        type=int,
        help="trials per compiled program, at most; default: 1 on a CPU, which gains "
        "nothing by more, and on an accelerator as many as fit",
    )
    sweep.add_argument(
        "--exact",
        action="store_true",
        help="lanes of a program one after another, bit for bit like trials alone",
    )
    sweep.add_argument(
        "--memory", metavar="SIZE", help="of each worker's device; default: as it tells"
    )
    shared.add_transition_budget(sweep)
    sweep.add_argument("--status", action="store_true", help="say how far it is")
    sweep.set_defaults(verb=_sweep, takes_overrides=True)

    worker = verbs.add_parser("worker", help="train what a sweep has left to do")
    worker.add_argument("folder", type=pathlib.Path, metavar="WORKDIR/sweeps/NAME")
    worker.add_argument("--parent", type=int, help="stop once this process is gone")
    worker.set_defaults(verb=_worker)


def _sweep(options: argparse.Namespace) -> int:
    import jax
    from rich.console import Console
    from rich.live import Live

    from rdt_jax.sweep import engines, ledger, progress
    from rdt_jax.training import records

    plan = shared.plan(options)
    console = Console(stderr=True)
    trials = list(zip(plan.run_ids, plan.overrides, strict=True))
    if options.status:
        Console().print(progress.render(options.workdir, trials, None))
        return exits.WELL
    # This process plans and watches; the workers alone may hold an accelerator.
    jax.config.update("jax_platforms", "cpu")
    with exits.mistakes():
        if options.workers is not None and options.workers < 1:
            raise ValueError(f"--workers must be at least 1, got {options.workers}.")
        workers = options.workers or engines.default_workers()
        memory = shared.size(options, "memory") or engines.worker_memory(workers)
        lanes = options.lanes
        if lanes is None:
            lanes = engines.default_lanes()
        folder = ledger.write_plan(
            options.workdir,
            plan,
            ledger.Options(
                lanes, memory, options.exact, shared.size(options, "transition_budget")
            ),
        )
        _announce(options, len(plan.run_ids), folder, workers, memory, console)
    monitor = progress.Monitor(options.workdir, trials, console)
    terminal = console.is_terminal
    with shared.stop_on_signal() as stop:
        live = Live(monitor, console=console, refresh_per_second=2)
        with live if terminal else contextlib.nullcontext():
            engines.run_local(
                folder,
                num_workers=workers,
                stop_requested=stop,
                watch=(lambda: None) if terminal else monitor.log,
                report=console.print,
            )
    states = [
        records.read_status(options.workdir / name)["state"] for name in plan.run_ids
    ]
    metrics = [options.workdir / name / "metrics.jsonl" for name in plan.run_ids]
    if any(path.stat().st_size for path in metrics):
        figures.show(options, plan)
    left = sum(state not in ("done", "failed") for state in states)
    if left:
        console.print(f"{left} trials are unfinished; the same command goes on.")
    return exits.FAILED if "failed" in states else exits.WELL


def _announce(options, trials: int, folder, workers: int, memory: int, console) -> None:
    """Says what is left of a sweep and what it will need; ValueError if too much."""
    import shutil

    from rdt_jax.sweep import ledger
    from rdt_jax.sweep import pack as packs

    left = ledger.open_packs(folder)
    if not left:
        return
    needs = packs.needs(
        [pack.configs for pack in left],
        [pack.max_pins for pack in left],
        ledger.predictor(),
    )
    console.print(
        f"{trials} trials; {len(left)} packs to train with {needs.programs} compiled "
        f"programs; at most {_size(needs.memory)} of the {_size(memory)} memory of each"
        f" of {workers} workers, {_size(needs.pins)} of disk for parameters kept and "
        f"{_size(needs.checkpoints)} for checkpoints",
        soft_wrap=True,
    )
    free = shutil.disk_usage(options.workdir).free
    if needs.pins + needs.checkpoints > free:
        raise ValueError(
            f"{options.workdir} has {_size(free)} free and this sweep may need "
            f"{_size(needs.pins + needs.checkpoints)}; keep fewer parameters with "
            "--transition-budget, or train in another --workdir."
        )
    if needs.memory > memory:
        console.print("One lane may not fit in memory; model.remat = full needs least.")


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


def _worker(options: argparse.Namespace) -> int:
    shared.use_compile_cache(options.folder.resolve().parents[1])

    from rdt_jax.sweep import ledger

    with exits.mistakes():
        ledger.read_plan(options.folder)
    orphaned = lambda: options.parent not in (None, os.getppid())
    with shared.stop_on_signal() as stop:
        ledger.work(
            options.folder.resolve(),
            stop_requested=lambda: stop() or orphaned(),
            report=lambda message: print(message, file=sys.stderr, flush=True),
        )
    return exits.WELL
