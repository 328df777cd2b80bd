"""What the terminal shows while runs train: a line per trial, read from run folders."""

import pathlib
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rdt_jax.sweep import spec
from rdt_jax.training import records

Trial = tuple[str, spec.Overrides]  # run_id, what sets it apart

_STYLES = {
    "running": "cyan",
    "done": "green",
    "failed": "red",
    "preempted": "yellow",
    "pending": "dim",
    **dict.fromkeys(records.LOST, "bold red"),
}
_PLAIN_SECONDS = 30.0  # Between two reports where there is no terminal to redraw.


class Monitor:
    """Remembers only what the last report said, so as not to say it twice."""

    def __init__(
        self, workdir: pathlib.Path, trials: Sequence[Trial], console: Console
    ):
        self._workdir, self._trials, self._console = workdir, trials, console
        self._said: dict[str, str] = {}
        self._last = 0.0

    def __rich__(self) -> RenderableType:
        """Draws the table as the run folders are now."""
        rows = self._console.size.height - 6 if self._console.is_terminal else None
        return render(self._workdir, self._trials, rows)

    def log(self) -> None:
        """Prints runs that ended since the last call, and a summary now and then."""
        statuses = _statuses(self._workdir, self._trials)
        for name, overrides, status in statuses:
            state = status["state"]
            if state in ("done", "failed") and self._said.get(name) != state:
                line = f"{spec.describe(overrides)}  {_outcome(status)}"
                self._console.print(line, soft_wrap=True)
            self._said[name] = state
        if time.monotonic() - self._last > _PLAIN_SECONDS:
            self._last = time.monotonic()
            self._console.print(_summary([status for _, _, status in statuses]))


def render(
    workdir: pathlib.Path,
    trials: Sequence[Trial],
    max_rows: int | None,
    is_planned: bool = True,
) -> RenderableType:
    """Draws the state of trials.

    Args:
      workdir: of the run folders.
      trials: to show, in this order.
      max_rows: show at most so many, running ones first; None for all.
      is_planned: whether a run without a folder is missing, and not merely pending.
    """
    statuses = _statuses(workdir, trials, is_planned)
    shown = statuses
    if max_rows is not None and len(statuses) > max_rows:
        order = ("running", *records.LOST, "failed", "preempted", "done", "pending")
        shown = sorted(statuses, key=lambda s: order.index(s[2]["state"]))
        shown = shown[: max(max_rows, 1)]
    table = Table(box=None, pad_edge=False)
    for heading in ("trial", "state", "", "step", "upd/s", "ETA", "phase"):
        right = heading in ("step", "upd/s", "ETA")
        # On a narrow terminal the trial's name wraps; no number is ever cut off.
        whole = heading != "trial"
        table.add_column(heading, justify="right" if right else "left", no_wrap=whole)
    table.add_column("train / id / ood", no_wrap=True)
    for _, overrides, status in shown:
        table.add_row(spec.describe(overrides), *_cells(status))
    return Group(table, Text(_summary([status for _, _, status in statuses])))


def _statuses(
    workdir, trials, is_planned: bool = True
) -> list[tuple[str, spec.Overrides, dict[str, Any]]]:
    read = records.planned_status if is_planned else records.read_status
    return [(name, overrides, read(workdir / name)) for name, overrides in trials]


def _cells(status: dict[str, Any]) -> list[RenderableType]:
    state, step = status["state"], status["step"]
    label = state if not status.get("reason") else f"{state}: {status['reason']}"
    total, rate = status.get("num_steps"), status.get("updates_per_second")
    running = state == "running" and rate
    accuracy = status.get("accuracy") or {}
    return [
        Text(label, style=_STYLES[state]),
        ProgressBar(total=total or 1, completed=step, width=8),
        f"{step:,}",
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
    known = (*records.STATES, *records.LOST)
    states = ", ".join(f"{counts[s]} {s}" for s in known if counts[s])
    return f"{len(statuses)} trials: {states}; {done / len(statuses):.0%} of the budget"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
