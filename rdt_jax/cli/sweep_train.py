"""What `rdt sweep` does: it plans, and starts workers and shows how far they are."""

import argparse
import contextlib
import dataclasses
import math
import shutil
from collections.abc import Callable, Iterator

import jax
from rich.console import Console

from rdt_jax import devices, sharding, tasks, wording
from rdt_jax.cli import exits, figures, report, stopping, subject, sweep_show
from rdt_jax.cli import options as shared
from rdt_jax.cli.sweep_show import Request
from rdt_jax.figures import study as studies
from rdt_jax.figures.forecast import size
from rdt_jax.profile import estimate
from rdt_jax.store import bucket_copy, bucket_sync
from rdt_jax.store.bucket import Bucket, temporary_copy
from rdt_jax.sweep import driver, engines, forecast, ledger, packing, progress, spec
from rdt_jax.sweep import plan as plans
from rdt_jax.sweep.bucket_sweep import BucketSweep, Exchange

_MANY = 1_000  # Trials that take seconds to plan.
_GRACE_SECONDS = 5.0  # To end the workers, when it is asked to stop twice.


def sweep(options: argparse.Namespace, what: subject.Subject) -> int:
    """Does what is asked of a sweep; returns the exit code."""
    url = options.workdir
    if not shared.is_url(url):
        trains = not (options.status or options.stop)
        plan = subject.plan(options, url if trains else None)
        return _do(Request(options, plan, url))
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
    options: argparse.Namespace, bucket: Bucket, asked: spec.Plan | None
) -> tuple[spec.Plan, BucketSweep]:
    """Returns the plan of a sweep in a bucket, brought here with what it has begun."""
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
    plan, options = request.plan, request.options
    if options.status or options.stop:
        counted = shared.with_stored_trials(request.workdir, plan)
        act = sweep_show.status if options.status else sweep_show.stop
        return act(dataclasses.replace(request, plan=counted))
    with exits.mistakes():
        workers, settings = _settings(request)
        if many := len(plan.trials) >= _MANY:
            exits.tell("the study is tried on its planned runs")
        studies.rehearse(plan.study, spec.configs_of(plan.trials))
        if many:
            exits.tell("predicting what the packs will need")
    carry_out = sweep_show.dry_run if options.dry_run else train
    return carry_out(request, workers, settings)


def _settings(request: Request) -> tuple[int, ledger.Options]:
    """Returns the number of workers and the ledger's options; ValueError."""
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


def train(request: Request, num_workers: int, settings: ledger.Options) -> int:
    """Writes the plan and, unless --plan says otherwise, trains it; the exit code."""
    # This process plans and watches; the workers alone may hold an accelerator.
    jax.config.update("jax_platforms", "cpu")
    console, options = Console(stderr=True), request.options
    _write_plan(request, num_workers, settings, console)
    target = f"{request.url}/sweeps/{request.plan.name}" if request.bucket else None
    lost = request.report_lost()
    if options.plan:
        print(target or request.folder)
        return exits.FAILED if lost else exits.WELL
    if options.engine == "local":  # Else on the machine of each worker.
        shared.use_compile_cache()
    order = engines.Order(
        request.folder.resolve(),
        options.workers,
        options.lease,
        options.address,
        target,
        options.mesh,
    )
    broken = False
    if ledger.trainable_packs(request.folder):
        broken = not _run_engine(request, order, console)
    workdir = request.workdir
    if request.url:  # The copy so far has no metrics of what others trained.
        analyses = getattr(request.plan.study, "ANALYSES", {})
        with exits.mistakes():
            workdir = bucket_copy.refresh(request.url, exits.tell, bool(analyses))
        console.print(f"The runs are in {request.url}, a copy in {workdir}.")
    if figures.is_any_evaluated(workdir, request.plan.run_ids):
        figures.show(workdir, request.plan)
        report.of_sweep(workdir, request.plan)
    return sweep_show.conclude(request, console, broken)


