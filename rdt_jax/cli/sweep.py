"""`rdt sweep`: a study, trained or gone on with."""

import argparse
import contextlib
import math
import pathlib
import sys
import time
from collections.abc import Mapping

from rdt_jax import wording
from rdt_jax.cli import exits, figures, stopping, worker
from rdt_jax.cli import options as shared

_WATCH_SECONDS = 1.0
_REFRESH_SECONDS = 10.0  # Between two looks into a bucket.
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
_GRACE_SECONDS = 5.0  # To end the workers, when it is asked to stop twice.


def add(verbs: argparse._SubParsersAction) -> None:
    """Registers `rdt sweep`."""
    sweep = verbs.add_parser(
        "sweep", help="train a study, or go on with it", epilog=shared.ANY_KEY
    )
    shared.add_study(sweep)
    shared.add_workdir(sweep, buckets=True)
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
    from rdt_jax.store import bucket_sync
    from rdt_jax.store.bucket import Bucket, temporary_copy
    from rdt_jax.sweep import engines
    from rdt_jax.sweep.bucket_sweep import BucketSweep

    with exits.mistakes():
        _check_options(options)
        if options.engine == "ray":
            engines.check_ray(options.address)
    plan = shared.plan(options)
    options.url = None
    if not shared.is_url(options.workdir):
        return _of_plan(options, plan, None)
    log = lambda message: print(f"rdt: {message}", file=sys.stderr, flush=True)
    with temporary_copy() as scratch:
        with exits.mistakes():
            bucket = Bucket.connect(options.workdir, scratch, log=log)
            sweep = BucketSweep(bucket, plan.name)
            options.url, options.workdir = options.workdir, bucket.workdir
            bucket_sync.pull_runs(bucket, plan.run_ids)
            if sweep.exists():
                sweep.pull()
            bucket_sync.pull_begun(bucket, plan.run_ids, plan.budgets)
        try:
            return _of_plan(options, plan, sweep)
        except exits.Mistake as mistake:  # Of the copy, which is gone by then.
            message = str(mistake).replace(str(bucket.workdir), options.url)
            raise exits.Mistake(message) from mistake


def _of_plan(options: argparse.Namespace, plan, copy) -> int:
    """Does what is asked with a plan; `copy` is its BucketSweep, or None on a disk."""
    from rich.console import Console

    from rdt_jax.figures import study as studies
    from rdt_jax.store import leases
    from rdt_jax.sweep import ledger

    folder = options.workdir / "sweeps" / plan.name
    if options.status or options.stop:
        plan = shared.counted(options.workdir, plan)
    if options.status:
        return _status(options, plan, folder, copy)
    if options.stop:
        with exits.mistakes():
            ledger.read_plan(folder)
        if not _unfinished(options.workdir, plan.budgets):
            raise exits.Mistake(f"--stop: every run of {plan.name} is over.")
        ledger.request_stop(folder)
        if copy:
            copy.request_stop()
        holders = leases.holders(options.workdir, leases.Observer())
        if {run for holder in holders for run in holder.runs} & set(plan.run_ids):
            what = f"The workers of {plan.name} checkpoint and end"
        else:
            what = f"Nobody trains {plan.name} now; who starts later ends at once"
        print(f"{what}; `rdt sweep` goes on.")
        return exits.WELL
    console = Console(stderr=True)
    with exits.mistakes():
        workers, settings = _settings(options, plan)
        if many := len(plan.configs) >= _MANY:
            shared.tell("the study is tried on its planned runs")
        studies.rehearse(plan.study, plan.planned)
        if many:
            shared.tell("predicting what the packs will need")
    if options.dry_run:
        return _dry_run(options, plan, workers, settings)
    return _train(options, plan, workers, settings, console, copy)


def _check(options: argparse.Namespace) -> None:
    """Refuses a wrong option, study or preset, wherever the sweep will train."""
    _check_options(options)
    shared.plan(options)


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
            used = (form, "study", "preset", "workdir", *used)
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


