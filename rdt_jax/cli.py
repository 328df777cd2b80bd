"""The command `rdt`: its verbs, from `rdt train` to `rdt worker`; see `rdt --help`.

Exit codes: 0 well, 1 a run failed, 2 the user's mistake. Imports that cost time are
made by the verb that needs them, so that `--help` is immediate.
"""

import argparse
import contextlib
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

WELL, FAILED, MISTAKE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit code."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    unknown = [a for a in rest if not a.startswith("--config.")]
    if unknown or (rest and not options.takes_overrides):
        parser.error(f"unrecognized arguments: {' '.join(unknown or rest)}")
    options.overrides = rest
    try:
        return options.verb(options)
    except _Mistake as mistake:
        print(f"rdt: {mistake}", file=sys.stderr)
        return MISTAKE
    except OSError as error:
        print(
            f"rdt: {error}. What was written so far is intact; run the same command "
            "again to go on.",
            file=sys.stderr,
        )
        return FAILED


class _Mistake(Exception):
    """Something the user can put right; reported without a traceback."""


@contextlib.contextmanager
def _mistakes() -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError) as error:
        raise _Mistake(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rdt",
        description="Grokking and compositional generalization in recurrent-depth "
        "transformers.",
    )
    parser.set_defaults(takes_overrides=False)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    train = verbs.add_parser("train", help="train one run, or go on with it")
    train.add_argument("--config", required=True, metavar="FILE.py:PRESET")
    train.add_argument(
        "--devices",
        type=int,
        help="that share each batch; default: on a CPU its cores, for narrow models "
        "whose batches divide by them, else 1",
    )
    train.set_defaults(verb=_train, takes_overrides=True)

    sweep = verbs.add_parser("sweep", help="train a study, or go on with it")
    _study_arguments(sweep)
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
    sweep.add_argument("--status", action="store_true", help="say how far it is")
    sweep.set_defaults(verb=_sweep, takes_overrides=True)

    figures = verbs.add_parser("figures", help="draw the figures of a study again")
    _study_arguments(figures)
    figures.set_defaults(verb=_figures, takes_overrides=True)

    tasks = verbs.add_parser(
        "tasks",
        help="list the tasks; show, check or export one",
        usage="rdt tasks [-h] [NAME | check NAME | export NAME --out FILE]\n"
        "                 [--preset PRESET] [--set KEY=VALUE ...]",
    )
    tasks.add_argument("words", nargs="*", metavar="NAME", help="a task of the list")
    tasks.add_argument("--preset", help="of configs/NAME.py; default: cpu")
    tasks.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="arguments of the task, on top of the preset",
    )  # fmt: skip
    tasks.add_argument(
        "--out", type=pathlib.Path, help="of export: a JSON row per line"
    )

    ltg = verbs.add_parser(
        "import-ltg", help="make a run folder of a checkpoint of Kohli et al."
    )
    ltg.add_argument("checkpoint", type=pathlib.Path, metavar="CHECKPOINT.pt")
    ltg.add_argument("workdir", type=pathlib.Path, metavar="OUT")
    ltg.add_argument("--num-loops", type=int, required=True, help="R it trained with")
    ltg.add_argument("--num-heads", type=int, required=True, help="H of its attention")
    ltg.add_argument(
        "--step", type=int, default=0, help="optimizer updates it had; default: 0"
    )
    ltg.add_argument(
        "--config",
        default=str(
            pathlib.Path(__file__).parents[1] / "configs" / "ltg_folder.py:paper_code"
        ),
        metavar="FILE.py:PRESET",
        help="all that the checkpoint does not tell; default: that of their code",
    )
    ltg.epilog = (
        "The run stands in OUT under its run id. Its data are found with "
        "--config.task.kwargs.path=FOLDER; without it only the parameters can be used."
    )
    ltg.set_defaults(verb=_import_ltg, takes_overrides=True)

    cost = verbs.add_parser("cost", help="say what a run will cost; compiles nothing")
    cost.add_argument("--config", required=True, metavar="FILE.py:PRESET")
    cost.add_argument(
        "--loops", metavar="R,R,..", help="loop counts, besides that of the config"
    )
    cost.set_defaults(verb=_cost, takes_overrides=True)
    tasks.set_defaults(verb=_tasks)

    bench = verbs.add_parser(
        "bench", help="measure how fast training is on this CPU, beside PyTorch"
    )
    bench.add_argument(
        "names", nargs="*", metavar="CASE", help="a case of the file; default: all"
    )
    bench.add_argument(
        "--cases",
        type=pathlib.Path,
        default=pathlib.Path(__file__).parents[1] / "experiments/throughput/cases.py",
        metavar="FILE.py",
        help="default: those of experiments/throughput",
    )
    bench.add_argument(
        "--torch-python",
        metavar="PYTHON",
        help="one with the extra `torch`; default: no comparison with PyTorch",
    )
    bench.add_argument(
        "--out", type=pathlib.Path, metavar="FILE.json", help="all that was measured"
    )
    bench.set_defaults(verb=_bench)

    models = verbs.add_parser("models", help="list the models and their components")
    models.set_defaults(verb=_models)

    recipes = verbs.add_parser("recipes", help="list what may bring grokking forward")
    recipes.set_defaults(verb=_recipes)

    worker = verbs.add_parser("worker", help="train what a sweep has left to do")
    worker.add_argument("folder", type=pathlib.Path, metavar="WORKDIR/sweeps/NAME")
    worker.add_argument("--parent", type=int, help="stop once this process is gone")
    worker.set_defaults(verb=_worker)

    for verb in (train, sweep, figures):
        verb.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs"))
    for verb in (train, sweep):
        verb.add_argument(
            "--transition-budget",
            metavar="SIZE",
            help="disk for the parameters that each run keeps at transitions, such as "
            "500MB; default: for all of them",
        )
    for verb in (train, sweep, cost):
        verb.epilog = "Any config key can be set: --config.model.width=128"
    return parser


