"""`rdt runs`: which runs there are, what sets them apart, and what they reached."""

import argparse
import collections
import csv
import json
import pathlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rdt_jax import wording
from rdt_jax.analysis import finding, grokking, listing
from rdt_jax.cli import exits, subject
from rdt_jax.cli import options as shared
from rdt_jax.sweep import links
from rdt_jax.sweep import plan as plans

_STANDING = (  # Keys of a row that have a column of their own, or are told by one.
    "run", "apart", "task", "state", "reason", "message", "step", "num_steps",
)  # fmt: skip


def add(runs: argparse.ArgumentParser) -> None:
    """Adds the options of `rdt runs`."""
    subject.add(runs, also="WORKDIR")
    runs.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only runs with this value of a config key, such as num_loops=2; several "
        "times: of all of them",
    )
    runs.add_argument(
        "--sort",
        metavar="KEY",
        help="a name of --json, such as num_loops, step or ood/accuracy, ascending; "
        "--sort=-KEY: descending",
    )
    form = runs.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="comma-separated, with names")
    form.add_argument("--json", action="store_true", help="one list of flat objects")
    runs.set_defaults(verb=_runs, reads="records")


def _runs(options: argparse.Namespace) -> int:
    with exits.mistakes():
        conditions = dict(_condition(text) for text in options.where)
        workdir, runs, labels = _read(options)
        if conditions:
            runs = finding.where(runs, conditions)
        rows = listing.rows(runs, labels)
        if options.sort is not None and rows:
            rows = _sorted(rows, options.sort)
    if options.json:
        print(json.dumps(rows, indent=2))
    elif options.csv:
        writer = csv.DictWriter(sys.stdout, list(rows[0] if rows else _STANDING))
        writer.writeheader()
        writer.writerows(rows)
    else:
        _show(
            rows, listing.short_ids([r["run"] for r in rows], finding.run_ids(workdir))
        )
    if not rows:
        which = f" with {', '.join(options.where)}" if conditions else ""
        exits.tell(f"{workdir} has no run{which}.")
    return exits.WELL


def _condition(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ValueError(
            f"--where must be KEY=VALUE, such as num_loops=2, got {text!r}."
        )
    return key, value


def _read(
    options: argparse.Namespace,
) -> tuple[pathlib.Path, Sequence[Any], Mapping[str, str]]:
    """Returns the workdir, its runs or those of a sweep, and labels of them."""
    folder = pathlib.Path(options.subject or options.workdir or "runs")
    kind = subject.kind_of(options)
    if not kind or (kind == subject.CONFIG and folder.is_dir()):
        used = ("subject" if options.subject else "workdir", "where", "sort", "csv")
        shared.check_used(options, "rdt runs WORKDIR", (*used, "json"))
        if not folder.is_dir():
            raise ValueError(
                f"No workdir {folder}, and no study or sweep of that name."
            )
        labels = listing.labels_in(folder)
        place = {run_id: index for index, run_id in enumerate(labels)}
        runs = listing.read(folder)
        runs.sort(key=lambda run: place.get(run.run_id, len(place)))
        return folder, runs, labels
    sweep = pathlib.Path(subject.folder_of(options))
    trials = plans.read(sweep).trials
    return options.workdir, listing.read(options.workdir, trials), links.labels(trials)


def _sorted(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Returns rows by a value, those without one last."""
    key = finding.key_of(name.removeprefix("-"), rows[0])
    known = [row for row in rows if row[key] is not None]
    known.sort(key=lambda row: row[key], reverse=name.startswith("-"))
    return known + [row for row in rows if row[key] is None]


def _show(rows: Sequence[Mapping[str, Any]], ids: Mapping[str, str]) -> None:
    """Prints a line per run; two on a terminal that is too narrow for one."""
    names = list(rows[0]) if rows else []
    splits = [n.removesuffix("/accuracy") for n in names if n.endswith("/accuracy")]
    headings = ("run", "what sets it apart", "task", "state", "updates", *splits)
    lines = [(*headings, "phases completed at")]
    lines += [_cells(row, ids[row["run"]], splits) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    is_wide = sum(widths) + 2 * len(widths) <= shutil.get_terminal_size().columns
    end = "  " if is_wide or not sys.stdout.isatty() else "\n    "
    for line in lines if rows else ():
        *first, state, updates = map(str.ljust, line[:5], widths)
        rest = map(str.ljust, line[5:], widths[5:])
        print("  ".join([*first, state, updates.rstrip().rjust(widths[4])]), end=end)
        print("  ".join(rest).rstrip())
    states = collections.Counter(row["state"] for row in rows)
    told = ", ".join(f"{number} {state}" for state, number in states.items())
    print(f"{wording.count(len(rows), 'run')}{': ' if told else ''}{told}")


def _cells(row: Mapping[str, Any], name: str, splits: Sequence[str]) -> tuple[str, ...]:
    """Returns a run's entries of the list."""
    known = {key: value for key, value in row.items() if value is not None}
    accuracies = {
        split: f"{known[f'{split}/accuracy']:.2f}@{known[f'{split}/loops']}"
        for split in splits
        if f"{split}/accuracy" in known
    }
    phases = [
        f"{key.removesuffix('/step')} {grokking.format_steps(value)}"
        for key, value in known.items()
        if key.endswith("/step")
    ]
    message = row["message"].strip().splitlines()[:1] if row["message"] else []
    return (
        name,
        row["apart"],
        row["task"] or "-",
        row["state"] + (f": {row['reason']}" if row["reason"] else ""),
        f"{row['step']:,}",
        *(accuracies.get(split, "-") for split in splits),
        ", ".join([*phases, *message]) or "-",
    )
