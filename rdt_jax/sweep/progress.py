"""The table of trials in the terminal while runs train, read from run folders."""

import contextlib
import pathlib
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from rdt_jax import wording
from rdt_jax.store import run_folder
from rdt_jax.sweep import ledger, spec

_STYLES = {
    "running": "cyan",
    "done": "green",
    "failed": "red",
    "preempted": "yellow",
    "pending": "dim",
    **dict.fromkeys(run_folder.LOST, "bold red"),
}
_HEADINGS = (
    "trial",
    "run",
    "state",
    "step",
    "upd/s",
    "ETA",
    "phase",
    "train / id / ood",
)
_RIGHT = ("step", "upd/s", "ETA")
_STATE = _HEADINGS.index("state")
_SUMMARY_SECONDS = 30.0  # Time between two summaries without a terminal.


class Monitor:
    """A table for a terminal; without one, lines about runs that ended."""

    def __init__(
        self, workdir: pathlib.Path, trials: Sequence[spec.Trial], console: Console
    ) -> None:
        self._workdir, self._trials, self._console = workdir, trials, console
        self._states: dict[str, str] = {}  # States of the last report, by run.
        self._summary_time = 0.0

    def __rich__(self) -> RenderableType:
        rows = self._console.size.height - 6 if self._console.is_terminal else None
        return render(self._workdir, self._trials, rows, self._console.width)

    def live(self, transient: bool = False) -> contextlib.AbstractContextManager:
        """Draws the table in a terminal until it is left."""
        if not self._console.is_terminal:
            return contextlib.nullcontext()
        console = self._console
        return Live(self, console=console, refresh_per_second=2, transient=transient)

    def log(self) -> None:
        """Prints runs that ended since the last call, and a summary now and then."""
        if self._console.is_terminal:
            return
        statuses = _statuses(self._workdir, self._trials)
        for trial, status in zip(self._trials, statuses, strict=True):
            state = status["state"]
            if state in ledger.OVER and self._states.get(trial.run_id) != state:
                line = f"{spec.describe(trial.overrides)}  {_outcome(status)}"
                self._console.print(line, soft_wrap=True, markup=False)
            self._states[trial.run_id] = state
        if time.monotonic() - self._summary_time > _SUMMARY_SECONDS:
            self._summary_time = time.monotonic()
            self._console.print(_summary(statuses))


def render(
    workdir: pathlib.Path,
    trials: Sequence[spec.Trial],
    max_rows: int | None,
    width: int,
    is_planned: bool = True,
    in_full: bool = False,
) -> RenderableType:
    """Draws the state of trials, in this order.

    There are at most `max_rows` lines, running trials first; None for all. Where
    `width`, the columns of the terminal, is too narrow, a trial has a second line, with
    its accuracies and its name. A run without a folder is missing if it `is_planned`,
    else pending; `in_full` reads all records, to find every damaged one.
    """
    statuses = _statuses(workdir, trials, is_planned, in_full)
    rows = [*map(_cells, trials, statuses)]
    widths = [max(map(len, cells)) for cells in zip(_HEADINGS, *rows, strict=True)]
    is_narrow = sum(widths) + 2 * (len(widths) - 1) > width
    if max_rows is not None and (1 + is_narrow) * len(rows) > max_rows:
        order = ("running", *run_folder.LOST, "failed", "preempted", "done", "pending")
        rows.sort(key=lambda cells: order.index(cells[_STATE].partition(":")[0]))
        rows = rows[: max(max_rows // (1 + is_narrow), 1)]
    lines = [_line(_HEADINGS, widths, "bold", is_narrow)]
    for cells in rows:
        style = _STYLES[cells[_STATE].partition(":")[0]]
        lines.append(_line(cells, widths, style, is_narrow))
    return Group(*lines, Text(_summary(statuses)))


def _line(
    cells: Sequence[str], widths: Sequence[int], style: str, is_narrow: bool
) -> Text:
    padded = [
        Text(f"{cell:{'>' if heading in _RIGHT else '<'}{width}}")
        for heading, cell, width in zip(_HEADINGS, cells, widths, strict=True)
    ]
    padded[_STATE].stylize(style)
    if is_narrow:
        return Text("  ").join(padded[1:-1]).append(f"\n  {padded[-1]}  {cells[0]}")
    return Text("  ").join(padded)


def _statuses(
    workdir: pathlib.Path,
    trials: Sequence[spec.Trial],
    is_planned: bool = True,
    in_full: bool = False,
) -> list[dict[str, Any]]:
    statuses = ledger.statuses_of(workdir, trials, in_full)
    for status in statuses:
        if status["state"] == "missing" and not is_planned:
            status["state"] = "pending"
    return statuses


def _cells(trial: spec.Trial, status: dict[str, Any]) -> list[str]:
    state, step = status["state"], status["step"]
    total, rate = status.get("num_steps"), status.get("updates_per_second")
    running = state == "running" and rate
    accuracy = status.get("accuracy") or {}
    return [
        spec.describe(trial.overrides),
        trial.run_id,
        f"{state}: {status['reason']}" if status.get("reason") else state,
        f"{step:,} ({step / total:.0%})" if total else f"{step:,}",
        f"{rate:.0f}" if running else "",
        _duration((total - step) / rate) if running else "",
        status.get("phase", ""),
        " / ".join(f"{value:.2f}" for value in accuracy.values()),
    ]


def _outcome(status: dict[str, Any]) -> str:
    accuracy = status.get("accuracy") or {}
    values = "  ".join(f"{split} {value:.2f}" for split, value in accuracy.items())
    return (
        f"{status['state']} ({status['reason']}) at step {status['step']:,}  {values}"
    )


def _summary(statuses: Sequence[dict[str, Any]]) -> str:
    counts = Counter(status["state"] for status in statuses)
    done = sum(
        1.0 if s["state"] == "done" else s["step"] / s.get("num_steps", 1) if s["step"]
        else 0.0 for s in statuses
    )  # fmt: skip
    order = (*run_folder.STATES, *run_folder.LOST)
    states = ", ".join(f"{counts[s]} {s}" for s in order if counts[s])
    trials = wording.count(len(statuses), "trial")
    return f"{trials}: {states}; {done / len(statuses):.0%} of the budget"


def _duration(seconds: float) -> str:
    if seconds >= 86400:
        return wording.duration(seconds)
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
