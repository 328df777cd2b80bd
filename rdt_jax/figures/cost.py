"""The tables of `rdt cost`."""

from rich.table import Table
from rich.text import Text

from rdt_jax import wording
from rdt_jax.figures import terminal
from rdt_jax.profile.estimate import Estimate

_UNITS = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")


def tables(found: Estimate) -> tuple[Table, Table]:
    """Builds the tables of parameters, by part, and of updates, by loop count."""
    parameters = terminal.table("Parameters", ("part", "numbers"), words=("part",))
    for name, number in found.parameters.items():
        if number:
            parameters.add_row(name.replace("_", " "), f"{number:,}")
    parameters.add_section()
    parameters.add_row("all", f"{sum(found.parameters.values()):,}", style="bold")

    caption = Text(
        f"FLOPs per token of rows of T = {found.length} and per update of "
        f"{wording.count(found.batch_size, 'row')}: 2 for a multiply-add, no "
        "elementwise work, no recomputation, no optimizer. Needed: causal pairs, "
        "chosen experts. Executed: all that the program multiplies. Memory: predicted "
        "from above for one update by model.remat, with gradient, without parameters "
        "and optimizer state; a compiler needs less. The first line is the run as "
        "configured, * the mean of drawn loops, whose memory is that of the largest "
        "draw, whatever the policy."
    )
    headings = [
        "R", "forward\n/token", "update\n/token", "needed\n/update",
        "executed\n/update",
    ]  # fmt: skip
    headings += [f"memory\n{policy}" for policy in found.at_loops[0].memory]
    updates = terminal.table("Updates", headings, caption=caption)
    for at in found.at_loops:
        needed, executed = sum(at.needed), sum(at.executed)
        updates.add_row(
            f"{at.loops:.3g}*" if at.is_drawn else f"{at.loops:g}",
            short(at.needed.forward / found.length),
            short(needed / found.length),
            short(needed * found.batch_size),
            short(executed * found.batch_size),
            *(f"{short(size)}B" for size in at.memory.values()),
        )
    return parameters, updates


def short(number: float) -> str:
    """Writes three digits and the power of a thousand."""
    power = 0
    while number >= 999.5 and power < len(_UNITS) - 1:
        number, power = number / 1000, power + 1
    return f"{number:.3g}{_UNITS[power]}"
