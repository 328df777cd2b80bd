"""The table of `rdt sweep --dry-run`."""

from collections.abc import Collection

from rich.table import Table
from rich.text import Text

from rdt_jax import wording
from rdt_jax.figures.cost import short
from rdt_jax.sweep.forecast import Forecast

HERE = "on this machine"


def table(
    found: Forecast,
    workers: int,
    memory: int,
    flops_per_second: float | None,
    where: str = HERE,
    here: Collection[str] = (),
) -> Table:
    """Builds the table of what a sweep would need.

    Args:
      memory: bytes of each worker's device.
      flops_per_second: of all workers together; None if it could not be measured.
      where: they have this rate: HERE, where it was measured, or whose it is.
      here: `workers` and `memory` if they are this machine's and the rate is not.
    """
    built = Table(box=None, pad_edge=False, show_header=False, caption_justify="left")
    needs = found.needs
    of = lambda name: " of this machine" * (name in here)
    rows = [
        ("trials", f"{found.trials:,}, {found.over:,} of them over"),
        ("packs", f"{found.packs:,}, by {wording.count(workers, 'worker')}"
                  f"{of('workers')}"),
        ("compilations", f"{wording.count(needs.programs, 'program')}, by each worker "
                         "that needs one"),
        ("FLOPs", short(found.flops)),
        ("memory", f"{size(needs.memory)} of {size(memory)} of each worker's device"
                   f"{of('memory')}"),
        ("disk", f"{size(needs.pins)} for parameters kept, "
                 f"{size(needs.checkpoints)} for checkpoints"),
    ]  # fmt: skip
    if flops_per_second is not None and found.packs:
        seconds = found.flops / flops_per_second
        at = f"at {short(flops_per_second)} FLOP/s"
        rows.append(("time", f"{wording.duration(seconds)} {where}, {at}"))
    elif needs.memory > memory:
        rows.append(("time", "not measured: the largest pack may not fit"))
    elif found.packs:
        rows.append(("time", "not measured"))
    for name, value in rows:
        built.add_row(name, value)
    built.caption = Text(
        "FLOPs are those that all updates need at the least; a run that passes its "
        "phases early needs fewer. "
        + (
            "The rate was measured: all workers trained the real program of the pack "
            "with the most FLOPs for a second. "
            if where == HERE
            else ""
        )
        + "The time takes the rate for every pack, and leaves out compiling, "
        "evaluations and checkpoints."
    )
    return built


def size(count: int) -> str:
    """Writes bytes as 1.5 GB."""
    for unit, each in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= each:
            return f"{count / each:.3g} {unit}"
    return f"{count} B"