def _settings(options, plan):
    """Returns the number of workers and the ledger's options; ValueError."""
    from rdt_jax import devices, sharding, tasks
    from rdt_jax.profile import estimate
    from rdt_jax.sweep import ledger, packing

    axes = sharding.Axes() if options.mesh is None else sharding.parse(options.mesh)
    workers = options.workers or devices.default_workers(math.prod(axes))
    memory = shared.size(options, "memory")
    if memory is None:
        memory = devices.worker_memory(workers)
    if options.engine == "local":
        devices.variables(workers)  # Raises if they cannot be dealt out.
    room = None  # Of a run, where it is known.
    trains = not options.dry_run and not options.plan
    if options.memory or (trains and _unfinished(options.workdir, plan.budgets)):
        room = memory * (axes.data * axes.model if devices.has_accelerator() else 1)
    lanes = devices.default_lanes() if options.lanes is None else options.lanes
    if devices.has_accelerator():
        memory *= axes.trial  # Each device along it has its own lanes.
    elif options.lanes is None:
        lanes = axes.trial
    packing.check_mesh(axes, plan.configs, plan.name)
    if room is not None:
        for config in {packing.signature(each): each for each in plan.configs}.values():
            estimate.check_memory(config, tasks.make_table(config), room)
    budget = shared.size(options, "transition_budget")
    return workers, ledger.Options(lanes, memory, options.exact, budget)


def _train(options, plan, workers: int, settings, console, copy) -> int:
    import jax

    from rdt_jax.store import bucket_sync
    from rdt_jax.sweep import engines, forecast, ledger

    # This process plans and watches; the workers alone may hold an accelerator.
    jax.config.update("jax_platforms", "cpu")
    with exits.mistakes():
        found = forecast.forecast(options.workdir, plan, settings, options.retry_failed)
        if found.packs:
            _announce(options, found, workers, settings.memory_bytes, console)
            _tell_slow(found)
        dropped = ledger.dropped(options.workdir / "sweeps" / plan.name, plan)
        folder = ledger.write_plan(
            options.workdir,
            plan,
            settings,
            options.retry_failed,
            lambda: bucket_sync.pull_begun(copy.bucket, []) if copy else None,
        )
    if dropped:
        console.print(
            f"The study or its config was changed: the plan of {plan.name} lost "
            f"{wording.count(len(dropped), 'trial')}; what they ran stays."
        )
    if copy:
        with exits.mistakes(PermissionError):
            copy.push_plan()
    lost = shared.report_lost(options.workdir, plan.run_ids, options.url)
    if options.plan:
        print(f"{options.url}/sweeps/{plan.name}" if copy else folder)
        return exits.FAILED if lost else exits.WELL
    if options.engine == "local":  # Else on the machine of each worker.
        shared.use_compile_cache()
    order = engines.Order(
        folder.resolve(),
        options.workers,
        options.lease,
        options.address,
        f"{options.url}/sweeps/{plan.name}" if copy else None,
        options.mesh,
    )
    say = lambda message: console.print(message, markup=False, soft_wrap=True)
    refresh = _refresher(copy, say)
    broken = bool(ledger.trainable_packs(folder)) and not _run_engine(
        options, order, plan, refresh, console, say
    )
    metrics = [options.workdir / name / "metrics.jsonl" for name in plan.run_ids]
    if copy:
        console.print(f"The runs are in {options.url}; `rdt figures` needs a copy.")
    elif any(path.exists() and path.stat().st_size for path in metrics):
        figures.show(options, plan)
    return _conclude(options, plan, console, broken)


