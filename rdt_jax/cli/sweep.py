"""`rdt sweep`: a study, or any config over axes; trained, extended or gone on with."""

import argparse

from rdt_jax.cli import exits, subject, worker
from rdt_jax.cli import options as shared

# Forms of the command and the options that they read. A dry run reads those of the
# command that it is of.
_USED = {
    "status": ("watch",),
    "stop": (),
    "plan": (
        "workers", "lanes", "exact", "memory", "transition_budget", "mesh",
        "retry_failed",
    ),
}  # fmt: skip


def add(sweep: argparse.ArgumentParser) -> None:
    """Adds the options of `rdt sweep`."""
    sweep.epilog = shared.ANY_KEY
    subject.add(sweep)
    subject.add_axes(sweep)
    sweep.add_argument(
        "--engine",
        default="local",
        choices=("local", "ray"),
        help="what starts the workers: this process, or Ray; default: local",
    )
    sweep.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="of a Ray cluster, or auto; default: one that is started here",
    )
    sweep.add_argument(
        "--workers",
        type=int,
        help="processes; default: one per accelerator, or per core without one",
    )
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
    shared.add_mesh(sweep, "one device for each worker")
    worker.add_lease(sweep)
    sweep.add_argument(
        "--retry-failed", action="store_true", help="give failed trials another try"
    )
    instead = sweep.add_mutually_exclusive_group()
    instead.add_argument(
        "--dry-run",
        action="store_true",
        help="say what it will need and how long it will take; write nothing",
    )
    sweep.add_argument(
        "--rate",
        metavar="FLOP/S|CHIP",
        help="of all workers together, such as 2e13, or a TPU chip at its peak, such "
        "as v6e: with --dry-run, instead of measuring it here",
    )
    instead.add_argument(
        "--plan",
        action="store_true",
        help="write the plan and start no worker; `rdt worker` does, anywhere",
    )
    instead.add_argument("--status", action="store_true", help="say how far it is")
    instead.add_argument(
        "--stop",
        action="store_true",
        help="ask all its workers, wherever they are, to checkpoint and end",
    )
    sweep.add_argument(
        "--watch", action="store_true", help="with --status: until nothing is left"
    )
    sweep.set_defaults(verb=_sweep, check=_check, takes_overrides=True)


def _sweep(options: argparse.Namespace) -> int:
    from rdt_jax.sweep import engines

    with exits.mistakes():
        what = subject.read(options)
        _check_options(options)
        if options.engine == "ray":
            engines.check_ray(options.address)

    from rdt_jax.cli import sweep_train

    return sweep_train.sweep(options, what)


def _check(options: argparse.Namespace) -> None:
    """Refuses a wrong option, study or preset, wherever the sweep will train."""
    subject.read(options)
    _check_options(options)
    subject.plan(options)


def _check_options(options: argparse.Namespace) -> None:
    """Refuses a wrong option, also where every run is over."""
    from rdt_jax import sharding

    if options.watch and not options.status:
        raise exits.Mistake("--watch goes with --status.")
    if options.rate is not None and not options.dry_run:
        raise exits.Mistake("--rate goes with --dry-run.")
    if options.address is not None and options.engine != "ray":
        raise exits.Mistake("--address goes with --engine=ray.")
    for form, used in _USED.items():
        if getattr(options, form):
            used = (form, "subject", "task", "preset", "workdir", *subject.ASKED, *used)
            shared.check_used(options, f"rdt sweep --{form}", used)
    for name in ("workers", "lanes"):
        number = getattr(options, name)
        if number is not None and number < 1:
            raise ValueError(f"--{name} must be at least 1, got {number}.")
    worker.check_lease(options, options.workdir)
    for name in ("memory", "transition_budget"):
        shared.size(options, name)
    if options.mesh is not None:
        sharding.parse(options.mesh)
