"""`rdt sweep`: a study, or any config over axes; trained, extended or gone on with."""

import argparse
import dataclasses
import math
from typing import TYPE_CHECKING

from rdt_jax.cli import exits, subject, sweep_show, sweep_train, worker
from rdt_jax.cli import options as shared
from rdt_jax.cli.sweep_show import Request

if TYPE_CHECKING:
    from rdt_jax.store.bucket import Bucket
    from rdt_jax.sweep import ledger, spec
    from rdt_jax.sweep.bucket_sweep import BucketSweep

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
_MANY = 1_000  # Trials that take seconds to plan.


def add(verbs: argparse._SubParsersAction) -> None:
    """Registers `rdt sweep`."""
    sweep = verbs.add_parser(
        "sweep",
        help="train a study or a config over axes, or go on with it",
        epilog=shared.ANY_KEY,
    )
    subject.add(sweep, buckets=True)
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
    from rdt_jax.store.bucket import Bucket, temporary_copy
    from rdt_jax.sweep import engines

    with exits.mistakes():
        what = subject.read(options)
        _check_options(options)
        if options.engine == "ray":
            engines.check_ray(options.address)
    url = options.workdir
    in_bucket = shared.is_url(url)
    trains = not (options.status or options.stop)
    if not in_bucket:
        return _do(
            Request(options, subject.plan(options, url if trains else None), url)
        )
    asked = None if what.kind == subject.SWEEP else subject.plan(options)
    with temporary_copy() as scratch:
        with exits.mistakes():
            bucket = Bucket.connect(url, scratch, log=exits.tell)
        try:
            plan, sweep = _pulled(options, bucket, asked)
            return _do(Request(options, plan, bucket.workdir, sweep, url))
        except exits.Mistake as mistake:  # Of the copy, which is gone by then.
            message = str(mistake).replace(str(bucket.workdir), url)
            raise exits.Mistake(message) from mistake


def _pulled(
    options: argparse.Namespace, bucket: "Bucket", asked: "spec.Plan | None"
) -> "tuple[spec.Plan, BucketSweep]":
    """Returns the plan of a sweep in a bucket, brought here with what it has begun.

    Args:
      options: arguments of the verb.
      bucket: bucket with the workdir.
      asked: plan as it is asked for; None if the subject is the sweep itself.
    """
    from rdt_jax.store import bucket_sync
    from rdt_jax.sweep.bucket_sweep import BucketSweep

    with exits.mistakes():
        name = asked.name if asked else subject.read(options).folder.name
        sweep = BucketSweep(bucket, name)
        if asked is None or sweep.exists():
            sweep.pull()
        if asked:
            plan = subject.with_stored(options, bucket.workdir, asked)
        else:
            plan = subject.plan(options, copy=bucket.workdir)
        bucket_sync.pull_runs(bucket, plan.run_ids)
        budgets = {trial.run_id: trial.budget for trial in plan.trials}
        bucket_sync.pull_begun(bucket, plan.run_ids, budgets)
    return plan, sweep


def _do(request: Request) -> int:
    """Does what is asked of a sweep."""
    from rdt_jax.figures import study as studies
    from rdt_jax.sweep import spec

    plan, options = request.plan, request.options
    if options.status or options.stop:
        counted = shared.with_stored_trials(request.workdir, plan)
        act = sweep_show.status if options.status else _stop
        return act(dataclasses.replace(request, plan=counted))
    with exits.mistakes():
        workers, settings = _settings(request)
        if many := len(plan.trials) >= _MANY:
            exits.tell("the study is tried on its planned runs")
        studies.rehearse(plan.study, spec.configs_of(plan.trials))
        if many:
            exits.tell("predicting what the packs will need")
    carry_out = sweep_show.dry_run if options.dry_run else sweep_train.train
    return carry_out(request, workers, settings)


def _stop(request: Request) -> int:
    """Asks all workers of a sweep to checkpoint and end."""
    from rdt_jax.store import leases
    from rdt_jax.sweep import ledger
    from rdt_jax.sweep import plan as plans

    name = request.plan.name
    with exits.mistakes():
        plans.read(request.folder)
    if not request.num_unfinished():
        raise exits.Mistake(f"--stop: every run of {name} is over.")
    ledger.request_stop(request.folder)
    if request.bucket:
        request.bucket.request_stop()
    holders = leases.holders(request.workdir, leases.Observer())
    if {run for holder in holders for run in holder.runs} & set(request.plan.run_ids):
        what = f"The workers of {name} checkpoint and end"
    else:
        what = f"Nobody trains {name} now; who starts later ends at once"
    print(f"{what}; `rdt sweep` goes on.")
    return exits.WELL


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


def _settings(request: Request) -> tuple[int, "ledger.Options"]:
    """Returns the number of workers and the ledger's options; ValueError."""
    from rdt_jax import devices, sharding, tasks
    from rdt_jax.profile import estimate
    from rdt_jax.sweep import ledger, packing

    options, run_configs = request.options, request.plan.configs
    axes = sharding.Axes() if options.mesh is None else sharding.parse(options.mesh)
    workers = options.workers or devices.default_workers(math.prod(axes))
    memory = shared.size(options, "memory")
    if memory is None:
        memory = devices.worker_memory(workers)
    if options.engine == "local":
        devices.variables(workers)  # Raises if they cannot be dealt out.
    room = None  # Of a run, where it is known.
    trains = not options.dry_run and not options.plan
    if options.memory or (trains and request.num_unfinished()):
        room = memory * (axes.data * axes.model if devices.has_accelerator() else 1)
    lanes = devices.default_lanes() if options.lanes is None else options.lanes
    if devices.has_accelerator():
        memory *= axes.trial  # Each device along it has its own lanes.
    elif options.lanes is None:
        lanes = axes.trial
    packing.check_mesh(axes, run_configs, request.plan.name)
    if room is not None:
        for config in {packing.signature(c): c for c in run_configs}.values():
            estimate.check_memory(config, tasks.make_table(config), room)
    budget = shared.size(options, "transition_budget")
    return workers, ledger.Options(lanes, memory, options.exact, budget)