def _run_engine(options, order, plan, refresh, console, say) -> bool:
    """Starts workers and waits for them; says whether they could work."""
    from rich.live import Live

    from rdt_jax.sweep import engines, ledger, progress

    monitor = progress.Monitor(options.workdir, plan.trials, console, plan.budgets)
    terminal = console.is_terminal
    logs = f"{order.folder / 'state'}/worker-*.log"
    if order.target:
        logs = f"{order.target}/logs/{options.workdir.name}/worker-*.log"

    def watch() -> None:
        refresh()
        if not terminal:
            monitor.log()

    with contextlib.ExitStack() as stack:
        leave = lambda: say("No worker has begun; the same command goes on.")
        # Ray would hear SIGTERM only once it is connected.
        with exits.mistakes(), stopping.on_signal() as connecting:
            with connecting.may_end(leave):
                engine = stack.enter_context(engines.ENGINES[options.engine](order))
        stop = stack.enter_context(stopping.on_signal(grace=_GRACE_SECONDS))
        if terminal:
            stack.enter_context(Live(monitor, console=console, refresh_per_second=2))
        try:
            engines.run(
                engine,
                order.folder,
                stop_requested=stop,
                watch=watch,
                log=say,
            )
        except RuntimeError as error:
            refresh(now=True)
            print(f"rdt: {error} {logs} say why.", file=sys.stderr)
            return False
        refresh(now=True)
        asked = max(stop(), ledger.is_stopped(order.folder))
    if asked > 1:
        return False
    # A worker leaves what it cannot even begin, and says why in its log.
    if not asked and _unfinished(options.workdir, plan.budgets):
        print(
            f"rdt: the workers ended before the sweep; {logs} say why.", file=sys.stderr
        )
        return False
    return True


def _refresher(copy, log):
    """Returns what exchanges a sweep with its bucket, now or now and then.

    Only the first waits for a store that is away; workers do so by themselves.
    """
    from rdt_jax.store.bucket import PATIENCE_SECONDS
    from rdt_jax.sweep.bucket_sweep import LogPusher

    at, is_away = time.monotonic(), False
    logs = LogPusher()

    def refresh(now: bool = False) -> None:
        nonlocal at, is_away
        if copy and (now or time.monotonic() - at > _REFRESH_SECONDS):
            asked = copy if now else copy.with_patience(0.0)
            try:
                logs.push(asked)
                asked.pull()
                if is_away:
                    log(f"The store of {copy.bucket.root} answers again.")
                is_away = False
            except ConnectionError as error:
                if now:
                    raise
                if not is_away:
                    minutes = f"{PATIENCE_SECONDS / 60:g} minutes"
                    log(
                        f"{error}. It is asked again; each worker asks for {minutes}, "
                        "with growing waits."
                    )
                is_away = True
            at = time.monotonic()

    return refresh


def _unfinished(workdir: pathlib.Path, budgets: Mapping[str, int]) -> int:
    """Counts the planned runs that are not over and can be read."""
    from rdt_jax.store import records

    states = [
        records.planned_status(workdir / name, budget=budget)["state"]
        for name, budget in budgets.items()
    ]
    return sum(state not in ("done", "failed", "unreadable") for state in states)


def _conclude(options, plan, console, broken: bool = False) -> int:
    """Says what of a plan is unfinished, lost, or failed and why; the exit code."""
    from rdt_jax.figures import failures
    from rdt_jax.sweep import ledger

    lost = shared.report_lost(options.workdir, plan.run_ids, options.url)
    if unfinished := _unfinished(options.workdir, plan.budgets):
        trials = wording.count(unfinished, "trial")
        verb = "is" if unfinished == 1 else "are"
        console.print(f"{trials} {verb} unfinished; `rdt sweep` goes on.")
    if failed := ledger.failures(options.workdir, plan.trials, plan.budgets):
        shared.print_table(failures.table(failed), console)
    return exits.FAILED if failed or lost or broken else exits.WELL


def _status(options, plan, folder, copy) -> int:
    from rich.console import Console
    from rich.live import Live

    from rdt_jax.sweep import progress

    console = Console()
    over = lambda: not _unfinished(options.workdir, plan.budgets)
    is_planned = (folder / "plan.json").exists()
    if options.watch and not over():
        monitor = progress.Monitor(options.workdir, plan.trials, console, plan.budgets)
        terminal = console.is_terminal
        live = Live(monitor, console=console, refresh_per_second=2, transient=True)
        with (
            stopping.on_signal() as stop,
            live if terminal else contextlib.nullcontext(),
        ):
            refresh = _refresher(copy, console.print)
            while not over() and not stop():
                refresh()
                if not terminal:
                    monitor.log()
                time.sleep(_WATCH_SECONDS)
    console.print(
        progress.render(
            options.workdir,
            plan.trials,
            None,
            console.width,
            is_planned,
            in_full=True,
            budgets=plan.budgets,
        )  # fmt: skip
    )
    return _conclude(options, plan, console) if is_planned else exits.WELL


