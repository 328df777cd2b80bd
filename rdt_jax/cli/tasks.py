"""`rdt tasks`: lists the tasks; shows, checks or exports one."""

import argparse
import json
import pathlib
from typing import Any

from rdt_jax import config as configs
from rdt_jax import registry, tasks
from rdt_jax.cli import exits
from rdt_jax.store import files
from rdt_jax.tasks import arguments, check, page, rows


def add(tasks: argparse.ArgumentParser) -> None:
    """Adds the options of `rdt tasks`."""
    tasks.usage = (
        "rdt tasks [-h] [NAME | check NAME | export NAME --out FILE]\n"
        "                 [--preset PRESET] [--set KEY=VALUE ...]"
    )
    tasks.add_argument(
        "words",
        nargs="*",
        metavar="NAME",
        help="a task of the list, or FILE.py:FUNCTION",
    )
    tasks.add_argument("--preset", help="of configs/NAME.py; default: cpu")
    tasks.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="arguments of the task, on top of the preset",
    )  # fmt: skip
    tasks.add_argument(
        "--out", type=pathlib.Path, help="of export: a JSON row per line"
    )
    tasks.set_defaults(verb=_tasks)


def _tasks(options: argparse.Namespace) -> int:
    verb, name = _task_words(options)
    if name is None:
        with exits.mistakes():
            for name, function in tasks.TASKS.items():
                print(page.title(name, function))
                for parameter in arguments.parameters(function).values():
                    if parameter.name != "seed":
                        print(f"  {parameter}")
        return exits.WELL
    with exits.mistakes():
        kwargs = _task_arguments(name, options)
        function = tasks.lookup(name)
        if verb == "check":
            return _check_task(name, kwargs)
        table = function(**kwargs)
    if verb == "export":
        return _export_task(table, options.out)
    for line in page.describe(name, function, kwargs, table):
        print(line)
    return exits.WELL


def _task_words(options: argparse.Namespace) -> tuple[str, str | None]:
    """Returns the verb (show, check, export) and the name of the task; None for all."""
    words = options.words
    verb = words[0] if words and words[0] in ("check", "export") else "show"
    names = words if verb == "show" else words[1:]
    if len(names) != 1 and (verb != "show" or names):
        raise exits.Mistake(
            f"rdt tasks takes one NAME, after check or export if any, got {words}."
        )
    if (verb == "export") != (options.out is not None):
        raise exits.Mistake(
            "rdt tasks export NAME needs --out FILE, and nothing else does."
        )
    if not names and (options.preset or options.set):
        raise exits.Mistake("--preset and --set need the NAME of a task.")
    return verb, names[0] if names else None


def _task_arguments(name: str, options: argparse.Namespace) -> dict[str, Any]:
    function = tasks.lookup(name)
    presets = arguments.of_presets(name)
    if presets or options.preset:
        kwargs = registry.lookup("preset", presets, options.preset or "cpu")
    else:
        kwargs = arguments.defaults(function)
    kwargs = kwargs | arguments.parse(function, options.set)
    task_kwargs = {key: value for key, value in kwargs.items() if key != "seed"}
    problems = arguments.problems(function, task_kwargs)
    if type(kwargs["seed"]) is not int or kwargs["seed"] < 0:
        problems.append(f"seed must be an int of at least 0, got {kwargs['seed']!r}.")
    configs.raise_problems(problems, f"arguments of {name}")
    return kwargs


def _check_task(name: str, kwargs: dict[str, Any]) -> int:
    failed = []
    for finding in check.check(name, kwargs):
        print(f"{finding.verdict:5} {finding.name}: {finding.text}", flush=True)
        if finding.verdict == "fails":
            failed.append(finding.name)
    if failed:
        exits.tell(f"{name} fails the check: {', '.join(failed)}")
    return exits.FAILED if failed else exits.WELL


def _export_task(table: Any, path: pathlib.Path) -> int:
    if not path.parent.is_dir() or path.is_dir():
        raise exits.Mistake(
            f"--out must be a file in a folder that exists, got {path}."
        )
    lines = [json.dumps(row) + "\n" for row in rows.as_json(table)]
    files.write_text(path, "".join(lines))
    print(f"{len(table.tokens)} rows in {path}")
    return exits.WELL
