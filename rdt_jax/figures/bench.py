"""The tables of `rdt bench`."""

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from rdt_jax.figures import terminal
from rdt_jax.profile.bench import TORCH, Measured, Row
from rdt_jax.profile.bench_cases import Bound


def tables(found: Mapping[str, Measured]) -> tuple[Table, Table]:
    """Builds the table of what was measured and that of what had to come out."""
    return _measured(found), _bounds(found)


def _measured(found: Mapping[str, Measured]) -> Table:
    with_torch = any(row.name == TORCH for m in found.values() for row in m.rows)
    caption = Text(
        "Updates of all lanes and processes together, medians of turns taken with "
        "PyTorch. FLOPs: needed by our update (2 for a multiply-add, no elementwise "
        "work, no recomputation, no optimizer). Of peak: of the best float32 product "
        "of matrices in the same processes. MB: temporary memory of one process."
        + ("" if with_torch else " Times PyTorch: give --torch-python=PYTHON.")
    )
    headings = [
        "case and programs", "updates\n/s", "slowest -\nfastest", "GFLOP\n/s",
        "of\npeak", "compile\ns", "MB", "times\nPyTorch",
    ]  # fmt: skip
    table = terminal.table(
        "Training throughput", headings, caption=caption, words=headings[:1]
    )
    for name, measured in found.items():
        table.add_section()
        table.add_row(name, style="bold")
        for row in measured.rows:
            table.add_row(f" {row.name}", *_numbers(row))
    return table


def _numbers(row: Row) -> list[str]:
    spread = ""
    if row.slowest is not None:
        spread = f"{row.slowest:.3g}-{row.fastest:.3g}"
    memory = row.temporary_bytes
    return [
        _text(row.updates_per_second),
        spread,
        _text(row.flops_per_second and row.flops_per_second / 1e9),
        "" if row.share_of_peak is None else f"{row.share_of_peak:.0%}",
        _text(row.compile_seconds),
        "" if memory is None else f"{memory / 1e6:.3g}",
        "" if row.name == TORCH else _text(row.ratio, "x"),
    ]


def _bounds(found: Mapping[str, Measured]) -> Table:
    answers = {True: "yes", False: "no", None: "not measured"}
    return terminal.table(
        "What must come out",
        ("case", "quantity", "value", "bound", "holds"),
        [
            (
                name,
                verdict.bound.quantity,
                _text(verdict.value),
                _said(verdict.bound),
                answers[verdict.holds],
            )
            for name, measured in found.items()
            for verdict in measured.verdicts
        ],
        words=("case", "quantity", "bound", "holds"),
    )


def _said(bound: Bound) -> str:
    parts = [] if bound.at_least is None else [f">= {bound.at_least:g}"]
    parts += [] if bound.at_most is None else [f"<= {bound.at_most:g}"]
    parts += [] if bound.aim is None else [f"aim {bound.aim:g}"]
    return ", ".join(parts)


def _text(value: float | None, unit: str = "") -> str:
    return "" if value is None else f"{value:.3g}{unit}"
