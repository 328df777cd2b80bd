"""results.csv of a study: what its verdicts were judged on, a line per run.

rows = results.rows("modular-cpu", runs, {t.run_id: t.overrides for t in trials})
text = results.merged(path, rows)  # with the lines of other sweeps that are there
"""

import csv
import io
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rdt_jax import tasks
from rdt_jax.analysis import grokking
from rdt_jax.analysis.runs import SEEDS, Run
from rdt_jax.store import environment
from rdt_jax.training import phases

MOST_BYTES = 300_000  # of a file, which a repository keeps

# Columns that every file has. After the first two stand config keys, the seeds last;
# after `steps`, phases and accuracies.
_COLUMNS = ("sweep", "run", "outcome", "budget", "steps", "commit", "machine")
_ACCURACY = re.compile(rf"({'|'.join(tasks.SPLITS)})/accuracy@\d+")

Row = dict[str, str]


def rows(
    sweep: str, runs: Sequence[Run], overrides: Mapping[str, Mapping[str, Any]]
) -> list[Row]:
    """Returns what is known of the runs of a sweep, by column.

    Args:
      overrides: what each run's trial sets on top of the config, by run id.

    Raises:
      ValueError: if the environment.json of a run is damaged.
    """
    return [
        {
            "sweep": sweep,
            "run": run.run_id,
            **{key: _text(value) for key, value in overrides[run.run_id].items()},
            "outcome": str(run.status["state"]) if run.is_lost else run.outcome,
            "budget": str(run.config.num_steps),
            "steps": str(run.last_step or 0),
            **_times(run),
            **_accuracies(run),
            **_origin(run),
        }
        for run in runs
    ]


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def _times(run: Run) -> Row:
    """Returns when phases first began and completed."""
    return {
        f"{event}/{kind}": str(step)
        for (event, kind), step in grokking.first_steps(run).items()
        if kind != "lost"
    }


def _accuracies(run: Run) -> Row:
    """Returns the accuracy on each whole split at the end, smoothed as phases are."""
    last = run.metrics[-phases.SMOOTHING :]
    names = {name for row in last for name in row if _ACCURACY.fullmatch(name)}
    values = lambda name: [row[name] for row in last if row.get(name) is not None]
    return {n: f"{np.median(found):.4g}" for n in names if (found := values(n))}


def _origin(run: Run) -> Row:
    """Returns commits, and kinds of devices and threads, in the order of the run."""
    segments = environment.read(run.folder)["segments"]
    commits = [entry.get("commit") or "unknown" for entry in segments]
    short = [re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28}\b", r"\1", each) for each in commits]
    machines = [
        f"{'/'.join(sorted({*entry['devices']}))}, threads: {entry['threads']}"
        for entry in segments
        if {"devices", "threads"} <= entry.keys()
    ]
    return {
        "commit": "; ".join(dict.fromkeys(short)),
        "machine": "; ".join(dict.fromkeys(machines)),
    }


def merged(path: pathlib.Path, new: Sequence[Row]) -> str:
    """Returns the text of a file with new rows in place of those of their sweeps.

    Columns and rows are sorted. A cell is empty where a run has no such value; of a
    config key that means the value of the study's config at that preset.

    Raises:
      ValueError: if the file is none of these, or the text is longer than MOST_BYTES.
    """
    sweeps = {row["sweep"] for row in new}
    found = [*new, *(row for row in _read(path) if row["sweep"] not in sweeps)]
    filled = {name for row in found for name, cell in row.items() if cell}
    names = sorted(filled | {*_COLUMNS}, key=_place)
    keys = ["sweep", *(name for name in names if _place(name)[0] == 1), "run"]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, "", "ignore", lineterminator="\n")
    writer.writeheader()
    rank = lambda row: [_number(row.get(key, "")) for key in keys]
    writer.writerows(sorted(found, key=rank))
    text = out.getvalue()
    if (size := len(text.encode())) > MOST_BYTES:
        raise ValueError(
            f"{path} would have {size:,} bytes, more than the {MOST_BYTES:,} of a file "
            "that a repository keeps. Nothing is written; --preset takes one preset."
        )
    return text


def _read(path: pathlib.Path) -> list[Row]:
    if not path.exists():
        return []
    try:
        names, *lines = csv.reader(path.read_text().splitlines())
        if not {*_COLUMNS} <= {*names} or len({*names}) < len(names):
            raise ValueError("line 1 has other columns")
        found = [dict(zip(names, line, strict=True)) for line in lines]
    except (ValueError, csv.Error) as error:
        raise ValueError(
            f"{path} is not a results.csv that `rdt claims --write` made ({error}). It "
            "is left as it is, and nothing is written; restore it, or move it away."
        ) from error
    return found


def _place(name: str) -> tuple:
    """Returns where a column stands: a group, and its place there."""
    if name in _COLUMNS:
        index = _COLUMNS.index(name)
        return 0 if index < 2 else 2 if index < 5 else 5, index
    group = 4 if _ACCURACY.fullmatch(name) else 3 if "/" in name else 1
    words = [_number(word) for word in re.split(r"(\d+)", name)]
    return group, name in SEEDS, words


def _number(text: str) -> tuple:
    """Returns what sorts a text: numbers first, by value."""
    try:
        return 0, float(text), ""
    except ValueError:
        return 1, 0.0, text