def _study_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=pathlib.Path, metavar="experiments/STUDY")
    parser.add_argument("--preset", default="cpu", help="default: cpu")


def _train(options: argparse.Namespace) -> int:
    _use_compile_cache(options.workdir)

    import functools

    from rich.console import Console
    from rich.live import Live

    from rdt_jax import config as configs
    from rdt_jax.sweep import ledger, progress
    from rdt_jax.sweep import pack as packs
    from rdt_jax.training import loop, records, step

    with _mistakes():
        budget = _bytes(options, "transition_budget")
        config = _config(options)
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
    with _stop_on_signal() as stop:
        train = lambda: loop.train(
            [config],
            options.workdir,
            max_pins=max_pins,
            build=functools.partial(step.build, mesh=mesh),
            stop_requested=stop,
            report=console.print,
        )
        with _mistakes_of(BlockingIOError):
            if console.is_terminal:
                with Live(monitor, console=console, refresh_per_second=2):
                    (status,) = train()
            else:
                (status,) = train()
                monitor.log()
    print(options.workdir / name)
    return FAILED if status["state"] == "failed" else WELL


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


def _config(options: argparse.Namespace):
    """Returns the valid config that the arguments name."""
    from rdt_jax import config as configs
    from rdt_jax.training import loop

    config = configs.load(options.config)
    config = configs.override(
        config, configs.parse_overrides(config, options.overrides)
    )
    loop.check(config)
    return config


def _cost(options: argparse.Namespace) -> int:
    import jax
    from rich.console import Console

    from rdt_jax.figures import cost
    from rdt_jax.training import estimate, loop

    jax.config.update("jax_platforms", "cpu")  # Traces only; holds no accelerator.
    with _mistakes():
        config = _config(options)
        counts = _loop_counts(options.loops)
        for count in counts:
            loop.check(estimate.fixed_loops(config, count))
    for table in cost.tables(estimate.estimate(config, counts)):
        Console().print(table)
    return WELL


def _bench(options: argparse.Namespace) -> int:
    import jax
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from rdt_jax.figures import bench as tables
    from rdt_jax.sweep import bench
    from rdt_jax.training import records

    jax.config.update("jax_platforms", "cpu")
    with _mistakes():
        cases = bench.read_cases(options.cases, options.names)
        out = options.out
        if out is not None and (not out.parent.is_dir() or out.is_dir()):
            raise ValueError(
                f"--out must be a file in a folder that exists, got {out}."
            )
        if options.torch_python is not None:
            bench.check_torch(options.torch_python)
    found: dict[str, bench.Measured] = {}
    failed: dict[str, str] = {}
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True) as progress:
        for number, (name, case) in enumerate(cases.items()):
            title = f"{name} ({number + 1} of {len(cases)})"
            line = progress.add_task(title)
            report = lambda what, line=line, title=title: progress.update(
                line, description=f"{title}: {what}"
            )
            try:
                found[name] = bench.measure(case, options.torch_python, report)
                console.print(f"{title}: measured in {found[name].seconds:.0f} s")
            except RuntimeError as error:
                failed[name] = str(error)
                console.print(f"{title}: failed")
            progress.remove_task(line)
            if out is not None:
                records.write_json(out, bench.as_json(found, failed))
    for name, why in failed.items():
        print(f"rdt: {name} failed: {why}", file=sys.stderr)
    for table in tables.tables(found):
        Console().print(table)
    return FAILED if failed else WELL


