"""Options that several verbs share: how they are declared and read."""

import argparse
import contextlib
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import ml_collections
from rich.console import Console

from rdt_jax import config as configs
from rdt_jax import machine, wording
from rdt_jax.cli import exits
from rdt_jax.store import records, run_folder
from rdt_jax.sweep import plan as plans
from rdt_jax.sweep import spec
from rdt_jax.tasks import presets

ROOT = pathlib.Path(__file__).parents[2]
ANY_KEY = "Any config key can be set: --config.model.width=128"

# Attributes that name a workdir, or something in it.
_PLACES = ("workdir", "subject", "subjects", "run", "first", "second")
# Attributes of the parsed arguments of every verb, beside its own options.
_COMMON = (
    "verb", "check", "parser", "takes_overrides", "overrides", "arguments", "traceback",
    "reads", "urls", "takes_words",
)  # fmt: skip


def add_config(parser: argparse.ArgumentParser) -> None:
    """Adds --config, or --task and --preset, which `config` reads."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", metavar="FILE.py:PRESET")
    add_task(what)
    parser.add_argument("--preset", help="of --task, such as smoke; default: cpu")


def add_task(parser: argparse._ActionsContainer) -> None:
    """Adds --task, a task instead of a config."""
    parser.add_argument(
        "--task",
        metavar="FILE.py:FUNCTION",
        help="a function of your own, or a task of `rdt tasks`",
    )


def is_url(text: object) -> bool:
    """Says whether a workdir, or the folder of a sweep, is in a bucket."""
    return "://" in str(text)


def folder(text: str) -> pathlib.Path:
    """Reads an option that names a folder, which need not exist."""
    path = pathlib.Path(text)
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise argparse.ArgumentTypeError(
            f"{text} cannot be a folder, since {existing} is a file"
        )
    return path


def add_workdir(
    parser: argparse.ArgumentParser,
    buckets: bool = False,
    default: pathlib.Path | None = pathlib.Path("runs"),
) -> None:
    """Adds --workdir, the folder of the run folders.

    If the verb takes `buckets`, the address of one is read as a str.
    """

    def read(text: str) -> pathlib.Path | str:
        if not is_url(text):
            return folder(text)
        if buckets:
            return text
        raise argparse.ArgumentTypeError(
            f"{text} is in a bucket, where `rdt sweep` and `rdt worker` train; here it "
            "must be a folder"
        )

    parser.add_argument("--workdir", type=read, default=default, help="default: runs")


def bring(options: argparse.Namespace) -> None:
    """Replaces addresses in buckets by folders of the copies that are kept here.

    It does so for verbs whose `reads` is "records", or "parameters" if they always read
    the parameters that runs keep, too. `options.urls` then has the address of each
    workdir by its copy. ValueError if a bucket cannot be opened, or has no runs there.
    """
    from rdt_jax.store import bucket_copy

    def local(text: Any) -> Any:
        if not isinstance(text, str) or not is_url(text):
            return text
        url = re.sub(r"(/sweeps/.*|/[0-9a-f]{12}(/.*)?|/)$", "", text)
        copy = bucket_copy.refresh(url, exits.tell, options.reads == "parameters")
        options.urls[str(copy)] = url
        return str(copy) + text.removeprefix(url)

    options.urls = {}
    for name in _PLACES if options.reads else ():
        value = getattr(options, name, None)
        if name == "workdir" and is_url(value):
            options.workdir = pathlib.Path(local(value))
        elif isinstance(value, list):
            setattr(options, name, [*map(local, value)])
        else:
            setattr(options, name, local(value))


def bring_parameters(options: argparse.Namespace) -> None:
    """Brings the parameters that runs keep here, of each workdir in a bucket."""
    from rdt_jax.store import bucket_copy

    for url in options.urls.values():
        bucket_copy.refresh(url, exits.tell, with_parameters=True)


def check_used(options: argparse.Namespace, form: str, used: Sequence[str]) -> None:
    """Raises exits.Mistake if an option is given that a form of a verb ignores.

    The `form` is one such as `rdt sweep --status`, and reads the arguments `used`.
    """
    ignorable = (*used, *_COMMON)
    given = [
        name
        for name, value in vars(options).items()
        if name not in ignorable and value != options.parser.get_default(name)
    ]
    if given:
        usage = options.parser.format_usage()
        flags = [f"--{name.replace('_', '-')}" for name in given]
        words = [f if f in usage else n for f, n in zip(flags, given, strict=True)]
        raise exits.Mistake(f"`{form}` does not use {', '.join(words)}.")


def add_transition_budget(parser: argparse.ArgumentParser) -> None:
    """Adds --transition-budget, which `size` reads."""
    parser.add_argument(
        "--transition-budget",
        metavar="SIZE",
        help="disk for the parameters that each run keeps at transitions, such as "
        "500MB; default: for all of them",
    )


def add_mesh(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds --mesh, which `sharding.parse` reads; `default` is a text for its help."""
    parser.add_argument(
        "--mesh",
        metavar="AXIS=N,..",
        help="devices along trial (lanes of a pack), data (rows of a batch) and model "
        f"(heads, feed-forward width, experts); default: {default}",
    )


def tell_plan(
    made: spec.Plan, overrides: Sequence[str], workdir: pathlib.Path | None
) -> None:
    """Tells the user which trials of a plan are other runs than they may think.

    The `workdir`, on a disk, is where they are about to train; None if they are not.
    """
    _tell_budget(made.configs, overrides, workdir)
    if made.repeated:
        total = made.repeated + len(made.trials)
        exits.tell(
            "trials that are the same run as one before, which counts once: "
            f"{made.repeated} of {total}."
        )