def _dry_run(options, plan, workers: int, settings) -> int:
    from rich.console import Console

    from rdt_jax.figures import forecast as tables
    from rdt_jax.sweep import forecast

    console = Console(stderr=True)
    with exits.mistakes():
        rate, where = _rate(options.rate)
        with console.status("predicting what the packs will need"):
            found = forecast.forecast(
                options.workdir, plan, settings, options.retry_failed
            )
    _tell_slow(found)
    code = exits.WELL
    fits = found.needs.memory <= settings.memory_bytes
    if rate is None and options.mesh is not None:
        print("With --mesh no rate is measured.", file=sys.stderr)
    elif rate is None and found.largest is not None and fits:
        try:
            with exits.mistakes():
                # As many as a sweep would start.
                busy = min(workers, found.packs)
                print(
                    "rdt: measuring the rate of this machine; --rate=FLOP/S skips it.",
                    file=sys.stderr,
                )
                with console.status("") as shown:

                    def log(text: str) -> None:
                        console.print(f"  {text}", highlight=False)
                        shown.update(text)

                    rate = forecast.measure(found.largest, settings.exact, busy, log)
        except RuntimeError as error:
            print(f"rdt: the rate could not be measured: {error}", file=sys.stderr)
            code = exits.FAILED
    here = [name for name in ("workers", "memory") if not getattr(options, name)]
    shared.print_table(
        tables.table(
            found,
            workers,
            settings.memory_bytes,
            rate,
            where,
            here if options.rate is not None else (),
        )
    )
    return code


def _tell_slow(found) -> None:
    """Says what of the largest pack looks as if it never ended, on a CPU."""
    from rdt_jax import devices, tasks
    from rdt_jax.profile import estimate

    if found.largest and not devices.has_accelerator():
        config = found.largest[0]
        for text in estimate.slow(config, tasks.make_table(config)):
            shared.tell(text)


def _rate(text: str | None) -> tuple[float | None, str]:
    """Reads --rate: operations per second, and whose they are; ValueError."""
    from rdt_jax.figures import forecast as tables
    from rdt_jax.profile import chips

    if text is None:
        return None, tables.HERE
    if text in chips.CHIPS:
        return chips.CHIPS[text].flops, f"at the peak of one {text}"
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise ValueError(
            "--rate must be a number of FLOP/s above 0, such as 2e13, or one of "
            f"{', '.join(chips.CHIPS)}, got {text!r}."
        )
    return rate, "at the given rate"


def _announce(options, found, workers: int, memory: int, console) -> None:
    """Says what is left of a sweep and what it will need; ValueError if too much."""
    import shutil

    from rdt_jax.figures.forecast import size

    needs = found.needs
    console.print(
        f"{wording.count(found.trials, 'trial')}; "
        f"{wording.count(found.packs, 'pack')} to train with "
        f"{wording.count(needs.programs, 'compiled program')}; at most "
        f"{size(needs.memory)} of the {size(memory)} memory of each of "
        f"{wording.count(workers, 'worker')}, {size(needs.pins)} of disk for "
        f"parameters kept and {size(needs.checkpoints)} for checkpoints",
        soft_wrap=True,
    )
    existing = next(p for p in (options.workdir, *options.workdir.resolve().parents)
                    if p.exists())  # fmt: skip
    free = shutil.disk_usage(existing).free
    if needs.pins + needs.checkpoints > free:
        raise ValueError(
            f"{options.workdir} has {size(free)} free and this sweep may need "
            f"{size(needs.pins + needs.checkpoints)}; keep fewer parameters with "
            "--transition-budget, or train in another --workdir."
        )
    if needs.memory > memory:
        console.print("One lane may not fit in memory; model.remat = full needs least.")