def _loop_counts(text: str | None) -> list[int]:
    """Reads 1,2,4; ValueError says what is expected."""
    parts = [] if text is None else text.split(",")
    if not all(part.isdecimal() and int(part) >= 1 for part in parts):
        raise ValueError(
            f"--loops must be ints of at least 1 such as 1,2,4, got {text!r}."
        )
    return [int(part) for part in parts]


def _sweep(options: argparse.Namespace) -> int:
    import jax
    from rich.console import Console
    from rich.live import Live

    from rdt_jax.sweep import engines, ledger, progress
    from rdt_jax.training import records

    plan = _plan(options)
    console = Console(stderr=True)
    trials = list(zip(plan.run_ids, plan.overrides, strict=True))
    if options.status:
        Console().print(progress.render(options.workdir, trials, None))
        return WELL
    # This process plans and watches; the workers alone may hold an accelerator.
    jax.config.update("jax_platforms", "cpu")
    with _mistakes():
        if options.workers is not None and options.workers < 1:
            raise ValueError(f"--workers must be at least 1, got {options.workers}.")
        workers = options.workers or engines.default_workers()
        memory = _bytes(options, "memory") or engines.worker_memory(workers)
        lanes = options.lanes
        if lanes is None:
            lanes = engines.default_lanes()
        folder = ledger.write_plan(
            options.workdir,
            plan,
            ledger.Options(
                lanes, memory, options.exact, _bytes(options, "transition_budget")
            ),
        )
        _announce(options, len(plan.run_ids), folder, workers, memory, console)
    monitor = progress.Monitor(options.workdir, trials, console)
    terminal = console.is_terminal
    with _stop_on_signal() as stop:
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
        _show(options, plan)
    left = sum(state not in ("done", "failed") for state in states)
    if left:
        console.print(f"{left} trials are unfinished; the same command goes on.")
    return FAILED if "failed" in states else WELL


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


def _bytes(options: argparse.Namespace, name: str) -> int | None:
    """Reads an option such as 500MB; ValueError says what a size looks like."""
    text = getattr(options, name)
    if text is None:
        return None
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "B": 1}
    unit = next((u for u in units if text.upper().endswith(u)), "")
    try:
        size = int(float(text[: len(text) - len(unit)]) * units.get(unit, 1))
    except ValueError:
        size = -1
    if size < 0:
        flag = name.replace("_", "-")
        raise ValueError(f"--{flag} must be a size such as 500MB or 2GB, got {text!r}.")
    return size


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


def _figures(options: argparse.Namespace) -> int:
    _show(options, _plan(options))
    return WELL


def _import_ltg(options: argparse.Namespace) -> int:
    from rdt_jax import config as configs
    from rdt_jax.models import import_ltg
    from rdt_jax.training import imported

    with _mistakes():
        weights = import_ltg.read(options.checkpoint)
        found = import_ltg.convert(weights, options.num_heads)
        config = configs.load(options.config)
        folder = imported.write_run(
            options.workdir,
            config,
            configs.parse_overrides(config, options.overrides),
            found,
            num_loops=options.num_loops,
            step=options.step,
            source=options.checkpoint,
        )
    print(folder)
    return WELL


def _tasks(options: argparse.Namespace) -> int:
    import inspect

    from rdt_jax import tasks
    from rdt_jax.tasks import page

    verb, name = _task_words(options)
    if name is None:
        with _mistakes():
            functions = tasks.TASKS
        for name, function in functions.items():
            print(page.title(name, function))
            for parameter in inspect.signature(function).parameters.values():
                if parameter.name != "seed":
                    print(f"  {parameter}")
        return WELL
    with _mistakes():
        kwargs = _task_arguments(name, options)
        function = tasks.lookup(name)
        if verb == "check":
            return _check_task(name, kwargs)
        table = function(**kwargs)
    if verb == "export":
        return _export_task(table, options.out)
    for line in page.describe(name, function, kwargs, table):
        print(line)
    return WELL


def _task_words(options: argparse.Namespace) -> tuple[str, str | None]:
    """Returns what to do with a task (show, check, export) and which; None: all."""
    words = options.words
    verb = words[0] if words and words[0] in ("check", "export") else "show"
    names = words if verb == "show" else words[1:]
    if len(names) != 1 and (verb != "show" or names):
        raise _Mistake(
            f"rdt tasks takes one NAME, after check or export if any, got {words}."
        )
    if (verb == "export") != (options.out is not None):
        raise _Mistake("rdt tasks export NAME needs --out FILE, and nothing else does.")
    if not names and (options.preset or options.set):
        raise _Mistake("--preset and --set need the NAME of a task.")
    return verb, names[0] if names else None