def with_stored_trials(workdir: pathlib.Path, study_plan: spec.Plan) -> spec.Plan:
    """Returns a plan with the trials of its plan.json, once that is written.

    A message says how these differ from what the study makes now; exits.Mistake if
    plan.json is damaged.
    """
    folder = workdir / "sweeps" / study_plan.name
    if not plans.exists(folder):
        return study_plan
    with exits.mistakes():
        stored = plans.read(folder)
        stored.configs()  # Raises if one is not of its run.
        is_earlier = stored.is_earlier  # Reads its first config.
    if is_earlier:
        exits.tell(
            f"{folder} was planned by a version before 0.2 and is read as it is."
        )
        return study_plan._replace(trials=stored.trials)
    budgets = {trial.run_id: trial.budget for trial in stored.trials}
    new_budgets = {trial.run_id: trial.budget for trial in study_plan.trials}
    added = new_budgets.keys() - budgets.keys()
    lacking = budgets.keys() - new_budgets.keys()
    common = new_budgets.keys() & budgets.keys()
    changed = [name for name in common if new_budgets[name] != budgets[name]]
    if added or lacking or changed:
        since = "The study or its config has been changed since: it adds"
        if not study_plan.study_name:
            since = "This command adds"
        exits.tell(
            f"{stored.path} is what is counted, with "
            f"{wording.count(len(budgets), 'trial')}. {since} {len(added)}, lacks "
            f"{len(lacking)} and gives {len(changed)} another num_steps; "
            "`rdt sweep` plans it as it is now."
        )
    return study_plan._replace(trials=stored.trials)


def config(
    options: argparse.Namespace, workdir: pathlib.Path | None = None
) -> ml_collections.ConfigDict:
    """Returns the config that the arguments name; ValueError if it is not valid.

    The `workdir` is where the run is about to train; None if it is not.
    """
    from rdt_jax.training import validation

    if options.task is not None:
        named = presets.config_of(options.task, options.preset or "cpu")
    elif options.preset is not None:
        raise exits.Mistake("--preset goes with --task; --config has its own.")
    else:
        named = configs.load(options.config)
    overrides = configs.parse_overrides(named, options.overrides)
    run_config = configs.override(named, overrides)
    validation.check(run_config)
    _tell_budget([run_config], options.overrides, workdir)
    return run_config


def _tell_budget(
    run_configs: Sequence[ml_collections.ConfigDict],
    overrides: Sequence[str],
    workdir: pathlib.Path | None,
) -> None:
    """Tells the user where another num_steps makes another run, which begins anew."""
    scheduled = [c for c in run_configs if c.optimizer.schedule != "constant"]
    similar_run = ""
    if workdir is not None:
        is_there = lambda config: (workdir / configs.run_id(config)).exists()
        scheduled = [config for config in scheduled if not is_there(config)]
        similar_run = _with_other_budget(scheduled, workdir)
    if scheduled and (similar_run or any("num_steps=" in text for text in overrides)):
        schedule = scheduled[0].optimizer.schedule
        exits.tell(
            f"optimizer.schedule {schedule} reads num_steps: this "
            "is another run than one with fewer or more updates, and begins at step 0."
            f"{similar_run}"
        )


def _with_other_budget(
    run_configs: Sequence[ml_collections.ConfigDict], workdir: pathlib.Path
) -> str:
    """Names a run of a workdir that differs in num_steps alone; empty if none does."""
    budgets = set()
    for path in workdir.glob("*/config.json") if run_configs else ():
        with contextlib.suppress(ValueError, OSError):  # Damaged.
            values = configs.read_json(path)
            budgets.add(values.get("num_steps"))
    for budget in sorted(budget for budget in budgets if type(budget) is int):
        for config in run_configs:
            name = configs.run_id(configs.override(config, {"num_steps": budget}))
            if (workdir / name / "config.json").exists():
                return f" Run {name} has {wording.count(budget, 'update')}."
    return ""


def tell_lost(
    workdir: pathlib.Path, run_ids: Sequence[str], url: str | None = None
) -> bool:
    """Tells why planned runs are missing or unreadable; returns whether any is.

    The `url` is that of the bucket that the workdir is a copy of, if it is one.
    """
    statuses = [records.planned_status(workdir / n, in_full=True) for n in run_ids]
    lost = [status for status in statuses if status["state"] in run_folder.LOST]
    for status in lost:
        message = status["message"].replace(str(workdir), url or str(workdir))
        exits.tell(f"{status['state']}: {message}")
    return bool(lost)


def size(options: argparse.Namespace, name: str) -> int | None:
    """Returns the bytes of an option such as 500MB; ValueError if it is no size."""
    text = getattr(options, name)
    if text is None:
        return None
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "B": 1}
    unit = next((u for u in units if text.upper().endswith(u)), "")
    try:
        count = int(float(text[: len(text) - len(unit)]) * units.get(unit, 1))
    except (ValueError, OverflowError):  # The second of `inf`.
        count = -1
    if count < 0:
        flag = name.replace("_", "-")
        raise ValueError(f"--{flag} must be a size such as 500MB or 2GB, got {text!r}.")
    return count


def use_compile_cache() -> None:
    """Keeps compiled programs, as `machine.use_compile_cache`."""
    machine.use_compile_cache(exits.tell)


def print_table(table: Any, console: Any = None) -> None:
    """Prints a table; on a narrow terminal, words are broken and not cut off."""
    for column in getattr(table, "columns", ()):  # A study may have a group of tables.
        column.overflow = "fold"
    (console or Console()).print(table)
