"""`rdt compare`: two sweeps side by side, with a rank test."""

import argparse
import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from rdt_jax import config as configs
from rdt_jax import wording
from rdt_jax.analysis import finding, grokking
from rdt_jax.analysis import runs as run_folders
from rdt_jax.cli import exits
from rdt_jax.cli import options as shared
from rdt_jax.figures import terminal
from rdt_jax.sweep import links
from rdt_jax.sweep import plan as plans

if TYPE_CHECKING:
    from rdt_jax.analysis.compare import Comparison


def add(compare: argparse.ArgumentParser) -> None:
    """Adds the options of `rdt compare`."""
    for name in ("first", "second"):
        compare.add_argument(
            name, metavar="SWEEP", help="its folder, or its name in the workdir"
        )
    shared.add_workdir(compare, buckets=True)
    compare.set_defaults(verb=_compare, reads="records")


def _compare(options: argparse.Namespace) -> int:
    from rdt_jax.analysis import compare

    sweeps, code = [], exits.WELL
    with exits.mistakes():
        folders = [
            finding.sweep(options.workdir, text)
            for text in (options.first, options.second)
        ]
        for folder in folders:
            planned = plans.read(folder).configs()
            sweeps.append(run_folders.read_runs(folder.parents[1], planned))
        found = compare.compare(*sweeps)
    names = [folder.name for folder in folders]
    for name, runs in zip(names, sweeps, strict=True):
        code = max(code, exits.report_lost(runs, name))
    shared.print_table(_table(found, names))
    return code


def _table(found: "Comparison", names: Sequence[str]) -> Table:
    """Builds the table: a row per cell and quantity, a column per sweep."""
    table = terminal.table(
        "Two sweeps in the cells that both have",
        ["cell", "what", *names, "later", "p"],
        caption=_caption(found, names),
        words=("cell", "what"),
    )
    before: tuple | None = None
    for row in found.rows:
        if before not in (None, row.cell):
            table.add_section()
        table.add_row(
            _label(found, row.cell) if row.cell != before else "",
            row.what,
            *(
                _entry(side, None if row.is_accuracy else found.budget)
                for side in (row.first, row.second)
            ),
            f"{row.test.later:.2f}" if row.test else "-",
            "-" if row.p_value is None else f"{row.p_value:.2g}",
        )
        before = row.cell
    return table


def _label(found: "Comparison", cell: Sequence[Any]) -> str:
    names = configs.short_names(found.keys)
    pairs = zip(names, cell, strict=True)
    return ", ".join(f"{name}={links.text(value)}" for name, value in pairs) or "all"


def _entry(values: Sequence[float | None], budget: int | None) -> str:
    """Writes a median; of times, with a budget, also how many arrived: `2.25k 3/3`."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return f"... {len(known)}/{len(values)}"
    median = statistics.median(known)
    if budget is None:
        return f"{median:.2f}"
    beyond = f"> {grokking.format_steps(budget)}"
    arrived = sum(map(math.isfinite, known))
    text = grokking.format_steps(median) if math.isfinite(median) else beyond
    return f"{text} {arrived}/{len(known)}"


def _caption(found: "Comparison", names: Sequence[str]) -> str:
    """Says what the columns are, and what is in one sweep alone."""
    seeds = sorted({(len(row.first), len(row.second)) for row in found.rows})
    parts = [
        f"Medians over seeds, up to {grokking.format_steps(found.budget)} updates, "
        "which both sweeps have; n/N: runs that completed the phase; ... marks runs "
        "that are not finished.",
        f"later: share of pairs in which {names[1]} has the larger value; p: rank-sum "
        "test in which a run that did not arrive has the last rank, adjusted for all "
        "tests (Holm).",
        "Seeds per cell: " + ", ".join(f"{n} and {m}" for n, m in seeds) + ".",
    ]
    if seeds:
        least = min(2 / math.comb(n + m, n) for n, m in seeds)
        parts.append(f"With so few no p before the adjustment is below {least:.2g}.")
    for key, values in found.apart.items():
        one, other = map(links.text, values)
        parts.append(f"They differ in {key}: {one} and {other}.")
    for name, cells in zip(names, found.alone, strict=True):
        if cells:
            listed = "; ".join(_label(found, cell) for cell in cells)
            parts.append(f"Only in {name}: {listed}.")
    if found.shared:
        parts.append(f"{wording.count(found.shared, 'run')} in both.")
    return " ".join(parts)