def _write_plan(
    request: Request, num_workers: int, settings: ledger.Options, console: Console
) -> None:
    """Says what the sweep will need and writes its plan, also into the bucket."""
    plan, workdir, copy = request.plan, request.workdir, request.bucket
    retry_failed = request.options.retry_failed
    refresh = lambda: bucket_sync.pull_begun(copy.bucket, []) if copy else None
    with exits.mistakes():
        needed = forecast.forecast(workdir, plan, settings, retry_failed)
        if needed.packs:
            _announce(request, needed, num_workers, settings.memory_bytes, console)
            sweep_show.tell_slow(needed)
        dropped = plans.dropped(request.folder, plan)
        ledger.write_plan(workdir, plan, settings, retry_failed, refresh, exits.tell)
    if dropped:
        console.print(
            f"The study or its config was changed: the plan of {plan.name} lost "
            f"{wording.count(len(dropped), 'trial')}; what they ran stays."
        )
    if copy:
        with exits.mistakes(PermissionError):
            copy.push_plan()


def _run_engine(request: Request, order: engines.Order, console: Console) -> bool:
    """Starts workers and waits for them; says whether they could work."""
    monitor = progress.Monitor(request.workdir, request.plan.trials, console)
    say = lambda message: console.print(message, markup=False, soft_wrap=True)
    exchange = Exchange(request.bucket, say)
    logs = f"{order.folder / 'state'}/worker-*.log"
    if order.target:
        logs = f"{order.target}/logs/{request.workdir.name}/worker-*.log"

    def show() -> None:
        exchange.refresh()
        monitor.log()

    tell_why = lambda what: exits.tell(f"{what} {logs} say why.")
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(_connect(request.options.engine, order, say))
        stop = stack.enter_context(stopping.on_signal(grace=_GRACE_SECONDS))
        stack.enter_context(monitor.live())
        try:
            driver.run(
                engine,
                order.folder,
                stop_requested=stop,
                on_poll=show,
                log=say,
            )
        except RuntimeError as error:
            exchange.refresh(now=True)
            tell_why(error)
            return False
        exchange.refresh(now=True)
        stops = max(stop(), ledger.is_stopped(order.folder))
    # A worker leaves what it cannot even begin, and says why in its log.
    if not stops and request.num_unfinished():
        tell_why("the workers ended before the sweep;")
        return False
    return stops <= 1


@contextlib.contextmanager
def _connect(
    name: str, order: engines.Order, say: Callable[[str], None]
) -> Iterator[engines.Engine]:
    """Yields the engine of a name; while it connects, this process may end."""
    leave = lambda: say("No worker has begun; the same command goes on.")
    with contextlib.ExitStack() as stack:
        # Ray would hear SIGTERM only once it is connected.
        with exits.mistakes(), stopping.on_signal() as connecting:
            with connecting.may_end(leave):
                engine = stack.enter_context(engines.ENGINES[name](order))
        yield engine


def _announce(
    request: Request,
    needed: forecast.Forecast,
    num_workers: int,
    memory: int,
    console: Console,
) -> None:
    """Says what is left of a sweep and what it will need; ValueError if too much."""
    needs = needed.needs
    console.print(
        f"{wording.count(needed.trials, 'trial')}; "
        f"{wording.count(needed.packs, 'pack')} to train with "
        f"{wording.count(needs.programs, 'compiled program')}; at most "
        f"{size(needs.memory)} of the {size(memory)} memory of each of "
        f"{wording.count(num_workers, 'worker')}, {size(needs.pins)} of disk for "
        f"parameters kept and {size(needs.checkpoints)} for checkpoints",
        soft_wrap=True,
    )
    above = (request.workdir, *request.workdir.resolve().parents)
    free = shutil.disk_usage(next(path for path in above if path.exists())).free
    if needs.pins + needs.checkpoints > free:
        raise ValueError(
            f"{request.workdir} has {size(free)} free and this sweep may need "
            f"{size(needs.pins + needs.checkpoints)}; keep fewer parameters with "
            "--transition-budget, or train in another --workdir."
        )
    if needs.memory > memory:
        console.print("One lane may not fit in memory; model.remat = full needs least.")