def _task_arguments(name: str, options: argparse.Namespace) -> dict[str, Any]:
    from rdt_jax import config as configs
    from rdt_jax import registry, tasks
    from rdt_jax.tasks import arguments

    function = tasks.lookup(name)
    presets = arguments.of_presets(name)
    if presets or options.preset:
        kwargs = registry.lookup("preset", presets, options.preset or "cpu")
    else:
        kwargs = arguments.defaults(function)
    kwargs = kwargs | arguments.parse(function, options.set)
    rest = {key: value for key, value in kwargs.items() if key != "seed"}
    problems = arguments.problems(function, rest)
    if type(kwargs["seed"]) is not int or kwargs["seed"] < 0:
        problems.append(f"seed must be an int of at least 0, got {kwargs['seed']!r}.")
    configs.raise_problems(problems)
    return kwargs


def _check_task(name: str, kwargs: dict[str, Any]) -> int:
    from rdt_jax.tasks import check

    failed = []
    for finding in check.check(name, kwargs):
        print(f"{finding.verdict:5} {finding.name}: {finding.text}", flush=True)
        if finding.verdict == "fails":
            failed.append(finding.name)
    if failed:
        print(f"rdt: {name} fails the check: {', '.join(failed)}", file=sys.stderr)
    return FAILED if failed else WELL


def _export_task(table: Any, path: pathlib.Path) -> int:
    import json

    from rdt_jax.tasks import rows

    if not path.parent.is_dir() or path.is_dir():
        raise _Mistake(f"--out must be a file in a folder that exists, got {path}.")
    part = path.with_name(path.name + ".part")
    with part.open("w") as file:
        for row in rows.as_json(table):
            file.write(json.dumps(row) + "\n")
    part.replace(path)
    print(f"{len(table.tokens)} rows in {path}")
    return WELL


def _models(options: argparse.Namespace) -> int:
    from rdt_jax.models import presets

    del options
    for name, preset in presets.PRESETS.items():
        print(f"{name}: {preset.summary}\n  {preset.source}")
        for key, values in preset.keys.items():
            print(f"  model.{key} = {' or '.join(str(v).lower() for v in values)}")
    print("components:")
    for key, values in presets.COMPONENTS.items():
        print(f"  model.{key}: {', '.join(values)}")
    return WELL


def _recipes(options: argparse.Namespace) -> int:
    from rdt_jax.training import recipes

    del options
    for name, recipe in recipes.RECIPES.items():
        keys = " ".join(
            f"{key}={str(value).lower()}" for key, value in recipe.overrides.items()
        )
        print(f"{name}: {keys}: {recipe.summary} ({recipe.source})")
    return WELL


def _worker(options: argparse.Namespace) -> int:
    _use_compile_cache(options.folder.resolve().parents[1])

    from rdt_jax.sweep import ledger

    with _mistakes():
        ledger.read_plan(options.folder)
    orphaned = lambda: options.parent not in (None, os.getppid())
    with _stop_on_signal() as stop:
        ledger.work(
            options.folder.resolve(),
            stop_requested=lambda: stop() or orphaned(),
            report=lambda message: print(message, file=sys.stderr, flush=True),
        )
    return WELL


def _plan(options: argparse.Namespace):
    from rdt_jax.sweep import spec
    from rdt_jax.training import loop

    with _mistakes():
        return spec.make_plan(
            options.study, options.preset, options.overrides, loop.check
        )


def _show(options: argparse.Namespace, plan) -> None:
    """Prints the table and the claims of a study and draws its figures."""
    from rich.console import Console

    from rdt_jax.analysis import runs as run_folders
    from rdt_jax.figures import save

    with _mistakes():
        runs = run_folders.read_runs(options.workdir, plan.run_ids)
        if not any(run.metrics for run in runs):
            raise ValueError(
                f"No run of {plan.name} in {options.workdir} has been evaluated yet; "
                "`rdt sweep` trains them."
            )
    console = Console()
    console.print(plan.study.table(runs))
    for claim in plan.study.claims(runs):
        text = f"{claim.verdict.upper()}: {claim.text} ({claim.source})"
        console.print(f"{text}\n  {claim.evidence}", markup=False, highlight=False)
    folder = options.workdir / "sweeps" / plan.name / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    provenance = save.provenance(runs)
    for name, figure in plan.study.figures(runs).items():
        for path in save.save(figure, folder / name, provenance):
            print(path)


def _use_compile_cache(workdir: pathlib.Path) -> None:
    """Keeps compiled programs with the runs, unless the user has a cache already.

    JAX reads these variables when it is imported, so this comes before.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(workdir / "compile_cache"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


@contextlib.contextmanager
def _stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether SIGTERM or Ctrl-C has asked us to stop."""
    asked = threading.Event()
    handlers = {
        number: signal.signal(number, lambda *_: asked.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield asked.is_set
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _mistakes_of(*kinds: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kinds as error:
        raise _Mistake(str(error)) from error
